use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Instant;

use crate::harness::{Client, Connect, End, Fleet, Login, Mosquitto, eventually, installed, on_every_broker};
use crate::listeners::{Gate, Listener, MINE, OTHER, Setting};
use crate::servers::Kind;

const TOPIC: &str = "devices/device-001/data";

/// What `mosquitto_pub` is told at CONNECT: it prints the reason, and ends with the return code.
fn published(setting: &Setting, login: &Login, client_id: &str) -> bool {
    let outcome = setting.broker.mosquitto_pub(login, &["-q", "1", "-i", client_id, "-t", TOPIC, "-m", "21"]);
    let refused = outcome.stderr.contains("not authorised") || outcome.stderr.contains("Not authorized");
    assert_eq!(outcome.code == Some(0), !refused, "{outcome:?}");
    !refused
}

#[test]
fn a_right_password_is_let_in_and_every_other_refused() {
    on_every_broker(|mosquitto| {
        let setting = Setting::new(mosquitto, Listener::Passwords);
        let ca = &setting.fleet.ca;
        assert!(published(&setting, &setting.mine, MINE));
        let Login::Password { ca: file, .. } = &setting.mine else { unreachable!() };
        let missing = Login::Password { user_name: MINE.into(), password: None, ca: file.clone() };
        for (login, reason) in [
            (ca.password(MINE, "the password of device-002"), "wrong-password"),
            (ca.password(MINE, "The password of device-001"), "wrong-password"),
            (ca.password(MINE, "the password of device-001 "), "wrong-password"),
            (missing, "wrong-password"),
            (ca.password("device-003", "the password of device-001"), "unknown-identity"),
            (ca.password("DEVICE-001", "the password of device-001"), "unknown-identity"),
        ] {
            let before = setting.broker.count_in_log(&format!("reason={reason}"));
            assert!(!published(&setting, &login, MINE), "{login:?}");
            eventually("the refusal is in the log", || {
                (setting.broker.count_in_log(&format!("reason={reason}")) > before).then_some(())
            });
        }
        assert!(!published(&setting, &setting.mine, OTHER), "a client id that is another's");
        setting.admits(&setting.mine, MINE);
    });
}

#[test]
fn passwords_that_nobody_sane_would_send_are_refused() {
    on_every_broker(|mosquitto| {
        let setting = Setting::new(mosquitto, Listener::Passwords);
        let ca = &setting.fleet.ca;
        let passwords: [Vec<u8>; 8] = [
            b"".to_vec(),
            b"\0".to_vec(),
            b"\0the password of device-001".to_vec(),
            b"the password\0 of device-001".to_vec(),
            b"\xFF\xFE\xFD".to_vec(),
            b"the password of device-001\xFF".to_vec(),
            vec![b'x'; 1025],
            vec![b'x'; 65_535],
        ];
        for (number, password) in passwords.into_iter().enumerate() {
            let login = ca.password(MINE, password);
            for connect in [Connect::v5(MINE), Connect::v311(MINE)] {
                match Client::try_connect(&setting.broker, &login, &connect) {
                    Ok((mut client, code)) => {
                        assert_eq!(code, connect.refusal(), "{number}");
                        client.closed();
                    }
                    // Some of them the broker itself takes for an attack.
                    Err(End::Closed) => {}
                    Err(end) => panic!("{number}: {end:?}"),
                }
            }
        }
        // No more is known of why: the broker gives a plugin what stands before a NUL.
        for user_name in [&b"\xFF"[..], b"device-001\0", b"\xED\xA0\x80"] {
            let login = ca.password(user_name, "the password of device-001");
            if let Ok((mut client, code)) = Client::try_connect(&setting.broker, &login, &Connect::v5(MINE)) {
                assert_ne!(code, 0, "{user_name:?}");
                client.closed();
            }
        }
        setting.admits(&setting.mine, MINE);
    });
}

/// Runs the `mosquitto_passwd` that came with this broker, which must succeed.
pub(crate) fn mosquitto_passwd(mosquitto: &Mosquitto, arguments: &[&str]) {
    let script = fs::read_to_string(&mosquitto.program).unwrap();
    let script = script.replace("/usr/sbin/mosquitto", "/usr/bin/mosquitto_passwd");
    // The script looks for its programs beside itself.
    let mut command = Command::new("sh");
    command.args(["-c", &script]).arg(&mosquitto.program).args(arguments);
    let output = command.output().unwrap();
    assert!(output.status.success(), "mosquitto_passwd: {}", String::from_utf8_lossy(&output.stderr));
}

/// What the `mosquitto_passwd` that came with this broker makes of a password: the stored form.
fn by_mosquitto_passwd(fleet: &Fleet, mosquitto: &Mosquitto, options: &[&str], password: &str) -> String {
    let file = fleet.path("passwordfile");
    fs::write(&file, format!("u:{password}\n")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    mosquitto_passwd(mosquitto, &[options, &["-U", file.to_str().unwrap()]].concat());
    fs::read_to_string(&file).unwrap().trim().strip_prefix("u:").unwrap().to_owned()
}

#[test]
fn every_stored_form_lets_its_password_in_and_no_other() {
    const PASSWORD: &str = "correct horse battery";
    on_every_broker(|mosquitto| {
        let fleet = Fleet::with_sensors();
        let mut forms = vec![
            by_mosquitto_passwd(&fleet, mosquitto, &[], PASSWORD),
            "PBKDF2$sha256$901$x8mf3JIFTUFU9C23$OKKmZ7jxf2fbrY3anHL41+JriCEr5u4Y".to_owned(),
            "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc".to_owned(),
            "$2b$04$abcdefghijklmnopqrstuuPp7HPfoAs8I2dCQCQ/fW7zEJv8I8C8e".to_owned(),
        ];
        // 2.1 writes it no more.
        if !mosquitto.has_connect_event() {
            forms.push(by_mosquitto_passwd(&fleet, mosquitto, &["-H", "sha512"], PASSWORD));
        }
        fleet.option("login_budget = \"900ms\"");
        fleet.option("login_attempts = 1000");
        let beginnings = ["$7$", "PBKDF2$", "$argon2id$", "$2b$", "$6$"];
        let broker = fleet.start(mosquitto, "passwords.conf");
        for (number, (form, beginning)) in forms.iter().zip(beginnings).enumerate() {
            assert!(form.starts_with(beginning), "{form}");
            let name = format!("device-{number:03}");
            fleet.warden(&["device", "add", &name, "--role", "sensor"]);
            fleet.warden_with(&["credential", "add", &name, "password", "--hash"], form);
            let password = match beginning {
                "$argon2id$" => "password",
                "$2b$" => "x",
                _ => PASSWORD,
            };
            let admits = |password: &str| {
                let login = fleet.ca.password(name.as_str(), password);
                Client::try_connect(&broker, &login, &Connect::v5(name.as_str())).unwrap().1 == 0
            };
            // Some of these cost as much as the budget has for a while.
            eventually("the right password is let in", || admits(password).then_some(()));
            eventually("a wrong one is found to be wrong", || {
                assert!(!admits("wrong"), "{form}");
                let refused = format!("user={name} device={name} client={name} reason=wrong-password");
                (broker.count_in_log(&refused) > 0).then_some(())
            });
            assert!(admits(password), "{form}");
        }
    });
}

#[test]
fn a_changed_password_ends_sessions_and_only_the_new_one_comes_in() {
    on_every_broker(|mosquitto| {
        let setting = Setting::new(mosquitto, Listener::Passwords);
        let (mut mine, mut other) = (setting.admits(&setting.mine, MINE), setting.admits(&setting.other, OTHER));
        setting.fleet.warden_with(
            &["credential", "add", MINE, "password", "--stdin", "--replace"],
            "a new password, and longer",
        );
        assert_eq!(mine.closed(), Some(0x98));
        setting.broker.wait_for_log("client thrown off client_id=device-001 reason=password-changed");
        setting.refuses(Gate::Connect, &setting.mine, &Connect::v5(MINE));
        let new = setting.fleet.ca.password(MINE, "a new password, and longer");
        let mut mine = setting.admits(&new, MINE);
        other.ping().unwrap();
        // A second user name has a password of its own, and its own sessions.
        let second = ["credential", "add", MINE, "password", "--identity", "user-b", "--stdin"];
        setting.fleet.warden_with(&second, "the second password");
        let login = setting.fleet.ca.password("user-b", "the second password");
        let mut by_second = Client::connect(&setting.broker, &login, &Connect::v5("device-001-b"));
        assert_eq!(by_second.publish_acknowledged(TOPIC, "").unwrap(), 0);
        setting.fleet.warden(&["credential", "revoke", MINE, "password", "--identity", MINE]);
        mine.closed();
        setting.refuses(Gate::Connect, &new, &Connect::v5(MINE));
        assert_eq!(by_second.publish_acknowledged(TOPIC, "").unwrap(), 0);
        setting.fleet.set_status(MINE, "revoked");
        by_second.closed();
        setting.refuses(Gate::Connect, &login, &Connect::v5("device-001-b"));
        other.ping().unwrap();
    });
}

#[test]
fn sighup_costs_no_session_even_when_nothing_may_be_hashed() {
    on_every_broker(|mosquitto| {
        let setting = Setting::new(mosquitto, Listener::Passwords);
        let persistent = Connect::v5("device-001-kept").persistent();
        let mut kept = Client::connect(&setting.broker, &setting.mine, &persistent);
        assert_eq!(kept.subscribe("devices/device-001/cmd", 1).unwrap(), 1);
        let (mut mine, mut other) = (setting.admits(&setting.mine, MINE), setting.admits(&setting.other, OTHER));
        kept.disconnect();
        setting.broker.wait_for_log("Received DISCONNECT from device-001-kept");
        guess(&setting, MINE, 20);
        assert!(setting.broker.count_in_log("reason=login-budget") > 0);
        for _ in 0..3 {
            setting.broker.reload();
            mine.ping().unwrap();
            other.ping().unwrap();
        }
        assert_eq!(mine.publish_acknowledged("devices/device-001/cmd", "while away").unwrap(), 0);
        let mut kept = Client::connect(&setting.broker, &setting.mine, &persistent);
        while kept.next_message().unwrap().1 != "while away" {}
    });
}

/// So many wrong passwords for this user name.
fn guess(setting: &Setting, user_name: &str, times: usize) {
    for number in 0..times {
        let login = setting.fleet.ca.password(user_name, format!("guess {number}"));
        let (_, code) = Client::try_connect(&setting.broker, &login, &Connect::v5("device-001-guess")).unwrap();
        assert_eq!(code, 0x87);
    }
}

#[test]
fn who_guesses_is_refused_unheard_and_who_is_known_comes_in() {
    on_every_broker(|mosquitto| {
        let setting = Setting::new(mosquitto, Listener::Passwords);
        setting.fleet.option("login_attempts = 3");
        setting.fleet.option("refusals_per_second = 1000");
        let broker = setting.fleet.start(mosquitto, "passwords.conf");
        let setting = Setting { broker, ..setting };
        setting.admits(&setting.mine, MINE);
        let start = Instant::now();
        guess(&setting, MINE, 30);
        eventually("all refusals are in the log", || {
            let count = |reason| setting.broker.count_in_log(&format!("reason={reason}"));
            (count("wrong-password") + count("login-budget") == 30).then_some(())
        });
        // Three at once, and one more for each minute that this has taken.
        let looked_at = setting.broker.count_in_log("reason=wrong-password");
        assert!((3..=4).contains(&looked_at), "{looked_at} of 30");
        // From the same address and by the same user name: the right password is known.
        for _ in 0..10 {
            setting.admits(&setting.mine, MINE);
        }
        // Fifteen for the address, of which three are gone, and one more for each second.
        for number in 0..20 {
            guess(&setting, &format!("stranger-{number}"), 3);
        }
        let count = |reason| setting.broker.count_in_log(&format!("client=device-001-guess reason={reason}"));
        eventually("all refusals are in the log", || {
            (count("unknown-identity") + count("login-budget") + looked_at == 90).then_some(())
        });
        let most = 15 + usize::try_from(start.elapsed().as_secs()).unwrap();
        let heard = count("unknown-identity") + looked_at;
        assert!((5..=most).contains(&heard), "{heard} of 90");
        setting.admits(&setting.mine, MINE);
    });
}

/// The one thing that the plugin writes, if it is told to.
fn hashes_are_upgraded_at_login_and_sessions_stay(mosquitto: &Mosquitto, kind: Kind) {
    const OLD: &str =
        "$6$zu5PdbBdqzMt1OTI$9CbV/+vuHpuEJPjKj2sP6irka5WDULQ6YJfiMrLdNMczXN/Y4J/ZI68Tm+6Cncst2L20fxqfoIRNGdo8nbVI2g==";
    let fleet = Fleet::with_sensors_on(kind);
    fleet.option("password_upgrade = true");
    for name in [MINE, OTHER] {
        fleet.warden(&["device", "add", name, "--role", "sensor"]);
        fleet.warden_with(&["credential", "add", name, "password", "--hash"], OLD);
    }
    // Two brokers: the one where the device logs in upgrades, the other sees it happen.
    let brokers = [(); 2].map(|()| fleet.start(mosquitto, "passwords.conf"));
    let login = fleet.ca.password(MINE, "correct horse battery");
    let mut clients = brokers.each_ref().map(|broker| Client::connect(broker, &login, &Connect::v5(MINE)));
    let stored = |name: &str| fleet.sql(&format!("SELECT secret FROM credentials WHERE identity = '{name}'"));
    eventually("the hash is upgraded", || stored(MINE).starts_with("$argon2id$v=19$m=19456,t=2,p=1$").then_some(()));
    assert_eq!(stored(OTHER).trim(), OLD);
    // A change behind it, which both have seen when they act on it: by then they have seen the other.
    fleet.warden(&["rule", "add", "sensor", "allow", "publish", "news"]);
    for client in &mut clients {
        eventually("the new rule is in force", || {
            (client.publish_acknowledged("news", "").unwrap() == 0).then_some(())
        });
        client.ping().unwrap();
    }
    for broker in &brokers {
        assert_eq!(broker.count_in_log("thrown off"), 0, "{kind:?}");
        Client::connect(broker, &login, &Connect::v5("device-001-again"));
        let wrong = fleet.ca.password(MINE, "Correct horse battery");
        assert_eq!(Client::try_connect(broker, &wrong, &Connect::v5(MINE)).unwrap().1, 0x87);
    }
}

#[test]
fn hashes_of_old_forms_are_upgraded_on_every_database() {
    for kind in [Kind::Sqlite, Kind::Postgres, Kind::Mariadb] {
        on_every_broker(|mosquitto| hashes_are_upgraded_at_login_and_sessions_stay(mosquitto, kind));
    }
}

#[test]
fn a_plugin_that_may_not_write_says_so_once_and_lets_everybody_in() {
    let fleet = Fleet::with_sensors();
    fleet.option("password_upgrade = true");
    let mosquitto = installed().pop().unwrap();
    fleet.warden(&["device", "add", MINE, "--role", "sensor"]);
    let old = by_mosquitto_passwd(&fleet, &mosquitto, &[], "correct horse battery");
    fleet.warden_with(&["credential", "add", MINE, "password", "--hash"], &old);
    fleet.sql("CREATE TRIGGER nobody BEFORE UPDATE ON credentials BEGIN SELECT RAISE(ABORT, 'not you'); END");
    let broker = fleet.start(&mosquitto, "passwords.conf");
    let login = fleet.ca.password(MINE, "correct horse battery");
    let mut client = Client::connect(&broker, &login, &Connect::v5(MINE));
    broker.wait_for_log("hashes of passwords cannot be upgraded, and stay as they are error=");
    assert_eq!(client.publish_acknowledged(TOPIC, "").unwrap(), 0);
    assert!(!broker.log().contains("correct horse") && !broker.log().contains(&old));
}
