//! From nothing to a device that may publish, and back.

use insta::assert_snapshot;

use crate::Warden;

#[test]
fn a_device_is_provisioned_in_one_step() {
    let warden = Warden::new();
    warden.done("role add sensor");
    warden.done("rule add sensor allow publish devices/%u/#");
    assert_snapshot!(warden.done("device add device-001 --cn --role sensor"), @"device `device-001` added");
    assert_snapshot!(warden.done("device list"), @"
    DEVICE      STATUS  ROLES   CREDENTIALS
    device-001  active  sensor  x509_cn
    ");
    assert_snapshot!(warden.done("explain device-001 publish devices/device-001/t"), @"
    allowed: allowed-by-rule, rule 1
      rule 1 of role `sensor`: allow publish devices/%u/#
    ");
}

#[test]
fn what_is_allowed_has_its_refused_twin() {
    let warden = Warden::fleet();
    for (question, allowed) in [
        ("device-001 publish devices/device-001/t", true),
        ("device-001 publish devices/device-002/t", false),
        ("device-001 publish devices/device-001/t --qos 1", true),
        ("device-001 publish devices/device-001/t --qos 2", false),
        ("device-001 subscribe devices/device-001/cmd", true),
        ("device-001 subscribe devices/+/cmd", false),
        ("device-001 subscribe #", false),
        ("device-001 subscribe $share/g/devices/device-001/cmd", true),
        ("device-001 subscribe $share/g/#", false),
        ("device-001 receive devices/device-001/cmd", true),
        ("device-001 receive devices/device-001/other", false),
        ("device-002 publish devices/device-002/t --client-id device-002-a", true),
        ("device-002 publish devices/device-002/t --client-id device-001", false),
    ] {
        let said = warden.run(&format!("explain {question}"));
        assert_eq!(said.code, if allowed { 0 } else { 3 }, "{question}: {said:?}");
        assert!(said.stdout.starts_with(if allowed { "allowed: " } else { "denied: " }), "{said:?}");
        assert!(said.stderr.is_empty(), "{said:?}");
    }
}

#[test]
fn a_denial_names_the_rule_that_nearly_allowed() {
    let warden = Warden::fleet();
    assert_snapshot!(warden.run("explain device-001 publish devices/device-002/t").stdout, @"
    denied: no-rule
    nearly:
      rule 1 of role `sensor`: allow publish devices/%u/# --max-qos 1
        level 2 is `device-002`, the rule says `%u` = `device-001`
    ");
}

#[test]
fn a_suspended_device_may_do_nothing_until_it_is_activated_and_a_revoked_one_for_good() {
    let warden = Warden::fleet();
    let question = "explain device-001 publish devices/device-001/t";
    for (verb, words, allowed) in [
        ("suspend", "now suspended", false),
        ("suspend", "already suspended", false),
        ("activate", "now active", true),
        ("activate", "already active", true),
    ] {
        assert_eq!(warden.done(&format!("device {verb} device-001")), format!("device `device-001` is {words}\n"));
        assert_eq!(warden.run(question).code, if allowed { 0 } else { 3 });
    }
    warden.done("device revoke device-001 --reason stolen");
    assert_snapshot!(warden.run(question).stdout, @"
    denied: device-revoked
    its roles alone say: allowed: allowed-by-rule, rule 1
      rule 1 of role `sensor`: allow publish devices/%u/# --max-qos 1
    ");
    assert!(warden.done("device show device-001").contains("revoked (stolen)"));
    assert_eq!(warden.done("device revoke device-001"), "device `device-001` is already revoked\n");
    warden.done("device activate device-001");
    assert!(warden.run(question).stdout.starts_with("denied: credential-revoked\n"));
    warden.done("credential add device-001 x509_cn --identity device-001.next");
    assert_eq!(warden.run(question).code, 0);
}

#[test]
fn a_revoked_or_expired_credential_is_no_credential() {
    let warden = Warden::fleet();
    let question = "explain device-001 publish devices/device-001/t";
    warden.done("credential revoke device-001 x509_cn");
    assert!(warden.run(question).stdout.starts_with("denied: credential-revoked"));
    assert!(warden.done("credential revoke device-001 x509_cn").contains("is already revoked"));
    warden.done("credential add device-001 x509_cn --identity old --not-after 2020-01-01T00:00:00Z");
    assert_eq!(warden.run(question).code, 3);
    warden.done("credential add device-001 x509_cn --identity new --not-after 2999-01-01T01:00:00+01:00");
    assert_eq!(warden.run(question).code, 0);
    assert_eq!(warden.sqlite3("SELECT not_after FROM credentials WHERE identity = 'new'"), "2999-01-01T00:00:00Z");
    warden.done("credential remove device-001 x509_cn --identity new --yes");
    assert_eq!(warden.run(question).code, 3);
}

#[test]
fn a_role_can_be_granted_and_withdrawn_any_number_of_times() {
    let warden = Warden::fleet();
    warden.done("device add device-003 --cn");
    let question = "explain device-003 publish devices/device-003/t";
    assert_eq!(warden.run(question).code, 3);
    for (verb, words, code) in [
        ("grant", "device `device-003` has role `sensor`", 0),
        ("grant", "device `device-003` has already role `sensor`", 0),
        ("withdraw", "device `device-003` no longer has role `sensor`", 3),
        ("withdraw", "device `device-003` does not have role `sensor`", 3),
    ] {
        assert_eq!(warden.done(&format!("role {verb} sensor device-003")).trim(), words);
        assert_eq!(warden.run(question).code, code);
    }
}

#[test]
fn a_device_is_shown_with_what_was_set() {
    let warden = Warden::fleet();
    warden.done("device set device-001 --client-id %u --attribute site=oslo --attribute floor=2");
    warden.done("device set device-001 --remove-attribute floor");
    let shown = warden.done("device show device-001");
    insta::with_settings!({ filters => [(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "[time]")] }, {
        assert_snapshot!(shown, @r#"
        device      device-001
        status      active
        client id   %u
        attributes  {"site":"oslo"}
        roles       sensor
        created     [time]
        updated     [time]

        DEVICE      KIND     IDENTITY    STATUS  NOT BEFORE  NOT AFTER
        device-001  x509_cn  device-001  active  -           -
        "#);
    });
    warden.done("device set device-001 --any-client-id");
    assert_eq!(warden.json("device show device-001")["client_id"], serde_json::Value::Null);
}

#[test]
fn what_is_removed_is_gone() {
    let warden = Warden::fleet();
    warden.done("rule remove 1");
    assert_eq!(warden.run("explain device-001 publish devices/device-001/t").code, 3);
    warden.done("role remove sensor --yes");
    assert_eq!(warden.done("role list").lines().count(), 1);
    warden.done("device remove device-001 --yes");
    assert_eq!(warden.run("device show device-001").code, 4);
    assert_eq!(warden.json("credential list").as_array().unwrap().len(), 1);
}

#[test]
fn a_change_by_the_sqlite3_shell_counts_as_much_as_one_by_the_command() {
    let warden = Warden::fleet();
    warden.sqlite3("UPDATE devices SET status = 'revoked' WHERE name = 'device-001'");
    assert_eq!(warden.run("explain device-001 publish devices/device-001/t").code, 3);
    assert!(warden.done("device revoke device-001").contains("already revoked"));
}

#[test]
fn the_status_tells_what_is_there() {
    let warden = Warden::fleet();
    warden.done("device suspend device-001");
    let status = warden.json("status");
    assert_eq!(status["schema"], 3);
    assert_eq!(status["key_usable"], true);
    assert_eq!(status["devices"], serde_json::json!({ "active": 1, "suspended": 1, "revoked": 0 }));
    assert_eq!(status["revision"].to_string(), warden.sqlite3("SELECT max(revision) FROM change_log"));
}

#[test]
fn the_configuration_of_the_plugin_says_where_the_files_are() {
    let warden = Warden::empty();
    let database = warden.path("fleet.sqlite");
    let config = format!("database = {database:?}\nkey_file = {:?}\nfreshness = \"strict\"\n", warden.path("sealing"));
    std::fs::write(warden.path("warden.toml"), config).unwrap();
    let said = warden.command(&["init", "--config", "warden.toml"]).env_remove("WARDEN_DATABASE").output().unwrap();
    assert!(said.status.success(), "{said:?}");
    assert!(database.exists() && warden.path("sealing").exists());
    let said = warden.command(&["status"]).env_remove("WARDEN_DATABASE").env("WARDEN_CONFIG", "warden.toml").output();
    assert!(said.unwrap().status.success());
    std::fs::write(warden.path("warden.toml"), "databse = 'x'\n").unwrap();
    let said = warden.run("status --config warden.toml");
    assert_eq!(said.code, 2);
    assert!(said.stderr.contains("did you mean `database`?"), "{said:?}");
}
