//! The words of the command line, read once into what they mean.

use std::net::IpAddr;

use clap::ValueEnum;
use clap::builder::PossibleValue;

use crate::credential::certificate::{Field, serial_of_text};
use crate::credential::distinguished_name::Name;
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

/// A kind of credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KindWord(pub(super) Kind);

/// A kind of credential that a certificate makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FieldWord(pub(super) Field);

impl FieldWord {
    const ALL: [Self; 9] = [
        Self(Field::Cn),
        Self(Field::SanDns),
        Self(Field::SanUri),
        Self(Field::SanEmail),
        Self(Field::SanIp),
        Self(Field::Subject),
        Self(Field::Serial),
        Self(Field::Sha256),
        Self(Field::SpkiSha256),
    ];
}

impl ValueEnum for FieldWord {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let help = match self.0 {
            Field::Cn => "The common name of a client certificate",
            Field::SanDns => "A DNS name of a client certificate",
            Field::SanUri => "A URI of a client certificate",
            Field::SanEmail => "A mail address of a client certificate",
            Field::SanIp => "An IP address of a client certificate",
            Field::Subject => "The whole subject of a client certificate, as `warden certificate show` writes it",
            Field::Serial => "The serial number of a client certificate, which is unique for one issuer only",
            Field::Sha256 => "The SHA-256 of a client certificate",
            Field::SpkiSha256 => "The SHA-256 of a client certificate's public key (SubjectPublicKeyInfo)",
        };
        Some(PossibleValue::new(self.0.kind().as_str()).help(help))
    }
}

impl ValueEnum for KindWord {
    fn value_variants<'a>() -> &'a [Self] {
        const ALL: [KindWord; 11] = [
            KindWord(Kind::X509(Field::Cn)),
            KindWord(Kind::X509(Field::SanDns)),
            KindWord(Kind::X509(Field::SanUri)),
            KindWord(Kind::X509(Field::SanEmail)),
            KindWord(Kind::X509(Field::SanIp)),
            KindWord(Kind::X509(Field::Subject)),
            KindWord(Kind::X509(Field::Serial)),
            KindWord(Kind::X509(Field::Sha256)),
            KindWord(Kind::X509(Field::SpkiSha256)),
            KindWord(Kind::Psk),
            KindWord(Kind::Password),
        ];
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        match self.0 {
            Kind::X509(field) => FieldWord(field).to_possible_value(),
            Kind::Psk => Some(PossibleValue::new(self.0.as_str()).help("A TLS pre-shared key")),
            Kind::Password => Some(PossibleValue::new(self.0.as_str()).help("A password, with a user name")),
        }
    }
}

/// An identity in the form in which one of this kind is stored and compared.
pub(super) fn identity(kind: Kind, text: &str) -> Result<String, String> {
    match kind {
        Kind::X509(Field::Sha256 | Field::SpkiSha256) => {
            sha256(text).ok_or_else(|| format!("`{text}` is no SHA-256, which has 64 hexadecimal digits"))
        }
        Kind::X509(Field::Serial) => serial(text),
        Kind::X509(Field::Subject) => distinguished_name(text),
        Kind::X509(Field::SanIp) => {
            let address = text.parse::<IpAddr>().map_err(|_| format!("`{text}` is no IP address"))?;
            Ok(address.to_string())
        }
        Kind::X509(Field::Cn | Field::SanDns | Field::SanUri | Field::SanEmail) | Kind::Psk | Kind::Password => {
            Ok(text.to_owned())
        }
    }
}

/// A SHA-256 as OpenSSL and others write it, in lower-case hexadecimal digits.
pub(super) fn sha256(text: &str) -> Option<String> {
    let digits: String = text.chars().filter(|char| *char != ':').map(|char| char.to_ascii_lowercase()).collect();
    (digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(digits)
}

/// The serial number of a certificate, in lower-case hexadecimal digits.
pub(super) fn serial(text: &str) -> Result<String, String> {
    serial_of_text(text).ok_or_else(|| format!("`{text}` is no serial number, which is written in hexadecimal digits"))
}

/// The name of a subject or an issuer, as RFC 4514 writes it.
pub(super) fn distinguished_name(text: &str) -> Result<String, String> {
    let name = Name::from_text(text)
        .ok_or_else(|| format!("`{text}` is no distinguished name, which is written like `CN=Fleet CA,O=Example`"))?;
    Ok(name.to_rfc4514())
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

/// A length of time, in seconds.
pub(super) fn duration(text: &str) -> Result<i64, String> {
    let length =
        humantime::parse_duration(text).map_err(|_| "a length of time is written like `7d` or `12h`".to_owned())?;
    i64::try_from(length.as_secs()).map_err(|_| format!("`{text}` is too long"))
}

/// A moment, in UTC and to the second.
pub(super) fn moment(text: &str) -> Result<String, String> {
    let moment: jiff::Timestamp =
        text.parse().map_err(|_| "a time is written like `2026-01-31T12:00:00Z`".to_owned())?;
    Ok(moment.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}
