//! `warden credential`.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::Exit;
use super::confirm::ConfirmArgs;
use super::error::CliError;
use super::key::{self, FreshKey};
use super::output::{Output, or_dash};
use super::place::Place;
use super::rule::with_changed;
use super::words::{KindWord, moment};
use crate::credential::psk::Psk;
use crate::store::credential::{Credential, NewCredential, Proof};

/// Add, list, revoke and remove the ways in which devices prove who they are
#[derive(Debug, Subcommand)]
pub(super) enum CredentialCommand {
    Add(AddArgs),
    List(ListArgs),
    Revoke(RevokeArgs),
    Remove(RemoveArgs),
}

/// Add a credential to a device
///
/// A device may have several, so that a new one can be tried while the old one still works.
#[derive(Debug, Args)]
#[command(after_help = "\
EXAMPLES:
  warden credential add device-001 psk
  warden credential add device-001 psk --identity device-001-b --bytes 16
  warden credential add device-001 x509_cn --identity d1.fleet.example \\
    --not-before 2026-01-01T00:00:00Z --not-after 2027-01-01T00:00:00Z
  openssl rand -hex 32 |
    warden credential add device-001 psk --identity device-001-c --key-stdin")]
pub(super) struct AddArgs {
    /// The device's name
    device: String,
    /// How it proves who it is
    kind: KindWord,
    /// What the device calls itself when it connects [default: the name of the device]
    #[arg(long)]
    identity: Option<String>,
    /// psk: read the key from standard input, in hexadecimal digits, instead of making one
    #[arg(long, conflicts_with = "bytes")]
    key_stdin: bool,
    /// psk: make a key of this many bytes [default: 32]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(16..=256))]
    bytes: Option<u16>,
    /// Not good before this time, for instance 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = moment)]
    not_before: Option<String>,
    /// Not good from this time on
    #[arg(long, value_name = "TIME", value_parser = moment)]
    not_after: Option<String>,
}

/// List the credentials of a device, or of all
#[derive(Debug, Args)]
#[command(after_help = "\
EXAMPLES:
  warden credential list device-001
  warden credential list --json")]
pub(super) struct ListArgs {
    /// The device's name
    device: Option<String>,
}

/// Revoke a credential; who is connected by it has to leave
#[derive(Debug, Args)]
#[command(after_help = "\
EXAMPLES:
  warden credential revoke device-001 psk
  warden credential revoke device-001 psk --identity device-001-b")]
pub(super) struct RevokeArgs {
    #[command(flatten)]
    which: WhichArgs,
}

/// Remove a credential
#[derive(Debug, Args)]
#[command(after_help = "\
EXAMPLES:
  warden credential remove device-001 x509_cn --identity device-001.old.example
  warden credential remove device-001 psk --yes")]
pub(super) struct RemoveArgs {
    #[command(flatten)]
    which: WhichArgs,
    #[command(flatten)]
    confirm: ConfirmArgs,
}

#[derive(Debug, Args)]
struct WhichArgs {
    /// The device's name
    device: String,
    /// How it proves who it is
    kind: KindWord,
    /// Which, where the device has several of this kind
    #[arg(long)]
    identity: Option<String>,
}

pub(super) async fn run(command: CredentialCommand, place: &Place, output: &mut Output) -> anyhow::Result<Exit> {
    match command {
        CredentialCommand::Add(args) => add(args, place, output).await?,
        CredentialCommand::List(args) => {
            let credentials = place.read(async |store| store.credentials(args.device.as_deref()).await).await?;
            if output.is_json() {
                output.json(&credentials.iter().map(to_json).collect())?;
            } else {
                show(&credentials, output)?;
            }
        }
        CredentialCommand::Revoke(RevokeArgs { which: WhichArgs { device, kind, identity } }) => {
            let mut store = place.open().await?;
            let (identity, changed) = store.revoke_credential(&device, kind.into(), identity.as_deref()).await?;
            store.close().await?;
            let what = if changed { "revoked" } else { "is already revoked" };
            done(output, &device, kind, &identity, changed, what)?;
        }
        CredentialCommand::Remove(RemoveArgs { which: WhichArgs { device, kind, identity }, confirm }) => {
            let mut store = place.open().await?;
            let identity = store.find_credential(&device, kind.into(), identity.as_deref()).await?;
            confirm.confirm(format!("removing credential {} `{identity}`", word(kind)))?;
            store.remove_credential(&device, kind.into(), &identity).await?;
            store.close().await?;
            done(output, &device, kind, &identity, true, "removed")?;
        }
    }
    Ok(Exit::Done)
}

async fn add(args: AddArgs, place: &Place, output: &mut Output) -> anyhow::Result<()> {
    if args.kind != KindWord::Psk && (args.key_stdin || args.bytes.is_some()) {
        return Err(CliError::NoKeyWanted.into());
    }
    let mut store = place.open().await?;
    let identity = args.identity.unwrap_or_else(|| args.device.clone());
    let (proof, fresh) = match args.kind {
        KindWord::X509Cn => (Proof::X509Cn, None),
        KindWord::Psk => {
            let sealing = key::sealing_key(place, &mut store).await?;
            let fresh = if args.key_stdin {
                FreshKey::from_stdin(&identity)?
            } else {
                FreshKey::generate(&identity, args.bytes.map_or(Psk::DEFAULT_BYTES, usize::from))?
            };
            (fresh.sealed(&sealing)?, Some(fresh))
        }
    };
    let new = NewCredential { identity, proof, not_before: args.not_before, not_after: args.not_after };
    let added = store.add_credential(&args.device, &new).await?;
    store.close().await?;
    // A key that came from outside is known there, and is not repeated.
    let fresh = fresh.filter(|_| !args.key_stdin);
    if output.is_json() {
        let mut object = with_changed(to_json(&added), true);
        if let (Some(object), Some(fresh)) = (object.as_object_mut(), &fresh) {
            object.insert("psk".to_owned(), fresh.to_json());
        }
        output.json(&object)?;
    } else {
        output.line(&format!("credential {} `{}` of device `{}` added", added.kind, added.identity, added.device))?;
        if let Some(fresh) = &fresh {
            fresh.show(output)?;
        }
    }
    Ok(())
}

/// A table of credentials.
pub(super) fn show(credentials: &[Credential], output: &mut Output) -> anyhow::Result<()> {
    let rows = credentials.iter().map(|credential| {
        vec![
            credential.device.clone(),
            credential.kind.clone(),
            credential.identity.clone(),
            credential.status.clone(),
            or_dash(credential.not_before.as_deref()),
            or_dash(credential.not_after.as_deref()),
        ]
    });
    output.table(&["DEVICE", "KIND", "IDENTITY", "STATUS", "NOT BEFORE", "NOT AFTER"], rows.collect())
}

pub(super) fn to_json(credential: &Credential) -> Value {
    json!({
        "device": credential.device,
        "kind": credential.kind,
        "identity": credential.identity,
        "status": credential.status,
        "not_before": credential.not_before,
        "not_after": credential.not_after,
        "created_at": credential.created_at,
    })
}

fn word(kind: KindWord) -> &'static str {
    crate::store::credential::Kind::from(kind).as_str()
}

fn done(
    output: &mut Output,
    device: &str,
    kind: KindWord,
    identity: &str,
    changed: bool,
    what: &str,
) -> anyhow::Result<()> {
    let kind = word(kind);
    if output.is_json() {
        return output.json(&json!({ "device": device, "kind": kind, "identity": identity, "changed": changed }));
    }
    output.line(&format!("credential {kind} `{identity}` of device `{device}` {what}"))
}
