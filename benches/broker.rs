//! Whole brokers with a thousand clients: how long a revocation takes to close a session, and how long a reload keeps
//! everybody waiting. One broker at a time; `WARDEN_TEST_BROKERS` narrows the choice.
#![allow(
    dead_code,
    unused_imports,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "it stands on the harness of the tests, and uses a part of it"
)]

#[path = "../tests/broker/harness/mod.rs"]
mod harness;
#[path = "../tests/servers/mod.rs"]
mod servers;

use harness::brokers::installed;
use harness::{crowd, reloads, revocations};
use servers::Kind;

const CROWD: usize = 1_000;
const REVOKED: usize = 200;
const RELOADS: usize = 10;

fn main() {
    println!("{CROWD} clients with certificates; times in milliseconds");
    println!(
        "| mosquitto | listener | database | commit to closed session, p50 | p99 | max | longest ping, calm \
         | around {RELOADS} SIGHUP |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for mosquitto in &installed() {
        for (listener, example, kind) in [
            ("named by the broker", "certificates.conf", Kind::Sqlite),
            ("named by the broker", "certificates.conf", Kind::Postgres),
            ("named by the broker", "certificates.conf", Kind::Mariadb),
            ("named by warden", "certificates-named-by-warden.conf", Kind::Sqlite),
        ] {
            let (fleet, broker, mut crowd) = crowd(mosquitto, example, CROWD, kind);
            let (calm, reload) = reloads(&broker, &mut crowd, RELOADS);
            let times = revocations(&fleet, &mut crowd, (0..CROWD).step_by(CROWD / REVOKED));
            let [p50, p99, max, calm, reload] =
                [times[REVOKED / 2], times[REVOKED * 99 / 100], times[REVOKED - 1], calm, reload]
                    .map(|time| format!("{:.1}", time.as_secs_f64() * 1e3));
            let version = &mosquitto.name;
            println!("| {version} | {listener} | {kind:?} | {p50} | {p99} | {max} | {calm} | {reload} |");
        }
    }
}
