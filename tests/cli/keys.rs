//! Pre-shared keys: shown once, sealed, never shared.

use mosquitto_warden::key_file;

use crate::Warden;

const KEY: &str = "8d1f0c9b7a6e5d4c3b2a19081726354f";

/// The key that a command has just shown.
fn shown(stdout: &str) -> String {
    let line = stdout.lines().find_map(|line| line.strip_prefix("psk key")).expect("no key was shown");
    line.trim().to_owned()
}

#[test]
fn a_key_is_shown_once_and_sealed_in_the_database() {
    let warden = Warden::new();
    let said = warden.run("device add device-001 --psk");
    let key = shown(&said.stdout);
    assert_eq!(key.len(), 64);
    assert!(said.stderr.contains("mosquitto_pub -h BROKER -p 8884 --psk-identity device-001 --psk KEY"), "{said:?}");
    assert!(!said.stderr.contains(&key));
    for words in ["device show device-001", "credential list", "device list", "status", "credential list --json"] {
        assert!(!warden.done(words).contains(&key), "{words}");
    }
    assert!(!warden.sqlite3(".dump").contains(&key));
    let sealed = warden.sqlite3("SELECT secret FROM credentials");
    let sealing = key_file::read(&warden.path("warden.key")).unwrap();
    assert_eq!(sealing.open("device-001", &sealed).unwrap().hex().as_str(), key);
    assert!(sealing.open("device-002", &sealed).is_err());
}

#[test]
fn a_key_in_json_is_the_one_that_was_sealed() {
    let warden = Warden::new();
    let said = warden.json("device add device-001 --psk sensors-1");
    assert_eq!(said["psk"]["identity"], "sensors-1");
    let sealing = key_file::read(&warden.path("warden.key")).unwrap();
    let psk = sealing.open("sensors-1", &warden.sqlite3("SELECT secret FROM credentials")).unwrap();
    assert_eq!(said["psk"]["key"], psk.hex().as_str());
    assert!(warden.json("device show device-001")["psk"].is_null());
}

#[test]
fn a_key_has_the_length_asked_for() {
    let warden = Warden::fleet();
    for bytes in [16, 64, 256] {
        let said = warden.done(&format!("credential add device-001 psk --identity of-{bytes} --bytes {bytes}"));
        assert_eq!(shown(&said).len(), 2 * bytes);
    }
    for bytes in [0, 15, 257] {
        let said = warden.run(&format!("credential add device-001 psk --identity x --bytes {bytes}"));
        assert_eq!(said.code, 2, "{said:?}");
    }
}

#[test]
fn a_key_from_elsewhere_is_taken_and_not_repeated() {
    let warden = Warden::fleet();
    let said = warden.run_with_stdin("credential add device-001 psk --key-stdin", &format!("{KEY}\n"));
    assert_eq!(said.code, 0, "{said:?}");
    assert!(!said.stdout.contains(KEY) && !said.stderr.contains(KEY));
    let sealing = key_file::read(&warden.path("warden.key")).unwrap();
    let sealed = warden.sqlite3("SELECT secret FROM credentials WHERE kind = 'psk' AND identity = 'device-001'");
    assert_eq!(sealing.open("device-001", &sealed).unwrap().hex().as_str(), KEY);
}

#[test]
fn two_credentials_never_share_a_key() {
    let warden = Warden::fleet();
    warden.run_with_stdin("credential add device-001 psk --key-stdin", KEY);
    let said = warden.run_with_stdin("credential add device-002 psk --identity b --key-stdin", &KEY.to_uppercase());
    assert_eq!(said.code, 5, "{said:?}");
    assert!(said.stderr.contains("this key already belongs to another credential"), "{said:?}");
}

#[test]
fn a_bad_key_is_refused_without_being_repeated() {
    let warden = Warden::fleet();
    for bad in ["", "\n", "8d1f0c9b7a6e5d4c", "00000000000000000000000000000000", "not hexadecimal at all, is it?", "ä"]
    {
        let said = warden.run_with_stdin("credential add device-001 psk --key-stdin", bad);
        assert_eq!(said.code, 2, "{bad:?}: {said:?}");
        assert!(bad.trim().is_empty() || !said.stderr.contains(bad), "{said:?}");
    }
    let said = warden.run_with_stdin("credential add device-001 x509_cn --identity x --key-stdin", KEY);
    assert_eq!(said.code, 2, "{said:?}");
}

#[test]
fn the_key_of_a_device_that_is_there_already_is_not_made_up() {
    let warden = Warden::fleet();
    let sealed = warden.sqlite3("SELECT secret FROM credentials WHERE kind = 'psk'");
    let said = warden.run("device add device-002 --psk --if-missing");
    assert_eq!((said.code, said.stdout.as_str()), (0, "device `device-002` is there already\n"));
    assert_eq!(warden.sqlite3("SELECT secret FROM credentials WHERE kind = 'psk'"), sealed);
    let said = warden.json("device add device-002 --psk --if-missing");
    assert_eq!((&said["changed"], &said["psk"]), (&false.into(), &serde_json::Value::Null));
}
