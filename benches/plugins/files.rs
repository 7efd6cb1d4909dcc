//! The fleet of `Stand::make`, and its rules, as the files of Mosquitto's own plugins have it.
//!
//! A device's own rules stand first, because these plugins look through them in the order of the file: what is measured
//! is what suits them best.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::stand::name;

struct Rule {
    allow: bool,
    publish: bool,
    read: bool,
    topic: String,
}

/// The rules of a device, or with `%u` of all.
fn rules(user: &str, rules: usize) -> Vec<Rule> {
    let rule = |allow, publish, read, topic| Rule { allow, publish, read, topic };
    let own = [
        rule(true, true, false, format!("site/dev/{user}/#")),
        rule(true, false, true, format!("site/cmd/{user}/+")),
        rule(false, true, false, "site/dev/+/secret".to_owned()),
    ];
    let others = (4..=rules).map(|n| rule(true, true, true, format!("site/line-{}/cell-{n}/state", n % 100)));
    own.into_iter().chain(others).collect()
}

/// For `mosquitto_acl_file.so`: a section for each device.
pub(crate) fn sections(devices: usize, count: usize) -> String {
    let mut text = String::new();
    for user in (0..devices).map(name) {
        writeln!(text, "user {user}").unwrap();
        lines(&mut text, "topic", &rules(&user, count));
    }
    text
}

/// For `mosquitto_acl_file.so`: patterns for all.
pub(crate) fn patterns(count: usize) -> String {
    let mut text = String::new();
    lines(&mut text, "pattern", &rules("%u", count));
    text
}

/// Where a rule denies, nobody can say what: it is for reading as well.
fn lines(text: &mut String, word: &str, rules: &[Rule]) {
    for rule in rules {
        let access = match (rule.allow, rule.publish, rule.read) {
            (false, ..) => "deny",
            (true, true, true) => "readwrite",
            (true, true, false) => "write",
            (true, false, _) => "read",
        };
        writeln!(text, "{word} {access} {}", rule.topic).unwrap();
    }
}

/// For `mosquitto_dynamic_security.so`: a role for each device.
pub(crate) fn roles(devices: usize, count: usize) -> String {
    let roles: Vec<Value> = (0..devices).map(name).map(|user| role(&user, &rules(&user, count))).collect();
    dynamic_security(devices, &roles, str::to_owned)
}

/// For `mosquitto_dynamic_security.so`: one role for all, in which `%u` is the user.
pub(crate) fn one_role(devices: usize, count: usize) -> String {
    dynamic_security(devices, &[role("sensor", &rules("%u", count))], |_| "sensor".to_owned())
}

fn role(name: &str, rules: &[Rule]) -> Value {
    let acls: Vec<Value> = rules
        .iter()
        .flat_map(|rule| {
            let kinds = [
                ("publishClientSend", rule.publish),
                ("publishClientReceive", rule.read),
                ("subscribePattern", rule.read),
            ];
            let kinds = kinds.into_iter().filter_map(|(kind, wanted)| wanted.then_some(kind));
            // What denies comes before what allows.
            let acl = |kind| {
                json!({"acltype": kind, "topic": rule.topic, "priority": i32::from(!rule.allow), "allow": rule.allow})
            };
            kinds.map(acl).collect::<Vec<Value>>()
        })
        .collect();
    json!({"rolename": name, "acls": acls})
}

/// Clients without a password: nobody logs in here.
fn dynamic_security(devices: usize, roles: &[Value], role_of: impl Fn(&str) -> String) -> String {
    let clients: Vec<Value> =
        (0..devices).map(name).map(|user| json!({"username": user, "roles": [{"rolename": role_of(&user)}]})).collect();
    let nothing = json!({
        "publishClientSend": false, "publishClientReceive": false, "subscribe": false, "unsubscribe": false
    });
    json!({"defaultACLAccess": nothing, "clients": clients, "groups": [], "roles": roles}).to_string()
}
