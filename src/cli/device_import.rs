//! `warden device import`: a table of devices, a batch at a time.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::Exit;
use super::entries::{entry, need_sealing, seal};
use super::error::CliError;
use super::import::read;
use super::import_apply::{findings, findings_to_json, show_findings};
use super::key;
use super::new_keys::NewKeys;
use super::output::Output;
use super::place::Place;
use super::progress::{Interrupt, Progress};
use crate::credential::psk::SealingKey;
use crate::import::device_list::{self, ForEach};
use crate::import::plan::{Device, Finding, Secret, Weight};
use crate::policy::device::CredentialKind;
use crate::store::Store;
use crate::store::bulk::{Added, BATCH, Entry, Standing};

/// Add many devices from a table (CSV), with their credentials and roles
///
/// The first line names the columns, of which only `name` must be there: `name`, `cn`, `psk_identity`, `psk_key`,
/// `roles`, `attributes`, `client_id`. Roles and attributes have `;` between them, attributes are written `name=value`. Devices that
/// are there already get what they lack and keep what they have, so the same command goes on where it was interrupted.
#[derive(Debug, Args)]
#[command(after_help = "\
EXAMPLES:
  warden device import devices.csv --dry-run
  warden device import devices.csv --role sensor --keys new-keys.psk
  printf 'name\\nd-1\\nd-2\\n' | warden device import - --cn --role sensor")]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub(super) struct ImportArgs {
    /// The table; `-` is standard input
    file: PathBuf,
    /// Every device has a client certificate with its name as common name, where its line names no other
    #[arg(long)]
    cn: bool,
    /// Every device gets a pre-shared key for its name, where its line names no identity
    #[arg(long)]
    psk: bool,
    /// Every device has this role, beside those of its line; may be repeated
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// Where keys that are made are written to, as `identity:key`; the file gets mode 0600, and is added to
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// Leave out lines that cannot be imported, and import the rest
    #[arg(long)]
    skip_bad: bool,
    /// Report what would be done, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// What was done, or would be.
#[derive(Debug, Default)]
struct Done {
    added: Added,
    /// How many devices were there already.
    there: usize,
    /// How many lines are in: some may have asked for nothing new.
    lines: usize,
}

pub(super) async fn run(args: ImportArgs, place: &Place, output: &mut Output) -> anyhow::Result<Exit> {
    let each = ForEach { cn: args.cn, psk: args.psk, roles: args.roles };
    let plan = device_list::plan(&read(&args.file)?, &each);
    let devices = plan.devices;
    let mut store = place.open().await?;
    let sealing = if need_sealing(&devices) { Some(key::sealing_key(place, &mut store).await?) } else { None };
    // All bad lines are known before the first batch is written.
    let mut found = plan.findings;
    let preview = look(&mut store, &devices, sealing.as_ref(), &mut found).await?;
    found.sort_by_key(|finding| (finding.line, finding.weight));
    let bad = found.iter().filter(|finding| finding.weight == Weight::Mistake).count();
    let refused = bad > 0 && !args.skip_bad;
    if refused || args.dry_run {
        store.close().await?;
        report(&preview, &found, false, output)?;
        if refused {
            return Err(CliError::BadEntries { count: bad }.into());
        }
        output.note("this is what would be done; nothing was changed")?;
        return Ok(Exit::Done);
    }
    let mut keys = match &args.keys {
        Some(path) => Some(NewKeys::open(path)?),
        None if preview.new_keys => return Err(CliError::NoKeysFile.into()),
        None => None,
    };
    let mut interrupt = Interrupt::listen()?;
    let progress = Progress::new(devices.len(), "adding devices");
    let mut done = Done::default();
    for devices in devices.chunks(BATCH) {
        if interrupt.pressed().await {
            break;
        }
        done.batch(&mut store, devices, sealing.as_ref(), keys.as_mut()).await?;
        progress.step(devices.len());
    }
    drop(progress);
    store.close().await?;
    let interrupted = done.lines < devices.len();
    let preview = Preview { added: done.added, there: done.there, new_keys: false };
    report(&preview, &found, done.added != Added::default(), output)?;
    if interrupted {
        let words = "interrupted: of the lines, {} of {} are in, in whole batches; the same command goes on from there";
        let words = words.replacen("{}", &done.lines.to_string(), 1).replacen("{}", &devices.len().to_string(), 1);
        output.note(&words)?;
        return Ok(Exit::Interrupted);
    }
    Ok(Exit::Done)
}

/// What an import would do.
#[derive(Debug, Default)]
struct Preview {
    added: Added,
    there: usize,
    /// Whether keys have to be made.
    new_keys: bool,
}

/// Looks at all lines without changing anything.
async fn look(
    store: &mut Store,
    devices: &[Device],
    sealing: Option<&SealingKey>,
    found: &mut Vec<Finding>,
) -> anyhow::Result<Preview> {
    let progress = Progress::new(devices.len(), "checking lines");
    let mut preview = Preview::default();
    let mut bulk = store.look_only().await?;
    for devices in devices.chunks(BATCH) {
        let entries = entries(devices, sealing)?;
        let standings = bulk.look(&entries).await?;
        found.extend(findings(devices, &standings));
        for (device, standing) in devices.iter().zip(&standings).filter(|(_, it)| it.conflicts.is_empty()) {
            preview.added += standing.would_add();
            preview.there += usize::from(!standing.is_new());
            let missing = standing.missing.iter().filter_map(|place| device.credentials.get(*place));
            preview.new_keys |= missing.into_iter().any(|it| matches!(it.secret, Secret::NewPsk));
        }
        progress.step(devices.len());
    }
    Ok(preview)
}

fn entries(devices: &[Device], sealing: Option<&SealingKey>) -> anyhow::Result<Vec<Entry>> {
    devices.iter().map(|device| entry(device, sealing)).collect()
}

impl Done {
    /// One transaction. New keys are in their file before it is committed: one that is there and not in use does no
    /// harm, the other way round a device would be lost.
    async fn batch(
        &mut self,
        store: &mut Store,
        devices: &[Device],
        sealing: Option<&SealingKey>,
        mut keys: Option<&mut NewKeys>,
    ) -> anyhow::Result<()> {
        let mut entries = entries(devices, sealing)?;
        let mut bulk = store.bulk().await?;
        let standings = bulk.look(&entries).await?;
        for (entry, standing) in entries.iter_mut().zip(&standings).filter(|(_, it)| it.conflicts.is_empty()) {
            make_keys(entry, standing, sealing, keys.as_deref_mut())?;
        }
        if let Some(keys) = keys {
            keys.keep()?;
        }
        let added = bulk.add(&entries, &standings).await?;
        bulk.commit().await?;
        self.added += added;
        self.there += standings.iter().filter(|it| it.conflicts.is_empty() && !it.is_new()).count();
        self.lines += devices.len();
        Ok(())
    }
}

/// Makes the keys that a device lacks.
fn make_keys(
    entry: &mut Entry,
    standing: &Standing,
    sealing: Option<&SealingKey>,
    mut keys: Option<&mut NewKeys>,
) -> anyhow::Result<()> {
    for place in &standing.missing {
        let Some(credential) = entry.credentials.get_mut(*place) else { continue };
        if credential.kind == CredentialKind::Psk && credential.secret.is_none() {
            let keys = keys.as_deref_mut().ok_or(CliError::NoKeysFile)?;
            let psk = keys.key_for(&credential.identity)?;
            seal(credential, &psk, sealing)?;
        }
    }
    Ok(())
}

fn report(done: &Preview, found: &[Finding], changed: bool, output: &mut Output) -> anyhow::Result<()> {
    let Added { devices, credentials, grants } = done.added;
    if output.is_json() {
        return output.json(&json!({
            "changed": changed,
            "devices": { "added": devices, "there": done.there },
            "credentials": { "added": credentials },
            "grants": { "added": grants },
            "findings": findings_to_json(found),
        }));
    }
    show_findings(found, output)?;
    output.pairs(&[
        ("devices", format!("{devices} added, {} there already", done.there)),
        ("credentials", format!("{credentials} added")),
        ("grants", format!("{grants} added")),
    ])
}
