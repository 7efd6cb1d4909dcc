//! Pre-shared keys and the key that they are sealed with, each replaced while the old one still works.

use std::os::unix::fs::MetadataExt;

use mosquitto_warden::key_file;
use serde_json::Value;

use crate::Warden;

fn identities(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|one| one["identity"].as_str().unwrap()).collect()
}

#[test]
fn a_key_is_rotated_with_overlap_and_the_old_one_ends_by_itself() {
    let warden = Warden::fleet();
    assert_eq!(warden.json("credential list --rotating"), Value::Array(Vec::new()));
    let before = warden.sqlite3("SELECT strftime('%s', 'now')").parse::<i64>().unwrap();
    let said = warden.json("credential rotate device-002 --kind psk --overlap 7d");
    let after = warden.sqlite3("SELECT strftime('%s', 'now')").parse::<i64>().unwrap();
    assert_eq!(said["identity"], "device-002.2");
    assert_eq!(said["psk"]["key"].as_str().unwrap().len(), 64);
    assert_eq!((&said["not_after"], &said["old"]["identity"]), (&Value::Null, &"device-002".into()));
    let ends = warden.sqlite3("SELECT strftime('%s', not_after) FROM credentials WHERE identity = 'device-002'");
    let ends = ends.parse::<i64>().unwrap() - 7 * 24 * 3600;
    assert!((before..=after).contains(&ends), "{before} {ends} {after}");

    let sealing = key_file::read(&warden.path("warden.key")).unwrap();
    let sealed = warden.sqlite3("SELECT secret FROM credentials WHERE identity = 'device-002.2'");
    assert_eq!(sealing.open("device-002.2", &sealed).unwrap().hex().as_str(), said["psk"]["key"]);

    assert_eq!(identities(&warden.json("credential list --rotating")), ["device-002", "device-002.2"]);
    assert_eq!(warden.json("credential rotate device-002 --kind psk --finish")["revoked"][0], "device-002");
    assert_eq!(warden.json("credential rotate device-002 --kind psk --finish")["changed"], false);
    assert!(identities(&warden.json("credential list --rotating")).is_empty());
    let said = warden.json("credential rotate device-002 --kind psk --overlap 1h");
    assert_eq!((&said["identity"], &said["old"]["identity"]), (&"device-002.3".into(), &"device-002.2".into()));
    // The one that goes on is found although there are two that work.
    assert_eq!(warden.json("credential rotate device-002 --kind psk --overlap 1h")["identity"], "device-002.4");
}

#[test]
fn a_key_that_a_device_only_begins_with_is_not_rotated() {
    let warden = Warden::fleet();
    warden.done("role add bootstrap");
    warden.done("device add d --bootstrap --until 2036-01-01T00:00:00Z");
    for words in ["", " --identity d-bootstrap"] {
        let said = warden.run(&format!("credential rotate d --kind psk --overlap 7d{words}"));
        assert!(said.code == 5 && said.stderr.contains("only begins with the key for `d-bootstrap`"), "{said:?}");
    }
    assert_eq!(warden.json("credential list d").as_array().unwrap().len(), 1);
    // Beside it the device's own key is, and it stays as it is.
    warden.done("credential add d psk --identity own");
    assert_eq!(warden.json("credential rotate d --kind psk --overlap 7d")["old"]["identity"], "own");
    assert_eq!(identities(&warden.json("credential list --rotating")), ["own", "own.2"]);
    assert_eq!(warden.json("credential rotate d --kind psk --finish")["revoked"], serde_json::json!(["own"]));
    let status = "SELECT status, not_after FROM credentials WHERE identity = 'd-bootstrap'";
    assert_eq!(warden.sqlite3(status), "active|2036-01-01T00:00:00Z");
}

#[test]
fn an_end_that_comes_sooner_stays_and_one_that_is_past_is_no_key_to_go_on_from() {
    let warden = Warden::fleet();
    warden.sqlite3("UPDATE credentials SET not_after = '2099-01-01T00:00:00Z' WHERE identity = 'device-002'");
    let said = warden.json("credential rotate device-002 --kind psk --overlap 10years");
    assert_ne!(said["old"]["not_after"], "2099-01-01T00:00:00Z");
    let said = warden.json("credential rotate device-002 --kind psk --overlap 9years --identity device-002");
    let sooner = said["old"]["not_after"].clone();
    let said = warden.json("credential rotate device-002 --kind psk --overlap 10years --identity device-002");
    assert_eq!(said["old"]["not_after"], sooner);
    for statement in ["not_after = '2020-01-01T00:00:00Z'", "not_after = NULL, status = 'revoked'"] {
        warden.sqlite3(&format!("UPDATE credentials SET {statement} WHERE identity = 'device-002'"));
        let said = warden.run("credential rotate device-002 --kind psk --overlap 7d --identity device-002");
        assert_eq!(said.code, 5, "{said:?}");
        assert!(said.stderr.contains("does not work any more"), "{said:?}");
    }
}

#[test]
fn an_opaque_identity_tells_nothing_of_its_device() {
    let warden = Warden::fleet();
    let one = warden.json("credential add device-001 psk --opaque");
    let other = warden.json("credential rotate device-001 --kind psk --overlap 1d --opaque");
    let [one, other] = [&one, &other].map(|said| said["psk"]["identity"].as_str().unwrap());
    for identity in [one, other] {
        assert_eq!((identity.len(), identity.bytes().all(|byte| byte.is_ascii_hexdigit())), (32, true), "{identity}");
    }
    assert_ne!(one, other);
}

#[test]
fn what_cannot_be_rotated_is_refused_with_what_to_do_instead() {
    let warden = Warden::fleet();
    for (words, code, error) in [
        ("credential rotate device-001 --kind psk --overlap 7d", 4, "there is no credential `psk (any)`"),
        ("credential rotate device-009 --kind psk --overlap 7d", 4, "there is no device `device-009`"),
        ("credential rotate device-001 --kind x509_cn --overlap 7d", 2, "`warden credential revoke` ends the old one"),
        ("credential rotate device-001 --kind password --overlap 7d", 2, "--replace` changes a password"),
        ("credential rotate device-002 --kind psk", 2, "--overlap"),
        ("credential rotate device-002 --kind psk --overlap 0s", 2, "a time between a second and ten years"),
        ("credential rotate device-002 --kind psk --overlap soon", 2, "a time is written like"),
        (
            "credential rotate device-002 --kind psk --overlap 7d --new-identity device-001",
            5,
            "already means another device",
        ),
        ("credential rotate device-001 --kind psk --finish", 5, "has no key that does not end"),
        ("credential add device-001 x509_cn --opaque", 2, "only a credential of kind psk takes `--opaque`"),
    ] {
        let said = warden.run(words);
        assert_eq!(said.code, code, "{words}: {said:?}");
        assert!(said.stderr.contains(error), "{words}: {said:?}");
    }
    assert_eq!(
        warden.sqlite3("SELECT count(*) FROM credentials WHERE not_after IS NOT NULL"),
        "0",
        "nothing was changed"
    );
}

#[test]
fn every_key_is_sealed_anew_and_the_old_sealing_key_is_gone_at_the_end() {
    let warden = Warden::fleet();
    let path = warden.path("warden.key");
    let psk = || {
        let sealed = warden.sqlite3("SELECT secret FROM credentials WHERE identity = 'device-002'");
        key_file::read(&path).unwrap().open("device-002", &sealed).unwrap().hex().to_string()
    };
    let (before, old, digest) =
        (psk(), warden.json("status")["key_id"].clone(), warden.sqlite3("SELECT secret_digest FROM credentials"));
    let owner = std::fs::metadata(&path).unwrap();
    assert_eq!(warden.json("key rotate --prepare")["changed"], true);
    assert_eq!(warden.json("key rotate --prepare")["changed"], false, "it is begun once");
    assert_eq!(
        (warden.json("status")["key_id"].clone(), warden.json("status")["key_usable"].clone()),
        (old.clone(), true.into())
    );
    warden.done("credential add device-001 psk");
    let said = warden.json("key rotate --wait 0s");
    assert_ne!(said["key_id"], old);
    assert_eq!((psk(), warden.json("status")["key_usable"].clone()), (before.clone(), true.into()));
    assert_ne!(warden.sqlite3("SELECT secret_digest FROM credentials"), digest);
    // Whoever still seals with the old one keeps it from being forgotten.
    assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 2);
    let kept = warden.sqlite3("SELECT secret FROM credentials WHERE kind = 'psk' AND identity = 'device-001'");
    warden.sqlite3(&format!(
        "UPDATE credentials SET secret = replace(secret, '{}', '{}') WHERE identity = 'device-001'",
        said["key_id"].as_str().unwrap(),
        old.as_str().unwrap()
    ));
    let refused = warden.run("key rotate --finish");
    assert_eq!(refused.code, 5, "{refused:?}");
    assert!(refused.stderr.contains("the key for `device-001` is still sealed with the old key"), "{refused:?}");
    warden.sqlite3(&format!("UPDATE credentials SET secret = '{kept}' WHERE kind = 'psk' AND identity = 'device-001'"));
    assert_eq!(warden.json("key rotate --finish")["changed"], true);
    assert_eq!(warden.json("key rotate --finish")["changed"], false);
    assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 1);
    assert_eq!(psk(), before);
    let now = std::fs::metadata(&path).unwrap();
    assert_eq!((now.uid(), now.gid(), now.mode() & 0o7777), (owner.uid(), owner.gid(), 0o600));
}

#[test]
fn a_key_that_does_not_open_stops_the_sealing_of_all() {
    let warden = Warden::fleet();
    warden.done("credential add device-001 psk");
    warden.sqlite3("UPDATE credentials SET secret = secret || '00' WHERE kind = 'psk' AND identity = 'device-001'");
    let before = warden.sqlite3("SELECT secret FROM credentials");
    let said = warden.run("key rotate --wait 0s");
    assert_eq!(said.code, 5, "{said:?}");
    assert!(said.stderr.contains("`device-001`: the secret was altered"), "{said:?}");
    assert_eq!(warden.sqlite3("SELECT secret FROM credentials"), before);
    // Mended, it goes on with the key that was made.
    warden.done("credential remove device-001 psk --yes");
    let new = std::fs::read_to_string(warden.path("warden.key")).unwrap();
    let said = warden.json("key rotate --wait 0s");
    assert_eq!(key_file::read(&warden.path("warden.key")).unwrap().id(), said["key_id"]);
    assert_eq!(std::fs::read_to_string(warden.path("warden.key")).unwrap(), new);
}
