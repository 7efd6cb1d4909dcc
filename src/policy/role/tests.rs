use super::super::decision::Action::{self, Publish, Receive, Subscribe};
use super::super::rule::{Attributes, RuleTopic};
use super::*;

/// Rules like `allow publish a/b`, with `qos=1`, `retain` or `no-retain` behind; numbered from `first`.
fn role(first: RuleId, lines: &[&str]) -> Role {
    let rows = (first..).zip(lines).map(|(id, line)| Ok(rule(id, line))).collect();
    Role::compile(1, "role", ClientIdBinding::Any, rows)
}

fn rule(id: RuleId, line: &str) -> Rule {
    let mut words = line.split(' ');
    let mut word = || words.next().unwrap();
    let (effect, actions) = (word().parse().unwrap(), word().parse().unwrap());
    let mut rule = Rule { id, effect, actions, topic: RuleTopic::parse(word()).unwrap(), max_qos: None, retain: None };
    for condition in words {
        match condition {
            "retain" => rule.retain = Some(true),
            "no-retain" => rule.retain = Some(false),
            other => rule.max_qos = Some(other.strip_prefix("qos=").unwrap().parse().unwrap()),
        }
    }
    rule
}

fn ask(roles: &[Role], action: Action, topic: &str) -> Verdict {
    let attributes = Attributes::from_iter([("site", "s1"), ("empty", ""), ("wild", "+"), ("deep", "a/b")]);
    let names = Names { device: "d1", client_id: None, attributes: &attributes };
    judge(roles.iter(), &names, &Question { action, topic, qos: 0, retain: false })
}

#[track_caller]
fn allowed(rules: &[&str], action: Action, topic: &str) {
    let verdict = ask(&[role(1, rules)], action, topic);
    assert!(verdict.allowed, "{action} {topic}: {verdict:?}");
}

#[track_caller]
fn refused(rules: &[&str], action: Action, topic: &str) {
    let verdict = ask(&[role(1, rules)], action, topic);
    assert!(!verdict.allowed, "{action} {topic}: {verdict:?}");
}

#[test]
fn what_no_rule_allows_is_denied() {
    assert_eq!(ask(&[], Publish, "a"), Verdict::deny(Reason::NoRule));
    assert_eq!(ask(&[role(1, &["allow publish a"])], Publish, "b"), Verdict::deny(Reason::NoRule));
}

#[test]
fn the_verdict_names_the_rule() {
    let roles = [role(1, &["allow publish b", "allow publish a/+"]), role(7, &["deny publish a/secret"])];
    assert_eq!(ask(&roles, Publish, "a/x"), Verdict::allow(2));
    assert_eq!(ask(&roles, Publish, "a/secret"), Verdict::deny_by(Reason::DeniedByRule, 7));
}

#[test]
fn a_deny_wins_in_every_order_and_over_every_role() {
    let (allow, deny) = (["allow all a/#"], ["deny all a/b"]);
    for roles in [
        vec![role(1, &[allow[0], deny[0]])],
        vec![role(1, &[deny[0], allow[0]])],
        vec![role(1, &allow), role(2, &deny)],
        vec![role(2, &deny), role(1, &allow)],
    ] {
        for action in [Publish, Subscribe, Receive] {
            assert_eq!(ask(&roles, action, "a/b").reason, Reason::DeniedByRule);
            assert!(ask(&roles, action, "a/c").allowed);
        }
    }
}

#[test]
fn a_hash_also_matches_its_parent_level() {
    for action in [Publish, Subscribe, Receive] {
        allowed(&["allow all a/#"], action, "a");
        allowed(&["allow all a/#"], action, "a/b/c");
        refused(&["allow all a/b/#"], action, "a");
    }
}

#[test]
fn a_plus_does_not_admit_a_hash() {
    refused(&["allow subscribe a/+"], Subscribe, "a/#");
    allowed(&["allow subscribe a/+"], Subscribe, "a/+");
    allowed(&["allow subscribe a/+"], Subscribe, "a/b");
    refused(&["allow subscribe a/b"], Subscribe, "a/+");
    allowed(&["allow subscribe a/#"], Subscribe, "a/+/b/#");
}

#[test]
fn rules_admit_together_what_none_admits_alone() {
    allowed(&["allow subscribe a", "allow subscribe a/+/#"], Subscribe, "a/#");
    allowed(&["allow subscribe a", "allow subscribe a/+", "allow subscribe a/+/+/#"], Subscribe, "a/#");
    refused(&["allow subscribe a", "allow subscribe a/+/+/#"], Subscribe, "a/#");
    refused(&["allow subscribe a/+/#"], Subscribe, "a/#");
    refused(&["allow subscribe a", "allow subscribe a/b/#", "allow subscribe a/c/#"], Subscribe, "a/#");
    allowed(&["allow subscribe +/#"], Subscribe, "#");
    let roles = [role(1, &["allow subscribe a"]), role(2, &["allow subscribe a/+/#"])];
    assert!(ask(&roles, Subscribe, "a/#").allowed);
}

#[test]
fn a_deny_stops_the_subscription_that_it_covers_and_no_wider_one() {
    let rules = ["allow read #", "deny read a/#"];
    refused(&rules, Subscribe, "a/#");
    refused(&rules, Subscribe, "a/+/b");
    allowed(&rules, Subscribe, "#");
    allowed(&rules, Subscribe, "+/b");
    refused(&rules, Receive, "a/b");
    refused(&["allow read #", "deny read a", "deny read a/+/#"], Subscribe, "a/#");
}

#[test]
fn a_share_is_taken_off_before_the_filter_is_compared() {
    allowed(&["allow subscribe a/+"], Subscribe, "$share/group/a/+");
    refused(&["allow subscribe a/+"], Subscribe, "$share/group/a/#");
    refused(&["allow subscribe #", "deny subscribe a/#"], Subscribe, "$share/group/a/b");
    refused(&["allow subscribe #"], Subscribe, "$share/group/$SYS/#");
}

#[test]
fn what_is_no_topic_is_malformed() {
    let roles = [role(1, &["allow all #"])];
    let deep = "/".repeat(201);
    let long = "a".repeat(65_536);
    for topic in ["", "a\0", "a/+b", "#/a", &deep, &long] {
        for action in [Publish, Subscribe, Receive] {
            assert_eq!(ask(&roles, action, topic), Verdict::deny(Reason::MalformedTopic), "{action} {topic:?}");
        }
    }
    for topic in ["a/+", "#"] {
        assert_eq!(ask(&roles, Publish, topic).reason, Reason::MalformedTopic);
        assert_eq!(ask(&roles, Receive, topic).reason, Reason::MalformedTopic);
    }
    for filter in ["$share", "$share/", "$share/g", "$share/g/", "$share//a", "$share/g+/a", "$share/g/a/#/b"] {
        assert_eq!(ask(&roles, Subscribe, filter).reason, Reason::MalformedTopic, "{filter}");
    }
}

#[test]
fn a_leading_wildcard_is_blind_to_dollar_topics() {
    let wide = ["allow all #", "allow all +/#"];
    for action in [Publish, Subscribe, Receive] {
        refused(&wide, action, "$SYS/uptime");
        allowed(&["allow all $SYS/#"], action, "$SYS/uptime");
        allowed(&["allow all $SYS/uptime", "deny all #"], action, "$SYS/uptime");
        allowed(&wide, action, "a/$SYS");
    }
    refused(&wide, Subscribe, "$SYS/#");
    allowed(&["allow all $SYS/#"], Subscribe, "$SYS/#");
    refused(&["allow all $SYS/#"], Subscribe, "#");
}

#[test]
fn a_name_that_begins_with_a_dollar_sign_opens_no_dollar_topic_and_closes_them() {
    let attributes = Attributes::from_iter([("zone", "$SYS"), ("tail", "SYS")]);
    let names = Names { device: "d1", client_id: Some("$SYS"), attributes: &attributes };
    let ask = |rules: &[&str]| {
        let role = role(1, rules);
        judge([&role].into_iter(), &names, &Question { action: Receive, topic: "$SYS/uptime", qos: 0, retain: false })
    };
    for rule in ["allow all %c/#", "allow all %{zone}/uptime"] {
        assert_eq!(ask(&[rule]).reason, Reason::NoRule, "{rule}");
    }
    assert_eq!(ask(&["allow all $%{tail}/#"]).reason, Reason::AllowedByRule, "the rule itself says `$`");
    for rule in ["deny all %c/#", "deny all %{zone}/uptime"] {
        assert_eq!(ask(&["allow all $SYS/#", rule]).reason, Reason::DeniedByRule, "{rule}");
    }
}

#[test]
fn only_a_literal_rule_reaches_the_control_topics() {
    for action in [Publish, Subscribe, Receive] {
        allowed(&["allow all $CONTROL/a"], action, "$CONTROL/a");
        for rule in ["$CONTROL/#", "$CONTROL/+", "$CONTROL/%u", "$CONTROL/a/#", "%u/a"] {
            refused(&[&format!("allow all {rule}")], action, "$CONTROL/a");
            refused(&[&format!("allow all {rule}")], action, "$CONTROL/d1");
        }
        for rule in ["$CONTROL/#", "$CONTROL/+"] {
            refused(&["allow all $CONTROL/a", &format!("deny all {rule}")], action, "$CONTROL/a");
        }
        allowed(&["allow all $CONTROLLED/#"], action, "$CONTROLLED/a");
        refused(&["allow all $CONTROL/#"], action, "$CONTROL");
    }
    refused(&["allow all $CONTROL/#", "allow all $CONTROL"], Subscribe, "$CONTROL/#");
    refused(&["allow all $CONTROL/+"], Subscribe, "$CONTROL/+");
}

#[test]
fn a_placeholder_stands_for_one_whole_level() {
    for action in [Publish, Subscribe, Receive] {
        allowed(&["allow all dev/%u/x"], action, "dev/d1/x");
        refused(&["allow all dev/%u/x"], action, "dev/d2/x");
        allowed(&["allow all %{site}/dev-%u-%{site}"], action, "s1/dev-d1-s1");
        refused(&["allow all dev/%{deep}"], action, "dev/a/b");
    }
    for filter in ["dev/+/x", "dev/#", "#", "dev/+/+"] {
        refused(&["allow all dev/%u/x"], Subscribe, filter);
    }
    allowed(&["allow all dev/%u/#"], Subscribe, "dev/d1/#");
}

#[test]
fn a_value_with_a_wildcard_opens_nothing() {
    for filter in ["a/+", "a/x", "a/#"] {
        refused(&["allow all a/%{wild}"], Subscribe, filter);
    }
    refused(&["allow all a/%{wild}"], Publish, "a/x");
}

#[test]
fn a_missing_value_allows_nothing_and_denies_every_level() {
    for missing in ["%c", "%{empty}", "%{absent}", "%{wild}", "%{deep}", "x-%{absent}-%u"] {
        let (allow, deny) = (format!("allow all {missing}/a"), format!("deny all {missing}/a"));
        for topic in ["x/a", "/a", "$SYS/a"] {
            for action in [Publish, Subscribe, Receive] {
                refused(&[&allow], action, topic);
                refused(&["allow all #", "allow all $SYS/#", &deny], action, topic);
            }
        }
        allowed(&["allow all #", &deny], Publish, "x/b");
        refused(&["allow all #", &deny], Subscribe, "+/a");
        allowed(&["allow all #", &deny], Subscribe, "+/+");
    }
}

#[test]
fn an_unreadable_rule_that_may_deny_denies_all_of_every_role() {
    let unreadable = |may_deny| {
        let rows = vec![Ok(rule(1, "allow all #")), Err(UnreadableRule { id: 9, may_deny, why: "no".into() })];
        Role::compile(1, "role", ClientIdBinding::Any, rows)
    };
    assert_eq!(ask(&[unreadable(false)], Publish, "a"), Verdict::allow(1));
    assert_eq!(ask(&[unreadable(true)], Publish, "a"), Verdict::deny_by(Reason::UnreadableRule, 9));
    let roles = [role(2, &["allow all #"]), unreadable(true)];
    assert_eq!(ask(&roles, Publish, "a"), Verdict::deny_by(Reason::UnreadableRule, 9));
}

#[test]
fn conditions_narrow_what_a_rule_is_about() {
    let attributes = Attributes::default();
    let names = Names { device: "d1", client_id: None, attributes: &attributes };
    let ask = |rules: &[&str], action, qos, retain| {
        judge([role(1, rules)].iter(), &names, &Question { action, topic: "a", qos, retain }).allowed
    };
    for action in [Publish, Subscribe] {
        assert!(ask(&["allow all a qos=1"], action, 1, false));
        assert!(!ask(&["allow all a qos=1"], action, 2, false));
    }
    assert!(ask(&["allow all a qos=0"], Receive, 2, false));
    assert!(!ask(&["allow all a", "deny all a qos=0"], Publish, 2, false));
    assert!(ask(&["allow all a retain"], Publish, 0, true));
    assert!(!ask(&["allow all a retain"], Publish, 0, false));
    assert!(!ask(&["allow all a no-retain"], Publish, 0, true));
    assert!(!ask(&["allow all a", "deny all a retain"], Publish, 0, true));
    assert!(ask(&["allow all a", "deny all a retain"], Publish, 0, false));
    for action in [Subscribe, Receive] {
        assert!(ask(&["allow all a retain"], action, 0, false));
        assert!(!ask(&["allow all a", "deny all a retain"], action, 0, false));
    }
    assert!(ask(&["allow all a qos=0", "allow all a qos=2"], Publish, 2, false));
}

#[test]
fn a_rule_is_about_its_actions_only() {
    allowed(&["allow read a"], Subscribe, "a");
    allowed(&["allow read a"], Receive, "a");
    refused(&["allow read a"], Publish, "a");
    refused(&["allow write a"], Receive, "a");
    allowed(&["allow all a", "deny write a"], Receive, "a");
}

#[test]
fn a_role_is_for_the_client_ids_that_it_names() {
    let attributes = Attributes::default();
    let names = Names { device: "d1", client_id: None, attributes: &attributes };
    let admits = |binding: ClientIdBinding, client_id| binding.admits(client_id, &names);
    let bound = || ClientIdBinding::Pattern(ClientIdPattern::parse("%u-*").unwrap());
    assert!(admits(bound(), Some("d1-1")));
    assert!(!admits(bound(), Some("d2-1")));
    assert!(!admits(bound(), None));
    assert!(admits(ClientIdBinding::Any, None));
    assert!(!admits(ClientIdBinding::Unreadable, Some("d1-1")));
}

#[test]
fn the_deepest_topic_is_walked() {
    let deep = "+/".repeat(200) + "a";
    let rules = [format!("allow all {deep}"), "allow all #".to_owned()];
    let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
    for action in [Publish, Subscribe, Receive] {
        allowed(&rules, action, &("a/".repeat(200) + "a"));
    }
    allowed(&rules[..1], Subscribe, &deep);
    refused(&rules[..1], Publish, &("a/".repeat(200) + "b"));
}

#[test]
fn a_hostile_topic_costs_no_more_than_the_tree() {
    // Two ways at each of many levels: following every path of the topic on its own would take 2^16 walks.
    let mut rules = Vec::new();
    for depth in 0..16 {
        for level in ["a", "+"] {
            rules.push(format!("allow publish {}{level}/x", "a/+/".repeat(depth / 2) + ["", "+/"][depth % 2]));
        }
    }
    let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
    refused(&rules, Publish, &("a/".repeat(200) + "a"));
}
