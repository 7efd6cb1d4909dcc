//! `warden certificate list --issued` and `--expiring`: what was issued, and who needs a new one.

use std::collections::HashMap;

use clap::Args;
use serde_json::{Value, json};

use super::output::{Output, or_dash};
use super::place::Place;
use super::words::duration;
use crate::store::issued::{IssuedCertificate, State};

#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct IssuedArgs {
    /// Those that `warden` has issued, for this device or for all
    #[arg(long, value_name = "DEVICE", num_args = 0..=1, conflicts_with = "expiring")]
    #[expect(clippy::option_option, reason = "what clap takes for an option with an optional value")]
    issued: Option<Option<String>>,
    /// Those that are the last of their device and end within this time, or have expired
    #[arg(long, value_name = "TIME", value_parser = duration)]
    expiring: Option<i64>,
}

impl IssuedArgs {
    /// Whether this is what is to be listed.
    pub(super) fn are_wanted(&self) -> bool {
        self.issued.is_some() || self.expiring.is_some()
    }

    pub(super) async fn list(self, place: &Place, output: &mut Output) -> anyhow::Result<()> {
        let now = jiff::Timestamp::now().as_second();
        let device = self.issued.flatten();
        let mut found = place.read(async |store| store.issued_certificates(device.as_deref()).await).await?;
        if let Some(within) = self.expiring {
            found = expiring(found, now, now.saturating_add(within));
        }
        if output.is_json() {
            return output.json(&found.iter().map(|one| to_json(one, now)).collect());
        }
        let rows = found.iter().map(|one| {
            vec![
                one.device.clone(),
                one.serial.clone(),
                one.state(now).as_str().to_owned(),
                one.not_after.clone(),
                or_dash(one.ends_at.as_deref()),
                one.issued_at.clone(),
            ]
        });
        output.table(&["DEVICE", "SERIAL", "STATE", "NOT AFTER", "ENDS EARLIER", "ISSUED"], rows.collect())
    }
}

/// Of each device the certificate that is good, or was, for longest, if that ends by this time.
fn expiring(found: Vec<IssuedCertificate>, now: i64, by: i64) -> Vec<IssuedCertificate> {
    let mut last: HashMap<String, IssuedCertificate> = HashMap::new();
    for one in found.into_iter().filter(|one| matches!(one.state(now), State::Active | State::Expired)) {
        let later = last.get(&one.device).is_none_or(|known| known.end() <= one.end());
        if later {
            last.insert(one.device.clone(), one);
        }
    }
    let mut ending: Vec<_> = last.into_values().filter(|one| one.end().is_none_or(|end| end <= by)).collect();
    ending.sort_by(|a, b| (a.end(), &a.device).cmp(&(b.end(), &b.device)));
    ending
}

pub(super) fn to_json(one: &IssuedCertificate, now: i64) -> Value {
    json!({
        "device": one.device,
        "issuer": one.issuer,
        "serial": one.serial,
        "sha256": one.sha256,
        "state": one.state(now).as_str(),
        "not_before": one.not_before,
        "not_after": one.not_after,
        "ends_at": one.ends_at,
        "issued_at": one.issued_at,
    })
}
