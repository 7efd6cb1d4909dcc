//! Several brokers on one database: what is known of each, and what they confirm to whoever waits.

use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

use crate::harness::{Broker, Client, Connect, End, Fleet, Login, Mosquitto, eventually, installed, on_every_broker};
use crate::servers::Kind;

const KINDS: [Kind; 3] = [Kind::Sqlite, Kind::Postgres, Kind::Mariadb];
const SERVERS: [Kind; 2] = [Kind::Postgres, Kind::Mariadb];

/// Two brokers of one fleet, `a` and `b`: the oldest Mosquitto there is and the newest.
fn two(fleet: &Fleet, options: &[(&str, &str)]) -> [Broker; 2] {
    let all = installed();
    let start = |mosquitto: &Mosquitto, name| named(fleet, mosquitto, name, options);
    [start(all.first().unwrap(), "a"), start(all.last().unwrap(), "b")]
}

fn named(fleet: &Fleet, mosquitto: &Mosquitto, name: &str, options: &[(&str, &str)]) -> Broker {
    let options: Vec<_> = options.iter().copied().chain([("broker_name", name)]).collect();
    fleet.start_with(mosquitto, &fleet.configuration_with("certificates.conf", &options))
}

fn brokers(fleet: &Fleet) -> Vec<Value> {
    serde_json::from_str(&fleet.warden(&["broker", "list", "--json"])).unwrap()
}

/// A session that the plugin knows of: on 2.0 that takes a message.
fn session(broker: &Broker, login: &Login, name: &str) -> Client {
    let mut client = Client::connect(broker, login, &Connect::v5(name));
    assert_ne!(client.publish_acknowledged(&format!("devices/{name}/data"), "x").unwrap(), 0x87);
    client
}

/// Whether the broker lets it in now.
fn admitted(broker: &Broker, login: &Login, name: &str) -> bool {
    Client::try_connect(broker, login, &Connect::v5(name)).is_ok_and(|(_, code)| code == 0)
}

/// The connection is closed now, without waiting for it.
fn is_closed(client: &mut Client) -> bool {
    client.do_not_block();
    loop {
        match client.poll() {
            Ok(_) => {}
            Err(End::Silent) => return false,
            Err(_) => return true,
        }
    }
}

/// What `warden` said: its exit code, its standard output and its standard error.
fn said(fleet: &Fleet, arguments: &[&str]) -> (i32, String, String) {
    let output = fleet.try_warden(arguments);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn the_list_shows_every_broker_with_its_version_its_sessions_and_its_revision() {
    for kind in KINDS {
        let fleet = Fleet::with_sensors_on(kind);
        assert!(brokers(&fleet).is_empty());
        let logins: Vec<Login> =
            ["device-001", "device-002"].map(|name| fleet.certificate_device(name, "sensor")).into();
        let all = installed();
        let running: Vec<Broker> = all.iter().map(|mosquitto| named(&fleet, mosquitto, &mosquitto.name, &[])).collect();
        let mut clients: Vec<Client> = running.iter().map(|broker| session(broker, &logins[0], "device-001")).collect();
        fleet.warden(&["device", "set", "device-002", "--attribute", "site=oslo"]);
        clients.push(session(running.first().unwrap(), &logins[1], "device-002"));
        let status: Value = serde_json::from_str(&fleet.warden(&["status", "--json"])).unwrap();
        // What nobody waits for is told with the next heartbeat.
        let listed = eventually("each is listed as it is", || {
            fleet.warden(&["broker", "wait", "--timeout", "1m"]);
            let listed = brokers(&fleet);
            let count = |broker: &Value| broker["sessions"].as_u64().unwrap();
            let wanted = if all.len() == 1 { vec![2] } else { [vec![2], vec![1; all.len() - 1]].concat() };
            let current = listed.iter().all(|broker| broker["revision"] == status["revision"]);
            (current && listed.iter().map(count).collect::<Vec<_>>() == wanted).then_some(listed)
        });
        for (broker, mosquitto) in listed.iter().zip(&all) {
            assert_eq!(broker["name"], mosquitto.name.as_str());
            assert_eq!(broker["mosquitto"], mosquitto.version());
            assert_eq!(broker["version"], env!("CARGO_PKG_VERSION"));
            assert_eq!((&broker["state"], &broker["behind"]), (&"live".into(), &0.into()), "{broker}");
        }
        let table = fleet.warden(&["broker", "list"]);
        assert!(table.starts_with("BROKER") && table.contains(" live "), "{table}");
    }
}

#[test]
fn when_revoke_returns_every_broker_has_closed_the_session_and_refuses_the_next() {
    for kind in KINDS {
        let fleet = Fleet::with_sensors_on(kind);
        // Nobody would see it by asking for as long as this takes.
        let brokers = two(&fleet, &[("heartbeat_interval", "1m")]);
        let login = fleet.certificate_device("device-001", "sensor");
        fleet.warden(&["broker", "wait", "--timeout", "1m"]);
        for round in 0..10 {
            let mut clients = brokers.each_ref().map(|broker| session(broker, &login, "device-001"));
            let printed = fleet.warden(&["device", "revoke", "device-001", "--wait", "--timeout", "1m"]);
            assert!(clients.iter_mut().all(is_closed), "{kind:?}: round {round}");
            assert!(printed.contains("now revoked") && printed.contains("carried out by `a`, `b`"), "{printed}");
            for broker in &brokers {
                assert!(!admitted(broker, &login, "device-001"), "{kind:?}: round {round}");
            }
            // What ended with it stays so, but for plain SQL.
            fleet.sql("UPDATE credentials SET status = 'active'");
            fleet.warden(&["device", "activate", "device-001", "--wait", "--timeout", "1m"]);
            for broker in &brokers {
                assert!(admitted(broker, &login, "device-001"), "{kind:?}: round {round}");
            }
        }
        // A right that is gone, when the command returns, is gone.
        let mut clients = brokers.each_ref().map(|broker| session(broker, &login, "device-001"));
        fleet.warden(&["role", "withdraw", "sensor", "device-001", "--wait", "--timeout", "1m"]);
        for client in &mut clients {
            assert_eq!(client.publish_acknowledged("devices/device-001/data", "x").unwrap(), 0x87);
        }
        // And the same for what was changed with plain SQL.
        fleet.set_status("device-001", "revoked");
        fleet.warden(&["broker", "wait", "--timeout", "1m"]);
        assert!(clients.iter_mut().all(is_closed), "{kind:?}");
    }
}

#[test]
fn many_sessions_of_one_device_are_closed_when_revoke_returns() {
    on_every_broker(|mosquitto| {
        let fleet = Fleet::with_sensors_on(Kind::Postgres);
        let broker = named(&fleet, mosquitto, "a", &[]);
        let login = fleet.certificate_device("device-001", "sensor");
        fleet.warden(&["broker", "wait", "--timeout", "1m"]);
        let connect = |number| {
            let mut client = Client::connect(&broker, &login, &Connect::v5(format!("device-001-{number}")));
            assert_ne!(client.publish_acknowledged("devices/device-001/data", "x").unwrap(), 0x87);
            client
        };
        let mut clients: Vec<Client> = (0..200).map(connect).collect();
        fleet.warden(&["device", "revoke", "device-001", "--wait", "--timeout", "1m"]);
        assert!(clients.iter_mut().all(is_closed));
    });
}

#[test]
fn a_broker_that_does_not_answer_is_named_and_the_exit_code_says_so() {
    for kind in SERVERS {
        let fleet = Fleet::with_sensors_on(kind);
        let brokers = two(&fleet, &[("heartbeat_interval", "100ms")]);
        let login = fleet.certificate_device("device-001", "sensor");
        fleet.warden(&["broker", "wait", "--timeout", "1m"]);
        let mut clients = brokers.each_ref().map(|broker| session(broker, &login, "device-001"));
        brokers[1].freeze();
        let revoke = ["device", "revoke", "device-001", "--wait", "--timeout", "1s"];
        let (code, stdout, stderr) = said(&fleet, &revoke);
        assert_eq!(code, 7, "{stdout}{stderr}");
        assert!(stdout.contains("now revoked") && stdout.contains("carried out by `a`\n"), "{stdout}");
        assert!(stderr.contains("not confirmed by `b`") && !stderr.contains("`a`"), "{stderr}");
        assert!(is_closed(&mut clients[0]) && !is_closed(&mut clients[1]));
        eventually("it is silent", || {
            let listed = fleet.warden(&["broker", "list", "--json"]);
            let listed: Vec<Value> = serde_json::from_str(&listed).unwrap();
            (listed[1]["state"] == "silent" && listed[0]["state"] == "live").then_some(())
        });
        let (code, stdout, stderr) = said(&fleet, &[&revoke[..], &["--json"]].concat());
        let object: Value = serde_json::from_str(&stdout).unwrap();
        assert_eq!((code, &object["changed"]), (7, &false.into()), "{stderr}");
        assert_eq!(object["confirmation"]["confirmed"], false);
        assert_eq!(object["confirmation"]["brokers"][0]["confirmed"], true);
        assert_eq!(object["confirmation"]["brokers"][1]["confirmed"], false);
        let (_, _, stderr) = said(&fleet, &["broker", "wait", "--timeout", "100ms"]);
        assert!(stderr.contains("which is silent") && stderr.contains("warden broker forget"), "{stderr}");
        // It is there again, and there is nothing that it has missed.
        brokers[1].thaw();
        fleet.warden(&["broker", "wait", "--timeout", "1m"]);
        assert!(is_closed(&mut clients[1]));
    }
}

#[test]
fn who_has_ended_is_not_waited_for_and_who_was_killed_is_until_it_is_back() {
    for kind in KINDS {
        let fleet = Fleet::with_sensors_on(kind);
        let options = [("heartbeat_interval", "100ms")];
        let [a, b] = two(&fleet, &options);
        fleet.certificate_device("device-001", "sensor");
        fleet.warden(&["broker", "wait", "--timeout", "1m"]);
        let (code, log) = b.stop();
        assert_eq!(code, Some(0), "{log}");
        let listed = brokers(&fleet);
        assert_eq!((&listed[0]["state"], &listed[1]["state"]), (&"live".into(), &"ended".into()));
        let printed = fleet.warden(&["device", "revoke", "device-001", "--wait", "--timeout", "1m"]);
        assert!(printed.contains("carried out by `a`\n"), "{printed}");
        // It comes back under its name.
        let b = named(&fleet, installed().last().unwrap(), "b", &options);
        let printed = fleet.warden(&["broker", "wait", "--timeout", "1m"]);
        assert!(printed.contains("carried out by `a`, `b`"), "{printed}");
        // Killed, it says nothing; its successor has the name when that is certain, and the row is waited for meanwhile.
        drop(b);
        let (code, _, stderr) = said(&fleet, &["broker", "wait", "--timeout", "100ms"]);
        assert!(code == 7 && stderr.contains("not confirmed by `b`"), "{stderr}");
        let b = named(&fleet, installed().last().unwrap(), "b", &options);
        b.wait_for_log("has not said that it ended");
        fleet.warden(&["broker", "wait", "--timeout", "1m"]);
        b.wait_for_log("heartbeat is written");
        drop((a, b));
        eventually("both are silent", || {
            brokers(&fleet).iter().all(|broker| broker["state"] == "silent").then_some(())
        });
        for name in ["a", "b"] {
            fleet.warden(&["broker", "forget", name]);
        }
        let (code, _, stderr) = said(&fleet, &["broker", "wait"]);
        assert!(code == 7 && stderr.contains("no broker has registered"), "{stderr}");
    }
}

#[test]
fn two_brokers_of_one_name_are_told() {
    let fleet = Fleet::with_sensors_on(Kind::Sqlite);
    let all = installed();
    let _first = named(&fleet, all.first().unwrap(), "a", &[("heartbeat_interval", "100ms")]);
    let second = named(&fleet, all.last().unwrap(), "a", &[("heartbeat_interval", "100ms")]);
    second.wait_for_log("another broker runs under this name");
    assert_eq!(brokers(&fleet).len(), 1);
}

/// A user of the server with the rights that `warden db grant-sql` writes.
struct Limited<'a> {
    fleet: &'a Fleet,
    kind: Kind,
    user: String,
}

impl<'a> Limited<'a> {
    fn new(fleet: &'a Fleet, kind: Kind) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let user = format!("limited_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        fleet.sql(&match kind {
            Kind::Postgres => format!("CREATE ROLE {user} LOGIN"),
            _ => format!("CREATE USER '{user}'@'%'"),
        });
        let limited = Self { fleet, kind, user };
        limited.grant(&[]);
        limited
    }

    fn grant(&self, more: &[&str]) {
        let written = self.fleet.warden(&[&["db", "grant-sql", "--plugin-role", &self.user][..], more].concat());
        self.fleet.sql(&written);
    }

    fn place(&self) -> String {
        let place = self.fleet.place();
        let (scheme, rest) = place.split_once("://").unwrap();
        format!("{scheme}://{}@{}", self.user, rest.split_once('@').unwrap().1)
    }
}

impl Drop for Limited<'_> {
    fn drop(&mut self) {
        let user = &self.user;
        self.fleet.sql(&match self.kind {
            Kind::Postgres => format!("DROP OWNED BY {user}; DROP ROLE {user}"),
            _ => format!("DROP USER '{user}'@'%'"),
        });
    }
}

#[test]
fn without_the_right_to_register_all_else_works_and_with_it_the_broker_registers() {
    for kind in SERVERS {
        on_every_broker(|mosquitto| {
            let fleet = Fleet::with_sensors_on(kind);
            let login = fleet.certificate_device("device-001", "sensor");
            let limited = Limited::new(&fleet, kind);
            let place = limited.place();
            let file = fleet.path("etc/warden.toml");
            let options = std::fs::read_to_string(&file).unwrap();
            std::fs::write(&file, options.replace(&fleet.place(), &place)).unwrap();
            let broker = named(&fleet, mosquitto, "a", &[("heartbeat_interval", "100ms")]);
            broker.wait_for_log("broker is not registered");
            let mut client = session(&broker, &login, "device-001");
            fleet.set_status("device-001", "revoked");
            client.closed();
            fleet.set_status("device-001", "active");
            let (code, _, stderr) = said(&fleet, &["broker", "wait"]);
            assert!(code == 7 && stderr.contains("no broker has registered"), "{stderr}");
            limited.grant(&["--heartbeat"]);
            broker.wait_for_log("heartbeat is written");
            let mut client = session(&broker, &login, "device-001");
            fleet.warden(&["device", "revoke", "device-001", "--wait", "--timeout", "1m"]);
            assert!(is_closed(&mut client) && !admitted(&broker, &login, "device-001"));
            let (_, log) = broker.stop();
            let told: Vec<&str> = log.lines().filter(|line| line.contains("not registered")).collect();
            assert!(told.iter().any(|line| line.contains("warden db grant-sql --heartbeat")), "{told:?}");
            // Behind the time that the broker puts in front.
            let mut once: Vec<&str> = told.iter().map(|line| line.split_once(' ').unwrap().1).collect();
            once.dedup();
            assert_eq!(once.len(), told.len(), "{told:?}");
            assert_eq!(brokers(&fleet)[0]["state"], "ended");
            drop(limited);
        });
    }
}

#[test]
fn a_heartbeat_that_has_lost_its_connection_comes_back() {
    for kind in SERVERS {
        on_every_broker(|mosquitto| {
            let fleet = Fleet::with_sensors_on(kind);
            let login = fleet.certificate_device("device-001", "sensor");
            let broker = named(&fleet, mosquitto, "a", &[("heartbeat_interval", "100ms")]);
            for _ in 0..3 {
                fleet.warden(&["broker", "wait", "--timeout", "1m"]);
                if kind == Kind::Postgres {
                    fleet.sql(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                         WHERE datname = current_database() AND pid <> pg_backend_pid()",
                    );
                } else {
                    let others = "SELECT group_concat(concat('KILL ', id) SEPARATOR ';')
                                  FROM information_schema.processlist WHERE db = database() AND id <> connection_id()";
                    fleet.sql(fleet.sql(others).trim());
                }
            }
            let mut client = session(&broker, &login, "device-001");
            fleet.warden(&["device", "revoke", "device-001", "--wait", "--timeout", "1m"]);
            assert!(is_closed(&mut client) && !admitted(&broker, &login, "device-001"));
        });
    }
}

/// Ends with the test.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_heartbeat_that_is_held_up_holds_up_nothing_else() {
    on_every_broker(|mosquitto| {
        let fleet = Fleet::with_sensors_on(Kind::Postgres);
        let login = fleet.certificate_device("device-001", "sensor");
        let broker = named(&fleet, mosquitto, "a", &[("heartbeat_interval", "100ms")]);
        let mut client = session(&broker, &login, "device-001");
        fleet.warden(&["broker", "wait", "--timeout", "1m"]);
        // Reading is possible, writing is not.
        let lock = "BEGIN; LOCK TABLE brokers IN SHARE ROW EXCLUSIVE MODE; SELECT pg_sleep(120)";
        let mut shell = Command::new("psql");
        shell.args(["-X", "-qAt", "-d", &fleet.place(), "-c", lock]).stdout(Stdio::null()).stderr(Stdio::null());
        let guard = Guard(shell.spawn().unwrap());
        let holder = "FROM pg_locks WHERE mode = 'ShareRowExclusiveLock' AND granted AND relation = 'brokers'::regclass
                      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
        let is_locked = format!("SELECT count(*) {holder}");
        eventually("the table is locked", || (fleet.sql(&is_locked).trim() == "1").then_some(()));
        fleet.set_status("device-001", "revoked");
        client.closed();
        assert!(!admitted(&broker, &login, "device-001"));
        let (code, _, stderr) = said(&fleet, &["broker", "wait", "--timeout", "500ms"]);
        assert!(code == 7 && stderr.contains("not confirmed by `a`"), "{stderr}");
        drop(guard);
        // The server notices that the shell is gone when it next looks.
        fleet.sql(&format!("SELECT pg_terminate_backend(pid) {holder}"));
        fleet.warden(&["broker", "wait", "--timeout", "1m"]);
    });
}
