//! `warden credential rotate`: a new pre-shared key beside the old one, for as long as both are needed.

use std::time::Duration;

use clap::Args;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::credential::to_json;
use super::error::CliError;
use super::key::{self, FreshKey};
use super::output::Output;
use super::place::Place;
use super::rule::with_changed;
use super::words::KindWord;
use crate::credential::psk::Psk;
use crate::store::credential::{Credential, Kind, NewCredential};

/// Make a new pre-shared key beside the one that a device has, which then ends by itself
///
/// The new key is shown this once. Until the old one ends, both work, so that the device can be given the new one in its
/// own time; sessions that came by the old one leave when it ends.
#[derive(Debug, Args)]
#[command(after_help = "\
EXAMPLES:
  warden credential rotate device-002 --kind psk --overlap 7d
  warden credential list --rotating
  warden credential rotate device-002 --kind psk --finish
  warden credential rotate device-002 --kind psk --overlap 12h --opaque")]
pub(super) struct RotateArgs {
    /// The device's name
    device: String,
    /// What is rotated: `psk`
    #[arg(long)]
    kind: KindWord,
    /// How long the old key goes on working, for instance `7d` or `12h`
    #[arg(long, value_name = "TIME", value_parser = overlap, required_unless_present = "finish", conflicts_with = "finish")]
    overlap: Option<Duration>,
    /// The identity of the old key [default: that of the only one that does not end yet]
    #[arg(long)]
    identity: Option<String>,
    /// The identity of the new key [default: that of the old one, with a number behind it]
    #[arg(long, conflicts_with_all = ["opaque", "finish"])]
    new_identity: Option<String>,
    /// A random identity for the new key, which tells nothing to whoever listens (RFC 9257, section 7)
    #[arg(long, conflicts_with = "finish")]
    opaque: bool,
    /// Read the new key from standard input, in hexadecimal digits, instead of making one
    #[arg(long, conflicts_with = "finish")]
    key_stdin: bool,
    /// Revoke at once every key of the device that is to end, now that it has the new one
    #[arg(long)]
    finish: bool,
}

/// A time with its unit, at most ten years.
fn overlap(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|_| "a time is written like `7d` or `12h`".to_owned())?;
    if time.is_zero() || time > Duration::from_hours(10 * 366 * 24) {
        return Err("a time between a second and ten years is wanted".to_owned());
    }
    Ok(time)
}

/// The pre-shared keys of one device that still work at this time, of all that there are.
fn working<'c>(all: &'c [Credential], device: &'c str, now: Timestamp) -> impl Iterator<Item = &'c Credential> {
    // One that a device only begins with is no key to replace another, and is not replaced.
    let is_key = |it: &&Credential| it.kind == Kind::Psk.as_str() && it.status == "active" && it.only_role.is_none();
    // What is written and means no time ends nothing here; the plugin refuses such a device.
    let ended = move |it: &Credential| end(it).is_some_and(|end| end <= now);
    all.iter().filter(move |it| it.device == device).filter(is_key).filter(move |it| !ended(it))
}

fn end(credential: &Credential) -> Option<Timestamp> {
    credential.not_after.as_ref()?.parse().ok()
}

/// The keys of the devices that have more than one that works.
pub(super) fn under_way(all: Vec<Credential>) -> Vec<Credential> {
    let now = Timestamp::now();
    let several = |it: &Credential| {
        let working: Vec<&Credential> = working(&all, &it.device, now).collect();
        working.len() > 1 && working.contains(&it)
    };
    let chosen: Vec<bool> = all.iter().map(several).collect();
    all.into_iter().zip(chosen).filter_map(|(it, chosen)| chosen.then_some(it)).collect()
}

pub(super) async fn run(args: RotateArgs, place: &Place, output: &mut Output) -> anyhow::Result<()> {
    if args.kind.0 != Kind::Psk {
        return Err(CliError::NotRotated { kind: args.kind.0 }.into());
    }
    let mut store = place.open().await?;
    let all = store.credentials(Some(&args.device)).await?;
    let now = Timestamp::now();
    let keys: Vec<&Credential> = working(&all, &args.device, now).collect();
    if args.finish {
        if !keys.iter().any(|key| key.not_after.is_none()) {
            return Err(CliError::NothingToFinish { device: args.device }.into());
        }
        let ending = keys.iter().filter(|key| key.not_after.is_some());
        let ending = ending.filter(|key| args.identity.as_ref().is_none_or(|identity| *identity == key.identity));
        let mut revoked = Vec::new();
        for key in ending {
            store.revoke_credential(&args.device, Kind::Psk, Some(&key.identity)).await?;
            revoked.push(key.identity.clone());
        }
        store.close().await?;
        if output.is_json() {
            return output.json(&json!({ "device": args.device, "revoked": revoked, "changed": !revoked.is_empty() }));
        }
        if revoked.is_empty() {
            return output.line(&format!("device `{}` has no key that is to end", args.device));
        }
        return output.line(&format!("revoked the keys of device `{}` for {}", args.device, revoked.join(", ")));
    }
    let mut lasting = keys.iter().filter(|key| key.not_after.is_none());
    let old = match (&args.identity, lasting.next(), lasting.next()) {
        (None, Some(only), None) => only.identity.clone(),
        (identity, ..) => store.find_credential(&args.device, Kind::Psk, identity.as_deref()).await?,
    };
    if all.iter().any(|it| it.kind == Kind::Psk.as_str() && it.identity == old && it.only_role.is_some()) {
        return Err(CliError::OnlyBegins { identity: old }.into());
    }
    let Some(old) = keys.iter().find(|key| key.identity == old) else {
        return Err(CliError::OldKeyEnded { identity: old }.into());
    };
    let identity = match args.new_identity {
        Some(identity) => identity,
        None if args.opaque => key::opaque_identity()?,
        None => next_identity(&old.identity, &all),
    };
    let sealing = key::sealing_key(place, &mut store).await?;
    let fresh = if args.key_stdin {
        FreshKey::from_stdin(&identity)?
    } else {
        FreshKey::generate(&identity, Psk::DEFAULT_BYTES)?
    };
    let overlap = SignedDuration::try_from(args.overlap.unwrap_or_default())?;
    let ends = now.checked_add(overlap)?;
    // It does not come to life again by this.
    let ends = end(old).map_or(ends, |end| end.min(ends)).strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let new = NewCredential::new(identity, fresh.sealed(&sealing)?);
    let added = store.rotate_psk(&args.device, &old.identity, &ends, &new).await?;
    store.close().await?;
    // A key that came from outside is known there, and is not repeated.
    let fresh = Some(fresh).filter(|_| !args.key_stdin);
    if output.is_json() {
        let mut object = with_changed(to_json(&added), true);
        if let Some(object) = object.as_object_mut() {
            object.insert("old".to_owned(), json!({ "identity": old.identity, "not_after": ends }));
            object.extend(fresh.iter().map(|fresh| ("psk".to_owned(), fresh.to_json())));
        }
        return output.json(&object);
    }
    output.line(&format!("credential psk `{}` of device `{}` added", added.identity, added.device))?;
    output.line(&format!("credential psk `{}` ends at {ends}", old.identity))?;
    fresh.map_or(Ok(()), |fresh| fresh.show(output))
}

/// `device-001.2` after `device-001`, and so on, as far as the device itself does not have it.
fn next_identity(old: &str, all: &[Credential]) -> String {
    let (stem, number) = match old.rsplit_once('.') {
        Some((stem, digits)) if !stem.is_empty() => digits.parse().map_or((old, 1), |number: u32| (stem, number)),
        _ => (old, 1),
    };
    let named = |number: u32| format!("{stem}.{number}");
    let free = |identity: &String| all.iter().all(|other| other.identity != *identity);
    (number.saturating_add(1)..=u32::MAX).map(named).find(free).unwrap_or_else(|| named(u32::MAX))
}
