//! `warden export`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::Exit;
use super::error::CliError;
use super::output::Output;
use super::place::Place;
use crate::audit::plan::{Present, PresentRole, file_of};
use crate::audit::policy_file::RuleText;
use crate::store::policy::PolicyRows;

/// Write the roles and their rules as a file that `warden apply` reads
///
/// Its order is always the same, so that it can be kept under version control. Credentials are never part of it, and no
/// secret is. What was there at FILE is replaced.
#[derive(Debug, Args)]
#[command(after_help = "\
EXAMPLES:
  warden export
  warden export policy.toml --devices")]
pub(super) struct ExportArgs {
    /// Where to write it [default: standard output]
    file: Option<PathBuf>,
    /// Say as well which roles each device has
    #[arg(long)]
    devices: bool,
}

pub(super) async fn run(args: &ExportArgs, place: &Place, output: &mut Output) -> anyhow::Result<Exit> {
    let rows = place.read(async |store| store.policy_rows().await).await?;
    let file = file_of(&present(&rows), args.devices).map_err(CliError::NotAFile)?;
    let text = file.to_string();
    let Some(path) = &args.file else {
        if output.is_json() {
            output.json(&json!({ "roles": file.roles.len(), "policy": text }))?;
        } else {
            output.raw(text.as_bytes())?;
        }
        return Ok(Exit::Done);
    };
    replace(path, &text).map_err(|cause| CliError::Unwritable { path: path.clone(), cause })?;
    let rules: usize = file.roles.values().map(|role| role.rules.len()).sum();
    if output.is_json() {
        output.json(&json!({ "file": path, "roles": file.roles.len(), "rules": rules }))?;
    } else {
        output.line(&format!("{} roles with {rules} rules written to `{}`", file.roles.len(), path.display()))?;
    }
    Ok(Exit::Done)
}

/// Whoever looks meanwhile sees the old file or the new one.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let beside = path.with_file_name(name);
    let written = std::fs::File::create_new(&beside)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&beside, path));
    if written.is_err() {
        // It may not be there; then there is nothing to tidy up.
        let _ = std::fs::remove_file(&beside);
    }
    written
}

/// Rows as plans are made from.
pub(super) fn present(rows: &PolicyRows) -> Present {
    let role = |client_id: &Option<String>| PresentRole { client_id: client_id.clone(), rules: Vec::new() };
    let mut roles: BTreeMap<String, PresentRole> =
        rows.roles.iter().map(|(name, client_id)| (name.clone(), role(client_id))).collect();
    for rule in &rows.rules {
        let text = RuleText::new(&rule.effect, &rule.action, &rule.topic, rule.max_qos, rule.retain);
        if let Some(role) = roles.get_mut(&rule.role) {
            role.rules.push((rule.id, text));
        }
    }
    let mut devices: BTreeMap<String, BTreeSet<String>> =
        rows.devices.iter().map(|name| (name.clone(), BTreeSet::new())).collect();
    for (device, role) in &rows.grants {
        devices.entry(device.clone()).or_default().insert(role.clone());
    }
    let mut beginnings: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (device, role) in &rows.beginnings {
        beginnings.entry(device.clone()).or_default().insert(role.clone());
    }
    Present { roles, devices, beginnings }
}
