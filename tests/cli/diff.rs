//! Which devices gain or lose which rights.

use std::fs;

use insta::assert_snapshot;

use crate::Warden;

#[test]
fn gains_and_losses_read_like_this() {
    let warden = Warden::fleet();
    warden.done("device add device-003 --cn --role sensor");
    fs::write(
        warden.path("policy.toml"),
        "[[role]]\nname = 'sensor'\nrules = [\n\
         { allow = 'publish', topic = 'devices/%u/#' },\n\
         { deny = 'publish', topic = 'devices/+/firmware' },\n\
         { allow = 'read', topic = 'devices/%u/cmd' },\n\
         { allow = 'read', topic = 'fleet/news' }]\n",
    )
    .unwrap();
    let said = warden.run("diff policy.toml");
    assert_eq!(said.code, 8, "{said:?}");
    assert_snapshot!(said.stdout, @r#"
    device-001, device-002, device-003:
      + publish devices/%u (qos 2)
          before: no-rule
          after:  allowed-by-rule, `allow publish devices/%u/#` of role `sensor`
          as in:  device-001 publish devices/device-001
      + receive fleet/news
          before: no-rule
          after:  allowed-by-rule, `allow read fleet/news` of role `sensor`
          as in:  device-001 receive fleet/news
      + subscribe fleet/news
          before: no-rule
          after:  allowed-by-rule, `allow read fleet/news` of role `sensor`
          as in:  device-001 subscribe fleet/news
      + publish devices/%u/+/# (qos 2)
          before: no-rule
          after:  allowed-by-rule, `allow publish devices/%u/#` of role `sensor`
          as in:  device-001 publish devices/device-001/other
      + publish devices/%u/cmd (qos 2)
          before: no-rule
          after:  allowed-by-rule, `allow publish devices/%u/#` of role `sensor`
          as in:  device-001 publish devices/device-001/cmd
      - publish devices/%u/firmware (qos 0 or 1)
          before: allowed-by-rule, `allow publish devices/%u/# --max-qos 1` of role `sensor`
          after:  denied-by-rule, `deny publish devices/+/firmware` of role `sensor`
          as in:  device-001 publish devices/device-001/firmware
    15 gained and 3 lost by 3 devices
    "#);
    let reverse = warden.run("diff policy.toml warden.db");
    assert_eq!((reverse.code, reverse.stdout.matches("\n  + ").count()), (8, said.stdout.matches("\n  - ").count()));
    let found: serde_json::Value = serde_json::from_str(&warden.run("diff policy.toml --json").stdout).unwrap();
    assert_snapshot!(found["groups"][0]["differences"][0].to_string(), @r#"{"action":"publish","after":{"reason":"allowed-by-rule","rule":{"role":"sensor","words":"allow publish devices/%u/#"}},"before":{"reason":"no-rule","rule":null},"begins_with":null,"change":"gained","client_id":null,"filter":"devices/%u","qos":[2],"retain":[false,true],"topic":"devices/device-001"}"#);
}

#[test]
fn what_is_only_written_in_another_way_is_no_difference() {
    let warden = Warden::fleet();
    warden.done("export same.toml");
    assert_eq!(warden.done("diff same.toml"), "no device gains or loses a right\n");
    let text = "[[role]]\nname = 'sensor'\nrules = [\n\
                { allow = 'publish', topic = 'devices/%u', max_qos = 1 },\n\
                { allow = 'publish', topic = 'devices/%u/+', max_qos = 1 },\n\
                { allow = 'publish', topic = 'devices/%u/+/#', max_qos = 1 },\n\
                { allow = 'publish', topic = 'devices/%u/a', max_qos = 0 },\n\
                { allow = 'subscribe', topic = 'devices/%u/cmd' },\n\
                { allow = 'receive', topic = 'devices/%u/cmd' },\n\
                { deny = 'all', topic = 'elsewhere/#' }]\n";
    fs::write(warden.path("other.toml"), text).unwrap();
    assert_eq!(warden.done("diff other.toml"), "no device gains or loses a right\n");
    assert_eq!(warden.done("diff same.toml other.toml"), "no device gains or loses a right\n");
}

#[test]
fn two_databases_differ_by_their_devices() {
    let warden = Warden::fleet();
    fs::copy(warden.path("warden.db"), warden.path("before.db")).unwrap();
    assert_eq!(warden.done("diff before.db warden.db"), "no device gains or loses a right\n");
    warden.done("device revoke device-001");
    let said = warden.run("diff before.db");
    assert_eq!(said.code, 8);
    assert!(said.stdout.contains("device-001:\n  + publish devices/%u (qos 0 or 1)\n"), "{said:?}");
    let said = warden.run("diff before.db warden.db");
    assert!(said.stdout.contains("device-001:\n  - publish devices/%u (qos 0 or 1)\n"), "{said:?}");
    assert!(!said.stdout.contains("device-002"), "{said:?}");
}

#[test]
fn what_a_device_only_begins_with_is_compared_by_itself() {
    let warden = Warden::fleet();
    warden.done("export without.toml");
    for role in ["another", "bootstrap"] {
        warden.done(&format!("role add {role}"));
        warden.done(&format!("rule add {role} allow publish begin/{role}"));
    }
    warden.done("device add d --role sensor");
    fs::copy(warden.path("warden.db"), warden.path("before.db")).unwrap();
    warden.done("credential add d psk --only-role bootstrap");
    let said = warden.run("diff before.db warden.db");
    assert_eq!(said.code, 8);
    assert_snapshot!(said.stdout, @r#"
    d:
      + publish begin/bootstrap (while it begins with the role `bootstrap`)
          before: unknown-identity
          after:  allowed-by-rule, `allow publish begin/bootstrap` of role `bootstrap`
          as in:  d publish begin/bootstrap
    1 gained and 0 lost by one device
    "#);
    // A file has other numbers for the same roles, which means nothing; and without the role, nobody begins with it.
    warden.done("export same.toml");
    assert_eq!(warden.done("diff same.toml"), "no device gains or loses a right\n");
    let said = warden.run("diff without.toml");
    assert!(said.stdout.contains("d:\n  - publish begin/bootstrap (while"), "{said:?}");
    let reverse = warden.run("diff without.toml warden.db --json");
    let found: serde_json::Value = serde_json::from_str(&reverse.stdout).unwrap();
    assert_eq!(found["groups"][0]["differences"][0]["begins_with"], "bootstrap");
    // It is over with the first certificate.
    fs::copy(warden.path("warden.db"), warden.path("before.db")).unwrap();
    warden.done("credential add d x509_cn");
    let said = warden.run("diff before.db warden.db");
    assert!(said.stdout.ends_with("0 gained and 1 lost by one device\n"), "{said:?}");
}

#[test]
fn what_is_too_much_is_said() {
    let warden = Warden::fleet();
    let rules: Vec<String> =
        (0..18).map(|at| format!("{{ allow = 'read', topic = '{}x/#' }}", "+/".repeat(at))).collect();
    let text = format!("[[role]]\nname = 'sensor'\nrules = [{}]\n", rules.join(", "));
    fs::write(warden.path("policy.toml"), text).unwrap();
    let said = warden.run("diff policy.toml");
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.stdout.contains("device-001: not compared: there are more than"), "{said:?}");
}

#[test]
fn what_is_no_policy_is_refused() {
    let warden = Warden::fleet();
    fs::write(warden.path("bad.toml"), "role = 1\n").unwrap();
    assert_eq!(warden.run("diff bad.toml").code, 2);
    assert_eq!(warden.run("diff gone.toml").code, 2);
    assert_eq!(warden.run("diff gone.db").code, 6);
}
