//! `warden apply`.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::Exit;
use super::confirm::ConfirmArgs;
use super::error::CliError;
use super::export::present;
use super::output::Output;
use super::place::Place;
use crate::audit::plan::{Plan, Step, plan};
use crate::audit::policy_file::read;
use crate::store::policy::PolicyChange;
use crate::store::rule::NewRule;

/// Make roles and rules what a file says, and the roles of the devices that it names
///
/// Shows what is to be done, and asks. All of it happens in one transaction, or nothing. Roles and rules that the file
/// does not have are removed; devices that it does not name keep their roles. Credentials are not touched, but for those
/// that give nothing but a role that is removed, which go with it. With `--dry-run` it ends with 8 if there is a
/// difference.
#[derive(Debug, Args)]
#[command(after_help = "\
EXAMPLES:
  warden apply policy.toml --dry-run
  warden apply policy.toml --yes")]
pub(super) struct ApplyArgs {
    /// The file, as `warden export` writes it
    file: PathBuf,
    /// Only show what would be done
    #[arg(long)]
    dry_run: bool,
    /// Remove roles as well that devices still have, or begin with
    #[arg(long)]
    withdraw: bool,
    #[command(flatten)]
    confirm: ConfirmArgs,
}

pub(super) async fn run(args: &ApplyArgs, place: &Place, output: &mut Output) -> anyhow::Result<Exit> {
    let path = || args.file.clone();
    let text = std::fs::read_to_string(&args.file).map_err(|cause| CliError::Unreadable { path: path(), cause })?;
    let wanted = read(&text).map_err(|mistakes| CliError::Mistakes { path: path(), mistakes })?;
    let mut store = place.open().await?;
    let before = store.policy_rows().await?;
    let plan = plan(&present(&before), &wanted);
    if !plan.missing_devices.is_empty() {
        let names: Vec<String> = plan.missing_devices.iter().map(|name| format!("`{name}`")).collect();
        return Err(CliError::NoSuchDevices(names.join(", ")).into());
    }
    if !output.is_json() {
        for step in &plan.steps {
            output.line(&step.to_string())?;
        }
    }
    if plan.steps.is_empty() {
        store.close().await?;
        tell(&plan, false, output)?;
        return Ok(Exit::Done);
    }
    if !(args.withdraw || plan.bereft.is_empty()) {
        let roles: Vec<String> = plan.bereft.iter().map(|(role, devices)| format!("`{role}` ({devices})")).collect();
        return Err(CliError::RolesInUse { what: args.file.display().to_string(), roles: roles.join(", ") }.into());
    }
    if args.dry_run {
        store.close().await?;
        tell(&plan, false, output)?;
        return Ok(Exit::Found);
    }
    output.flush()?;
    args.confirm.confirm(format!("{} changes of the policy", plan.steps.len()))?;
    let changes: Vec<PolicyChange> = plan.steps.iter().map(change).collect();
    store.change_policy(&before, &changes).await?;
    store.close().await?;
    tell(&plan, true, output)?;
    Ok(Exit::Done)
}

fn tell(plan: &Plan, changed: bool, output: &mut Output) -> anyhow::Result<()> {
    if output.is_json() {
        return output.json(&json!({
            "changed": changed,
            "steps": plan.steps.iter().map(to_json).collect::<Value>(),
            "devices_that_lose_a_role": plan.bereft,
        }));
    }
    let count = plan.steps.len();
    output.line(&match (count, changed) {
        (0, _) => "nothing to do: the policy is what the file says".to_owned(),
        (_, true) => format!("{count} changes made"),
        (_, false) => format!("{count} changes would be made"),
    })
}

fn change(step: &Step) -> PolicyChange {
    match step.clone() {
        Step::AddRole { role, client_id } => PolicyChange::AddRole { role, client_id },
        Step::SetClientId { role, to, .. } => PolicyChange::SetClientId { role, client_id: to },
        Step::AddRule { role, rule } => PolicyChange::AddRule {
            role,
            rule: NewRule {
                effect: rule.effect.as_str().to_owned(),
                action: rule.action.to_owned(),
                topic: rule.topic,
                max_qos: rule.max_qos,
                retain: rule.retain,
            },
        },
        Step::RemoveRule { id, .. } => PolicyChange::RemoveRule { id },
        Step::Grant { device, role } => PolicyChange::Grant { device, role },
        Step::Withdraw { device, role } => PolicyChange::Withdraw { device, role },
        Step::RemoveRole { role, .. } => PolicyChange::RemoveRole { role },
    }
}

fn to_json(step: &Step) -> Value {
    match step {
        Step::AddRole { role, client_id } => json!({ "do": "add role", "role": role, "client_id": client_id }),
        Step::SetClientId { role, from, to } => json!({ "do": "set client id", "role": role, "from": from, "to": to }),
        Step::AddRule { role, rule } => json!({ "do": "add rule", "role": role, "rule": rule.to_string() }),
        Step::RemoveRule { role, id, words: rule } => {
            json!({ "do": "remove rule", "role": role, "id": id, "rule": rule })
        }
        Step::Grant { device, role } => json!({ "do": "grant", "device": device, "role": role }),
        Step::Withdraw { device, role } => json!({ "do": "withdraw", "device": device, "role": role }),
        Step::RemoveRole { role, rules } => json!({ "do": "remove role", "role": role, "rules": rules }),
    }
}
