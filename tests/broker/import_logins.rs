//! Devices whose passwords were imported log in with the ones that they have, on real brokers, and may do what they could.

use std::fs;
use std::process::Command;

use crate::harness::{Broker, Fleet, Login, Mosquitto, eventually, give_to_broker, on_every_broker};
use crate::passwords::mosquitto_passwd;

/// What comes of `mosquitto_pub` or `mosquitto_sub`.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    Allowed,
    Denied,
    NotLetIn,
}

fn heard(code: Option<i32>, stderr: &str) -> Heard {
    if stderr.contains("Publish 1 failed: Not authorized") || stderr.contains("All subscription requests were denied") {
        return Heard::Denied;
    }
    if stderr.contains("Connection error: Not authorized") {
        return Heard::NotLetIn;
    }
    assert!(code == Some(0) && stderr.is_empty(), "{code:?}: {stderr}");
    Heard::Allowed
}

fn publish(broker: &Broker, login: &Login, client_id: &str, topic: &str) -> Heard {
    let outcome = broker.mosquitto_pub(login, &["-V", "5", "-q", "1", "-i", client_id, "-t", topic, "-m", "21"]);
    heard(outcome.code, &outcome.stderr)
}

/// Ends when the broker has answered.
fn subscribe(broker: &Broker, login: &Login, client_id: &str, filter: &str) -> Heard {
    let outcome = broker.mosquitto_sub(login, &["-V", "5", "-q", "1", "-E", "-i", client_id, "-t", filter]);
    heard(outcome.code, &outcome.stderr)
}

/// A device, with a topic that it may publish to and one that it may not.
#[derive(Debug)]
pub(crate) struct Old<'a> {
    pub(crate) name: &'a str,
    pub(crate) password: &'a str,
    pub(crate) allowed: &'a str,
    pub(crate) denied: &'a str,
}

/// What somebody with the right password hears in the end: to check some hashes costs as much as the budget has for a
/// while, and one that was upgraded has to be checked once more.
fn let_in(ask: impl Fn() -> Heard) -> Heard {
    eventually("the old password lets in", || {
        let heard = ask();
        (heard != Heard::NotLetIn).then_some(heard)
    })
}

/// What a broker needs for [`logs_in_as_before`].
pub(crate) fn upgrades_hashes(fleet: &Fleet) {
    for option in ["password_upgrade = true", "login_budget = \"900ms\"", "login_attempts = 1000"] {
        fleet.option(option);
    }
}

/// The device comes in with its old password, which is hashed anew behind that, and with no other one.
pub(crate) fn logs_in_as_before(fleet: &Fleet, broker: &Broker, old: &Old<'_>) {
    let login = fleet.ca.password(old.name, old.password);
    let right = |topic| let_in(|| publish(broker, &login, old.name, topic));
    assert_eq!(right(old.allowed), Heard::Allowed, "{old:?}");
    let stored = format!("SELECT secret FROM credentials WHERE kind = 'password' AND identity = '{}'", old.name);
    eventually("the hash is upgraded", || fleet.sql(&stored).starts_with("$argon2id$").then_some(()));
    assert_eq!(right(old.denied), Heard::Denied, "{old:?}");
    let wrong = fleet.ca.password(old.name, format!("{} ", old.password));
    eventually("a wrong password is found to be wrong", || {
        assert_eq!(publish(broker, &wrong, old.name, old.allowed), Heard::NotLetIn, "{old:?}");
        let refused = format!("user={0} device={0} client={0} reason=wrong-password", old.name);
        (broker.count_in_log(&refused) > 0).then_some(())
    });
    assert_eq!(right(old.allowed), Heard::Allowed, "{old:?}");
}

/// The example for passwords with Mosquitto's own files in the plugin's place.
fn with_files(fleet: &Fleet) -> String {
    let example = fleet.configuration("passwords.conf");
    let lines = example.lines().filter(|line| !line.starts_with("plugin"));
    let own =
        format!("password_file {}\nacl_file {}", fleet.path("etc/passwd").display(), fleet.path("etc/acl").display());
    std::iter::once(&*own).chain(lines).collect::<Vec<_>>().join("\n")
}

const ACL: &str = "\
user device-001
topic write devices/device-001/#
topic read devices/device-001/cmd

user device-002
topic write devices/device-002/#
";

/// A `password_file` of the `mosquitto_passwd` that came with this broker, in each form that it writes.
fn password_file(fleet: &Fleet, mosquitto: &Mosquitto, olds: &[Old<'_>]) {
    let file = fleet.path("etc/passwd");
    for (number, old) in olds.iter().enumerate() {
        let mut arguments = if number == 0 { vec!["-c"] } else { Vec::new() };
        // 2.1 writes it no more.
        if number == 1 && !mosquitto.has_connect_event() {
            arguments.extend(["-H", "sha512"]);
        }
        arguments.extend(["-b", file.to_str().unwrap(), old.name, old.password]);
        mosquitto_passwd(mosquitto, &arguments);
    }
    let written = fs::read_to_string(&file).unwrap();
    assert!(written.starts_with("device-001:$7$"), "{written}");
    assert_eq!(written.contains("device-002:$6$"), !mosquitto.has_connect_event(), "{written}");
}

#[test]
fn who_was_in_a_password_file_logs_in_as_before() {
    on_every_broker(|mosquitto| {
        let olds = [("device-001", "correct horse"), ("device-002", "battery staple")].map(|(name, password)| {
            let (allowed, denied) = match name {
                "device-001" => ("devices/device-001/data", "devices/device-002/data"),
                _ => ("devices/device-002/data", "devices/device-001/data"),
            };
            Old { name, password, allowed, denied }
        });
        let fleet = Fleet::new();
        password_file(&fleet, mosquitto, &olds);
        fs::write(fleet.path("etc/acl"), ACL).unwrap();
        for file in ["etc/passwd", "etc/acl"] {
            give_to_broker(&fleet.path(file));
        }
        let broker = fleet.start_with(mosquitto, &with_files(&fleet));
        let mine = fleet.ca.password("device-001", "correct horse");
        for old in &olds {
            let login = fleet.ca.password(old.name, old.password);
            assert_eq!(publish(&broker, &login, old.name, old.allowed), Heard::Allowed, "{old:?}");
            assert_eq!(publish(&broker, &login, old.name, old.denied), Heard::Denied, "{old:?}");
            let wrong = fleet.ca.password(old.name, "wrong");
            assert_eq!(publish(&broker, &wrong, old.name, old.allowed), Heard::NotLetIn, "{old:?}");
        }
        assert_eq!(subscribe(&broker, &mine, "device-001", "devices/device-001/cmd"), Heard::Allowed);
        drop(broker);

        let import = |words: &[&str], file: &str| {
            let file = fleet.path(file);
            fleet.warden(&[&["import"], words, &[file.to_str().unwrap()]].concat())
        };
        import(&["password-file"], "etc/passwd");
        import(&["acl-file"], "etc/acl");
        upgrades_hashes(&fleet);
        let broker = fleet.start(mosquitto, "passwords.conf");
        for old in &olds {
            logs_in_as_before(&fleet, &broker, old);
        }
        let subscribes = |filter| let_in(|| subscribe(&broker, &mine, "device-001", filter));
        assert_eq!(subscribes("devices/device-001/cmd"), Heard::Allowed);
        // The file let it subscribe, and gave it nothing: the import has told that this is refused now.
        assert_eq!(subscribes("devices/device-002/cmd"), Heard::Denied);
        // What was upgraded meanwhile is the same password, and nothing to tell.
        let again = import(&["password-file"], "etc/passwd");
        assert!(again.contains("0 added, 2 there already") && !again.contains("keeps its own secret"), "{again}");
    });
}

/// The files that Mosquitto comes with; all their users have the same password.
#[test]
fn who_is_in_mosquittos_own_examples_logs_in_as_before() {
    on_every_broker(|mosquitto| {
        let fleet = Fleet::new();
        for (source, file) in [("password-file", "pwfile"), ("acl-file", "aclfile")] {
            fleet.warden(&["import", source, &format!("/usr/share/doc/mosquitto/examples/{file}.example")]);
        }
        upgrades_hashes(&fleet);
        let broker = fleet.start(mosquitto, "passwords.conf");
        let roger = Old { name: "roger", password: "password", allowed: "foo/bar", denied: "foo/baz" };
        logs_in_as_before(&fleet, &broker, &roger);
        // Nothing but the pattern is for this one, which is let in and may do none of it.
        let login = fleet.ca.password("sub_client", "password");
        assert_eq!(let_in(|| publish(&broker, &login, "sub_client", "foo/bar")), Heard::Denied);
        assert_eq!(let_in(|| subscribe(&broker, &login, "sub_client", "foo/bar")), Heard::Denied);
    });
}

/// As the plugin's documentation has them, with the hash of `testpw` in its tests, and one of bcrypt's own examples.
const TABLES: &str = "
    create table test_user (id integer primary key, username varchar(100) not null,
                            password_hash varchar(200) not null, is_admin integer not null);
    create table test_acl (id integer primary key, test_user_id integer not null, topic varchar(200) not null,
                           rw integer not null, foreign key(test_user_id) references test_user(id));
    insert into test_user values
        (1, 'test', 'PBKDF2$sha512$100000$os24lcPr9cJt2QDVWssblQ==$BK1BQ2wbwU1zNxv3Ml3wLuu5//hPop3/LvaPYjjCwdBvnpwusnukJPpcXQzyyjOlZdieXTx6sXAcX4WnZRZZnw==', 0),
        (2, 'other', '$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW', 0),
        (3, 'root', '$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc', 1);
    insert into test_acl values (1, 1, 'test/%u/#', 2), (2, 1, 'test/cmd', 1), (3, 1, 'test/cmd', 4),
                                (4, 2, 'test/topic/+', 3), (5, 2, 'test/topic/+', 4);";

#[test]
fn who_was_in_the_tables_of_go_auth_logs_in_as_before() {
    on_every_broker(|mosquitto| {
        let fleet = Fleet::new();
        let tables = fleet.path("go-auth.db");
        assert!(Command::new("sqlite3").arg(&tables).arg(TABLES).status().unwrap().success());
        let words = ["import", "go-auth-sql", tables.to_str().unwrap()];
        let told = fleet.warden(&words);
        for words in ["user `root` may do anything", "`test/topic/+`: a subscription with `#`", "a shared subscription"]
        {
            assert!(told.contains(words), "{words}: {told}");
        }
        upgrades_hashes(&fleet);
        let broker = fleet.start(mosquitto, "passwords.conf");
        for (name, password, allowed, denied) in [
            ("test", "testpw", "test/test/data", "test/other/data"),
            ("other", "U*U", "test/topic/1", "test/topic/1/2"),
            ("root", "password", "test/topic/1/2", "$CONTROL/broker/v1"),
        ] {
            let old = Old { name, password, allowed, denied };
            // Its hash costs more than a new one would, and stays.
            if name != "root" {
                logs_in_as_before(&fleet, &broker, &old);
            }
            let login = fleet.ca.password(name, password);
            for (topic, expected) in [(allowed, Heard::Allowed), (denied, Heard::Denied)] {
                assert_eq!(let_in(|| publish(&broker, &login, name, topic)), expected, "{name} {topic}");
            }
        }
        for (name, password, filter, expected) in [
            ("test", "testpw", "test/cmd", Heard::Allowed),
            ("test", "testpw", "test/test/data", Heard::Denied),
            ("other", "U*U", "test/topic/+", Heard::Allowed),
            ("other", "U*U", "test/topic/#", Heard::Denied),
        ] {
            let login = fleet.ca.password(name, password);
            assert_eq!(let_in(|| subscribe(&broker, &login, name, filter)), expected, "{name} {filter}");
        }
    });
}
