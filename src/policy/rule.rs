//! A rule: what it is about, and how its words are read from text.
//!
//! Whether a rule applies to a question is the business of [`role`](super::role).

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use super::decision::{Action, RuleId};
use super::placeholder::{LevelPattern, Part};
use super::topic::{self, TopicError};

pub use super::client_id::{ClientIdError, ClientIdPattern};
pub use super::placeholder::{Attributes, Names, Placeholder, PlaceholderError};
pub use super::reach::Step;

/// Why a rule cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RuleError {
    #[error("unknown effect `{0}`; it is `allow` or `deny`")]
    Effect(Box<str>),
    #[error("unknown action `{0}`; it is `publish`, `subscribe`, `receive`, `read`, `write` or `all`")]
    Action(Box<str>),
    #[error("a rule names the topic itself, without `$share` and the group before it")]
    Shared,
    #[error(transparent)]
    Topic(#[from] TopicError),
    #[error(transparent)]
    Placeholder(#[from] PlaceholderError),
}

/// One rule of a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub id: RuleId,
    pub effect: Effect,
    pub actions: Actions,
    pub topic: RuleTopic,
    /// The highest QoS that an allow rule allows, of a publish or of a subscription. It takes nothing off a deny.
    pub max_qos: Option<u8>,
    /// Which messages a rule about publishing is about: only retained ones, or only the others.
    pub retain: Option<bool>,
}

impl fmt::Display for Rule {
    /// As `warden rule add ROLE` takes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.effect, self.actions, self.topic)?;
        self.max_qos.map_or(Ok(()), |qos| write!(f, " --max-qos {qos}"))?;
        self.retain.map_or(Ok(()), |retain| write!(f, " --retain {retain}"))
    }
}

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Effect {
    Deny,
    Allow,
}

impl Effect {
    /// The word that the database and the command use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

impl FromStr for Effect {
    type Err = RuleError;

    fn from_str(word: &str) -> Result<Self, RuleError> {
        match word {
            "allow" => Ok(Self::Allow),
            "deny" => Ok(Self::Deny),
            _ => Err(RuleError::Effect(word.into())),
        }
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of actions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Actions(u8);

impl Actions {
    /// `publish`, which is also `write`.
    pub const PUBLISH: Self = Self(1);
    /// `subscribe`.
    pub const SUBSCRIBE: Self = Self(2);
    /// `receive`.
    pub const RECEIVE: Self = Self(4);
    /// `read`: subscribe and receive.
    pub const READ: Self = Self(2 | 4);
    /// `all`.
    pub const ALL: Self = Self(1 | 2 | 4);

    /// Whether this action is one of them.
    #[must_use]
    pub const fn contains(self, action: Action) -> bool {
        let one = match action {
            Action::Publish => Self::PUBLISH,
            Action::Subscribe => Self::SUBSCRIBE,
            Action::Receive => Self::RECEIVE,
        };
        self.0 & one.0 != 0
    }

    /// The actions of both.
    pub(super) const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The shortest word for this set.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self.0 {
            0 => "none",
            1 => "publish",
            2 => "subscribe",
            3 => "publish and subscribe",
            4 => "receive",
            5 => "publish and receive",
            6 => "read",
            _ => "all",
        }
    }
}

impl FromStr for Actions {
    type Err = RuleError;

    fn from_str(word: &str) -> Result<Self, RuleError> {
        match word {
            "publish" | "write" => Ok(Self::PUBLISH),
            "subscribe" => Ok(Self::SUBSCRIBE),
            "receive" => Ok(Self::RECEIVE),
            "read" => Ok(Self::READ),
            "all" => Ok(Self::ALL),
            _ => Err(RuleError::Action(word.into())),
        }
    }
}

impl fmt::Display for Actions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A topic filter whose levels may hold placeholders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleTopic {
    source: Box<str>,
    levels: Box<[Level]>,
}

impl RuleTopic {
    /// Reads the topic of a rule.
    pub fn parse(source: &str) -> Result<Self, RuleError> {
        topic::check_filter(source)?;
        // A share is taken off what is asked, so a rule with one would never apply: a deny would be a hole.
        if source == "$share" || source.starts_with("$share/") {
            return Err(RuleError::Shared);
        }
        let levels = source.split('/').map(Level::parse).collect::<Result<_, _>>()?;
        Ok(Self { source: source.into(), levels })
    }

    /// The topic as it was written.
    pub fn as_str(&self) -> &str {
        &self.source
    }

    pub(super) fn levels(&self) -> &[Level] {
        &self.levels
    }
}

impl fmt::Display for RuleTopic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

/// One level of a rule's topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Level {
    Literal(Box<str>),
    Pattern(LevelPattern),
    Plus,
    /// Always the last one.
    Hash,
}

impl Level {
    fn parse(text: &str) -> Result<Self, PlaceholderError> {
        match text {
            "+" => return Ok(Self::Plus),
            "#" => return Ok(Self::Hash),
            _ => {}
        }
        let mut parts = Part::parse_all(text)?;
        Ok(match (parts.pop(), parts.is_empty()) {
            (None, _) => Self::Literal(Box::default()),
            (Some(Part::Text(text)), true) => Self::Literal(text),
            (Some(last), _) => {
                parts.push(last);
                Self::Pattern(LevelPattern(parts.into()))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_they_are_written() {
        for word in ["publish", "subscribe", "receive", "read", "all"] {
            assert_eq!(word.parse::<Actions>().unwrap().as_str(), word);
        }
        assert_eq!("write".parse::<Actions>().unwrap(), Actions::PUBLISH);
        for word in ["allow", "deny"] {
            assert_eq!(word.parse::<Effect>().unwrap().as_str(), word);
        }
    }

    #[test]
    fn an_unknown_word_is_named() {
        assert!("Publish".parse::<Actions>().unwrap_err().to_string().starts_with("unknown action `Publish`"));
        assert!("permit".parse::<Effect>().unwrap_err().to_string().starts_with("unknown effect `permit`"));
    }

    #[test]
    fn read_is_subscribe_and_receive() {
        assert!(Actions::READ.contains(Action::Subscribe));
        assert!(Actions::READ.contains(Action::Receive));
        assert!(!Actions::READ.contains(Action::Publish));
    }

    #[test]
    fn a_doubled_percent_sign_is_a_literal() {
        let topic = RuleTopic::parse("a/100%%/").unwrap();
        let literal = |text: &str| Level::Literal(text.into());
        assert_eq!(topic.levels(), [literal("a"), literal("100%"), literal("")]);
        assert_eq!(topic.as_str(), "a/100%%/");
    }

    #[test]
    fn a_topic_that_makes_no_sense_is_an_error() {
        for topic in ["", "a/%x", "%", "a/%{b/c}", "a+", "+%u", "%u#", "#/a", "%{}", "%{a+b}", "a\0", "%{a", "a/%/b"] {
            assert!(RuleTopic::parse(topic).is_err(), "{topic:?}");
        }
        assert_eq!(RuleTopic::parse("$share/g/a"), Err(RuleError::Shared));
    }
}
