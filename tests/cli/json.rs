//! The shapes that scripts read.

use std::collections::BTreeSet;

use insta::assert_snapshot;
use serde_json::Value;

use crate::Warden;
use crate::help::{put_files, verbs};

/// Pretty, with what differs from run to run replaced.
fn shape(mut value: Value) -> String {
    fn steady(value: &mut Value) {
        match value {
            Value::Array(values) => values.iter_mut().for_each(steady),
            Value::Object(members) => {
                for (name, member) in members {
                    match name.as_str() {
                        "created_at" | "updated_at" | "revoked_at" => *member = "[time]".into(),
                        "key" | "key_id" => *member = "[key]".into(),
                        "database" | "key_file" => *member = "[path]".into(),
                        _ => steady(member),
                    }
                }
            }
            _ => {}
        }
    }
    steady(&mut value);
    serde_json::to_string(&value).unwrap()
}

/// What is written is held against the schema wherever a test of this binary asks for JSON.
#[test]
fn every_verb_answers_in_json() {
    let warden = Warden::empty();
    put_files(&warden);
    let mut answered = BTreeSet::new();
    for words in [
        "init --owner root",
        "role add sensor --client-id %u-*",
        "role add sensor --if-missing",
        "rule add sensor allow publish devices/%u/# --max-qos 1 --retain false",
        "rule add sensor deny read secret/#",
        "rule list sensor",
        "role list",
        "role show sensor",
        "device add device-001 --cn --psk --role sensor --client-id %u --attribute site=oslo",
        "device list",
        "device show device-001",
        "device set device-001 --any-client-id",
        "credential add device-001 x509_cn --identity other --not-before 2020-01-01T00:00:00Z",
        "credential list device-001",
        "credential revoke device-001 psk",
        "credential revoke device-001 psk",
        "credential remove device-001 psk --yes",
        "certificate revoke --serial 4a02 --issuer CN=ca --reason lost",
        "certificate list",
        "certificate unrevoke --serial 4a02 --issuer CN=ca",
        "device revoke device-001 --dry-run",
        "device suspend device-001",
        "device activate device-001",
        "explain device-001 publish devices/device-001/a --qos 1",
        "role withdraw sensor device-001",
        "role grant sensor device-001",
        "rule remove 2",
        "status",
        "device remove device-001 --yes",
        "device import devices.csv --keys keys.psk",
        "device revoke --file stolen.txt --yes",
        "device add device-001",
        "ca init fleet-ca --name fleet --passphrase-file passphrase",
        "ca show fleet-ca",
        "certificate issue device-001 --ca fleet-ca --passphrase-file passphrase --out one",
        "certificate renew device-001 --overlap 7d --ca fleet-ca --passphrase-file passphrase --out two",
        "certificate show device-001.pem",
        "certificate list --issued",
        "credential add device-001 psk",
        "credential rotate device-001 --kind psk --overlap 7d",
        "credential rotate device-001 --kind psk --finish",
        "device revoke device-001",
        "crl import fleet.crl --ca ca.pem",
        "crl list",
        "import password-file mosquitto.passwd",
        "import acl-file mosquitto.acl",
        "import acl-file mosquitto.acl --verify",
        "import psk-file mosquitto.psk --skip-bad",
        "import dynsec dynamic-security.json",
        "import go-auth-sql go-auth.db",
        "export policy.toml",
        "apply policy.toml --yes",
        "diff warden.db policy.toml",
        "test policy-test.toml",
        "lint",
        "doctor mosquitto.conf",
        "key rotate",
        "broker list",
        "broker wait --timeout 1ms",
        "broker forget gone",
        "db grant-sql --plugin-role mosquitto",
        "role remove sensor --yes",
    ] {
        let words = if rustix::process::geteuid().is_root() { words } else { words.trim_end_matches(" --owner root") };
        if words == "broker forget gone" {
            warden.sqlite3("INSERT INTO brokers VALUES ('gone', 'x', 1, 1000, '0.1.0', '2.1.2', 1, 0, 0, '2026-01-01T00:00:00Z', '2026-01-01T00:00:00Z', NULL)");
        }
        let said = warden.run(&format!("{words} --json"));
        // A finding is an answer, and so is that nobody has confirmed.
        assert!(matches!(said.code, 0 | 7 | 8) && !said.stdout.is_empty(), "warden {words}: {said:?}");
        answered.extend(verbs().into_keys().filter(|verb| words.starts_with(verb)));
    }
    let verbs: BTreeSet<String> = verbs().into_keys().filter(|verb| verb != "completions").collect();
    assert_eq!(answered, verbs);
}

#[test]
fn a_device_has_this_shape() {
    let warden = Warden::new();
    warden.done("role add sensor");
    let added = warden.json("device add device-001 --cn --psk p --role sensor --client-id %u --attribute site=oslo");
    assert_snapshot!(shape(added), @r#"{"attributes":{"site":"oslo"},"changed":true,"client_id":"%u","created_at":"[time]","credentials":[{"created_at":"[time]","device":"device-001","identity":"p","issuer":null,"kind":"psk","not_after":null,"not_before":null,"only_role":null,"status":"active"},{"created_at":"[time]","device":"device-001","identity":"device-001","issuer":null,"kind":"x509_cn","not_after":null,"not_before":null,"only_role":null,"status":"active"}],"name":"device-001","psk":{"identity":"p","key":"[key]"},"roles":["sensor"],"status":"active","status_reason":null,"updated_at":"[time]"}"#);
    assert_snapshot!(shape(warden.json("device list")), @r#"[{"credentials":["psk","x509_cn"],"name":"device-001","roles":["sensor"],"status":"active","updated_at":"[time]"}]"#);
    assert_snapshot!(shape(warden.json("device revoke device-001")), @r#"{"certificates":[],"changed":true,"credentials":[{"created_at":"[time]","device":"device-001","identity":"p","issuer":null,"kind":"psk","not_after":null,"not_before":null,"only_role":null,"status":"active"},{"created_at":"[time]","device":"device-001","identity":"device-001","issuer":null,"kind":"x509_cn","not_after":null,"not_before":null,"only_role":null,"status":"active"}],"device":"device-001","dry_run":false,"status":"revoked"}"#);
}

#[test]
fn a_revoked_certificate_has_this_shape() {
    let warden = Warden::new();
    let revoked = warden.json("certificate revoke --serial 4A:02 --issuer CN=ca,O=Example --reason lost");
    assert_snapshot!(shape(revoked), @r#"{"changed":true,"issuer":"CN=ca,O=Example","serial":"4a02"}"#);
    assert_snapshot!(shape(warden.json("certificate list")), @r#"[{"issuer":"CN=ca,O=Example","reason":"lost","revoked_at":"[time]","serial":"4a02","source":"hand"}]"#);
    assert_snapshot!(shape(warden.json("certificate unrevoke --serial 4a02 --issuer CN=ca,O=Example")), @r#"{"changed":true,"issuer":"CN=ca,O=Example","serial":"4a02"}"#);
    assert_snapshot!(shape(warden.json("certificate unrevoke --serial 4a02 --issuer CN=ca,O=Example")), @r#"{"changed":false,"issuer":"CN=ca,O=Example","serial":"4a02"}"#);
}

#[test]
fn a_role_and_its_rules_have_this_shape() {
    let warden = Warden::new();
    warden.done("role add sensor");
    assert_snapshot!(shape(warden.json("rule add sensor allow write a --max-qos 0 --retain true")), @r#"{"action":"write","changed":true,"effect":"allow","id":1,"max_qos":0,"retain":true,"role":"sensor","topic":"a"}"#);
    assert_snapshot!(shape(warden.json("role show sensor")), @r#"{"client_id":null,"device_count":0,"name":"sensor","rule_count":1,"rules":[{"action":"write","effect":"allow","id":1,"max_qos":0,"retain":true,"role":"sensor","topic":"a"}]}"#);
}

#[test]
fn a_verdict_has_this_shape() {
    let warden = Warden::fleet();
    let allowed = warden.json("explain device-001 publish devices/device-001/t");
    assert_snapshot!(shape(allowed), @r#"{"action":"publish","allowed":true,"client_id":null,"device":"device-001","near":[],"qos":0,"reason":"allowed-by-rule","retain":false,"rule":{"action":"publish","effect":"allow","id":1,"max_qos":1,"retain":null,"role":"sensor","topic":"devices/%u/#"},"rules_reason":"allowed-by-rule","topic":"devices/device-001/t"}"#);
    let denied = warden.run("explain device-001 publish devices/device-002/t --json");
    assert_eq!(denied.code, 3);
    assert_snapshot!(shape(serde_json::from_str(&denied.stdout).unwrap()), @r#"{"action":"publish","allowed":false,"client_id":null,"device":"device-001","near":[{"rule":{"action":"publish","effect":"allow","id":1,"max_qos":1,"retain":null,"role":"sensor","topic":"devices/%u/#"},"why":"level 2 is `device-002`, the rule says `%u` = `device-001`"}],"qos":0,"reason":"no-rule","retain":false,"rule":null,"rules_reason":"no-rule","topic":"devices/device-002/t"}"#);
}

#[test]
fn the_status_has_this_shape() {
    assert_snapshot!(shape(Warden::fleet().json("status")), @r#"{"credentials":{"active":2,"revoked":0},"database":"[path]","devices":{"active":2,"revoked":0,"suspended":0},"key_file":"[path]","key_id":"[key]","key_usable":true,"revision":9,"roles":1,"rules":2,"schema":3}"#);
}
