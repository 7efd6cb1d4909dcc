//! The verdict and its explanation, beside the model.

use std::collections::BTreeMap;

use mosquitto_warden::policy::decision::{Action, Question, Reason, Verdict};
use mosquitto_warden::policy::explain::explain;
use mosquitto_warden::policy::role::{ClientIdBinding, Role, RuleRow, UnreadableRule, judge};
use mosquitto_warden::policy::rule::{Attributes, Effect, Names, Rule, RuleTopic};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::judge_model::{self as model, Asked};

const UNREADABLE: i64 = 1000;

/// Some roles, what is asked of them, and by whom.
#[derive(Debug, Clone)]
struct Case {
    roles: Vec<Vec<model::Rule>>,
    asked: Asked,
    client_id: bool,
    /// Whether the last role has an unreadable rule, and whether that may be a deny.
    unreadable: Option<bool>,
}

impl Case {
    /// The rules of all roles; a rule's number is its place here.
    fn rules(&self) -> Vec<model::Rule> {
        self.roles.concat()
    }

    fn compile(&self) -> Vec<Role> {
        let mut ids = 0_i64..;
        let mut roles = Vec::new();
        for (index, rules) in self.roles.iter().enumerate() {
            let mut rows: Vec<RuleRow> = rules.iter().zip(&mut ids).map(|(rule, id)| Ok(compile(id, rule))).collect();
            if let Some(may_deny) = self.unreadable.filter(|_| index + 1 == self.roles.len()) {
                rows.insert(0, Err(UnreadableRule { id: UNREADABLE, may_deny, why: "nonsense".into() }));
            }
            roles.push(Role::compile(1, &format!("role-{index}"), ClientIdBinding::Any, rows));
        }
        roles
    }

    fn ask<T>(&self, ask: impl Fn(&[Role], &Names<'_>, &Question<'_>) -> T) -> T {
        let attributes = Attributes::from_iter(model::ATTRIBUTES);
        let client_id = self.client_id.then_some(model::CLIENT_ID);
        let names = Names { device: model::DEVICE, client_id, attributes: &attributes };
        let action = match self.asked.action {
            "publish" => Action::Publish,
            "subscribe" => Action::Subscribe,
            _ => Action::Receive,
        };
        let topic = self.asked.topic.join("/");
        let Asked { qos, retain, .. } = self.asked;
        ask(&self.compile(), &names, &Question { action, topic: &topic, qos, retain })
    }

    fn judge(&self) -> Verdict {
        self.ask(|roles, names, question| judge(roles.iter(), names, question))
    }
}

fn compile(id: i64, rule: &model::Rule) -> Rule {
    Rule {
        id,
        effect: if rule.deny { Effect::Deny } else { Effect::Allow },
        actions: rule.action.parse().unwrap(),
        topic: RuleTopic::parse(&rule.topic.join("/")).unwrap(),
        max_qos: rule.max_qos,
        retain: rule.retain,
    }
}

fn not_empty(topic: &Vec<&'static str>) -> bool {
    !topic.join("/").is_empty()
}

fn rule_topic() -> impl Strategy<Value = Vec<&'static str>> {
    let level = prop_oneof![
        6 => Just("+"),
        5 => prop::sample::select(vec!["a", "a", "b", ""]),
        1 => prop::sample::select(vec!["$x", "$CONTROL", "%%"]),
        2 => prop::sample::select(vec!["%u", "dev-%u", "%{site}", "%u%{site}", "%c", "%{dollar}"]),
        1 => prop::sample::select(vec!["%{empty}", "%{absent}", "%{wild}", "%{deep}", "dev-%{absent}"]),
    ];
    (prop::collection::vec(level, 0..4), prop::bool::weighted(0.5))
        .prop_map(|(mut topic, open)| {
            topic.extend(open.then_some("#"));
            topic
        })
        .prop_filter("not empty", not_empty)
}

fn rule(deny: f64) -> impl Strategy<Value = model::Rule> {
    let action = prop::sample::select(vec!["all", "all", "read", "write", "publish", "subscribe", "receive"]);
    let max_qos = prop::option::weighted(0.2, 0..3_u8);
    let retain = prop::option::weighted(0.2, any::<bool>());
    (prop::bool::weighted(deny), action, rule_topic(), max_qos, retain)
        .prop_map(|(deny, action, topic, max_qos, retain)| model::Rule { deny, action, topic, max_qos, retain })
}

fn name() -> impl Strategy<Value = Vec<&'static str>> {
    let level = prop_oneof![
        6 => prop::sample::select(vec!["a", "a", "b", ""]),
        1 => prop::sample::select(vec!["$x", "$CONTROL", "%", "other"]),
        2 => prop::sample::select(vec!["d1", "dev-d1", "d1b", "c1"]),
    ];
    prop::collection::vec(level, 1..5).prop_filter("not empty", not_empty)
}

fn filter() -> impl Strategy<Value = Vec<&'static str>> {
    let wild = prop::collection::vec(prop::bool::weighted(0.4), 5);
    (prop::bool::weighted(0.1), name(), wild, 0..6_usize).prop_map(|(shared, name, wild, length)| {
        let mut filter = if shared { vec!["$share", "group"] } else { vec![] };
        let open = length < 4;
        let length = if open { length } else { name.len() };
        filter.extend(name.iter().zip(wild).take(length).map(|(level, wild)| if wild { "+" } else { level }));
        filter.extend(open.then_some("#"));
        filter
    })
}

fn asked() -> impl Strategy<Value = Asked> {
    let action_and_topic = prop_oneof![
        1 => name().prop_map(|topic| ("publish", topic)),
        1 => name().prop_map(|topic| ("receive", topic)),
        3 => filter().prop_filter("not empty", not_empty).prop_map(|topic| ("subscribe", topic)),
    ];
    (action_and_topic, 0..3_u8, any::<bool>()).prop_map(|((action, topic), qos, retain)| Asked {
        action,
        topic,
        qos,
        retain,
    })
}

/// Rules that together match `filter`, which ends in `#`, where all of them are kept: `a/#` is `a`, `a/+` and `a/+/+/#`.
fn pieces(filter: &[&'static str], deny: bool, keep: &[bool]) -> Vec<model::Rule> {
    let named = match filter {
        ["$share", _, named @ .., _] | [named @ .., _] => named,
        [] => &[],
    };
    let pieces: [&[&str]; 3] = [&[], &["+"], &["+", "+", "#"]];
    let kept = pieces.iter().zip(keep).filter(|(_, keep)| **keep).map(|(piece, _)| [named, *piece].concat());
    // In a rule, a percent sign is written twice.
    kept.map(|topic| topic.into_iter().map(|level| if level == "%" { "%%" } else { level }).collect())
        .filter(not_empty)
        .map(|topic| model::Rule { deny, action: "read", topic, max_qos: None, retain: None })
        .collect()
}

fn case() -> impl Strategy<Value = Case> {
    let roles = prop_oneof![Just(0.0), Just(0.15), Just(0.5)]
        .prop_flat_map(|deny| prop::collection::vec(prop::collection::vec(rule(deny), 0..6), 1..4));
    let unreadable = prop::option::weighted(0.1, any::<bool>());
    // Names that have a meaning of their own must come together in rules and question to say anything.
    let begin = prop::option::weighted(0.2, prop::sample::select(vec!["$CONTROL", "$x", "+", "%{absent}", "%u"]));
    let keep = prop::collection::vec(prop::bool::weighted(0.8), 3);
    let pieces_of = prop::option::weighted(0.3, (prop::bool::weighted(0.3), keep, any::<prop::sample::Index>()));
    (roles, asked(), any::<bool>(), unreadable, begin, pieces_of)
        .prop_filter("a share has a filter", |(_, asked, ..)| asked.topic != ["$share", "group", ""])
        .prop_map(|(mut roles, mut asked, client_id, unreadable, begin, pieces_of)| {
            if let Some((deny, keep, at)) = pieces_of.filter(|_| asked.topic.last() == Some(&"#")) {
                for rule in pieces(&asked.topic, deny, &keep) {
                    let role = at.index(roles.len());
                    roles[role].push(rule);
                    roles.rotate_left(1);
                }
            }
            if let Some(begin) = begin.filter(|_| asked.topic.first() != Some(&"$share")) {
                roles.iter_mut().flatten().for_each(|rule| rule.topic.insert(0, begin));
                let name = match begin {
                    "+" | "%{absent}" => "a",
                    "%u" => model::DEVICE,
                    name => name,
                };
                asked.topic.insert(0, name);
            }
            Case { roles, asked, client_id, unreadable }
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(2000), ..ProptestConfig::default() })]

    #[test]
    fn the_verdict_is_the_one_of_all_rules_on_all_topics(case in case()) {
        let verdict = case.judge();
        if case.unreadable == Some(true) {
            prop_assert!(!verdict.allowed);
            prop_assert!(matches!(verdict.reason, Reason::UnreadableRule | Reason::DeniedByRule));
            return Ok(());
        }
        let answer = model::answer(&case.rules(), &case.asked, case.client_id);
        prop_assert_eq!(verdict.allowed, answer.allowed, "{:?} {:?}", verdict, &answer);
        let reason = match (answer.allowed, answer.denied_by_rule) {
            (true, _) => Reason::AllowedByRule,
            (false, true) => Reason::DeniedByRule,
            (false, false) => Reason::NoRule,
        };
        prop_assert_eq!(verdict.reason, reason);
        prop_assert_eq!(verdict.rule.is_some(), reason != Reason::NoRule);
        if let Some(id) = verdict.rule {
            prop_assert!(answer.by.contains(&usize::try_from(id).unwrap()), "{:?} {:?}", verdict, &answer);
        }
    }

    #[test]
    fn the_order_of_roles_and_rules_means_nothing(case in case()) {
        let mut turned = case.clone();
        turned.roles.reverse();
        turned.roles.iter_mut().for_each(|rules| rules.reverse());
        let (verdict, turned) = (case.judge(), turned.judge());
        prop_assert_eq!(verdict.allowed, turned.allowed, "{:?} {:?}", verdict, turned);
    }

    #[test]
    fn explain_agrees_with_judge(case in case()) {
        let verdict = case.judge();
        case.ask(|roles, names, question| {
            let explanation = explain(roles.iter(), names, question);
            prop_assert_eq!(explanation.verdict, verdict);
            let deciding = explanation.deciding.map(|(_, rule)| rule.id);
            prop_assert_eq!(deciding, verdict.rule.filter(|id| *id != UNREADABLE));
            if let Some((role, rule)) = explanation.deciding {
                prop_assert_eq!(rule.effect == Effect::Allow, verdict.allowed);
                prop_assert!(roles.iter().any(|known| known.name() == role && known.rules().contains(rule)));
            }
            prop_assert!(explanation.near.len() <= 5);
            for near in &explanation.near {
                // What nearly decided would have turned the verdict, and did not match on its own.
                prop_assert_eq!(near.rule.effect == Effect::Deny, verdict.allowed);
                let alone = Role::compile(1, "alone", ClientIdBinding::Any, vec![Ok(near.rule.clone())]);
                let alone = judge([&alone].into_iter(), names, question);
                prop_assert_eq!(alone.reason, Reason::NoRule, "{:?}", near);
            }
            Ok(())
        })?;
    }
}

#[test]
fn the_cases_reach_every_kind_of_answer() {
    let mut runner = TestRunner::deterministic();
    let mut kinds = BTreeMap::new();
    for _ in 0..4000 {
        let case = case().new_tree(&mut runner).unwrap().current();
        let verdict = case.judge();
        let open = case.asked.topic.last() == Some(&"#");
        let together = verdict.reason == Reason::AllowedByRule && {
            let alone =
                |rule: &model::Rule| model::answer(std::slice::from_ref(rule), &case.asked, case.client_id).allowed;
            !case.rules().iter().any(alone)
        };
        *kinds.entry((case.asked.action, open, verdict.reason.as_str(), together)).or_insert(0) += 1;
    }
    for action in ["publish", "subscribe", "receive"] {
        for reason in [Reason::AllowedByRule, Reason::DeniedByRule, Reason::NoRule] {
            let count = kinds.get(&(action, false, reason.as_str(), false)).copied().unwrap_or_default();
            assert!(count > 30, "{action} {reason}: {kinds:#?}");
        }
    }
    for (reason, together) in [
        (Reason::AllowedByRule, false),
        (Reason::AllowedByRule, true),
        (Reason::DeniedByRule, false),
        (Reason::NoRule, false),
    ] {
        let count = kinds.get(&("subscribe", true, reason.as_str(), together)).copied().unwrap_or_default();
        assert!(count > 30, "a filter with `#`, {reason}, together {together}: {kinds:#?}");
    }
}
