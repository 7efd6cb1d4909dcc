use super::super::Series;
use super::super::acl_file::{Access, AclFile};
use super::super::acl_judge::{Who, allows};
use super::super::acl_plan::{PATTERNS, Reading, SUBSCRIPTIONS, plan};
use super::super::plan::{Plan, Weight};
use super::{assert_found, found, rules};
use crate::policy::decision::Action;

/// The example that Mosquitto comes with.
const EXAMPLE: &str = "\
# This affects access control for clients with no username.
topic read $SYS/#

# This only affects clients with username \"roger\".
user roger
topic foo/bar

# This affects all clients.
pattern write $SYS/broker/connection/%c/state
";

fn read(text: &str) -> AclFile {
    let (file, mistakes) = AclFile::parse(text.as_bytes());
    assert_eq!(mistakes, []);
    file
}

fn planned(text: &str) -> Plan {
    plan(&read(text), Reading::default())
}

#[test]
fn mosquittos_own_example_becomes_two_roles() {
    let plan = planned(EXAMPLE);
    assert_eq!(rules(&plan, "acl-roger"), ["allow all foo/bar"]);
    assert_eq!(rules(&plan, PATTERNS), ["allow publish $SYS/broker/connection/%c/state"]);
    assert_eq!(plan.for_all, [PATTERNS]);
    assert_eq!(
        plan.devices.iter().map(|it| (&*it.name, &*it.roles)).collect::<Vec<_>>(),
        [("roger", &["acl-roger".to_owned()][..])]
    );
    assert_found(&plan, Weight::Narrower, Some(2), "clients without user name");
    assert_found(&plan, Weight::Narrower, None, "Mosquitto accepts every subscription");
}

#[test]
fn a_line_is_read_as_the_broker_reads_it() {
    for (line, access, topic) in [
        ("topic a/b", Access::ReadWrite, "a/b"),
        ("topic read a/b", Access::Read, "a/b"),
        ("topic write a/b", Access::Write, "a/b"),
        ("topic readwrite a b/c d", Access::ReadWrite, "a b/c d"),
        ("topic deny a/b \t\r", Access::Deny, "a/b"),
        ("  topic   read    a/b", Access::Read, "a/b"),
        // One word alone is the topic, whatever it is.
        ("topic read", Access::ReadWrite, "read"),
        ("topic deny", Access::ReadWrite, "deny"),
    ] {
        let file = read(line);
        assert_eq!(
            file.anonymous.iter().map(|it| (it.access, &*it.topic)).collect::<Vec<_>>(),
            [(access, topic)],
            "{line}"
        );
    }
}

#[test]
fn every_line_that_makes_no_sense_is_named() {
    let text = b"topic\nuser\nuser  \ntopics a\ntopic reed a\ntopic a/#/b\ntopic a+\n\xff\ntopic a\0\n # x\ntopic\ta\ntopic good\n";
    let (file, mistakes) = AclFile::parse(text);
    assert_eq!(mistakes.iter().filter_map(|it| it.line).collect::<Vec<_>>(), (1..=11).collect::<Vec<_>>());
    assert!(mistakes.iter().all(|it| it.weight == Weight::Mistake));
    assert_eq!(file.anonymous.len(), 1);
}

#[test]
fn equal_sets_share_a_role_and_a_user_may_come_twice() {
    let plan = planned("user a\ntopic read x\nuser b\ntopic write y\nuser c\ntopic read x\nuser b\ntopic read x\n");
    assert_eq!(plan.roles.iter().map(|it| &*it.name).collect::<Vec<_>>(), ["acl-a", "acl-b"]);
    assert_eq!(rules(&plan, "acl-b"), ["allow publish y", "allow read x"]);
    assert_eq!(plan.devices.iter().map(|it| it.roles.concat()).collect::<Vec<_>>(), ["acl-a", "acl-b", "acl-a"]);
}

#[test]
fn percent_signs_mean_in_rules_what_they_meant_in_the_file() {
    let text = "user a\ntopic read own/%u/50%\npattern read %c/x-%u/%u/%%c\n";
    let rules_of = |series| {
        let plan = plan(&read(text), Reading { series, ..Reading::default() });
        (rules(&plan, "acl-a"), rules(&plan, PATTERNS))
    };
    let literal = vec!["allow read own/%%u/50%%".to_owned()];
    assert_eq!(rules_of(Series::V21), (literal.clone(), vec!["allow read %c/x-%%u/%u/%%%%c".to_owned()]));
    assert_eq!(rules_of(Series::V20), (literal, vec!["allow read %c/x-%u/%u/%%%c".to_owned()]));
    let plan = planned(text);
    assert_found(&plan, Weight::Note, Some(2), "taken literally");
    assert_found(&plan, Weight::Note, Some(3), "read as by 2.1");
    let old = super::super::acl_plan::plan(&read(text), Reading { series: Series::V20, ..Reading::default() });
    assert_found(&old, Weight::Narrower, None, "a client id with a `/`");
}

#[test]
fn what_cannot_be_said_the_same_way_is_reported() {
    let plan = planned(
        "user a\ntopic readwrite a/#\ntopic $CONTROL/#\ntopic read $share/g/a\nuser b/c\ntopic x\nuser quiet\n\
         pattern deny a/%c/x\npattern read %u/x\n",
    );
    assert_found(&plan, Weight::Narrower, Some(8), "now wins over what user `a` is granted: `a/#` (line 2)");
    assert_found(&plan, Weight::Narrower, Some(3), "$CONTROL");
    assert_found(&plan, Weight::Note, Some(4), "matches no message");
    assert_found(&plan, Weight::Mistake, Some(5), "a device name cannot hold");
    assert_found(&plan, Weight::Note, Some(7), "no topics of its own");
    assert_found(
        &plan,
        Weight::Narrower,
        Some(9),
        "do not allow topics that begin with `$`".replace("do not", "does not").as_str(),
    );
    assert_found(&plan, Weight::Wider, None, "client id");
    assert_eq!(plan.devices.iter().map(|it| &*it.name).collect::<Vec<_>>(), ["a", "quiet"]);
    assert!(found(&planned("user a\ntopic x\n"), Weight::Wider).is_empty());
}

#[test]
fn subscriptions_can_stay_as_free_as_they_were() {
    let text = "user a\ntopic read a\ntopic readwrite b\ntopic deny c\n";
    let plan = plan(&read(text), Reading { keep_subscriptions: true, ..Reading::default() });
    let expected = ["allow publish b", "allow receive a", "allow receive b", "deny publish c", "deny receive c"];
    assert_eq!(rules(&plan, "acl-a"), expected);
    assert_eq!(rules(&plan, SUBSCRIPTIONS), ["allow subscribe #", "allow subscribe $SYS/#"]);
    assert_eq!(plan.for_all, [SUBSCRIPTIONS]);
}

#[test]
fn the_evaluator_answers_as_the_manual_says() {
    let file = read(
        "topic read open/#\nuser a\ntopic read a/#\ntopic deny a/secret\ntopic write $SYS/x\ntopic beaten/x\n\
         pattern readwrite own/%u/+/%c\npattern deny beaten/#\npattern write x-%u\n",
    );
    let a = Who { user: Some("a"), client_id: "c" };
    let nobody = Who { user: None, client_id: "c" };
    for (who, action, topic, expected) in [
        (a, Action::Receive, "a/b", true),
        (a, Action::Receive, "a", true),
        (a, Action::Publish, "a/b", false),
        (a, Action::Receive, "a/secret", false),
        (a, Action::Receive, "open/x", false),
        (nobody, Action::Receive, "open/x", true),
        (nobody, Action::Publish, "open/x", false),
        (a, Action::Publish, "$SYS/x", false),
        (a, Action::Publish, "beaten/x", true),
        (a, Action::Publish, "beaten/y", false),
        (a, Action::Publish, "own/a/1/c", true),
        (a, Action::Publish, "own/b/1/c", false),
        (a, Action::Publish, "own/a/1/d", false),
        (nobody, Action::Publish, "own/a/1/c", false),
        (a, Action::Subscribe, "anything/#", true),
        (Who { client_id: "c+", ..a }, Action::Publish, "own/a/1/c+", false),
        (Who { client_id: "c+", ..a }, Action::Receive, "a/b", true),
    ] {
        assert_eq!(allows(&file, Series::V21, who, action, topic), expected, "{who:?} {action} {topic}");
    }
    assert!(allows(&file, Series::V20, a, Action::Publish, "x-a"));
    assert!(!allows(&file, Series::V20, a, Action::Publish, "x-%u"));
    assert!(!allows(&file, Series::V21, a, Action::Publish, "x-a"));
    assert!(allows(&file, Series::V21, a, Action::Publish, "x-%u"));
}
