//! `warden import`: what Mosquitto and other plugins have in files and tables.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};

use super::Exit;
use super::error::CliError;
use super::import_apply::{self, Manner};
use super::import_verify;
use super::output::Output;
use super::place::Place;
use crate::database::Database;
use crate::import::acl_file::AclFile;
use crate::import::acl_plan::{self, Reading};
use crate::import::dynsec::Dynsec;
use crate::import::plan::{Finding, Weight};
use crate::import::{Series, dynsec_plan, go_auth, secret_file};
use crate::store;

/// Bring devices, credentials, roles and rules over from Mosquitto's own files and from other plugins
///
/// All of a file is imported in one transaction, or nothing of it. What cannot be said the same way here is reported:
/// a `mistake` is not imported (and nothing is, without `--skip-bad`), `wider` and `narrower` tell what will be allowed
/// or denied that was not. A second import of the same file changes nothing, and what a newer one no longer says is not
/// taken back.
#[derive(Debug, Subcommand)]
pub(super) enum ImportCommand {
    AclFile(AclFileArgs),
    PasswordFile(SecretFileArgs),
    PskFile(PskFileArgs),
    Dynsec(DynsecArgs),
    GoAuthSql(GoAuthArgs),
}

#[derive(Debug, Args)]
pub(super) struct MannerArgs {
    /// Report what would be done, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Leave out what cannot be imported, and import the rest
    #[arg(long)]
    skip_bad: bool,
}

impl MannerArgs {
    const fn manner(&self, replace_roles: bool) -> Manner {
        Manner { dry_run: self.dry_run, skip_bad: self.skip_bad, replace_roles }
    }
}

/// A release series of Mosquitto
#[derive(Debug, Clone, Copy, ValueEnum)]
enum SeriesWord {
    #[value(name = "2.0")]
    V20,
    #[value(name = "2.1")]
    V21,
}

impl From<SeriesWord> for Series {
    fn from(word: SeriesWord) -> Self {
        match word {
            SeriesWord::V20 => Self::V20,
            SeriesWord::V21 => Self::V21,
        }
    }
}

/// Import an `acl_file`: a role for each different set of topics, and one for the patterns, which every device gets
#[derive(Debug, Args)]
#[command(after_help = "\
EXAMPLES:
  warden import acl-file mosquitto.acl --dry-run
  warden import acl-file mosquitto.acl
  warden import acl-file mosquitto.acl --verify")]
pub(super) struct AclFileArgs {
    /// The file
    file: PathBuf,
    /// The release whose reading of `%u` and `%c` is meant
    #[arg(long, value_name = "SERIES", default_value = "2.1")]
    mosquitto: SeriesWord,
    /// Accept any subscription and limit deliveries alone, as Mosquitto does
    #[arg(long)]
    keep_subscriptions: bool,
    /// Give roles that are there with other rules the rules of the file
    #[arg(long)]
    replace_roles: bool,
    /// Change nothing; ask the file and the database the same questions, and list where they differ
    #[arg(long, conflicts_with_all = ["dry_run", "skip_bad", "replace_roles", "keep_subscriptions"])]
    verify: bool,
    #[command(flatten)]
    manner: MannerArgs,
}

/// Import a `password_file`: a device with a password for each user; hashes stay as they are
#[derive(Debug, Args)]
#[command(after_help = "\
EXAMPLES:
  warden import password-file mosquitto.passwd --role sensor")]
pub(super) struct SecretFileArgs {
    /// The file
    file: PathBuf,
    /// Each of its devices gets this role; may be repeated
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    #[command(flatten)]
    manner: MannerArgs,
}

/// Import a `psk_file`: a device with a pre-shared key for each identity; keys are sealed
#[derive(Debug, Args)]
#[command(after_help = "\
EXAMPLES:
  warden import psk-file mosquitto.psk --role sensor --skip-bad")]
pub(super) struct PskFileArgs {
    #[command(flatten)]
    args: SecretFileArgs,
}

/// Import `dynamic-security.json`: clients become devices, roles stay roles, groups become roles of their members
#[derive(Debug, Args)]
#[command(after_help = "\
EXAMPLES:
  warden import dynsec dynamic-security.json --dry-run
  warden import dynsec dynamic-security.json
  warden import dynsec dynamic-security.json --verify")]
pub(super) struct DynsecArgs {
    /// The file
    file: PathBuf,
    /// The release whose reading of `%u` and `%c` is meant
    #[arg(long, value_name = "SERIES", default_value = "2.1")]
    mosquitto: SeriesWord,
    /// Give roles that are there with other rules the rules of the file
    #[arg(long)]
    replace_roles: bool,
    /// Change nothing; ask the file and the database the same questions, and list where they differ
    #[arg(long, conflicts_with_all = ["dry_run", "skip_bad", "replace_roles"])]
    verify: bool,
    #[command(flatten)]
    manner: MannerArgs,
}

/// Import the tables of mosquitto-go-auth from SQLite, PostgreSQL, MariaDB or MySQL
#[derive(Debug, Args)]
#[command(after_help = "\
EXAMPLES:
  warden import go-auth-sql go-auth.db --dry-run
  warden import go-auth-sql go-auth.db
  warden import go-auth-sql go-auth.db --verify
  warden import go-auth-sql go-auth.db --users \\
    'SELECT username, password_hash, is_admin FROM test_user'")]
pub(super) struct GoAuthArgs {
    /// The database: a path, or an address such as `postgres://user@host/database`
    #[arg(value_name = "DATABASE")]
    from: String,
    /// The query for users: columns `username`, `password_hash` and `is_admin` [default: of the table `test_user`]
    #[arg(long, value_name = "SQL")]
    users: Option<String>,
    /// The query for ACLs: columns `username`, `topic` and `rw` [default: of the table `test_acl`]
    #[arg(long, value_name = "SQL")]
    acls: Option<String>,
    /// Give roles that are there with other rules the rules of the tables
    #[arg(long)]
    replace_roles: bool,
    /// Change nothing; ask the tables and the database the same questions, and list where they differ
    #[arg(long, conflicts_with_all = ["dry_run", "skip_bad", "replace_roles"])]
    verify: bool,
    #[command(flatten)]
    manner: MannerArgs,
}

pub(super) async fn run(command: ImportCommand, place: &Place, output: &mut Output) -> anyhow::Result<Exit> {
    match command {
        ImportCommand::AclFile(args) => {
            let (file, mistakes) = AclFile::parse(&read(&args.file)?);
            let series = args.mosquitto.into();
            if args.verify {
                return import_verify::acl_file(&file, &mistakes, series, place, output).await;
            }
            let reading = Reading { series, keep_subscriptions: args.keep_subscriptions };
            let mut plan = acl_plan::plan(&file, reading);
            plan.findings.extend(mistakes);
            import_apply::run("acl-file", plan, args.manner.manner(args.replace_roles), place, output).await
        }
        ImportCommand::PasswordFile(args) => {
            secret_file("password-file", secret_file::Kind::Passwords, &args, place, output).await
        }
        ImportCommand::PskFile(PskFileArgs { args }) => {
            secret_file("psk-file", secret_file::Kind::Psks, &args, place, output).await
        }
        ImportCommand::Dynsec(args) => {
            let parsed = Dynsec::parse(&read(&args.file)?);
            let dynsec = parsed.map_err(|cause| CliError::Content { path: args.file.clone(), cause })?;
            let series = args.mosquitto.into();
            if args.verify {
                return import_verify::dynsec(&dynsec, series, place, output).await;
            }
            let plan = dynsec_plan::plan(&dynsec, series);
            import_apply::run("dynsec", plan, args.manner.manner(args.replace_roles), place, output).await
        }
        ImportCommand::GoAuthSql(args) => {
            let (users, acls) = go_auth_rows(&args).await?;
            if args.verify {
                return import_verify::go_auth(&users, &acls, place, output).await;
            }
            let mut plan = go_auth::plan(&users, &acls);
            if users.is_empty() {
                plan.findings.push(Finding {
                    weight: Weight::Note,
                    line: None,
                    words: "the table of users is empty".to_owned(),
                });
            }
            import_apply::run("go-auth-sql", plan, args.manner.manner(args.replace_roles), place, output).await
        }
    }
}

async fn secret_file(
    source: &'static str,
    kind: secret_file::Kind,
    args: &SecretFileArgs,
    place: &Place,
    output: &mut Output,
) -> anyhow::Result<Exit> {
    let plan = secret_file::plan(&read(&args.file)?, kind, &args.roles);
    import_apply::run(source, plan, args.manner.manner(false), place, output).await
}

async fn go_auth_rows(args: &GoAuthArgs) -> anyhow::Result<(Vec<go_auth::User>, Vec<go_auth::Acl>)> {
    let database = Database::parse(&args.from).map_err(|error| CliError::Nonsense(error.to_string()))?;
    if let Some(path) = database.path() {
        // SQLite's own words do not say which file is missing.
        std::fs::metadata(path).map_err(|cause| CliError::Unreadable { path: path.to_owned(), cause })?;
    }
    let users = args.users.as_deref().unwrap_or(store::go_auth::USERS);
    let acls = args.acls.as_deref().unwrap_or(store::go_auth::ACLS);
    let (users, acls) = store::go_auth::read(&database, users, acls).await?;
    let user = |(name, password_hash, is_admin)| go_auth::User { name, password_hash, is_admin };
    let acl = |(user, topic, rw)| go_auth::Acl { user, topic, rw };
    Ok((users.into_iter().map(user).collect(), acls.into_iter().map(acl).collect()))
}

/// All of a file; `-` is standard input. What it holds may be secret, and is not shown.
pub(super) fn read(path: &Path) -> Result<zeroize::Zeroizing<Vec<u8>>, CliError> {
    let read = if path == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut std::io::stdin().lock(), &mut bytes).map(|_| bytes)
    } else {
        std::fs::read(path)
    };
    read.map(zeroize::Zeroizing::new).map_err(|cause| CliError::Unreadable { path: path.to_owned(), cause })
}
