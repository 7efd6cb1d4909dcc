//! `warden rule`.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::Exit;
use super::output::Output;
use super::place::Place;
use super::wait::WaitArgs;
use super::words::{EffectWord, RuleActionWord, rule_topic};
use crate::store::rule::{NewRule, Rule};

/// Add, list and remove the rules of roles
#[derive(Debug, Subcommand)]
pub(super) enum RuleCommand {
    Add(AddArgs),
    List(ListArgs),
    Remove(RemoveArgs),
}

/// Add a rule to a role
///
/// A topic may hold `%u` (the device's name), `%c` (the client id) and `%{attribute}`. Any deny wins over every allow;
/// what no rule allows is denied.
#[derive(Debug, Args)]
#[command(after_help = "\
EXAMPLES:
  warden rule add sensor allow publish 'devices/%u/#' --max-qos 1
  warden rule add sensor allow read 'devices/%u/cmd'
  warden rule add sensor deny publish '+/+/firmware'
  warden rule add sensor allow publish 'sites/%{site}/state' --retain true")]
pub(super) struct AddArgs {
    /// The role's name
    role: String,
    /// What the rule does
    effect: EffectWord,
    /// What the rule is about
    action: RuleActionWord,
    /// A topic filter
    #[arg(value_parser = rule_topic)]
    topic: String,
    /// Allow no QoS above this
    #[arg(long, value_name = "QOS", value_parser = clap::value_parser!(u8).range(0..=2))]
    max_qos: Option<u8>,
    /// Only for messages that are retained (true), or that are not (false)
    #[arg(long, value_name = "BOOL")]
    retain: Option<bool>,
    #[command(flatten)]
    wait: WaitArgs,
}

/// List the rules of a role, or of all
#[derive(Debug, Args)]
#[command(after_help = "\
EXAMPLES:
  warden rule list
  warden rule list sensor --json")]
pub(super) struct ListArgs {
    /// The role's name
    role: Option<String>,
}

/// Remove a rule
#[derive(Debug, Args)]
#[command(after_help = "\
EXAMPLES:
  warden rule list sensor
  warden rule remove 3")]
pub(super) struct RemoveArgs {
    /// The rule's number, as `warden rule list` shows it
    id: i64,
    #[command(flatten)]
    wait: WaitArgs,
}

pub(super) async fn run(command: RuleCommand, place: &Place, output: &mut Output) -> anyhow::Result<Exit> {
    match command {
        RuleCommand::Add(args) => {
            let new = NewRule {
                effect: args.effect.as_str().to_owned(),
                action: args.action.as_str().to_owned(),
                topic: args.topic,
                max_qos: args.max_qos,
                retain: args.retain,
            };
            let (rule, added) = place.write(async |store| store.add_rule(&args.role, &new).await).await?;
            let what = if added { "added" } else { "is there already" };
            let line = format!("rule {} of role `{}` {what}: {}", rule.id, rule.role, words(&rule));
            return args.wait.finish(place, output, with_changed(to_json(&rule), added), &line).await;
        }
        RuleCommand::List(args) => {
            let rules = place.read(async |store| store.rules(args.role.as_deref()).await).await?;
            if output.is_json() {
                output.json(&rules.iter().map(to_json).collect())?;
            } else {
                show(&rules, output)?;
            }
        }
        RuleCommand::Remove(args) => {
            let rule = place.write(async |store| store.remove_rule(args.id).await).await?;
            let line = format!("rule {} of role `{}` removed: {}", rule.id, rule.role, words(&rule));
            return args.wait.finish(place, output, with_changed(to_json(&rule), true), &line).await;
        }
    }
    Ok(Exit::Done)
}

/// A table of rules.
pub(super) fn show(rules: &[Rule], output: &mut Output) -> anyhow::Result<()> {
    let rows = rules.iter().map(|rule| {
        let retain = rule.retain.map_or("any", |only| if only { "only" } else { "never" });
        vec![
            rule.id.to_string(),
            rule.role.clone(),
            rule.effect.clone(),
            rule.action.clone(),
            rule.topic.clone(),
            rule.max_qos.map_or_else(|| "2".to_owned(), |qos| qos.to_string()),
            retain.to_owned(),
        ]
    });
    output.table(&["RULE", "ROLE", "EFFECT", "ACTION", "TOPIC", "MAX QOS", "RETAIN"], rows.collect())
}

pub(super) fn to_json(rule: &Rule) -> Value {
    json!({
        "id": rule.id,
        "role": rule.role,
        "effect": rule.effect,
        "action": rule.action,
        "topic": rule.topic,
        "max_qos": rule.max_qos,
        "retain": rule.retain,
    })
}

/// The object, saying also whether anything is different now.
pub(super) fn with_changed(mut object: Value, changed: bool) -> Value {
    if let Some(object) = object.as_object_mut() {
        object.insert("changed".to_owned(), changed.into());
    }
    object
}

fn words(rule: &Rule) -> String {
    let qos = rule.max_qos.map_or_else(String::new, |qos| format!(" --max-qos {qos}"));
    let retain = rule.retain.map_or_else(String::new, |retain| format!(" --retain {retain}"));
    format!("{} {} {}{qos}{retain}", rule.effect, rule.action, rule.topic)
}
