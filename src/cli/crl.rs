//! `warden crl`.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::Exit;
use super::certificate::{at, read};
use super::error::CliError;
use super::output::{Output, or_dash};
use super::place::Place;
use crate::credential::certificate;
use crate::credential::crl::Crl;
use crate::store::crl::{Import, ImportedCrl};

/// Import the revocation lists of authorities, and show which there are
#[derive(Debug, Subcommand)]
pub(super) enum CrlCommand {
    Import(ImportArgs),
    List(ListArgs),
}

/// Revoke the certificates that a revocation list names, and no more those that it names no more
///
/// Its signature must be that of the authority. A delta list changes the list that it is based on. What was revoked by
/// hand stays revoked. Who is connected by a certificate of the list has to leave.
#[derive(Debug, Args)]
#[command(after_help = "\
EXAMPLES:
  warden crl import fleet.crl --ca ca.pem
  warden crl import fleet.crl --ca ca.pem --json | jq .added")]
pub(super) struct ImportArgs {
    /// The list, PEM or DER
    file: PathBuf,
    /// A file with the certificates of authorities, PEM or DER; one of them has signed the list
    #[arg(long, value_name = "FILE", required = true)]
    ca: Vec<PathBuf>,
}

/// List the revocation lists that were imported
#[derive(Debug, Args)]
#[command(after_help = "\
EXAMPLES:
  warden crl list
  warden crl list --json | jq -r '.[].next_update'")]
pub(super) struct ListArgs {}

pub(super) async fn run(command: CrlCommand, place: &Place, output: &mut Output) -> anyhow::Result<Exit> {
    match command {
        CrlCommand::Import(args) => import(&args, place, output).await?,
        CrlCommand::List(_) => {
            let lists = place.read(async |store| store.crls().await).await?;
            if output.is_json() {
                output.json(&lists.iter().map(to_json).collect())?;
            } else {
                let rows = lists.iter().map(|list| {
                    vec![
                        list.issuer.clone(),
                        or_dash(list.number.as_deref()),
                        list.revoked.to_string(),
                        list.this_update.clone(),
                        or_dash(list.next_update.as_deref()),
                        list.imported_at.clone(),
                    ]
                });
                output.table(
                    &["ISSUER", "NUMBER", "REVOKED", "THIS UPDATE", "NEXT UPDATE", "IMPORTED"],
                    rows.collect(),
                )?;
            }
        }
    }
    Ok(Exit::Done)
}

async fn import(args: &ImportArgs, place: &Place, output: &mut Output) -> anyhow::Result<()> {
    let mut authorities = Vec::new();
    for path in &args.ca {
        authorities.append(&mut certificate::all(&read(path)?).map_err(at(path))?);
    }
    let refused = |cause| CliError::Crl { path: args.file.clone(), cause };
    let crl = Crl::read(&read(&args.file)?, &authorities).map_err(refused)?;
    let mut store = place.open().await?;
    let mut patience = Patience::new();
    let mut told = Ok(());
    let import = store
        .import_crl(&crl, &mut |done, all| {
            if patience.is_over() && told.is_ok() {
                told = output.note(&format!("{done} of {all} certificates written"));
            }
        })
        .await?;
    store.close().await?;
    told?;
    show(&crl, &import, output)?;
    if crl.is_past(jiff::Timestamp::now().as_second()) {
        let next = or_dash(import.list.next_update.as_deref());
        output.note(&format!("warning: the list is out of date: its authority has promised a newer one for {next}"))?;
    }
    Ok(())
}

fn show(crl: &Crl, import: &Import, output: &mut Output) -> anyhow::Result<()> {
    let Import { changed, added, removed, list } = import;
    if output.is_json() {
        let mut object = to_json(list);
        if let Some(object) = object.as_object_mut() {
            let more = json!({ "changed": changed, "added": added, "removed": removed, "delta": crl.base.is_some() });
            object.extend(more.as_object().cloned().unwrap_or_default());
        }
        return output.json(&object);
    }
    let what = if crl.base.is_some() { "delta list" } else { "list" };
    let number = crl.number.as_ref().map_or_else(String::new, |number| format!(" {number}"));
    let issuer = &list.issuer;
    if !changed {
        return output.line(&format!("{what}{number} of `{issuer}` is already imported, or a newer one is"));
    }
    let all = list.revoked;
    output.line(&format!(
        "{what}{number} of `{issuer}` imported: {all} revoked, {added} of them newly; {removed} no more"
    ))
}

fn to_json(list: &ImportedCrl) -> Value {
    json!({
        "issuer": list.issuer,
        "number": list.number,
        "revoked": list.revoked,
        "this_update": list.this_update,
        "next_update": list.next_update,
        "imported_at": list.imported_at,
    })
}

/// How long people wait without a word.
struct Patience(Instant);

impl Patience {
    fn new() -> Self {
        Self(Instant::now())
    }

    /// Whether two seconds have passed without a word; then they begin anew.
    fn is_over(&mut self) -> bool {
        let over = self.0.elapsed() >= Duration::from_secs(2);
        if over {
            self.0 = Instant::now();
        }
        over
    }
}
