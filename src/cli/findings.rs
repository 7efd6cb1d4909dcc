//! How findings are told, and which of them are not.

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::Exit;
use super::error::CliError;
use super::output::Output;
use crate::audit::finding::{Allowance, Finding, Kind, Severity, told};

#[derive(Debug, Args)]
pub(super) struct FindingsArgs {
    /// Do not tell findings with this code, or with `CODE=PLACE` those at this place, such as a role; may be repeated
    #[arg(long, value_name = "CODE")]
    allow: Vec<String>,
    /// End with 8 if something as grave as this is found
    #[arg(long, value_name = "SEVERITY", default_value = "warning")]
    deny: SeverityWord,
    /// List the codes, with what they mean, and look at nothing
    #[arg(long)]
    codes: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum SeverityWord {
    Note,
    Warning,
    Error,
}

impl From<SeverityWord> for Severity {
    fn from(word: SeverityWord) -> Self {
        match word {
            SeverityWord::Note => Self::Note,
            SeverityWord::Warning => Self::Warning,
            SeverityWord::Error => Self::Error,
        }
    }
}

/// How many findings of one kind are told to people; scripts are told all.
const SHOWN: usize = 20;

impl FindingsArgs {
    /// What is not to be told; every code that is none is named.
    pub(super) fn allowances(&self, kinds: &[Kind]) -> Result<Vec<Allowance>, CliError> {
        let (good, bad): (Vec<_>, Vec<_>) =
            self.allow.iter().map(|text| Allowance::parse(text, kinds)).partition(Result::is_ok);
        let mistakes: Vec<String> = bad.into_iter().filter_map(Result::err).collect();
        if mistakes.is_empty() {
            Ok(good.into_iter().filter_map(Result::ok).collect())
        } else {
            Err(CliError::Nonsense(format!("{}; `--codes` lists them", mistakes.join("; "))))
        }
    }

    /// Lists the codes, if that is asked for.
    pub(super) fn list(&self, kinds: &[Kind], output: &mut Output) -> anyhow::Result<Option<Exit>> {
        if !self.codes {
            return Ok(None);
        }
        if output.is_json() {
            let kind =
                |kind: &Kind| json!({ "code": kind.code, "severity": kind.severity.as_str(), "meaning": kind.meaning });
            output.json(&kinds.iter().map(kind).collect())?;
        } else {
            let row = |kind: &Kind| vec![kind.code.to_owned(), kind.severity.to_string(), kind.meaning.to_owned()];
            output.table(&["CODE", "SEVERITY", "MEANING"], kinds.iter().map(row).collect())?;
        }
        Ok(Some(Exit::Done))
    }

    /// Tells what is found.
    pub(super) fn tell(
        &self,
        findings: Vec<Finding>,
        allowed: &[Allowance],
        output: &mut Output,
    ) -> anyhow::Result<Exit> {
        let findings = told(findings, allowed);
        let grave = findings.iter().any(|finding| finding.kind.severity >= self.deny.into());
        if output.is_json() {
            output.json(&findings.iter().map(to_json).collect::<Value>())?;
        } else {
            show(&findings, output)?;
        }
        Ok(if grave { Exit::Found } else { Exit::Done })
    }
}

fn show(findings: &[Finding], output: &mut Output) -> anyhow::Result<()> {
    for of_one_kind in findings.chunk_by(|a, b| a.kind.code == b.kind.code) {
        for finding in of_one_kind.iter().take(SHOWN) {
            let Finding { kind, place, what, remedy } = finding;
            output.line(&format!("{}[{}] {place}: {what}", kind.severity, kind.code))?;
            output.line(&format!("    {remedy}"))?;
        }
        if let (Some(first), more @ 1..) = (of_one_kind.first(), of_one_kind.len().saturating_sub(SHOWN)) {
            output.line(&format!(
                "{}[{}] and {more} more; `--json` has them all",
                first.kind.severity, first.kind.code
            ))?;
        }
    }
    let count = |severity: Severity| {
        let count = findings.iter().filter(|finding| finding.kind.severity == severity).count();
        format!("{count} {severity}{}", if count == 1 { "" } else { "s" })
    };
    output.line(&[Severity::Error, Severity::Warning, Severity::Note].map(count).join(", "))
}

fn to_json(finding: &Finding) -> Value {
    json!({
        "code": finding.kind.code,
        "severity": finding.kind.severity.as_str(),
        "place": finding.place,
        "what": finding.what,
        "remedy": finding.remedy,
    })
}
