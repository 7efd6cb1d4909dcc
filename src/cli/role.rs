//! `warden role`.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::Exit;
use super::confirm::ConfirmArgs;
use super::output::{Output, or_dash};
use super::place::Place;
use super::rule;
use super::wait::WaitArgs;
use super::words::client_id_pattern;
use crate::store::role::{RoleRecord, RoleSummary};

/// Add, list, show and remove roles; grant them to devices and withdraw them
#[derive(Debug, Subcommand)]
pub(super) enum RoleCommand {
    Add(AddArgs),
    List(ListArgs),
    Show(ShowArgs),
    Remove(RemoveArgs),
    Grant(GrantArgs),
    Withdraw(WithdrawArgs),
}

/// Add a role
#[derive(Debug, Args)]
#[command(after_help = "\
EXAMPLES:
  warden role add sensor
  warden role add gateway --client-id '%u-*'")]
pub(super) struct AddArgs {
    /// The role's name
    role: String,
    /// Which client ids devices with this role may use; `%u` is the device's name, `*` any characters
    #[arg(long, value_name = "PATTERN", value_parser = client_id_pattern)]
    client_id: Option<String>,
    /// Keep a role of this name that is there already
    #[arg(long)]
    if_missing: bool,
}

/// List roles
#[derive(Debug, Args)]
#[command(after_help = "\
EXAMPLES:
  warden role list")]
pub(super) struct ListArgs {}

/// Show a role and its rules
#[derive(Debug, Args)]
#[command(after_help = "\
EXAMPLES:
  warden role show sensor
  warden role show sensor --json")]
pub(super) struct ShowArgs {
    /// The role's name
    role: String,
}

/// Remove a role with its rules, and take it off every device
#[derive(Debug, Args)]
#[command(after_help = "\
EXAMPLES:
  warden role remove sensor
  warden role remove sensor --yes")]
pub(super) struct RemoveArgs {
    /// The role's name
    role: String,
    #[command(flatten)]
    confirm: ConfirmArgs,
    #[command(flatten)]
    wait: WaitArgs,
}

/// Give a device a role
#[derive(Debug, Args)]
#[command(after_help = "\
EXAMPLES:
  warden role grant sensor device-001")]
pub(super) struct GrantArgs {
    /// The role's name
    role: String,
    /// The device's name
    device: String,
    #[command(flatten)]
    wait: WaitArgs,
}

/// Take a role off a device
#[derive(Debug, Args)]
#[command(after_help = "\
EXAMPLES:
  warden role withdraw sensor device-001")]
pub(super) struct WithdrawArgs {
    /// The role's name
    role: String,
    /// The device's name
    device: String,
    #[command(flatten)]
    wait: WaitArgs,
}

pub(super) async fn run(command: RoleCommand, place: &Place, output: &mut Output) -> anyhow::Result<Exit> {
    match command {
        RoleCommand::Add(args) => {
            let mut store = place.open().await?;
            let (record, added) = store.add_role(&args.role, args.client_id.as_deref(), args.if_missing).await?;
            store.close().await?;
            if output.is_json() {
                output.json(&rule::with_changed(to_json(&record), added))?;
            } else {
                let what = if added { "added" } else { "is there already" };
                output.line(&format!("role `{}` {what}", record.role.name))?;
            }
        }
        RoleCommand::List(_) => {
            let roles = place.read(async |store| store.roles().await).await?;
            if output.is_json() {
                output.json(&roles.iter().map(summary).collect())?;
            } else {
                let rows = roles.iter().map(|role| {
                    let counts = [role.rules.to_string(), role.devices.to_string()];
                    [role.name.clone(), or_dash(role.client_id.as_deref())].into_iter().chain(counts).collect()
                });
                output.table(&["ROLE", "CLIENT ID", "RULES", "DEVICES"], rows.collect())?;
            }
        }
        RoleCommand::Show(args) => {
            let record = place.read(async |store| store.role(&args.role).await).await?;
            if output.is_json() {
                output.json(&to_json(&record))?;
            } else {
                output.pairs(&[
                    ("role", record.role.name.clone()),
                    ("client id", or_dash(record.role.client_id.as_deref())),
                    ("devices", record.role.devices.to_string()),
                ])?;
                output.line("")?;
                rule::show(&record.rules, output)?;
            }
        }
        RoleCommand::Remove(args) => {
            let mut store = place.open().await?;
            let role = store.role(&args.role).await?.role;
            let with = match role.credentials {
                0 => String::new(),
                credentials => format!(" with {credentials} credentials that give nothing else"),
            };
            let devices = role.devices;
            args.confirm.confirm(format!("removing role `{}`{with}, which {devices} devices have,", args.role))?;
            store.remove_role(&args.role).await?;
            store.close().await?;
            let object = json!({ "role": args.role, "changed": true });
            return args.wait.finish(place, output, object, &format!("role `{}` removed", args.role)).await;
        }
        RoleCommand::Grant(GrantArgs { role, device, wait }) => {
            let changed = place.write(async |store| store.grant(&device, &role).await).await?;
            let what = if changed { "has" } else { "has already" };
            let (object, line) = granted(&role, &device, changed, what);
            return wait.finish(place, output, object, &line).await;
        }
        RoleCommand::Withdraw(WithdrawArgs { role, device, wait }) => {
            let changed = place.write(async |store| store.withdraw(&device, &role).await).await?;
            let what = if changed { "no longer has" } else { "does not have" };
            let (object, line) = granted(&role, &device, changed, what);
            return wait.finish(place, output, object, &line).await;
        }
    }
    Ok(Exit::Done)
}

/// What has become of a role of a device, for programs and for people.
fn granted(role: &str, device: &str, changed: bool, what: &str) -> (Value, String) {
    let object = json!({ "device": device, "role": role, "changed": changed });
    (object, format!("device `{device}` {what} role `{role}`"))
}

fn to_json(record: &RoleRecord) -> Value {
    let mut object = summary(&record.role);
    if let Some(object) = object.as_object_mut() {
        object.insert("rules".to_owned(), record.rules.iter().map(rule::to_json).collect());
    }
    object
}

fn summary(role: &RoleSummary) -> Value {
    json!({ "name": role.name, "client_id": role.client_id, "rule_count": role.rules, "device_count": role.devices })
}
