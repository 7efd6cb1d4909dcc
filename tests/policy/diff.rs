//! What gains and losses are reported, beside all questions of a small world asked of both policies.

use std::collections::BTreeSet;

use mosquitto_warden::audit::diff::{Change, candidates, differences};
use mosquitto_warden::policy::decision::{Action, Question};
use mosquitto_warden::policy::device::{Credential, CredentialKind, Device, DeviceStatus, Limit, Rights};
use mosquitto_warden::policy::role::{ClientIdBinding, Role, RuleRow, UnreadableRule};
use mosquitto_warden::policy::rule::{Attributes, ClientIdPattern, Rule, RuleTopic};
use mosquitto_warden::policy::snapshot::{Present, Snapshot};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

const NAME: &str = "d1";

/// What rules, patterns and attributes can mean, and texts that none of them can.
const NAMES: [&str; 9] = ["a", "b", "d1", "c-a", "x-c", "$a", "$CONTROL", "", "zz"];
const CLIENT_IDS: [&str; 12] = ["a", "b", "d1", "d1-", "d1a", "ba", "c", "c-a", "$a", "x/y", "+", "zz"];

fn rule() -> impl Strategy<Value = RuleRow> {
    let level = select(vec!["a", "b", "+", "%u", "%c", "x-%c", "c-%{site}", "%{site}", "$a", "$CONTROL", ""]);
    let topic = (vec(level, 0..3), any::<bool>()).prop_map(|(levels, open)| {
        let mut levels = levels;
        if open || levels.is_empty() {
            levels.push("#");
        }
        levels.join("/")
    });
    let action = select(vec!["publish", "subscribe", "receive", "read", "all"]);
    let unreadable = prop_oneof![30 => Just(false), 1 => Just(true)];
    (topic, action, prop::bool::weighted(0.3), option::of(0..2u8), option::of(any::<bool>()), unreadable)
        .prop_filter_map("no topic", |(topic, action, deny, qos, retain, unreadable)| {
            if unreadable {
                return Some(Err(UnreadableRule { id: 0, may_deny: deny, why: "x".into() }));
            }
            Some(Ok(Rule {
                id: 0,
                effect: if deny { "deny" } else { "allow" }.parse().unwrap(),
                actions: action.parse().unwrap(),
                topic: RuleTopic::parse(&topic).ok()?,
                max_qos: qos.filter(|_| !deny),
                retain,
            }))
        })
}

fn binding() -> impl Strategy<Value = ClientIdBinding> {
    let pattern = select(vec!["%u*", "*", "*a", "%u", "%{site}*", "c*"]);
    option::weighted(0.4, pattern).prop_map(|text| {
        text.map_or(ClientIdBinding::Any, |text| ClientIdBinding::Pattern(ClientIdPattern::parse(text).unwrap()))
    })
}

fn roles() -> impl Strategy<Value = Vec<Role>> {
    vec((binding(), vec(rule(), 0..4)), 0..3).prop_map(|roles| {
        let mut id = 0;
        let mut number = |mut row: RuleRow| {
            id += 1;
            match &mut row {
                Ok(rule) => rule.id = id,
                Err(rule) => rule.id = id,
            }
            row
        };
        let roles = roles.into_iter().zip(1..);
        roles
            .map(|((client_id, rules), role)| {
                Role::compile(role, &format!("r{role}"), client_id, rules.into_iter().map(&mut number).collect())
            })
            .collect()
    })
}

/// None, or a key to begin with: for one of the roles, or for one that may not be there; revoked, or over.
fn credentials() -> impl Strategy<Value = Box<[Credential]>> {
    let credential = |kind, role, revoked| Credential {
        kind,
        identity: "i".into(),
        secret: None,
        revoked,
        limits: Limit { role, ..Limit::default() }.into(),
    };
    let rarely = || prop::bool::weighted(0.15);
    (option::weighted(0.5, 1..4i64), rarely(), rarely()).prop_map(move |(role, revoked, over)| {
        let begins = role.map(|role| credential(CredentialKind::Psk, Some(role), revoked));
        let certificate = over.then(|| credential(CredentialKind::X509Cn, None, true));
        begins.into_iter().chain(certificate).collect()
    })
}

fn device() -> impl Strategy<Value = Device> {
    let status = prop_oneof![8 => Just(DeviceStatus::Active), 1 => Just(DeviceStatus::Revoked)];
    let site = option::weighted(0.7, select(vec!["a", "b", "x/y", "$a"]));
    (status, binding(), site, credentials(), prop::bool::weighted(0.9), prop::bool::weighted(0.9)).prop_map(
        |(status, client_id, site, credentials, first, second)| Device {
            id: 1,
            name: NAME.into(),
            status,
            client_id,
            attributes: site.map(|site| ("site", site)).into_iter().collect::<Attributes>(),
            credentials,
            roles: [(1, first), (2, second)].into_iter().filter(|(_, has)| *has).map(|(id, _)| id).collect(),
            unreadable: None,
        },
    )
}

/// Mostly a few changes of one policy, so that both agree in most of what they say.
fn policies() -> impl Strategy<Value = (Snapshot, Snapshot)> {
    let build = |device: Option<Device>, roles: Vec<Role>| {
        let roles = roles.into_iter().map(|role| (role.id(), Some(role)));
        Snapshot::default().next(1, device.map(|device| (1, Some(device))), roles)
    };
    let whole = || (option::weighted(0.95, device()), roles());
    (whole(), whole(), 0..4u8).prop_map(move |((device, roles), (other_device, other_roles), change)| {
        let before = build(device.clone(), roles.clone());
        let after = match change {
            0 => build(other_device, other_roles),
            1 => build(other_device, roles),
            2 => build(device, other_roles),
            _ => {
                // The same rules but for the first of each role.
                let without = |role: &Role| {
                    let rules = role.rules().iter().skip(1).cloned().map(Ok).collect();
                    Role::compile(role.id(), role.name(), role.client_id().clone(), rules)
                };
                build(device, roles.iter().map(without).collect())
            }
        };
        (before, after)
    })
}

/// With the rights of its own roles, or of the role that it begins with.
type Beginning = Option<&'static str>;
const BEGINNINGS: [Beginning; 4] = [None, Some("r1"), Some("r2"), Some("r3")];

/// Somebody who has proved to be the device, by a credential of its own or by one to begin with.
fn present(policy: &Snapshot, begins_with: Beginning) -> Option<Present<'_>> {
    let device = policy.device_named(NAME).filter(|device| device.present().is_ok())?;
    let rights = match begins_with {
        None => Rights::Own,
        Some(name) => {
            let role = policy.role_named(name)?.id();
            let begins = |it: &&Credential| it.limits.role == Some(role);
            device.good(device.credentials.iter().find(begins)?, 0).ok()?
        }
    };
    Some(Present { device, rights })
}

fn admits(policy: &Snapshot, begins_with: Beginning, client_id: &str) -> bool {
    present(policy, begins_with).is_some_and(|present| policy.bound(present, Some(client_id)).is_ok())
}

/// The verdict of the engine.
fn allowed(policy: &Snapshot, begins_with: Beginning, client_id: &str, question: &Question<'_>) -> bool {
    present(policy, begins_with).is_some_and(|present| {
        let bound = policy.bound(present, Some(client_id)).is_ok();
        bound && policy.judge(present.device, present.rights, Some(client_id), question).allowed
    })
}

fn topics() -> Vec<String> {
    let one = || NAMES.iter().map(|name| (*name).to_owned());
    let two = || one().flat_map(move |first| one().map(move |second| format!("{first}/{second}")));
    let three = two().flat_map(|first| ["a", "zz"].map(|second| format!("{first}/{second}")));
    one().chain(two()).chain(three).filter(|topic| !topic.is_empty()).collect()
}

fn filters() -> Vec<String> {
    let open = topics().into_iter().map(|topic| format!("{topic}/#")).chain(["#".to_owned()]);
    let plus = topics().into_iter().map(|topic| topic.replace("zz", "+"));
    open.chain(plus).collect::<BTreeSet<_>>().into_iter().collect()
}

type Right = (Beginning, Change, &'static str, u8, bool);

fn rights(before: &Snapshot, after: &Snapshot) -> BTreeSet<Right> {
    let mut rights = BTreeSet::new();
    let (topics, filters) = (topics(), filters());
    for (client_id, begins) in CLIENT_IDS.into_iter().flat_map(|id| BEGINNINGS.map(|begins| (id, begins))) {
        if !(admits(before, begins, client_id) || admits(after, begins, client_id)) {
            continue;
        }
        let mut ask = |action: Action, topic: &str, qos, retain| {
            let question = Question { action, topic, qos, retain };
            let change =
                match (allowed(before, begins, client_id, &question), allowed(after, begins, client_id, &question)) {
                    (false, true) => Change::Gained,
                    (true, false) => Change::Lost,
                    _ => return,
                };
            rights.insert((begins, change, action.as_str(), qos, retain));
        };
        for topic in &topics {
            ask(Action::Receive, topic, 0, false);
            for (qos, retain) in [(0, false), (0, true), (1, false), (1, true), (2, false), (2, true)] {
                ask(Action::Publish, topic, qos, retain);
            }
        }
        for filter in &filters {
            for qos in 0..=2 {
                ask(Action::Subscribe, filter, qos, false);
            }
        }
    }
    rights
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// If and only if: what is reported is asked of both engines, and what they answer differently is reported.
    #[test]
    fn a_right_is_reported_if_and_only_if_the_verdicts_differ((before, after) in policies()) {
        let reported = differences(&before, &after, NAME).unwrap();
        let mut told = BTreeSet::new();
        for difference in &reported {
            let named = |begins: &Beginning| *begins == difference.begins_with.as_deref();
            let begins = BEGINNINGS.into_iter().find(named).expect("it is a role of the policy");
            let ids: Vec<&str> = match &difference.client_id {
                Some(id) => vec![id],
                None => CLIENT_IDS.into_iter().filter(|id| admits(&before, begins, id) || admits(&after, begins, id)).collect(),
            };
            for (qos, retain) in difference.qos.iter().flat_map(|qos| difference.retain.iter().map(move |retain| (*qos, *retain))) {
                told.insert((begins, difference.change, difference.action.as_str(), qos, retain));
                for id in &ids {
                    let question = Question { action: difference.action, topic: &difference.topic, qos, retain };
                    let answers = (allowed(&before, begins, id, &question), allowed(&after, begins, id, &question));
                    let expected = match difference.change {
                        Change::Gained => (false, true),
                        Change::Lost => (true, false),
                    };
                    prop_assert_eq!(answers, expected, "{:?} with {}", difference, id);
                }
            }
        }
        let rights = rights(&before, &after);
        prop_assert!(rights.is_subset(&told), "{:?} is not reported: {:#?}", rights.difference(&told), reported);
        prop_assert!(rights.is_empty() || candidates(&before, &after).contains(NAME));
    }

    #[test]
    fn nothing_is_reported_between_a_policy_and_itself((policy, _) in policies()) {
        prop_assert_eq!(differences(&policy, &policy, NAME).unwrap(), []);
    }

    /// What is said of two rules holds for what the engine says with one of them and with both.
    #[test]
    fn a_rule_that_is_covered_changes_nothing(
        one in rule(), other in rule(), device in device(),
    ) {
        let (Ok(mut one), Ok(mut other)) = (one, other) else { return Ok(()) };
        (one.id, other.id) = (1, 2);
        let device = Device { status: DeviceStatus::Active, roles: [1].into(), ..device };
        let with = |rules: &[&Rule]| {
            let rules = rules.iter().map(|rule| Ok((*rule).clone())).collect();
            let role = Role::compile(1, "r", ClientIdBinding::Any, rules);
            Snapshot::default().next(1, [(1, Some(device.clone()))], [(1, Some(role))])
        };
        let both = with(&[&one, &other]);
        let lets_denies_be = one.effect.as_str() == "allow" && other.effect != one.effect;
        if !lets_denies_be && one.covers(&other) {
            prop_assert_eq!(differences(&with(&[&one]), &both, NAME).unwrap(), [], "{} covers {}", one, other);
        }
        if one.effect != other.effect && !one.may_meet(&other) {
            let allow = if one.effect.as_str() == "allow" { &one } else { &other };
            prop_assert_eq!(differences(&with(&[allow]), &both, NAME).unwrap(), [], "{} does not meet {}", one, other);
        }
    }
}
