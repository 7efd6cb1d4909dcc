//! The words of the command line, read once into what they mean.

use clap::ValueEnum;

use crate::policy::decision::Action;
use crate::policy::rule::{ClientIdError, ClientIdPattern, RuleError, RuleTopic};
use crate::store::credential::Kind;
use crate::store::device::Status;

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum StatusWord {
    Active,
    Suspended,
    Revoked,
}

impl From<StatusWord> for Status {
    fn from(word: StatusWord) -> Self {
        match word {
            StatusWord::Active => Self::Active,
            StatusWord::Suspended => Self::Suspended,
            StatusWord::Revoked => Self::Revoked,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum KindWord {
    /// The common name of a client certificate
    #[value(name = "x509_cn")]
    X509Cn,
    /// A TLS pre-shared key
    Psk,
}

impl From<KindWord> for Kind {
    fn from(word: KindWord) -> Self {
        match word {
            KindWord::X509Cn => Self::X509Cn,
            KindWord::Psk => Self::Psk,
        }
    }
}

/// What a device does with a topic.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum ActionWord {
    /// Send a message to the topic
    Publish,
    /// Ask for the topic filter
    Subscribe,
    /// Be sent a message on the topic
    Receive,
}

impl From<ActionWord> for Action {
    fn from(word: ActionWord) -> Self {
        match word {
            ActionWord::Publish => Self::Publish,
            ActionWord::Subscribe => Self::Subscribe,
            ActionWord::Receive => Self::Receive,
        }
    }
}

/// What a rule is about.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum RuleActionWord {
    Publish,
    Subscribe,
    Receive,
    /// Subscribe and receive
    Read,
    /// Another word for publish
    Write,
    All,
}

impl RuleActionWord {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
            Self::Receive => "receive",
            Self::Read => "read",
            Self::Write => "write",
            Self::All => "all",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum EffectWord {
    Allow,
    Deny,
}

impl EffectWord {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

/// The topic of a rule, as it was written, known to be one.
pub(super) fn rule_topic(text: &str) -> Result<String, RuleError> {
    RuleTopic::parse(text).map(|_| text.to_owned())
}

/// A pattern for client ids, as it was written, known to be one.
pub(super) fn client_id_pattern(text: &str) -> Result<String, ClientIdError> {
    ClientIdPattern::parse(text).map(|_| text.to_owned())
}

/// The name of an attribute and its value.
pub(super) fn attribute(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("an attribute is written `name=value`")?;
    if name.is_empty() || name.contains(['/', '+', '#', '%', '{', '}']) {
        return Err(format!(
            "`{name}` cannot be the name of an attribute: it is empty or holds one of `/ + # % {{ }}`"
        ));
    }
    Ok((name.to_owned(), value.to_owned()))
}

/// A moment, in UTC and to the second.
pub(super) fn moment(text: &str) -> Result<String, String> {
    let moment: jiff::Timestamp =
        text.parse().map_err(|_| "a time is written like `2026-01-31T12:00:00Z`".to_owned())?;
    Ok(moment.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}
