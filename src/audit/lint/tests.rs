//! Planted faults, each found under its code; and a policy with none.

use std::collections::BTreeSet;

use super::*;
use crate::policy::device::{Credential, CredentialKind, DeviceStatus, Limit, Limits};
use crate::policy::role::{RuleRow, UnreadableRule};
use crate::policy::rule::{Attributes, ClientIdPattern, RuleTopic};

const NOW: UnixSeconds = 1_800_000_000;
const DAY: UnixSeconds = 86_400;

/// A policy as tests write it.
#[derive(Default)]
struct Fleet {
    roles: Vec<Role>,
    devices: Vec<Device>,
}

impl Fleet {
    /// What `make demo` and the tutorial have: nothing is wrong with it.
    fn sound() -> Self {
        Self::default()
            .role("sensor", Some("%u*"), &["allow publish devices/%u/#", "allow read devices/%u/cmd"])
            .device("device-001", &[1], &[(CredentialKind::X509Cn, "device-001")])
            .device("device-002", &[1], &[(CredentialKind::Psk, "device-002")])
    }

    /// Roles and devices are numbered from 1, rules from 10 times the number of their role.
    fn role(mut self, name: &str, client_id: Option<&str>, rules: &[&str]) -> Self {
        let id = i64::try_from(self.roles.len()).unwrap() + 1;
        let rules = (id * 10..).zip(rules).map(|(id, text)| Ok(rule(id, text))).collect();
        self.roles.push(Role::compile(id, name, binding(client_id), rules));
        self
    }

    fn device(mut self, name: &str, roles: &[RoleId], credentials: &[(CredentialKind, &str)]) -> Self {
        let credentials = credentials.iter().map(|(kind, identity)| credential(*kind, identity));
        self.devices.push(Device {
            id: i64::try_from(self.devices.len()).unwrap() + 1,
            name: name.into(),
            status: DeviceStatus::Active,
            client_id: ClientIdBinding::Any,
            attributes: Attributes::default(),
            credentials: credentials.collect(),
            roles: roles.into(),
            unreadable: None,
        });
        self
    }

    /// Changes the device that was added last.
    fn but(mut self, change: impl FnOnce(&mut Device)) -> Self {
        change(self.devices.last_mut().unwrap());
        self
    }

    /// As [`Self::but`], with its first credential.
    fn with(self, change: impl FnOnce(&mut Credential)) -> Self {
        self.but(|device| change(device.credentials.first_mut().unwrap()))
    }

    fn limited(self, change: impl FnOnce(&mut Limit)) -> Self {
        self.with(|credential| limit(credential, change))
    }

    fn findings(self) -> Vec<Finding> {
        let devices = self.devices.into_iter().map(|device| (device.id, Some(device)));
        let roles = self.roles.into_iter().map(|role| (role.id(), Some(role)));
        let policy = Snapshot::default().next(1, devices, roles);
        lint(&Audited { policy: &policy, unreadable_certificates: &[], now: NOW, expiring: 30 * DAY })
    }
}

fn limit(credential: &mut Credential, change: impl FnOnce(&mut Limit)) {
    let mut limit = Limit::clone(&credential.limits);
    change(&mut limit);
    credential.limits = limit.into();
}

fn binding(client_id: Option<&str>) -> ClientIdBinding {
    client_id.map_or(ClientIdBinding::Any, |text| ClientIdBinding::Pattern(ClientIdPattern::parse(text).unwrap()))
}

fn rule(id: i64, text: &str) -> Rule {
    let mut words = text.split(' ');
    let mut next = || words.next();
    let effect = next().unwrap().parse().unwrap();
    let actions = next().unwrap().parse().unwrap();
    let topic = RuleTopic::parse(next().unwrap()).unwrap();
    let max_qos = next().filter(|word| *word != "-").map(|word| word.parse().unwrap());
    Rule { id, effect, actions, topic, max_qos, retain: next().map(|word| word == "retained") }
}

fn credential(kind: CredentialKind, identity: &str) -> Credential {
    Credential { kind, identity: identity.into(), secret: None, revoked: false, limits: Limits::default() }
}

/// The sound policy with one more role, which the device `d` has.
fn with_role(client_id: Option<&str>, rules: &[&str]) -> Fleet {
    Fleet::sound().role("r", client_id, rules).device("d", &[2], &[(CredentialKind::X509Cn, "d")])
}

/// The sound policy with one more device.
fn with_device() -> Fleet {
    Fleet::sound().device("d", &[1], &[(CredentialKind::X509Cn, "d")])
}

fn codes(fleet: Fleet) -> BTreeSet<&'static str> {
    fleet.findings().iter().map(|finding| finding.kind.code).collect()
}

#[track_caller]
fn found(kind: Kind, fleet: Fleet) {
    let findings = fleet.findings();
    let codes: BTreeSet<_> = findings.iter().map(|finding| finding.kind.code).collect();
    assert_eq!(codes, [kind.code].into(), "{findings:#?}");
    let told = findings.iter().all(|finding| !finding.what.is_empty() && !finding.remedy.is_empty());
    assert!(told && findings.len() == 1, "{findings:#?}");
}

#[test]
fn nothing_is_found_where_nothing_is_wrong() {
    assert_eq!(Fleet::sound().findings(), []);
    assert_eq!(Fleet::default().findings(), []);
    assert_eq!(with_role(Some("%u"), &["allow read fleet/news"]).findings(), []);
    assert_eq!(with_device().findings(), []);
}

#[test]
fn each_fault_of_a_rule_is_found() {
    let one = |text: &str| with_role(Some("%u"), &[text]);
    found(ALLOWS_EVERYTHING, one("allow all #"));
    found(ALLOWS_EVERYTHING, one("allow publish #"));
    found(BEGINS_WITH_WILDCARD, one("allow read +/#"));
    found(ALLOWS_OTHER_DEVICES, one("allow publish devices/+/cmd"));
    found(ALLOWS_OTHER_DEVICES, one("allow read devices/#"));
    // Behind no word that says so, but where another rule has the device's name.
    found(
        ALLOWS_OTHER_DEVICES,
        with_role(Some("%u"), &["allow publish plant/%u/state"])
            .role("s", None, &["allow read plant/+/state"])
            .but(|device| device.roles = [2, 3].into()),
    );
    found(ALLOWS_CONTROL, one("allow publish $CONTROL/dynamic-security/v1"));
    found(ALLOWS_SYS, one("allow read $SYS/#"));
    found(NEVER_MATCHES, with_role(Some("%u"), &["allow read a", "allow publish $CONTROL/#"]));
    found(NEVER_MATCHES, with_role(Some("%u"), &["allow read a", "allow publish $SYS/broker/x"]));
    found(NO_ATTRIBUTE, with_role(Some("%u"), &["allow read a", "allow read sites/%{site}/news"]));
    found(DENY_WITHOUT_VALUE, with_role(Some("%u"), &["allow read sites/#", "deny read sites/%{site}/x"]));
    found(CLIENT_ID_UNUSABLE, with_role(Some("%u/*"), &["allow read a", "deny read a/%c", "allow read a/+"]));
    found(ALLOW_DENIED, with_role(Some("%u"), &["allow read c", "allow publish a/b 1", "deny all a/#"]));
    found(SUBSCRIBE_WITHOUT_RECEIVE, one("allow subscribe news"));
    found(RECEIVE_WITHOUT_SUBSCRIBE, one("allow receive news"));
    found(CONDITION_IGNORED, one("allow read news - retained"));
    found(DENY_WITHOUT_ALLOW, with_role(Some("%u"), &["allow read a", "deny publish a"]));
    found(DUPLICATE_RULE, with_role(Some("%u"), &["allow read a", "allow read a"]));
    found(COVERED_RULE, with_role(Some("%u"), &["allow read a/#", "allow read a/b"]));
    let fleet = with_role(Some("%u"), &["allow publish $x/a", "deny publish +/a", "allow publish b/a", "allow read c"]);
    assert_eq!(codes(fleet), ["deny-misses-dollar", "allow-denied"].into());
}

#[test]
fn an_attribute_that_some_have_is_noted() {
    let fleet = with_role(Some("%u"), &["allow read sites/%{site}/news"])
        .but(|device| device.attributes = Attributes::from_iter([("site", "oslo")]))
        .device("e", &[1, 2], &[(CredentialKind::X509Cn, "e")]);
    found(ATTRIBUTE_SOME_LACK, fleet);
}

#[test]
fn each_fault_of_a_role_is_found() {
    found(ANY_CLIENT_ID, with_role(None, &["allow read a"]));
    found(ANY_CLIENT_ID, with_role(Some("*"), &["allow read a"]));
    found(SHARED_PATTERN, with_role(Some("app-*"), &["allow read a"]).device("e", &[2], &[(CredentialKind::Psk, "e")]));
    found(ROLE_WITHOUT_RULES, with_role(Some("%u"), &[]));
    found(ROLE_NOBODY_HAS, Fleet::sound().role("r", None, &["allow read a"]));
    let mut fleet = with_role(None, &["allow read a"]);
    fleet.roles[1] = Role::compile(2, "r", ClientIdBinding::Unreadable, vec![Ok(rule(20, "allow read a"))]);
    found(UNREADABLE_CLIENT_ID, fleet);
    let broken = |may_deny| -> RuleRow { Err(UnreadableRule { id: 21, may_deny, why: "its `topic` is empty".into() }) };
    let mut fleet = with_role(None, &[]);
    fleet.roles[1] = Role::compile(2, "r", binding(Some("%u")), vec![Ok(rule(20, "allow read a")), broken(false)]);
    found(UNREADABLE_RULE, fleet);
}

#[test]
fn each_fault_of_a_device_is_found() {
    found(DEVICE_WITHOUT_ROLE, Fleet::sound().device("d", &[], &[(CredentialKind::Psk, "d")]));
    found(CLIENT_ID_CONTRADICTION, with_device().but(|device| device.client_id = binding(Some("app-*"))));
    found(CLIENT_ID_CONTRADICTION, with_device().but(|device| device.client_id = binding(Some("%{absent}"))));
    found(UNREADABLE_DEVICE, with_device().but(|device| device.unreadable = Some("its `status` is `x`".into())));
    found(LIKE_NAMED, with_device().device("D", &[1], &[(CredentialKind::Psk, "D")]));
    let fleet = with_role(Some("%u"), &["allow publish a/b", "deny publish a/+"]);
    assert_eq!(codes(fleet), ["allow-denied", "device-without-rights"].into());
    let fleet = with_role(Some("%u"), &["allow publish sites/%{site}"]);
    assert_eq!(codes(fleet), ["no-attribute", "device-without-rights"].into());
}

#[test]
fn each_fault_of_a_credential_is_found() {
    found(NO_CREDENTIAL, with_device().but(|device| device.credentials = [].into()));
    found(NO_GOOD_CREDENTIAL, with_device().with(|it| it.revoked = true));
    found(NO_GOOD_CREDENTIAL, with_device().limited(|it| it.not_after = Some(NOW)));
    found(CREDENTIAL_ENDS, with_device().limited(|it| it.not_after = Some(NOW + 29 * DAY)));
    assert_eq!(with_device().limited(|it| it.not_after = Some(NOW + 31 * DAY)).findings(), []);
    found(NOT_YET_VALID, with_device().limited(|it| it.not_before = Some(NOW + 1)));
    let two = |change: fn(&mut Credential)| {
        with_device().with(change).but(|device| {
            let second = credential(CredentialKind::Psk, "d");
            device.credentials = device.credentials.iter().cloned().chain([second]).collect();
        })
    };
    found(CREDENTIAL_ENDED, two(|it| limit(it, |it| it.not_after = Some(NOW - 9 * DAY))));
    assert_eq!(two(|it| it.revoked = true).findings(), []);
    let password = |hash: Option<&str>| {
        let fleet = Fleet::sound().device("d", &[1], &[(CredentialKind::Password, "d")]);
        fleet.with(|it| it.secret = hash.map(Into::into))
    };
    let (salt, output) = ("c2FsdHNhbHQ", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    let argon2id = |cost: &str| format!("$argon2id$v=19${cost}${salt}${output}");
    assert_eq!(password(Some(&argon2id("m=19456,t=2,p=1"))).findings(), []);
    found(WEAK_PASSWORD_HASH, password(Some(&argon2id("m=1024,t=2,p=1"))));
    found(UNREADABLE_PASSWORD, password(Some("$2b$")));
    found(UNREADABLE_PASSWORD, password(Some("the password itself")));
    found(UNREADABLE_PASSWORD, password(None));
    assert_eq!(codes(password(None).with(|it| it.revoked = true)), ["no-good-credential"].into());
    found(SHARED_IDENTITY, Fleet::sound().device("d", &[1], &[(CredentialKind::X509SanDns, "device-001")]));
    found(SERIAL_WITHOUT_ISSUER, Fleet::sound().device("d", &[1], &[(CredentialKind::X509Serial, "4a")]));
}

/// The sound policy with a role `begin`, and with one more device that only begins its life with that.
fn with_beginner() -> Fleet {
    Fleet::sound()
        .role("begin", Some("%u*"), &["allow publish begin/%u"])
        .device("d", &[1], &[(CredentialKind::Psk, "d-begin")])
        .limited(|it| (it.role, it.not_after) = (Some(2), Some(NOW + 31 * DAY)))
}

#[test]
fn a_role_that_devices_begin_with_is_one_that_somebody_has() {
    assert_eq!(with_beginner().findings(), []);
    // What it allows stands alone: no rule of the device's own roles denies it or makes it whole.
    let begin = |rules: &[&str]| {
        let mut fleet = with_beginner().role("r", Some("%u*"), rules).but(|device| device.roles = [1].into());
        limit(&mut fleet.devices.last_mut().unwrap().credentials[0], |it| it.role = Some(3));
        fleet.roles[0] = Role::compile(1, "sensor", binding(Some("%u*")), vec![Ok(rule(10, "allow receive news"))]);
        codes(fleet)
    };
    assert!(begin(&["allow subscribe news"]).contains("subscribe-without-receive"));
    assert!(!begin(&["allow read news"]).contains("subscribe-without-receive"));
    // Where it began once, nobody has the role any more.
    found(ROLE_NOBODY_HAS, with_beginner().with(|it| it.revoked = true).but(with_certificate));
}

fn with_certificate(device: &mut Device) {
    let certificate = credential(CredentialKind::X509Cn, &device.name);
    device.credentials = device.credentials.iter().cloned().chain([certificate]).collect();
}

#[test]
fn each_fault_of_a_beginning_is_found() {
    found(BEGINNING_WITHOUT_END, with_beginner().limited(|it| it.not_after = None));
    let over = || with_beginner().but(with_certificate);
    assert_eq!(codes(over()), ["beginning-over", "role-nobody-has"].into());
    assert_eq!(codes(over().limited(|it| it.not_after = None)), ["beginning-over", "role-nobody-has"].into());
    // It is not good any more: nothing is left when the certificate is revoked.
    let left = over().but(|device| device.credentials[1].revoked = true);
    assert_eq!(codes(left), ["no-good-credential", "role-nobody-has"].into());
    found(ANY_CLIENT_ID, {
        let mut fleet = with_beginner().but(|device| device.roles = [3].into()).role("own", None, &["allow read a"]);
        fleet.devices.last_mut().unwrap().roles = [3].into();
        fleet
    });
    found(DEVICE_WITHOUT_ROLE, with_beginner().but(|device| device.roles = [].into()));
    found(NO_GOOD_CREDENTIAL, with_beginner().limited(|it| it.not_after = Some(NOW)));
}

#[test]
fn who_is_away_for_good_is_left_alone() {
    for status in [DeviceStatus::Revoked, DeviceStatus::Suspended] {
        let fleet = Fleet::sound().device("d", &[], &[]).but(|device| device.status = status);
        assert_eq!(fleet.findings(), []);
    }
}

#[test]
fn an_unreadable_revocation_is_found() {
    let policy = Snapshot::default();
    let rows = [(7, "its `serial` is empty".into())];
    let findings = lint(&Audited { policy: &policy, unreadable_certificates: &rows, now: NOW, expiring: 0 });
    assert_eq!(
        findings.iter().map(|it| (it.kind, &*it.place)).collect::<Vec<_>>(),
        [(UNREADABLE_REVOCATION, "revoked_certificates 7")]
    );
}

#[test]
fn every_kind_has_a_code_of_its_own() {
    let codes: BTreeSet<_> = KINDS.iter().map(|kind| kind.code).collect();
    assert_eq!(codes.len(), KINDS.len());
}
