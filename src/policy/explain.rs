//! Why a verdict is what it is, and which rules nearly made it another one.
//!
//! The verdict is [`judge`]'s own, so that an explanation cannot contradict what the broker is told. What comes beside
//! it is for people: it reads one rule after the other and may take its time.

use std::cmp::Reverse;
use std::fmt;

use super::decision::{Action, Question, Reason, Verdict};
use super::placeholder::{Names, Placeholder};
use super::role::{Role, judge};
use super::rule::{Effect, Level, Rule};
use super::trie::Asked;

/// How many rules that nearly matched are worth telling.
const NEAR: usize = 5;

/// A verdict and what led to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation<'r> {
    pub verdict: Verdict,
    /// The name of the deciding rule's role, and the rule; none where no rule that can be read decided.
    pub deciding: Option<(&'r str, &'r Rule)>,
    /// Where nothing allows: the allow rules that nearly do. Where a subscription is allowed: the deny rules that
    /// match only a part of it, or only its deliveries. Nearest first.
    pub near: Vec<NearMiss<'r>>,
}

/// A rule that nearly matched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NearMiss<'r> {
    /// The name of the rule's role.
    pub role: &'r str,
    pub rule: &'r Rule,
    pub why: Miss,
}

/// What keeps a rule from deciding a question. Levels are counted from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Miss {
    /// It is about another action.
    OtherAction,
    /// It allows less.
    Qos { max: u8 },
    /// It is about retained messages only, or about the others only.
    Retain { only_retained: bool },
    /// This placeholder has no value that could be a part of a topic level.
    MissingPlaceholder(String),
    /// A level differs.
    Level {
        index: usize,
        /// The level as the rule has it, with its placeholders.
        rule: String,
        /// The same level with the values of its placeholders, where it has any.
        value: Option<String>,
        topic: String,
    },
    /// The topic ends where the rule goes on.
    TooShort { levels: usize },
    /// The topic goes on where the rule ends.
    TooLong { levels: usize },
    /// A wildcard stands where a topic begins with `$`.
    DollarTopic,
    /// The broker's control topics take a rule without wildcards and placeholders.
    NotLiteral,
    /// It matches only some of the topics of the filter.
    OnlyPartly,
}

impl Miss {
    fn missing(placeholder: &Placeholder) -> Self {
        Self::MissingPlaceholder(placeholder.to_string())
    }
}

impl fmt::Display for Miss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherAction => f.write_str("the rule is about another action"),
            Self::Qos { max } => write!(f, "the rule allows no QoS above {max}"),
            Self::Retain { only_retained: true } => f.write_str("the rule is about retained messages only"),
            Self::Retain { only_retained: false } => f.write_str("the rule is about messages that are not retained"),
            Self::MissingPlaceholder(name) => {
                write!(f, "`{name}` has no value here, or one that cannot be part of a topic level")
            }
            Self::Level { index, rule, value: None, topic } => {
                write!(f, "level {index} is `{topic}`, the rule says `{rule}`")
            }
            Self::Level { index, rule, value: Some(value), topic } => {
                write!(f, "level {index} is `{topic}`, the rule says `{rule}` = `{value}`")
            }
            Self::TooShort { levels } => write!(f, "the topic ends after level {levels}, the rule goes on"),
            Self::TooLong { levels } => write!(f, "the rule ends after level {levels}, the topic goes on"),
            Self::DollarTopic => {
                f.write_str("no wildcard or placeholder at the beginning of a rule matches topics that begin with `$`")
            }
            Self::NotLiteral => f.write_str("`$CONTROL` is allowed only by a rule without wildcards and placeholders"),
            Self::OnlyPartly => f.write_str("the rule matches only some of the topics of the filter"),
        }
    }
}

/// Judges a question and says what led to the verdict.
pub fn explain<'r>(
    roles: impl Iterator<Item = &'r Role> + Clone,
    names: &Names<'_>,
    question: &Question<'_>,
) -> Explanation<'r> {
    let verdict = judge(roles.clone(), names, question);
    let all_rules = move || roles.clone().flat_map(|role| role.rules().iter().map(|rule| (role.name(), rule)));
    let deciding = verdict.rule.and_then(|id| all_rules().find(|(_, rule)| rule.id == id));
    let effect = match (verdict.reason, question.action) {
        (Reason::NoRule, _) => Some(Effect::Allow),
        (Reason::AllowedByRule, Action::Subscribe) => Some(Effect::Deny),
        _ => None,
    };
    let mut near = Vec::new();
    if let (Some(effect), Some(asked)) = (effect, Asked::new(question)) {
        for (role, rule) in all_rules().filter(|(_, rule)| rule.effect == effect) {
            let comparison = Comparison::of(rule, asked, names, question);
            let closeness = match effect {
                Effect::Allow => comparison.closeness(),
                Effect::Deny => comparison.overlap(rule),
            };
            if let (Some(closeness), Some(why)) = (closeness, comparison.misses.into_iter().next()) {
                near.push(((closeness, rule.id), NearMiss { role, rule, why }));
            }
        }
    }
    near.sort_by_key(|(closeness, _)| *closeness);
    near.truncate(NEAR);
    Explanation { verdict, deciding, near: near.into_iter().map(|(_, miss)| miss).collect() }
}

/// One rule beside what is asked.
#[derive(Default)]
struct Comparison {
    /// All that differs, the topic first.
    misses: Vec<Miss>,
    /// How many levels the rule names just as the question does.
    agreeing: usize,
}

impl Comparison {
    fn of(rule: &Rule, asked: Asked<'_>, names: &Names<'_>, question: &Question<'_>) -> Self {
        let mut comparison = Self::default();
        comparison.compare_topic(rule, asked, names);
        if !rule.actions.contains(question.action) {
            comparison.misses.push(Miss::OtherAction);
        }
        if question.action != Action::Receive
            && rule.effect == Effect::Allow
            && let Some(max) = rule.max_qos.filter(|max| question.qos > *max)
        {
            comparison.misses.push(Miss::Qos { max });
        }
        if question.action == Action::Publish
            && let Some(only_retained) = rule.retain.filter(|retain| question.retain != *retain)
        {
            comparison.misses.push(Miss::Retain { only_retained });
        }
        comparison
    }

    fn compare_topic(&mut self, rule: &Rule, asked: Asked<'_>, names: &Names<'_>) {
        let found: Vec<&str> = asked.path.into_iter().flat_map(|path| path.split('/')).collect();
        let levels = rule.topic.levels();
        let (before_hash, open) = match levels.split_last() {
            Some((Level::Hash, before_hash)) => (before_hash, true),
            _ => (levels, false),
        };
        let mut partly = false;
        for (index, ((level, text), found)) in
            (1..).zip(before_hash.iter().zip(rule.topic.as_str().split('/')).zip(&found))
        {
            match compare_level(rule.effect, level, text, found, index, asked, names) {
                Compared::Same => self.agreeing += 1,
                Compared::Wider => {}
                Compared::Narrower => partly = true,
                Compared::Misses(miss) => self.misses.push(miss),
            }
        }
        let unmatched = before_hash.get(found.len()..).unwrap_or_default();
        if unmatched.is_empty() {
            if open && before_hash.is_empty() && asked.is_dollar() {
                self.misses.push(Miss::DollarTopic);
            } else if open && asked.is_control() && rule.effect == Effect::Allow {
                self.misses.push(Miss::NotLiteral);
            } else if !open && found.len() > before_hash.len() {
                self.misses.push(Miss::TooLong { levels: before_hash.len() });
            } else if !open && asked.open {
                partly = true;
            }
        } else if !asked.open {
            self.misses.push(Miss::TooShort { levels: found.len() });
        } else if found.is_empty() && rule.topic.as_str().starts_with('$') {
            self.misses.push(Miss::DollarTopic);
        } else {
            partly = true;
            if rule.effect == Effect::Allow {
                self.misses.extend(unmatched.iter().find_map(|level| match level {
                    Level::Pattern(pattern) => pattern.missing(names).map(Miss::missing),
                    _ => None,
                }));
            }
        }
        if partly {
            self.misses.push(Miss::OnlyPartly);
        }
    }

    /// How near an allow rule is, the smallest first. `None`: not near.
    fn closeness(&self) -> Option<(usize, u8, Reverse<usize>)> {
        let first = self.misses.first()?;
        let alone = self.misses.len() == 1;
        let kind = match first {
            Miss::Qos { .. } | Miss::Retain { .. } => 0,
            Miss::OnlyPartly => 1,
            Miss::OtherAction => 2,
            Miss::MissingPlaceholder(_) | Miss::NotLiteral | Miss::DollarTopic => 3,
            Miss::TooShort { .. } | Miss::TooLong { .. } => 4,
            Miss::Level { .. } => 5,
        };
        let same_action = !self.misses.contains(&Miss::OtherAction);
        (alone || (same_action && self.agreeing > 0)).then_some((self.misses.len(), kind, Reverse(self.agreeing)))
    }

    /// The same for a deny rule that does not stop a subscription but matches a part of it.
    fn overlap(&self, rule: &Rule) -> Option<(usize, u8, Reverse<usize>)> {
        let overlaps = self.misses.iter().all(|miss| match miss {
            Miss::OnlyPartly => true,
            Miss::OtherAction => rule.actions.contains(Action::Receive),
            _ => false,
        });
        overlaps.then_some((self.misses.len(), 0, Reverse(self.agreeing)))
    }
}

/// How a level of a rule compares with the same level of what is asked.
enum Compared {
    Same,
    /// The rule has a wildcard here.
    Wider,
    /// A wildcard is asked for, and the rule has none.
    Narrower,
    Misses(Miss),
}

fn compare_level(
    effect: Effect,
    level: &Level,
    text: &str,
    found: &str,
    index: usize,
    asked: Asked<'_>,
    names: &Names<'_>,
) -> Compared {
    let not_literal = asked.is_control() && effect == Effect::Allow;
    let value = match level {
        Level::Plus | Level::Hash if index == 1 && asked.is_dollar() => return Compared::Misses(Miss::DollarTopic),
        Level::Pattern(pattern)
            if index == 1 && asked.is_dollar() && effect == Effect::Allow && pattern.begins_with_value() =>
        {
            return Compared::Misses(Miss::DollarTopic);
        }
        Level::Plus | Level::Hash if not_literal => return Compared::Misses(Miss::NotLiteral),
        Level::Plus | Level::Hash => return Compared::Wider,
        Level::Literal(literal) => literal.to_string(),
        Level::Pattern(pattern) => match (pattern.missing(names), effect) {
            (Some(placeholder), Effect::Allow) => return Compared::Misses(Miss::missing(placeholder)),
            (Some(_), Effect::Deny) => return Compared::Wider,
            (None, _) => pattern.text(names),
        },
    };
    if value == found {
        let placeholder = matches!(level, Level::Pattern(_));
        return if placeholder && not_literal { Compared::Misses(Miss::NotLiteral) } else { Compared::Same };
    }
    if found == "+" {
        let dollar = index == 1 && value.starts_with('$');
        return if dollar { Compared::Misses(Miss::DollarTopic) } else { Compared::Narrower };
    }
    let value = Some(value).filter(|value| value != text);
    Compared::Misses(Miss::Level { index, rule: text.to_owned(), value, topic: found.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::super::decision::Action::{Publish, Subscribe};
    use super::super::role::ClientIdBinding;
    use super::super::rule::{Attributes, RuleTopic};
    use super::*;

    fn role(rules: &[(&str, &str, &str)]) -> Role {
        let rule = |(id, &(effect, actions, topic)): (i64, &(&str, &str, &str))| {
            let (effect, actions) = (effect.parse().unwrap(), actions.parse().unwrap());
            Ok(Rule { id, effect, actions, topic: RuleTopic::parse(topic).unwrap(), max_qos: Some(1), retain: None })
        };
        Role::compile(1, "sensor", ClientIdBinding::Any, (1..).zip(rules).map(rule).collect())
    }

    fn near(rules: &[(&str, &str, &str)], action: Action, topic: &str, qos: u8) -> Vec<(i64, String)> {
        let attributes = Attributes::default();
        let names = Names { device: "device-001", client_id: None, attributes: &attributes };
        let role = role(rules);
        let explanation = explain([&role].into_iter(), &names, &Question { action, topic, qos, retain: false });
        explanation.near.into_iter().map(|miss| (miss.rule.id, miss.why.to_string())).collect()
    }

    #[track_caller]
    fn miss(rule: (&str, &str, &str), action: Action, topic: &str, qos: u8, why: &str) {
        assert_eq!(near(&[rule], action, topic, qos), [(1, why.to_owned())]);
    }

    #[test]
    fn a_level_that_differs_is_named_with_the_value_of_its_placeholder() {
        miss(
            ("allow", "publish", "dev/%u/up"),
            Publish,
            "dev/device-002/up",
            0,
            "level 2 is `device-002`, the rule says `%u` = `device-001`",
        );
        miss(("allow", "publish", "dev/a"), Publish, "dev/b", 0, "level 2 is `b`, the rule says `a`");
    }

    #[test]
    fn each_way_to_miss_has_its_words() {
        miss(("allow", "read", "a/b"), Publish, "a/b", 0, "the rule is about another action");
        miss(("allow", "write", "a/b"), Publish, "a/b", 2, "the rule allows no QoS above 1");
        miss(("allow", "write", "a/b/c"), Publish, "a/b", 0, "the topic ends after level 2, the rule goes on");
        miss(("allow", "write", "a"), Publish, "a/b", 0, "the rule ends after level 1, the topic goes on");
        let partly = "the rule matches only some of the topics of the filter";
        miss(("allow", "read", "a/+"), Subscribe, "a/#", 0, partly);
        miss(("allow", "read", "a/b"), Subscribe, "a/+", 0, partly);
        miss(("allow", "read", "a/b"), Subscribe, "#", 0, partly);
        let missing = "`%c` has no value here, or one that cannot be part of a topic level";
        miss(("allow", "write", "a/%c"), Publish, "a/b", 0, missing);
        let dollar = "no wildcard or placeholder at the beginning of a rule matches topics that begin with `$`";
        miss(("allow", "write", "#"), Publish, "$SYS/a", 0, dollar);
        miss(("allow", "read", "$SYS/#"), Subscribe, "#", 0, dollar);
        let literal = "`$CONTROL` is allowed only by a rule without wildcards and placeholders";
        miss(("allow", "write", "$CONTROL/#"), Publish, "$CONTROL/a", 0, literal);
    }

    #[test]
    fn the_nearest_rule_comes_first_and_far_ones_do_not_come() {
        let rules = [
            ("allow", "publish", "x/y/z"),
            ("allow", "publish", "a/x/y"),
            ("allow", "publish", "a/b/x"),
            ("allow", "read", "a/b/c"),
        ];
        let ids: Vec<i64> = near(&rules, Publish, "a/b/c", 0).into_iter().map(|(id, _)| id).collect();
        assert_eq!(ids, [4, 3, 2]);
    }

    #[test]
    fn an_allowed_subscription_names_the_denies_that_hold_back_deliveries() {
        let rules =
            [("allow", "read", "a/#"), ("deny", "receive", "a/b"), ("deny", "write", "a/c"), ("deny", "read", "x")];
        let ids: Vec<i64> = near(&rules, Subscribe, "a/#", 0).into_iter().map(|(id, _)| id).collect();
        assert_eq!(ids, [2]);
    }

    #[test]
    fn the_deciding_rule_comes_with_its_role() {
        let attributes = Attributes::default();
        let names = Names { device: "d", client_id: None, attributes: &attributes };
        let role = role(&[("allow", "all", "a"), ("deny", "all", "a")]);
        let question = Question { action: Publish, topic: "a", qos: 0, retain: false };
        let explanation = explain([&role].into_iter(), &names, &question);
        assert_eq!(explanation.deciding, Some(("sensor", &role.rules()[1])));
    }
}
