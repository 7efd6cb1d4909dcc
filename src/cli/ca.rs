//! `warden ca`: an authority of one's own, in a directory.
//!
//! `ca.crt` is its certificate, with those above it behind it if there are any; `ca.key` its key, encrypted. Nothing
//! else is kept there, so that the directory can live on a disk that is plugged in when it is needed.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use super::Exit;
use super::certificate::{at, read, time};
use super::error::CliError;
use super::new_files::{NewFiles, PUBLIC, SECRET, open_to_others};
use super::output::Output;
use super::passphrase::PassphraseArgs;
use crate::credential::authority::Authority;
use crate::credential::certificate::{self, Description};
use crate::credential::key_pair::{Curve, KeyPair};
use crate::policy::device::UnixSeconds;

const DAY: i64 = 24 * 60 * 60;
/// How long before now what is issued begins: not every device has a good clock.
pub(super) const EARLIER: i64 = 60 * 60;

/// Make an authority that issues certificates to devices, and look at it
#[derive(Debug, Subcommand)]
pub(super) enum CaCommand {
    Init(InitArgs),
    Show(ShowArgs),
}

/// Make an authority: a key, encrypted with a passphrase, and a certificate
///
/// Brokers get the certificate, DIR/ca.crt, as their `cafile`. The key, DIR/ca.key, is needed when something is issued and
/// at no other time: the directory can be kept offline.
#[derive(Debug, Args)]
#[command(after_help = "\
EXAMPLES:
  warden ca init fleet-ca --name 'Fleet CA'
  warden ca init test-ca --passphrase-file passphrase --days 30 --curve p384")]
pub(super) struct InitArgs {
    /// The directory; made where it is missing
    directory: PathBuf,
    /// The common name of the authority
    #[arg(long, default_value = "mosquitto-warden CA")]
    name: String,
    /// For how many days it is good
    #[arg(long, default_value_t = 3650, value_parser = clap::value_parser!(u32).range(1..=36500))]
    days: u32,
    /// The elliptic curve of its key
    #[arg(long, value_enum, default_value_t = CurveWord::P256)]
    curve: CurveWord,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

/// Show what the certificate of an authority says, and whether its key is there
#[derive(Debug, Args)]
#[command(after_help = "\
EXAMPLES:
  warden ca show fleet-ca
  warden ca show fleet-ca --json | jq -r .spki_sha256")]
pub(super) struct ShowArgs {
    /// The directory
    #[arg(env = "WARDEN_CA", hide_env_values = true)]
    directory: PathBuf,
}

/// An elliptic curve.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum CurveWord {
    #[value(name = "p256")]
    P256,
    #[value(name = "p384")]
    P384,
}

impl From<CurveWord> for Curve {
    fn from(word: CurveWord) -> Self {
        match word {
            CurveWord::P256 => Self::P256,
            CurveWord::P384 => Self::P384,
        }
    }
}

pub(super) fn run(command: CaCommand, output: &mut Output) -> anyhow::Result<Exit> {
    match command {
        CaCommand::Init(args) => init(&args, output)?,
        CaCommand::Show(ShowArgs { directory }) => show(&directory, output)?,
    }
    Ok(Exit::Done)
}

/// The certificate and the key of the authority in a directory.
pub(super) fn files(directory: &Path) -> (PathBuf, PathBuf) {
    (directory.join("ca.crt"), directory.join("ca.key"))
}

/// The authority in a directory, with its key opened.
pub(super) fn open(directory: &Path, passphrase: &PassphraseArgs) -> Result<Authority, CliError> {
    let (certificate, key_file) = files(directory);
    let of_key = |cause| CliError::KeyPair { path: key_file.clone(), cause };
    let certificates = read(&certificate)?;
    let encrypted = String::from_utf8_lossy(&read(&key_file)?).into_owned();
    // A passphrase can be guessed where nothing slows the guesser down.
    if let Some(mode) = std::fs::metadata(&key_file).ok().and_then(|metadata| open_to_others(&metadata)) {
        return Err(CliError::Exposed { path: key_file, mode });
    }
    let passphrase = passphrase.existing(&key_file)?;
    let key = KeyPair::from_encrypted_pem(&encrypted, passphrase.as_bytes()).map_err(of_key)?;
    Authority::open(&certificates, key).map_err(|cause| CliError::Issue { path: certificate, cause })
}

/// The SHA-256 of the public keys of an authority and of those above it, in hexadecimal digits.
pub(super) fn keys(directory: &Path) -> Result<Vec<String>, CliError> {
    let (path, _) = files(directory);
    let all = certificate::all(&read(&path)?).map_err(at(&path))?;
    let described: Result<Vec<_>, _> = all.iter().map(|der| certificate::describe(der).map_err(at(&path))).collect();
    Ok(described?.into_iter().map(|described| described.spki_sha256).collect())
}

/// That many days after a time.
pub(super) fn days_after(start: UnixSeconds, days: u32) -> UnixSeconds {
    start.saturating_add(i64::from(days) * DAY)
}

fn init(args: &InitArgs, output: &mut Output) -> anyhow::Result<()> {
    let (certificate_file, key_file) = files(&args.directory);
    // Before somebody has thought of a passphrase.
    for path in [&certificate_file, &key_file] {
        if path.symlink_metadata().is_ok() {
            return Err(CliError::Exists { path: path.clone() }.into());
        }
    }
    let of_key = |cause| CliError::KeyPair { path: key_file.clone(), cause };
    let key = KeyPair::generate(args.curve.into()).map_err(of_key)?;
    let now = jiff::Timestamp::now().as_second();
    let certificate = Authority::create(&args.name, &key, now - EARLIER, days_after(now, args.days))
        .map_err(|cause| CliError::Issue { path: certificate_file.clone(), cause })?;
    let passphrase = args.passphrase.new_one()?;
    let encrypted = key.to_encrypted_pem(passphrase.as_bytes()).map_err(of_key)?;
    let files = [("ca.key", SECRET, encrypted.as_bytes()), ("ca.crt", PUBLIC, certificate.as_bytes())];
    NewFiles::make(&args.directory, &files)?.keep();
    if output.is_json() {
        return show(&args.directory, output);
    }
    output.line(&format!("authority `{}` made in {}", args.name, args.directory.display()))?;
    output.note(&format!(
        "brokers take {} as their `cafile`; without the passphrase, the key is of no use to anybody",
        certificate_file.display()
    ))
}

fn show(directory: &Path, output: &mut Output) -> anyhow::Result<()> {
    let (certificate_file, key_file) = files(directory);
    let described = certificate::describe(&read(&certificate_file)?).map_err(at(&certificate_file))?;
    let key = match std::fs::metadata(&key_file) {
        Ok(metadata) if open_to_others(&metadata).is_some() => "there, and open to others",
        Ok(_) => "there, encrypted",
        Err(_) => "not there",
    };
    if output.is_json() {
        return output.json(&to_json(&described, directory, key));
    }
    output.pairs(&[
        ("authority", described.subject.clone()),
        ("issuer", described.issuer.clone()),
        ("serial number", described.serial.clone()),
        ("not before", time(described.not_before)),
        ("not after", time(described.not_after)),
        ("public key SHA-256", described.spki_sha256.clone()),
        ("key", key.to_owned()),
    ])
}

fn to_json(described: &Description, directory: &Path, key: &str) -> serde_json::Value {
    json!({
        "directory": directory,
        "subject": described.subject,
        "issuer": described.issuer,
        "serial": described.serial,
        "not_before": time(described.not_before),
        "not_after": time(described.not_after),
        "sha256": described.sha256,
        "spki_sha256": described.spki_sha256,
        "key": key,
    })
}
