//! `warden status`.

use clap::Args;
use serde_json::json;

use super::Exit;
use super::output::{Output, or_dash};
use super::place::Place;
use crate::key_file;

/// Show the schema, the revision, and how much is in the database
#[derive(Debug, Args)]
#[command(after_help = "\
EXAMPLES:
  warden status
  warden status --json | jq .revision")]
pub(super) struct StatusArgs {}

pub(super) async fn run(place: &Place, output: &mut Output) -> anyhow::Result<Exit> {
    let status = place.read(async |store| store.status().await).await?;
    let key = key_file::read(&place.key_file);
    let key_state = match (&key, &status.key_id) {
        (Ok(key), Some(id)) if key.named(id).is_some() => "usable".to_owned(),
        (Ok(key), _) => format!("it holds the key {}, which is not that of the database", key.id()),
        (Err(error), _) => error.to_string(),
    };
    let counts = &status.counts;
    if output.is_json() {
        output.json(&json!({
            "database": place.database.to_string(),
            "schema": status.schema,
            "revision": status.revision,
            "key_id": status.key_id,
            "key_file": place.key_file,
            "key_usable": key_state == "usable",
            "devices": {
                "active": counts.active_devices,
                "suspended": counts.suspended_devices,
                "revoked": counts.revoked_devices,
            },
            "credentials": { "active": counts.credentials, "revoked": counts.revoked_credentials },
            "roles": counts.roles,
            "rules": counts.rules,
        }))?;
    } else {
        output.pairs(&[
            ("database", place.database.to_string()),
            ("schema", status.schema.to_string()),
            ("revision", status.revision.to_string()),
            ("key", or_dash(status.key_id.as_deref())),
            ("key file", format!("{} ({key_state})", place.key_file.display())),
            (
                "devices",
                format!(
                    "{} active, {} suspended, {} revoked",
                    counts.active_devices, counts.suspended_devices, counts.revoked_devices
                ),
            ),
            ("credentials", format!("{} active, {} revoked", counts.credentials, counts.revoked_credentials)),
            ("roles", counts.roles.to_string()),
            ("rules", counts.rules.to_string()),
        ])?;
    }
    Ok(Exit::Done)
}
