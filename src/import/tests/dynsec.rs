use super::super::Series;
use super::super::dynsec::Dynsec;
use super::super::dynsec_judge::allows;
use super::super::dynsec_plan::{DEFAULT, plan};
use super::super::plan::{Secret, Weight};
use super::{assert_found, found, rules};
use crate::policy::decision::Action;

const FILE: &str = r##"{
  "defaultACLAccess": { "publishClientSend": false, "publishClientReceive": true, "subscribe": false, "unsubscribe": true },
  "anonymousGroup": "guests",
  "changeIndex": 7,
  "clients": [
    { "username": "a", "textname": "Machine A", "clientid": "a-1", "password": "c2hvcnQgYnV0IG5vdCB0b28gc2hvcnQ=", "salt": "c2FsdA==",
      "iterations": 101, "roles": [ { "rolename": "sensor", "priority": 5 }, { "rolename": "gone" } ] },
    { "username": "b", "encoded_password": "$7$101$bG9uZ3NhbHRzYWx0$c2hvcnQgYnV0IG5vdCB0b28gc2hvcnQ=", "disabled": true, "roles": [ { "rolename": "boss" } ] },
    { "username": "c", "roles": [] },
    { "username": "d/e", "roles": [] },
    { "username": "f", "password": "x", "roles": [] }
  ],
  "groups": [
    { "groupname": "g", "roles": [ { "rolename": "boss" } ], "clients": [ { "username": "a" }, { "username": "nobody" } ] },
    { "groupname": "guests", "roles": [ { "rolename": "boss" } ], "clients": [] }
  ],
  "roles": [
    { "rolename": "sensor", "allowwildcardsubs": false, "acls": [
      { "acltype": "publishClientSend", "topic": "a/#", "priority": 1, "allow": true },
      { "acltype": "publishClientSend", "topic": "a/no", "priority": 0, "allow": false },
      { "acltype": "publishClientSend", "topic": "own/%u", "allow": true },
      { "acltype": "subscribeLiteral", "topic": "lit/+", "allow": true },
      { "acltype": "subscribePattern", "topic": "pat/%c/#", "allow": true },
      { "acltype": "subscribePattern", "topic": "$share/g/x", "allow": true },
      { "acltype": "unsubscribePattern", "topic": "#", "allow": false },
      { "acltype": "publishClientReceive", "topic": "quiet", "allow": false },
      { "acltype": "publish", "topic": "x", "allow": true }
    ] },
    { "rolename": "boss", "acls": [
      { "acltype": "publishClientSend", "topic": "a/no", "allow": true },
      { "acltype": "publishClientSend", "topic": "$CONTROL/#", "allow": true }
    ] }
  ]
}"##;

#[test]
fn clients_become_devices_and_roles_stay_roles() {
    let plan = plan(&Dynsec::parse(FILE.as_bytes()).unwrap(), Series::V21);
    let [a, b, c] = &plan.devices[..] else { panic!("{:?}", plan.devices) };
    assert_eq!(a.roles, ["boss", "sensor", DEFAULT]);
    assert_eq!((a.client_id.as_deref(), &*a.attributes["textname"]), (Some("a-1"), "Machine A"));
    assert!(
        matches!(&a.credentials[0].secret, Secret::Password(hash) if hash.as_str() == "$7$101$c2FsdA==$c2hvcnQgYnV0IG5vdCB0b28gc2hvcnQ=")
    );
    assert_eq!((b.suspended.is_some(), a.suspended.is_some()), (true, false));
    assert_eq!((&*c.name, c.credentials.len()), ("c", 0));
    assert_eq!(
        rules(&plan, "sensor"),
        [
            "allow publish a/#",
            "allow publish own/%u",
            "allow subscribe lit/+",
            "allow subscribe pat/%c/#",
            "deny publish a/no",
            "deny receive quiet"
        ]
    );
    assert_eq!(rules(&plan, DEFAULT), ["allow receive #", "allow receive $SYS/#"]);
    for (weight, words) in [
        (Weight::Mistake, "client `d/e`"),
        (Weight::Mistake, "client `f`: `password`, `salt` and `iterations`"),
        (Weight::Mistake, "publish `x`: the type is not known"),
        (Weight::Narrower, "group `guests` is for clients without user name"),
        (Weight::Narrower, "`$share/g/x`"),
        (Weight::Narrower, "deny publishClientSend `a/no` of role `sensor` now wins over allow `a/#` of role `sensor`"),
        (Weight::Narrower, "topics under `$CONTROL`"),
        (Weight::Narrower, "receive is allowed by default"),
        (Weight::Wider, "a shared subscription is judged by its topic"),
        (Weight::Wider, "`lit/+`: subscriptions that are inside"),
        (Weight::Wider, "unsubscribePattern `#`: here everybody may unsubscribe"),
        (Weight::Wider, "does not let its clients subscribe with wildcards"),
        (Weight::Note, "`changeIndex`"),
        (Weight::Note, "the role `gone`, which is not there"),
        (Weight::Note, "the client `nobody`"),
        (Weight::Note, "client `c` has no password"),
    ] {
        assert_found(&plan, weight, None, words);
    }
    assert_eq!(found(&plan, Weight::Mistake).len(), 3);
}

#[test]
fn the_evaluator_goes_by_priority_and_not_by_effect() {
    let file = Dynsec::parse(FILE.as_bytes()).unwrap();
    for (series, user, action, topic, expected) in [
        (Series::V21, "a", Action::Publish, "a/no", true),
        (Series::V21, "a", Action::Publish, "b", false),
        (Series::V21, "b", Action::Publish, "a/x", false),
        (Series::V21, "b", Action::Publish, "a/no", true),
        (Series::V21, "a", Action::Publish, "own/a", true),
        (Series::V20, "a", Action::Publish, "own/a", false),
        (Series::V20, "a", Action::Publish, "own/%u", true),
        (Series::V21, "a", Action::Receive, "quiet", false),
        (Series::V21, "a", Action::Receive, "anything", true),
        (Series::V21, "a", Action::Receive, "$CONTROL/x", false),
        (Series::V21, "a", Action::Subscribe, "lit/+", false),
        (Series::V20, "a", Action::Subscribe, "lit/+", true),
        (Series::V20, "a", Action::Subscribe, "lit/x", false),
        (Series::V21, "a", Action::Subscribe, "pat/id/x", true),
        (Series::V21, "a", Action::Subscribe, "pat/other/x", false),
        (Series::V21, "nobody", Action::Receive, "x", false),
    ] {
        assert_eq!(allows(&file, series, user, "id", action, topic), expected, "{series:?} {user} {action} {topic}");
    }
}
