//! The same questions to an old file and to the database, and where the answers differ.
//!
//! The file is read by evaluators of their own, which know nothing of our engine.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::Exit;
use super::error::CliError;
use super::import_apply::show_findings;
use super::output::Output;
use super::place::Place;
use crate::import::acl_file::AclFile;
use crate::import::acl_judge::{self, Who};
use crate::import::dynsec::Dynsec;
use crate::import::go_auth::{Acl, User};
use crate::import::plan::Finding;
use crate::import::questions::{OTHER_CLIENT_ID, Questions};
use crate::import::{Series, dynsec_judge, go_auth_judge};
use crate::policy::decision::{Action, Question};
use crate::policy::device::Rights;
use crate::policy::snapshot::Snapshot;

/// An answer that is another now.
#[derive(Debug)]
struct Difference {
    device: String,
    client_id: String,
    action: Action,
    topic: String,
    before: bool,
    reason: String,
}

/// What the comparison has come to.
#[derive(Debug, Default)]
struct Comparison {
    asked: usize,
    left_out: usize,
    /// Users of the file that are no devices here.
    absent: BTreeSet<String>,
    differences: Vec<Difference>,
}

/// Compares an `acl_file`.
pub(super) async fn acl_file(
    file: &AclFile,
    mistakes: &[Finding],
    series: Series,
    place: &Place,
    output: &mut Output,
) -> anyhow::Result<Exit> {
    if !mistakes.is_empty() {
        show_findings(mistakes, output)?;
        return Err(CliError::BadEntries { count: mistakes.len() }.into());
    }
    let (snapshot, _) = place.read(async |store| store.policy().await).await?;
    let mut comparison = Comparison::default();
    for user in &file.users {
        let others = file.users.iter().filter(|other| other.name != user.name).flat_map(|other| &other.entries);
        let entries = user.entries.iter().chain(&file.patterns).chain(others).chain(&file.anonymous);
        let filters: Vec<&str> = entries.map(|entry| &*entry.topic).collect();
        comparison.client(&snapshot, &user.name, &filters, |client_id, action, topic| {
            acl_judge::allows(file, series, Who { user: Some(&user.name), client_id }, action, topic)
        });
    }
    comparison.show(output)
}

/// Compares the file of the dynamic-security plugin.
pub(super) async fn dynsec(
    dynsec: &Dynsec,
    series: Series,
    place: &Place,
    output: &mut Output,
) -> anyhow::Result<Exit> {
    let (snapshot, _) = place.read(async |store| store.policy().await).await?;
    let mut comparison = Comparison::default();
    for client in &dynsec.clients {
        let own = dynsec.roles_of(client);
        let others = dynsec.roles.iter().filter(|role| !own.iter().any(|own| own.rolename == role.rolename));
        let roles = own.iter().copied().chain(others);
        let filters: Vec<&str> = roles.flat_map(|role| &role.acls).map(|acl| &*acl.topic).collect();
        comparison.client(&snapshot, &client.username, &filters, |client_id, action, topic| {
            dynsec_judge::allows(dynsec, series, &client.username, client_id, action, topic)
        });
    }
    comparison.show(output)
}

/// Compares the tables of go-auth.
pub(super) async fn go_auth(users: &[User], acls: &[Acl], place: &Place, output: &mut Output) -> anyhow::Result<Exit> {
    let (snapshot, _) = place.read(async |store| store.policy().await).await?;
    let mut comparison = Comparison::default();
    for user in users {
        let (own, others): (Vec<&Acl>, Vec<&Acl>) = acls.iter().partition(|acl| acl.user == user.name);
        let filters: Vec<&str> = own.iter().chain(&others).map(|acl| &*acl.topic).collect();
        comparison.client(&snapshot, &user.name, &filters, |client_id, action, topic| {
            go_auth_judge::allows(users, acls, &user.name, client_id, action, topic)
        });
    }
    comparison.show(output)
}

impl Comparison {
    /// Asks about one client, under two client ids.
    fn client(
        &mut self,
        snapshot: &Snapshot,
        user: &str,
        filters: &[&str],
        before: impl Fn(&str, Action, &str) -> bool,
    ) {
        let Some(device) = snapshot.device_named(user) else {
            self.absent.insert(user.to_owned());
            return;
        };
        for client_id in [user, OTHER_CLIENT_ID] {
            let questions = Questions::new(filters.iter().copied(), user, client_id);
            self.left_out += questions.left_out;
            for (action, topic) in questions.iter() {
                self.asked += 1;
                let before = before(client_id, action, topic);
                let question = Question { action, topic, qos: 0, retain: false };
                let now = snapshot.judge(device, Rights::Own, Some(client_id), &question);
                // The broker answers for both sides before anybody is asked.
                let by_broker = action == Action::Publish && topic.starts_with("$SYS/");
                if before != (now.allowed && !by_broker) {
                    self.differences.push(Difference {
                        device: user.to_owned(),
                        client_id: client_id.to_owned(),
                        action,
                        topic: topic.to_owned(),
                        before,
                        reason: now.reason.to_string(),
                    });
                }
            }
        }
    }

    fn show(&self, output: &mut Output) -> anyhow::Result<Exit> {
        let same = self.differences.is_empty() && self.absent.is_empty();
        if output.is_json() {
            output.json(&json!({
                "asked": self.asked,
                "filters_left_out": self.left_out,
                "absent": self.absent,
                "differences": self.differences.iter().map(Difference::to_json).collect::<Value>(),
            }))?;
        } else {
            for user in &self.absent {
                output.line(&format!("`{user}` is no device here"))?;
            }
            for it in &self.differences {
                let (weight, was) = if it.before { ("narrower", "allowed") } else { ("wider", "denied") };
                output.line(&format!(
                    "{weight}: {} {} {} (client id {}): was {was}, now {}",
                    it.device, it.action, it.topic, it.client_id, it.reason
                ))?;
            }
            let narrower = self.differences.iter().filter(|it| it.before).count();
            let asked_for = self.differences.iter().filter(|it| it.action == Action::Subscribe).count();
            output.line(&format!(
                "{} questions asked, {} answers differ: {narrower} narrower, {} wider; {asked_for} are about subscriptions",
                self.asked,
                self.differences.len(),
                self.differences.len() - narrower,
            ))?;
            if self.left_out > 0 {
                output.line(&format!("{} filters were left out, for being too many", self.left_out))?;
            }
        }
        Ok(if same { Exit::Done } else { Exit::Found })
    }
}

impl Difference {
    fn to_json(&self) -> Value {
        json!({
            "device": self.device,
            "client_id": self.client_id,
            "action": self.action.as_str(),
            "topic": self.topic,
            "before": if self.before { "allowed" } else { "denied" },
            "now": if self.before { "denied" } else { "allowed" },
            "reason": self.reason,
        })
    }
}
