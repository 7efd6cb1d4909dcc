//! `warden certificate issue` and `renew`: from a device's name, and perhaps its request, to a certificate that is good.
//!
//! What a device asks for is its key. Who it is, its row says.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::ca::{self, EARLIER, days_after};
use super::certificate::{at, read, time};
use super::credential;
use super::error::CliError;
use super::issued;
use super::new_files::{NewFiles, PUBLIC, SECRET};
use super::output::Output;
use super::passphrase::PassphraseArgs;
use super::place::Place;
use super::words::{FieldWord, duration};
use crate::credential::authority::{AlternativeName, Authority, Wanted, certificate_pem};
use crate::credential::certificate::{self, Description, Field, Reading};
use crate::credential::key_pair::{Curve, KeyPair};
use crate::credential::request::{self, Request};
use crate::store::issued::{Issued, NewCertificate, Others};

/// What is read of a request at most, in bytes.
const MOST: u64 = 1024 * 1024;

/// Issue a device its first certificate, and let the device in by it
///
/// Without a request, the device's key is made here, and goes into a directory with the certificate and its chain. What
/// the device began its life with (`warden device add --bootstrap`) is over from then on.
#[derive(Debug, Args)]
#[command(after_help = "\
EXAMPLES:
  warden certificate issue device-001 --ca fleet-ca
  warden certificate issue device-002 --ca fleet-ca --csr device-002.csr \\
    --out device-002.crt
  cat device-003.csr | warden certificate issue device-003 --ca fleet-ca \\
    --csr - --days 90 --passphrase-file passphrase")]
pub(super) struct IssueArgs {
    #[command(flatten)]
    of: OfArgs,
    /// Beside those that it has
    #[arg(long)]
    additional: bool,
}

/// Issue a device its next certificate; those that it has end after a while
#[derive(Debug, Args)]
#[command(after_help = "\
EXAMPLES:
  warden certificate renew device-001 --ca fleet-ca --out device-001-2027
  warden certificate renew device-002 --ca fleet-ca --csr device-002.csr \\
    --out device-002-next.crt --overlap 30d")]
pub(super) struct RenewArgs {
    #[command(flatten)]
    of: OfArgs,
    /// For how long the certificates that it has are good beside the new one; who is connected by one has to leave then
    #[arg(long, default_value = "7d", value_name = "TIME", value_parser = duration)]
    overlap: i64,
}

#[derive(Debug, Args)]
#[group(skip)]
struct OfArgs {
    /// The device's name
    device: String,
    /// The directory of the authority, as `warden ca init` makes it
    #[arg(long, value_name = "DIR", env = "WARDEN_CA", hide_env_values = true)]
    ca: PathBuf,
    /// A request (PKCS #10) for the key that the device has; `-` is standard input. Names and extensions in it do not
    /// count [default: make a key]
    #[arg(long, value_name = "FILE")]
    csr: Option<PathBuf>,
    /// For how many days the certificate is good; never for longer than its authority
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=36500))]
    days: u32,
    /// Without `--csr`, the directory for key.pem, certificate.pem and chain.pem [default: the name of the device];
    /// with it, a file for the certificate and its chain [default: standard output]
    #[arg(long, value_name = "DIR|FILE")]
    out: Option<PathBuf>,
    /// Its common name [default: the name of the device]
    #[arg(long, value_name = "NAME")]
    common_name: Option<String>,
    /// It has this URI among its alternative names; may be repeated
    #[arg(long = "uri", value_name = "URI")]
    uris: Vec<String>,
    /// It has this DNS name among its alternative names; may be repeated
    #[arg(long = "dns", value_name = "NAME")]
    dns: Vec<String>,
    /// By what of it the device is known, which `certificate.identity` of the plugin has to name
    #[arg(long = "as", value_name = "KIND", default_value = "x509_cn", hide_possible_values = true)]
    field: FieldWord,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

/// Where a certificate goes.
enum Destination {
    /// A directory, with the key.
    Directory(PathBuf, Zeroizing<String>),
    File(PathBuf),
    Stdout,
}

pub(super) async fn issue(args: IssueArgs, place: &Place, output: &mut Output) -> anyhow::Result<()> {
    let others = if args.additional { Others::Stay } else { Others::None };
    give(args.of, others, place, output).await
}

pub(super) async fn renew(args: RenewArgs, place: &Place, output: &mut Output) -> anyhow::Result<()> {
    let end = jiff::Timestamp::now().as_second().saturating_add(args.overlap);
    give(args.of, Others::EndAt(end), place, output).await
}

async fn give(args: OfArgs, others: Others, place: &Place, output: &mut Output) -> anyhow::Result<()> {
    let now = jiff::Timestamp::now().as_second();
    let mut store = place.open().await?;
    // Before anybody is asked for a passphrase.
    store.may_be_issued(&args.device, others, now).await?;
    let request = args.csr.as_deref().map(|path| requested(path, &args.passphrase)).transpose()?;
    if let Some(request) = &request {
        say_what_does_not_count(request, &args, output)?;
    }
    let (destination, public_key) = key_and_destination(&args, request)?;
    let authority = ca::open(&args.ca, &args.passphrase)?;
    let of_authority = |cause| CliError::Issue { path: ca::files(&args.ca).0, cause };
    let der = authority.issue(&public_key, &wanted(&args, &alternative_names(&args), now)).map_err(of_authority)?;
    let says = certificate::describe(&der).map_err(at(&args.ca))?;
    let identity = known_by(&args, &says)?;
    let pem = certificate_pem(&der).map_err(of_authority)?;
    let chain = format!("{pem}{}", authority.chain().map_err(of_authority)?);
    let files = written(&destination, &pem, &chain)?;
    let authorities = ca::keys(&args.ca)?;
    let field = args.field.0;
    let new = NewCertificate { says: &says, field, identity: &identity, authorities: &authorities, others, now };
    let issued = store.issue(&args.device, &new).await?;
    if let Some(files) = files {
        files.keep();
    }
    store.close().await?;
    if output.is_json() {
        return output.json(&to_json(&args.device, &says, &issued, &destination, &chain));
    }
    if let Destination::Stdout = destination {
        output.raw(chain.as_bytes())?;
    }
    tell(&args, &authority, &says, &issued, &destination, output)
}

fn requested(path: &Path, passphrase: &PassphraseArgs) -> anyhow::Result<Request> {
    let bytes = if path == Path::new("-") {
        if passphrase.takes_stdin() {
            let words = "`--csr -` and `--passphrase-file -` cannot both have standard input";
            return Err(CliError::Nonsense(words.to_owned()).into());
        }
        let mut bytes = Vec::new();
        std::io::stdin().lock().take(MOST).read_to_end(&mut bytes).context("cannot read standard input")?;
        bytes
    } else {
        read(path)?
    };
    Ok(request::read(&bytes).map_err(|cause| CliError::Request { path: path.into(), cause })?)
}

fn say_what_does_not_count(request: &Request, args: &OfArgs, output: &mut Output) -> anyhow::Result<()> {
    let name = args.common_name.as_deref().unwrap_or(&args.device);
    if !request.subject.is_empty() && request.subject != format!("CN={name}") {
        output.note(&format!("warning: the request asks for the name `{}`, which does not count", request.subject))?;
    }
    if !request.extensions.is_empty() {
        let asked = request.extensions.join(", ");
        output.note(&format!("warning: the request asks for extensions, which do not count: {asked}"))?;
    }
    Ok(())
}

/// Where the certificate goes, and the key that it is for.
fn key_and_destination(args: &OfArgs, request: Option<Request>) -> Result<(Destination, Vec<u8>), CliError> {
    if let Some(request) = request {
        let destination = args.out.clone().map_or(Destination::Stdout, Destination::File);
        return Ok((destination, request.public_key));
    }
    let directory = match &args.out {
        Some(directory) => directory.clone(),
        // A name that a shell or a file system takes for something else.
        None if args.device.starts_with(['.', '-', '~']) => {
            return Err(CliError::Nonsense(format!(
                "`{}` is no name for a directory; name one with `--out`",
                args.device
            )));
        }
        None => PathBuf::from(&args.device),
    };
    let broken = |cause| CliError::KeyPair { path: directory.join("key.pem"), cause };
    let key = KeyPair::generate(Curve::P256).map_err(broken)?;
    let (pem, public_key) = (key.to_pem().map_err(broken)?, key.public_key_der().map_err(broken)?);
    Ok((Destination::Directory(directory, pem), public_key))
}

fn alternative_names(args: &OfArgs) -> Vec<AlternativeName> {
    let uris = args.uris.iter().cloned().map(AlternativeName::Uri);
    uris.chain(args.dns.iter().cloned().map(AlternativeName::Dns)).collect()
}

fn wanted<'a>(args: &'a OfArgs, alternative_names: &'a [AlternativeName], now: i64) -> Wanted<'a> {
    let common_name = args.common_name.as_deref().unwrap_or(&args.device);
    Wanted { common_name, alternative_names, not_before: now - EARLIER, not_after: days_after(now, args.days) }
}

/// What the plugin will know the holder by.
fn known_by(args: &OfArgs, says: &Description) -> Result<String, CliError> {
    let field: Field = args.field.0;
    let reading = Reading { identity: vec![field], ..Reading::default() };
    let read = certificate::read(&says.der, &reading, Box::default());
    read.map(|read| read.identity.into()).map_err(|error| CliError::Nonsense(error.to_string()))
}

/// Writes what goes into files.
fn written(destination: &Destination, pem: &str, chain: &str) -> Result<Option<NewFiles>, CliError> {
    Ok(match destination {
        Destination::Directory(directory, key) => {
            let files = [
                ("key.pem", SECRET, key.as_bytes()),
                ("certificate.pem", PUBLIC, pem.as_bytes()),
                ("chain.pem", PUBLIC, chain.as_bytes()),
            ];
            Some(NewFiles::make(directory, &files)?)
        }
        Destination::File(path) => Some(NewFiles::make_one(path, PUBLIC, chain.as_bytes())?),
        Destination::Stdout => None,
    })
}

fn tell(
    args: &OfArgs,
    authority: &Authority,
    says: &Description,
    issued: &Issued,
    destination: &Destination,
    output: &mut Output,
) -> anyhow::Result<()> {
    let mut lines = vec![format!(
        "certificate `{}` of device `{}` is good until {}",
        says.serial,
        args.device,
        time(says.not_after)
    )];
    if says.not_after >= authority.not_after() {
        lines.push("its authority ends then as well".to_owned());
    }
    lines.extend(issued.added.iter().map(|it| format!("credential {} `{}` added", it.kind, it.identity)));
    lines.extend(issued.retired.iter().map(|it| {
        format!("credential {} `{}` revoked, because the device has a certificate now", it.kind, it.identity)
    }));
    lines.extend(
        issued.ending.iter().map(|it| {
            format!("certificate `{}` ends at {}", it.serial, it.ends_at.as_deref().unwrap_or(&it.not_after))
        }),
    );
    match destination {
        Destination::Directory(directory, _) => {
            lines.push(format!("key, certificate and chain are in {}", directory.display()));
        }
        Destination::File(path) => lines.push(format!("certificate and chain are in {}", path.display())),
        // There, nothing else may stand.
        Destination::Stdout => return lines.iter().try_for_each(|line| output.note(line)),
    }
    lines.iter().try_for_each(|line| output.line(line))
}

fn to_json(device: &str, says: &Description, issued: &Issued, destination: &Destination, chain: &str) -> Value {
    let (directory, file, chain) = match destination {
        Destination::Directory(directory, _) => (Some(directory), None, None),
        Destination::File(file) => (None, Some(file), None),
        Destination::Stdout => (None, None, Some(chain)),
    };
    json!({
        "device": device,
        "issuer": says.issuer,
        "serial": says.serial,
        "sha256": says.sha256,
        "not_before": time(says.not_before),
        "not_after": time(says.not_after),
        "added": issued.added.iter().map(credential::to_json).collect::<Value>(),
        "retired": issued.retired.iter().map(credential::to_json).collect::<Value>(),
        "ending": issued.ending.iter().map(|it| issued::to_json(it, jiff::Timestamp::now().as_second())).collect::<Value>(),
        "directory": directory,
        "file": file,
        "chain": chain,
    })
}
