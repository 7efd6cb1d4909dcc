//! What passwords cost a broker: how long a client that pings waits while somebody guesses, and ten thousand logins of
//! devices that are known. `WARDEN_TEST_BROKERS` and the names of parts (`attack`, `known`) narrow the choice.
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
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use harness::brokers::installed;
use harness::{Broker, Client, Connect, Fleet, Login, give_to_broker};
use openssl::base64::encode_block;
use openssl::hash::MessageDigest;
use openssl::pkcs5::pbkdf2_hmac;

/// Wrong passwords of an attack.
const GUESSES: usize = 1_000;
/// Devices that are known, and their logins.
const DEVICES: usize = 100;
const LOGINS: usize = 10_000;
/// The password of those who are the broker's.
const SECRET: &str = "a password";
/// So many logins of one broker, then as many of the next.
const ROUND: usize = 500;

fn main() {
    let chosen: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    for (name, part) in [("attack", attack as fn()), ("known", known)] {
        if chosen.is_empty() || chosen.iter().any(|one| one == name) {
            part();
            println!();
        }
    }
}

fn attack() {
    println!("{GUESSES} wrong passwords from one address, while a client pings without pause; times in milliseconds");
    println!("| mosquitto | guesses | refused unheard | attack lasts | longest ping, calm | during the attack |");
    println!("|---|---|---|---|---|---|");
    for mosquitto in &installed() {
        // As it comes; and as if each guess came from elsewhere under another name, so that only the time is bounded.
        for (what, options) in [
            ("one user name", vec![]),
            ("a user name each", vec![]),
            ("as if from everywhere", vec![("login_attempts", "1000")]),
        ] {
            let fleet = Fleet::with_sensors();
            fleet.option("refusals_per_second = 10000");
            let login = fleet.password_device("device-001", "sensor");
            let configuration = fleet.configuration_with("passwords.conf", &options);
            let broker = fleet.start_with(mosquitto, &configuration);
            let mut client = Client::connect(&broker, &login, &Connect::v311("device-001"));
            let calm = (0..2000).map(|_| ping(&mut client)).max().unwrap();
            let (ended, start) = (AtomicBool::new(false), Instant::now());
            let longest = thread::scope(|scope| {
                let pings = scope.spawn(|| {
                    let mut longest = Duration::ZERO;
                    while !ended.load(Ordering::Relaxed) {
                        longest = longest.max(ping(&mut client));
                    }
                    longest
                });
                for number in 0..GUESSES {
                    let user_name =
                        if what == "one user name" { "device-001".to_owned() } else { format!("u{number}") };
                    let guess = fleet.ca.password(user_name, "guess");
                    let (_, code) = Client::try_connect(&broker, &guess, &Connect::v311("device-001-x")).unwrap();
                    assert_eq!(code, 5);
                }
                ended.store(true, Ordering::Relaxed);
                pings.join().unwrap()
            });
            let lasted = start.elapsed();
            let (_, log) = broker.stop();
            let unheard = log.lines().filter(|line| line.contains("reason=login-budget")).count();
            let version = &mosquitto.name;
            let [lasted, calm, longest] =
                [lasted, calm, longest].map(|time| format!("{:.1}", time.as_secs_f64() * 1e3));
            println!("| {version} | {what} | {unheard} | {lasted} | {calm} | {longest} |");
        }
    }
}

fn ping(client: &mut Client) -> Duration {
    let start = Instant::now();
    client.ping().unwrap();
    start.elapsed()
}

fn known() {
    println!(
        "{LOGINS} logins (TLS 1.3, P-256; CONNECT) of {DEVICES} devices that are known: microseconds of CPU of the broker"
    );
    println!(
        "for one, and how many a second: without plugin (`allow_anonymous true`); with the plugin, which leaves these"
    );
    println!(
        "users to a `password_file` of the broker whose hashes have one iteration; and with the plugin, which knows their"
    );
    println!("passwords by argon2id. The ratios are those of logins a second.");
    println!("| mosquitto | no plugin | | hardly hashed | | argon2id | | to no plugin | to hardly hashed |");
    println!("|---|---|---|---|---|---|---|---|---|");
    for mosquitto in &installed() {
        let (fleet, strangers) = (Fleet::with_sensors(), Fleet::with_sensors());
        fleet.option("login_budget = \"900ms\"");
        strangers.option("unknown = \"defer\"");
        let users: Vec<(String, [Login; 2])> = (0..DEVICES)
            .map(|number| format!("user-{number:03}"))
            .map(|name| (name.clone(), [fleet.password_device(&name, "sensor"), strangers.ca.password(name, SECRET)]))
            .collect();
        let passwords = strangers.path("etc/passwords");
        fs::write(&passwords, users.iter().map(|(name, _)| hardly_hashed(name)).collect::<String>()).unwrap();
        give_to_broker(&passwords);
        let (anonymous, ours) = ("allow_anonymous false", fleet.configuration("passwords.conf"));
        let without: String = ours
            .replace(anonymous, "allow_anonymous true")
            .lines()
            .filter(|line| !line.starts_with("plugin"))
            .fold(String::new(), |text, line| text + line + "\n");
        let file = format!("{anonymous}\npassword_file {}", passwords.display());
        let brokers = [
            fleet.start_with(mosquitto, &without),
            strangers.start_with(mosquitto, &strangers.configuration("passwords.conf").replace(anonymous, &file)),
            fleet.start_with(mosquitto, &ours),
        ];
        let mut totals = [(Duration::ZERO, Duration::ZERO); 3];
        for (name, [login, _]) in &users {
            harness::eventually("everybody has logged in once", || {
                let (_, code) = Client::try_connect(&brokers[2], login, &Connect::v311(name.as_str())).ok()?;
                (code == 0).then_some(())
            });
        }
        for round in 0..LOGINS / ROUND {
            // Who is first changes from round to round.
            for which in (0..brokers.len()).map(|number| (number + round) % brokers.len()) {
                let (start, before) = (Instant::now(), brokers[which].time_of_threads());
                for (name, logins) in users.iter().cycle().take(ROUND) {
                    Client::connect(&brokers[which], &logins[usize::from(which == 1)], &Connect::v311(name.as_str()));
                }
                totals[which].0 += start.elapsed();
                totals[which].1 += brokers[which].time_of_threads().saturating_sub(before);
            }
        }
        let [none, hardly, with] = totals.map(|(time, cpu)| {
            let logins = f64::from(u32::try_from(LOGINS).unwrap());
            (cpu.as_secs_f64() * 1e6 / logins, logins / time.as_secs_f64())
        });
        print!("| {} ", mosquitto.name);
        for (cpu, logins) in [none, hardly, with] {
            print!("| {cpu:.0} | {logins:.0} ");
        }
        println!("| {:.3} | {:.3} |", with.1 / none.1, with.1 / hardly.1);
    }
}

/// A line of a `password_file` (`mosquitto_passwd(1)`): PBKDF2 with SHA-512, once.
fn hardly_hashed(user_name: &str) -> String {
    let (salt, mut hash) = (*b"twelve bytes", [0; 64]);
    pbkdf2_hmac(SECRET.as_bytes(), &salt, 1, MessageDigest::sha512(), &mut hash).unwrap();
    format!("{user_name}:$7$1${}${}\n", encode_block(&salt), encode_block(&hash))
}
