//! The command `warden`: words in, one verb of the store, words out. One file for each noun.
//!
//! Arguments are parsed and checked here and in the files below; past that nobody reads a string again. What is true of
//! the database is the store's business, what a rule means the policy's.

mod apply;
mod broker;
mod ca;
mod certificate;
mod completions;
mod confirm;
mod credential;
mod crl;
mod db;
mod device;
mod device_import;
mod device_revoke;
mod diff;
mod doctor;
mod ending;
mod entries;
mod error;
mod exit;
mod explain;
mod export;
mod findings;
mod import;
mod import_apply;
mod import_verify;
mod init;
mod issue;
mod issued;
mod key;
mod lint;
mod new_files;
mod new_keys;
mod output;
mod passphrase;
mod password;
mod place;
mod progress;
mod role;
mod rotation;
mod rule;
mod sealing;
mod status;
mod test;
mod wait;
mod words;

use std::io::Write;

use clap::{Parser, Subcommand};

pub use exit::Exit;
use output::Output;
use place::PlaceArgs;

/// Says which devices may use an MQTT broker, and what each of them may do there.
///
/// Every change is in force at once, on every broker that runs the plugin with this database.
#[derive(Debug, Parser)]
#[command(name = "warden", version, max_term_width = 100, after_help = HELP)]
pub struct Cli {
    #[command(flatten)]
    place: PlaceArgs,

    /// Write results as JSON
    #[arg(long, global = true, help_heading = "Global options")]
    json: bool,

    #[command(subcommand)]
    command: Command,
}

const HELP: &str = "\
EXIT CODES:
  0  done; for `explain`: allowed
  1  failed
  2  the command line makes no sense
  3  for `explain`: denied
  4  no such device, credential, role, rule or broker
  5  in conflict with what is there
  6  the database or the key file cannot be used
  7  for `--wait` and `broker wait`: not every broker has confirmed in time
  8  for `lint` and `doctor`: something is found; for `test`: something does not hold;
     for `diff`, `apply --dry-run` and `import --verify`: there is a difference
  130  interrupted by Ctrl-C; whole batches are done

EXAMPLES:
  warden init
  warden role add sensor
  warden rule add sensor allow publish 'devices/%u/#'
  warden device add device-001 --cn --role sensor
  warden explain device-001 publish devices/device-001/temperature
  warden ca init fleet-ca
  warden certificate issue device-002 --ca fleet-ca
  warden device revoke device-001 --reason stolen";

#[derive(Debug, Subcommand)]
enum Command {
    Init(init::InitArgs),
    #[command(subcommand)]
    Device(device::DeviceCommand),
    #[command(subcommand)]
    Credential(credential::CredentialCommand),
    #[command(subcommand)]
    Certificate(certificate::CertificateCommand),
    #[command(subcommand)]
    Ca(ca::CaCommand),
    #[command(subcommand)]
    Crl(crl::CrlCommand),
    #[command(subcommand)]
    Key(sealing::KeyCommand),
    #[command(subcommand)]
    Role(role::RoleCommand),
    #[command(subcommand)]
    Rule(rule::RuleCommand),
    #[command(subcommand)]
    Broker(broker::BrokerCommand),
    #[command(subcommand)]
    Import(import::ImportCommand),
    #[command(subcommand)]
    Db(db::DbCommand),
    Explain(explain::ExplainArgs),
    Test(test::TestArgs),
    Export(export::ExportArgs),
    Apply(apply::ApplyArgs),
    Diff(diff::DiffArgs),
    Lint(lint::LintArgs),
    Doctor(doctor::DoctorArgs),
    Status(status::StatusArgs),
    Completions(completions::CompletionsArgs),
}

/// Reads the command line. Does not return when it makes no sense or asks for help.
pub fn parse() -> Cli {
    Cli::parse()
}

/// Does what was asked.
pub fn run(cli: Cli) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut output = Output::new(cli.json);
    let exit = runtime.block_on(dispatch(cli, &mut output))?;
    output.finish()?;
    Ok(exit)
}

async fn dispatch(cli: Cli, output: &mut Output) -> anyhow::Result<Exit> {
    if let Command::Completions(args) = cli.command {
        return completions::run(&args, output);
    }
    if let Command::Doctor(args) = cli.command {
        return doctor::run(&args, output).await;
    }
    // It can be done on a machine that has no database.
    if let Command::Ca(command) = cli.command {
        return ca::run(command, output);
    }
    let place = cli.place.resolve()?;
    match cli.command {
        Command::Init(args) => init::run(&args, &place, output).await,
        Command::Device(command) => device::run(command, &place, output).await,
        Command::Credential(command) => credential::run(command, &place, output).await,
        Command::Certificate(command) => certificate::run(command, &place, output).await,
        Command::Crl(command) => crl::run(command, &place, output).await,
        Command::Key(command) => sealing::run(command, &place, output).await,
        Command::Role(command) => role::run(command, &place, output).await,
        Command::Rule(command) => rule::run(command, &place, output).await,
        Command::Broker(command) => broker::run(command, &place, output).await,
        Command::Import(command) => import::run(command, &place, output).await,
        Command::Db(command) => db::run(command, &place, output).await,
        Command::Explain(args) => explain::run(&args, &place, output).await,
        Command::Test(args) => test::run(&args, &place, output).await,
        Command::Export(args) => export::run(&args, &place, output).await,
        Command::Apply(args) => apply::run(&args, &place, output).await,
        Command::Diff(args) => diff::run(&args, &place, output).await,
        Command::Lint(args) => lint::run(&args, &place, output).await,
        Command::Status(_) => status::run(&place, output).await,
        Command::Completions(_) | Command::Doctor(_) | Command::Ca(_) => Ok(Exit::Done),
    }
}

/// Tells the operator what went wrong, once, and says how the command ends.
pub fn report(error: &anyhow::Error) -> Exit {
    // Whoever reads our output has seen enough: `warden device list | head`.
    let closed = |cause: &std::io::Error| cause.kind() == std::io::ErrorKind::BrokenPipe;
    if error.downcast_ref().is_some_and(closed) {
        return Exit::Done;
    }
    let mut stderr = std::io::stderr().lock();
    // There is nobody left to tell if this fails.
    let _ = writeln!(stderr, "error: {}", output::printable(&format!("{error:#}")));
    if let Some(hint) = error::hint(error) {
        let _ = writeln!(stderr, "\nhint: {}", output::printable(&hint));
    }
    Exit::of(error)
}
