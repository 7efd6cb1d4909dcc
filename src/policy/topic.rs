//! Topic names, topic filters, and whether one matches the other (MQTT 5, section 4.7).
//!
//! A filter is parsed once, here, and cannot be wrong afterwards. Roles and rules are not our concern.

use std::fmt;

use memchr::{memchr, memchr_iter, memchr3};
use thiserror::Error;

/// The longest string that MQTT can carry.
pub const MAX_BYTES: usize = u16::MAX as usize;

/// The deepest topic that the broker takes: its `TOPIC_HIERARCHY_LIMIT` is 200, and it counts the slashes.
pub const MAX_LEVELS: usize = 201;

/// Why a text is not a topic name or not a topic filter. Levels are counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TopicError {
    #[error("a topic cannot be empty")]
    Empty,
    #[error("a topic has at most {MAX_BYTES} bytes, this one has {bytes}")]
    TooLong { bytes: usize },
    #[error("a topic has at most {MAX_LEVELS} levels, this one has {levels}")]
    TooDeep { levels: usize },
    #[error("a topic cannot hold a NUL character")]
    Nul,
    #[error("a topic name cannot hold `+` or `#`: level {level} does")]
    WildcardInName { level: usize },
    #[error("`+` must stand alone in its level: in level {level} it does not")]
    PlusNotAlone { level: usize },
    #[error("`#` must stand alone in its level: in level {level} it does not")]
    HashNotAlone { level: usize },
    #[error("`#` must be the last level: more follows level {level}")]
    HashNotLast { level: usize },
}

/// A valid topic filter.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Filter(Box<str>);

impl Filter {
    /// Takes a text that is a topic filter.
    pub fn parse(text: &str) -> Result<Self, TopicError> {
        check_filter(text)?;
        Ok(Self(text.into()))
    }

    /// The filter as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a message on this topic name reaches a subscription to this filter.
    pub fn matches(&self, topic: &str) -> bool {
        if topic.starts_with('$') && self.0.starts_with(['+', '#']) {
            return false;
        }
        let mut names = topic.split('/');
        for level in self.0.split('/') {
            match (level, names.next()) {
                // Also when no name is left: `a/#` matches `a`.
                ("#", _) => return true,
                ("+", Some(_)) => {}
                (level, Some(name)) if level == name => {}
                _ => return false,
            }
        }
        names.next().is_none()
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a text is a topic name: what a message is published to.
pub fn check_name(text: &str) -> Result<(), TopicError> {
    if check_text(text)? {
        let level = text.split('/').take_while(|level| !level.contains(['+', '#'])).count() + 1;
        return Err(TopicError::WildcardInName { level });
    }
    Ok(())
}

/// Whether a text is a topic filter.
pub fn check_filter(text: &str) -> Result<(), TopicError> {
    if !check_text(text)? {
        return Ok(());
    }
    let mut levels = (1..).zip(text.split('/')).peekable();
    while let Some((level, found)) = levels.next() {
        match found {
            "+" => {}
            "#" if levels.peek().is_none() => {}
            "#" => return Err(TopicError::HashNotLast { level }),
            _ if found.contains('#') => return Err(TopicError::HashNotAlone { level }),
            _ if found.contains('+') => return Err(TopicError::PlusNotAlone { level }),
            _ => {}
        }
    }
    Ok(())
}

/// The filter behind `$share/<group>/`, or the filter itself where it is not shared. `None`: the share is malformed.
///
/// What is left is not checked.
pub fn unshared(filter: &str) -> Option<&str> {
    let Some(shared) = filter.strip_prefix("$share/") else {
        return (filter != "$share").then_some(filter);
    };
    let (group, rest) = shared.split_once('/')?;
    let sound = !group.is_empty() && !group.contains(['+', '#', '\0']) && filter.len() <= MAX_BYTES;
    sound.then_some(rest)
}

/// What names and filters have in common; and whether there is a `+` or a `#` anywhere.
fn check_text(text: &str) -> Result<bool, TopicError> {
    if text.is_empty() {
        return Err(TopicError::Empty);
    }
    if text.len() > MAX_BYTES {
        return Err(TopicError::TooLong { bytes: text.len() });
    }
    let bytes = text.as_bytes();
    // Every ACL check comes through here, and hardly any topic is long enough to be too deep.
    let slashes = if bytes.len() < MAX_LEVELS { 0 } else { memchr_iter(b'/', bytes).count() };
    if slashes >= MAX_LEVELS {
        return Err(TopicError::TooDeep { levels: slashes + 1 });
    }
    match memchr3(b'+', b'#', 0, bytes) {
        None => Ok(false),
        Some(_) if memchr(0, bytes).is_some() => Err(TopicError::Nul),
        Some(_) => Ok(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn matches(filter: &str, topic: &str) -> bool {
        check_name(topic).unwrap();
        Filter::parse(filter).unwrap().matches(topic)
    }

    #[test]
    fn a_hash_also_matches_its_parent_level() {
        assert!(matches("a/#", "a"));
        assert!(matches("a/b/#", "a/b"));
        assert!(!matches("a/b/#", "a"));
    }

    #[test]
    fn a_hash_matches_an_empty_level() {
        assert!(matches("a/#", "a/"));
        assert!(matches("#", "/"));
    }

    #[test]
    fn a_plus_matches_one_level_even_an_empty_one() {
        assert!(matches("+", "a"));
        assert!(matches("+/+", "/"));
        assert!(matches("a/+", "a/"));
        assert!(!matches("a/+", "a"));
        assert!(!matches("+", "a/b"));
    }

    #[test]
    fn a_leading_wildcard_does_not_match_a_dollar_topic() {
        assert!(!matches("#", "$SYS"));
        assert!(!matches("+/a", "$SYS/a"));
        assert!(matches("$SYS/#", "$SYS/a"));
        assert!(matches("a/+", "a/$b"));
    }

    #[test]
    fn a_filter_has_its_wildcards_alone() {
        use TopicError::{HashNotAlone, HashNotLast, PlusNotAlone};
        assert_eq!(Filter::parse("a/b+"), Err(PlusNotAlone { level: 2 }));
        assert_eq!(Filter::parse("++"), Err(PlusNotAlone { level: 1 }));
        assert_eq!(Filter::parse("a/#b"), Err(HashNotAlone { level: 2 }));
        assert_eq!(Filter::parse("##"), Err(HashNotAlone { level: 1 }));
        assert_eq!(Filter::parse("a/#/b"), Err(HashNotLast { level: 2 }));
        assert_eq!(Filter::parse("#/"), Err(HashNotLast { level: 1 }));
    }

    #[test]
    fn a_name_has_no_wildcards() {
        assert_eq!(check_name("a/b+c/d"), Err(TopicError::WildcardInName { level: 2 }));
        assert_eq!(check_name("#"), Err(TopicError::WildcardInName { level: 1 }));
    }

    #[test]
    fn length_depth_and_content_are_bounded() {
        assert_eq!(check_name(""), Err(TopicError::Empty));
        assert_eq!(check_name("a\0"), Err(TopicError::Nul));
        assert_eq!(check_name(&"a".repeat(MAX_BYTES)), Ok(()));
        assert_eq!(check_name(&"a".repeat(MAX_BYTES + 1)), Err(TopicError::TooLong { bytes: MAX_BYTES + 1 }));
        assert_eq!(check_filter(&"/".repeat(MAX_LEVELS - 1)), Ok(()));
        assert_eq!(check_filter(&"/".repeat(MAX_LEVELS)), Err(TopicError::TooDeep { levels: MAX_LEVELS + 1 }));
    }

    #[test]
    fn a_share_is_taken_off_once() {
        assert_eq!(unshared("$share/g/a/#"), Some("a/#"));
        assert_eq!(unshared("$share/g/$share/h/a"), Some("$share/h/a"));
        assert_eq!(unshared("$shared/g/a"), Some("$shared/g/a"));
    }

    #[test]
    fn a_malformed_share_is_nothing() {
        for filter in ["$share", "$share/", "$share/g", "$share//a", "$share/+/a", "$share/g#/a"] {
            assert_eq!(unshared(filter), None, "{filter}");
        }
    }
}
