//! What happens to very many connected clients, with the times that it took: asserted by tests, printed by benches.

use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::{Broker, Client, Connect, Crowd, Fleet, Heard, Login, Mosquitto, Packet, eventually};
use crate::servers::Kind;
use crate::servers::writer::Writer;

const PINGREQ: [u8; 2] = [0xC0, 0];

/// A broker with this many devices, all of which are connected with certificates and subscribed.
pub(crate) fn crowd(mosquitto: &Mosquitto, example: &str, many: usize, kind: Kind) -> (Fleet, Broker, Crowd) {
    let (fleet, mut brokers, mut crowds) = crowds(&[mosquitto], example, many, kind);
    (fleet, brokers.remove(0), crowds.remove(0))
}

/// The same with several brokers, to each of which all of them are connected.
pub(crate) fn crowds(
    mosquittos: &[&Mosquitto],
    example: &str,
    many: usize,
    kind: Kind,
) -> (Fleet, Vec<Broker>, Vec<Crowd>) {
    let fleet = Fleet::with_sensors_on(kind);
    let names: Vec<String> = (0..many).map(|number| format!("('{}')", name(number))).collect();
    // One argument of a command has room for some thousands.
    for some in names.chunks(1_000) {
        fleet.sql(&format!("INSERT INTO devices (name) VALUES {}", some.join(", ")));
    }
    fleet.sql(
        "BEGIN;
         INSERT INTO credentials (device_id, kind, identity) SELECT id, 'x509_cn', name FROM devices;
         INSERT INTO device_roles SELECT d.id, r.id FROM devices d, roles r;
         COMMIT",
    );
    let brokers: Vec<Broker> = mosquittos.iter().map(|mosquitto| fleet.start(mosquitto, example)).collect();
    let logins: Vec<Login> = (0..many).map(|number| fleet.ca.device_with_raw_name(name(number).as_bytes())).collect();
    let crowd = |broker| {
        Crowd::new(logins.iter().enumerate().map(|(number, login)| {
            let mut client = Client::connect(broker, login, &Connect::v311(name(number)));
            assert_eq!(client.subscribe(&format!("devices/{}/cmd", name(number)), 0).unwrap(), 0);
            client
        }))
    };
    let crowds = brokers.iter().map(crowd).collect();
    (fleet, brokers, crowds)
}

/// Revokes one device after the other, and tells how long after each commit its session was closed, the last one where
/// there are several brokers, in rising order. Nobody else's is.
pub(crate) fn revocations(fleet: &Fleet, crowds: &mut [Crowd], numbers: impl Iterator<Item = usize>) -> Vec<Duration> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut database = runtime.block_on(Writer::new(&fleet.place()));
    let mut times: Vec<Duration> = numbers
        .map(|number| {
            let revoke = format!("UPDATE devices SET status = 'revoked' WHERE name = '{}'", name(number));
            runtime.block_on(database.execute(&revoke)).unwrap();
            let committed = Instant::now();
            let closed = crowds.iter_mut().map(|crowd| {
                crowd.listen(|index, heard, when| match heard {
                    Heard::Closed if index == number => ControlFlow::Break(when.saturating_duration_since(committed)),
                    Heard::Closed => panic!("{} was thrown off, and not {}", name(index), name(number)),
                    Heard::Packet(_) => ControlFlow::Continue(()),
                })
            });
            closed.max().unwrap_or_default()
        })
        .collect();
    times.sort();
    times
}

/// What a revocation of many at once did.
#[derive(Debug)]
pub(crate) struct Bulk {
    /// How long after the commit the first session was closed, and the last.
    pub(crate) first: Duration,
    pub(crate) last: Duration,
    /// The longest ping of one who stays, from before the statement until the last is closed.
    pub(crate) ping: Duration,
}

/// Revokes all devices but those in front in one statement, while the first one pings without pause. Nobody else's session
/// is closed.
pub(crate) fn bulk_revocation(fleet: &Fleet, crowd: &mut Crowd, stay: usize) -> Bulk {
    let place = fleet.place();
    let revoke = format!("UPDATE devices SET status = 'revoked' WHERE name >= '{}'", name(stay));
    let (begin, begun) = std::sync::mpsc::channel();
    let writer = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut database = runtime.block_on(Writer::new(&place));
        begun.recv().unwrap();
        runtime.block_on(database.execute(&revoke)).unwrap();
        Instant::now()
    });
    let (mut left, mut closed, mut ping) = (crowd.connected() - stay, Vec::new(), Duration::ZERO);
    begin.send(()).unwrap();
    while left > 0 {
        let sent = Instant::now();
        crowd.send(0, &PINGREQ);
        crowd.listen(|index, heard, when| match heard {
            Heard::Packet(Packet::Pingresp) if index == 0 => ControlFlow::Break(()),
            Heard::Closed if index >= stay => {
                closed.push(when);
                left -= 1;
                ControlFlow::Continue(())
            }
            other => panic!("client {index}: {other:?}"),
        });
        ping = ping.max(sent.elapsed());
    }
    let committed = writer.join().unwrap();
    let after = |when: Option<&Instant>| when.map(|when| when.saturating_duration_since(committed)).unwrap_or_default();
    Bulk { first: after(closed.iter().min()), last: after(closed.iter().max()), ping }
}

/// With `freshness = "strict"`: revokes a device in the database's shell and connects as soon as that has returned, then
/// activates it and connects, so many times. How often it was admitted though it was revoked.
pub(crate) fn admitted_though_revoked(mosquitto: &Mosquitto, kind: Kind, times: usize) -> usize {
    let fleet = Fleet::with_sensors_on(kind);
    // Without the barrier, a change would be seen up to a second later.
    fleet.option("freshness = \"strict\"");
    fleet.option("poll_interval = \"1s\"");
    let login = fleet.psk_device("device-001", "sensor");
    let broker = fleet.start(mosquitto, "psk.conf");
    let admitted = || Client::try_connect(&broker, &login, &Connect::v5("device-001")).is_ok();
    let one = |round| {
        fleet.set_status("device-001", "revoked");
        let wrong = admitted();
        fleet.set_status("device-001", "active");
        assert!(admitted(), "{kind:?}: round {round}");
        wrong
    };
    (0..times).map(one).filter(|wrong| *wrong).count()
}

/// With `freshness = "bounded"`: how long after each commit of a revocation a connection was refused for the first time,
/// in rising order.
pub(crate) fn windows(mosquitto: &Mosquitto, kind: Kind, times: usize) -> Vec<Duration> {
    let fleet = Fleet::with_sensors_on(kind);
    fleet.option("freshness = \"bounded\"");
    let login = fleet.psk_device("device-001", "sensor");
    let broker = fleet.start(mosquitto, "psk.conf");
    let admitted = || Client::try_connect(&broker, &login, &Connect::v5("device-001")).is_ok();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut database = runtime.block_on(Writer::new(&fleet.place()));
    let mut set = |status: &str| {
        let statement = format!("UPDATE devices SET status = '{status}' WHERE name = 'device-001'");
        runtime.block_on(database.execute(&statement)).unwrap();
        Instant::now()
    };
    let mut windows: Vec<Duration> = (0..times)
        .map(|_| {
            let committed = set("revoked");
            while admitted() {}
            let window = committed.elapsed();
            set("active");
            eventually("it is admitted again", || admitted().then_some(()));
            window
        })
        .collect();
    windows.sort();
    windows
}

/// Reloads the broker's configuration some times while one client pings without pause, and tells the longest time that
/// an answer took: before the reloads, and around them. Everybody is still there afterwards.
pub(crate) fn reloads(broker: &Broker, crowd: &mut Crowd, times: usize) -> (Duration, Duration) {
    let ping = |crowd: &mut Crowd| {
        let sent = Instant::now();
        crowd.send(0, &PINGREQ);
        crowd.listen(|index, heard, _| match heard {
            Heard::Packet(Packet::Pingresp) if index == 0 => ControlFlow::Break(()),
            other => panic!("client {index}: {other:?}"),
        });
        sent.elapsed()
    };
    let calm = (0..200).map(|_| ping(crowd)).max().unwrap_or_default();
    let mut longest = Duration::ZERO;
    for _ in 0..times {
        let before = broker.count_in_log("Reloading config");
        broker.hang_up();
        while broker.count_in_log("Reloading config") == before {
            longest = longest.max(ping(crowd));
        }
        for _ in 0..50 {
            longest = longest.max(ping(crowd));
        }
    }
    let mut silent: HashSet<usize> = (0..crowd.connected()).collect();
    for index in 0..crowd.connected() {
        crowd.send(index, &PINGREQ);
    }
    crowd.listen(|index, heard, _| {
        assert_eq!(heard, Heard::Packet(Packet::Pingresp), "client {index}");
        silent.remove(&index);
        if silent.is_empty() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    (calm, longest)
}

/// The longest that a broker has waited for the plugin, by callback, as its log tells with `callback_times`: from call to
/// return, and what of a call was work.
pub(crate) fn callback_times(log: &str) -> BTreeMap<String, (Duration, Duration)> {
    let mut longest = BTreeMap::new();
    for line in log.lines() {
        let Some((_, said)) = line.split_once("longest callback so far ") else { continue };
        let value = |key: &str| said.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('=')).unwrap();
        let time = |key: &str| Duration::from_micros(value(key).parse().unwrap());
        // A later line of the same callback tells no less.
        longest.insert(value("callback").to_owned(), (time("microseconds"), time("processor")));
    }
    longest
}

fn name(number: usize) -> String {
    format!("device-{number:04}")
}
