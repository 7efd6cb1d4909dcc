//! What Mosquitto answers with the dynamic-security plugin: an evaluator of its own, to compare ours with.
//!
//! After the plugin's sources and real brokers (`tests/broker/import.rs`); nothing of our own engine is in it.

use super::Series;
use super::acl_judge::{Who, matches_by_level};
use super::dynsec::{Acl, AclType, Dynsec, Role};
use super::levels::matches;
use crate::policy::decision::Action;

/// Whether the broker allows it to a client that has logged in. Priorities decide, not whether it is a deny.
#[must_use]
pub fn allows(dynsec: &Dynsec, series: Series, user: &str, client_id: &str, action: Action, topic: &str) -> bool {
    if action == Action::Publish && (topic.starts_with("$SYS/") || topic.starts_with("$share/")) {
        return false;
    }
    let Some(client) = dynsec.client(user) else { return false };
    let who = Who { user: Some(user), client_id };
    let said = dynsec.roles_of(client).into_iter().find_map(|role| of_role(role, series, who, action, topic));
    let default = || match action {
        Action::Publish => dynsec.default_access.publish_client_send,
        Action::Receive => dynsec.default_access.publish_client_receive,
        Action::Subscribe => dynsec.default_access.subscribe,
    };
    said.unwrap_or_else(|| default() && !topic.starts_with("$CONTROL"))
}

/// What the first ACL of a role says that matches.
fn of_role(role: &Role, series: Series, who: Who<'_>, action: Action, topic: &str) -> Option<bool> {
    let first = |kind, matches: &dyn Fn(&Acl) -> bool| {
        role.acls_of(kind).into_iter().find(|acl| matches(acl)).map(|acl| acl.allow)
    };
    let matches_name = |acl: &Acl| match series {
        Series::V20 => matches(&acl.topic, topic),
        Series::V21 => matches_by_level(&acl.topic, who, topic),
    };
    match action {
        Action::Publish => first(AclType::PublishClientSend, &matches_name),
        Action::Receive => first(AclType::PublishClientReceive, &matches_name),
        Action::Subscribe => {
            let no_wildcards = series == Series::V21 && role.allowwildcardsubs == Some(false);
            if no_wildcards && topic.contains(['+', '#']) {
                return Some(false);
            }
            let is_same = |acl: &Acl| acl.topic == topic;
            let inside = |acl: &Acl| match series {
                Series::V20 => is_inside_2_0(&acl.topic, topic),
                Series::V21 => is_inside_2_1(&acl.topic, who, topic),
            };
            first(AclType::SubscribeLiteral, &is_same).or_else(|| first(AclType::SubscribePattern, &inside))
        }
    }
}

/// Whether a filter is inside that of an ACL: `#` covers everything, `$` topics too.
fn is_inside_2_0(acl: &str, asked: &str) -> bool {
    if acl == "#" {
        return true;
    }
    let (acl, acl_open) = without_hash(acl);
    let (asked, asked_open) = without_hash(asked);
    let acl: Vec<&str> = acl.split('/').collect();
    let asked: Vec<&str> = asked.split('/').collect();
    let fits = acl.len() == asked.len() || (acl.len() < asked.len() && acl_open);
    (acl_open || !asked_open) && fits && acl.iter().zip(&asked).all(|(of_acl, level)| *of_acl == "+" || of_acl == level)
}

/// The filter without its `#`, and whether it had one.
fn without_hash(filter: &str) -> (&str, bool) {
    match filter.strip_suffix("/#").or_else(|| (filter == "#").then_some("")) {
        Some(rest) => (rest, true),
        None => (filter, false),
    }
}

/// Whether a filter is inside that of an ACL: `$` topics only where both begin with it.
fn is_inside_2_1(acl: &str, who: Who<'_>, asked: &str) -> bool {
    if acl.starts_with('$') != asked.starts_with('$') {
        return false;
    }
    let mut levels = asked.split('/');
    for of_acl in acl.split('/') {
        let value = match of_acl {
            "#" => return true,
            "%u" => who.user.filter(|value| !matches!(*value, "" | "+" | "#" | "/")),
            "%c" => Some(who.client_id).filter(|value| !matches!(*value, "" | "+" | "#" | "/")),
            other => Some(other),
        };
        match (value, levels.next()) {
            (Some("+"), Some(level)) if level != "#" => {}
            (Some(value), Some(level)) if value == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}
