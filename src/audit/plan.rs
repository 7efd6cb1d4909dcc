//! What has to be done to a policy so that it is what a file says.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::policy_file::{PolicyFile, RoleText, RuleText};

/// The policy that is there.
#[derive(Debug, Clone, Default)]
pub struct Present {
    pub roles: BTreeMap<String, PresentRole>,
    /// The roles of each device.
    pub devices: BTreeMap<String, BTreeSet<String>>,
    /// The roles that each device may only begin its life with; a device without any may be missing.
    pub beginnings: BTreeMap<String, BTreeSet<String>>,
}

/// A role that is there.
#[derive(Debug, Clone, Default)]
pub struct PresentRole {
    pub client_id: Option<String>,
    /// Each with its number and, for one that makes no sense, what is wrong with it.
    pub rules: Vec<(i64, Result<RuleText, String>)>,
}

/// One thing to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    AddRole { role: String, client_id: Option<String> },
    SetClientId { role: String, from: Option<String>, to: Option<String> },
    AddRule { role: String, rule: RuleText },
    RemoveRule { role: String, id: i64, words: String },
    Grant { device: String, role: String },
    Withdraw { device: String, role: String },
    RemoveRole { role: String, rules: usize },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let any = |pattern: &Option<String>| pattern.as_ref().map_or("any".to_owned(), |text| format!("`{text}`"));
        match self {
            Self::AddRole { role, client_id: None } => write!(f, "+ role `{role}`"),
            Self::AddRole { role, client_id } => write!(f, "+ role `{role}`, client id {}", any(client_id)),
            Self::SetClientId { role, from, to } => {
                write!(f, "~ role `{role}`: client id {}, was {}", any(to), any(from))
            }
            Self::AddRule { role, rule } => write!(f, "+ rule of `{role}`: {rule}"),
            Self::RemoveRule { role, id, words } => write!(f, "- rule {id} of `{role}`: {words}"),
            Self::Grant { device, role } => write!(f, "+ device `{device}` has role `{role}`"),
            Self::Withdraw { device, role } => write!(f, "- device `{device}` has role `{role}`"),
            Self::RemoveRole { role, rules } => write!(f, "- role `{role}` with {rules} rules"),
        }
    }
}

/// All that has to be done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    pub steps: Vec<Step>,
    /// The devices that lose roles because these are not in the file, by role.
    pub bereft: BTreeMap<String, usize>,
    /// Devices that are to have roles and are not there.
    pub missing_devices: Vec<String>,
}

/// The file that says what is there; or what of it no file can say.
pub fn file_of(present: &Present, with_devices: bool) -> Result<PolicyFile, Vec<String>> {
    let mut mistakes = Vec::new();
    let mut roles = BTreeMap::new();
    for (name, role) in &present.roles {
        let mut rules = BTreeSet::new();
        for (id, rule) in &role.rules {
            match rule {
                Ok(rule) => drop(rules.insert(rule.clone())),
                Err(why) => mistakes.push(format!("rule {id} of role `{name}`: {why}")),
            }
        }
        roles.insert(name.clone(), RoleText { client_id: role.client_id.clone(), rules });
    }
    let devices = with_devices.then(|| present.devices.clone());
    if mistakes.is_empty() { Ok(PolicyFile { roles, devices }) } else { Err(mistakes) }
}

/// What has to be done so that the policy is what the file says. Devices that it does not name keep their roles, as far
/// as these are in the file.
#[must_use]
pub fn plan(present: &Present, wanted: &PolicyFile) -> Plan {
    let mut plan = Plan::default();
    for (name, role) in &wanted.roles {
        if let Some(there) = present.roles.get(name) {
            change(name, there, role, &mut plan.steps);
            continue;
        }
        plan.steps.push(Step::AddRole { role: name.clone(), client_id: role.client_id.clone() });
        let add = |rule: &RuleText| Step::AddRule { role: name.clone(), rule: rule.clone() };
        plan.steps.extend(role.rules.iter().map(add));
    }
    let listed = wanted.devices.as_ref();
    for (device, roles) in listed.into_iter().flatten() {
        let Some(has) = present.devices.get(device) else {
            plan.missing_devices.push(device.clone());
            continue;
        };
        let step = |role: &String| (device.clone(), role.clone());
        plan.steps.extend(roles.difference(has).map(step).map(|(device, role)| Step::Grant { device, role }));
        plan.steps.extend(has.difference(roles).map(step).map(|(device, role)| Step::Withdraw { device, role }));
    }
    for (name, role) in &present.roles {
        if wanted.roles.contains_key(name) {
            continue;
        }
        plan.steps.push(Step::RemoveRole { role: name.clone(), rules: role.rules.len() });
        let named = |device: &String| listed.is_some_and(|devices| devices.contains_key(device));
        let own = present.devices.iter().filter(|(device, roles)| roles.contains(name) && !named(device));
        // Of what a device begins with, a file says nothing.
        let begun = present.beginnings.iter().filter(|(_, roles)| roles.contains(name));
        let holders: BTreeSet<&String> = own.chain(begun).map(|(device, _)| device).collect();
        if !holders.is_empty() {
            plan.bereft.insert(name.clone(), holders.len());
        }
    }
    plan
}

fn change(name: &str, there: &PresentRole, wanted: &RoleText, steps: &mut Vec<Step>) {
    if there.client_id != wanted.client_id {
        let (from, to) = (there.client_id.clone(), wanted.client_id.clone());
        steps.push(Step::SetClientId { role: name.to_owned(), from, to });
    }
    let mut kept = BTreeSet::new();
    let mut gone = Vec::new();
    for (id, rule) in &there.rules {
        let words = match rule {
            // One of two that say the same is enough.
            Ok(rule) if wanted.rules.contains(rule) && kept.insert(rule) => continue,
            Ok(rule) => rule.to_string(),
            Err(why) => format!("it makes no sense: {why}"),
        };
        gone.push(Step::RemoveRule { role: name.to_owned(), id: *id, words });
    }
    let missing = wanted.rules.iter().filter(|rule| !kept.contains(rule));
    steps.extend(missing.map(|rule| Step::AddRule { role: name.to_owned(), rule: rule.clone() }));
    steps.extend(gone);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(topic: &str) -> RuleText {
        RuleText::new("allow", "read", topic, None, None).unwrap()
    }

    fn present() -> Present {
        let role = |rules: &[(i64, &str)]| PresentRole {
            client_id: None,
            rules: rules.iter().map(|(id, topic)| (*id, Ok(rule(topic)))).collect(),
        };
        let has = |roles: &[&str]| roles.iter().map(|role| (*role).to_owned()).collect();
        Present {
            roles: [("a".into(), role(&[(1, "x"), (2, "y"), (3, "x")])), ("b".into(), role(&[]))].into(),
            devices: [("d".into(), has(&["a", "b"])), ("e".into(), has(&[]))].into(),
            beginnings: BTreeMap::new(),
        }
    }

    fn steps(edit: impl FnOnce(&mut PolicyFile)) -> (Vec<String>, Plan) {
        let mut wanted = file_of(&present(), false).unwrap();
        edit(&mut wanted);
        let plan = plan(&present(), &wanted);
        (plan.steps.iter().map(ToString::to_string).collect(), plan)
    }

    #[test]
    fn only_what_differs_is_done() {
        let (said, _) = steps(|_| ());
        assert_eq!(said, ["- rule 3 of `a`: allow read x"], "the same twice");
        let (said, _) = steps(|wanted| {
            let role = wanted.roles.get_mut("a").unwrap();
            role.client_id = Some("%u".into());
            role.rules = [rule("x"), rule("z")].into();
            wanted.roles.insert("c".into(), RoleText { client_id: None, rules: [rule("q")].into() });
        });
        assert_eq!(
            said,
            [
                "~ role `a`: client id `%u`, was any",
                "+ rule of `a`: allow read z",
                "- rule 2 of `a`: allow read y",
                "- rule 3 of `a`: allow read x",
                "+ role `c`",
                "+ rule of `c`: allow read q",
            ]
        );
    }

    #[test]
    fn who_loses_a_role_with_it_is_counted_unless_the_file_says_so() {
        let (said, plan) = steps(|wanted| drop(wanted.roles.remove("b")));
        assert_eq!(said.last().unwrap(), "- role `b` with 0 rules");
        assert_eq!(plan.bereft, [("b".to_owned(), 1)].into());
        let (said, plan) = steps(|wanted| {
            wanted.roles.remove("b");
            wanted.devices = Some([("d".to_owned(), ["a".to_owned()].into())].into());
        });
        assert!(said.contains(&"- device `d` has role `b`".to_owned()) && plan.bereft.is_empty(), "{said:?}");
    }

    #[test]
    fn who_begins_with_a_role_loses_it_whatever_the_file_says_of_its_own_roles() {
        let begun = |role: &str| BTreeMap::from([("d".to_owned(), BTreeSet::from([role.to_owned()]))]);
        let mut wanted = file_of(&present(), true).unwrap();
        wanted.roles.remove("b");
        wanted.devices = Some([("d".to_owned(), ["a".to_owned()].into())].into());
        for (role, bereft) in [("a", None), ("b", Some(&1))] {
            let present = Present { beginnings: begun(role), ..present() };
            assert_eq!(plan(&present, &wanted).bereft.get("b"), bereft, "{role}");
        }
    }

    #[test]
    fn devices_that_are_named_have_the_roles_that_are_named() {
        let (said, plan) = steps(|wanted| {
            let roles = |role: &str| BTreeSet::from([role.to_owned()]);
            wanted.devices = Some([("e".to_owned(), roles("a")), ("gone".to_owned(), roles("b"))].into());
        });
        assert_eq!(said[1..], ["+ device `e` has role `a`"]);
        assert_eq!(plan.missing_devices, ["gone"]);
    }

    #[test]
    fn what_makes_no_sense_is_not_written_and_gives_way() {
        let mut present = present();
        present.roles.get_mut("b").unwrap().rules.push((9, Err("its topic is empty".into())));
        assert_eq!(file_of(&present, true).unwrap_err(), ["rule 9 of role `b`: its topic is empty"]);
        let wanted = PolicyFile { roles: [("b".to_owned(), RoleText::default())].into(), devices: None };
        let gone = |step: &Step| matches!(step, Step::RemoveRule { id: 9, .. });
        assert!(plan(&present, &wanted).steps.iter().any(gone));
    }
}
