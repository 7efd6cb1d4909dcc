//! What certificates in the TLS handshake cost a broker: the CPU time of a connection with and without the hook, a
//! thousand devices that come back at once, with and without resumption, and the longest callbacks with a responder
//! that never answers. `WARDEN_TEST_BROKERS` and the names of parts (`hook`, `storms`, `responders`) narrow the choice.
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
mod returning;
#[path = "../tests/servers/mod.rs"]
mod servers;

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::thread;
use std::time::{Duration, Instant};

use harness::brokers::installed;
use harness::wire::shake_hands;
use harness::{Broker, Connect, Fleet, Leaf, Listen, callback_times, frame, string};
use returning::Memory;

/// Each round makes this many connections to each of the brokers that are compared.
const CONNECTIONS: usize = 200;
const ROUNDS: usize = 15;
const DEVICES: usize = 1_000;
const STORMS: usize = 5;
/// So many devices of a storm wait for the broker at once.
const AT_ONCE: usize = 4;

fn main() {
    let chosen: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    for (name, part) in [("hook", hook as fn()), ("storms", storms), ("responders", responders)] {
        if chosen.is_empty() || chosen.iter().any(|one| one == name) {
            part();
            println!();
        }
    }
}

fn hook() {
    println!(
        "CPU time of the broker for a connection (full handshake, TLS 1.3, P-256; CONNECT, one PUBLISH, DISCONNECT),"
    );
    println!("median of {ROUNDS} alternating rounds of {CONNECTIONS}, in microseconds");
    println!("| mosquitto | freshness | handshake = \"off\" | \"enforce\" | ratio |");
    println!("|---|---|---|---|---|");
    for mosquitto in &installed() {
        for freshness in ["strict", "bounded"] {
            let fleet = fleet(1);
            let brokers = ["off", "enforce"].map(|handshake| {
                let options = [("handshake", handshake), ("freshness", freshness)];
                fleet.start_with(mosquitto, &fleet.configuration_with("certificates.conf", &options))
            });
            let device = Device::new(&fleet, 0);
            let mut times: [Vec<Duration>; 2] = [Vec::new(), Vec::new()];
            for round in 0..=ROUNDS {
                // Who is first changes from round to round.
                for which in [round % 2, 1 - round % 2] {
                    let broker = &brokers[which];
                    let before = broker.time_of_threads();
                    for _ in 0..CONNECTIONS {
                        assert!(!device.connect(broker, false));
                    }
                    // The first round warms everything up.
                    if round > 0 {
                        times[which].push(
                            broker.time_of_threads().saturating_sub(before) / u32::try_from(CONNECTIONS).unwrap(),
                        );
                    }
                }
            }
            let [off, enforce] = times.map(median);
            let ratio = enforce.as_secs_f64() / off.as_secs_f64();
            println!("| {} | {freshness} | {:.0} | {:.0} | {ratio:.3} |", mosquitto.name, micros(off), micros(enforce));
        }
    }
}

fn storms() {
    println!("{DEVICES} devices come back, {AT_ONCE} at once: median of {STORMS} storms, in milliseconds");
    println!("| mosquitto | resumption = \"off\": time | CPU of the broker | \"good\": time | CPU | ratio of CPU |");
    println!("|---|---|---|---|---|---|");
    for mosquitto in &installed() {
        let fleet = fleet(DEVICES);
        let brokers = ["off", "good"].map(|resumption| {
            let options = [("resumption", resumption)];
            fleet.start_with(mosquitto, &fleet.configuration_with("certificates.conf", &options))
        });
        // A session is good at one broker only, so each has its own devices to remember it.
        let devices = [(); 2].map(|()| (0..DEVICES).map(|number| Device::new(&fleet, number)).collect::<Vec<_>>());
        for (broker, devices) in brokers.iter().zip(&devices) {
            storm(broker, devices, AT_ONCE, false);
        }
        let mut times: [Vec<(Duration, Duration)>; 2] = [Vec::new(), Vec::new()];
        for round in 0..STORMS {
            for which in [round % 2, 1 - round % 2] {
                times[which].push(storm(&brokers[which], &devices[which], AT_ONCE, which == 1));
            }
        }
        let [off, good] = times.map(|times| {
            let (time, cpu): (Vec<_>, Vec<_>) = times.into_iter().unzip();
            (median(time), median(cpu))
        });
        let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
        println!(
            "| {} | {:.0} | {:.0} | {:.0} | {:.0} | {:.2} |",
            mosquitto.name,
            milliseconds(off.0),
            milliseconds(off.1),
            milliseconds(good.0),
            milliseconds(good.1),
            good.1.as_secs_f64() / off.1.as_secs_f64()
        );
    }
}

fn responders() {
    println!(
        "the longest callback while {DEVICES} devices come one by one, each with a certificate to be asked about:"
    );
    println!(
        "median and greatest of {STORMS} alternating rounds, in microseconds. What is longer than the processor's"
    );
    println!("time is what the kernel gave to others meanwhile, or waiting");
    println!(
        "| mosquitto | callback | no responder is asked: time | processor | one that never answers: time | processor |"
    );
    println!("|---|---|---|---|---|---|");
    for mosquitto in &installed() {
        let fleet = fleet(DEVICES);
        let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let url = format!("http://{}/", silent.local_addr().unwrap());
        let devices: Vec<Device> = (0..DEVICES).map(|number| Device::new(&fleet, number)).collect();
        let mut logs: [Vec<String>; 2] = [Vec::new(), Vec::new()];
        for round in 0..STORMS {
            for which in [round % 2, 1 - round % 2] {
                let mode = ["off", "soft"][which];
                let options = [
                    ("ocsp.mode", mode),
                    ("ocsp.responder", &url),
                    ("callback_times", "true"),
                    ("freshness", "bounded"),
                ];
                let broker = fleet.start_with(mosquitto, &fleet.configuration_with("certificates.conf", &options));
                storm(&broker, &devices, 1, false);
                logs[which].push(broker.stop().1);
            }
        }
        for callback in ["handshake", "acl_check", "tick", "disconnect"] {
            let [without, with] = logs.each_ref().map(|logs| {
                let longest: Vec<_> = logs.iter().filter_map(|log| callback_times(log).remove(callback)).collect();
                let (times, work): (Vec<_>, Vec<_>) = longest.into_iter().unzip();
                [times, work].map(|mut times: Vec<Duration>| {
                    times.sort_unstable();
                    let most = times.last().map(Duration::as_micros);
                    most.map_or("-".to_owned(), |most| format!("{}, {most}", times[times.len() / 2].as_micros()))
                })
            });
            println!("| {} | {callback} | {} | {} |", mosquitto.name, without.join(" | "), with.join(" | "));
        }
    }
}

/// So many devices, known by their CN.
fn fleet(many: usize) -> Fleet {
    let fleet = Fleet::with_sensors();
    fleet.sql(&format!(
        "BEGIN;
         WITH RECURSIVE n (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM n WHERE n < {many} - 1)
         INSERT INTO devices (name) SELECT format('device-%04d', n) FROM n;
         INSERT INTO credentials (device_id, kind, identity) SELECT id, 'x509_cn', name FROM devices;
         INSERT INTO device_roles SELECT d.id, r.id FROM devices d, roles r;
         COMMIT"
    ));
    fleet
}

/// All of them come, so many at once, and go again: how long it took, and what it cost the broker.
fn storm(broker: &Broker, devices: &[Device], at_once: usize, resumed: bool) -> (Duration, Duration) {
    let (start, before) = (Instant::now(), broker.time_of_threads());
    thread::scope(|scope| {
        for part in devices.chunks(devices.len().div_ceil(at_once)) {
            scope.spawn(move || {
                for device in part {
                    assert_eq!(device.connect(broker, resumed), resumed);
                }
            });
        }
    });
    (start.elapsed(), broker.time_of_threads().saturating_sub(before))
}

/// A device that remembers its last TLS session.
struct Device {
    name: String,
    memory: Memory,
}

impl Device {
    fn new(fleet: &Fleet, number: usize) -> Self {
        let name = format!("device-{number:04}");
        let login = fleet.ca.issue(&fleet.ca.root(), &Leaf::named(&name));
        Self { memory: Memory::new(&login), name }
    }

    /// Handshake, CONNECT, PUBLISH, DISCONNECT; whether the session was resumed.
    fn connect(&self, broker: &Broker, resume: bool) -> bool {
        let mut stream = shake_hands(broker.port(Listen::Certificates), self.memory.ssl(resume)).unwrap();
        stream.write_all(&Connect::v311(self.name.as_str()).encode()).unwrap();
        let mut connack = [0; 4];
        stream.read_exact(&mut connack).unwrap();
        assert_eq!(connack, [0x20, 2, 0, 0], "{}", self.name);
        // A message, so that every gate is asked: without the hook, some brokers ask for the first time here.
        let publish = [&string(format!("devices/{}/up", self.name).as_bytes())[..], &[0, 1]].concat();
        stream.write_all(&frame(0x32, &publish)).unwrap();
        stream.read_exact(&mut connack).unwrap();
        assert_eq!(connack, [0x40, 2, 0, 1], "{}", self.name);
        stream.write_all(&[0xE0, 0]).unwrap();
        let resumed = stream.ssl().session_reused();
        let _ = stream.shutdown();
        // The broker is done with this one when it closes.
        let _ = stream.read(&mut connack);
        resumed
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
