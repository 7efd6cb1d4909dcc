use proptest::prelude::*;

use super::super::Series;
use super::super::acl_file::AclFile;
use super::super::acl_judge::{Who, allows};
use super::super::acl_plan::{self, Reading};
use super::super::device_list::{self, ForEach};
use super::super::dynsec::Dynsec;
use super::super::plan::Plan;
use super::super::questions::Questions;
use super::super::{dynsec_plan, go_auth, secret_file};
use crate::policy::decision::Action;
use crate::policy::rule::RuleTopic;

/// Every rule of a plan is one, and every role that a device has is there.
fn assert_sound(plan: &Plan, roles: &[&str]) {
    for role in &plan.roles {
        assert!((1..=255).contains(&role.name.chars().count()));
        for rule in &role.rules {
            assert!(RuleTopic::parse(&rule.topic).is_ok(), "{rule:?}");
        }
    }
    for role in plan.devices.iter().flat_map(|device| &device.roles).chain(&plan.for_all) {
        assert!(plan.roles.iter().any(|known| known.name == *role) || roles.contains(&&**role), "{role}");
    }
}

/// Lines that are nearly right.
fn lines() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        Just("topic "),
        Just("user "),
        Just("pattern "),
        Just("read "),
        Just("deny "),
        Just("%u"),
        Just("%c"),
        Just("%"),
        Just("/"),
        Just("+"),
        Just("#"),
        Just("a"),
        Just("$SYS"),
        Just("$share/g/"),
        Just("\n"),
        Just(":"),
        Just(","),
        Just("name"),
        Just("\""),
        Just("$7$1$YQ==$c2hvcnQgYnV0IG5vdCB0b28gc2hvcnQ="),
        Just("\u{e9}"),
        Just("$CONTROL/"),
    ];
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..200),
        proptest::collection::vec(word, 0..60).prop_map(|words| words.concat().into_bytes()),
    ]
}

proptest! {
    #[test]
    fn no_bytes_stop_a_reader(bytes in lines()) {
        let (file, _) = AclFile::parse(&bytes);
        for series in [Series::V20, Series::V21] {
            for keep_subscriptions in [false, true] {
                assert_sound(&acl_plan::plan(&file, Reading { series, keep_subscriptions }), &[]);
            }
            let who = Who { user: Some("a"), client_id: "a/b" };
            let _ = allows(&file, series, who, Action::Publish, "a/b");
        }
        for kind in [secret_file::Kind::Passwords, secret_file::Kind::Psks] {
            assert_sound(&secret_file::plan(&bytes, kind, &[]), &[]);
        }
        assert_sound(&device_list::plan(&bytes, &ForEach { cn: true, ..ForEach::default() }), &[]);
        if let Ok(dynsec) = Dynsec::parse(&bytes) {
            assert_sound(&dynsec_plan::plan(&dynsec, Series::V21), &[]);
        }
    }

    #[test]
    fn any_names_and_topics_become_a_sound_plan(name in "\\PC{0,12}", topic in "[a%uc+#/$]{0,10}", rw in -2_i64..9) {
        let json = serde_json::json!({
            "clients": [{ "username": name, "roles": [{ "rolename": topic }] }],
            "roles": [{ "rolename": topic, "acls": [{ "acltype": "subscribePattern", "topic": topic, "allow": true }] }],
        });
        let dynsec = Dynsec::parse(json.to_string().as_bytes()).unwrap();
        let plan = dynsec_plan::plan(&dynsec, Series::V20);
        if plan.mistakes().next().is_none() {
            assert_sound(&plan, &[]);
        }
        let user = go_auth::User { name: name.clone(), password_hash: "$2b$04$abcdefghijklmnopqrstuuPp7HPfoAs8I2dCQCQ/fW7zEJv8I8C8e".to_owned(), is_admin: rw > 3 };
        let acl = go_auth::Acl { user: name.clone(), topic: topic.clone(), rw };
        assert_sound(&go_auth::plan(&[user], &[acl]), &[]);
        let questions = Questions::new([&*topic], &name, "id");
        assert!(questions.iter().count() > 5);
    }
}
