//! How long it takes to bring in a fleet: 100,000 devices from a table, each with a certificate's name, a new key and a
//! role; the same table once more; and all of them revoked. `sqlite`, `postgres` and `mariadb` narrow the choice, a
//! number is how many devices. On a terminal, the command shows how far it is.
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

use std::fs;
use std::process::{Command, Stdio};
use std::time::Instant;

use harness::Fleet;
use servers::Kind;

const DEVICES: usize = 100_000;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let devices = words.iter().find_map(|word| word.parse().ok()).unwrap_or(DEVICES);
    let kinds = [("sqlite", Kind::Sqlite), ("postgres", Kind::Postgres), ("mariadb", Kind::Mariadb)];
    let chosen = |name: &str| words.iter().any(|word| word == name);
    let all = !kinds.iter().any(|(name, _)| chosen(name));
    println!("{devices} devices from a table, each with a CN, a new key and a role; times in seconds");
    println!("| database | imported | the same table again | all revoked |");
    println!("|---|---|---|---|");
    for (name, kind) in kinds.into_iter().filter(|(name, _)| all || chosen(name)) {
        let fleet = Fleet::with_sensors_on(kind);
        let table = fleet.path("devices.csv");
        let lines: Vec<String> = (0..devices).map(|number| format!("device-{number:06}")).collect();
        fs::write(&table, format!("name\n{}\n", lines.join("\n"))).unwrap();
        let names = fleet.path("names");
        fs::write(&names, lines.join("\n")).unwrap();
        let (table, keys) = (table.to_str().unwrap(), fleet.path("new-keys.psk"));
        let import = ["device", "import", table, "--cn", "--psk", "--role", "sensor", "--keys", keys.to_str().unwrap()];
        let revoke = ["device", "revoke", "--file", names.to_str().unwrap(), "--yes"];
        let [first, again, revoked] = [&import[..], &import, &revoke].map(|words| seconds(&fleet, words));
        let count = fleet.sql(
            "SELECT count(*) FROM credentials JOIN devices ON devices.id = device_id WHERE devices.status = 'revoked'",
        );
        assert_eq!(count.trim(), (2 * devices).to_string());
        println!("| {name} | {first:.1} | {again:.1} | {revoked:.1} |");
    }
}

/// How long `warden` takes for this. What it shows of itself goes to the terminal, if there is one.
fn seconds(fleet: &Fleet, words: &[&str]) -> f64 {
    let mut command = Command::new(env!("CARGO_BIN_EXE_warden"));
    command.args(words).env("WARDEN_DATABASE", fleet.place()).env("WARDEN_KEY_FILE", fleet.key_file());
    let start = Instant::now();
    assert!(command.stdout(Stdio::null()).status().unwrap().success(), "warden {}", words.join(" "));
    start.elapsed().as_secs_f64()
}
