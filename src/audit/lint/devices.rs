//! What is found in devices and in the roles that they have.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    ANY_CLIENT_ID, CLIENT_ID_CONTRADICTION, DEVICE_WITHOUT_RIGHTS, DEVICE_WITHOUT_ROLE, Fleet, LIKE_NAMED,
    ROLE_NOBODY_HAS, ROLE_WITHOUT_RULES, SHARED_PATTERN, UNREADABLE_CLIENT_ID, UNREADABLE_DEVICE, binds, some,
};
use crate::audit::client_ids::representatives;
use crate::audit::finding::{Finding, Kind};
use crate::audit::topics::{self, Line};
use crate::policy::decision::{Action, Question};
use crate::policy::device::{Device, DeviceStatus, Rights};
use crate::policy::role::{ClientIdBinding, Role, judge};
use crate::policy::rule::Effect;

pub(super) fn look_at_role(fleet: &Fleet<'_>, role: &Role, findings: &mut Vec<Finding>) {
    let name = role.name();
    let mut tell = |kind: Kind, what: String, remedy: String| {
        findings.push(Finding { kind, place: format!("role {name}"), what, remedy });
    };
    let holders = fleet.holders(role);
    match role.client_id() {
        ClientIdBinding::Unreadable => {
            let remedy = "remove the role, and add it again with a pattern that is one".to_owned();
            tell(UNREADABLE_CLIENT_ID, "its client id pattern is none, so that it admits nobody".to_owned(), remedy);
        }
        ClientIdBinding::Pattern(pattern) if binds(role.client_id()) && holders.len() > 1 => {
            let own: Vec<&Device> =
                holders.iter().copied().filter(|device| !is_bound_to_itself(fleet, device)).collect();
            if own.len() > 1 {
                let what = format!("{} share the client ids of the pattern `{pattern}`", some(&own));
                let remedy = "put `%u` or an attribute of each device into the pattern".to_owned();
                tell(SHARED_PATTERN, what, remedy);
            }
        }
        _ => {}
    }
    if holders.is_empty() {
        let remedy = format!("`warden role remove {name}`, or `warden role grant {name} DEVICE`");
        tell(ROLE_NOBODY_HAS, "no device has it".to_owned(), remedy);
    } else if role.rules().is_empty() && role.unreadable().is_empty() {
        let what = format!("it has no rules; {} have nothing from it", some(holders));
        tell(ROLE_WITHOUT_RULES, what, format!("`warden rule add {name} …`, or `warden role remove {name}`"));
    }
    let free: Vec<&Device> =
        holders.iter().copied().filter(|device| !(is_bound(fleet, device) || binds(role.client_id()))).collect();
    if !free.is_empty() {
        let what =
            format!("nothing binds {} to client ids, so that one can take over the session of another", some(&free));
        let remedy = "a pattern on the role, such as `%u`, or `warden device set DEVICE --client-id '%u'`".to_owned();
        tell(ANY_CLIENT_ID, what, remedy);
    }
}

fn bindings<'f>(fleet: &'f Fleet<'_>, device: &'f Device) -> impl Iterator<Item = &'f ClientIdBinding> {
    std::iter::once(&device.client_id).chain(fleet.policy.roles_of(device, Rights::Own).map(Role::client_id))
}

fn is_bound(fleet: &Fleet<'_>, device: &Device) -> bool {
    bindings(fleet, device).any(binds)
}

/// Whether one of the patterns is the device's own or depends on it.
fn is_bound_to_itself(fleet: &Fleet<'_>, device: &Device) -> bool {
    let own = |binding: &ClientIdBinding| match binding {
        ClientIdBinding::Pattern(pattern) => pattern.names_the_device() || pattern.as_str().contains("%{"),
        ClientIdBinding::Any | ClientIdBinding::Unreadable => false,
    };
    binds(&device.client_id) || bindings(fleet, device).any(own)
}

pub(super) fn look(fleet: &Fleet<'_>, findings: &mut Vec<Finding>) {
    let mut by_case: BTreeMap<String, Vec<&Device>> = BTreeMap::new();
    for device in &fleet.devices {
        by_case.entry(device.name.to_lowercase()).or_default().push(device);
        let mut tell = |kind: Kind, what: &str, remedy: String| {
            let place = format!("device {}", device.name.trim_start_matches('\0'));
            findings.push(Finding { kind, place, what: what.to_owned(), remedy });
        };
        if let Some(why) = &device.unreadable {
            let remedy =
                format!("mend its row, number {}, and those of its credentials; until then it is refused", device.id);
            tell(UNREADABLE_DEVICE, why, remedy);
            continue;
        }
        // Who is suspended or revoked keeps its roles for the day it comes back; nothing of it is in use.
        if device.status != DeviceStatus::Active {
            continue;
        }
        if device.roles.is_empty() {
            let remedy = format!("`warden role grant ROLE {}`, or `warden device remove {0}`", device.name);
            let what = match device.beginnings().next() {
                Some(_) => "it has no role for the time when it has begun",
                None => "it may connect and do nothing: it has no role",
            };
            tell(DEVICE_WITHOUT_ROLE, what, remedy);
            continue;
        }
        match lack(fleet, device) {
            Some(Lack::ClientId(patterns)) => {
                let what = format!("no client id fits {patterns}");
                let remedy = "change the pattern of the device or of its role".to_owned();
                tell(CLIENT_ID_CONTRADICTION, &what, remedy);
            }
            Some(Lack::Rights) => {
                let remedy = format!("`warden explain {} publish TOPIC` says which rules nearly match", device.name);
                tell(DEVICE_WITHOUT_RIGHTS, "all rules of its roles together allow it nothing", remedy);
            }
            None => {}
        }
    }
    for alike in by_case.values().filter(|alike| alike.len() > 1) {
        let Some(first) = alike.first() else { continue };
        findings.push(Finding {
            kind: LIKE_NAMED,
            place: format!("device {}", first.name),
            what: format!("the names of {} differ in case only", some(alike)),
            remedy: "rename one with `warden device set DEVICE --name NAME`".to_owned(),
        });
    }
}

enum Lack {
    /// Not one client id is admitted; the patterns.
    ClientId(String),
    /// Nothing is allowed.
    Rights,
}

/// What keeps a device from everything. `None`: nothing does, or it has roles without any rules, which is told of them.
fn lack(fleet: &Fleet<'_>, device: &Device) -> Option<Lack> {
    let names = device.names(None);
    let patterns: Vec<_> = bindings(fleet, device)
        .filter_map(|binding| match binding {
            ClientIdBinding::Pattern(pattern) => Some(pattern),
            ClientIdBinding::Any | ClientIdBinding::Unreadable => None,
        })
        .collect();
    let shown = || patterns.iter().map(|pattern| format!("`{pattern}`")).collect::<Vec<_>>().join(" and ");
    // A pattern without a value fits nothing.
    let Some(pieces) = patterns.iter().map(|pattern| pattern.pieces(&names)).collect::<Option<Vec<_>>>() else {
        return Some(Lack::ClientId(shown()));
    };
    // One pattern that can be filled always fits something.
    let clients = if pieces.is_empty() {
        vec!["any".to_owned()]
    } else {
        // Patterns with more to tell apart than that do not contradict each other by mistake.
        let representatives = representatives(&pieces, &BTreeSet::new()).ok()?;
        representatives.into_iter().filter(|(_, fits)| fits.iter().all(|fits| *fits)).map(|(id, _)| id).collect()
    };
    if clients.is_empty() {
        return Some(Lack::ClientId(shown()));
    }
    let rules = || fleet.policy.roles_of(device, Rights::Own).flat_map(Role::rules);
    rules().next()?;
    // Nearly everybody may do something that its first rule says, so little is asked.
    let may = |client: &String| allows_something(fleet, device, client);
    if clients.iter().any(may) { None } else { Some(Lack::Rights) }
}

fn allows_something(fleet: &Fleet<'_>, device: &Device, client: &str) -> bool {
    let names = device.names(Some(client));
    let roles = || fleet.policy.roles_of(device, Rights::Own);
    let allowed = |action, topic: &str| {
        [(0, false), (0, true)].iter().any(|(qos, retain)| {
            judge(roles(), &names, &Question { action, topic, qos: *qos, retain: *retain }).allowed
        })
    };
    let kinds_of = |lines: &[Line<'_>]| {
        // Too much to look through: then something will be among it.
        topics::kinds(lines).map_or(true, |kinds| {
            kinds.iter().any(|kind| {
                let topic = kind.topic.as_deref();
                topic.is_some_and(|topic| allowed(Action::Publish, topic) || allowed(Action::Receive, topic))
                    || kind.filter.as_deref().is_some_and(|filter| allowed(Action::Subscribe, filter))
                    || allowed(Action::Subscribe, &kind.open_filter)
            })
        })
    };
    // One allow rule with nothing beside it is nearly always enough, and cheap.
    let allows = || roles().flat_map(Role::rules).filter(|rule| rule.effect == Effect::Allow);
    let alone = |rule| Line::new(rule, &names).is_some_and(|line| kinds_of(&[line]));
    allows().any(alone)
        || kinds_of(&roles().flat_map(Role::rules).filter_map(|rule| Line::new(rule, &names)).collect::<Vec<_>>())
}
