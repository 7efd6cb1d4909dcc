//! Which devices gain or lose which rights between two policies.
//!
//! What counts is what the engine says, not how rules are written. For each device whose rules, roles or row differ,
//! the topics and client ids that any rule of either policy could tell apart are found (`topics`, `client_ids`), one of
//! each kind is asked of both, and where the answers differ there is a difference. Whether a device can prove who it is
//! is left out of account: a device counts as here if it is active and its row can be read. What it may do while it only
//! begins its life is compared by itself.

use std::collections::{BTreeMap, BTreeSet};

use super::TooMuch;
use super::client_ids::{Pieces, Shape, representatives};
use super::topics::{self, Kind, Line};
use crate::policy::decision::{Action, Question, Reason, Verdict};
use crate::policy::device::{Device, Rights, RoleId};
use crate::policy::role::{ClientIdBinding, Role};
use crate::policy::rule::{Rule, Step};
use crate::policy::snapshot::Snapshot;

/// Whether something is allowed that was not, or the other way round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Change {
    Gained,
    Lost,
}

/// A right that one of two policies gives to a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    pub change: Change,
    pub action: Action,
    /// What it is a right to, as people read it: a filter, with the placeholders of the rules.
    pub shown: String,
    /// Which levels of QoS it is about.
    pub qos: BTreeSet<u8>,
    /// About a publish: whether it is about messages that are retained, or are not.
    pub retain: BTreeSet<bool>,
    /// A question to which the answers differ.
    pub topic: String,
    /// The client id with which it was asked; `None`: any will do that one of the policies admits.
    pub client_id: Option<String>,
    /// The role that the device only begins its life with, if it is a right of that; `None`: of its own roles.
    pub begins_with: Option<String>,
    /// How each policy decides.
    pub before: Decision,
    pub after: Decision,
}

/// Why a policy decides as it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    pub reason: Reason,
    /// The role and the words of the rule that decides, if one does.
    pub rule: Option<(String, String)>,
}

/// One device under one policy.
#[derive(Clone, Copy)]
struct Side<'a> {
    policy: &'a Snapshot,
    device: Option<&'a Device>,
    rights: Rights,
}

/// The names of the devices of which something differs: only these can gain or lose rights.
#[must_use]
pub fn candidates<'a>(before: &'a Snapshot, after: &'a Snapshot) -> BTreeSet<&'a str> {
    let roles = |policy: &'a Snapshot| policy.roles().map(|role| (role.name(), &**role)).collect::<BTreeMap<_, _>>();
    let (old, new) = (roles(before), roles(after));
    let unlike = |name: &&str| match (old.get(name), new.get(name)) {
        (Some(one), Some(other)) => !same_role(one, other),
        _ => true,
    };
    let changed: BTreeSet<&str> = old.keys().chain(new.keys()).copied().filter(unlike).collect();
    // Each with whether it is one that the device only begins with.
    let of = |policy: &'a Snapshot, device: &'a Device| -> BTreeSet<(bool, &'a str)> {
        let own = policy.roles_of(device, Rights::Own).map(|role| (false, role.name()));
        own.chain(beginnings(policy, device).map(|(name, _)| (true, name))).collect()
    };
    let names = before.devices().chain(after.devices()).map(|device| &*device.name);
    names
        .filter(|name| match (before.device_named(name), after.device_named(name)) {
            (Some(one), Some(other)) => {
                let roles = of(before, one);
                !same_device(one, other)
                    || roles != of(after, other)
                    || roles.iter().any(|(_, role)| changed.contains(role))
            }
            _ => true,
        })
        .collect()
}

fn same_role(one: &Role, other: &Role) -> bool {
    // Their numbers differ from database to database.
    let rules = |role: &Role| -> BTreeSet<String> { role.rules().iter().map(ToString::to_string).collect() };
    one.client_id() == other.client_id()
        && rules(one) == rules(other)
        && one.unreadable().is_empty()
        && other.unreadable().is_empty()
}

fn same_device(one: &Device, other: &Device) -> bool {
    one.present() == other.present() && one.client_id == other.client_id && one.attributes == other.attributes
}

/// What a device gains and loses.
pub fn differences(before: &Snapshot, after: &Snapshot, name: &str) -> Result<Vec<Difference>, TooMuch> {
    let policies = [before, after];
    let own = policies.map(|policy| Side { policy, device: here(policy, name), rights: Rights::Own });
    let mut all = compare(own)?;
    let begun = own.map(|Side { policy, device, .. }| -> BTreeMap<&str, RoleId> {
        device.into_iter().flat_map(|device| beginnings(policy, device)).collect()
    });
    for role in begun.iter().flat_map(BTreeMap::keys).collect::<BTreeSet<_>>() {
        let mut begun = begun.iter().map(|roles| roles.get(role).copied());
        let sides = own.map(|side| {
            let id = begun.next().flatten();
            Side { device: side.device.filter(|_| id.is_some()), rights: Rights::Only(id), ..side }
        });
        let with = |it| Difference { begins_with: Some((*role).to_owned()), ..it };
        all.extend(compare(sides)?.into_iter().map(with));
    }
    Ok(all)
}

/// The names and numbers of the roles that a device may begin its life with.
fn beginnings<'a>(policy: &'a Snapshot, device: &'a Device) -> impl Iterator<Item = (&'a str, RoleId)> {
    device.beginnings().filter_map(|id| policy.role(id)).map(|role| (role.name(), role.id()))
}

fn compare(sides: [Side<'_>; 2]) -> Result<Vec<Difference>, TooMuch> {
    let mut found: Vec<(String, Vec<Difference>)> = Vec::new();
    for client in clients(sides)?.into_iter().filter(|client| sides.iter().any(|side| side.admits(client))) {
        let differences = with_client_id(sides, &client)?;
        found.push((client, differences));
    }
    Ok(without_repetition(found))
}

/// The device, if it may be here at all.
fn here<'a>(policy: &'a Snapshot, name: &str) -> Option<&'a Device> {
    policy.device_named(name).map(|device| &**device).filter(|device| device.present().is_ok())
}

impl<'a> Side<'a> {
    fn roles(self, rights: Rights) -> impl Iterator<Item = &'a Role> {
        self.device.into_iter().flat_map(move |device| self.policy.roles_of(device, rights))
    }

    fn rules(self) -> impl Iterator<Item = &'a Rule> {
        self.roles(self.rights).flat_map(Role::rules)
    }

    /// Those of its own roles among them, whatever its rights.
    fn patterns(self) -> impl Iterator<Item = &'a ClientIdBinding> {
        let roles = self.roles(Rights::Own).chain(self.roles(self.rights));
        self.device.map(|device| &device.client_id).into_iter().chain(roles.map(Role::client_id))
    }

    fn ask(self, client: &str, question: &Question<'_>) -> Verdict {
        let Some(device) = self.device else { return Verdict::deny(Reason::UnknownIdentity) };
        if !self.admits(client) {
            return Verdict::deny(Reason::ClientIdMismatch);
        }
        self.policy.judge(device, self.rights, Some(client), question)
    }

    fn admits(self, client: &str) -> bool {
        self.device.is_some_and(|device| {
            let names = device.names(Some(client));
            self.patterns().all(|binding| binding.admits(Some(client), &names))
        })
    }

    /// The rules that count for this client id.
    fn lines(self, client: &str) -> impl Iterator<Item = Line<'a>> {
        let device = self.device.filter(|_| self.admits(client));
        let lines = device.map(|device| {
            let names = device.names(Some(client));
            self.rules().filter_map(|rule| Line::new(rule, &names)).collect::<Vec<_>>()
        });
        lines.into_iter().flatten()
    }

    fn decision(self, verdict: Verdict) -> Decision {
        let mut rules = self.roles(self.rights).flat_map(|role| role.rules().iter().map(move |rule| (role, rule)));
        let deciding = rules.find(|(_, rule)| Some(rule.id) == verdict.rule);
        let rule = deciding.map(|(role, rule)| (role.name().to_owned(), rule.to_string()));
        Decision { reason: verdict.reason, rule }
    }
}

/// Client ids that stand for all that either policy can tell apart.
fn clients(sides: [Side<'_>; 2]) -> Result<Vec<String>, TooMuch> {
    let mut patterns: BTreeSet<Pieces> = BTreeSet::new();
    // The texts of levels, and levels with `%c` in them: each alone, and what it would be for a client id.
    let (mut texts, mut shapes) = (BTreeSet::new(), BTreeSet::new());
    for side in sides {
        let Some(device) = side.device else { continue };
        let names = device.names(None);
        for binding in side.patterns() {
            if let ClientIdBinding::Pattern(pattern) = binding {
                patterns.extend(pattern.pieces(&names));
            }
        }
        for rule in side.rules() {
            for level in levels(rule, device) {
                if level.contains(MARK) {
                    shapes.insert(Shape::new(&level, MARK));
                } else {
                    texts.insert(level);
                }
            }
        }
    }
    if shapes.is_empty() && patterns.is_empty() {
        return Ok(vec!["any".to_owned()]);
    }
    // Client ids that make such a level the same as another level.
    let mut exact: BTreeSet<String> = BTreeSet::new();
    if !shapes.is_empty() {
        texts.insert("$CONTROL".to_owned());
        for shape in &shapes {
            exact.extend(texts.iter().filter_map(|text| shape.solve(text)));
            exact.extend(shapes.iter().flat_map(|other| shape.meets(other)));
        }
    }
    let patterns: Vec<Pieces> = patterns.into_iter().collect();
    Ok(representatives(&patterns, &exact)?.into_iter().map(|(client, _)| client).collect())
}

/// Stands for the client id.
const MARK: &str = "\u{1}";

/// The texts of a rule's levels, with the mark where the client id would be.
fn levels(rule: &Rule, device: &Device) -> impl Iterator<Item = String> {
    let steps = rule.steps(&device.names(Some(MARK))).unwrap_or_default();
    steps.into_iter().filter_map(|step| match step {
        Step::Text(text) => Some(text.into_string()),
        Step::Plus | Step::Hash | Step::Any => None,
    })
}

/// All differences for one client id.
fn with_client_id(sides: [Side<'_>; 2], client: &str) -> Result<Vec<Difference>, TooMuch> {
    let [before, after] = sides;
    let all: Vec<Line<'_>> = before.lines(client).chain(after.lines(client)).collect();
    let mut differences = Vec::new();
    for kind in topics::kinds(&all)? {
        ask_all(sides, client, &kind, &mut differences);
    }
    Ok(differences)
}

/// Asks all that can be asked of one kind of topics.
fn ask_all(sides: [Side<'_>; 2], client: &str, kind: &Kind, differences: &mut Vec<Difference>) {
    let shown = if kind.and_below { format!("{}/#", kind.shown) } else { kind.shown.clone() };
    if let Some(topic) = &kind.topic {
        ask(sides, client, Action::Publish, topic, &shown, differences);
        ask(sides, client, Action::Receive, topic, &shown, differences);
    }
    let open = if kind.open_filter == "#" { "#".to_owned() } else { format!("{}/#", kind.shown) };
    let from = differences.len();
    ask(sides, client, Action::Subscribe, &kind.open_filter, &open, differences);
    if let Some(filter) = &kind.filter {
        let mut alone = Vec::new();
        ask(sides, client, Action::Subscribe, filter, &kind.shown, &mut alone);
        // Who gains `a/#` gains `a` with it.
        let told = differences.get(from..).unwrap_or_default();
        alone.retain(|one: &Difference| !told.iter().any(|other| (one.change, &one.qos) == (other.change, &other.qos)));
        differences.extend(alone);
    }
}

fn ask(
    [before, after]: [Side<'_>; 2],
    client: &str,
    action: Action,
    topic: &str,
    shown: &str,
    differences: &mut Vec<Difference>,
) {
    let (most, retains): (u8, &[bool]) = match action {
        Action::Publish => (2, &[false, true]),
        Action::Subscribe => (2, &[false]),
        Action::Receive => (0, &[false]),
    };
    let first = differences.len();
    for retain in retains {
        for qos in 0..=most {
            let question = Question { action, topic, qos, retain: *retain };
            let (old, new) = (before.ask(client, &question), after.ask(client, &question));
            let change = match (old.allowed, new.allowed) {
                (false, true) => Change::Gained,
                (true, false) => Change::Lost,
                _ => continue,
            };
            differences.push(Difference {
                change,
                action,
                shown: shown.to_owned(),
                qos: [qos].into(),
                retain: [*retain].into(),
                topic: topic.to_owned(),
                client_id: Some(client.to_owned()),
                begins_with: None,
                before: before.decision(old),
                after: after.decision(new),
            });
        }
    }
    let apart = differences.split_off(first);
    differences.extend(together(apart));
}

/// One difference for all levels of QoS of which the same holds, then one for both kinds of messages.
fn together(apart: Vec<Difference>) -> Vec<Difference> {
    let mut together: Vec<Difference> = Vec::new();
    for one in apart {
        let same = |other: &&mut Difference| {
            (other.change, &other.retain, &other.before, &other.after)
                == (one.change, &one.retain, &one.before, &one.after)
        };
        match together.iter_mut().find(same) {
            Some(other) => other.qos.extend(one.qos),
            None => together.push(one),
        }
    }
    let mut whole: Vec<Difference> = Vec::new();
    for one in together {
        let same = |other: &&mut Difference| {
            (other.change, &other.qos, &other.before, &other.after) == (one.change, &one.qos, &one.before, &one.after)
        };
        match whole.iter_mut().find(same) {
            Some(other) => other.retain.extend(one.retain),
            None => whole.push(one),
        }
    }
    whole
}

/// What is the same with every client id that may be used is told once, without one.
fn without_repetition(found: Vec<(String, Vec<Difference>)>) -> Vec<Difference> {
    let many = found.len() > 1;
    let mut all: Vec<(Difference, usize)> = Vec::new();
    let clients = found.len();
    for difference in found.into_iter().flat_map(|(_, differences)| differences) {
        let same = |(other, _): &&mut (Difference, usize)| {
            let plain = |it: &Difference| Difference { client_id: None, ..it.clone() };
            plain(other) == plain(&difference)
        };
        match all.iter_mut().find(same) {
            Some((_, times)) => *times += 1,
            None => all.push((difference, 1)),
        }
    }
    all.into_iter()
        .map(|(difference, times)| {
            let client_id = difference.client_id.clone().filter(|_| many && times < clients);
            Difference { client_id, ..difference }
        })
        .collect()
}
