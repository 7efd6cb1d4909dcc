//! Which topics a rule reaches, for whoever compares rules with each other instead of asking them a question.
//!
//! What is said here without a device holds for every device. It must never say more than [`judge`](super::role::judge)
//! would: `tests/policy/diff.rs` asks both.

use super::placeholder::{LevelPattern, Names, Part, Placeholder};
use super::rule::{Effect, Level, Rule, RuleTopic};

/// What a level of a rule's topic matches, for one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A level with this text.
    Text(Box<str>),
    /// `+`: any level, but in the first place none that begins with `$`.
    Plus,
    /// `#`: any levels, also none; the last step. In the first place none that begins with `$`.
    Hash,
    /// Any level whatever: a deny that cannot be evaluated.
    Any,
}

impl Rule {
    /// The levels of its topic as they are for a device. `None`: a placeholder of an allow rule has no usable value, so
    /// that it matches nothing.
    #[must_use]
    pub fn steps(&self, names: &Names<'_>) -> Option<Vec<Step>> {
        let step = |level: &Level| {
            Some(match level {
                Level::Literal(text) => Step::Text(text.clone()),
                Level::Plus => Step::Plus,
                Level::Hash => Step::Hash,
                Level::Pattern(pattern) if pattern.missing(names).is_none() => Step::Text(pattern.text(names).into()),
                Level::Pattern(_) if self.effect == Effect::Deny => Step::Any,
                Level::Pattern(_) => return None,
            })
        };
        self.topic.levels().iter().map(step).collect()
    }

    /// The first placeholder of its topic that has no usable value for this device.
    #[must_use]
    pub fn missing<'r>(&'r self, names: &Names<'_>) -> Option<&'r Placeholder> {
        self.topic.patterns().find_map(|pattern| pattern.missing(names))
    }

    /// Whether no question can ever meet this rule, whoever asks.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.effect == Effect::Allow && self.topic.is_control() && !self.topic.is_literal()
    }

    /// Whether it decides all that the other one could, for every device: the other one changes nothing beside it.
    /// Between an allow and a deny: whether the first leaves nothing of the second.
    #[must_use]
    pub fn covers(&self, other: &Rule) -> bool {
        let qos = self.effect == Effect::Deny
            || self.max_qos.is_none_or(|most| most >= other.max_qos.unwrap_or(2))
            || other.actions == super::rule::Actions::RECEIVE;
        let publishes = other.actions.contains(super::decision::Action::Publish);
        let retain = !publishes || self.retain.is_none() || self.retain == other.retain;
        qos && retain && self.actions.union(other.actions) == self.actions && self.reaches_all_of(other)
    }

    /// Whether some topic, for some device, may be reached by both.
    #[must_use]
    pub fn may_meet(&self, other: &Rule) -> bool {
        let (ours, theirs) = (self.topic.levels(), other.topic.levels());
        let mut at = 0;
        loop {
            match (ours.get(at), theirs.get(at)) {
                (None, None) => return true,
                (Some(Level::Hash), it) | (it, Some(Level::Hash)) => return at > 0 || !it.is_some_and(is_dollar),
                (None, Some(_)) | (Some(_), None) => return false,
                (Some(Level::Plus), Some(it)) | (Some(it), Some(Level::Plus)) if at == 0 && is_dollar(it) => {
                    return false;
                }
                (Some(Level::Literal(a)), Some(Level::Literal(b))) if a != b => return false,
                _ => at += 1,
            }
        }
    }

    fn reaches_all_of(&self, other: &Rule) -> bool {
        let (ours, theirs) = (self.topic.levels(), other.topic.levels());
        if self.is_idle() || (other.topic.is_control() && !self.topic.is_literal() && self.effect == Effect::Allow) {
            return false;
        }
        // What a deny denies where its placeholder has no value begins with anything, a `$` too.
        let hidden = |level: &Level| match level {
            Level::Literal(text) => text.starts_with('$'),
            Level::Pattern(pattern) => other.effect == Effect::Deny || !pattern.begins_with_value(),
            Level::Plus | Level::Hash => false,
        };
        let mut at = 0;
        loop {
            match (ours.get(at), theirs.get(at)) {
                (Some(Level::Hash), it) => return at > 0 || !it.is_some_and(hidden),
                (None, None) => return true,
                (None, Some(_)) | (Some(_), None | Some(Level::Hash)) => return false,
                (Some(Level::Plus), Some(it)) if at > 0 || !hidden(it) => at += 1,
                (Some(ours), Some(theirs)) if ours == theirs => at += 1,
                _ => return false,
            }
        }
    }
}

impl RuleTopic {
    /// All placeholders in it.
    pub fn placeholders(&self) -> impl Iterator<Item = &Placeholder> {
        self.patterns().flat_map(|pattern| &pattern.0).filter_map(|part| match part {
            Part::Value(placeholder) => Some(placeholder),
            Part::Text(_) => None,
        })
    }

    /// Whether it is about the topics that command the broker itself.
    #[must_use]
    pub fn is_control(&self) -> bool {
        matches!(self.levels().first(), Some(Level::Literal(text)) if &**text == "$CONTROL")
    }

    /// Whether it has neither wildcard nor placeholder.
    #[must_use]
    pub fn is_literal(&self) -> bool {
        self.levels().iter().all(|level| matches!(level, Level::Literal(_)))
    }

    fn patterns(&self) -> impl Iterator<Item = &LevelPattern> {
        self.levels().iter().filter_map(|level| match level {
            Level::Pattern(pattern) => Some(pattern),
            _ => None,
        })
    }
}

fn is_dollar(level: &Level) -> bool {
    matches!(level, Level::Literal(text) if text.starts_with('$'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> Rule {
        let mut words = text.split(' ');
        let mut next = || words.next();
        let effect = next().unwrap().parse().unwrap();
        let actions = next().unwrap().parse().unwrap();
        let topic = RuleTopic::parse(next().unwrap()).unwrap();
        let max_qos = next().filter(|word| *word != "-").map(|word| word.parse().unwrap());
        Rule { id: 1, effect, actions, topic, max_qos, retain: next().map(|word| word == "retained") }
    }

    #[test]
    fn a_rule_covers_another_only_if_that_one_changes_nothing() {
        for (wide, narrow) in [
            ("allow publish #", "allow publish a/b"),
            ("allow publish a/#", "allow publish a"),
            ("allow publish a/+", "allow publish a/%u"),
            ("allow all +/b", "allow read %u/b"),
            ("allow publish a", "allow publish a 1"),
            ("allow publish a 1", "allow publish a 1 retained"),
            ("allow read a 0", "allow receive a"),
            ("deny all #", "allow publish a/b 1"),
            ("deny publish a/%u", "allow publish a/%u"),
            ("deny publish a/#", "deny publish a/%{x}"),
            ("deny read a - retained", "allow read a"),
            ("allow publish $CONTROL/a", "allow publish $CONTROL/a"),
        ] {
            assert!(rule(wide).covers(&rule(narrow)), "{wide} covers {narrow}");
        }
        for (narrow, wide) in [
            ("allow publish a/b", "allow publish a/+"),
            ("allow publish a/+", "allow publish a/#"),
            ("allow publish a/+", "allow publish a"),
            ("allow publish a/%u", "allow publish a/+"),
            ("allow publish a/%u", "allow publish a/b"),
            ("allow read a", "allow all a"),
            ("allow publish a 1", "allow publish a"),
            ("allow publish a - retained", "allow publish a"),
            ("allow publish #", "allow publish $SYS/a"),
            ("allow publish +/a", "allow publish $SYS/a"),
            ("deny publish +/a", "deny publish %{x}/a"),
            ("deny publish #", "allow publish $x%u/a"),
            ("deny publish a - retained", "allow publish a"),
            ("allow publish $CONTROL/#", "allow publish $CONTROL/a"),
        ] {
            assert!(!rule(narrow).covers(&rule(wide)), "{narrow} does not cover {wide}");
        }
    }

    #[test]
    fn rules_that_share_a_topic_may_meet() {
        for (one, other, meet) in [
            ("allow all a/#", "deny all a", true),
            ("allow all a/%u", "deny all a/b", true),
            ("allow all +/b", "deny all a/+", true),
            ("allow all #", "deny all $SYS/a", false),
            ("allow all +/a", "deny all $SYS/a", false),
            ("allow all a/b", "deny all a/c", false),
            ("allow all a/b", "deny all a", false),
            ("allow all a/+/c", "deny all a/#", true),
            ("allow all a/+", "deny all a/b/c", false),
        ] {
            assert_eq!(rule(one).may_meet(&rule(other)), meet, "{one}, {other}");
            assert_eq!(rule(other).may_meet(&rule(one)), meet, "{other}, {one}");
        }
    }
}
