//! `warden key`: the key that the pre-shared keys are sealed with.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::json;

use super::Exit;
use super::error::CliError;
use super::key;
use super::output::Output;
use super::place::Place;
use crate::credential::psk::SealingKey;
use crate::key_file;
use crate::store::Store;
use crate::store::credential::SealedPsk;

/// Replace the key that pre-shared keys are sealed with
#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
    Rotate(RotateArgs),
}

/// Seal every pre-shared key with a new sealing key, while brokers run
///
/// The new key is put into the key file beside the old one, which running plugins read within a second; then all secrets
/// are sealed with it, in one transaction. Devices notice nothing. Interrupted, it goes on where it was. Where brokers on
/// other machines use this database, run it with `--prepare`, copy the key file to them, and run it again.
#[derive(Debug, Args)]
#[command(after_help = "\
EXAMPLES:
  warden key rotate --prepare
  warden key rotate
  warden key rotate --finish")]
pub(super) struct RotateArgs {
    /// Only put a new key into the key file, to be copied to other machines
    #[arg(long)]
    prepare: bool,
    /// Take the old key out of the key file, now that nothing is sealed with it
    #[arg(long, conflicts_with = "prepare")]
    finish: bool,
    /// How long running plugins have to read the key file
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = humantime::parse_duration)]
    wait: Duration,
}

pub(super) async fn run(command: KeyCommand, place: &Place, output: &mut Output) -> anyhow::Result<Exit> {
    let KeyCommand::Rotate(args) = command;
    let mut store = place.open().await?;
    let old = key::sealing_key(place, &mut store).await?;
    let file = key_file::read(&place.key_file)?;
    if args.finish {
        if let Some(identity) = store.sealed_with_another(old.id()).await? {
            return Err(CliError::StillSealed { identity }.into());
        }
        store.close().await?;
        let changed = file.keys().count() > 1;
        if changed {
            key_file::replace(&place.key_file, &old)?;
        }
        return said(output, place, old.id(), changed, "is the only one in the key file");
    }
    // One that was begun is gone on with.
    let prepared = file.keys().find(|key| key.id() != old.id()).map(SealingKey::alone);
    let begun = prepared.is_some();
    let new = prepared.map_or_else(SealingKey::generate, Ok)?;
    if !begun {
        key_file::replace(&place.key_file, &new.clone().beside(&old))?;
    }
    if args.prepare {
        store.close().await?;
        return said(
            output,
            place,
            old.id(),
            !begun,
            &format!("is in force; {} is beside it in the key file", new.id()),
        );
    }
    // Plugins look at the file each second, and nothing tells that they have.
    tokio::time::sleep(args.wait).await;
    let count = reseal(&mut store, &old, &new).await?;
    store.close().await?;
    said(output, place, new.id(), true, &format!("is in force; pre-shared keys sealed with it: {count}"))?;
    if !output.is_json() {
        output.note(
            "keep a copy of the key file in a safe place; when every broker has read it, and no backup that is needed \
             is sealed with the old key: `warden key rotate --finish`",
        )?;
    }
    Ok(Exit::Done)
}

/// Seals all that is sealed with the old key with the new one, or nothing.
async fn reseal(store: &mut Store, old: &SealingKey, new: &SealingKey) -> anyhow::Result<usize> {
    let both = new.clone().beside(old);
    let mut resealed = Vec::new();
    for (id, identity, sealed) in store.sealed_psks().await? {
        let psk =
            both.open(&identity, &sealed).map_err(|cause| CliError::NotOpened { identity: identity.clone(), cause })?;
        let again = SealedPsk { sealed: new.seal(&identity, &psk)?, digest: new.digest(&psk) };
        resealed.push((id, sealed, again));
    }
    Ok(store.reseal(old.id(), new.id(), &resealed).await?)
}

fn said(output: &mut Output, place: &Place, key: &str, changed: bool, what: &str) -> anyhow::Result<Exit> {
    if output.is_json() {
        output.json(&json!({ "key_file": place.key_file, "key_id": key, "changed": changed }))?;
    } else {
        output.line(&format!("key {key} {what}"))?;
    }
    Ok(Exit::Done)
}
