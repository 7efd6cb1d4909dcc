//! A policy that is applied from a file is the policy that was exported: on every database, for every device and topic.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use mosquitto_warden::audit::diff::differences;
use mosquitto_warden::audit::policy_file::{PolicyFile, RoleText, RuleText, read};
use mosquitto_warden::policy::decision::{Action, Question};
use mosquitto_warden::policy::device::Rights;
use mosquitto_warden::policy::snapshot::Present;
use mosquitto_warden::policy::snapshot::Snapshot;
use mosquitto_warden::store::StoreError;
use mosquitto_warden::store::device::NewDevice;
use mosquitto_warden::store::policy::PolicyChange;
use proptest::collection::{btree_map, btree_set};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::{Fresh, on_every_database};

const DEVICES: [&str; 2] = ["d1", "d2"];

fn rule() -> impl Strategy<Value = RuleText> {
    let topic = select(vec!["#", "a", "a/+", "a/%u", "a/%u/#", "%c", "+/b", "$SYS/a", "é/\"'\\"]);
    let action = select(vec!["publish", "write", "subscribe", "receive", "read", "all"]);
    let rule = (topic, action, prop::bool::weighted(0.3), option::of(0..3i64), option::of(any::<bool>()));
    rule.prop_map(|(topic, action, deny, qos, retain)| {
        let (effect, qos) = if deny { ("deny", None) } else { ("allow", qos) };
        RuleText::new(effect, action, topic, qos, retain).unwrap()
    })
}

fn policy() -> impl Strategy<Value = PolicyFile> {
    let client_id = option::of(select(vec!["%u*", "%u", "*-a"]));
    let role = (client_id, btree_set(rule(), 0..5))
        .prop_map(|(client_id, rules)| RoleText { client_id: client_id.map(str::to_owned), rules });
    let roles = btree_map(select(vec!["one", "two", "ünï\"'", "four"]).prop_map(str::to_owned), role, 0..4);
    (roles, any::<u8>()).prop_map(|(roles, has)| {
        let bit = |index: usize| has >> index & 1 == 1;
        let of = |device: usize| -> BTreeSet<String> {
            roles
                .keys()
                .enumerate()
                .filter(|(index, _)| bit(4 * device + index))
                .map(|(_, name)| name.clone())
                .collect()
        };
        let devices: BTreeMap<String, _> =
            DEVICES.iter().enumerate().map(|(index, name)| ((*name).to_owned(), of(index))).collect();
        PolicyFile { roles, devices: Some(devices) }
    })
}

fn warden(fresh: &Fresh, args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_warden"))
        .args(args)
        .env_clear()
        .env("WARDEN_DATABASE", fresh.address())
        .current_dir(fresh.directory.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Everything that may be done in a small world.
fn verdicts(policy: &Snapshot) -> Vec<bool> {
    let mut verdicts = Vec::new();
    for name in DEVICES {
        let device = policy.device_named(name).unwrap();
        for client_id in ["d1", "d2-a", "a"] {
            let present = Present { device, rights: Rights::Own };
            let bound = policy.bound(present, Some(client_id)).is_ok();
            for action in [Action::Publish, Action::Subscribe, Action::Receive] {
                for topic in ["a", "a/d1", "a/d1/b", "a/x", "x/b", "$SYS/a", "é/\"'\\", "d2-a"] {
                    for (qos, retain) in [(0, false), (1, true), (2, false)] {
                        let question = Question { action, topic, qos, retain };
                        verdicts.push(bound && policy.judge(device, Rights::Own, Some(client_id), &question).allowed);
                    }
                }
            }
        }
    }
    verdicts
}

#[test]
fn what_is_applied_is_what_was_exported_on_every_database() {
    on_every_database(async |mut fresh| {
        // One becomes what the other was exported as.
        let mut other = Fresh::new(fresh.kind).await;
        for name in DEVICES {
            for store in [&mut fresh.store, &mut other.store] {
                store.add_device(&NewDevice { name: name.to_owned(), ..NewDevice::default() }, false).await.unwrap();
            }
        }
        let mut runner = TestRunner::deterministic();
        let (mut distinct, directory) = (BTreeSet::new(), fresh.directory.path().to_owned());
        for _ in 0..12 {
            let wanted = policy().new_tree(&mut runner).unwrap().current();
            std::fs::write(directory.join("policy.toml"), wanted.to_string()).unwrap();
            warden(&fresh, &["apply", "policy.toml", "--yes", "--withdraw"]);
            let exported = warden(&fresh, &["export", "--devices"]);
            assert_eq!(read(&exported).unwrap(), wanted);
            std::fs::write(other.directory.path().join("exported.toml"), &exported).unwrap();
            warden(&other, &["apply", "exported.toml", "--yes", "--withdraw"]);
            assert_eq!(
                warden(&other, &["apply", "exported.toml", "--dry-run"]),
                "nothing to do: the policy is what the file says\n"
            );
            let (one, _) = fresh.store.policy().await.unwrap();
            let (two, _) = other.store.policy().await.unwrap();
            assert_eq!(verdicts(&one), verdicts(&two), "{exported}");
            for name in DEVICES {
                assert_eq!(differences(&one, &two, name).unwrap(), [], "{exported}");
            }
            distinct.insert(verdicts(&one));
        }
        assert!(distinct.len() > 3, "the policies are too much alike");
    });
}

#[test]
fn a_change_is_made_whole_or_not_at_all_and_only_of_the_policy_that_was_seen() {
    on_every_database(async |mut fresh| {
        let before = fresh.store.policy_rows().await.unwrap();
        let add = |role: &str| PolicyChange::AddRole { role: role.to_owned(), client_id: None };
        let bad = [add("one"), PolicyChange::RemoveRule { id: 7 }];
        assert!(fresh.store.change_policy(&before, &bad).await.is_err());
        assert_eq!(fresh.store.policy_rows().await.unwrap(), before);
        fresh.store.change_policy(&before, &[add("one")]).await.unwrap();
        let late = fresh.store.change_policy(&before, &[add("two")]).await;
        assert!(matches!(late, Err(StoreError::Conflict(_))), "{late:?}");
        assert_eq!(fresh.store.policy_rows().await.unwrap().roles, [("one".to_owned(), None)]);
    });
}
