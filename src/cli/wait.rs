//! `--wait`: a command that ends when every broker has carried out what it has changed.

use std::time::Duration;

use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout_at};

use super::Exit;
use super::broker::heard;
use super::output::Output;
use super::place::Place;
use crate::store::StoreError;
use crate::store::broker::{Broker, BrokerState};

/// How often it is asked how far the brokers are.
const ASK_EVERY: Duration = Duration::from_millis(20);
/// How long one answer of the database may take, beyond the time that the brokers have.
const FOR_THE_DATABASE: Duration = Duration::from_secs(5);

/// How long to wait.
#[derive(Debug, Args)]
pub(super) struct TimeoutArgs {
    /// How long to wait for them at most
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

impl TimeoutArgs {
    pub(super) const fn duration(&self) -> Duration {
        self.timeout
    }
}

/// Whether to wait, and how long.
#[derive(Debug, Args)]
pub(super) struct WaitArgs {
    /// End when every broker that has registered has carried it out, or else with exit code 7
    #[arg(long)]
    wait: bool,
    /// How long to wait for them at most
    #[arg(long, value_name = "TIME", default_value = "10s", requires = "wait", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

impl WaitArgs {
    /// Says what was changed, as `object` or as `line`, and waits where that is wanted.
    pub(super) async fn finish(
        &self,
        place: &Place,
        output: &mut Output,
        mut object: Value,
        line: &str,
    ) -> anyhow::Result<Exit> {
        if !output.is_json() {
            output.line(line)?;
        }
        let mut exit = Exit::Done;
        if self.wait {
            let confirmation = Confirmation::of(place, self.timeout).await;
            let confirmation =
                confirmation.context("it is committed, but which broker has carried it out is not known")?;
            exit = confirmation.exit();
            if !output.is_json() {
                confirmation.show(output)?;
            } else if let Some(object) = object.as_object_mut() {
                object.insert("confirmation".to_owned(), confirmation.to_json());
            }
        }
        if output.is_json() {
            output.json(&object)?;
        }
        Ok(exit)
    }
}

/// Which brokers have carried out what was committed when it was asked for.
#[derive(Debug)]
pub(super) struct Confirmation {
    checkpoint: i64,
    brokers: Vec<Broker>,
}

impl Confirmation {
    /// Waits, at most `timeout`, until every broker has; one that has ended has nobody connected.
    pub(super) async fn of(place: &Place, timeout: Duration) -> Result<Self, StoreError> {
        let deadline = Instant::now() + timeout;
        let asking = async {
            let mut store = place.open().await?;
            let checkpoint = store.raise_checkpoint().await?;
            let confirmation = loop {
                let confirmation = Self { checkpoint, brokers: store.brokers().await? };
                if confirmation.missing().next().is_none() || Instant::now() >= deadline {
                    break confirmation;
                }
                sleep(ASK_EVERY).await;
            };
            store.close().await?;
            Ok(confirmation)
        };
        timeout_at(deadline + FOR_THE_DATABASE, asking).await.unwrap_or(Err(StoreError::Silent))
    }

    fn has_confirmed(&self, broker: &Broker) -> bool {
        broker.confirmed >= self.checkpoint
    }

    fn confirmed(&self) -> impl Iterator<Item = &Broker> {
        self.brokers.iter().filter(|broker| broker.state != BrokerState::Ended && self.has_confirmed(broker))
    }

    fn missing(&self) -> impl Iterator<Item = &Broker> {
        self.brokers.iter().filter(|broker| broker.state != BrokerState::Ended && !self.has_confirmed(broker))
    }

    /// Where nobody has registered, nobody has confirmed anything.
    pub(super) fn exit(&self) -> Exit {
        if self.brokers.is_empty() || self.missing().next().is_some() { Exit::NotConfirmed } else { Exit::Done }
    }

    pub(super) fn show(&self, output: &mut Output) -> anyhow::Result<()> {
        if self.brokers.is_empty() {
            return output.note(
                "no broker has registered, so nobody knows whether it is carried out; \
                 the plugin's option `broker_name` has a broker register",
            );
        }
        let names: Vec<String> = self.confirmed().map(|broker| format!("`{}`", broker.name)).collect();
        if !names.is_empty() {
            output.line(&format!("carried out by {}", names.join(", ")))?;
        } else if self.missing().next().is_none() {
            output.line("no broker is running")?;
        }
        for broker in self.missing() {
            let (name, state, heard) = (&broker.name, broker.state.as_str(), heard(broker));
            output.note(&format!("not confirmed by `{name}`, which is {state}, heard of {heard}"))?;
        }
        if self.missing().any(|broker| broker.state == BrokerState::Silent) {
            output.note(
                "\nhint: `warden broker forget` is for brokers that are gone; others may go on serving clients",
            )?;
        }
        Ok(())
    }

    pub(super) fn to_json(&self) -> Value {
        let object = |broker: &Broker| {
            json!({
                "name": broker.name,
                "state": broker.state.as_str(),
                "confirmed": self.has_confirmed(broker),
            })
        };
        let waited_for = self.brokers.iter().filter(|broker| broker.state != BrokerState::Ended);
        json!({
            "confirmed": self.exit() == Exit::Done,
            "brokers": waited_for.map(object).collect::<Value>(),
        })
    }
}
