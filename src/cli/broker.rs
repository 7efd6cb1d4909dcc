//! `warden broker`.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::Exit;
use super::output::Output;
use super::place::Place;
use super::wait::{Confirmation, TimeoutArgs};
use crate::store::broker::Broker;

/// List the brokers that have registered, wait for them, forget those that are gone
#[derive(Debug, Subcommand)]
pub(super) enum BrokerCommand {
    List(ListArgs),
    Wait(WaitArgs),
    Forget(ForgetArgs),
}

/// List the brokers that have registered, and how far each has come
///
/// A broker registers if its plugin has the option `broker_name`. `live`: it says so often enough. `silent`: it does
/// not, and may be gone or cut off. `ended`: it has been stopped. BEHIND: by how many changes.
#[derive(Debug, Args)]
#[command(after_help = "\
EXAMPLES:
  warden broker list
  warden broker list --json | jq -r '.[] | select(.state != \"live\").name'")]
pub(super) struct ListArgs {}

/// Wait until every broker has carried out what is committed now
///
/// That is, whoever connects is judged by it, and the sessions that it forbids are closed. For changes made with plain
/// SQL; the commands that change something do the same with `--wait`.
#[derive(Debug, Args)]
#[command(after_help = "\
EXAMPLES:
  warden broker wait
  warden broker wait --timeout 1m")]
pub(super) struct WaitArgs {
    #[command(flatten)]
    timeout: TimeoutArgs,
}

/// Forget a broker that is gone, so that nobody waits for it any more
///
/// One that is not gone registers again when it can.
#[derive(Debug, Args)]
#[command(after_help = "\
EXAMPLES:
  warden broker forget oslo-2")]
pub(super) struct ForgetArgs {
    /// The broker's name
    broker: String,
}

pub(super) async fn run(command: BrokerCommand, place: &Place, output: &mut Output) -> anyhow::Result<Exit> {
    match command {
        BrokerCommand::List(_) => {
            let brokers = place.read(async |store| store.brokers().await).await?;
            list(&brokers, output)?;
        }
        BrokerCommand::Wait(WaitArgs { timeout }) => {
            let confirmation = Confirmation::of(place, timeout.duration()).await?;
            if output.is_json() {
                output.json(&confirmation.to_json())?;
            } else {
                confirmation.show(output)?;
            }
            return Ok(confirmation.exit());
        }
        BrokerCommand::Forget(ForgetArgs { broker }) => {
            place.write(async |store| store.forget_broker(&broker).await).await?;
            if output.is_json() {
                output.json(&json!({ "broker": broker, "changed": true }))?;
            } else {
                output.line(&format!("broker `{broker}` forgotten"))?;
            }
        }
    }
    Ok(Exit::Done)
}

fn list(brokers: &[Broker], output: &mut Output) -> anyhow::Result<()> {
    if output.is_json() {
        return output.json(&brokers.iter().map(to_json).collect());
    }
    let rows = brokers.iter().map(|broker| {
        vec![
            broker.name.clone(),
            broker.state.as_str().to_owned(),
            broker.sessions.to_string(),
            broker.revision.to_string(),
            broker.behind.to_string(),
            heard(broker),
            broker.mosquitto.clone(),
            broker.version.clone(),
        ]
    });
    let header = ["BROKER", "STATE", "SESSIONS", "REVISION", "BEHIND", "HEARD", "MOSQUITTO", "PLUGIN"];
    output.table(&header, rows.collect())?;
    if brokers.is_empty() {
        output.note("no broker has registered; the plugin's option `broker_name` has one do so")?;
    }
    Ok(())
}

/// How long ago a broker was heard of.
pub(super) fn heard(broker: &Broker) -> String {
    let (number, unit) = match broker.seconds_since {
        seconds @ ..120 => (seconds, "s"),
        seconds @ 120..7200 => (seconds / 60, "m"),
        seconds @ 7200..172_800 => (seconds / 3600, "h"),
        seconds => (seconds / 86_400, "d"),
    };
    format!("{number}{unit} ago")
}

fn to_json(broker: &Broker) -> Value {
    json!({
        "name": broker.name,
        "state": broker.state.as_str(),
        "sessions": broker.sessions,
        "revision": broker.revision,
        "behind": broker.behind,
        "seconds_since": broker.seconds_since,
        "seen_at": broker.seen_at,
        "started_at": broker.started_at,
        "mosquitto": broker.mosquitto,
        "version": broker.version,
    })
}
