//! What is unsafe in a broker's configuration, or cannot work.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use insta::assert_snapshot;

use crate::Warden;

/// The library that the tests are built with.
fn plugin() -> PathBuf {
    std::env::current_exe().unwrap().with_file_name("libmosquitto_warden.so")
}

/// A broker's directory with a database, one configuration that is shipped, and all that it names.
fn with(configuration: &str) -> Warden {
    let warden = Warden::new();
    let root = warden.directory.path().display().to_string();
    symlink(plugin(), warden.path("libmosquitto_warden.so")).unwrap();
    for name in ["ca.crt", "server.crt", "server.key"] {
        fs::write(warden.path(name), "").unwrap();
        fs::set_permissions(warden.path(name), PermissionsExt::from_mode(0o640)).unwrap();
    }
    for name in [configuration, "warden.toml"] {
        let path = format!("{}/mosquitto-conf/{name}", env!("CARGO_MANIFEST_DIR"));
        let mut text = fs::read_to_string(path).unwrap();
        for directory in ["/etc/mosquitto/warden", "/usr/lib/mosquitto-warden", "/var/lib/mosquitto"] {
            text = text.replace(directory, &root);
        }
        fs::write(warden.path(name), text).unwrap();
    }
    warden
}

/// The codes of what is found, by the user that runs the tests.
fn codes(warden: &Warden, configuration: &str) -> BTreeSet<String> {
    let said = warden.run(&format!("doctor {configuration} --user {} --json", user()));
    let found: serde_json::Value = serde_json::from_str(&said.stdout).unwrap_or_else(|_| panic!("{said:?}"));
    found.as_array().unwrap().iter().map(|it| it["code"].as_str().unwrap().to_owned()).collect()
}

fn user() -> String {
    rustix::process::geteuid().as_raw().to_string()
}

#[test]
fn the_configurations_that_are_shipped_are_sound() {
    for name in ["certificates.conf", "certificates-named-by-warden.conf", "fleet.conf", "psk.conf"] {
        let warden = with(name);
        let said = warden.run(&format!("doctor {name} --deny note --user {}", user()));
        assert_eq!((said.code, &*said.stdout), (0, "0 errors, 0 warnings, 0 notes\n"), "{name}: {said:?}");
    }
    // Clients without certificates make sense once there are passwords.
    let warden = with("passwords.conf");
    assert_eq!(codes(&warden, "passwords.conf"), ["no-certificate-wanted".to_owned()].into());
    warden.done("device add d");
    let said = warden.run_with_stdin("credential add d password --stdin", "correct horse battery");
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(codes(&warden, "passwords.conf"), BTreeSet::new());
}

/// Breaks something.
type Plant<'p> = &'p dyn Fn(&Warden);

#[test]
fn what_is_planted_in_them_is_found() {
    let edit = |warden: &Warden, name: &str, from: &str, to: &str| {
        let text = fs::read_to_string(warden.path(name)).unwrap();
        assert!(text.contains(from), "{name}: {from}");
        fs::write(warden.path(name), text.replace(from, to)).unwrap();
    };
    let planted: [(&str, Plant<'_>); 11] = [
        ("file-missing", &|it| fs::remove_file(it.path("ca.crt")).unwrap()),
        ("secret-exposed", &|it| {
            fs::set_permissions(it.path("server.key"), PermissionsExt::from_mode(0o644)).unwrap();
        }),
        ("option-rejected", &|it| edit(it, "warden.toml", "#poll_interval", "pol_interval")),
        ("option-rejected", &|it| fs::remove_file(it.path("warden.toml")).unwrap()),
        ("key-file", &|it| fs::set_permissions(it.path("warden.key"), PermissionsExt::from_mode(0o644)).unwrap()),
        ("key-does-not-fit", &|it| {
            fs::remove_file(it.path("warden.key")).unwrap();
            it.done("init --database other.db --key-file warden.key");
        }),
        ("database", &|it| {
            fs::write(it.path("warden.db"), "no database, but long enough to look at it".repeat(9)).unwrap();
        }),
        ("identity-off", &|it| edit(it, "fleet.conf", "listener 8884", "listener 8885\npsk_hint y\nlistener 8884")),
        ("plugin-missing", &|it| fs::remove_file(it.path("libmosquitto_warden.so")).unwrap()),
        ("plugin-of-other-release", &|it| {
            fs::remove_file(it.path("libmosquitto_warden.so")).unwrap();
            fs::write(it.path("libmosquitto_warden.so"), "..mosquitto-warden release 9.9.9;..").unwrap();
        }),
        ("handshake-off", &|it| edit(it, "warden.toml", "#handshake = \"enforce\"", "handshake = \"off\"")),
    ];
    for (code, plant) in planted {
        let warden = with("fleet.conf");
        assert_eq!(codes(&warden, "fleet.conf"), BTreeSet::new());
        plant(&warden);
        assert_eq!(codes(&warden, "fleet.conf"), [code.to_owned()].into(), "{code}");
    }
}

#[test]
fn another_user_is_told_what_it_cannot_use() {
    let warden = with("fleet.conf");
    let said = warden.run("doctor fleet.conf --user nobody");
    assert_eq!(said.code, 8);
    for what in ["keyfile", "key_file", "database"] {
        let line = said.stdout.lines().find(|line| line.contains(&format!(": {what}: ")));
        assert!(line.is_some_and(|line| line.starts_with("error[broker-cannot-use]")), "{what}: {said:?}");
    }
}

#[test]
fn the_mark_of_the_release_is_in_the_plugin() {
    let warden = with("psk.conf");
    let bytes = fs::read(warden.path("libmosquitto_warden.so")).unwrap();
    let mark = mosquitto_warden::config::RELEASE_MARK.as_bytes();
    assert!(bytes.windows(mark.len()).any(|window| window == mark));
}

#[test]
fn findings_name_the_line_and_what_to_type() {
    let warden = Warden::empty();
    fs::write(
        warden.path("m.conf"),
        "allow_anonymous true\nlistener 1883\nlistener 8884\npsk_hint x\ninclude_dir gone\n",
    )
    .unwrap();
    let said = warden.run("doctor m.conf");
    assert_eq!(said.code, 8);
    assert_snapshot!(said.stdout, @r#"
    error[anonymous] m.conf:1: clients without any name get in where the plugin leaves them to others
        `allow_anonymous false`
    error[identity-off] m.conf:3: on the listener 8884 a client with any good key may choose its user name, so the plugin refuses everybody
        `use_identity_as_username true`
    error[no-plugin] mosquitto.conf: no line loads the plugin
        add `plugin /usr/lib/mosquitto-warden/libmosquitto_warden.so`, and its options below it
    error[unreadable-file] m.conf:5: `gone` cannot be read: No such file or directory (os error 2)
        name the right path, or let this user read it
    warning[no-tls] m.conf:2: the listener 1883 has no TLS: whatever is sent can be read on the way
        add `certfile` and `keyfile`, or bind it to this machine: `listener 1883 127.0.0.1`
    4 errors, 1 warning, 0 notes
    "#);
    assert_eq!(warden.run("doctor").code, 2);
    assert_eq!(warden.run("doctor gone.conf").code, 8);
}
