//! A database on a server of its own, brokers that follow it by a way that can be cut, and what their clients see.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::brokers::installed;
use super::{Broker, Client, Connect, Fleet, Login, callback_times, eventually};
use crate::servers::Kind;
use crate::servers::own::OwnServer;
use crate::servers::proxy::Proxy;

/// The barrier of the brokers that are strict.
pub(crate) const BARRIER: Duration = Duration::from_secs(1);
/// How old the policy of the bounded brokers may be.
pub(crate) const MAX_STALENESS: Duration = Duration::from_secs(3);
/// What a callback may take at most: the barrier, and what a machine with much else to do adds to it.
const LONGEST_CALLBACK: Duration = Duration::from_secs(3);
/// Who is here all the time, who comes and goes, and who is revoked.
const STAYS: &str = "device-stays";
const COMES: &str = "device-comes";
const LEAVES: &str = "device-leaves";

/// What an operator has chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    /// `freshness = "strict"`.
    Strict,
    /// `freshness = "bounded"`, and nobody comes in when the policy is too old.
    Bounded,
    /// `freshness = "bounded"`, and the last policy known admits.
    Serve,
}

/// The server, the way to it, and the brokers behind that.
#[derive(Debug)]
pub(crate) struct Stage {
    fault: String,
    brokers: Vec<(String, Choice, Broker)>,
    leaving: Vec<Client>,
    logins: [Login; 3],
    watch: Option<Watch>,
    pub(crate) fleet: Fleet,
    pub(crate) proxy: Proxy,
    pub(crate) server: OwnServer,
}

impl Stage {
    /// Two brokers of each Mosquitto, one strict and one bounded, and one that serves however old its policy is. Who is
    /// to stay and who is to leave is connected to each; who stays is watched.
    pub(crate) fn new(fault: &str, kind: Kind) -> Self {
        let server = OwnServer::start(kind);
        let proxy = Proxy::to(server.socket_address());
        let fleet = Fleet::on_server(server.database());
        fleet.add_sensor();
        let names = [STAYS, COMES, LEAVES];
        fleet.sql(&format!(
            "INSERT INTO devices (name) VALUES ('{}');
             INSERT INTO credentials (device_id, kind, identity) SELECT id, 'x509_cn', name FROM devices;
             INSERT INTO device_roles SELECT d.id, r.id FROM devices d, roles r",
            names.join("'), ('")
        ));
        fleet.sql(match kind {
            Kind::Postgres => "CREATE ROLE plugin LOGIN PASSWORD 'f1rst'",
            _ => "CREATE USER plugin@'%' IDENTIFIED BY 'f1rst'",
        });
        fleet.sql(&fleet.warden(&["db", "grant-sql", "--plugin-role", "plugin"]));
        if kind == Kind::Mariadb {
            // Else its own tables may not survive SIGKILL.
            fleet.sql("FLUSH TABLES");
        }
        let logins = names.map(|name| fleet.ca.device_with_raw_name(name.as_bytes()));
        let address = fleet.place().replace("//warden@", "//plugin:f1rst@").replace("//root@", "//plugin:f1rst@");
        let mut stage = Self {
            fault: format!("{fault}, {kind:?}"),
            brokers: Vec::new(),
            leaving: Vec::new(),
            logins,
            watch: None,
            fleet,
            proxy,
            server,
        };
        stage.start_brokers(&stage.proxy.instead_of(&address));
        stage
    }

    fn start_brokers(&mut self, database: &str) {
        let mosquittos = installed();
        let both = mosquittos.iter().flat_map(|it| [(it, Choice::Strict), (it, Choice::Bounded)]);
        for (mosquitto, choice) in both.chain(mosquittos.last().map(|it| (it, Choice::Serve))) {
            let freshness = if choice == Choice::Strict { "strict" } else { "bounded" };
            let on_stale = if choice == Choice::Serve { "serve" } else { "refuse" };
            let (barrier, staleness) =
                (format!("{}ms", BARRIER.as_millis()), format!("{}ms", MAX_STALENESS.as_millis()));
            let options = [
                ("database", database),
                ("freshness", freshness),
                ("on_stale", on_stale),
                ("barrier_timeout", &barrier),
                ("max_staleness", &staleness),
                ("callback_times", "true"),
                ("refusals_per_second", "10000"),
            ];
            let configuration = self.fleet.configuration_with("certificates.conf", &options);
            let broker = self.fleet.start_with(mosquitto, &configuration);
            self.brokers.push((mosquitto.name.clone(), choice, broker));
        }
        let connect = |name: &str, login| {
            self.brokers.iter().map(|(_, _, broker)| Client::connect(broker, login, &Connect::v5(name))).collect()
        };
        let staying: Vec<Client> = connect(STAYS, &self.logins[0]);
        self.leaving = connect(LEAVES, &self.logins[2]);
        for client in &mut self.leaving {
            assert_ne!(client.publish_acknowledged(&format!("devices/{LEAVES}/data"), "x").unwrap(), 0x87);
        }
        self.watch = Some(Watch::new(staying));
    }

    pub(crate) fn brokers(&self) -> impl Iterator<Item = (Choice, &Broker)> {
        self.brokers.iter().map(|(_, choice, broker)| (*choice, broker))
    }

    /// Every broker's log comes to say this.
    pub(crate) fn all_say(&self, text: &str) {
        for (_, broker) in self.brokers() {
            broker.wait_for_log(text);
        }
    }

    /// `UPDATE`, committed, straight at the server: from now on no strict broker lets it in.
    pub(crate) fn revoke(&self) {
        self.fleet.set_status(LEAVES, "revoked");
    }

    /// Everybody who may come is let in by every broker.
    pub(crate) fn all_admit(&self) {
        for (_, broker) in self.brokers() {
            eventually("who may come is let in", || self.admits(broker, false).then_some(()));
        }
    }

    /// New clients are served as the operator has chosen for a database that is away.
    pub(crate) fn all_do_without(&self) {
        for (choice, broker) in self.brokers() {
            let wanted = choice == Choice::Serve;
            eventually("clients are answered as was chosen", || (self.admits(broker, false) == wanted).then_some(()));
            // From here on it stays so, and whoever was revoked is nobody better.
            assert_eq!(self.admits(broker, false), wanted, "{}: {choice:?}", self.fault);
            if !wanted {
                assert!(!self.admits(broker, true), "{}: {choice:?}", self.fault);
            }
        }
    }

    /// The revoked device is refused by all that are strict.
    pub(crate) fn none_strict_admits_the_revoked(&self) {
        for (_, broker) in self.brokers().filter(|(choice, _)| *choice == Choice::Strict) {
            assert!(!self.admits(broker, true), "{}", self.fault);
        }
    }

    /// Every session of the revoked device is ended, and it is not let in again. The others are.
    pub(crate) fn revocation_is_in_force(&mut self) {
        for client in &mut self.leaving {
            client.closed();
        }
        for (choice, broker) in self.brokers() {
            assert!(!self.admits(broker, true), "{}: {choice:?}", self.fault);
        }
        self.all_admit();
    }

    /// Whether this broker lets in who is revoked, or is to be.
    pub(crate) fn admits_the_revoked(&self, broker: &Broker) -> bool {
        self.admits(broker, true)
    }

    /// How long it takes until every broker has ended the session of the revoked device.
    pub(crate) fn until_all_have_seen_it(&mut self, limit: Duration) -> Duration {
        let begun = Instant::now();
        for client in &mut self.leaving {
            while client.ping().is_ok() {
                assert!(begun.elapsed() < limit, "{}: not seen within {limit:?}", self.fault);
                thread::park_timeout(Duration::from_millis(10));
            }
        }
        begun.elapsed()
    }

    fn admits(&self, broker: &Broker, revoked: bool) -> bool {
        let (name, login) = if revoked { (LEAVES, &self.logins[2]) } else { (COMES, &self.logins[1]) };
        Client::try_connect(broker, login, &Connect::v5(name)).is_ok_and(|(_, code)| code == 0)
    }

    /// Ends the brokers, none of which has crashed or kept anybody waiting, and prints what was measured.
    pub(crate) fn end(mut self) {
        let pings = self.watch.take().unwrap().end();
        self.proxy.reset();
        let stopping = self.brokers.drain(..).map(|(name, choice, broker)| {
            let log = thread::spawn(move || broker.stop());
            (name, choice, log)
        });
        let stopped: Vec<_> = stopping.collect();
        for ((name, choice, log), ping) in stopped.into_iter().zip(pings) {
            let (code, log) = log.join().unwrap();
            assert_eq!(code, Some(0), "{}: mosquitto {name}, {choice:?}: {log}", self.fault);
            assert_eq!(log.lines().filter(|line| line.contains("panic")).count(), 0, "{log}");
            let times = callback_times(&log);
            let (callback, (time, _)) = times.iter().max_by_key(|(_, (time, _))| *time).unwrap();
            let work = times.values().map(|(_, work)| *work).max().unwrap();
            println!("| {} | {name} | {choice:?} | {callback} {time:.1?} | {work:.1?} | {ping:.1?} |", self.fault);
            assert!(*time < LONGEST_CALLBACK, "{}: mosquitto {name}, {choice:?}: {times:?}", self.fault);
        }
    }
}

/// Somebody who uses every broker without pause.
#[derive(Debug)]
struct Watch {
    ended: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Duration>>,
}

impl Watch {
    fn new(mut clients: Vec<Client>) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&ended);
        let thread = thread::spawn(move || {
            let mut longest = vec![Duration::ZERO; clients.len()];
            for round in 0_u32.. {
                if told.load(Ordering::Acquire) {
                    break;
                }
                for (client, longest) in clients.iter_mut().zip(&mut longest) {
                    let begun = Instant::now();
                    client.ping().expect("who is there stays");
                    *longest = begun.elapsed().max(*longest);
                    if round % 32 != 0 {
                        continue;
                    }
                    let mut publish = |device| client.publish_acknowledged(&format!("devices/{device}/data"), "x");
                    assert_ne!(publish(STAYS).expect("who is there stays"), 0x87, "it keeps its rights");
                    assert_eq!(publish(COMES).expect("who is there stays"), 0x87, "and gets no others");
                }
                thread::park_timeout(Duration::from_millis(10));
            }
            longest
        });
        Self { ended, thread }
    }

    /// The longest that each broker has taken for an answer.
    fn end(self) -> Vec<Duration> {
        self.ended.store(true, Ordering::Release);
        self.thread.join().expect("who is there stays, and keeps its rights")
    }
}
