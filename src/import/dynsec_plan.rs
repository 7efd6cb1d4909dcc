//! The configuration of the dynamic-security plugin as devices and roles. Groups become roles of their members.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde_json::{Map, Value};

use super::Series;
use super::dynsec::{Acl, AclType, Client, Dynsec, Role};
use super::levels;
use super::plan::{self, Credential, Device, Plan, Rule, Secret, StoredHash, Weight, fault_of_name};
use crate::policy::rule::Effect;

/// The role that stands for what is allowed where no other role says anything.
pub const DEFAULT: &str = "dynsec-default";

/// Makes a plan of a file. Entries have no lines; a finding names what it is about.
#[must_use]
pub fn plan(dynsec: &Dynsec, series: Series) -> Plan {
    let mut plan = Plan::default();
    let everyone = defaults(dynsec, &mut plan);
    leftovers(dynsec, &mut plan);
    shares(dynsec, series, &mut plan);
    let mut names = HashSet::new();
    for role in &dynsec.roles {
        if role.rolename.is_empty() || role.rolename.chars().count() > 255 || role.rolename == DEFAULT {
            plan.find(Weight::Mistake, None, format!("role `{}` cannot have this name", role.rolename));
        } else if !names.insert(&role.rolename) {
            plan.find(Weight::Mistake, None, format!("role `{}` is there twice", role.rolename));
        } else {
            let rules = rules(role, series, &mut plan);
            plan.roles.push(plan::Role { name: role.rolename.clone(), rules });
        }
    }
    let mut names = HashSet::new();
    for (number, client) in (1..).zip(&dynsec.clients) {
        if !names.insert(&client.username) {
            plan.find(Weight::Mistake, None, format!("client `{}` is there twice", client.username));
            continue;
        }
        if let Some(mut device) = device(dynsec, client, number, &mut plan) {
            device.roles.extend(everyone.map(str::to_owned));
            plan.devices.push(device);
            beaten_denies(dynsec, client, &mut plan);
        }
    }
    plan.findings.dedup();
    plan
}

/// The role for what is allowed by default, where anything is.
fn defaults(dynsec: &Dynsec, plan: &mut Plan) -> Option<&'static str> {
    let access = &dynsec.default_access;
    let allowed = [
        (access.publish_client_send, "publish", &["#"][..]),
        (access.publish_client_receive, "receive", &["#", "$SYS/#"]),
        (access.subscribe, "subscribe", &["#", "$SYS/#"]),
    ];
    let mut rules = BTreeSet::new();
    for (_, action, topics) in allowed.into_iter().filter(|(allowed, ..)| *allowed) {
        rules.extend(topics.iter().filter_map(|topic| Rule::new(Effect::Allow, action, (*topic).to_owned()).ok()));
        let words = format!(
            "{action} is allowed by default: role `{DEFAULT}` says so, for topics below `$SYS` as well \
             where they can be read, and not for others that begin with `$`"
        );
        plan.find(Weight::Narrower, None, words);
    }
    if !access.unsubscribe {
        plan.find(Weight::Wider, None, "unsubscribing is denied by default; here everybody may unsubscribe");
    }
    if rules.is_empty() {
        return None;
    }
    plan.roles.push(plan::Role { name: DEFAULT.to_owned(), rules });
    Some(DEFAULT)
}

/// Shared subscriptions are one thing to the plugin and another here.
fn shares(dynsec: &Dynsec, series: Series, plan: &mut Plan) {
    let patterns = dynsec.roles.iter().flat_map(|role| role.acls_of(AclType::SubscribePattern));
    let granted: Vec<&str> = patterns.filter(|acl| acl.allow).map(|acl| &*acl.topic).collect();
    if !granted.is_empty() {
        let words = "a shared subscription is judged by its topic, so whoever may subscribe to a topic may share it; the \
             plugin compares it as a text that begins with `$share`";
        plan.find(Weight::Wider, None, words);
    }
    if series == Series::V20 && granted.contains(&"#") {
        let words = "in 2.0, subscribePattern `#` covers topics that begin with `$`; here it does not";
        plan.find(Weight::Narrower, None, words);
    }
}

/// What this database has no place for.
fn leftovers(dynsec: &Dynsec, plan: &mut Plan) {
    if let Some(group) = &dynsec.anonymous_group {
        let words = format!("group `{group}` is for clients without user name: there are none here");
        plan.find(Weight::Narrower, None, words);
    }
    unknown("the file", &dynsec.other, plan);
    for group in &dynsec.groups {
        let name = format!("group `{}`", group.groupname);
        unknown(&name, &group.other, plan);
        if group.clients.is_empty() && !group.roles.is_empty() {
            plan.find(Weight::Note, None, format!("{name} has no clients; its roles are imported, it is not"));
        }
        for member in group.clients.iter().filter(|member| dynsec.client(&member.username).is_none()) {
            plan.find(Weight::Note, None, format!("{name} names the client `{}`, who is not there", member.username));
        }
        granted(&name, group.roles.iter().map(|granted| &*granted.rolename), dynsec, plan);
        text(&name, [&group.textname, &group.textdescription], plan);
    }
    for role in &dynsec.roles {
        let name = format!("role `{}`", role.rolename);
        unknown(&name, &role.other, plan);
        text(&name, [&role.textname, &role.textdescription], plan);
        if role.allowwildcardsubs == Some(false) {
            let words = format!("{name} does not let its clients subscribe with wildcards; that cannot be said here");
            plan.find(Weight::Wider, None, words);
        }
    }
}

fn unknown(name: &str, other: &Map<String, Value>, plan: &mut Plan) {
    for key in other.keys() {
        plan.find(Weight::Note, None, format!("{name}: `{key}` is not known and not imported"));
    }
}

fn text(name: &str, texts: [&Option<String>; 2], plan: &mut Plan) {
    if texts.into_iter().flatten().any(|text| !text.is_empty()) {
        plan.find(Weight::Note, None, format!("{name}: its name and description in words are not imported"));
    }
}

fn granted<'a>(name: &str, roles: impl Iterator<Item = &'a str>, dynsec: &Dynsec, plan: &mut Plan) {
    for role in roles.filter(|role| dynsec.role(role).is_none()) {
        plan.find(Weight::Note, None, format!("{name} has the role `{role}`, which is not there"));
    }
}

fn rules(role: &Role, series: Series, plan: &mut Plan) -> BTreeSet<Rule> {
    let mut rules = BTreeSet::new();
    for acl in &role.acls {
        let name = format!("role `{}`: {} {} `{}`", role.rolename, word(acl), acl.acltype, acl.topic);
        unknown(&name, &acl.other, plan);
        let (action, literal) = match acl.kind() {
            Some(AclType::PublishClientSend) => ("publish", false),
            Some(AclType::PublishClientReceive) => ("receive", false),
            Some(AclType::SubscribePattern) => ("subscribe", false),
            Some(AclType::SubscribeLiteral) => ("subscribe", true),
            Some(AclType::UnsubscribeLiteral | AclType::UnsubscribePattern) => {
                let weight = if acl.allow { Weight::Note } else { Weight::Wider };
                plan.find(weight, None, format!("{name}: here everybody may unsubscribe"));
                continue;
            }
            None => {
                plan.find(Weight::Mistake, None, format!("{name}: the type is not known"));
                continue;
            }
        };
        notes(&name, acl, literal, plan);
        let effect = if acl.allow { Effect::Allow } else { Effect::Deny };
        let topic =
            acl.topic.strip_prefix("$share/").and_then(|rest| rest.split_once('/')).filter(|_| action == "subscribe");
        let topic = match topic {
            Some((_, topic)) if acl.allow => {
                let words = format!(
                    "{name}: a rule names the topic itself, without the share, so `{topic}` is not \
                     allowed by it either"
                );
                plan.find(Weight::Narrower, None, words);
                continue;
            }
            Some((_, topic)) => {
                plan.find(Weight::Narrower, None, format!("{name}: `{topic}` is denied without the share as well"));
                topic
            }
            None => &acl.topic,
        };
        let topic = match (series, literal) {
            (Series::V21, false) => levels::whole_level_values(topic),
            (Series::V20, _) | (_, true) => levels::literal(topic),
        };
        match Rule::new(effect, action, topic) {
            Ok(rule) => {
                rules.insert(rule);
            }
            Err(fault) => plan.find(Weight::Mistake, None, format!("{name}: {fault}")),
        }
    }
    rules
}

const fn word(acl: &Acl) -> &'static str {
    if acl.allow { "allow" } else { "deny" }
}

fn notes(name: &str, acl: &Acl, literal: bool, plan: &mut Plan) {
    if acl.allow && levels::is_open_control(&acl.topic) {
        let words = format!("{name}: topics under `$CONTROL` are allowed only without wildcard and placeholder");
        plan.find(Weight::Narrower, None, words);
    }
    if literal && acl.allow && acl.topic.contains(['+', '#']) {
        plan.find(
            Weight::Wider,
            None,
            format!("{name}: subscriptions that are inside this filter are allowed as well"),
        );
    }
    if literal && !acl.allow && acl.topic.contains(['+', '#']) {
        plan.find(
            Weight::Narrower,
            None,
            format!("{name}: subscriptions that are inside this filter are denied as well"),
        );
    }
    if acl.topic.contains("%u") || acl.topic.contains("%c") {
        let words = format!(
            "{name}: Mosquitto 2.0 takes `%u` and `%c` literally, 2.1 does not where they are a whole \
             level (`--mosquitto` says which is meant)"
        );
        plan.find(Weight::Note, None, words);
    }
}

fn device(dynsec: &Dynsec, client: &Client, number: usize, plan: &mut Plan) -> Option<Device> {
    let name = format!("client `{}`", client.username);
    if let Some(fault) = fault_of_name(&client.username) {
        plan.find(Weight::Mistake, None, format!("{name}: {fault}"));
        return None;
    }
    unknown(&name, &client.other, plan);
    granted(&name, client.roles.iter().map(|granted| &*granted.rolename), dynsec, plan);
    let credentials = match password(client) {
        Ok(Some(hash)) => vec![Credential { identity: client.username.clone(), secret: Secret::Password(hash) }],
        Ok(None) => {
            plan.find(Weight::Note, None, format!("{name} has no password, and gets no credential"));
            Vec::new()
        }
        Err(fault) => {
            plan.find(Weight::Mistake, None, format!("{name}: {fault}"));
            return None;
        }
    };
    let client_id = client.clientid.as_ref().filter(|id| !id.is_empty()).map(|id| {
        if id.contains('*') {
            let words = format!("{name}: `*` in its client id `{id}` stands for any characters here");
            plan.find(Weight::Wider, None, words);
        }
        levels::literal(id)
    });
    let texts = [("textname", &client.textname), ("textdescription", &client.textdescription)];
    let attributes: BTreeMap<String, String> = texts
        .into_iter()
        .filter_map(|(key, text)| Some((key.to_owned(), text.clone().filter(|text| !text.is_empty())?)))
        .collect();
    let mut roles: Vec<String> = dynsec.roles_of(client).into_iter().map(|role| role.rolename.clone()).collect();
    roles.sort();
    roles.dedup();
    let suspended = client.disabled.then_some("disabled in dynamic-security.json");
    Some(Device { line: number, name: client.username.clone(), client_id, attributes, roles, credentials, suspended })
}

/// The hash of a client's password, in the form of `mosquitto_passwd`.
fn password(client: &Client) -> Result<Option<StoredHash>, String> {
    if let Some(encoded) = &client.encoded_password {
        return StoredHash::parse(encoded).map(Some);
    }
    match (&client.password, &client.salt, client.iterations) {
        (None, None, _) => Ok(None),
        (Some(hash), Some(salt), Some(rounds @ 1..)) => {
            StoredHash::parse(&format!("$7${rounds}${salt}${hash}")).map(Some)
        }
        _ => Err("`password`, `salt` and `iterations` belong together".to_owned()),
    }
}

/// Where an allow is found before a deny that it meets, the deny now wins.
fn beaten_denies(dynsec: &Dynsec, client: &Client, plan: &mut Plan) {
    const STEPS: [&[AclType]; 3] = [
        &[AclType::PublishClientSend],
        &[AclType::PublishClientReceive],
        &[AclType::SubscribeLiteral, AclType::SubscribePattern],
    ];
    for kinds in STEPS {
        let mut granted: Vec<(&str, &Acl)> = Vec::new();
        for role in dynsec.roles_of(client) {
            for acl in kinds.iter().flat_map(|kind| role.acls_of(*kind)) {
                if acl.allow {
                    granted.push((&role.rolename, acl));
                    continue;
                }
                for (other, allow) in granted.iter().filter(|(_, allow)| levels::may_meet(&allow.topic, &acl.topic)) {
                    let words = format!(
                        "client `{}`: deny {} `{}` of role `{}` now wins over allow `{}` of role `{other}`, which comes \
                         first by its priority",
                        client.username, acl.acltype, acl.topic, role.rolename, allow.topic
                    );
                    plan.find(Weight::Narrower, None, words);
                }
            }
        }
    }
}
