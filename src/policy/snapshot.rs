//! One committed version of the whole policy, in memory and immutable.
//!
//! The next version shares all that did not change with this one, so that one changed row costs the same in a fleet of
//! ten and of a million. Where versions come from is not our concern.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use imbl::OrdSet;

use super::certificate::Certificate;
use super::decision::{Question, Reason, Verdict};
use super::device::{Credential, CredentialKind, Device, DeviceId, Rights, RoleId, SharedDevice, UnixSeconds};
use super::revocation::Revocations;
use super::role::{Role, judge};
use super::rule::Names;
use super::shared_map::Map;

/// What is known of who a client is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Proof<'a> {
    /// The transport proved this identity.
    Identity(CredentialKind, &'a str),
    /// The client knew the password of this user name, of which this was the stored hash.
    Password { user_name: &'a str, hash: &'a str },
    /// TLS verified this certificate.
    Certificate(&'a Certificate),
    /// The broker knows the client by this name; which credential it showed is not known (any more).
    UserName(&'a str),
}

impl std::fmt::Debug for Proof<'_> {
    /// Without the hash.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Identity(kind, identity) => f.debug_tuple("Identity").field(kind).field(identity).finish(),
            Self::Password { user_name, .. } => {
                f.debug_struct("Password").field("user_name", user_name).finish_non_exhaustive()
            }
            Self::Certificate(certificate) => f.debug_tuple("Certificate").field(certificate).finish(),
            Self::UserName(name) => f.debug_tuple("UserName").field(name).finish(),
        }
    }
}

/// Somebody who may be here.
#[derive(Debug, Clone, Copy)]
pub struct Present<'s> {
    pub device: &'s SharedDevice,
    /// What came with the proof.
    pub rights: Rights,
}

/// Why somebody is refused, and which device it is if it is one of ours.
#[derive(Debug, Clone, Copy)]
pub struct Refusal<'s> {
    pub reason: Reason,
    pub device: Option<&'s SharedDevice>,
}

/// The whole policy.
#[derive(Clone, Default)]
pub struct Snapshot {
    version: Version,
    revision: i64,
    devices: Map<DeviceId, SharedDevice>,
    names: Map<ByName, ()>,
    identities: Map<ByIdentity, ()>,
    /// How many of the identities are fingerprints: where there are none, none are looked for.
    fingerprints: usize,
    /// When credentials end, and whose they are.
    ends: OrdSet<(UnixSeconds, DeviceId)>,
    roles: Map<RoleId, Arc<Role>>,
    revocations: Revocations,
}

/// Tells each snapshot from every other in this process, whether the database or something else is what differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version(u64);

impl Default for Version {
    fn default() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot")
            .field("revision", &self.revision)
            .field("devices", &self.devices.len())
            .field("roles", &self.roles.len())
            .field("revocations", &self.revocations)
            .finish_non_exhaustive()
    }
}

impl Snapshot {
    /// Which of all snapshots this is: while it is the same, so are all answers to the same question at the same time.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// The number of the database's version that this is.
    #[must_use]
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// How many devices there are.
    #[must_use]
    pub fn device_count(&self) -> usize {
        self.devices.len()
    }

    /// How many roles there are.
    #[must_use]
    pub fn role_count(&self) -> usize {
        self.roles.len()
    }

    /// The device with this number.
    #[must_use]
    pub fn device(&self, id: DeviceId) -> Option<&SharedDevice> {
        self.devices.get(&id)
    }

    /// The device with this name.
    #[must_use]
    pub fn device_named(&self, name: &str) -> Option<&SharedDevice> {
        self.names.get_key_value(&Name(name)).map(|(entry, ())| &entry.0)
    }

    /// The device that has this identity, good or not.
    #[must_use]
    pub fn owner(&self, kind: CredentialKind, identity: &str) -> Option<&SharedDevice> {
        self.identities.get_key_value(&Identity { kind, identity }).map(|(entry, ())| &entry.device)
    }

    /// Every device, in no order.
    pub fn devices(&self) -> impl Iterator<Item = &SharedDevice> {
        self.devices.values()
    }

    /// The role with this number.
    #[must_use]
    pub fn role(&self, id: RoleId) -> Option<&Arc<Role>> {
        self.roles.get(&id)
    }

    /// Every role, in no order.
    pub fn roles(&self) -> impl Iterator<Item = &Arc<Role>> {
        self.roles.values()
    }

    /// What is known of revoked certificates.
    #[must_use]
    pub fn revocations(&self) -> &Revocations {
        &self.revocations
    }

    /// The devices that have a credential which ends after the first and up to the second moment.
    pub fn ending(&self, after: UnixSeconds, up_to: UnixSeconds) -> impl Iterator<Item = DeviceId> {
        let moments = (after.saturating_add(1), DeviceId::MIN)..=(up_to.max(after), DeviceId::MAX);
        let any = moments.start() <= moments.end();
        any.then(|| self.ends.range(moments)).into_iter().flatten().map(|(_, device)| *device)
    }

    /// The role with this name.
    #[must_use]
    pub fn role_named(&self, name: &str) -> Option<&Arc<Role>> {
        self.roles.values().find(|role| role.name() == name)
    }

    /// The roles by which a device is judged.
    pub fn roles_of<'s>(&'s self, device: &'s Device, rights: Rights) -> impl Iterator<Item = &'s Role> + Clone {
        let (own, only) = match rights {
            Rights::Own => (&*device.roles, None),
            Rights::Only(role) => (&[][..], role),
        };
        own.iter().copied().chain(only).filter_map(|id| self.roles.get(&id)).map(|role| &**role)
    }

    fn roles_numbered<'s>(&'s self, ids: &'s [RoleId]) -> impl Iterator<Item = &'s Role> {
        ids.iter().filter_map(|id| self.roles.get(id)).map(|role| &**role)
    }

    /// The device that has this identity, and whether both are good now.
    ///
    /// This is the one question that every gate asks.
    pub fn present(&self, proof: Proof<'_>, now: UnixSeconds) -> Result<Present<'_>, Refusal<'_>> {
        match proof {
            Proof::Identity(kind, identity) => {
                self.present_by_identity(kind, identity, now).map(|(present, _)| present)
            }
            Proof::Password { user_name, hash } => self.present_by_password(user_name, hash, now),
            Proof::Certificate(certificate) => self.present_by_certificate(certificate, now),
            Proof::UserName(name) => self.present_by_user_name(name, now),
        }
    }

    /// As [`Self::present`], and whether the device may use this client id.
    pub fn admit(
        &self,
        proof: Proof<'_>,
        client_id: Option<&str>,
        now: UnixSeconds,
    ) -> Result<Present<'_>, Refusal<'_>> {
        let present = self.present(proof, now)?;
        self.bound(present, client_id).map(|()| present)
    }

    /// Whether this client id may be used. Who has other rights than its own is bound by its own roles nonetheless, so that
    /// it takes over nobody's session that it could not take over with all of them.
    pub fn bound<'s>(&self, present: Present<'s>, client_id: Option<&str>) -> Result<(), Refusal<'s>> {
        let Present { device, rights } = present;
        let names = device.names(client_id);
        let by_roles = |rights| self.roles_of(device, rights).all(|role| role.client_id().admits(client_id, &names));
        let bound = device.client_id.admits(client_id, &names)
            && by_roles(Rights::Own)
            && (rights == Rights::Own || by_roles(rights));
        if bound { Ok(()) } else { Err(Refusal { reason: Reason::ClientIdMismatch, device: Some(device) }) }
    }

    /// Whether a device with these rights may do this. Whether it may be here is a question of its own: [`Self::admit`].
    pub fn judge(&self, device: &Device, rights: Rights, client_id: Option<&str>, question: &Question<'_>) -> Verdict {
        self.judge_by(rights.roles(device), &device.names(client_id), question)
    }

    /// As [`Self::judge`], of somebody with these roles and names.
    pub fn judge_by(&self, roles: &[RoleId], names: &Names<'_>, question: &Question<'_>) -> Verdict {
        judge(self.roles_numbered(roles), names, question)
    }

    fn present_by_identity(
        &self,
        kind: CredentialKind,
        identity: &str,
        now: UnixSeconds,
    ) -> Result<(Present<'_>, &Credential), Refusal<'_>> {
        let Some(device) = self.owner(kind, identity) else {
            return Err(Refusal { reason: Reason::UnknownIdentity, device: None });
        };
        let refuse = |reason| Refusal { reason, device: Some(device) };
        device.present().map_err(refuse)?;
        let credential = device.credential(kind, identity).ok_or(refuse(Reason::UnknownIdentity))?;
        let rights = device.good(credential, now).map_err(refuse)?;
        Ok((Present { device, rights }, credential))
    }

    /// Whoever came by a hash that is not the stored one any more came by a password that may have been changed.
    fn present_by_password(&self, user_name: &str, hash: &str, now: UnixSeconds) -> Result<Present<'_>, Refusal<'_>> {
        let (present, credential) = self.present_by_identity(CredentialKind::Password, user_name, now)?;
        if credential.secret.as_deref() == Some(hash) {
            Ok(present)
        } else {
            Err(Refusal { reason: Reason::PasswordChanged, device: Some(present.device) })
        }
    }

    /// What speaks against the certificate itself comes first, so that it is told to whoever else decides about those
    /// whom this database does not know; its dates come last, for those who let an expired one renew itself.
    fn present_by_certificate(&self, certificate: &Certificate, now: UnixSeconds) -> Result<Present<'_>, Refusal<'_>> {
        let by_name = self.owner(certificate.kind, &certificate.identity);
        let refuse = |reason| Refusal { reason, device: by_name };
        self.revocations.check(certificate).map_err(refuse)?;
        let issued = |credential: &Credential| match &credential.limits.issuer {
            Some(issuer) if !certificate.issued_by(issuer) => Err(refuse(Reason::WrongIssuer)),
            _ => Ok(()),
        };
        let mut narrowed = None;
        if self.fingerprints > 0 {
            let kinds = [CredentialKind::X509Sha256, CredentialKind::X509SpkiSha256];
            for (kind, identity) in kinds.into_iter().zip([&certificate.sha256, &certificate.spki_sha256]) {
                let Some(owner) = self.owner(kind, identity) else { continue };
                let Some(credential) = owner.credential(kind, identity) else { continue };
                let rights = owner.good(credential, now).map_err(refuse)?;
                narrowed = narrowed.or(Some(rights).filter(|rights| *rights != Rights::Own));
                // One device's certificate that another is known by: neither may act as the other.
                if by_name.is_some_and(|device| device.id != owner.id) {
                    return Err(refuse(Reason::AmbiguousIdentity));
                }
                issued(credential)?;
            }
        }
        let (mut present, credential) = self.present_by_identity(certificate.kind, &certificate.identity, now)?;
        issued(credential)?;
        if let (Rights::Own, Some(rights)) = (present.rights, narrowed) {
            present.rights = rights;
        }
        certificate.good(now).map_err(|reason| match (reason, present.rights) {
            // What a device begins its life with is not renewed.
            (Reason::CertificateExpired, Rights::Only(_)) => refuse(Reason::Expired),
            (reason, _) => refuse(reason),
        })?;
        Ok(present)
    }

    /// Any credential that gives the client this user name is enough, and one is needed. Which it was is not known, so one
    /// without the device's own rights is enough to have none of them.
    fn present_by_user_name(&self, name: &str, now: UnixSeconds) -> Result<Present<'_>, Refusal<'_>> {
        const KINDS: [CredentialKind; 3] = [CredentialKind::X509Cn, CredentialKind::Psk, CredentialKind::Password];
        let by_identity = KINDS.iter().filter_map(|&kind| self.owner(kind, name));
        let mut owners = self.device_named(name).into_iter().chain(by_identity);
        let Some(device) = owners.next() else {
            return Err(Refusal { reason: Reason::UnknownIdentity, device: None });
        };
        let refuse = |reason| Refusal { reason, device: Some(device) };
        // The database forbids it; if it happened nonetheless, neither may act as the other.
        if owners.any(|other| other.id != device.id) {
            return Err(refuse(Reason::AmbiguousIdentity));
        }
        device.present().map_err(refuse)?;
        let named = &*device.name == name;
        let (mut found, mut reason) = (None, Reason::UnknownIdentity);
        for credential in &device.credentials {
            // Under its own name a device may be here by any credential: the plugin named the user.
            if named || (credential.kind.names_the_user() && &*credential.identity == name) {
                match device.good(credential, now) {
                    Ok(Rights::Own) => found = found.or(Some(Rights::Own)),
                    Ok(only) => found = Some(only),
                    Err(why) => reason = why,
                }
            }
        }
        found.map(|rights| Present { device, rights }).ok_or(refuse(reason))
    }

    /// This version with other revocations.
    #[must_use]
    pub fn with_revocations(&self, revocations: Revocations) -> Self {
        Self { version: Version::default(), revocations, ..self.clone() }
    }

    /// The version that is all of this.
    #[must_use]
    pub fn whole(
        revision: i64,
        devices: impl IntoIterator<Item = SharedDevice>,
        roles: impl IntoIterator<Item = Role>,
    ) -> Self {
        let mut whole = Self { revision, ..Self::default() };
        for role in roles {
            whole.roles.insert(role.id(), Arc::new(role));
        }
        for device in devices {
            whole.put_in(device);
        }
        whole
    }

    /// The next version: this one with these devices and roles put in the place of their former selves, or taken out.
    #[must_use]
    pub fn next(
        &self,
        revision: i64,
        devices: impl IntoIterator<Item = (DeviceId, Option<Device>)>,
        roles: impl IntoIterator<Item = (RoleId, Option<Role>)>,
    ) -> Self {
        let mut next = self.clone();
        (next.version, next.revision) = (Version::default(), revision);
        for (id, role) in roles {
            match role {
                Some(role) => next.roles.insert(id, Arc::new(role)),
                None => next.roles.remove(&id),
            };
        }
        // First all go, then all come: within one commit a name or an identity may pass from one device to another.
        let devices: Vec<_> = devices.into_iter().collect();
        for (id, _) in &devices {
            next.take_out(*id);
        }
        for (_, device) in devices {
            if let Some(device) = device {
                next.put_in(Arc::new(device));
            }
        }
        next
    }

    fn take_out(&mut self, id: DeviceId) {
        let Some(device) = self.devices.remove(&id) else { return };
        if self.device_named(&device.name).is_some_and(|owner| owner.id == id) {
            self.names.remove(&Name(&device.name));
        }
        for credential in &device.credentials {
            let key = Identity { kind: credential.kind, identity: &credential.identity };
            if self.owner(key.kind, key.identity).is_some_and(|owner| owner.id == id) {
                self.identities.remove(&key);
                self.fingerprints -= usize::from(key.kind.is_fingerprint());
            }
            if let Some(end) = credential.limits.not_after {
                self.ends.remove(&(end, id));
            }
        }
    }

    fn put_in(&mut self, mut device: SharedDevice) {
        if let Some(clash) = self.clash(&device) {
            Arc::make_mut(&mut device).unreadable.get_or_insert(clash);
        }
        if self.device_named(&device.name).is_none() {
            self.names.insert(ByName(Arc::clone(&device)), ());
        }
        for (index, credential) in device.credentials.iter().enumerate() {
            if self.owner(credential.kind, &credential.identity).is_none() {
                self.identities.insert(ByIdentity { device: Arc::clone(&device), index }, ());
                self.fingerprints += usize::from(credential.kind.is_fingerprint());
            }
            if let Some(end) = credential.limits.not_after {
                self.ends.insert((end, device.id));
            }
        }
        self.devices.insert(device.id, device);
    }

    /// What this device claims that is another's already. The database forbids it; a damaged one may not.
    fn clash(&self, device: &Device) -> Option<Box<str>> {
        if let Some(other) = self.device_named(&device.name) {
            return Some(format!("its name is also that of device number {}", other.id).into());
        }
        device
            .credentials
            .iter()
            .find(|credential| self.owner(credential.kind, &credential.identity).is_some())
            .map(|credential| format!("its identity `{}` is also another device's", credential.identity).into())
    }
}

/// A device, found by its name.
#[derive(Clone)]
struct ByName(SharedDevice);

#[derive(Hash)]
struct Name<'a>(&'a str);

impl Hash for ByName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Name(&self.0.name).hash(state);
    }
}

impl PartialEq for ByName {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}

impl Eq for ByName {}

impl equivalent::Equivalent<ByName> for Name<'_> {
    fn equivalent(&self, key: &ByName) -> bool {
        *self.0 == *key.0.name
    }
}

/// A device, found by one of its credentials.
#[derive(Clone)]
struct ByIdentity {
    device: SharedDevice,
    index: usize,
}

#[derive(Hash, PartialEq, Eq)]
struct Identity<'a> {
    kind: CredentialKind,
    identity: &'a str,
}

impl ByIdentity {
    fn key(&self) -> Option<Identity<'_>> {
        let credential = self.device.credentials.get(self.index)?;
        Some(Identity { kind: credential.kind, identity: &credential.identity })
    }
}

impl Hash for ByIdentity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        if let Some(key) = self.key() {
            key.hash(state);
        }
    }
}

impl PartialEq for ByIdentity {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for ByIdentity {}

impl equivalent::Equivalent<ByIdentity> for Identity<'_> {
    fn equivalent(&self, entry: &ByIdentity) -> bool {
        entry.key().is_some_and(|key| key == *self)
    }
}

#[cfg(test)]
mod bootstrap_tests;
#[cfg(test)]
mod certificate_tests;
#[cfg(test)]
mod tests;
