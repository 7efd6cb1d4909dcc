//! `warden test`.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::Exit;
use super::error::CliError;
use super::output::Output;
use super::place::Place;
use crate::audit::expectation::{Expectation, Finding, read};

/// Say whether the policy says what a file expects of it
///
/// The file is TOML, a table `[[test]]` for each expectation: `device`, `action` (publish, subscribe or receive),
/// `topic`, and `expect` (allowed or denied). It may also say `qos`, `retain`, `client_id`, `credential` (KIND
/// IDENTITY: by which the device is here), and expect a `reason`, a `rule` (its number) or a `role` (of the rule).
/// Without `client_id`, what binds the device to certain client ids is left out of account. Ends with 8 where an
/// expectation does not hold.
#[derive(Debug, Args)]
#[command(after_help = "\
EXAMPLES:
  warden test policy-test.toml
  warden test policy-test.toml --json | jq '.[] | select(.holds | not)'")]
pub(super) struct TestArgs {
    /// What is expected
    file: PathBuf,
}

pub(super) async fn run(args: &TestArgs, place: &Place, output: &mut Output) -> anyhow::Result<Exit> {
    let path = || args.file.clone();
    let text = std::fs::read_to_string(&args.file).map_err(|cause| CliError::Unreadable { path: path(), cause })?;
    let expectations = read(&text).map_err(|mistakes| CliError::Mistakes { path: path(), mistakes })?;
    let (policy, _) = place.read(async |store| store.policy().await).await?;
    let now = jiff::Timestamp::now().as_second();
    let asked: Vec<_> = expectations.iter().map(|it| (it, it.unmet(&policy, now))).collect();
    let unmet: Vec<_> = asked.iter().filter_map(|(it, unmet)| unmet.as_ref().map(|unmet| (*it, unmet))).collect();
    if output.is_json() {
        output.json(&asked.iter().map(|(it, unmet)| to_json(it, unmet.as_ref())).collect())?;
    } else {
        if !unmet.is_empty() {
            let rows = unmet.iter().map(|(it, unmet)| row(it, unmet)).collect();
            output.table(&["LINE", "DEVICE", "ACTION", "TOPIC", "EXPECTED", "FOUND", "WHY"], rows)?;
        }
        output.line(&format!("{} of {} hold", asked.len() - unmet.len(), asked.len()))?;
    }
    Ok(if unmet.is_empty() { Exit::Done } else { Exit::Found })
}

fn verdict(allowed: bool) -> &'static str {
    if allowed { "allowed" } else { "denied" }
}

fn row(it: &Expectation, unmet: &Finding) -> Vec<String> {
    let rule = it.rule.map(|rule| format!("rule {rule}"));
    let role = it.role.as_ref().map(|role| format!("role {role}"));
    let expected = [Some(verdict(it.allowed).to_owned()), it.reason.clone(), rule, role];
    let conditions = [
        (it.qos > 0).then(|| format!("qos {}", it.qos)),
        it.retain.then(|| "retained".to_owned()),
        it.client_id.as_ref().map(|id| format!("as {id}")),
        it.credential.as_ref().map(|(kind, identity)| format!("by {} {identity}", kind.as_str())),
    ];
    let action = std::iter::once(it.action.to_string()).chain(conditions.into_iter().flatten());
    let decided = unmet.rule.as_ref().map(|(id, role, words)| format!("rule {id} of role {role}: {words}"));
    vec![
        it.line.to_string(),
        it.device.clone(),
        action.collect::<Vec<_>>().join(", "),
        it.topic.clone(),
        expected.into_iter().flatten().collect::<Vec<_>>().join(", "),
        format!("{}, {}", verdict(unmet.allowed), unmet.reason),
        decided.or_else(|| unmet.why.first().cloned()).unwrap_or_default(),
    ]
}

fn to_json(it: &Expectation, unmet: Option<&Finding>) -> Value {
    let found = unmet.map(|unmet| {
        json!({
            "verdict": verdict(unmet.allowed),
            "reason": unmet.reason.as_str(),
            "rule": unmet.rule.as_ref().map(|(id, role, words)| json!({ "id": id, "role": role, "words": words })),
            "why": unmet.why,
        })
    });
    json!({
        "line": it.line,
        "device": it.device,
        "action": it.action.as_str(),
        "topic": it.topic,
        "qos": it.qos,
        "retain": it.retain,
        "client_id": it.client_id,
        "expect": verdict(it.allowed),
        "holds": unmet.is_none(),
        "found": found,
    })
}
