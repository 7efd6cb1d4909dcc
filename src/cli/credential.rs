//! `warden credential`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::Exit;
use super::certificate;
use super::confirm::ConfirmArgs;
use super::error::CliError;
use super::key::{self, FreshKey};
use super::output::{Output, or_dash};
use super::password::Given;
use super::place::Place;
use super::rotation::{self, RotateArgs};
use super::rule::with_changed;
use super::wait::WaitArgs;
use super::words::{FieldWord, KindWord, identity, moment};
use crate::credential::certificate::Field;
use crate::credential::psk::Psk;
use crate::store::credential::{Credential, Kind, NewCredential, Proof};

/// Add, list, rotate, revoke and remove the ways in which devices prove who they are
#[derive(Debug, Subcommand)]
pub(super) enum CredentialCommand {
    Add(AddArgs),
    List(ListArgs),
    Rotate(RotateArgs),
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
  warden credential add device-001 psk --opaque
  warden credential add device-001 x509_cn --identity d1.fleet.example \\
    --not-before 2026-01-01T00:00:00Z --not-after 2027-01-01T00:00:00Z
  openssl rand -hex 32 |
    warden credential add device-001 psk --identity device-001-c --key-stdin
  openssl rand -base64 18 | tee device-001.password |
    warden credential add device-001 password --stdin
  sed -n 's/^d1://p' passwordfile |
    warden credential add device-001 password --identity d1 --hash
  openssl rand -base64 18 | tee device-001.password |
    warden credential add device-001 password --stdin --replace
  warden credential add device-001 --certificate device-001.pem
  warden credential add device-001 --certificate device-001.pem \\
    --as x509_sha256 --issuer ca.pem
  warden credential add device-004 x509_cn --identity claim-004 \\
    --only-role bootstrap --not-after 2036-06-30T00:00:00Z")]
#[expect(clippy::struct_excessive_bools, reason = "options of a command line, each on or off")]
pub(super) struct AddArgs {
    /// The device's name
    device: String,
    /// How it proves who it is
    #[arg(required_unless_present = "certificate", conflicts_with = "certificate")]
    kind: Option<KindWord>,
    /// By what it is known when it connects [default for `x509_cn`, `psk` and `password`: the
    /// name of the device]
    #[arg(long, conflicts_with = "certificate")]
    identity: Option<String>,
    /// Take the identity from this certificate, PEM or DER; of several in the file, the first
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// What of the certificate to take [default: `x509_cn`]
    #[arg(long = "as", value_name = "KIND", requires = "certificate", conflicts_with = "kind")]
    field: Option<FieldWord>,
    /// x509: this authority must have issued the certificate; a file with its certificate, or the SHA-256 of its
    /// public key [default: any that the broker trusts]
    #[arg(long, value_name = "FILE|HEX")]
    issuer: Option<String>,
    /// psk: read the key from standard input, in hexadecimal digits, instead of making one
    #[arg(long, conflicts_with = "bytes")]
    key_stdin: bool,
    /// psk: make a key of this many bytes [default: 32]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(16..=256))]
    bytes: Option<u16>,
    /// password: read it from standard input, instead of asking for it on the terminal
    #[arg(long, conflicts_with = "hash")]
    stdin: bool,
    /// password: read a ready hash from standard input, in one of the forms that `mosquitto_passwd` and others write
    #[arg(long)]
    hash: bool,
    /// password: put it in the place of the one that this user name has; who came in with that has to leave
    #[arg(long, conflicts_with_all = ["only_role", "not_before", "not_after"])]
    replace: bool,
    /// psk: a random identity, which tells nothing to whoever listens (RFC 9257, section 7)
    #[arg(long, conflicts_with_all = ["identity", "certificate"])]
    opaque: bool,
    /// It gives this role alone, and only until the device has a certificate
    #[arg(long, value_name = "ROLE")]
    only_role: Option<String>,
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
  warden credential list --rotating
  warden credential list --json")]
pub(super) struct ListArgs {
    /// The device's name
    device: Option<String>,
    /// Only the pre-shared keys of devices that have more than one that works
    #[arg(long)]
    rotating: bool,
}

/// Revoke a credential; who is connected by it has to leave
#[derive(Debug, Args)]
#[command(after_help = "\
EXAMPLES:
  warden credential revoke device-001 psk
  warden credential revoke device-001 psk --identity device-001-b --wait")]
pub(super) struct RevokeArgs {
    #[command(flatten)]
    which: WhichArgs,
    #[command(flatten)]
    wait: WaitArgs,
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
    #[command(flatten)]
    wait: WaitArgs,
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
            let credentials = if args.rotating { rotation::under_way(credentials) } else { credentials };
            if output.is_json() {
                output.json(&credentials.iter().map(to_json).collect())?;
            } else {
                show(&credentials, output)?;
            }
        }
        CredentialCommand::Rotate(args) => rotation::run(args, place, output).await?,
        CredentialCommand::Revoke(RevokeArgs { which, wait }) => {
            let (device, kind, identity) = which.resolve();
            let mut store = place.open().await?;
            let (identity, changed) = store.revoke_credential(&device, kind, identity.as_deref()).await?;
            store.close().await?;
            let what = if changed { "revoked" } else { "is already revoked" };
            let (object, line) = done(&device, kind, &identity, changed, what);
            return wait.finish(place, output, object, &line).await;
        }
        CredentialCommand::Remove(RemoveArgs { which, confirm, wait }) => {
            let (device, kind, identity) = which.resolve();
            let mut store = place.open().await?;
            let identity = store.find_credential(&device, kind, identity.as_deref()).await?;
            confirm.confirm(format!("removing credential {kind} `{identity}`"))?;
            store.remove_credential(&device, kind, &identity).await?;
            store.close().await?;
            let (object, line) = done(&device, kind, &identity, true, "removed");
            return wait.finish(place, output, object, &line).await;
        }
    }
    Ok(Exit::Done)
}

impl WhichArgs {
    fn resolve(self) -> (String, Kind, Option<String>) {
        let kind = self.kind.0;
        // What makes no sense may nonetheless have been written into the database.
        let identity = self.identity.map(|text| identity(kind, &text).unwrap_or(text));
        (self.device, kind, identity)
    }
}

/// The kind and the identity of the credential that is to be added.
fn wanted(args: &AddArgs) -> anyhow::Result<(Kind, String)> {
    if let Some(path) = &args.certificate {
        let field = args.field.map_or(Field::Cn, |word| word.0);
        return Ok((Kind::X509(field), certificate::identity(path, field)?));
    }
    let kind = args.kind.map_or(Kind::X509(Field::Cn), |word| word.0);
    let identity = match (&args.identity, kind) {
        (_, Kind::Psk) if args.opaque => key::opaque_identity()?,
        _ if args.opaque => return Err(CliError::NoOpaqueWanted.into()),
        (Some(text), _) => identity(kind, text).map_err(CliError::Nonsense)?,
        (None, Kind::X509(Field::Cn) | Kind::Psk | Kind::Password) => args.device.clone(),
        (None, _) => return Err(CliError::IdentityWanted { kind }.into()),
    };
    Ok((kind, identity))
}

async fn add(args: AddArgs, place: &Place, output: &mut Output) -> anyhow::Result<()> {
    let (kind, identity) = wanted(&args)?;
    if kind != Kind::Psk && (args.key_stdin || args.bytes.is_some()) {
        return Err(CliError::NoKeyWanted.into());
    }
    if matches!(kind, Kind::Psk | Kind::Password) && args.issuer.is_some() {
        return Err(CliError::NoIssuerWanted.into());
    }
    if kind != Kind::Password && (args.stdin || args.hash || args.replace) {
        return Err(CliError::NoPasswordWanted.into());
    }
    let issuer = args.issuer.as_deref().map(certificate::authority).transpose()?;
    let mut store = place.open().await?;
    let (proof, fresh) = match kind {
        Kind::X509(field) => (Proof::X509(field), None),
        Kind::Psk => {
            let sealing = key::sealing_key(place, &mut store).await?;
            let fresh = if args.key_stdin {
                FreshKey::from_stdin(&identity)?
            } else {
                FreshKey::generate(&identity, args.bytes.map_or(Psk::DEFAULT_BYTES, usize::from))?
            };
            (fresh.sealed(&sealing)?, Some(fresh))
        }
        Kind::Password => {
            let given = match (args.stdin, args.hash) {
                (true, _) => Given::Stdin,
                (_, true) => Given::Hash,
                _ => Given::Prompt,
            };
            let names = [args.device.as_str(), &identity];
            (given.hashed(&names, place.password_cost)?, None)
        }
    };
    if let (Proof::Password(password), true) = (&proof, args.replace) {
        store.replace_password(&args.device, &identity, password).await?;
        store.close().await?;
        let (object, line) = done(&args.device, kind, &identity, true, "has a new password");
        return if output.is_json() { output.json(&object) } else { output.line(&line) };
    }
    let new = NewCredential {
        issuer,
        only_role: args.only_role,
        not_before: args.not_before,
        not_after: args.not_after,
        ..NewCredential::new(identity, proof)
    };
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
    // Most have none, and it is long.
    let issuers = credentials.iter().any(|credential| credential.issuer.is_some());
    let roles = credentials.iter().any(|credential| credential.only_role.is_some());
    let rows = credentials.iter().map(|credential| {
        let issuer = issuers.then(|| or_dash(credential.issuer.as_deref()));
        let cells = [
            credential.device.clone(),
            credential.kind.clone(),
            credential.identity.clone(),
            credential.status.clone(),
            or_dash(credential.not_before.as_deref()),
            or_dash(credential.not_after.as_deref()),
        ];
        let role = roles.then(|| or_dash(credential.only_role.as_deref()));
        cells.into_iter().chain(role).chain(issuer).collect()
    });
    let mut header = vec!["DEVICE", "KIND", "IDENTITY", "STATUS", "NOT BEFORE", "NOT AFTER"];
    header.extend(roles.then_some("ONLY ROLE"));
    header.extend(issuers.then_some("ISSUER"));
    output.table(&header, rows.collect())
}

pub(super) fn to_json(credential: &Credential) -> Value {
    json!({
        "device": credential.device,
        "kind": credential.kind,
        "identity": credential.identity,
        "issuer": credential.issuer,
        "only_role": credential.only_role,
        "status": credential.status,
        "not_before": credential.not_before,
        "not_after": credential.not_after,
        "created_at": credential.created_at,
    })
}

/// What was done to a credential, for programs and for people.
fn done(device: &str, kind: Kind, identity: &str, changed: bool, what: &str) -> (Value, String) {
    let object = json!({ "device": device, "kind": kind.as_str(), "identity": identity, "changed": changed });
    (object, format!("credential {kind} `{identity}` of device `{device}` {what}"))
}
