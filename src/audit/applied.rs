//! The policy that a file would make of another one.

use std::collections::BTreeMap;

use super::policy_file::PolicyFile;
use crate::policy::device::{Credential, Device, Limit, Rights};
use crate::policy::role::{ClientIdBinding, Role};
use crate::policy::rule::ClientIdPattern;
use crate::policy::snapshot::Snapshot;

/// The policy that there would be if the file were applied: its roles, for the devices of another policy.
#[must_use]
pub fn applied(file: &PolicyFile, to: &Snapshot) -> Snapshot {
    let numbers: BTreeMap<&str, i64> = file.roles.keys().map(String::as_str).zip(1..).collect();
    let mut rule_numbers = 1..;
    let roles: Vec<Role> = file
        .roles
        .iter()
        .zip(1..)
        .map(|((name, role), id)| {
            let client_id = role.client_id.as_deref().map_or(ClientIdBinding::Any, |text| {
                ClientIdPattern::parse(text).map_or(ClientIdBinding::Unreadable, ClientIdBinding::Pattern)
            });
            // They were read as rules before, so that all of them are.
            let rules = role.rules.iter().zip(&mut rule_numbers).filter_map(|(rule, id)| rule.rule(id).ok().map(Ok));
            Role::compile(id, name, client_id, rules.collect())
        })
        .collect();
    let devices = to.devices().map(|device| {
        let named = file.devices.as_ref().and_then(|devices| devices.get(&*device.name));
        let number = |name: &str| numbers.get(name).copied();
        let roles = match named {
            Some(names) => names.iter().filter_map(|name| number(name)).collect(),
            None => to.roles_of(device, Rights::Own).filter_map(|role| number(role.name())).collect(),
        };
        // Who begins with a role that is not in the file begins no more.
        let renumbered = |it: &Credential| {
            let Some(old) = it.limits.role else { return Some(it.clone()) };
            let role = to.role(old).and_then(|role| number(role.name()))?;
            let limits = Limit { role: Some(role), ..Limit::clone(&it.limits) }.into();
            Some(Credential { limits, ..it.clone() })
        };
        let credentials = device.credentials.iter().filter_map(renumbered).collect();
        (device.id, Some(Device { credentials, roles, ..(**device).clone() }))
    });
    Snapshot::default().next(0, devices, roles.into_iter().map(|role| (role.id(), Some(role))))
}
