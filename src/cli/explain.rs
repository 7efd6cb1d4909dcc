//! `warden explain`: what the broker would be told, by the engine that tells it.

use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};

use super::Exit;
use super::output::Output;
use super::place::Place;
use super::words::ActionWord;
use crate::policy::decision::{Question, Verdict};
use crate::policy::device::Rights;
use crate::policy::explain::{Explanation, explain};
use crate::policy::rule::Rule;
use crate::policy::snapshot::Proof;

/// Say whether a device may do something, and why
///
/// Ends with 0 where it may and with 3 where it may not. Without `--client-id`, what binds the device to certain client
/// ids is left out of account.
#[derive(Debug, Args)]
#[command(after_help = "\
EXAMPLES:
  warden explain device-001 publish devices/device-001/temperature
  warden explain device-001 subscribe '$share/workers/devices/+/cmd' --qos 1
  warden explain device-001 publish devices/device-001/state --retain \\
    --client-id device-001 --json")]
pub(super) struct ExplainArgs {
    /// The device's name
    device: String,
    /// What the device wants to do
    action: ActionWord,
    /// A topic; for subscribe, a topic filter
    topic: String,
    /// The QoS of the message, or the one asked for
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=2))]
    qos: u8,
    /// The message is to be retained
    #[arg(long)]
    retain: bool,
    /// The client id that the device connects with
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
}

pub(super) async fn run(args: &ExplainArgs, place: &Place, output: &mut Output) -> anyhow::Result<Exit> {
    let snapshot = place.read(async |store| store.policy_of(&args.device).await).await?;
    let device = snapshot.device_named(&args.device).context("the row of the device cannot be read")?;
    let client_id = args.client_id.as_deref();
    let action = args.action.into();
    let question = Question { action, topic: &args.topic, qos: args.qos, retain: args.retain };
    let proof = Proof::UserName(&args.device);
    let now = jiff::Timestamp::now().as_second();
    let presence =
        if client_id.is_some() { snapshot.admit(proof, client_id, now) } else { snapshot.present(proof, now) };
    // Who only has what it begins its life with is judged by that.
    let rights = presence.as_ref().map_or(Rights::Own, |present| present.rights);
    let explanation = explain(snapshot.roles_of(device, rights), &device.names(client_id), &question);
    // Whoever may not be here may do nothing, whatever its roles say.
    let refused = presence.err().map(|refusal| Verdict::deny(refusal.reason));
    let verdict = refused.unwrap_or(explanation.verdict);
    if output.is_json() {
        output.json(&to_json(args, verdict, &explanation))?;
    } else {
        show(verdict, refused.is_some(), &explanation, output)?;
    }
    Ok(if verdict.allowed { Exit::Done } else { Exit::Denied })
}

fn show(verdict: Verdict, refused: bool, explanation: &Explanation<'_>, output: &mut Output) -> anyhow::Result<()> {
    output.line(&sentence(verdict))?;
    if refused {
        output.line(&format!("its roles alone say: {}", sentence(explanation.verdict)))?;
    }
    if let Some((role, rule)) = explanation.deciding {
        output.line(&format!("  rule {} of role `{role}`: {rule}", rule.id))?;
    }
    if !explanation.near.is_empty() {
        output.line("nearly:")?;
    }
    for near in &explanation.near {
        output.line(&format!("  rule {} of role `{}`: {}", near.rule.id, near.role, near.rule))?;
        output.line(&format!("    {}", near.why))?;
    }
    Ok(())
}

fn sentence(verdict: Verdict) -> String {
    let verb = if verdict.allowed { "allowed" } else { "denied" };
    let rule = verdict.rule.map_or_else(String::new, |id| format!(", rule {id}"));
    format!("{verb}: {}{rule}", verdict.reason)
}

fn to_json(args: &ExplainArgs, verdict: Verdict, explanation: &Explanation<'_>) -> Value {
    let rule = |role: &str, rule: &Rule| {
        json!({
            "id": rule.id,
            "role": role,
            "effect": rule.effect.as_str(),
            "action": rule.actions.as_str(),
            "topic": rule.topic.as_str(),
            "max_qos": rule.max_qos,
            "retain": rule.retain,
        })
    };
    let near =
        explanation.near.iter().map(|near| json!({ "rule": rule(near.role, near.rule), "why": near.why.to_string() }));
    json!({
        "device": args.device,
        "action": crate::policy::decision::Action::from(args.action).as_str(),
        "topic": args.topic,
        "qos": args.qos,
        "retain": args.retain,
        "client_id": args.client_id,
        "allowed": verdict.allowed,
        "reason": verdict.reason.as_str(),
        "rules_reason": explanation.verdict.reason.as_str(),
        "rule": explanation.deciding.map(|(role, deciding)| rule(role, deciding)),
        "near": near.collect::<Value>(),
    })
}
