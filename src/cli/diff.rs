//! `warden diff`.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};

use super::Exit;
use super::error::CliError;
use super::output::Output;
use super::place::Place;
use crate::audit::applied::applied;
use crate::audit::diff::{Change, Decision, Difference, candidates, differences};
use crate::audit::policy_file::{PolicyFile, read};
use crate::database::Database;
use crate::policy::snapshot::Snapshot;
use crate::store::{OpenMode, Store, StoreError};

/// Say which devices gain or lose which rights between two policies
///
/// Each is a database, or a file as `warden export` writes it (its name ends in .toml): then it is what applying the file
/// would make of the devices of the other one, or of `--database`. What counts is what the engine answers, not how the
/// rules are written. Credentials are left out of account, but for those that a device only begins with: a device counts
/// as here while it is active. Ends with 8 if there is a difference.
#[derive(Debug, Args)]
#[command(after_help = "\
EXAMPLES:
  warden diff policy.toml
  warden diff warden.db policy.toml --json | jq '.groups[].devices'")]
pub(super) struct DiffArgs {
    /// The policy before; alone: the policy after, beside `--database`
    first: String,
    /// The policy after
    second: Option<String>,
}

/// One of the two policies.
enum Named {
    Whole(Box<Snapshot>),
    File(PolicyFile),
}

/// After this time, and again after as long, it is said how far things are.
const PATIENCE: Duration = Duration::from_secs(2);

/// How many devices of a group are named.
const NAMED: usize = 3;

pub(super) async fn run(args: &DiffArgs, place: &Place, output: &mut Output) -> anyhow::Result<Exit> {
    let (before, after) = match &args.second {
        Some(second) => (named(&args.first).await?, named(second).await?),
        None => (Named::Whole(policy(&place.database).await?.into()), named(&args.first).await?),
    };
    let (before, after) = match (before, after) {
        (Named::Whole(before), Named::Whole(after)) => (*before, *after),
        (Named::Whole(before), Named::File(file)) => {
            let after = applied(&file, &before);
            (*before, after)
        }
        (Named::File(file), Named::Whole(after)) => (applied(&file, &after), *after),
        (Named::File(old), Named::File(new)) => {
            let base = policy(&place.database).await?;
            (applied(&old, &base), applied(&new, &base))
        }
    };
    let names = candidates(&before, &after);
    let (mut groups, mut undecided): (Vec<Group>, _) = (Vec::new(), Vec::new());
    let mut by_likeness: BTreeMap<String, usize> = BTreeMap::new();
    let mut told = Instant::now();
    for (done, name) in names.iter().enumerate() {
        if told.elapsed() > PATIENCE {
            output.note(&format!("{done} of {} devices compared", names.len()))?;
            told = Instant::now();
        }
        match differences(&before, &after, name) {
            Ok(differences) if differences.is_empty() => {}
            Ok(differences) => {
                let group = *by_likeness.entry(likeness(name, &differences)).or_insert(groups.len());
                match groups.get_mut(group) {
                    Some(group) => group.devices.push((*name).to_owned()),
                    None => groups.push(Group { devices: vec![(*name).to_owned()], differences }),
                }
            }
            Err(why) => undecided.push(((*name).to_owned(), why.to_string())),
        }
    }
    if output.is_json() {
        output.json(&json!({
            "groups": groups.iter().map(Group::to_json).collect::<Value>(),
            "undecided": undecided.iter().map(|(device, why)| json!({ "device": device, "why": why })).collect::<Value>(),
        }))?;
    } else {
        show(&groups, &undecided, output)?;
    }
    Ok(match (undecided.is_empty(), groups.is_empty()) {
        (false, _) => Exit::Failure,
        (true, false) => Exit::Found,
        (true, true) => Exit::Done,
    })
}

async fn named(text: &str) -> anyhow::Result<Named> {
    let path = Path::new(text);
    if path.extension().is_none_or(|extension| extension != "toml") {
        let database = Database::parse(text).map_err(|error| CliError::Nonsense(error.to_string()))?;
        return Ok(Named::Whole(policy(&database).await?.into()));
    }
    let content =
        std::fs::read_to_string(path).map_err(|cause| CliError::Unreadable { path: path.to_owned(), cause })?;
    let file = read(&content).map_err(|mistakes| CliError::Mistakes { path: path.to_owned(), mistakes })?;
    Ok(Named::File(file))
}

async fn policy(database: &Database) -> Result<Snapshot, StoreError> {
    let mut store = Store::open(database, OpenMode::Read).await?;
    let (policy, _) = store.policy().await?;
    store.close().await?;
    Ok(policy)
}

/// Devices of which the same differs.
struct Group {
    devices: Vec<String>,
    /// With questions of the first of them.
    differences: Vec<Difference>,
}

/// What differs, without what only this device is called.
fn likeness(name: &str, differences: &[Difference]) -> String {
    let one = |it: &Difference| {
        let client_id = it.client_id.as_ref().map(|id| id.replace(name, "%u"));
        format!(
            "{:?}",
            (it.change, it.action, &it.shown, &it.qos, &it.retain, client_id, &it.begins_with, &it.before, &it.after)
        )
    };
    differences.iter().map(one).collect()
}

impl Group {
    fn heading(&self) -> String {
        let named: Vec<&str> = self.devices.iter().take(NAMED).map(String::as_str).collect();
        match self.devices.len().saturating_sub(NAMED) {
            0 => named.join(", "),
            more => format!("{} and {more} others", named.join(", ")),
        }
    }

    fn to_json(&self) -> Value {
        json!({ "devices": self.devices, "differences": self.differences.iter().map(difference).collect::<Value>() })
    }
}

fn show(groups: &[Group], undecided: &[(String, String)], output: &mut Output) -> anyhow::Result<()> {
    let (mut gained, mut lost, mut devices) = (0, 0, 0);
    for group in groups {
        output.line(&format!("{}:", group.heading()))?;
        devices += group.devices.len();
        let first = group.devices.first().map_or("", String::as_str);
        for it in &group.differences {
            let sign = match it.change {
                Change::Gained => '+',
                Change::Lost => '-',
            };
            match it.change {
                Change::Gained => gained += group.devices.len(),
                Change::Lost => lost += group.devices.len(),
            }
            output.line(&format!("  {sign} {} {}{}", it.action, it.shown, conditions(it)))?;
            output.line(&format!("      before: {}", words(&it.before)))?;
            output.line(&format!("      after:  {}", words(&it.after)))?;
            output.line(&format!("      as in:  {first} {} {}", it.action, it.topic))?;
        }
    }
    for (device, why) in undecided {
        output.line(&format!("{device}: not compared: {why}"))?;
    }
    output.line(&match devices {
        0 => "no device gains or loses a right".to_owned(),
        1 => format!("{gained} gained and {lost} lost by one device"),
        _ => format!("{gained} gained and {lost} lost by {devices} devices"),
    })
}

fn conditions(it: &Difference) -> String {
    use crate::policy::decision::Action;

    let qos: Vec<String> = it.qos.iter().map(ToString::to_string).collect();
    let all_qos = it.action == Action::Receive || it.qos.len() == 3;
    let retained = it.retain.contains(&true);
    let parts = [
        (!all_qos).then(|| format!("qos {}", qos.join(" or "))),
        (it.action == Action::Publish && it.retain.len() == 1)
            .then(|| if retained { "retained" } else { "not retained" }.to_owned()),
        it.client_id.as_ref().map(|id| format!("with a client id like `{id}`")),
        it.begins_with.as_ref().map(|role| format!("while it begins with the role `{role}`")),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) }
}

fn words(decision: &Decision) -> String {
    match &decision.rule {
        Some((role, rule)) => format!("{}, `{rule}` of role `{role}`", decision.reason),
        None => decision.reason.to_string(),
    }
}

fn difference(it: &Difference) -> Value {
    let decision = |decision: &Decision| {
        let rule = decision.rule.as_ref().map(|(role, rule)| json!({ "role": role, "words": rule }));
        json!({ "reason": decision.reason.as_str(), "rule": rule })
    };
    json!({
        "change": match it.change {
            Change::Gained => "gained",
            Change::Lost => "lost",
        },
        "action": it.action.as_str(),
        "filter": it.shown,
        "qos": it.qos,
        "retain": it.retain,
        "client_id": it.client_id,
        "begins_with": it.begins_with,
        "topic": it.topic,
        "before": decision(&it.before),
        "after": decision(&it.after),
    })
}
