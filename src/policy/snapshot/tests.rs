use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::policy::decision::Action;
use crate::policy::device::{Credential, DeviceStatus, Limit, Limits};
use crate::policy::leaving::leaving;
use crate::policy::role::ClientIdBinding;
use crate::policy::rule::{Attributes, ClientIdPattern, Effect, Rule, RuleTopic};

pub(super) const NOW: UnixSeconds = 1_000;

pub(super) fn credential(kind: CredentialKind, identity: &str) -> Credential {
    Credential { kind, identity: identity.into(), secret: None, revoked: false, limits: Limits::default() }
}

pub(super) fn device(id: DeviceId, name: &str, credentials: Vec<Credential>) -> Device {
    Device {
        id,
        name: name.into(),
        status: DeviceStatus::Active,
        client_id: ClientIdBinding::Any,
        attributes: Attributes::default(),
        credentials: credentials.into(),
        roles: [1].into(),
        unreadable: None,
    }
}

pub(super) fn role(id: RoleId, topic: &str, client_id: Option<&str>) -> Role {
    let rule = Rule {
        id: id * 10,
        effect: Effect::Allow,
        actions: "all".parse().unwrap(),
        topic: RuleTopic::parse(topic).unwrap(),
        max_qos: None,
        retain: None,
    };
    let client_id = client_id
        .map_or(ClientIdBinding::Any, |pattern| ClientIdBinding::Pattern(ClientIdPattern::parse(pattern).unwrap()));
    Role::compile(id, &format!("role-{id}"), client_id, vec![Ok(rule)])
}

pub(super) fn snapshot(devices: Vec<Device>, roles: Vec<Role>) -> Snapshot {
    let devices = devices.into_iter().map(|device| (device.id, Some(device)));
    Snapshot::default().next(1, devices, roles.into_iter().map(|role| (role.id(), Some(role))))
}

fn reason(snapshot: &Snapshot, proof: Proof<'_>) -> Option<Reason> {
    snapshot.present(proof, NOW).err().map(|refusal| refusal.reason)
}

const CN: CredentialKind = CredentialKind::X509Cn;
const PSK: CredentialKind = CredentialKind::Psk;

#[test]
fn only_what_was_proved_identifies_a_device() {
    let all = snapshot(vec![device(1, "a", vec![credential(CN, "a-cn"), credential(PSK, "a-psk")])], vec![]);
    assert_eq!(reason(&all, Proof::Identity(CN, "a-cn")), None);
    assert_eq!(reason(&all, Proof::Identity(PSK, "a-psk")), None);
    for proof in [Proof::Identity(PSK, "a-cn"), Proof::Identity(CN, "a"), Proof::UserName("b"), Proof::UserName("")] {
        assert_eq!(reason(&all, proof), Some(Reason::UnknownIdentity), "{proof:?}");
    }
    for name in ["a", "a-cn", "a-psk"] {
        assert_eq!(reason(&all, Proof::UserName(name)), None, "{name}");
    }
}

#[test]
fn a_device_without_a_good_credential_is_nobody_under_its_name() {
    let all = snapshot(vec![device(1, "bare", vec![])], vec![]);
    assert_eq!(reason(&all, Proof::UserName("bare")), Some(Reason::UnknownIdentity));
    let revoked = Credential { revoked: true, ..credential(CN, "x") };
    let all = snapshot(vec![device(1, "x", vec![revoked.clone()])], vec![]);
    assert_eq!(reason(&all, Proof::UserName("x")), Some(Reason::CredentialRevoked));
    assert_eq!(reason(&all, Proof::Identity(CN, "x")), Some(Reason::CredentialRevoked));
    let all = snapshot(vec![device(1, "x", vec![revoked, credential(PSK, "x")])], vec![]);
    assert_eq!(reason(&all, Proof::UserName("x")), None, "its other credential is good");
    assert_eq!(reason(&all, Proof::Identity(CN, "x")), Some(Reason::CredentialRevoked));
}

#[test]
fn a_credential_is_good_from_its_first_second_to_before_its_last() {
    for (not_before, not_after, expected) in [
        (None, None, None),
        (Some(NOW), Some(NOW + 1), None),
        (Some(NOW + 1), None, Some(Reason::NotYetValid)),
        (None, Some(NOW), Some(Reason::Expired)),
    ] {
        let limits = Limit { not_before, not_after, ..Limit::default() }.into();
        let limited = Credential { limits, ..credential(CN, "x") };
        let all = snapshot(vec![device(1, "x", vec![limited])], vec![]);
        assert_eq!(reason(&all, Proof::Identity(CN, "x")), expected, "{not_before:?} {not_after:?}");
    }
}

#[test]
fn every_status_but_active_is_refused_with_its_own_reason() {
    for (status, expected) in [
        (DeviceStatus::Active, None),
        (DeviceStatus::Suspended, Some(Reason::DeviceSuspended)),
        (DeviceStatus::Revoked, Some(Reason::DeviceRevoked)),
    ] {
        let one = Device { status, ..device(1, "x", vec![credential(CN, "x")]) };
        assert_eq!(reason(&snapshot(vec![one], vec![]), Proof::Identity(CN, "x")), expected);
    }
    let unreadable = Device { unreadable: Some("why".into()), ..device(1, "x", vec![credential(CN, "x")]) };
    assert_eq!(reason(&snapshot(vec![unreadable], vec![]), Proof::UserName("x")), Some(Reason::UnreadableDevice));
}

#[test]
fn a_client_id_must_suit_the_device_and_each_of_its_roles() {
    let mut one = device(1, "x", vec![credential(CN, "x")]);
    one.client_id = ClientIdBinding::Pattern(ClientIdPattern::parse("*-a").unwrap());
    let all = snapshot(vec![one], vec![role(1, "t", Some("%u-*"))]);
    let admitted = |id: Option<&str>| all.admit(Proof::Identity(CN, "x"), id, NOW).is_ok();
    assert!(admitted(Some("x-1-a")));
    for id in [Some("x-1"), Some("y-1-a"), Some(""), None] {
        assert!(!admitted(id), "{id:?}");
    }
}

#[test]
fn a_name_that_means_two_devices_is_refused_for_both() {
    // The database forbids it; this one was damaged.
    let all =
        snapshot(vec![device(1, "a", vec![credential(CN, "b")]), device(2, "b", vec![credential(PSK, "c")])], vec![]);
    assert_eq!(reason(&all, Proof::UserName("b")), Some(Reason::AmbiguousIdentity));
    assert_eq!(reason(&all, Proof::Identity(CN, "b")), None, "what was proved is not ambiguous");
}

#[test]
fn a_claim_that_is_anothers_refuses_the_one_who_came_later() {
    let mut all = snapshot(vec![device(1, "a", vec![credential(CN, "a")])], vec![]);
    all = all.next(2, [(2, Some(device(2, "z", vec![credential(CN, "a"), credential(PSK, "z")])))], []);
    assert_eq!(reason(&all, Proof::Identity(CN, "a")), None);
    assert_eq!(reason(&all, Proof::Identity(PSK, "z")), Some(Reason::UnreadableDevice));
}

#[test]
fn an_identity_can_pass_to_another_device_in_one_commit() {
    let all = snapshot(vec![device(1, "a", vec![credential(CN, "x")]), device(2, "b", vec![])], vec![]);
    let next =
        all.next(2, [(1, Some(device(1, "a", vec![]))), (2, Some(device(2, "b", vec![credential(CN, "x")])))], []);
    assert_eq!(next.owner(CN, "x").map(|owner| owner.id), Some(2));
    assert_eq!(all.owner(CN, "x").map(|owner| owner.id), Some(1), "the former version stays as it is");
}

#[test]
fn those_leave_whose_user_name_is_good_no_more() {
    let both = || vec![credential(CN, "x"), credential(PSK, "x"), credential(PSK, "y")];
    let old = snapshot(vec![device(1, "x", both()), device(2, "other", vec![credential(CN, "other")])], vec![]);
    let left = |changed: Device| -> Vec<(String, Reason)> {
        let new = old.next(2, [(1, Some(changed))], []);
        leaving((&old, NOW), (&new, NOW), [1, 2]).map(|one| (one.user_name.into(), one.reason)).collect()
    };
    let mut credentials = both();
    assert_eq!(left(device(1, "x", credentials.clone())), []);
    credentials[2].revoked = true;
    assert_eq!(left(device(1, "x", credentials.clone())), [("y".to_owned(), Reason::CredentialRevoked)]);
    credentials[0].revoked = true;
    assert_eq!(
        left(device(1, "x", credentials)),
        [("y".to_owned(), Reason::CredentialRevoked)],
        "x is good by its key"
    );
    let names: Vec<String> =
        left(Device { status: DeviceStatus::Revoked, ..device(1, "x", both()) }).into_iter().map(|one| one.0).collect();
    assert_eq!(names, ["x", "x", "x", "y"]);
}

/// What a test does to the fleet. Numbers choose among few, so that names and identities collide and pass on.
#[derive(Debug, Clone)]
enum Change {
    Put { id: DeviceId, name: u8, status: u8, identities: Vec<(bool, u8, bool)>, roles: Vec<RoleId> },
    Remove(DeviceId),
    Role { id: RoleId, topic: u8, bound: bool },
    RemoveRole(RoleId),
}

fn change() -> impl Strategy<Value = Change> {
    let identities = prop::collection::vec((any::<bool>(), 0..6u8, any::<bool>()), 0..3);
    prop_oneof![
        4 => (1..6i64, 0..6u8, 0..3u8, identities, prop::collection::vec(1..4i64, 0..3))
            .prop_map(|(id, name, status, identities, roles)| Change::Put { id, name, status, identities, roles }),
        1 => (1..6i64).prop_map(Change::Remove),
        1 => (1..4i64, 0..3u8, any::<bool>()).prop_map(|(id, topic, bound)| Change::Role { id, topic, bound }),
        1 => (1..4i64).prop_map(Change::RemoveRole),
    ]
}

fn name(number: u8) -> String {
    format!("n{number}")
}

/// The database's own rules, in the shortest form: a name, an identity, a user name each mean one device.
fn forbidden(devices: &BTreeMap<DeviceId, Device>, one: &Device) -> bool {
    let mut keys: Vec<_> = one.credentials.iter().map(|c| (c.kind, &c.identity)).collect();
    keys.sort_by_key(|(kind, identity)| (kind.as_str(), (*identity).clone()));
    keys.windows(2).any(|pair| pair[0] == pair[1])
        || devices
            .values()
            .filter(|other| other.id != one.id)
            .any(|other| one.user_names().any(|mine| other.user_names().any(|theirs| mine == theirs)))
}

fn answers(all: &Snapshot) -> Vec<String> {
    let mut answers = Vec::new();
    for number in 0..6 {
        let name = name(number);
        for proof in [Proof::Identity(CN, &name), Proof::Identity(PSK, &name), Proof::UserName(&name)] {
            for client_id in [None, Some("n1-x"), Some("n2")] {
                let admitted = all.admit(proof, client_id, NOW);
                answers.push(match admitted {
                    Err(refusal) => format!("{:?} {:?}", refusal.reason, refusal.device.map(|device| device.id)),
                    Ok(Present { device, rights }) => {
                        let verdicts = ["t0", "t1", "t2/n1", "t2/n2"].map(|topic| {
                            let question = Question { action: Action::Publish, topic, qos: 0, retain: false };
                            all.judge(device, rights, client_id, &question)
                        });
                        format!("{} {verdicts:?}", device.id)
                    }
                });
            }
        }
    }
    answers
}

proptest! {
    /// However a version came about, it answers as one that was read afresh.
    #[test]
    fn a_version_made_of_changes_answers_as_one_read_afresh(
        commits in prop::collection::vec(prop::collection::vec(change(), 1..4), 1..30),
    ) {
        let mut devices: BTreeMap<DeviceId, Device> = BTreeMap::new();
        let mut roles: BTreeMap<RoleId, Role> = BTreeMap::new();
        let mut live = Snapshot::default();
        for (revision, commit) in (1..).zip(commits) {
            let (mut changed_devices, mut changed_roles) = (Vec::new(), Vec::new());
            for change in commit {
                match change {
                    Change::Put { id, name: number, status, identities, roles } => {
                        let credentials = identities.into_iter().map(|(psk, number, revoked)| Credential {
                            revoked, ..credential(if psk { PSK } else { CN }, &name(number))
                        });
                        let mut one = device(id, &name(number), credentials.collect());
                        one.status = [DeviceStatus::Active, DeviceStatus::Suspended, DeviceStatus::Revoked][usize::from(status)];
                        one.roles = roles.into();
                        if !forbidden(&devices, &one) {
                            devices.insert(id, one);
                            changed_devices.push(id);
                        }
                    }
                    Change::Remove(id) => {
                        devices.remove(&id);
                        changed_devices.push(id);
                    }
                    Change::Role { id, topic, bound } => {
                        let topic = ["t0", "t1", "t2/%u"][usize::from(topic)];
                        roles.insert(id, role(id, topic, bound.then_some("%u*")));
                        changed_roles.push(id);
                    }
                    Change::RemoveRole(id) => {
                        roles.remove(&id);
                        changed_roles.push(id);
                    }
                }
            }
            changed_devices.sort_unstable();
            changed_devices.dedup();
            live = live.next(
                revision,
                changed_devices.iter().map(|id| (*id, devices.get(id).cloned())),
                changed_roles.iter().map(|id| (*id, roles.get(id).cloned())),
            );
            let fresh = snapshot(devices.values().cloned().collect(), roles.values().cloned().collect());
            prop_assert_eq!(answers(&live), answers(&fresh));
            prop_assert_eq!((live.fingerprints, &live.ends), (fresh.fingerprints, &fresh.ends));
            prop_assert_eq!((live.device_count(), live.role_count()), (fresh.device_count(), fresh.role_count()));
        }
    }
}
