//! What is wrong with a policy, or looks as if it were not meant.
//!
//! One file for what is found in rules, in roles and their devices together, and in credentials. Each finding stands by
//! itself: whoever mends it need not know of the others.

mod credentials;
mod devices;
mod rules;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use super::finding::{Finding, Kind, Severity};
use crate::policy::device::{Device, RoleId, UnixSeconds};
use crate::policy::role::{ClientIdBinding, Role};
use crate::policy::rule::{Effect, Rule};
use crate::policy::snapshot::Snapshot;

/// What is looked at.
#[derive(Debug, Clone, Copy)]
pub struct Audited<'a> {
    pub policy: &'a Snapshot,
    /// Rows of revoked certificates that name none: their number, and why.
    pub unreadable_certificates: &'a [(i64, Box<str>)],
    pub now: UnixSeconds,
    /// Credentials that end within this many seconds are told.
    pub expiring: UnixSeconds,
}

macro_rules! kinds {
    ($($name:ident = $severity:ident $code:literal: $meaning:literal;)*) => {
        $(pub(super) const $name: Kind = Kind { code: $code, severity: Severity::$severity, meaning: $meaning };)*
        /// Every kind of finding.
        pub const KINDS: &[Kind] = &[$($name),*];
    };
}

kinds! {
    UNREADABLE_DEVICE = Error "unreadable-device": "the row of a device or of its credential makes no sense; it is refused";
    UNREADABLE_RULE = Error "unreadable-rule": "a rule makes no sense; if it may be a deny, its role denies everything";
    UNREADABLE_CLIENT_ID = Error "unreadable-client-id": "the client id pattern of a role makes no sense; it is for nobody";
    UNREADABLE_REVOCATION = Error "unreadable-revocation": "a revoked certificate is not named so that it can be found; it is not refused";
    ALLOWS_EVERYTHING = Error "allows-everything": "an allow rule is for every topic, `#`";
    ALLOWS_CONTROL = Error "allows-control": "an allow rule lets devices command the broker, `$CONTROL`";
    DENY_WITHOUT_VALUE = Error "deny-without-value": "a deny rule needs an attribute that devices lack, and denies them any text in its place";
    CLIENT_ID_CONTRADICTION = Error "client-id-contradiction": "no client id fits all patterns of a device and its roles; it cannot connect";
    NO_GOOD_CREDENTIAL = Error "no-good-credential": "all credentials of an active device are revoked or have ended";
    UNREADABLE_PASSWORD = Error "unreadable-password": "what is stored of a password is no hash that can be verified; it is refused";
    BEGINS_WITH_WILDCARD = Warning "begins-with-wildcard": "an allow rule begins with `+`";
    ALLOWS_OTHER_DEVICES = Warning "allows-other-devices": "an allow rule has a wildcard where a device's name would stand";
    ANY_CLIENT_ID = Warning "any-client-id": "devices may use any client id, another device's too";
    SHARED_PATTERN = Warning "shared-client-id": "a client id pattern does not depend on the device, so that devices share client ids";
    NO_ATTRIBUTE = Warning "no-attribute": "an allow rule needs an attribute that none of its devices has";
    NEVER_MATCHES = Warning "never-matches": "an allow rule is about topics that the broker or the engine never grants in that way";
    CLIENT_ID_UNUSABLE = Warning "client-id-unusable": "a rule has `%c`, and the role's client ids cannot stand in a topic level";
    ALLOW_DENIED = Warning "allow-denied": "a deny rule leaves nothing of an allow rule";
    DENY_MISSES_DOLLAR = Warning "deny-misses-dollar": "a deny rule begins with a wildcard and does not deny `$` topics that are allowed";
    SUBSCRIBE_WITHOUT_RECEIVE = Warning "subscribe-without-receive": "what is subscribed to by an allow rule can never be received";
    ROLE_WITHOUT_RULES = Warning "role-without-rules": "devices have a role that has no rules";
    DEVICE_WITHOUT_ROLE = Warning "device-without-role": "an active device has no role";
    DEVICE_WITHOUT_RIGHTS = Warning "device-without-rights": "the rules of an active device allow it nothing at all";
    NO_CREDENTIAL = Warning "no-credential": "an active device has no credential";
    CREDENTIAL_ENDED = Warning "credential-ended": "a credential of an active device has ended";
    CREDENTIAL_ENDS = Warning "credential-ends": "a credential of an active device ends soon";
    SHARED_IDENTITY = Warning "shared-identity": "a credential has the name or the identity of another device";
    BEGINNING_OVER = Warning "beginning-over": "a credential that a device began with is still active, and the device has a certificate";
    SERIAL_WITHOUT_ISSUER = Warning "serial-without-issuer": "a serial number is unique for one issuer only, and the credential names none";
    WEAK_PASSWORD_HASH = Warning "weak-password-hash": "whoever steals the hash of a password guesses it faster than if it were new";
    ATTRIBUTE_SOME_LACK = Note "attribute-some-lack": "an allow rule needs an attribute that some of its devices lack";
    ALLOWS_SYS = Note "allows-sys": "an allow rule is for the broker's own figures, `$SYS`";
    RECEIVE_WITHOUT_SUBSCRIBE = Note "receive-without-subscribe": "what an allow rule lets devices receive they can never subscribe to";
    CONDITION_IGNORED = Note "condition-ignored": "a rule has a condition that its action is never asked for";
    DENY_WITHOUT_ALLOW = Note "deny-without-allow": "a deny rule takes away what nothing allows";
    DUPLICATE_RULE = Note "duplicate-rule": "a role has a rule twice";
    COVERED_RULE = Note "covered-rule": "a rule adds nothing to another one of its role";
    ROLE_NOBODY_HAS = Note "role-nobody-has": "no device has a role";
    BEGINNING_WITHOUT_END = Note "beginning-without-end": "a credential that a device only begins with has no end of its own";
    LIKE_NAMED = Note "like-named": "names of devices differ in case only";
    NOT_YET_VALID = Note "not-yet-valid": "a credential of an active device is not valid yet";
}

/// All that is found, in the order of names.
#[must_use]
pub fn lint(audited: &Audited<'_>) -> Vec<Finding> {
    let fleet = Fleet::new(audited.policy);
    let mut findings = Vec::new();
    for role in &fleet.roles {
        rules::look(&fleet, role, &mut findings);
        devices::look_at_role(&fleet, role, &mut findings);
    }
    devices::look(&fleet, &mut findings);
    credentials::look(audited, &fleet, &mut findings);
    for (number, why) in audited.unreadable_certificates {
        findings.push(Finding {
            kind: UNREADABLE_REVOCATION,
            place: format!("revoked_certificates {number}"),
            what: format!("it names no certificate: {why}"),
            remedy: "revoke it anew with `warden certificate revoke`, and delete the row".to_owned(),
        });
    }
    findings
}

/// The policy, ordered for looking through it.
struct Fleet<'a> {
    policy: &'a Snapshot,
    /// By name.
    devices: Vec<&'a Device>,
    /// By name.
    roles: Vec<&'a Role>,
    /// Who has each role, or begins with it, by name.
    holders: BTreeMap<RoleId, Vec<&'a Device>>,
    /// The sets of roles that devices have, and each role that one begins with, by itself.
    companies: BTreeSet<Vec<RoleId>>,
    /// What stands before a level with a device's name or client id, in any allow rule.
    before_names: BTreeSet<String>,
}

impl<'a> Fleet<'a> {
    fn new(policy: &'a Snapshot) -> Self {
        let mut devices: Vec<&Device> = policy.devices().map(|device| &**device).collect();
        devices.sort_by(|a, b| a.name.cmp(&b.name));
        let mut roles: Vec<&Role> = policy.roles().map(|role| &**role).collect();
        roles.sort_by(|a, b| a.name().cmp(b.name()));
        let mut holders: BTreeMap<RoleId, Vec<&Device>> = BTreeMap::new();
        let mut companies = BTreeSet::new();
        for device in &devices {
            let begun: BTreeSet<RoleId> = device.beginnings().collect();
            companies.extend(begun.iter().map(|role| vec![*role]));
            for role in begun.union(&device.roles.iter().copied().collect()) {
                holders.entry(*role).or_default().push(device);
            }
            let mut company = device.roles.to_vec();
            company.sort_unstable();
            companies.insert(company);
        }
        let before_names = roles.iter().flat_map(|role| role.rules()).flat_map(before_names).collect();
        Self { policy, devices, roles, holders, companies, before_names }
    }

    /// Who has this role, or begins with it.
    fn holders(&self, role: &Role) -> &[&'a Device] {
        self.holders.get(&role.id()).map_or(&[], Vec::as_slice)
    }

    /// The rules beside which the rules of this role stand: those of each set of roles that somebody has, this one
    /// among them; its own where nobody has it.
    fn beside(&self, role: &'a Role) -> Vec<Vec<(&'a Role, &'a Rule)>> {
        let rules = |ids: &Vec<RoleId>| {
            let roles = ids.iter().filter_map(|id| self.policy.role(*id)).map(|role| &**role);
            roles.flat_map(|role| role.rules().iter().map(move |rule| (role, rule))).collect()
        };
        let sets: Vec<Vec<_>> = self.companies.iter().filter(|ids| ids.contains(&role.id())).map(rules).collect();
        if sets.is_empty() { vec![role.rules().iter().map(|rule| (role, rule)).collect()] } else { sets }
    }
}

/// What stands before each level of an allow rule that names the device or its client.
fn before_names(rule: &Rule) -> Vec<String> {
    if rule.effect == Effect::Deny {
        return Vec::new();
    }
    let levels: Vec<&str> = rule.topic.as_str().split('/').collect();
    let names = |level: &str| level.contains("%u") || level.contains("%c");
    let places = levels.iter().enumerate().filter(|(_, level)| names(level)).map(|(at, _)| at);
    places.filter_map(|at| levels.get(..at)).map(|before| before.join("/")).collect()
}

/// Whether a pattern says something of which client ids may be used.
fn binds(binding: &ClientIdBinding) -> bool {
    match binding {
        ClientIdBinding::Any => false,
        ClientIdBinding::Pattern(pattern) => pattern.as_str().chars().any(|char| char != '*'),
        ClientIdBinding::Unreadable => true,
    }
}

/// A rule as it is written on the command line.
fn words(rule: &Rule) -> String {
    format!("`{rule}`")
}

/// `d1`, `d1 and d2`, `d1 and 17 others`.
fn some(devices: &[&Device]) -> String {
    match devices {
        [] => "nobody".to_owned(),
        [one] => format!("`{}`", one.name),
        [one, two] => format!("`{}` and `{}`", one.name, two.name),
        [one, rest @ ..] => format!("`{}` and {} others", one.name, rest.len()),
    }
}
