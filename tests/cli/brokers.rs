//! `warden broker`, and `--wait`, as far as they can be seen without a broker. What running brokers confirm is tested with
//! brokers.

use insta::assert_snapshot;
use serde_json::Value;

use crate::Warden;

/// With the rows of three brokers: one that was heard of just now, one that was not for long, and one that has ended.
fn with_brokers() -> Warden {
    let warden = Warden::fleet();
    warden.sqlite3(
        "INSERT INTO brokers (name, instance, beats, interval_ms, version, mosquitto, revision, confirmed, sessions,
                              started_at, seen_at, ended_at)
         VALUES ('oslo-1', '1', 1, 60000, '0.1.0', '2.0.21', 9, 0, 12, strftime('%Y-%m-%dT%H:%M:%SZ', 'now'),
                 strftime('%Y-%m-%dT%H:%M:%SZ', 'now'), NULL),
                ('oslo-2', '2', 1, 5000, '0.1.0', '2.1.2', 7, 0, 3, '2020-01-31T12:00:00Z',
                 strftime('%Y-%m-%dT%H:%M:%SZ', 'now', '-65 seconds'), NULL),
                ('oslo-3', '3', 1, 5000, '0.1.0', '2.0.11', 2, 0, 0, '2020-01-31T12:00:00Z', '2020-01-31T12:00:00Z',
                 '2020-01-31T12:00:00Z');",
    );
    warden
}

fn only_ended() -> Warden {
    let warden = with_brokers();
    warden.sqlite3("DELETE FROM brokers WHERE ended_at IS NULL");
    warden
}

#[test]
fn where_no_broker_has_registered_it_is_said() {
    let warden = Warden::fleet();
    let said = warden.run("broker list");
    assert_eq!(said.code, 0);
    assert!(said.stderr.contains("no broker has registered") && said.stderr.contains("broker_name"), "{said:?}");
    assert_eq!(warden.json("broker list"), Value::Array(Vec::new()));
    for words in ["broker wait", "device revoke device-001 --wait"] {
        let said = warden.run(words);
        assert_eq!(said.code, 7, "{said:?}");
        assert!(said.stderr.contains("no broker has registered"), "{said:?}");
    }
    // What was to be changed is, all the same.
    assert_eq!(warden.json("device show device-001")["status"], "revoked");
}

#[test]
fn the_list_reads_like_this() {
    insta::with_settings!({ filters => vec![(r"\b\ds ago ", "[now]  "), (r"6.s ago", "[65s]  "), (r"\d+d ago", "[days] ")] }, {
        assert_snapshot!(with_brokers().done("broker list"), @r#"
        BROKER  STATE   SESSIONS  REVISION  BEHIND  HEARD      MOSQUITTO  PLUGIN
        oslo-1  live    12        9         0       [now]      2.0.21     0.1.0
        oslo-2  silent  3         7         2       [65s]      2.1.2      0.1.0
        oslo-3  ended   0         2         7       [days]   2.0.11     0.1.0
        "#);
    });
}

#[test]
fn the_list_has_this_shape() {
    let mut listed = with_brokers().json("broker list");
    for broker in listed.as_array_mut().unwrap() {
        for (name, member) in broker.as_object_mut().unwrap() {
            if name.ends_with("_at") || name == "seconds_since" {
                assert!(member.is_string() || member.as_i64().unwrap() >= 0);
                *member = "[time]".into();
            }
        }
    }
    assert_snapshot!(listed.to_string(), @r#"[{"behind":0,"mosquitto":"2.0.21","name":"oslo-1","revision":9,"seconds_since":"[time]","seen_at":"[time]","sessions":12,"started_at":"[time]","state":"live","version":"0.1.0"},{"behind":2,"mosquitto":"2.1.2","name":"oslo-2","revision":7,"seconds_since":"[time]","seen_at":"[time]","sessions":3,"started_at":"[time]","state":"silent","version":"0.1.0"},{"behind":7,"mosquitto":"2.0.11","name":"oslo-3","revision":2,"seconds_since":"[time]","seen_at":"[time]","sessions":0,"started_at":"[time]","state":"ended","version":"0.1.0"}]"#);
}

#[test]
fn whoever_does_not_confirm_is_named() {
    let warden = with_brokers();
    let said = warden.run("device revoke device-001 --wait --timeout 100ms");
    assert_eq!(said.code, 7, "{said:?}");
    assert_eq!(
        said.stdout, "device `device-001` is now revoked\ncredential x509_cn `device-001` revoked\n",
        "what ended is said, whoever has confirmed it"
    );
    assert!(said.stderr.contains("not confirmed by `oslo-1`, which is live"), "{said:?}");
    assert!(said.stderr.contains("not confirmed by `oslo-2`, which is silent"), "{said:?}");
    assert!(said.stderr.contains("warden broker forget") && !said.stderr.contains("oslo-3"), "{said:?}");
    let said = warden.run("broker wait --timeout 100ms --json");
    assert_eq!(said.code, 7, "{said:?}");
    let object: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_snapshot!(object.to_string(), @r#"{"brokers":[{"confirmed":false,"name":"oslo-1","state":"live"},{"confirmed":false,"name":"oslo-2","state":"silent"}],"confirmed":false}"#);
}

#[test]
fn nobody_waits_for_brokers_that_have_ended() {
    let warden = only_ended();
    assert_eq!(warden.done("broker wait"), "no broker is running\n");
    // What does not happen, nobody can confirm.
    assert_eq!(warden.run("device revoke device-001 --dry-run --wait").code, 2);
    assert_eq!(warden.json("device show device-001")["status"], "active");
    let mut revoked = warden.json("device revoke device-001 --wait");
    assert_eq!(revoked["credentials"][0]["identity"], "device-001");
    revoked.as_object_mut().unwrap().retain(|name, _| name != "credentials");
    assert_snapshot!(revoked.to_string(), @r#"{"certificates":[],"changed":true,"confirmation":{"brokers":[],"confirmed":true},"device":"device-001","dry_run":false,"status":"revoked"}"#);
}

#[test]
fn every_verb_that_changes_rights_can_wait() {
    let warden = only_ended();
    for words in [
        "rule add sensor allow publish a --wait",
        "rule remove 3 --wait",
        "role withdraw sensor device-001 --wait",
        "role grant sensor device-001 --wait",
        "device suspend device-001 --wait",
        "device activate device-001 --wait",
        "device revoke device-001 --wait",
        "credential revoke device-002 psk --wait",
        "credential remove device-002 psk --yes --wait",
        "certificate revoke --serial 4a02 --issuer CN=ca --wait",
        "certificate unrevoke --serial 4a02 --issuer CN=ca --wait",
        "device remove device-001 --yes --wait --timeout 1m",
        "role remove sensor --yes --wait",
    ] {
        let said = warden.done(words);
        assert!(said.ends_with("\nno broker is running\n"), "{words}: {said}");
    }
    let said = warden.run("device activate device-002 --timeout 1s");
    assert!(said.code == 2 && said.stderr.contains("--wait"), "{said:?}");
}

#[test]
fn a_broker_that_is_gone_is_forgotten_and_a_live_one_is_not() {
    let warden = with_brokers();
    assert_eq!(warden.done("broker forget oslo-2"), "broker `oslo-2` forgotten\n");
    assert_eq!(warden.json("broker forget oslo-3")["changed"], true);
    let said = warden.run("broker forget oslo-1");
    assert!(said.code == 5 && said.stderr.contains("is live"), "{said:?}");
    let said = warden.run("broker forget oslo-2");
    assert!(said.code == 4 && said.stderr.contains("did you mean `oslo-1`?"), "{said:?}");
    assert_eq!(warden.json("broker list").as_array().unwrap().len(), 1);
}
