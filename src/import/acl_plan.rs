//! An `acl_file` as roles: one for each different set of lines of a user, and `acl-patterns` for everybody.

use std::collections::BTreeSet;

use super::Series;
use super::acl_file::{Access, AclFile, Entry, User};
use super::levels;
use super::plan::{Device, Plan, Rule, Weight, fault_of_name};
use crate::policy::rule::Effect;

/// The role that every device gets, for the patterns.
pub const PATTERNS: &str = "acl-patterns";
/// The role with which any subscription is accepted, as Mosquitto does.
pub const SUBSCRIPTIONS: &str = "acl-subscriptions";

/// How a file is to be read.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reading {
    pub series: Series,
    /// Any subscription is accepted, and deliveries alone are limited, as before.
    pub keep_subscriptions: bool,
}

/// Makes a plan of a file. Mistakes of the file itself are not repeated.
#[must_use]
pub fn plan(file: &AclFile, reading: Reading) -> Plan {
    let mut plan = Plan::default();
    general(file, reading, &mut plan);
    for user in &file.users {
        of_user(user, reading, &mut plan);
    }
    if !file.patterns.is_empty() {
        let rules = rules(&file.patterns, reading, true, &mut plan);
        plan.roles.push(super::plan::Role { name: PATTERNS.to_owned(), rules });
        plan.for_all.push(PATTERNS.to_owned());
        about_patterns(reading.series, &mut plan);
    }
    if reading.keep_subscriptions {
        let any =
            ["#", "$SYS/#"].into_iter().filter_map(|topic| Rule::new(Effect::Allow, "subscribe", topic.into()).ok());
        plan.roles.push(super::plan::Role { name: SUBSCRIPTIONS.to_owned(), rules: any.collect() });
        plan.for_all.push(SUBSCRIPTIONS.to_owned());
    }
    beaten_denies(file, &mut plan);
    plan.findings.sort_by_key(|finding| (finding.line, finding.weight));
    plan
}

/// What is true of the whole file.
fn general(file: &AclFile, reading: Reading, plan: &mut Plan) {
    if reading.keep_subscriptions {
        plan.find(
            Weight::Narrower,
            None,
            "subscriptions to topics that begin with `$`, other than below `$SYS`, need a rule of their own",
        );
    } else {
        plan.find(
            Weight::Narrower,
            None,
            "Mosquitto accepts every subscription and holds back what may not be read; here a subscription must lie \
             wholly inside what may be read (`--keep-subscriptions` accepts every one as before)",
        );
    }
    for entry in &file.anonymous {
        plan.find(
            Weight::Narrower,
            entry.line,
            format!("`{}` is for clients without user name: there are none here, and it is not imported", entry.topic),
        );
    }
    if !file.users.is_empty() {
        plan.find(Weight::Note, None, "the file holds no credentials; `password-file` and `psk-file` import those");
    }
}

fn of_user(user: &User, reading: Reading, plan: &mut Plan) {
    if let Some(fault) = fault_of_name(&user.name) {
        plan.find(Weight::Mistake, user.line, format!("user `{}`: {fault}", user.name));
        return;
    }
    let rules = rules(&user.entries, reading, false, plan);
    let mut roles = Vec::new();
    if rules.is_empty() {
        plan.find(Weight::Note, user.line, format!("user `{}` has no topics of its own", user.name));
    } else {
        let name = format!("acl-{}", user.name);
        let name = if name.chars().count() > 255 { format!("acl-line-{}", user.line) } else { name };
        roles.push(plan.role_for(name, rules));
    }
    plan.devices.push(Device { line: user.line, name: user.name.clone(), roles, ..Device::default() });
}

/// The rules of these lines, without those that cannot be said.
fn rules(entries: &[Entry], reading: Reading, patterns: bool, plan: &mut Plan) -> BTreeSet<Rule> {
    let mut rules = BTreeSet::new();
    for entry in entries {
        let topic = if patterns {
            pattern(entry, reading.series, plan)
        } else {
            if entry.topic.contains("%u") || entry.topic.contains("%c") {
                let words = format!("`{}`: `%` means nothing in a `topic` line, and is taken literally", entry.topic);
                plan.find(Weight::Note, entry.line, words);
            }
            levels::literal(&entry.topic)
        };
        dollar_topics(entry, patterns, plan);
        for (effect, action) in effects(entry.access, reading.keep_subscriptions) {
            match Rule::new(*effect, action, topic.clone()) {
                Ok(rule) => {
                    rules.insert(rule);
                }
                Err(fault) if entry.topic.starts_with("$share") => {
                    let words = format!("`{}` matches no message: {fault}; it is not imported", entry.topic);
                    plan.find(Weight::Note, entry.line, words);
                    break;
                }
                Err(fault) => {
                    plan.find(Weight::Mistake, entry.line, format!("`{}`: {fault}", entry.topic));
                    break;
                }
            }
        }
    }
    rules
}

/// The topic of a `pattern` line as a rule writes it.
fn pattern(entry: &Entry, series: Series, plan: &mut Plan) -> String {
    if levels::has_embedded_value(&entry.topic) {
        let (assumed, other) = match series {
            Series::V20 => ("2.0, which puts the value in", "2.1 takes such a level literally"),
            Series::V21 => ("2.1, which takes it literally", "2.0 puts the value in: `--mosquitto 2.0`"),
        };
        let words = format!("`{}`: `%u` or `%c` is part of a level; read as by {assumed} ({other})", entry.topic);
        plan.find(Weight::Note, entry.line, words);
    }
    match series {
        Series::V20 => levels::values_anywhere(&entry.topic),
        Series::V21 => levels::whole_level_values(&entry.topic),
    }
}

fn effects(access: Access, keep_subscriptions: bool) -> &'static [(Effect, &'static str)] {
    use Effect::{Allow, Deny};
    match (access, keep_subscriptions) {
        (Access::Write, _) => &[(Allow, "publish")],
        (Access::Read, false) => &[(Allow, "read")],
        (Access::Read, true) => &[(Allow, "receive")],
        (Access::ReadWrite, false) => &[(Allow, "all")],
        (Access::ReadWrite, true) => &[(Allow, "publish"), (Allow, "receive")],
        (Access::Deny, false) => &[(Deny, "all")],
        (Access::Deny, true) => &[(Deny, "publish"), (Deny, "receive")],
    }
}

/// Topics that begin with `$` have rules of their own in both worlds, and not the same ones.
fn dollar_topics(entry: &Entry, is_pattern: bool, plan: &mut Plan) {
    if entry.access == Access::Deny {
        return;
    }
    if levels::is_open_control(&entry.topic) {
        plan.find(
            Weight::Narrower,
            entry.line,
            format!("`{}`: topics under `$CONTROL` are allowed only without wildcard and placeholder", entry.topic),
        );
    }
    if is_pattern && entry.topic.starts_with("%u") {
        plan.find(
            Weight::Narrower,
            entry.line,
            format!("`{}` does not allow topics that begin with `$`, whatever the user is called", entry.topic),
        );
    }
}

fn about_patterns(series: Series, plan: &mut Plan) {
    if series == Series::V20 {
        let words = "2.0 puts a client id with a `/` in it into a pattern as several levels; here `%c` is one level, and \
             what it allows does not hold for such a client id";
        plan.find(Weight::Narrower, None, words);
    }
    plan.find(
        Weight::Note,
        None,
        format!(
            "every device that is there gets the role `{PATTERNS}`; those that come later need it too (`--role` of the \
             other imports, or this import once more)"
        ),
    );
    plan.find(
        Weight::Wider,
        None,
        "with patterns, Mosquitto denies clients with `+` or `#` in their client id what their user's own lines do not \
         allow; here such a client id makes `%c` match nothing, and changes nothing else",
    );
}

/// In Mosquitto a user's own line is found before any pattern; here a deny wins, wherever it stands.
fn beaten_denies(file: &AclFile, plan: &mut Plan) {
    for deny in file.patterns.iter().filter(|entry| entry.access == Access::Deny) {
        for user in &file.users {
            let grants = user.entries.iter().filter(|entry| entry.access != Access::Deny);
            let beaten: Vec<String> = grants
                .filter(|entry| levels::may_meet(&levels::literal(&entry.topic), &deny.topic))
                .map(|entry| format!("`{}` (line {})", entry.topic, entry.line))
                .collect();
            if !beaten.is_empty() {
                let words = format!(
                    "`pattern deny {}` now wins over what user `{}` is granted: {}",
                    deny.topic,
                    user.name,
                    beaten.join(", ")
                );
                plan.find(Weight::Narrower, deny.line, words);
            }
        }
    }
}
