//! A device, and the credentials by which it proves who it is.
//!
//! How a proof is made (a handshake, a password) is not our concern: here, only whether what was proved is good now.

use std::ops::Deref;
use std::sync::Arc;

use super::decision::Reason;
use super::role::ClientIdBinding;
use super::rule::{Attributes, Names};

/// The number of a device's row.
pub type DeviceId = i64;
/// The number of a role's row.
pub type RoleId = i64;
/// Seconds since 1970-01-01 00:00 UTC. Time is given to the policy; it has no clock.
pub type UnixSeconds = i64;

/// Whether a device may be here at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceStatus {
    /// It may.
    Active,
    /// Not now; it is expected back, and keeps its subscriptions.
    Suspended,
    /// No more.
    Revoked,
}

/// By which rules somebody is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rights {
    /// Those of the device's own roles.
    Own,
    /// Those of this role in their place; none at all where there is no such role.
    Only(Option<RoleId>),
}

impl Rights {
    /// The roles by which a device is judged.
    #[must_use]
    pub fn roles<'a>(&'a self, device: &'a Device) -> &'a [RoleId] {
        match self {
            Self::Own => &device.roles,
            Self::Only(role) => role.as_slice(),
        }
    }
}

/// How a device proves who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CredentialKind {
    /// The common name of its certificate's subject.
    X509Cn,
    /// A DNS name of its certificate.
    X509SanDns,
    /// A URI of its certificate.
    X509SanUri,
    /// A mail address of its certificate.
    X509SanEmail,
    /// An IP address of its certificate.
    X509SanIp,
    /// The whole subject of its certificate, as RFC 4514 writes it.
    X509Subject,
    /// The serial number of its certificate: unique within one authority only.
    X509Serial,
    /// The SHA-256 of its certificate.
    X509Sha256,
    /// The SHA-256 of its certificate's public key.
    X509SpkiSha256,
    /// A TLS pre-shared key.
    Psk,
    /// A password.
    Password,
}

impl CredentialKind {
    /// Every kind.
    pub const ALL: [Self; 11] = [
        Self::X509Cn,
        Self::X509SanDns,
        Self::X509SanUri,
        Self::X509SanEmail,
        Self::X509SanIp,
        Self::X509Subject,
        Self::X509Serial,
        Self::X509Sha256,
        Self::X509SpkiSha256,
        Self::Psk,
        Self::Password,
    ];

    /// The word that the database and the command use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::X509Cn => "x509_cn",
            Self::X509SanDns => "x509_san_dns",
            Self::X509SanUri => "x509_san_uri",
            Self::X509SanEmail => "x509_san_email",
            Self::X509SanIp => "x509_san_ip",
            Self::X509Subject => "x509_subject",
            Self::X509Serial => "x509_serial",
            Self::X509Sha256 => "x509_sha256",
            Self::X509SpkiSha256 => "x509_spki_sha256",
            Self::Psk => "psk",
            Self::Password => "password",
        }
    }

    /// The kind with this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    /// Whether it is something that a certificate says.
    #[must_use]
    pub const fn is_certificate(self) -> bool {
        !matches!(self, Self::Psk | Self::Password)
    }

    /// Whether it is the fingerprint of a certificate or of its key.
    #[must_use]
    pub const fn is_fingerprint(self) -> bool {
        matches!(self, Self::X509Sha256 | Self::X509SpkiSha256)
    }

    /// Whether the broker may use the identity as the client's user name (`use_identity_as_username`, or a login).
    #[must_use]
    pub const fn names_the_user(self) -> bool {
        matches!(self, Self::X509Cn | Self::Psk | Self::Password)
    }
}

/// One way in which a device proves who it is.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    pub kind: CredentialKind,
    /// What the transport proves: a common name, a PSK identity, … Where it is the device's name, it is kept once.
    pub identity: Arc<str>,
    /// As it is stored: sealed or hashed. It is opened only for the moment in which it is needed.
    pub secret: Option<Box<str>>,
    pub revoked: bool,
    pub limits: Limits,
}

/// What narrows a credential.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limit {
    /// x509: the SHA-256, in hexadecimal digits, of the public key of an authority that must have issued the certificate.
    pub issuer: Option<Box<str>>,
    /// Who shows it has the rights of this role and no others, and only until the device has a certificate. `None`: the
    /// device's own roles.
    pub role: Option<RoleId>,
    /// The first second in which it is good.
    pub not_before: Option<UnixSeconds>,
    /// The first second in which it is good no more.
    pub not_after: Option<UnixSeconds>,
}

/// The [`Limit`] of a credential, behind a pointer, because hardly any has one, and all have room for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits(Option<Box<Limit>>);

impl From<Limit> for Limits {
    fn from(limit: Limit) -> Self {
        Self((limit != Limit::default()).then(|| Box::new(limit)))
    }
}

impl Deref for Limits {
    type Target = Limit;

    fn deref(&self) -> &Limit {
        const NONE: &Limit = &Limit { issuer: None, role: None, not_before: None, not_after: None };
        self.0.as_deref().unwrap_or(NONE)
    }
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credential")
            .field("kind", &self.kind)
            .field("identity", &self.identity)
            .field("revoked", &self.revoked)
            .finish_non_exhaustive()
    }
}

impl Credential {
    /// Whether it is good at this time.
    pub fn good(&self, now: UnixSeconds) -> Result<(), Reason> {
        if self.revoked {
            Err(Reason::CredentialRevoked)
        } else if self.limits.not_before.is_some_and(|start| now < start) {
            Err(Reason::NotYetValid)
        } else if self.limits.not_after.is_some_and(|end| now >= end) {
            Err(Reason::Expired)
        } else {
            Ok(())
        }
    }
}

/// A thing in the fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    pub id: DeviceId,
    /// Unique; stands for `%u` in topics.
    pub name: Arc<str>,
    pub status: DeviceStatus,
    /// The client ids that it may use, beside what its roles ask for.
    pub client_id: ClientIdBinding,
    pub attributes: Attributes,
    pub credentials: Box<[Credential]>,
    /// Most devices have the same roles as many others, and share the list with them.
    pub roles: Arc<[RoleId]>,
    /// Why its row cannot be read, if it cannot: then it is refused.
    pub unreadable: Option<Box<str>>,
}

impl Device {
    /// Whether it may be here, whatever its credential.
    pub fn present(&self) -> Result<(), Reason> {
        match (&self.unreadable, self.status) {
            (Some(_), _) => Err(Reason::UnreadableDevice),
            (None, DeviceStatus::Active) => Ok(()),
            (None, DeviceStatus::Suspended) => Err(Reason::DeviceSuspended),
            (None, DeviceStatus::Revoked) => Err(Reason::DeviceRevoked),
        }
    }

    /// Whether it has a certificate, however that came into the database and whatever has become of it. Then what it began
    /// its life with is over for good.
    #[must_use]
    pub fn has_certificate(&self) -> bool {
        self.credentials.iter().any(|credential| credential.limits.role.is_none() && credential.kind.is_certificate())
    }

    /// The roles that it may begin its life with, as far as that is not over. Times are left out of account.
    pub fn beginnings(&self) -> impl Iterator<Item = RoleId> {
        let credentials = if self.has_certificate() { &[][..] } else { &*self.credentials };
        credentials.iter().filter(|credential| !credential.revoked).filter_map(|credential| credential.limits.role)
    }

    /// The first second after `now` in which the dates of its credentials may say something else than they do now.
    #[must_use]
    pub fn next_date(&self, now: UnixSeconds) -> UnixSeconds {
        let dates =
            self.credentials.iter().flat_map(|credential| [credential.limits.not_before, credential.limits.not_after]);
        dates.flatten().filter(|date| *date > now).min().unwrap_or(UnixSeconds::MAX)
    }

    /// Whether one of its credentials is good at this time, and for which rights.
    pub fn good(&self, credential: &Credential, now: UnixSeconds) -> Result<Rights, Reason> {
        credential.good(now)?;
        match credential.limits.role {
            None => Ok(Rights::Own),
            Some(_) if self.has_certificate() => Err(Reason::CredentialRevoked),
            Some(role) => Ok(Rights::Only(Some(role))),
        }
    }

    /// Its credential of this kind with this identity.
    #[must_use]
    pub fn credential(&self, kind: CredentialKind, identity: &str) -> Option<&Credential> {
        self.credentials.iter().find(|credential| credential.kind == kind && &*credential.identity == identity)
    }

    /// The user names under which the broker may know its sessions: its own name, and the identities that name a user.
    pub fn user_names(&self) -> impl Iterator<Item = &str> {
        let identities = self.credentials.iter().filter(|credential| credential.kind.names_the_user());
        std::iter::once(&*self.name).chain(identities.map(|credential| &*credential.identity))
    }

    /// What the placeholders of its topics stand for.
    #[must_use]
    pub fn names<'a>(&'a self, client_id: Option<&'a str>) -> Names<'a> {
        Names { device: &self.name, client_id, attributes: &self.attributes }
    }
}

/// A device shared between snapshots.
pub type SharedDevice = Arc<Device>;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::certificate::{Certificate, CertificateId};

    const MOST: UnixSeconds = 12;

    fn dates() -> impl Strategy<Value = (Option<UnixSeconds>, Option<UnixSeconds>)> {
        (proptest::option::of(0..MOST), proptest::option::of(0..MOST))
    }

    fn credential((not_before, not_after): (Option<UnixSeconds>, Option<UnixSeconds>)) -> Credential {
        let (kind, identity) = (CredentialKind::Psk, "x".into());
        let limits = Limit { not_before, not_after, ..Limit::default() }.into();
        Credential { kind, identity, secret: None, revoked: false, limits }
    }

    fn device(credentials: Box<[Credential]>) -> Device {
        Device {
            id: 1,
            name: "x".into(),
            status: DeviceStatus::Active,
            client_id: ClientIdBinding::Any,
            attributes: Attributes::default(),
            credentials,
            roles: [].into(),
            unreadable: None,
        }
    }

    proptest! {
        #[test]
        fn nothing_changes_before_the_next_date(all in proptest::collection::vec(dates(), 0..4), now in 0..MOST) {
            let device = device(all.into_iter().map(credential).collect());
            let verdicts = |time| device.credentials.iter().map(|it| it.good(time)).collect::<Vec<_>>();
            let next = device.next_date(now);
            prop_assert!((now..next.min(MOST + 1)).all(|time| verdicts(time) == verdicts(now)));
            // And it is no sooner than it has to be, or the question would be asked in vain each time.
            prop_assert!(next > now && (next == UnixSeconds::MAX || next < MOST));
        }

        #[test]
        fn a_certificate_says_the_same_until_its_next_date(not_before in 0..MOST, not_after in 0..MOST, now in 0..MOST) {
            let certificate = Certificate {
                id: CertificateId([0; 16]),
                kind: CredentialKind::X509Cn,
                identity: "x".into(),
                common_name: None,
                sha256: "".into(),
                spki_sha256: "".into(),
                authorities: Box::default(),
                not_before,
                not_after,
            };
            let next = certificate.next_date(now);
            prop_assert!((now..next.min(MOST + 1)).all(|time| certificate.good(time) == certificate.good(now)));
        }
    }
}
