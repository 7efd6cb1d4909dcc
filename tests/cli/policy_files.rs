//! A policy is written as a file and made what a file says.

use std::fs;

use insta::assert_snapshot;

use crate::Warden;

#[test]
fn a_policy_reads_like_this_and_is_the_same_elsewhere() {
    let warden = Warden::fleet();
    warden.done("role add logger --client-id log-*");
    warden.done("rule add logger deny write secret/# --retain true");
    let text = warden.done("export --devices");
    assert_snapshot!(text, @r#"
    # Roles and their rules: `warden export` writes this file, `warden apply` puts it in force.

    [[role]]
    name = "logger"
    client_id = "log-*"
    rules = [
        { deny = "publish", topic = "secret/#", retain = true },
    ]

    [[role]]
    name = "sensor"
    rules = [
        { allow = "publish", topic = "devices/%u/#", max_qos = 1 },
        { allow = "read", topic = "devices/%u/cmd" },
    ]

    [devices]
    "device-001" = ["sensor"]
    "device-002" = ["sensor"]
    "#);
    assert_eq!(warden.done("export policy.toml --devices"), "2 roles with 3 rules written to `policy.toml`\n");
    assert_eq!(fs::read_to_string(warden.path("policy.toml")).unwrap(), text);
    assert_eq!(warden.done("apply policy.toml"), "nothing to do: the policy is what the file says\n");
    let other = Warden::new();
    fs::write(other.path("policy.toml"), &text).unwrap();
    let said = other.run("apply policy.toml --yes");
    assert_eq!(said.code, 4, "{said:?}");
    assert_eq!(other.done("role list --json"), "[]\n", "nothing was done");
    other.done("device add device-001");
    other.done("device add device-002");
    other.done("apply policy.toml --yes");
    assert_eq!(other.done("export --devices"), text);
}

#[test]
fn a_plan_reads_like_this_and_happens_when_it_is_confirmed() {
    let warden = Warden::fleet();
    fs::write(
        warden.path("policy.toml"),
        "[[role]]\nname = 'sensor'\nclient_id = '%u'\nrules = [{ allow = 'publish', topic = 'devices/%u/#' }]\n\
         [[role]]\nname = 'backend'\nrules = [{ allow = 'read', topic = 'devices/+/state', max_qos = 1 }]\n",
    )
    .unwrap();
    let said = warden.run("apply policy.toml --dry-run");
    assert_eq!(said.code, 8);
    assert_snapshot!(said.stdout, @r#"
    + role `backend`
    + rule of `backend`: allow read devices/+/state --max-qos 1
    ~ role `sensor`: client id `%u`, was any
    + rule of `sensor`: allow publish devices/%u/#
    - rule 1 of `sensor`: allow publish devices/%u/# --max-qos 1
    - rule 2 of `sensor`: allow read devices/%u/cmd
    6 changes would be made
    "#);
    let said = warden.run("apply policy.toml");
    assert_eq!(said.code, 2, "nobody can be asked: {said:?}");
    assert_eq!(warden.json("role list").as_array().unwrap().len(), 1);
    assert!(warden.done("apply policy.toml --yes").ends_with("6 changes made\n"));
    assert_eq!(warden.run("explain device-001 publish devices/device-001/a --qos 2").code, 0);
    assert_eq!(warden.json("apply policy.toml --dry-run")["changed"], false);
    assert_eq!(warden.json("credential list device-001").as_array().unwrap().len(), 1);
}

#[test]
fn a_role_that_devices_have_goes_only_if_that_is_said() {
    let warden = Warden::fleet();
    fs::write(warden.path("policy.toml"), "").unwrap();
    let said = warden.run("apply policy.toml --yes");
    assert_eq!(said.code, 5);
    assert_snapshot!(said.stderr, @r#"
    error: policy.toml: devices have roles that would be gone: `sensor` (2)

    hint: `--withdraw` takes them off these devices, with the credentials that give nothing else
    "#);
    assert_eq!(warden.json("role list").as_array().unwrap().len(), 1);
    warden.done("apply policy.toml --yes --withdraw");
    assert_eq!(warden.done("role list --json"), "[]\n");
    assert_eq!(warden.json("device list").as_array().unwrap().len(), 2);
}

#[test]
fn a_role_that_devices_begin_with_goes_only_if_that_is_said() {
    let warden = Warden::fleet();
    let text = warden.done("export --devices");
    fs::write(warden.path("policy.toml"), &text).unwrap();
    warden.done("role add bootstrap");
    warden.done("device add d --bootstrap --until 2036-01-01T00:00:00Z");
    let said = warden.run("apply policy.toml --yes");
    assert!(said.code == 5 && said.stderr.contains("`bootstrap` (1)"), "{said:?}");
    assert_eq!(warden.json("credential list d")[0]["only_role"], "bootstrap");
    warden.done("apply policy.toml --yes --withdraw");
    assert_eq!(warden.done("credential list d --json"), "[]\n");
    // One that is over keeps no role.
    warden.done("role add bootstrap");
    warden.done("credential add d psk --only-role bootstrap");
    warden.done("credential revoke d psk");
    assert!(warden.done("apply policy.toml --yes").ends_with("1 changes made\n"));
}

#[test]
fn a_bad_file_is_refused_whole() {
    let warden = Warden::fleet();
    let text = "[[role]]\nname = 'sensor'\nrules = [{ allow = 'shout', topic = 'a' }, { deny = 'all' }]\n\
                [[role]]\nname = 'sensor'\n[devices]\nd = ['x']\n";
    fs::write(warden.path("policy.toml"), text).unwrap();
    let said = warden.run("apply policy.toml --yes");
    assert_eq!((said.code, &*said.stdout), (2, ""));
    assert_snapshot!(said.stderr, @r#"
    error: `policy.toml` is wrong
    line 3: unknown action `shout`; it is `publish`, `subscribe`, `receive`, `read`, `write` or `all`
    line 3: the rule has no `topic`
    line 4: there are two roles `sensor`
    line 7: device `d` is to have the role `x`, which is not in the file
    "#);
    assert_eq!(warden.json("rule list").as_array().unwrap().len(), 2);
}

#[test]
fn what_makes_no_sense_is_not_written() {
    let warden = Warden::fleet();
    warden.sqlite3("PRAGMA ignore_check_constraints = 1; UPDATE rules SET action = 'shout' WHERE id = 1");
    let said = warden.run("export");
    assert_eq!((said.code, &*said.stdout), (5, ""));
    assert_snapshot!(said.stderr, @r#"
    error: the policy cannot be written as a file
    rule 1 of role `sensor`: unknown action `shout`; it is `publish`, `subscribe`, `receive`, `read`, `write` or `all`

    hint: mend or remove these rules with `warden rule remove`
    "#);
    assert_eq!(warden.run("export gone/policy.toml").code, 5);
    warden.done("rule remove 1");
    assert_eq!(warden.run("export gone/policy.toml").code, 1);
}
