//! `warden lint`.

use std::time::Duration;

use clap::Args;

use super::Exit;
use super::findings::FindingsArgs;
use super::output::Output;
use super::place::Place;
use crate::audit::lint::{Audited, KINDS, lint};

/// Look for what is wrong with the policy, or was hardly meant
///
/// Ends with 8 where something as grave as `--deny` says is found. How often a credential was used is not written down,
/// so that unused ones cannot be told.
#[derive(Debug, Args)]
#[command(after_help = "\
EXAMPLES:
  warden lint
  warden lint --expiring 90d --deny error
  warden lint --allow allows-sys --allow any-client-id=logger
  warden lint --codes")]
pub(super) struct LintArgs {
    #[command(flatten)]
    findings: FindingsArgs,
    /// Tell of credentials that end within this time
    #[arg(long, value_name = "TIME", default_value = "30d", value_parser = humantime::parse_duration)]
    expiring: Duration,
}

pub(super) async fn run(args: &LintArgs, place: &Place, output: &mut Output) -> anyhow::Result<Exit> {
    if let Some(exit) = args.findings.list(KINDS, output)? {
        return Ok(exit);
    }
    let allowed = args.findings.allowances(KINDS)?;
    let (policy, unreadable_certificates) = place.read(async |store| store.policy().await).await?;
    let findings = lint(&Audited {
        policy: &policy,
        unreadable_certificates: &unreadable_certificates,
        now: jiff::Timestamp::now().as_second(),
        expiring: i64::try_from(args.expiring.as_secs()).unwrap_or(i64::MAX),
    });
    args.findings.tell(findings, &allowed, output)
}
