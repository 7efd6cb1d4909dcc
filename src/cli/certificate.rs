//! `warden certificate`, and certificates in files.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::Exit;
use super::credential;
use super::error::CliError;
use super::issue::{self, IssueArgs, RenewArgs};
use super::issued::IssuedArgs;
use super::output::{Output, or_dash};
use super::place::Place;
use super::wait::WaitArgs;
use super::words::{distinguished_name, serial, sha256};
use crate::credential::certificate::{self, CertificateError, Description, Field, Reading};
use crate::store::certificate::RevokedCertificate;
use crate::store::credential::Credential;
use crate::store::{Store, StoreError};

/// Issue certificates to devices and renew them; revoke single ones and take it back; list them, look into them
#[derive(Debug, Subcommand)]
pub(super) enum CertificateCommand {
    Issue(IssueArgs),
    Renew(RenewArgs),
    Revoke(RevokeArgs),
    Unrevoke(UnrevokeArgs),
    List(ListArgs),
    Show(ShowArgs),
}

/// Revoke one certificate; who is connected by it has to leave
///
/// Its device may go on with another one, even one with the same names.
#[derive(Debug, Args)]
#[command(after_help = "\
EXAMPLES:
  warden certificate revoke device-001.pem --reason stolen
  warden certificate revoke --serial 4A:01:FF --issuer 'CN=Fleet CA,O=Example'
  warden certificate revoke --serial 4a02 --ca ca.pem")]
pub(super) struct RevokeArgs {
    #[command(flatten)]
    which: WhichArgs,
    /// Why, for whoever looks later
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    wait: WaitArgs,
}

/// Take back that a certificate was revoked
///
/// What is on the revocation list of an authority stays revoked.
#[derive(Debug, Args)]
#[command(after_help = "\
EXAMPLES:
  warden certificate unrevoke device-001.pem
  warden certificate unrevoke --serial 4a02 --ca ca.pem")]
pub(super) struct UnrevokeArgs {
    #[command(flatten)]
    which: WhichArgs,
    #[command(flatten)]
    wait: WaitArgs,
}

/// List the certificates that are revoked, by hand or by the lists of authorities; or those that `warden` has issued
#[derive(Debug, Args)]
#[command(after_help = "\
EXAMPLES:
  warden certificate list
  warden certificate list --json | jq -r '.[].serial'
  warden certificate list --issued device-001
  warden certificate list --expiring 30d")]
pub(super) struct ListArgs {
    #[command(flatten)]
    issued: IssuedArgs,
}

/// Show what a certificate says, whether it is revoked, and which device it belongs to
#[derive(Debug, Args)]
#[command(after_help = "\
EXAMPLES:
  warden certificate show device-001.pem
  warden certificate show device-001.pem --json | jq -r .sha256")]
pub(super) struct ShowArgs {
    /// A file with the certificate, PEM or DER; of several in it, the first
    file: PathBuf,
}

#[derive(Debug, Args)]
#[group(skip)]
struct WhichArgs {
    /// A file with the certificate, PEM or DER; of several in it, the first
    #[arg(required_unless_present = "serial", conflicts_with_all = ["serial", "issuer", "ca"])]
    file: Option<PathBuf>,
    /// Its serial number, in hexadecimal digits
    #[arg(long, value_name = "HEX", value_parser = serial, requires = "authority")]
    serial: Option<String>,
    /// Who has issued it, for instance `CN=Fleet CA,O=Example`
    #[arg(long, value_name = "NAME", value_parser = distinguished_name, group = "authority", requires = "serial")]
    issuer: Option<String>,
    /// A file with the certificate of the authority that has issued it
    #[arg(long, value_name = "FILE", group = "authority", requires = "serial")]
    ca: Option<PathBuf>,
}

impl WhichArgs {
    /// The issuer of the certificate and its serial number.
    fn resolve(self) -> Result<(String, String), CliError> {
        let described = self.file.as_deref().map(describe).transpose()?;
        let authority = self.ca.as_deref().map(describe).transpose()?.map(|authority| authority.subject);
        match (described, self.serial, self.issuer.or(authority)) {
            (Some(described), _, _) => Ok((described.issuer, described.serial)),
            (None, Some(serial), Some(issuer)) => Ok((issuer, serial)),
            // clap sees to it that this is not so.
            (None, _, _) => Err(CliError::Nonsense("name a file, or `--serial` and its issuer".to_owned())),
        }
    }
}

pub(super) async fn run(command: CertificateCommand, place: &Place, output: &mut Output) -> anyhow::Result<Exit> {
    match command {
        CertificateCommand::Revoke(RevokeArgs { which, reason, wait }) => {
            let (issuer, serial) = which.resolve()?;
            let reason = reason.as_deref();
            let changed = place.write(async |store| store.revoke_certificate(&issuer, &serial, reason).await).await?;
            let what = if changed { "revoked" } else { "is already revoked" };
            let (object, line) = done(&issuer, &serial, changed, what);
            return wait.finish(place, output, object, &line).await;
        }
        CertificateCommand::Unrevoke(UnrevokeArgs { which, wait }) => {
            let (issuer, serial) = which.resolve()?;
            let done_to = place.write(async |store| store.unrevoke_certificate(&issuer, &serial).await).await?;
            let what = match (done_to.changed, done_to.listed) {
                (true, false) => "is no longer revoked",
                (true, true) => "is no longer revoked by hand, but is on the list of its authority",
                (false, false) => "is not revoked",
                (false, true) => return Err(CliError::Listed { issuer, serial }.into()),
            };
            let (object, line) = done(&issuer, &serial, done_to.changed, what);
            return wait.finish(place, output, object, &line).await;
        }
        CertificateCommand::Issue(args) => issue::issue(args, place, output).await?,
        CertificateCommand::Renew(args) => issue::renew(args, place, output).await?,
        CertificateCommand::List(ListArgs { issued }) if issued.are_wanted() => issued.list(place, output).await?,
        CertificateCommand::List(ListArgs { .. }) => {
            let revoked = place.read(async |store| store.revoked_certificates().await).await?;
            list(&revoked, output)?;
        }
        CertificateCommand::Show(ShowArgs { file }) => {
            let described = describe(&file)?;
            let known = match place.read(async |store| Known::of(store, &described).await).await {
                Ok(known) => Some(known),
                // What the certificate says is no less true.
                Err(StoreError::Missing { .. }) => None,
                Err(error) => return Err(error.into()),
            };
            if output.is_json() {
                output.json(&to_json(&described, known.as_ref()))?;
            } else {
                show(&described, known.as_ref(), output)?;
            }
        }
    }
    Ok(Exit::Done)
}

/// What a certificate in a file says.
fn describe(path: &Path) -> Result<Description, CliError> {
    certificate::describe(&read(path)?).map_err(at(path))
}

/// What the plugin would know the holder of a certificate by.
pub(super) fn identity(path: &Path, field: Field) -> Result<String, CliError> {
    let reading = Reading { identity: vec![field], ..Reading::default() };
    let described = describe(path)?;
    let read = certificate::read(&described.der, &reading, Box::default()).map_err(at(path))?;
    Ok(read.identity.into())
}

/// The SHA-256 of an authority's public key, from that itself or from a file with the authority's certificate.
pub(super) fn authority(text: &str) -> Result<String, CliError> {
    if let Some(digits) = sha256(text) {
        return Ok(digits);
    }
    Ok(describe(Path::new(text))?.spki_sha256)
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, CliError> {
    std::fs::read(path).map_err(|cause| CliError::Unreadable { path: path.into(), cause })
}

pub(super) fn at(path: &Path) -> impl Fn(CertificateError) -> CliError {
    move |cause| CliError::Certificate { path: path.into(), cause }
}

/// What the database knows of a certificate.
struct Known {
    revocations: Vec<RevokedCertificate>,
    credentials: Vec<Credential>,
}

impl Known {
    async fn of(store: &mut Store, described: &Description) -> Result<Self, StoreError> {
        let fields: Vec<(Field, &str)> = identities(described).collect();
        Ok(Self {
            revocations: store.revocations_of(&described.issuer, &described.serial).await?,
            credentials: store.credentials_of_certificate(&fields).await?,
        })
    }
}

/// All that a credential can know it by.
fn identities(described: &Description) -> impl Iterator<Item = (Field, &str)> {
    let several = [
        (Field::Cn, &described.common_names),
        (Field::SanDns, &described.san_dns),
        (Field::SanUri, &described.san_uris),
        (Field::SanEmail, &described.san_emails),
        (Field::SanIp, &described.san_ips),
    ];
    let single = [
        (Field::Subject, &described.subject),
        (Field::Serial, &described.serial),
        (Field::Sha256, &described.sha256),
        (Field::SpkiSha256, &described.spki_sha256),
    ];
    let several = several.into_iter().flat_map(|(field, names)| names.iter().map(move |name| (field, name.as_str())));
    several.chain(single.into_iter().map(|(field, name)| (field, name.as_str())))
}

fn show(described: &Description, known: Option<&Known>, output: &mut Output) -> anyhow::Result<()> {
    let names = |names: &[String]| or_dash(Some(names.join(", ").as_str()).filter(|names| !names.is_empty()));
    let revoked = known.map(|known| match known.revocations.as_slice() {
        [] => "no".to_owned(),
        rows => rows.iter().map(in_words).collect::<Vec<_>>().join("; "),
    });
    output.pairs(&[
        ("subject", described.subject.clone()),
        ("issuer", described.issuer.clone()),
        ("serial number", described.serial.clone()),
        ("common name", names(&described.common_names)),
        ("DNS name", names(&described.san_dns)),
        ("URI", names(&described.san_uris)),
        ("mail address", names(&described.san_emails)),
        ("IP address", names(&described.san_ips)),
        ("SHA-256", described.sha256.clone()),
        ("public key SHA-256", described.spki_sha256.clone()),
        ("not before", time(described.not_before)),
        ("not after", time(described.not_after)),
        ("revoked", or_dash(revoked.as_deref())),
    ])?;
    match known {
        None => output.note("there is no database to look the certificate up in"),
        Some(Known { credentials, .. }) if credentials.is_empty() => output.note("no device has a credential for it"),
        Some(Known { credentials, .. }) => {
            output.line("")?;
            credential::show(credentials, output)
        }
    }
}

fn to_json(described: &Description, known: Option<&Known>) -> Value {
    json!({
        "subject": described.subject,
        "issuer": described.issuer,
        "serial": described.serial,
        "common_names": described.common_names,
        "san_dns": described.san_dns,
        "san_uri": described.san_uris,
        "san_email": described.san_emails,
        "san_ip": described.san_ips,
        "sha256": described.sha256,
        "spki_sha256": described.spki_sha256,
        "not_before": time(described.not_before),
        "not_after": time(described.not_after),
        "revocations": known.map(|known| known.revocations.iter().map(revocation_to_json).collect::<Value>()),
        "credentials": known.map(|known| known.credentials.iter().map(credential::to_json).collect::<Value>()),
    })
}

fn list(revoked: &[RevokedCertificate], output: &mut Output) -> anyhow::Result<()> {
    if output.is_json() {
        return output.json(&revoked.iter().map(revocation_to_json).collect());
    }
    let rows = revoked.iter().map(|row| {
        vec![
            row.issuer.clone(),
            row.serial.clone(),
            row.revoked_at.clone(),
            source(row).to_owned(),
            or_dash(row.reason.as_deref()),
        ]
    });
    output.table(&["ISSUER", "SERIAL", "SINCE", "SOURCE", "REASON"], rows.collect())
}

fn revocation_to_json(row: &RevokedCertificate) -> Value {
    json!({
        "issuer": row.issuer,
        "serial": row.serial,
        "revoked_at": row.revoked_at,
        "source": source(row),
        "reason": row.reason,
    })
}

/// Who says that it is revoked.
const fn source(row: &RevokedCertificate) -> &'static str {
    if row.listed { "list" } else { "hand" }
}

fn in_words(row: &RevokedCertificate) -> String {
    let who = if row.listed { "by the list of its authority" } else { "by hand" };
    let reason = row.reason.as_ref().map_or_else(String::new, |reason| format!(" ({reason})"));
    format!("{who} since {}{reason}", row.revoked_at)
}

/// As the database has times; what no calendar has is shown as the number that it is.
pub(super) fn time(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds)
        .map_or_else(|_| seconds.to_string(), |time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// What was done to a certificate, for programs and for people.
fn done(issuer: &str, serial: &str, changed: bool, what: &str) -> (Value, String) {
    let object = json!({ "issuer": issuer, "serial": serial, "changed": changed });
    (object, format!("certificate `{serial}` of `{issuer}` {what}"))
}
