//! What files say, in tables; and that no bytes make any of the readers stop.

mod acl;
mod devices;
mod dynsec;
mod hostile;
mod secrets;

use super::plan::{Plan, Weight};

/// The findings of this weight, each with its line.
fn found(plan: &Plan, weight: Weight) -> Vec<(Option<usize>, &str)> {
    let of_weight = plan.findings.iter().filter(|finding| finding.weight == weight);
    of_weight.map(|finding| (finding.line, &*finding.words)).collect()
}

/// Whether a finding of this weight and line holds this text.
#[track_caller]
fn assert_found(plan: &Plan, weight: Weight, line: Option<usize>, text: &str) {
    let found = found(plan, weight);
    assert!(found.iter().any(|(at, words)| *at == line && words.contains(text)), "{line:?} {text}: {found:#?}");
}

/// The rules of a role, as people write them.
fn rules(plan: &Plan, role: &str) -> Vec<String> {
    let role = plan.roles.iter().find(|known| known.name == role).unwrap_or_else(|| panic!("no role {role}"));
    role.rules.iter().map(|rule| format!("{} {} {}", rule.effect, rule.action, rule.topic)).collect()
}
