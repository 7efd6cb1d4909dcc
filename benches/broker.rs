//! Whole brokers: with a thousand clients, how long a revocation takes to close a session, on one broker and on two, and
//! how long a reload keeps everybody waiting; half of them revoked at once; how soon a connection is judged by what is
//! committed; what a million rows in one commit cost; and how long somebody who is there waits while all others come at
//! once. `WARDEN_TEST_BROKERS`, the names of parts (`crowd`, `bulk`, `two`, `strict`, `bounded`, `faults`, `rush`) and those of databases (`sqlite`, `postgres`, `mariadb`) narrow the choice;
//! `sessions=10000` is another number of clients.
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

use std::collections::HashSet;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use openssl::ssl::Ssl;
use rustix::process::setpriority_process;

use harness::brokers::installed;
use harness::wire::{context, shake_hands};
use harness::{
    Broker, Client, Connect, Fleet, Listen, Login, Stage, TlsVersion, admitted_though_revoked, bulk_revocation, crowd,
    crowds, reloads, revocations, windows,
};
use servers::Kind;

/// So many clients, if nothing else is asked for.
const CROWD: usize = 1_000;
const REVOKED: usize = 200;
const RELOADS: usize = 10;
/// How often it is revoked and tried.
const TRIED: usize = 1_000;

fn main() {
    let chosen = chosen();
    let parts = [
        ("crowd", one_broker as fn()),
        ("bulk", bulk),
        ("two", two),
        ("strict", strict),
        ("bounded", bounded),
        ("faults", faults),
        ("rush", rush),
    ];
    for (name, part) in parts {
        let any = parts.iter().any(|(name, _)| chosen.contains(*name));
        if !any || chosen.contains(name) {
            part();
            println!();
        }
    }
}

fn chosen() -> HashSet<String> {
    std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect()
}

/// The databases that were chosen.
fn kinds() -> impl Iterator<Item = Kind> {
    let (all, chosen) = ([Kind::Sqlite, Kind::Postgres, Kind::Mariadb], chosen());
    let named = move |kind: &Kind| chosen.contains(&format!("{kind:?}").to_lowercase());
    let any = all.iter().any(&named);
    all.into_iter().filter(move |kind| !any || named(kind))
}

/// How many clients there are.
fn sessions() -> usize {
    let chosen = chosen();
    chosen.iter().find_map(|word| word.strip_prefix("sessions=")).map_or(CROWD, |many| many.parse().expect("a number"))
}

fn one_broker() {
    let sessions = sessions();
    println!("{sessions} clients with certificates; times in milliseconds");
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
        ]
        .into_iter()
        .filter(|(_, _, kind)| kinds().any(|chosen| chosen == *kind))
        {
            let (fleet, broker, mut crowd) = crowd(mosquitto, example, sessions, kind);
            let (calm, reload) = reloads(&broker, &mut crowd, RELOADS);
            let times = revocations(&fleet, &mut [crowd], (0..sessions).step_by(sessions / REVOKED));
            let [calm, reload] = [calm, reload].map(milliseconds);
            println!("| {} | {listener} | {kind:?} | {} | {calm} | {reload} |", mosquitto.name, spread(&times));
        }
    }
}

fn bulk() {
    let sessions = sessions();
    let many = sessions / 2;
    println!("{many} of {sessions} clients revoked in one statement; times in milliseconds");
    println!("| mosquitto | database | commit to first closed session | to last | longest ping of one who stays |");
    println!("|---|---|---|---|---|");
    for mosquitto in &installed() {
        for kind in kinds() {
            let (fleet, _broker, mut crowd) = crowd(mosquitto, "certificates.conf", sessions, kind);
            let bulk = bulk_revocation(&fleet, &mut crowd, sessions - many);
            let [first, last, ping] = [bulk.first, bulk.last, bulk.ping].map(milliseconds);
            println!("| {} | {kind:?} | {first} | {last} | {ping} |", mosquitto.name);
        }
    }
}

fn two() {
    let sessions = sessions();
    println!(
        "{sessions} clients with certificates on each of two brokers that follow one database; times in milliseconds"
    );
    println!("| mosquitto | database | commit to closed session on both, p50 | p99 | max |");
    println!("|---|---|---|---|---|");
    for mosquitto in &installed() {
        for kind in kinds() {
            let (fleet, _brokers, mut crowds) = crowds(&[mosquitto; 2], "certificates.conf", sessions, kind);
            let times = revocations(&fleet, &mut crowds, (0..sessions).step_by(sessions / REVOKED));
            println!("| {} | {kind:?} | {} |", mosquitto.name, spread(&times));
        }
    }
}

fn strict() {
    println!("freshness = \"strict\": revoked in the database's shell, and connected when that has returned");
    println!("| mosquitto | database | times | admitted | time of a round, milliseconds |");
    println!("|---|---|---|---|---|");
    for mosquitto in &installed() {
        for kind in kinds() {
            let begun = Instant::now();
            let admitted = admitted_though_revoked(mosquitto, kind, TRIED);
            let round = milliseconds(begun.elapsed() / u32::try_from(TRIED).unwrap());
            println!("| {} | {kind:?} | {TRIED} | {admitted} | {round} |", mosquitto.name);
        }
    }
}

fn bounded() {
    println!("freshness = \"bounded\": from commit to the first connection that is refused, times in milliseconds");
    println!("| mosquitto | database | p50 | p99 | max |");
    println!("|---|---|---|---|---|");
    for mosquitto in &installed() {
        for kind in kinds() {
            println!("| {} | {kind:?} | {} |", mosquitto.name, spread(&windows(mosquitto, kind, REVOKED)));
        }
    }
}

fn faults() {
    for kind in kinds().filter(|kind| *kind != Kind::Sqlite) {
        let mut stage = Stage::new("1,000,000 devices in one commit", kind);
        let numbers = match kind {
            Kind::Postgres => "generate_series(1, 1000000) AS t (n)",
            _ => "(SELECT seq AS n FROM seq_1_to_1000000) AS t",
        };
        let begun = Instant::now();
        stage.fleet.sql(&format!("INSERT INTO devices (name) SELECT concat('bulk-', n) FROM {numbers}"));
        let written = begun.elapsed();
        stage.revoke();
        let seen = stage.until_all_have_seen_it(Duration::from_mins(30));
        println!("{kind:?}: written in {written:.1?}; a revocation right behind it was seen by all after {seen:.1?}");
        println!("| fault, server | mosquitto | freshness | longest callback | most work in one | longest ping |");
        println!("|---|---|---|---|---|---|");
        stage.end();
    }
}

/// So many handshakes may begin in a second; 0 is any number.
const RATES: [u32; 4] = [0, 50, 100, 200];
/// Who is told to come later comes again after a pause from this one to twice as long.
const LATER: Duration = Duration::from_secs(1);

fn rush() {
    let comers = sessions();
    println!(
        "{comers} clients with certificates that come at once, and come again one or two seconds after they were told to come \
         later; times in milliseconds"
    );
    println!(
        "| mosquitto | admission_rate | all are in | told to come later | pings of one who was there, p50 | p99 | max |"
    );
    println!("|---|---|---|---|---|---|---|");
    for mosquitto in &installed() {
        for rate in RATES {
            let fleet = Fleet::with_sensors();
            fleet.option(&format!("admission_rate = {rate}"));
            let names: Vec<String> = (0..=comers).map(|number| format!("comer-{number}")).collect();
            let rows: Vec<String> = names.iter().map(|name| format!("('{name}')")).collect();
            fleet.sql_script(&format!(
                "BEGIN;
                 INSERT INTO devices (name) VALUES {};
                 INSERT INTO credentials (device_id, kind, identity) SELECT id, 'x509_cn', name FROM devices;
                 INSERT INTO device_roles SELECT d.id, r.id FROM devices d, roles r;
                 COMMIT;",
                rows.join(", ")
            ));
            let logins: Vec<Login> = names.iter().map(|name| fleet.ca.device_with_raw_name(name.as_bytes())).collect();
            let broker = fleet.start(mosquitto, "certificates.conf");
            let (all, refused, pings) = come_at_once(&broker, &logins);
            println!("| {} | {rate} | {} | {refused} | {} |", mosquitto.name, milliseconds(all), spread(&pings));
        }
    }
}

/// All but the first come at once, who was there before and pings: how long until all are in, how many were told to come
/// later, and the times of the pings in rising order.
fn come_at_once(broker: &Broker, logins: &[Login]) -> (Duration, usize, Vec<Duration>) {
    let mut there = Client::connect(broker, &logins[0], &Connect::v311("comer-0"));
    let contexts: Vec<_> = logins[1..].iter().map(|login| context(login, TlsVersion::V13)).collect();
    let (start, ended) = (Barrier::new(contexts.len() + 1), AtomicBool::new(false));
    thread::scope(|scope| {
        let comers: Vec<_> = (1..)
            .zip(&contexts)
            .map(|(number, context)| {
                let start = &start;
                scope.spawn(move || {
                    // All of them share the processors with the broker, and stand behind it.
                    setpriority_process(None, 19).unwrap();
                    let client_id = format!("comer-{number}");
                    start.wait();
                    let mut refused = 0;
                    loop {
                        if let Ok(stream) = shake_hands(broker.port(Listen::Certificates), Ssl::new(context).unwrap()) {
                            let mut client = Client::over(stream);
                            if client.connect_on(&Connect::v311(client_id.as_str())).is_ok_and(|code| code == 0) {
                                return (client, refused);
                            }
                        }
                        refused += 1;
                        thread::park_timeout(LATER + LATER * (number % 100) / 100);
                    }
                })
            })
            .collect();
        let pings = scope.spawn(|| {
            let mut times = Vec::new();
            while !ended.load(Ordering::Relaxed) {
                let sent = Instant::now();
                there.ping().expect("who is there stays");
                times.push(sent.elapsed());
                thread::park_timeout(Duration::from_millis(1));
            }
            times
        });
        start.wait();
        let begun = Instant::now();
        let comers: Vec<(Client, usize)> = comers.into_iter().map(|comer| comer.join().unwrap()).collect();
        let all = begun.elapsed();
        ended.store(true, Ordering::Relaxed);
        let mut pings = pings.join().unwrap();
        pings.sort();
        (all, comers.iter().map(|(_, refused)| refused).sum(), pings)
    })
}

/// The median, the 99th of a hundred, and the longest.
fn spread(times: &[Duration]) -> String {
    let [p50, p99, max] =
        [times[times.len() / 2], times[times.len() * 99 / 100], times[times.len() - 1]].map(milliseconds);
    format!("{p50} | {p99} | {max}")
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1e3)
}
