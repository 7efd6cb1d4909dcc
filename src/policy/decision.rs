//! The question that is asked of the policy, and its answer: allowed or denied, why, and by which rule.

use std::fmt;

/// What a device does with a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Send a message to a topic name.
    Publish,
    /// Ask for a topic filter.
    Subscribe,
    /// Be sent a message on a topic name.
    Receive,
}

impl Action {
    /// The word that the database and the command use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
            Self::Receive => "receive",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One question: may this be done with this topic?
///
/// Who asks is not part of it: see [`Names`](super::rule::Names).
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    pub action: Action,
    /// A topic name when publishing or receiving, a topic filter (with `$share/group/`, if any) when subscribing.
    pub topic: &'a str,
    /// The QoS of the message, or the QoS asked for: 0, 1 or 2.
    pub qos: u8,
    /// Whether the message is to be retained. Only asked of a publish.
    pub retain: bool,
}

/// Why a verdict is what it is. The words are stable: logs, `--json` and tests use them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// A rule allows it.
    AllowedByRule,
    /// A deny rule covers it.
    DeniedByRule,
    /// A rule cannot be read, and it may have been a deny: its role denies everything until it is mended.
    UnreadableRule,
    /// No rule allows it.
    NoRule,
    /// The topic or the filter is not one (MQTT 5, section 4.7).
    MalformedTopic,
    /// The client gave no user name, and the broker found none for it.
    NoUserName,
    /// Nobody in the database has this identity.
    UnknownIdentity,
    /// The user name means more than one device.
    AmbiguousIdentity,
    /// The identity belongs to another device by now.
    IdentityMoved,
    /// The device is suspended.
    DeviceSuspended,
    /// The device is revoked.
    DeviceRevoked,
    /// The row of the device, or of its credential, cannot be read.
    UnreadableDevice,
    /// The credential is revoked.
    CredentialRevoked,
    /// The credential is not valid yet.
    NotYetValid,
    /// The credential has expired.
    Expired,
    /// The password is not the one of this user name.
    WrongPassword,
    /// Since the client came with its password, it was changed.
    PasswordChanged,
    /// So many passwords were wrong, or are being tried, that this one was not looked at.
    LoginBudget,
    /// The client id is not one that the device, or one of its roles, may use.
    ClientIdMismatch,
    /// The certificate cannot be read, or says nothing that identifies a device.
    UnusableCertificate,
    /// This certificate is revoked, by its authority or by somebody's decision.
    CertificateRevoked,
    /// By its own dates the certificate is not valid yet.
    CertificateNotYetValid,
    /// By its own dates the certificate has expired.
    CertificateExpired,
    /// Another authority has issued the certificate than the credential asks for.
    WrongIssuer,
    /// The plugin has not seen the TLS handshake in which the certificate was shown.
    HandshakeNotSeen,
    /// Whether the certificate is revoked has to be known, and is not (yet).
    RevocationUnknown,
    /// The listener proves no identity that the plugin can use; the log says which option to change.
    WrongListenerOptions,
    /// The policy in memory could not be confirmed against the database in time.
    StalePolicy,
    /// More TLS handshakes have begun than the broker is to take on at once.
    TooManyHandshakes,
}

impl Reason {
    /// Every reason that an expectation may name; those about passwords and about too many handshakes are not among them.
    pub const ALL: [Self; 25] = [
        Self::AllowedByRule,
        Self::DeniedByRule,
        Self::UnreadableRule,
        Self::NoRule,
        Self::MalformedTopic,
        Self::NoUserName,
        Self::UnknownIdentity,
        Self::AmbiguousIdentity,
        Self::IdentityMoved,
        Self::DeviceSuspended,
        Self::DeviceRevoked,
        Self::UnreadableDevice,
        Self::CredentialRevoked,
        Self::NotYetValid,
        Self::Expired,
        Self::ClientIdMismatch,
        Self::UnusableCertificate,
        Self::CertificateRevoked,
        Self::CertificateNotYetValid,
        Self::CertificateExpired,
        Self::WrongIssuer,
        Self::HandshakeNotSeen,
        Self::RevocationUnknown,
        Self::WrongListenerOptions,
        Self::StalePolicy,
    ];

    /// The stable word for this reason.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AllowedByRule => "allowed-by-rule",
            Self::DeniedByRule => "denied-by-rule",
            Self::UnreadableRule => "unreadable-rule",
            Self::NoRule => "no-rule",
            Self::MalformedTopic => "malformed-topic",
            Self::NoUserName => "no-user-name",
            Self::UnknownIdentity => "unknown-identity",
            Self::AmbiguousIdentity => "ambiguous-identity",
            Self::IdentityMoved => "identity-moved",
            Self::DeviceSuspended => "device-suspended",
            Self::DeviceRevoked => "device-revoked",
            Self::UnreadableDevice => "unreadable-device",
            Self::CredentialRevoked => "credential-revoked",
            Self::NotYetValid => "not-yet-valid",
            Self::Expired => "expired",
            Self::WrongPassword => "wrong-password",
            Self::PasswordChanged => "password-changed",
            Self::LoginBudget => "login-budget",
            Self::ClientIdMismatch => "client-id-mismatch",
            Self::UnusableCertificate => "unusable-certificate",
            Self::CertificateRevoked => "certificate-revoked",
            Self::CertificateNotYetValid => "certificate-not-yet-valid",
            Self::CertificateExpired => "certificate-expired",
            Self::WrongIssuer => "wrong-issuer",
            Self::HandshakeNotSeen => "handshake-not-seen",
            Self::RevocationUnknown => "revocation-unknown",
            Self::WrongListenerOptions => "wrong-listener-options",
            Self::StalePolicy => "stale-policy",
            Self::TooManyHandshakes => "too-many-handshakes",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The number of a rule's row in the database.
pub type RuleId = i64;

/// Allowed or denied, why, and by which rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Verdict {
    pub allowed: bool,
    pub reason: Reason,
    /// The rule that decided, where one did. A filter that several rules cover together names one of them.
    pub rule: Option<RuleId>,
}

impl Verdict {
    /// Allowed, by this rule.
    pub const fn allow(rule: RuleId) -> Self {
        Self { allowed: true, reason: Reason::AllowedByRule, rule: Some(rule) }
    }

    /// Denied, by no rule.
    pub const fn deny(reason: Reason) -> Self {
        Self { allowed: false, reason, rule: None }
    }

    /// Denied, by this rule.
    pub const fn deny_by(reason: Reason, rule: RuleId) -> Self {
        Self { allowed: false, reason, rule: Some(rule) }
    }
}
