//! What an audit finds: a code, how grave it is, where, and what to do.

use std::fmt;

/// How grave a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Worth knowing; nothing is open and nothing is broken.
    Note,
    /// Probably not what was meant.
    Warning,
    /// Open to those for whom it is not meant, or it cannot work.
    Error,
}

impl Severity {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A kind of finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// The stable word by which it is allowed.
    pub code: &'static str,
    pub severity: Severity,
    /// What it means, in a sentence without its end.
    pub meaning: &'static str,
}

/// Something that is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub kind: Kind,
    /// What it is about: `role sensor`, `device d1`, `mosquitto.conf:12`.
    pub place: String,
    /// What is the matter.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

/// What is not to be told: a code, everywhere or at one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowance {
    code: String,
    place: Option<String>,
}

impl Allowance {
    /// From `code` or `code=place`, where the place is as a finding has it, or the name of the role, device or file in it.
    pub fn parse(text: &str, kinds: &[Kind]) -> Result<Self, String> {
        let (code, place) = text.split_once('=').map_or((text, None), |(code, place)| (code, Some(place.to_owned())));
        if kinds.iter().any(|kind| kind.code == code) {
            return Ok(Self { code: code.to_owned(), place });
        }
        let similar = kinds
            .iter()
            .map(|kind| (strsim::damerau_levenshtein(kind.code, code), kind.code))
            .min()
            .filter(|(distance, code)| distance * 3 <= code.len());
        let meant = similar.map_or_else(String::new, |(_, similar)| format!("; did you mean `{similar}`?"));
        Err(format!("unknown code `{code}`{meant}"))
    }

    /// Whether it is about this finding.
    #[must_use]
    pub fn is_about(&self, finding: &Finding) -> bool {
        let (whose, _) = finding.place.split_once(", ").unwrap_or((&finding.place, ""));
        let name = whose.split_once(' ').map_or(whose, |(_, name)| name);
        let at = |place: &String| [&*finding.place, whose, name].contains(&&**place);
        self.code == finding.kind.code && self.place.as_ref().is_none_or(at)
    }
}

/// The findings that are to be told, the gravest first.
#[must_use]
pub fn told(findings: Vec<Finding>, allowed: &[Allowance]) -> Vec<Finding> {
    let mut told: Vec<_> =
        findings.into_iter().filter(|finding| !allowed.iter().any(|one| one.is_about(finding))).collect();
    // Stable: within one severity, kind by kind, in the order in which they were found.
    let rank = |finding: &Finding| (std::cmp::Reverse(finding.kind.severity), finding.kind.code);
    told.sort_by(|a, b| rank(a).cmp(&rank(b)));
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [Kind; 2] = [
        Kind { code: "wide", severity: Severity::Warning, meaning: "" },
        Kind { code: "broken", severity: Severity::Error, meaning: "" },
    ];

    fn finding(kind: usize, place: &str) -> Finding {
        Finding { kind: KINDS[kind], place: place.into(), what: String::new(), remedy: String::new() }
    }

    #[test]
    fn the_gravest_comes_first_and_what_is_allowed_does_not_come() {
        let found = || vec![finding(0, "role a"), finding(0, "role b"), finding(1, "role a")];
        let places = |allowed: &[&str]| {
            let allowed: Vec<_> = allowed.iter().map(|text| Allowance::parse(text, &KINDS).unwrap()).collect();
            told(found(), &allowed).iter().map(|it| format!("{} {}", it.kind.code, it.place)).collect::<Vec<_>>()
        };
        assert_eq!(places(&[]), ["broken role a", "wide role a", "wide role b"]);
        assert_eq!(places(&["wide"]), ["broken role a"]);
        assert_eq!(places(&["wide=a"]), ["broken role a", "wide role b"]);
        let of_a_rule = finding(0, "role a, rule 7");
        for place in ["a", "role a", "role a, rule 7"] {
            assert!(Allowance::parse(&format!("wide={place}"), &KINDS).unwrap().is_about(&of_a_rule), "{place}");
        }
        assert!(!Allowance::parse("wide=b", &KINDS).unwrap().is_about(&of_a_rule));
        assert_eq!(places(&["wide=role b", "broken"]), ["wide role a"]);
    }

    #[test]
    fn a_code_that_is_none_is_named() {
        assert_eq!(Allowance::parse("wid", &KINDS).unwrap_err(), "unknown code `wid`; did you mean `wide`?");
        assert_eq!(Allowance::parse("other", &KINDS).unwrap_err(), "unknown code `other`");
    }
}
