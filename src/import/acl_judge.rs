//! What Mosquitto answers with an `acl_file`: an evaluator of its own, to compare ours with.
//!
//! After the broker's sources and real brokers (`tests/broker/import.rs`); nothing of our own engine is in it.

use super::Series;
use super::acl_file::{Access, AclFile, Entry};
use super::levels::matches;
use crate::policy::decision::Action;

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub struct Who<'a> {
    pub user: Option<&'a str>,
    pub client_id: &'a str,
}

/// Whether the broker allows it. A subscription it always does: this file limits what is delivered.
#[must_use]
pub fn allows(file: &AclFile, series: Series, who: Who<'_>, action: Action, topic: &str) -> bool {
    match action {
        Action::Subscribe => return true,
        // By the broker itself, before any file is asked.
        Action::Publish if topic.starts_with("$SYS/") || topic.starts_with("$share/") => return false,
        Action::Publish | Action::Receive => {}
    }
    let own = who.user.map_or(&*file.anonymous, |user| file.entries_of(user));
    if let Some(verdict) = first(own, action, |filter| matches(filter, topic)) {
        return verdict;
    }
    if file.patterns.is_empty() {
        return false;
    }
    let dangerous = |name: &str| name.contains(['+', '#']);
    if dangerous(who.client_id) || who.user.is_some_and(dangerous) {
        return false;
    }
    first(&file.patterns, action, |pattern| pattern_matches(pattern, series, who, topic)).unwrap_or(false)
}

/// What the first line says that matches: denies come before all others, else the order is that of the file.
fn first(entries: &[Entry], action: Action, matches: impl Fn(&str) -> bool) -> Option<bool> {
    let denies = |entry: &&Entry| entry.access == Access::Deny;
    if entries.iter().filter(denies).any(|entry| matches(&entry.topic)) {
        return Some(false);
    }
    let grants = |entry: &&Entry| {
        matches!(
            (entry.access, action),
            (Access::ReadWrite, _) | (Access::Read, Action::Receive) | (Access::Write, Action::Publish)
        )
    };
    entries.iter().filter(grants).any(|entry| matches(&entry.topic)).then_some(true)
}

fn pattern_matches(pattern: &str, series: Series, who: Who<'_>, topic: &str) -> bool {
    // Whoever has no user name is asked about patterns without `%u` only.
    if who.user.is_none() && pattern.contains("%u") {
        return false;
    }
    match series {
        Series::V20 => matches(&pasted(pattern, who), topic),
        Series::V21 => matches_by_level(pattern, who, topic),
    }
}

/// The values put in wherever they stand; a `/` in one of them begins a new level.
fn pasted(pattern: &str, who: Who<'_>) -> String {
    let mut filter = String::with_capacity(pattern.len());
    let mut rest = pattern;
    while let Some((before, after)) = rest.split_once('%') {
        filter.push_str(before);
        let value = match after.as_bytes().first() {
            Some(b'u') => who.user,
            Some(b'c') => Some(who.client_id),
            _ => None,
        };
        filter.push_str(value.unwrap_or("%"));
        rest = if value.is_some() { after.get(1..).unwrap_or_default() } else { after };
    }
    filter + rest
}

/// A level that is `%u` or `%c` equals the value, if that is one level and not empty.
pub(super) fn matches_by_level(pattern: &str, who: Who<'_>, topic: &str) -> bool {
    if pattern.starts_with('$') != topic.starts_with('$') {
        return false;
    }
    let mut names = topic.split('/');
    for level in pattern.split('/') {
        let value = match level {
            "#" => return true,
            "%u" => who.user,
            "%c" => Some(who.client_id),
            other => Some(other),
        };
        let is_value = matches!(level, "%u" | "%c");
        match (value, names.next()) {
            (Some("+"), Some(_)) if !is_value => {}
            (Some(value), Some(name)) if value == name && !(is_value && value.is_empty()) => {}
            _ => return false,
        }
    }
    names.next().is_none()
}
