//! A model of the verdict: every rule is tried on every topic of a small world.
//!
//! Nothing of the crate's own reading or matching of rules is used here. A level of a rule means a set of level names,
//! a filter means the topics of the world that it matches, and a question is about a set of topics.

use std::collections::BTreeSet;

/// A rule as it is written.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    pub(crate) deny: bool,
    pub(crate) action: &'static str,
    pub(crate) topic: Vec<&'static str>,
    pub(crate) max_qos: Option<u8>,
    pub(crate) retain: Option<bool>,
}

/// What is asked.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) action: &'static str,
    pub(crate) topic: Vec<&'static str>,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
}

pub(crate) const DEVICE: &str = "d1";
pub(crate) const CLIENT_ID: &str = "c1";
pub(crate) const ATTRIBUTES: [(&str, &str); 5] =
    [("site", "b"), ("empty", ""), ("wild", "+"), ("deep", "a/b"), ("dollar", "$x")];

/// What a level of a rule matches.
#[derive(Debug, PartialEq)]
enum Means {
    This(String),
    /// `+`, which in the first level does not match `$x`.
    Wildcard,
    Everything,
    Nothing,
}

fn means(level: &str, deny: bool, client_id: bool) -> Means {
    let unknown = if deny { Means::Everything } else { Means::Nothing };
    let this = |text: &str| Means::This(text.to_owned());
    match level {
        "+" => Means::Wildcard,
        "%u" => this("d1"),
        "dev-%u" => this("dev-d1"),
        "%{site}" => this("b"),
        "%u%{site}" => this("d1b"),
        "%{dollar}" => this("$x"),
        "%%" | "%" => this("%"),
        "%c" if client_id => this("c1"),
        "%c" | "%{empty}" | "%{absent}" | "%{wild}" | "%{deep}" | "dev-%{absent}" => unknown,
        literal => {
            assert!(!literal.contains('%'), "the model does not know `{literal}`");
            this(literal)
        }
    }
}

/// Whether a rule, or with `deny` false and no placeholder a filter, matches a topic.
fn matches(levels: &[&str], topic: &[&str], deny: bool, client_id: bool) -> bool {
    let hidden = topic.first().is_some_and(|first| first.starts_with('$'))
        && levels.first().is_some_and(|first| ["+", "#"].contains(first));
    let (levels, open) = match levels {
        [levels @ .., "#"] => (levels, true),
        levels => (levels, false),
    };
    let length = if open { topic.len() >= levels.len() } else { topic.len() == levels.len() };
    !hidden
        && length
        && levels.iter().zip(topic).all(|(level, name)| match means(level, deny, client_id) {
            Means::This(text) => text == *name,
            Means::Wildcard | Means::Everything => true,
            Means::Nothing => false,
        })
}

fn applies(rule: &Rule, asked: &Asked) -> bool {
    let action = match rule.action {
        "all" => true,
        "read" => asked.action != "publish",
        "write" => asked.action == "publish",
        action => action == asked.action,
    };
    let qos = asked.action == "receive" || rule.deny || rule.max_qos.is_none_or(|max| asked.qos <= max);
    let retain = asked.action != "publish" || rule.retain.is_none_or(|retain| asked.retain == retain);
    action && qos && retain
}

/// Whether this one rule matches this one topic, conditions and all.
fn decides(rule: &Rule, asked: &Asked, topic: &[&str], client_id: bool) -> bool {
    let control = topic.first() == Some(&"$CONTROL");
    let literal = rule.topic.iter().all(|level| *level == "%%" || !level.contains(['%', '+', '#']));
    // What somebody else chose must not open what is hidden.
    let chosen = topic.first().is_some_and(|first| first.starts_with('$'))
        && rule.topic.first().is_some_and(|first| first.starts_with('%') && *first != "%%");
    let may_match = rule.deny || (!chosen && (!control || literal));
    applies(rule, asked) && may_match && matches(&rule.topic, topic, rule.deny, client_id)
}

/// The answer, with all the rules that had a part in it.
#[derive(Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) allowed: bool,
    pub(crate) denied_by_rule: bool,
    pub(crate) by: BTreeSet<usize>,
}

pub(crate) fn answer(rules: &[Rule], asked: &Asked, client_id: bool) -> Answer {
    let topics = world(rules, asked);
    assert!(!topics.is_empty(), "nothing is asked");
    // Which rules of one effect match anything that is asked, and whether they match all of it.
    let covers = |deny: bool| {
        let mut by = BTreeSet::new();
        let mut all = true;
        for topic in &topics {
            let mut found = false;
            for (index, rule) in rules.iter().enumerate().filter(|(_, rule)| rule.deny == deny) {
                if decides(rule, asked, topic, client_id) {
                    found = true;
                    by.insert(index);
                }
            }
            all &= found;
        }
        (all, by)
    };
    let (denied, deniers) = covers(true);
    let (covered, allowers) = covers(false);
    let by = match (denied, covered) {
        (true, _) => deniers,
        (false, true) => allowers,
        (false, false) => BTreeSet::new(),
    };
    Answer { allowed: covered && !denied, denied_by_rule: denied, by }
}

/// All topics that are asked about.
///
/// At each level the world has every name that a rule or the question can mean there, and names that none of them does;
/// and it is two levels deeper than they are. All other names and all deeper topics behave like one of those.
fn world<'a>(rules: &'a [Rule], asked: &'a Asked) -> Vec<Vec<&'a str>> {
    if asked.action != "subscribe" {
        return vec![asked.topic.clone()];
    }
    let filter = if let ["$share", _, filter @ ..] = &asked.topic[..] { filter } else { &asked.topic[..] };
    let deepest = rules.iter().map(|rule| rule.topic.len()).chain([filter.len()]).max().unwrap_or_default() + 1;
    let names_at = |index: usize| -> BTreeSet<&str> {
        let named = rules.iter().map(|rule| &rule.topic[..]).chain([filter]).filter_map(|levels| levels.get(index));
        let named = named.filter_map(|level| match *level {
            "+" | "#" => None,
            "%u" => Some(DEVICE),
            "dev-%u" => Some("dev-d1"),
            "%{site}" => Some("b"),
            "%u%{site}" => Some("d1b"),
            "%{dollar}" => Some("$x"),
            "%c" => Some(CLIENT_ID),
            "%%" | "%" => Some("%"),
            level if level.contains('%') => None,
            level => Some(level),
        });
        named.chain(["other", "", "$other"]).collect()
    };
    let names: Vec<BTreeSet<&str>> = (0..deepest).map(names_at).collect();
    let mut topics = Vec::new();
    let mut partial: Vec<Vec<&str>> = vec![vec![]];
    while let Some(topic) = partial.pop() {
        if !topic.is_empty() && matches(filter, &topic, false, false) {
            topics.push(topic.clone());
        }
        let open = filter.len() <= topic.len() && filter.last() == Some(&"#");
        let next: Vec<&str> = match (filter.get(topic.len()), names.get(topic.len())) {
            (Some(&("+" | "#")), Some(names)) => names.iter().copied().collect(),
            (Some(literal), _) => vec![literal],
            (None, Some(names)) if open => names.iter().copied().collect(),
            _ => vec![],
        };
        partial.extend(next.into_iter().map(|name| [&topic[..], &[name]].concat()));
    }
    topics
}
