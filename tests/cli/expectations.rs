//! What a policy is expected to say.

use std::fs;

use insta::assert_snapshot;
use serde_json::Value;

use crate::Warden;

fn entry(device: &str, action: &str, topic: &str, expect: &str, more: &str) -> String {
    format!("[[test]]\ndevice = '{device}'\naction = '{action}'\ntopic = '{topic}'\nexpect = '{expect}'\n{more}\n")
}

fn expecting(entries: &[String]) -> Warden {
    let warden = Warden::fleet();
    fs::write(warden.path("expected.toml"), entries.concat()).unwrap();
    warden
}

#[test]
fn what_holds_ends_well() {
    let warden = expecting(&[
        entry("device-001", "publish", "devices/device-001/t", "allowed", "qos = 1\nrule = 1"),
        entry("device-001", "publish", "devices/device-002/t", "denied", "reason = 'no-rule'"),
        entry("device-002", "subscribe", "devices/device-002/cmd", "allowed", "client_id = 'device-002-a'"),
        entry("device-002", "subscribe", "devices/device-002/cmd", "denied", "client_id = 'device-001'"),
        entry("device-002", "receive", "devices/device-002/cmd", "allowed", "credential = 'psk device-002'"),
    ]);
    assert_eq!(warden.done("test expected.toml"), "5 of 5 hold\n");
    warden.done("device revoke device-002");
    assert_eq!(warden.run("test expected.toml").code, 8);
}

#[test]
fn what_does_not_hold_reads_like_this() {
    let warden = expecting(&[
        entry("device-001", "publish", "devices/device-001/t", "denied", ""),
        entry("device-001", "publish", "devices/device-001/t", "allowed", "qos = 2"),
        entry("device-001", "publish", "devices/device-002/t", "allowed", ""),
        entry("device-003", "publish", "a", "allowed", ""),
        entry("device-002", "subscribe", "a", "denied", "reason = 'denied-by-rule'\nclient_id = 'device-002-'"),
        entry("device-001", "receive", "devices/device-001/cmd", "allowed", ""),
    ]);
    let said = warden.run("test expected.toml");
    assert_eq!(said.code, 8);
    assert_snapshot!(said.stdout, @r#"
    LINE  DEVICE      ACTION                     TOPIC                 EXPECTED                FOUND                     WHY
    1     device-001  publish                    devices/device-001/t  denied                  allowed, allowed-by-rule  rule 1 of role sensor: allow publish devices/%u/# --max-qos 1
    7     device-001  publish, qos 2             devices/device-001/t  allowed                 denied, no-rule           rule 1 of role `sensor`: the rule allows no QoS above 1
    13    device-001  publish                    devices/device-002/t  allowed                 denied, no-rule           rule 1 of role `sensor`: level 2 is `device-002`, the rule says `%u` = `device-001`
    19    device-003  publish                    a                     allowed                 denied, unknown-identity  there is no such device
    25    device-002  subscribe, as device-002-  a                     denied, denied-by-rule  denied, no-rule
    1 of 6 hold
    "#);
    let found: Value = serde_json::from_str(&warden.run("test expected.toml --json").stdout).unwrap();
    assert_snapshot!(found[0].to_string(), @r#"{"action":"publish","client_id":null,"device":"device-001","expect":"denied","found":{"reason":"allowed-by-rule","rule":{"id":1,"role":"sensor","words":"allow publish devices/%u/# --max-qos 1"},"verdict":"allowed","why":[]},"holds":false,"line":1,"qos":0,"retain":false,"topic":"devices/device-001/t"}"#);
    assert_eq!(found[5]["holds"], true);
}

#[test]
fn a_file_with_mistakes_is_refused_with_all_of_them() {
    let warden = expecting(&[
        entry("device-001", "read", "devices/device-001/t", "perhaps", ""),
        entry("device-001", "publish", "a/#", "denied", "colour = 'red'"),
    ]);
    let said = warden.run("test expected.toml");
    assert_eq!((said.code, &*said.stdout), (2, ""));
    assert_snapshot!(said.stderr, @r#"
    error: `expected.toml` is wrong
    line 1: `action`: `publish`, `subscribe` or `receive` is wanted, not `"read"`
    line 1: `expect`: `allowed` or `denied` is wanted, not `"perhaps"`
    line 7: unknown key `colour`; there are device, action, topic, qos, retain, client_id, credential, expect, reason, rule and role
    line 7: `topic`: a topic name cannot hold `+` or `#`: level 2 does
    "#);
    assert_eq!(warden.run("test gone.toml").code, 2);
}
