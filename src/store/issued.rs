//! The certificates that were issued for devices: what a new one does to the credentials of its device, and the record
//! of them.
//!
//! A device is known by a name in its certificates, which all of them have, and each of them by its fingerprint, so that
//! one can come to an end while the next one works. What is in them, and who signs them, is not known here.

use std::collections::HashSet;

use super::connection::{Ask, Dialect, Transaction, list, once, sql};
use super::credential::{self, Credential, NewCredential, Proof};
use super::{Noun, Store, StoreError, device, read};
use crate::credential::certificate::{self, Description, Field};
use crate::policy::certificate::CertificateId;
use crate::policy::decision::Reason;
use crate::policy::device::{CredentialKind, Device, DeviceStatus, UnixSeconds};

/// A certificate that has been made for a device and is to become good.
#[derive(Debug, Clone)]
pub struct NewCertificate<'a> {
    /// What it says.
    pub says: &'a Description,
    /// The part of it by which the device is known, and what that part is.
    pub field: Field,
    pub identity: &'a str,
    /// The SHA-256 of the public keys of the authorities above it, in hexadecimal digits.
    pub authorities: &'a [String],
    /// What becomes of the certificates that the device has.
    pub others: Others,
    /// Seconds since 1970.
    pub now: UnixSeconds,
}

/// What a new certificate means for those that its device has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Others {
    /// There must be none.
    None,
    /// They are as good as before.
    Stay,
    /// There must be one; it, and all others, are good until this time.
    EndAt(UnixSeconds),
}

/// What a new certificate has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// The credentials that the device got.
    pub added: Vec<Credential>,
    /// Those that it began its life with, which are over.
    pub retired: Vec<Credential>,
    /// The certificates that will end before their time.
    pub ending: Vec<IssuedCertificate>,
}

/// The row of a certificate that was issued, and what has become of it.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct IssuedCertificate {
    pub device: String,
    device_status: String,
    pub issuer: String,
    /// In hexadecimal digits.
    pub serial: String,
    pub sha256: String,
    pub not_before: String,
    pub not_after: String,
    pub issued_at: String,
    credential_status: Option<String>,
    /// When it is to end before its own time.
    pub ends_at: Option<String>,
    #[sqlx(skip)]
    revoked: bool,
}

/// What has become of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It is good, as far as it goes: its device may be suspended.
    Active,
    /// Another has taken its place, and the time for which both were good is over.
    Ended,
    /// By its own dates.
    Expired,
    /// It, its credential or its device.
    Revoked,
}

impl State {
    /// The word that the command uses.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Ended => "ended",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

impl IssuedCertificate {
    /// What has become of it by this time.
    #[must_use]
    pub fn state(&self, now: UnixSeconds) -> State {
        let revoked = |status: &str| status == "revoked";
        if self.revoked || revoked(&self.device_status) || self.credential_status.as_deref().is_some_and(revoked) {
            State::Revoked
        } else if seconds(&self.not_after).is_none_or(|end| end < now) {
            State::Expired
        } else if self.ends_at.as_deref().is_some_and(|end| seconds(end).is_none_or(|end| end <= now)) {
            State::Ended
        } else {
            State::Active
        }
    }

    /// The last second in which it can be good; `None` for what is no time.
    #[must_use]
    pub fn end(&self) -> Option<UnixSeconds> {
        let own = seconds(&self.not_after)?;
        match &self.ends_at {
            Some(early) => Some(own.min(seconds(early)?)),
            None => Some(own),
        }
    }
}

impl Store {
    /// Makes a certificate good for a device: gives it the credentials that it lacks, ends what it began its life with, and
    /// notes the certificate. All of it, or nothing.
    pub async fn issue(&mut self, name: &str, new: &NewCertificate<'_>) -> Result<Issued, StoreError> {
        let mut tx = self.begin().await?;
        let id = device::require(&mut tx, name).await?;
        let before = credential::of_device(&mut tx, id).await?;
        let device = read::devices(&mut tx, &[id]).await?.into_iter().next();
        let device = device.ok_or_else(|| StoreError::not_found(Noun::Device, name))?;
        may_have(&device, new)?;
        key_is_its_own(&mut tx, id, new).await?;
        let current = current(&mut tx, &[id], new.now).await?;
        let ending = match new.others {
            Others::None => match current.first() {
                Some(one) => return Err(has_one(name, one)),
                None => Vec::new(),
            },
            Others::Stay => Vec::new(),
            Others::EndAt(_) if current.is_empty() => {
                let words = format!("`{name}` has no certificate that was issued here and is good");
                return Err(StoreError::Conflict(words));
            }
            Others::EndAt(end) => {
                let later = |one: &IssuedCertificate| one.end().is_none_or(|own| own > end);
                current.into_iter().filter(later).collect()
            }
        };
        if let Others::EndAt(end) = new.others {
            for one in &ending {
                end_at(&mut tx, id, one, end).await?;
            }
        }
        let by_name = Some((new.field, new.identity)).filter(|(field, _)| *field != Field::Sha256);
        for (field, identity) in by_name.into_iter().chain([(Field::Sha256, new.says.sha256.as_str())]) {
            if device.credential(field.kind(), identity).is_none() {
                let credential = NewCredential::new(identity.to_owned(), Proof::X509(field));
                credential::insert(&mut tx, id, &credential).await?;
            }
        }
        let retired = retire(&mut tx, id).await?;
        let query =
            sql("INSERT INTO certificates (device_id, issuer, serial, sha256, spki_sha256, not_before, not_after)
             VALUES (?, ?, ?, ?, ?, ?, ?)")
            .bind(id)
            .bind(&new.says.issuer)
            .bind(&new.says.serial)
            .bind(&new.says.sha256)
            .bind(&new.says.spki_sha256)
            .bind(moment(new.says.not_before))
            .bind(moment(new.says.not_after));
        tx.execute(query).await?;
        let known = |one: &Credential| before.iter().any(|it| it.kind == one.kind && it.identity == one.identity);
        let added = credential::of_device(&mut tx, id).await?.into_iter().filter(|one| !known(one)).collect();
        // As they are now.
        let shas: HashSet<_> = ending.iter().map(|one| one.sha256.clone()).collect();
        let ending = rows(&mut tx, Some(&[id])).await?.into_iter().filter(|one| shas.contains(&one.sha256)).collect();
        tx.commit().await?;
        Ok(Issued { added, retired, ending })
    }

    /// Whether [`Self::issue`] would have something against a certificate for this device, as far as that can be known
    /// before there is one.
    pub async fn may_be_issued(&mut self, name: &str, others: Others, now: UnixSeconds) -> Result<(), StoreError> {
        let mut tx = self.begin_read().await?;
        let id = device::require(&mut tx, name).await?;
        let record = read::devices(&mut tx, &[id]).await?.into_iter().next();
        if record.is_some_and(|device| device.status == DeviceStatus::Revoked) {
            return Err(revoked(name));
        }
        let current = current(&mut tx, &[id], now).await?;
        match (others, current.first()) {
            (Others::None, Some(one)) => Err(has_one(name, one)),
            (Others::EndAt(_), None) => {
                Err(StoreError::Conflict(format!("`{name}` has no certificate that was issued here and is good")))
            }
            _ => Ok(()),
        }
    }

    /// The certificates that were issued for a device, or for all; those that end first come first.
    pub async fn issued_certificates(&mut self, device: Option<&str>) -> Result<Vec<IssuedCertificate>, StoreError> {
        let mut tx = self.begin_read().await?;
        let id = match device {
            Some(name) => Some(device::require(&mut tx, name).await?),
            None => None,
        };
        let mut found = rows(&mut tx, id.as_ref().map(std::slice::from_ref)).await?;
        let revoked: Vec<(String, String)> =
            tx.all(sql("SELECT DISTINCT issuer, serial FROM revoked_certificates")).await?;
        let revoked: HashSet<CertificateId> =
            revoked.iter().filter_map(|(issuer, serial)| certificate::id(issuer, serial).ok()).collect();
        for one in &mut found {
            one.revoked = certificate::id(&one.issuer, &one.serial).is_ok_and(|id| revoked.contains(&id));
        }
        Ok(found)
    }
}

/// The certificates of these devices that are good, as far as their record goes.
pub(super) async fn current(
    connection: &mut impl Ask,
    devices: &[i64],
    now: UnixSeconds,
) -> Result<Vec<IssuedCertificate>, StoreError> {
    let mut current = Vec::new();
    for mut one in rows(connection, Some(devices)).await? {
        one.revoked = !super::certificate::rows_of(connection, &one.issuer, &one.serial).await?.is_empty();
        if one.state(now) == State::Active {
            current.push(one);
        }
    }
    Ok(current)
}

/// Revokes what a device began its life with, because it has a certificate; and says what that was.
pub(super) async fn retire(connection: &mut impl Ask, device_id: i64) -> Result<Vec<Credential>, StoreError> {
    let begun_with = "device_id = ? AND role_id IS NOT NULL AND credentials.status = 'active'";
    let query = format!("{} WHERE {begun_with} ORDER BY kind, identity", credential::SELECT);
    let retired: Vec<Credential> = connection.all(sql(query).bind(device_id)).await?;
    if !retired.is_empty() {
        let query = format!("UPDATE credentials SET status = 'revoked' WHERE {begun_with}");
        connection.execute(sql(query).bind(device_id)).await?;
    }
    Ok(retired)
}

/// Of these devices, or of all.
async fn rows(connection: &mut impl Ask, devices: Option<&[i64]>) -> Result<Vec<IssuedCertificate>, StoreError> {
    let ends_at = match connection.dialect() {
        // There it may be written in any way that SQLite understands.
        Dialect::Sqlite => "coalesce(strftime('%Y-%m-%dT%H:%M:%SZ', credentials.not_after), credentials.not_after)",
        Dialect::Postgres | Dialect::Mysql => "credentials.not_after",
    };
    let query = format!(
        "SELECT devices.name AS device, devices.status AS device_status, certificates.issuer, serial, sha256,
                certificates.not_before, certificates.not_after, issued_at,
                credentials.status AS credential_status, {ends_at} AS ends_at
         FROM certificates JOIN devices ON devices.id = certificates.device_id
         LEFT JOIN credentials ON kind = 'x509_sha256' AND identity = sha256
         WHERE {}
         ORDER BY certificates.not_after, devices.name, certificates.id",
        // A parameter that may be NULL has no type that PostgreSQL could tell.
        devices.map_or_else(|| "1 = 1".to_owned(), |ids| format!("certificates.device_id IN ({})", list(ids))),
    );
    Ok(connection.all(once(query)).await?)
}

/// Whether this device can use such a certificate at all.
fn may_have(device: &Device, new: &NewCertificate<'_>) -> Result<(), StoreError> {
    let name = &device.name;
    if device.status == DeviceStatus::Revoked {
        return Err(revoked(name));
    }
    if let Some(why) = &device.unreadable {
        return Err(StoreError::Conflict(format!("the row of `{name}` cannot be read: {why}")));
    }
    let (kind, identity) = (new.field.kind(), new.identity);
    let Some(credential) = device.credential(kind, identity) else { return Ok(()) };
    let against = match (credential.limits.role, credential.good(new.now), &credential.limits.issuer) {
        (Some(_), _, _) => "is one that it only begins its life with",
        (None, Err(Reason::CredentialRevoked), _) => {
            "is revoked, and certificates that were made before have that name too"
        }
        (None, Err(_), _) => "is not good at this time",
        (None, Ok(()), Some(pin)) if !new.authorities.iter().any(|key| **key == **pin) => "asks for another authority",
        (None, Ok(()), _) => return Ok(()),
    };
    Err(StoreError::Conflict(format!("the credential {} `{identity}` of `{name}` {against}", kind.as_str())))
}

/// Two devices with one key could speak for each other.
async fn key_is_its_own(
    connection: &mut Transaction<'_>,
    device_id: i64,
    new: &NewCertificate<'_>,
) -> Result<(), StoreError> {
    let query = "SELECT devices.name FROM certificates JOIN devices ON devices.id = device_id
                 WHERE spki_sha256 = ? AND device_id <> ?
                 UNION SELECT devices.name FROM credentials JOIN devices ON devices.id = device_id
                 WHERE kind = ? AND identity = ? AND device_id <> ?";
    let key = &new.says.spki_sha256;
    let kind = CredentialKind::X509SpkiSha256.as_str();
    let query = sql(query).bind(key).bind(device_id).bind(kind).bind(key).bind(device_id);
    match connection.optional::<(String,)>(query).await? {
        Some((other,)) => Err(StoreError::Conflict(format!("this key is already that of the device `{other}`"))),
        None => Ok(()),
    }
}

/// From this time on a certificate is good no more.
async fn end_at(
    connection: &mut Transaction<'_>,
    device_id: i64,
    one: &IssuedCertificate,
    end: UnixSeconds,
) -> Result<(), StoreError> {
    if one.credential_status.is_some() {
        let query = sql("UPDATE credentials SET not_after = ? WHERE kind = 'x509_sha256' AND identity = ?");
        connection.execute(query.bind(moment(end)).bind(&one.sha256)).await?;
        return Ok(());
    }
    let by_fingerprint = NewCredential {
        not_after: Some(moment(end)),
        ..NewCredential::new(one.sha256.clone(), Proof::X509(Field::Sha256))
    };
    credential::insert(connection, device_id, &by_fingerprint).await
}

fn has_one(name: &str, one: &IssuedCertificate) -> StoreError {
    StoreError::Conflict(format!(
        "`{name}` has the certificate `{}`, which is good until {}",
        one.serial, one.not_after
    ))
}

fn revoked(name: &str) -> StoreError {
    StoreError::Conflict(format!("the device `{name}` is revoked"))
}

fn seconds(text: &str) -> Option<UnixSeconds> {
    text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_second)
}

/// As the database has times.
fn moment(seconds: UnixSeconds) -> String {
    let time = jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::MAX);
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
