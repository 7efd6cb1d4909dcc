//! What a file asks for, in this project's words: roles, devices, and what could not be said.

use std::collections::{BTreeMap, BTreeSet};

use crate::credential::password::{HashError, PasswordHash};
use crate::credential::psk::Psk;
use crate::policy::rule::{Effect, RuleTopic};

/// What comes of a file.
#[derive(Debug, Default)]
pub struct Plan {
    pub roles: Vec<Role>,
    pub devices: Vec<Device>,
    /// Roles that every device in the database gets, those of other files as well.
    pub for_all: Vec<String>,
    /// In the order of the file.
    pub findings: Vec<Finding>,
}

/// A role with all of its rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    pub name: String,
    pub rules: BTreeSet<Rule>,
}

/// A rule of a role, known to be one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    pub effect: &'static str,
    pub action: &'static str,
    pub topic: String,
}

impl Rule {
    /// Checks the topic. The error is in words.
    pub fn new(effect: Effect, action: &'static str, topic: String) -> Result<Self, String> {
        RuleTopic::parse(&topic).map_err(|error| error.to_string())?;
        Ok(Self { effect: effect.as_str(), action, topic })
    }
}

/// A device with what it is known by.
#[derive(Debug, Default)]
pub struct Device {
    /// Where it stands in its file: a line, or where there are none, which entry it is; from 1.
    pub line: usize,
    pub name: String,
    pub client_id: Option<String>,
    pub attributes: BTreeMap<String, String>,
    pub roles: Vec<String>,
    pub credentials: Vec<Credential>,
    /// Why it is to be suspended, if it is.
    pub suspended: Option<&'static str>,
}

/// One way in which a device proves who it is.
#[derive(Debug)]
pub struct Credential {
    pub identity: String,
    pub secret: Secret,
}

/// What a credential holds.
#[derive(Debug)]
pub enum Secret {
    /// Nothing: the common name of a certificate.
    CommonName,
    /// A key that somebody else has made.
    Psk(Psk),
    /// A key is to be made.
    NewPsk,
    /// A hash, as it was written.
    Password(StoredHash),
}

/// The hash of a password as it was written, in a form that a login can be checked against.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredHash(String);

impl StoredHash {
    /// Takes what a login can be checked against. The error is in words and does not repeat the text, which may be a
    /// password in clear.
    pub fn parse(text: &str) -> Result<Self, String> {
        match PasswordHash::parse(text) {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(error @ HashError::Unknown) => {
                Err(format!("{error}; `mosquitto_passwd -U FILE` hashes passwords that stand in clear"))
            }
            Err(error) => Err(error.to_string()),
        }
    }

    /// The hash as it is stored.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for StoredHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StoredHash(..)")
    }
}

/// Something that whoever imports a file has to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub weight: Weight,
    /// The line of the file, or the number of the entry; `None` for what concerns all of it.
    pub line: Option<usize>,
    pub words: String,
}

/// What a finding means for the import.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// This entry cannot be imported.
    Mistake,
    /// Something that was denied will be allowed.
    Wider,
    /// Something that was allowed will be denied.
    Narrower,
    /// Nothing changes for any client, but it is good to know.
    Note,
}

impl Weight {
    /// The word in reports and in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mistake => "mistake",
            Self::Wider => "wider",
            Self::Narrower => "narrower",
            Self::Note => "note",
        }
    }
}

impl Plan {
    pub(super) fn find(&mut self, weight: Weight, line: impl Into<Option<usize>>, words: impl Into<String>) {
        self.findings.push(Finding { weight, line: line.into(), words: words.into() });
    }

    /// The mistakes among the findings.
    pub fn mistakes(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.weight == Weight::Mistake)
    }

    /// Gives the name to each of several users whose rules are the same. Says which role that is.
    pub(super) fn role_for(&mut self, name: String, rules: BTreeSet<Rule>) -> String {
        if let Some(same) = self.roles.iter().find(|role| role.rules == rules) {
            return same.name.clone();
        }
        self.roles.push(Role { name: name.clone(), rules });
        name
    }
}

/// Why a user name cannot be the name of a device, if it cannot (the schema says the same).
#[must_use]
pub fn fault_of_name(name: &str) -> Option<&'static str> {
    match name.chars().count() {
        0 => return Some("a device needs a name"),
        1..=255 => {}
        _ => return Some("a device name has at most 255 characters"),
    }
    let bad = |c: char| matches!(c, '+' | '#' | '/' | '\u{7f}') || u32::from(c) < 0x20;
    name.contains(bad).then_some("a device name cannot hold `+`, `#`, `/` or control characters")
}
