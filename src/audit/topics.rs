//! Topics that stand for all: one for each set of rules that some topic meets.
//!
//! The levels of all rules are walked together, as one automaton. At each level there are the texts that a rule still
//! in the running has there, and one text that none has; in the first place also one that begins with `$`, and
//! `$CONTROL`. Two paths on which the same rules are in the running have the same future, so the first stands for both.
//! Where all rules that are left end in a `#` behind which the path is, everything below is the same.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};

use super::TooMuch;
use crate::policy::rule::{Names, Rule, Step};

/// How many kinds of topics are told apart before it is given up.
const MOST_STATES: usize = 20_000;

/// Topics that no rule tells apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kind {
    /// One of them. `None`: no topic, only the filter `#` or `/#`.
    pub topic: Option<String>,
    /// A filter that, where it is subscribed to, is judged as this kind is.
    pub filter: Option<String>,
    /// The filter for everything from here downwards.
    pub open_filter: String,
    /// How people read it: as the rules write it, with `+` for what none of them names.
    pub shown: String,
    /// Whether all topics below are of this kind as well.
    pub and_below: bool,
}

/// A rule for one device: its levels, each with the text as the rule has it.
#[derive(Debug, Clone)]
pub struct Line<'r> {
    steps: Vec<(Step, &'r str)>,
    open: bool,
}

impl<'r> Line<'r> {
    /// `None`: the rule matches nothing for this device.
    #[must_use]
    pub fn new(rule: &'r Rule, names: &Names<'_>) -> Option<Self> {
        let mut steps: Vec<_> = rule.steps(names)?.into_iter().zip(rule.topic.as_str().split('/')).collect();
        let open = steps.last().is_some_and(|(step, _)| *step == Step::Hash);
        if open {
            steps.pop();
        }
        Some(Self { steps, open })
    }

    /// Whether its `#` reaches what is this deep.
    fn is_behind(&self, depth: usize) -> bool {
        self.open && self.steps.len() <= depth
    }

    /// Whether a path of this depth stays in the running with this as its next level.
    fn goes_on(&self, depth: usize, text: &str) -> bool {
        let hidden = depth == 0 && text.starts_with('$');
        match self.steps.get(depth) {
            None => self.open && !hidden,
            Some((Step::Text(own), _)) => **own == *text,
            Some((Step::Plus, _)) => !hidden,
            Some((Step::Any, _)) => true,
            Some((Step::Hash, _)) => false,
        }
    }
}

struct Path {
    levels: Vec<Level>,
    running: Vec<usize>,
}

#[derive(Clone)]
struct Level {
    text: String,
    filter: String,
    shown: String,
}

/// The kinds of topics that these rules tell apart and that at least one of them meets; and the filter `#`.
pub fn kinds(lines: &[Line<'_>]) -> Result<Vec<Kind>, TooMuch> {
    let fresh = fresh(lines);
    let mut kinds = Vec::new();
    let mut seen = HashSet::new();
    let mut waiting = VecDeque::from([Path { levels: Vec::new(), running: (0..lines.len()).collect() }]);
    while let Some(path) = waiting.pop_front() {
        let depth = path.levels.len();
        let running = || path.running.iter().filter_map(|index| lines.get(*index));
        // One empty level alone is no topic: what is below says more.
        let and_below = depth > 0 && !path.is_empty_level() && running().all(|line| line.is_behind(depth));
        kinds.push(path.kind(and_below));
        if and_below {
            continue;
        }
        for level in next_levels(running(), depth, &fresh) {
            let stays = |index: &usize| lines.get(*index).is_some_and(|line| line.goes_on(depth, &level.text));
            let running: Vec<usize> = path.running.iter().copied().filter(stays).collect();
            let first = path.levels.first().map_or(&level.text, |first| &first.text);
            let (dollar, control) = (first.starts_with('$'), first == "$CONTROL");
            // Behind all of them, deeper makes no difference.
            let behind = running.iter().filter_map(|index| lines.get(*index)).all(|line| line.is_behind(depth));
            let depth = if behind { usize::MAX } else { depth };
            if running.is_empty() || !seen.insert((depth, running.clone(), dollar, control)) {
                continue;
            }
            if seen.len() > MOST_STATES {
                return Err(TooMuch { what: "topics", most: MOST_STATES });
            }
            let levels = path.levels.iter().cloned().chain([level]).collect();
            waiting.push_back(Path { levels, running });
        }
    }
    Ok(kinds)
}

fn next_levels<'l>(running: impl Iterator<Item = &'l Line<'l>>, depth: usize, fresh: &str) -> Vec<Level> {
    let mut named: BTreeMap<&str, &str> = BTreeMap::new();
    for (step, source) in running.filter_map(|line| line.steps.get(depth)) {
        if let Step::Text(text) = step {
            // Where one rule names the level and another has a placeholder for it, the name is plainer.
            let shown = named.entry(text).or_insert(source);
            if *source == &**text {
                *shown = source;
            }
        }
    }
    let level = |text: &str, filter: &str, shown: &str| Level {
        text: text.to_owned(),
        filter: filter.to_owned(),
        shown: shown.to_owned(),
    };
    let mut levels = vec![level(fresh, "+", "+")];
    if depth == 0 {
        let dollar = format!("${fresh}");
        levels.push(level(&dollar, &dollar, &dollar));
        levels.push(level("$CONTROL", "$CONTROL", "$CONTROL"));
    }
    levels.extend(named.into_iter().map(|(text, shown)| level(text, text, shown)));
    levels
}

/// A text that no rule has.
fn fresh(lines: &[Line<'_>]) -> String {
    let texts: BTreeSet<&str> = lines
        .iter()
        .flat_map(|line| &line.steps)
        .filter_map(|(step, _)| match step {
            Step::Text(text) => Some(text.strip_prefix('$').unwrap_or(text)),
            _ => None,
        })
        .collect();
    let mut fresh = "other".to_owned();
    while texts.contains(&*fresh) {
        fresh.push('-');
    }
    fresh
}

impl Path {
    fn is_empty_level(&self) -> bool {
        matches!(&*self.levels, [level] if level.text.is_empty())
    }

    fn kind(&self, and_below: bool) -> Kind {
        let join = |part: fn(&Level) -> &str| self.levels.iter().map(part).collect::<Vec<_>>().join("/");
        let filter = join(|level| &level.filter);
        if self.levels.is_empty() {
            return Kind { topic: None, filter: None, open_filter: "#".into(), shown: String::new(), and_below };
        }
        if self.is_empty_level() {
            return Kind { topic: None, filter: None, open_filter: "/#".into(), shown: String::new(), and_below };
        }
        Kind {
            topic: Some(join(|level| &level.text)),
            open_filter: format!("{filter}/#"),
            filter: Some(filter),
            shown: join(|level| &level.shown),
            and_below,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::rule::{Attributes, RuleTopic};

    fn shown(rules: &[&str]) -> Vec<String> {
        let rules: Vec<Rule> = rules
            .iter()
            .map(|topic| Rule {
                id: 1,
                effect: "allow".parse().unwrap(),
                actions: "all".parse().unwrap(),
                topic: RuleTopic::parse(topic).unwrap(),
                max_qos: None,
                retain: None,
            })
            .collect();
        let attributes = Attributes::default();
        let names = Names { device: "d1", client_id: None, attributes: &attributes };
        let lines: Vec<_> = rules.iter().filter_map(|rule| Line::new(rule, &names)).collect();
        let kinds = kinds(&lines).unwrap();
        kinds.iter().map(|kind| format!("{}{}", kind.shown, if kind.and_below { "/#" } else { "" })).collect()
    }

    #[test]
    fn a_rule_tells_apart_what_it_meets_and_what_leads_there() {
        assert_eq!(shown(&["devices/%u/#"]), ["", "devices", "devices/%u/#"]);
        assert_eq!(shown(&["a/+"]), ["", "a", "a/+"]);
        assert_eq!(shown(&["a/%{absent}"]), [""]);
        assert_eq!(shown(&["/#"]), ["", "", "/+/#"]);
    }

    #[test]
    fn rules_that_overlap_tell_apart_where_they_do() {
        assert_eq!(shown(&["a/+", "a/b"]), ["", "a", "a/+", "a/b"]);
        assert_eq!(shown(&["#", "a/b"]), ["", "+/#", "a", "a/b"]);
    }

    #[test]
    fn a_dollar_is_not_met_by_wildcards() {
        assert_eq!(shown(&["+/a", "$SYS/a"]), ["", "+", "$SYS", "+/a", "$SYS/a"]);
    }

    #[test]
    fn what_would_take_too_long_is_given_up() {
        // Which levels are `x` has to be remembered: that many sets of rules.
        let rules: Vec<String> = (0..18).map(|at| format!("{}x/#", "+/".repeat(at))).collect();
        let rules: Vec<Rule> = rules
            .iter()
            .map(|topic| Rule {
                id: 1,
                effect: "allow".parse().unwrap(),
                actions: "all".parse().unwrap(),
                topic: RuleTopic::parse(topic).unwrap(),
                max_qos: None,
                retain: None,
            })
            .collect();
        let attributes = Attributes::default();
        let names = Names { device: "d1", client_id: None, attributes: &attributes };
        let lines: Vec<_> = rules.iter().filter_map(|rule| Line::new(rule, &names)).collect();
        assert!(kinds(&lines).is_err());
    }
}
