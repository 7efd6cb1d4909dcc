//! What is wrong with a policy.

use insta::assert_snapshot;
use serde_json::Value;

use crate::Warden;

#[test]
fn the_demo_and_the_tutorial_have_nothing_to_find() {
    for document in ["tests/demo.sh", "README.md"] {
        let text = std::fs::read_to_string(format!("{}/{document}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let warden = Warden::new();
        let mut made = 0;
        // The demo runs `run role add …`, the tutorial `warden role add …`.
        for line in text.lines().map(|line| line.trim_start_matches("psk=$(")) {
            let Some(words) = line.strip_prefix("run ").or_else(|| line.strip_prefix("warden ")) else { continue };
            let words = words.split(['|', '>']).next().unwrap().replace(['\'', ')'], "").replace("--json", "");
            if ["role add ", "rule add ", "device add "].iter().any(|verb| words.starts_with(verb)) {
                warden.done(&words);
                made += 1;
            }
            if made == 5 {
                break;
            }
        }
        assert_eq!(made, 5, "{document}");
        assert_eq!(warden.done("lint --deny note --expiring 3650d"), "0 errors, 0 warnings, 0 notes\n", "{document}");
    }
}

#[test]
fn findings_read_like_this() {
    let warden = Warden::fleet();
    warden.done("role add backend");
    warden.done("rule add backend allow all #");
    warden.done("rule add sensor allow publish devices/+/cmd");
    warden.done("device add tap --cn --role backend");
    warden.done("device add bare");
    let said = warden.run("lint");
    assert_eq!(said.code, 8);
    assert_snapshot!(said.stdout, @r#"
    error[allows-everything] role backend, rule 3: `allow all #` is for every topic of every device
        name the topics that are needed; `%u` stands for the name of the device
    warning[allows-other-devices] role sensor, rule 4: `allow publish devices/+/cmd` has `+` where a device's name stands: devices speak for each other
        put `%u` there; where a service needs it, allow the code for its role
    warning[any-client-id] role backend: nothing binds `tap` to client ids, so that one can take over the session of another
        a pattern on the role, such as `%u`, or `warden device set DEVICE --client-id '%u'`
    warning[any-client-id] role sensor: nothing binds `device-001` to client ids, so that one can take over the session of another
        a pattern on the role, such as `%u`, or `warden device set DEVICE --client-id '%u'`
    warning[device-without-role] device bare: it may connect and do nothing: it has no role
        `warden role grant ROLE bare`, or `warden device remove bare`
    warning[no-credential] device bare: it has no credential, so that it cannot connect
        `warden credential add bare …`
    1 error, 5 warnings, 0 notes
    "#);
}

#[test]
fn findings_have_this_shape() {
    let warden = Warden::fleet();
    let found: Value = serde_json::from_str(&warden.run("lint --json").stdout).unwrap();
    assert_snapshot!(found.to_string(), @r#"[{"code":"any-client-id","place":"role sensor","remedy":"a pattern on the role, such as `%u`, or `warden device set DEVICE --client-id '%u'`","severity":"warning","what":"nothing binds `device-001` to client ids, so that one can take over the session of another"}]"#);
}

#[test]
fn what_is_allowed_is_not_found() {
    let warden = Warden::fleet();
    assert_eq!(warden.run("lint").code, 8);
    assert_eq!(warden.run("lint --deny error").code, 0);
    for allowed in ["any-client-id", "any-client-id=sensor"] {
        assert_eq!(warden.done(&format!("lint --allow {allowed}")), "0 errors, 0 warnings, 0 notes\n");
    }
    assert_eq!(warden.run("lint --allow any-client-id=other").code, 8);
    let said = warden.run("lint --allow any-client-di --allow nonsense");
    assert_eq!((said.code, &*said.stdout), (2, ""));
    assert_snapshot!(said.stderr, @"error: unknown code `any-client-di`; did you mean `any-client-id`?; unknown code `nonsense`; `--codes` lists them");
}

#[test]
fn every_code_is_listed() {
    let warden = Warden::empty();
    let codes = warden.json("lint --codes");
    assert!(codes.as_array().unwrap().len() >= 25);
    assert!(warden.done("lint --codes").lines().any(|line| line.starts_with("any-client-id ")));
}

#[test]
fn rows_that_make_no_sense_are_found() {
    let warden = Warden::fleet();
    warden.done("device set device-001 --client-id %u");
    warden.sqlite3("PRAGMA ignore_check_constraints = 1; UPDATE rules SET action = 'shout' WHERE id = 1; UPDATE devices SET status = 'x' WHERE name = 'device-002'");
    let found = warden.run("lint --json").stdout;
    assert!(found.contains("\"unreadable-rule\"") && found.contains("\"unreadable-device\""), "{found}");
}
