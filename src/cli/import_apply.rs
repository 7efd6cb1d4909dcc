//! A plan put into the database, in one transaction, and the report of it.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::Exit;
use super::entries::{entry, need_sealing};
use super::error::CliError;
use super::key;
use super::output::Output;
use super::place::Place;
use super::progress::Progress;
use crate::credential::psk::SealingKey;
use crate::import::plan::{Device, Finding, Plan, Rule, Weight};
use crate::store::bulk::{Added, BATCH, Bulk, Entry, RoleOutcome, RuleWords, Standing};

/// How a plan is put into force.
#[derive(Debug, Clone, Copy)]
pub(super) struct Manner {
    pub(super) dry_run: bool,
    pub(super) skip_bad: bool,
    pub(super) replace_roles: bool,
}

/// What was done, or would be.
#[derive(Debug, Default)]
struct Report {
    roles_added: usize,
    roles_replaced: usize,
    roles_unchanged: usize,
    /// How many devices were there already.
    devices_there: usize,
    added: Added,
    findings: Vec<Finding>,
}

pub(super) async fn run(
    source: &str,
    plan: Plan,
    manner: Manner,
    place: &Place,
    output: &mut Output,
) -> anyhow::Result<Exit> {
    let mut store = place.open().await?;
    let sealing = if need_sealing(&plan.devices) { Some(key::sealing_key(place, &mut store).await?) } else { None };
    let mut bulk = store.bulk().await?;
    let (mut report, role_conflicts) = apply(&mut bulk, plan, manner, sealing.as_ref()).await?;
    report.findings.sort_by_key(|finding| (finding.line, finding.weight));
    let bad = report.findings.iter().filter(|finding| finding.weight == Weight::Mistake).count();
    let refused = role_conflicts || (bad > 0 && !manner.skip_bad);
    if refused || manner.dry_run {
        drop(bulk);
    } else {
        bulk.commit().await?;
    }
    store.close().await?;
    report.show(source, manner.dry_run || refused, output)?;
    if role_conflicts {
        return Err(CliError::RolesDiffer.into());
    }
    if refused {
        return Err(CliError::BadEntries { count: bad }.into());
    }
    Ok(Exit::Done)
}

/// Does all of a plan in this transaction. Beside the report: whether a role is there with other rules.
async fn apply(
    bulk: &mut Bulk<'_>,
    plan: Plan,
    manner: Manner,
    sealing: Option<&SealingKey>,
) -> anyhow::Result<(Report, bool)> {
    let mut report = Report { findings: plan.findings, ..Report::default() };
    let mut conflicts = false;
    for role in &plan.roles {
        let words = |rule: &Rule| (rule.effect.to_owned(), rule.action.to_owned(), rule.topic.clone());
        let rules: BTreeSet<RuleWords> = role.rules.iter().map(words).collect();
        match bulk.role(&role.name, &rules, manner.replace_roles).await? {
            RoleOutcome::Added => report.roles_added += 1,
            RoleOutcome::Unchanged => report.roles_unchanged += 1,
            RoleOutcome::Replaced => report.roles_replaced += 1,
            RoleOutcome::Conflict => {
                conflicts = true;
                let words = format!("there is a role `{}` with other rules", role.name);
                report.findings.push(Finding { weight: Weight::Mistake, line: None, words });
            }
        }
    }
    let progress = Progress::new(plan.devices.len(), "importing");
    for devices in plan.devices.chunks(BATCH) {
        let entries: Vec<Entry> = devices.iter().map(|device| entry(device, sealing)).collect::<anyhow::Result<_>>()?;
        let standings = bulk.look(&entries).await?;
        report.findings.extend(findings(devices, &standings));
        report.devices_there += standings.iter().filter(|it| it.conflicts.is_empty() && !it.is_new()).count();
        report.added += bulk.add(&entries, &standings).await?;
        progress.step(devices.len());
    }
    drop(progress);
    for role in &plan.for_all {
        report.added.grants += usize::try_from(bulk.grant_to_all(role).await?).unwrap_or(usize::MAX);
    }
    Ok((report, conflicts))
}

/// What is there already and stands against a device, or stays.
pub(super) fn findings(devices: &[Device], standings: &[Standing]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (device, standing) in devices.iter().zip(standings) {
        let mut find = |weight, words: String| findings.push(Finding { weight, line: Some(device.line), words });
        for conflict in &standing.conflicts {
            find(Weight::Mistake, format!("device `{}`: {conflict}", device.name));
        }
        for kept in &standing.kept {
            find(Weight::Note, kept.clone());
        }
    }
    findings
}

/// The findings, one a line.
pub(super) fn show_findings(findings: &[Finding], output: &mut Output) -> anyhow::Result<()> {
    for finding in findings {
        let line = finding.line.map_or_else(String::new, |line| format!("line {line}: "));
        output.line(&format!("{}: {line}{}", finding.weight.as_str(), finding.words))?;
    }
    Ok(())
}

pub(super) fn findings_to_json(findings: &[Finding]) -> Value {
    let object =
        |finding: &Finding| json!({ "weight": finding.weight.as_str(), "line": finding.line, "words": finding.words });
    findings.iter().map(object).collect()
}

impl Report {
    fn show(&self, source: &str, nothing_done: bool, output: &mut Output) -> anyhow::Result<()> {
        let Added { devices, credentials, grants } = self.added;
        let changes = self.roles_added + self.roles_replaced + devices + credentials + grants;
        if output.is_json() {
            return output.json(&json!({
                "source": source,
                "changed": changes > 0 && !nothing_done,
                "roles": {
                    "added": self.roles_added,
                    "replaced": self.roles_replaced,
                    "unchanged": self.roles_unchanged,
                },
                "devices": { "added": devices, "there": self.devices_there },
                "credentials": { "added": credentials },
                "grants": { "added": grants },
                "findings": findings_to_json(&self.findings),
            }));
        }
        show_findings(&self.findings, output)?;
        let pairs = [
            (
                "roles",
                format!(
                    "{} added, {} replaced, {} there already",
                    self.roles_added, self.roles_replaced, self.roles_unchanged
                ),
            ),
            ("devices", format!("{devices} added, {} there already", self.devices_there)),
            ("credentials", format!("{credentials} added")),
            ("grants", format!("{grants} added")),
        ];
        output.pairs(&pairs)?;
        if nothing_done {
            output.note("this is what would be done; nothing was changed")?;
        }
        Ok(())
    }
}
