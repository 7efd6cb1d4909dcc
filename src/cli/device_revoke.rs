//! `warden device revoke`, for one device or many.

use std::path::PathBuf;

use clap::{ArgGroup, Args};
use serde_json::{Value, json};

use super::Exit;
use super::confirm::ConfirmArgs;
use super::ending;
use super::error::CliError;
use super::import::read;
use super::output::Output;
use super::place::Place;
use super::progress::{Interrupt, Progress};
use super::wait::WaitArgs;
use super::words::attribute;
use crate::policy::device::UnixSeconds;
use crate::store::Store;
use crate::store::bulk::BATCH;
use crate::store::device::Status;
use crate::store::ending::Endings;

/// End a device, with all its credentials and the certificates that were issued for it; if it is connected, it has to
/// leave at once
///
/// What has ended stays so: a device that is activated again needs new credentials. To keep one out for a while, suspend
/// it. Many devices are revoked a batch at a time, each batch in one transaction.
#[derive(Debug, Args)]
#[command(after_help = "\
EXAMPLES:
  warden device revoke device-001 --reason stolen
  warden device revoke device-001 --dry-run
  warden device revoke device-001 --wait --timeout 30s
  warden device revoke --where site=bergen --dry-run
  warden device revoke --file stolen.txt --reason stolen --yes
  sqlite3 /var/lib/mosquitto/warden.db \\
    \"UPDATE devices SET status = 'revoked' WHERE name = 'device-001'\"")]
#[command(group(ArgGroup::new("which").args(["device", "file", "attribute"]).required(true)))]
pub(super) struct RevokeArgs {
    /// The device's name
    device: Option<String>,
    /// All devices whose names are the lines of this file; `-` is standard input
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// All devices with this attribute
    #[arg(long = "where", value_name = "NAME=VALUE", value_parser = attribute)]
    attribute: Option<(String, String)>,
    /// Why, for whoever looks later
    #[arg(long)]
    reason: Option<String>,
    /// Only say what would end
    #[arg(long, conflicts_with = "wait")]
    dry_run: bool,
    #[command(flatten)]
    confirm: ConfirmArgs,
    #[command(flatten)]
    wait: WaitArgs,
}

pub(super) async fn run(args: RevokeArgs, place: &Place, output: &mut Output) -> anyhow::Result<Exit> {
    let now = jiff::Timestamp::now().as_second();
    let Some(device) = &args.device else { return many(&args, now, place, output).await };
    let end = async |store: &mut Store| store.end_device(device, args.reason.as_deref(), now, args.dry_run).await;
    let ended = if args.dry_run { place.read(end).await? } else { place.write(end).await? };
    let (object, lines) = ending::told(device, &ended, args.dry_run);
    args.wait.finish(place, output, object, &lines).await
}

async fn many(args: &RevokeArgs, now: UnixSeconds, place: &Place, output: &mut Output) -> anyhow::Result<Exit> {
    let mut store = place.open().await?;
    let names = names(args, &mut store).await?;
    let ended = store.whether_ended(&names).await?;
    let (known, unknown): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| ended.contains_key(name));
    let (already, wanted): (Vec<_>, Vec<_>) = known.into_iter().partition(|name| ended.get(name) == Some(&true));
    let mut report = Report { already: already.len(), unknown, ..Report::default() };
    if args.dry_run {
        store.close().await?;
        report.would = Some(wanted);
        report.show(output)?;
        return Ok(report.exit());
    }
    if !wanted.is_empty() {
        args.confirm.confirm(format!("revoking {} devices", wanted.len()))?;
    }
    let mut interrupt = Interrupt::listen()?;
    let progress = Progress::new(wanted.len(), "revoking");
    for names in wanted.chunks(BATCH) {
        if interrupt.pressed().await {
            break;
        }
        report.ended += store.end_devices(names, args.reason.as_deref(), now).await?;
        report.passed += names.len();
        progress.step(names.len());
    }
    drop(progress);
    store.close().await?;
    if report.passed < wanted.len() {
        report.show(output)?;
        output.note("interrupted: whole batches are done; the same command goes on from there")?;
        return Ok(Exit::Interrupted);
    }
    if !output.is_json() {
        report.list(output)?;
    }
    let sum = report.sum();
    tokio::select! {
        exit = args.wait.finish(place, output, report.to_json(), &sum) => {
            Ok(if exit? == Exit::Done { report.exit() } else { Exit::NotConfirmed })
        }
        () = interrupt.press() => {
            if output.is_json() {
                output.json(&report.to_json())?;
            }
            output.note("interrupted: it is committed, but which broker has carried it out is not known")?;
            Ok(Exit::Interrupted)
        }
    }
}

/// Whom it is about, each once.
async fn names(args: &RevokeArgs, store: &mut Store) -> anyhow::Result<Vec<String>> {
    if let Some((name, value)) = &args.attribute {
        return Ok(store.devices_with(name, value).await?);
    }
    let path = args.file.clone().unwrap_or_else(|| "-".into());
    let bytes = read(&path)?;
    let not_text = |_| CliError::Content { path: path.clone(), cause: "it is not UTF-8".to_owned() };
    let text = str::from_utf8(&bytes).map_err(not_text)?;
    let mut names: Vec<String> =
        text.lines().map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
    names.sort();
    names.dedup();
    Ok(names)
}

/// What was done, or would be.
#[derive(Debug, Default)]
struct Report {
    /// With `--dry-run`, whose turn it would be.
    would: Option<Vec<String>>,
    /// What ended with those who have had their turn.
    ended: Endings,
    /// How many have had their turn.
    passed: usize,
    already: usize,
    /// Names that are nobody's.
    unknown: Vec<String>,
}

impl Report {
    fn show(&self, output: &mut Output) -> anyhow::Result<()> {
        if output.is_json() {
            return output.json(&self.to_json());
        }
        self.list(output)?;
        output.line(&self.sum())
    }

    /// All but the last line.
    fn list(&self, output: &mut Output) -> anyhow::Result<()> {
        for name in self.would.iter().flatten() {
            output.line(name)?;
        }
        for name in &self.unknown {
            output.line(&format!("there is no device `{name}`"))?;
        }
        Ok(())
    }

    fn sum(&self) -> String {
        let already = self.already;
        if let Some(would) = &self.would {
            return format!("{} devices would be revoked, {already} were already", would.len());
        }
        let Endings { devices, credentials, certificates } = self.ended;
        format!(
            "{devices} devices are now revoked, {already} were already; with them {credentials} credentials and \
             {certificates} certificates"
        )
    }

    fn to_json(&self) -> Value {
        json!({
            "status": Status::Revoked.as_str(),
            "dry_run": self.would.is_some(),
            "devices": self.would.as_deref().unwrap_or_default(),
            "changed": self.ended.devices,
            "credentials": self.ended.credentials,
            "certificates": self.ended.certificates,
            "already": self.already,
            "unknown": self.unknown,
        })
    }

    const fn exit(&self) -> Exit {
        if self.unknown.is_empty() { Exit::Done } else { Exit::NotFound }
    }
}
