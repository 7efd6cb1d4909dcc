//! The rules of a role as a tree of topic levels, and one walk through it per question.
//!
//! A walk follows the levels that are asked for, so its cost grows with their number and not with the number of rules.
//! For one topic a node can be reached in one way only: whatever is asked, no node is visited twice.
//!
//! A filter that is asked for is compared as a set of topics. Its `+` stands for a level name that occurs in no rule:
//! only a wildcard can match that one, and a wildcard matches all the others too. No text of a rule is ever `+`, so `+`
//! itself serves as that name. A `#` at its end stands for none, one, two and more such levels, up to where rules end.

use std::collections::{BTreeMap, HashMap};

use foldhash::fast::FixedState;

use super::decision::{Action, Question, RuleId};
use super::placeholder::{LevelPattern, Names};
use super::rule::{Actions, Effect, Level, Rule};
use super::topic::{self, MAX_LEVELS};

/// The rules of one role.
#[derive(Debug, Clone, Default)]
pub(super) struct Trie {
    root: Node,
}

/// What is below a node is behind pointers: tables have room for more than they hold, and a fleet may have a role, and so a
/// tree, for each device.
#[derive(Debug, Clone, Default)]
struct Node {
    literals: HashMap<Box<str>, Box<Node>, FixedState>,
    /// The length of the longest literal, so that a huge level need not be hashed.
    longest: usize,
    plus: Option<Box<Node>>,
    patterns: BTreeMap<LevelPattern, Box<Node>>,
    /// Rules that end here.
    ends: Vec<Terms>,
    /// Rules that end in a `#` below here, which match from here on.
    hashes: Vec<Terms>,
    /// What rules from here downwards allow.
    allows: Actions,
    /// What rules from here downwards deny.
    denies: Actions,
}

/// What is left of a rule once its topic is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Terms {
    rule: RuleId,
    effect: Effect,
    actions: Actions,
    max_qos: Option<u8>,
    retain: Option<bool>,
}

impl Trie {
    pub(super) fn new<'r>(rules: impl IntoIterator<Item = &'r Rule>) -> Self {
        let mut trie = Self::default();
        for rule in rules {
            trie.insert(rule);
        }
        trie
    }

    fn insert(&mut self, rule: &Rule) {
        let mut node = &mut self.root;
        node.announce(rule);
        for level in rule.topic.levels() {
            node = match level {
                Level::Literal(text) => {
                    node.longest = node.longest.max(text.len());
                    node.literals.entry(text.clone()).or_default()
                }
                Level::Pattern(pattern) => node.patterns.entry(pattern.clone()).or_default(),
                Level::Plus => node.plus.get_or_insert_default(),
                Level::Hash => return Terms::add(&mut node.hashes, rule),
            };
            node.announce(rule);
        }
        Terms::add(&mut node.ends, rule);
    }
}

impl Node {
    fn announce(&mut self, rule: &Rule) {
        match rule.effect {
            Effect::Allow => self.allows = self.allows.union(rule.actions),
            Effect::Deny => self.denies = self.denies.union(rule.actions),
        }
    }
}

impl Terms {
    /// Rules with equal terms are one, which bounds the list however many rules there are.
    fn add(list: &mut Vec<Self>, rule: &Rule) {
        let Rule { id, effect, actions, max_qos, retain, .. } = *rule;
        let terms = Self { rule: id, effect, actions, max_qos, retain };
        if !list.iter().any(|known| Self { rule: id, ..*known } == terms) {
            // Most have one, and none more than some.
            list.reserve_exact(1);
            list.push(terms);
        }
    }

    fn apply_to(&self, question: &Question<'_>) -> bool {
        self.actions.contains(question.action) && conditions_hold(self.effect, self.max_qos, self.retain, question)
    }
}

/// Whether `max_qos` and `retain` let a rule apply to a question.
///
/// A delivery never exceeds the QoS that was granted, so neither is asked of it; `retain` is asked of a publish only.
pub(super) fn conditions_hold(
    effect: Effect,
    max_qos: Option<u8>,
    retain: Option<bool>,
    question: &Question<'_>,
) -> bool {
    let qos_holds = effect == Effect::Deny || max_qos.is_none_or(|max| question.qos <= max);
    match question.action {
        Action::Publish => qos_holds && retain.is_none_or(|retain| question.retain == retain),
        Action::Subscribe => qos_holds,
        Action::Receive => true,
    }
}

/// The topics that a question is about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'q> {
    /// The topic name, or the filter without its final `#`. `None`: it was nothing but the `#`.
    pub(super) path: Option<&'q str>,
    /// Whether a `#` follows the path.
    pub(super) open: bool,
}

impl<'q> Asked<'q> {
    /// `None` where the topic name or the filter is malformed.
    pub(super) fn new(question: &Question<'q>) -> Option<Self> {
        if question.action != Action::Subscribe {
            topic::check_name(question.topic).ok()?;
            return Some(Self { path: Some(question.topic), open: false });
        }
        let filter = topic::unshared(question.topic)?;
        topic::check_filter(filter).ok()?;
        Some(match filter.strip_suffix('#') {
            None => Self { path: Some(filter), open: false },
            Some(path) => Self { path: path.strip_suffix('/'), open: true },
        })
    }

    /// Whether these are topics that only a rule with the same first level may match.
    pub(super) fn is_dollar(&self) -> bool {
        self.path.is_some_and(|path| path.starts_with('$'))
    }

    /// Whether these topics command the broker itself, which takes a rule without wildcard and placeholder.
    pub(super) fn is_control(&self) -> bool {
        self.path
            .and_then(|path| path.strip_prefix("$CONTROL"))
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The number of levels of the shortest topic.
    fn shortest(&self) -> usize {
        self.path.map_or(1, |path| path.split('/').count())
    }
}

/// One question on its way through the roles of a device.
pub(super) struct Walk<'q> {
    question: &'q Question<'q>,
    names: &'q Names<'q>,
    asked: Asked<'q>,
    dollar: bool,
    control: bool,
    allowed: Coverage,
    denied: Coverage,
}

/// Where in the tree a walk is.
#[derive(Clone, Copy)]
struct Step<'q> {
    /// What is still to be matched. `None`: all levels are, but for those that an asked `#` stands for.
    rest: Option<&'q str>,
    /// How many levels are matched.
    depth: usize,
    /// Whether what an allow rule says here counts.
    may_allow: bool,
}

impl<'q> Walk<'q> {
    pub(super) fn new(question: &'q Question<'q>, asked: Asked<'q>, names: &'q Names<'q>) -> Self {
        let first = if asked.open { asked.shortest() } else { 0 };
        let (dollar, control) = (asked.is_dollar(), asked.is_control());
        let (allowed, denied) = (Coverage::new(asked.open, first), Coverage::new(asked.open, first));
        Self { question, names, asked, dollar, control, allowed, denied }
    }

    /// Asks the rules of one more role.
    pub(super) fn through(&mut self, trie: &Trie) {
        self.visit(&trie.root, Step { rest: self.asked.path, depth: 0, may_allow: true });
    }

    /// The rule by which all that is asked is allowed.
    pub(super) fn allowed(&self) -> Option<RuleId> {
        self.allowed.complete()
    }

    /// The rule by which all that is asked is denied.
    pub(super) fn denied(&self) -> Option<RuleId> {
        self.denied.complete()
    }

    fn visit(&mut self, node: &Node, step: Step<'q>) {
        let Step { rest, depth, may_allow } = step;
        let action = self.question.action;
        let can_allow = may_allow && !self.allowed.settled && node.allows.contains(action);
        let can_deny = node.denies.contains(action);
        if self.denied.settled || !(can_allow || can_deny) {
            return;
        }
        // A wildcard in the first level does not know the topics that begin with a `$`.
        let wildcards = depth > 0 || !self.dollar;
        let allow_by_wildcard = may_allow && !self.control;
        if wildcards {
            self.take(&node.hashes, allow_by_wildcard, |coverage, rule| coverage.add_from(depth, rule));
        }
        if rest.is_none() {
            self.take(&node.ends, may_allow, |coverage, rule| coverage.add(depth, rule));
            if !self.asked.open {
                return;
            }
        }
        if !can_deny && (!may_allow || self.allowed.settled) {
            return;
        }
        let (level, rest) = rest.map_or(("+", None), split_level);
        let step = Step { rest, depth: depth + 1, may_allow };
        if level.len() <= node.longest
            && let Some(child) = node.literals.get(level)
        {
            self.visit(child, step);
        }
        if wildcards && let Some(child) = &node.plus {
            self.visit(child, Step { may_allow: allow_by_wildcard, ..step });
        }
        for (pattern, child) in &node.patterns {
            if pattern.equals(level, self.names) {
                // A client that calls itself `$SYS` gets nothing of it.
                let may_allow = allow_by_wildcard && (wildcards || !pattern.begins_with_value());
                self.visit(child, Step { may_allow, ..step });
            } else if child.denies.contains(action) && pattern.missing(self.names).is_some() {
                // A deny that cannot be evaluated denies; an allow does not allow.
                self.visit(child, Step { may_allow: false, ..step });
            }
        }
    }

    fn take(&mut self, list: &[Terms], may_allow: bool, add: impl Fn(&mut Coverage, RuleId)) {
        for terms in list {
            let coverage = match terms.effect {
                Effect::Deny => &mut self.denied,
                Effect::Allow if may_allow => &mut self.allowed,
                Effect::Allow => continue,
            };
            if terms.apply_to(self.question) {
                add(coverage, terms.rule);
            }
        }
    }
}

/// The first level of a path, and the levels behind it.
fn split_level(path: &str) -> (&str, Option<&str>) {
    // Levels are short: a plain loop finds the slash sooner than the search behind `split_once`.
    match path.bytes().position(|byte| byte == b'/').and_then(|slash| path.split_at_checked(slash)) {
        Some((level, rest)) => (level, rest.get(1..)),
        None => (path, None),
    }
}

/// How much of what is asked is matched by the rules seen so far.
///
/// Without a `#` in what is asked, the first match is all of it. With one, topics of every length from `first` on are
/// asked for, and each length has to be matched.
struct Coverage {
    open: bool,
    first: usize,
    /// The first rule that matched anything.
    rule: Option<RuleId>,
    /// The lengths that are matched, one bit each.
    lengths: [u128; 2],
    /// All lengths from here on are matched.
    from: usize,
    /// Whether a look at the next rule can change nothing.
    settled: bool,
}

// A topic has one bit for each number of levels.
const _: () = assert!(MAX_LEVELS < 256);

impl Coverage {
    const fn new(open: bool, first: usize) -> Self {
        Self { open, first, rule: None, lengths: [0; 2], from: usize::MAX, settled: false }
    }

    /// A rule matches the topics of this length.
    fn add(&mut self, length: usize, rule: RuleId) {
        self.rule.get_or_insert(rule);
        if !self.open {
            self.settled = true;
        } else if let Some(bits) = self.lengths.get_mut(length / 128) {
            *bits |= 1 << (length % 128);
        }
    }

    /// A rule matches the topics of this length and all longer ones.
    fn add_from(&mut self, length: usize, rule: RuleId) {
        self.rule.get_or_insert(rule);
        self.from = self.from.min(length);
        self.settled |= !self.open || self.from <= self.first;
    }

    fn complete(&self) -> Option<RuleId> {
        let has = |length: usize| self.lengths.get(length / 128).is_some_and(|bits| bits >> (length % 128) & 1 == 1);
        // Without a `#` rule there are always longer topics that nothing matches.
        let covered = self.settled || (self.from != usize::MAX && (self.first..self.from).all(has));
        self.rule.filter(|_| covered)
    }
}
