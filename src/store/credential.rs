//! Credentials: added, listed, revoked, removed. Secrets come in their stored form and never go out again.

use std::fmt;

use super::connection::{Ask, sql};
use super::{Noun, Store, StoreError, device, issued, role};
use crate::credential::certificate::Field;
use crate::policy::device::CredentialKind;

/// The kinds of credentials that this version can add.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// What a certificate says in this field.
    X509(Field),
    Psk,
    Password,
}

impl Kind {
    /// The word that the database uses.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::X509(field) => field.kind().as_str(),
            Self::Psk => CredentialKind::Psk.as_str(),
            Self::Password => CredentialKind::Password.as_str(),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A pre-shared key in its stored form.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedPsk {
    pub sealed: String,
    /// By which the database knows a key that is already in use.
    pub digest: String,
}

impl fmt::Debug for SealedPsk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealedPsk(..)")
    }
}

/// A password in its stored form, which is a hash of it.
#[derive(Clone, PartialEq, Eq)]
pub struct HashedPassword(pub String);

impl fmt::Debug for HashedPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashedPassword(..)")
    }
}

/// What a new credential consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    X509(Field),
    Psk(SealedPsk),
    Password(HashedPassword),
}

impl Proof {
    /// What kind of credential it makes.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::X509(field) => Kind::X509(*field),
            Self::Psk(_) => Kind::Psk,
            Self::Password(_) => Kind::Password,
        }
    }
}

/// A credential to be added.
#[derive(Debug, Clone)]
pub struct NewCredential {
    /// As certificates are read: fingerprints, for instance, in lower-case hexadecimal digits.
    pub identity: String,
    pub proof: Proof,
    /// x509: the authority that must have issued the certificate, by the SHA-256 of its public key in 64 lower-case
    /// hexadecimal digits.
    pub issuer: Option<String>,
    /// The only role that it gives, until the device has a certificate.
    pub only_role: Option<String>,
    /// RFC 3339.
    pub not_before: Option<String>,
    /// RFC 3339.
    pub not_after: Option<String>,
}

impl NewCredential {
    /// One without limits.
    #[must_use]
    pub const fn new(identity: String, proof: Proof) -> Self {
        Self { identity, proof, issuer: None, only_role: None, not_before: None, not_after: None }
    }
}

/// The row of a credential, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Credential {
    pub device: String,
    pub kind: String,
    pub identity: String,
    pub issuer: Option<String>,
    /// The only role that it gives, until the device has a certificate.
    pub only_role: Option<String>,
    pub status: String,
    pub not_before: Option<String>,
    pub not_after: Option<String>,
    pub created_at: String,
}

/// A query for [`Credential`]s, but for which and in what order.
pub(super) const SELECT: &str = "\
    SELECT devices.name AS device, kind, identity, issuer, only_roles.name AS only_role, credentials.status, \
           not_before, not_after, credentials.created_at \
    FROM credentials JOIN devices ON devices.id = device_id LEFT JOIN roles AS only_roles ON only_roles.id = role_id";

impl Store {
    /// Adds a credential to a device. If it stands for a certificate, what the device began its life with is over.
    pub async fn add_credential(&mut self, device: &str, new: &NewCredential) -> Result<Credential, StoreError> {
        let mut tx = self.begin().await?;
        let device_id = device::require(&mut tx, device).await?;
        insert(&mut tx, device_id, new).await?;
        if new.only_role.is_none() && matches!(new.proof, Proof::X509(_)) {
            issued::retire(&mut tx, device_id).await?;
        }
        let all = of_device(&mut tx, device_id).await?;
        let kind = new.proof.kind();
        let added = all.into_iter().find(|it| it.kind == kind.as_str() && it.identity == new.identity);
        tx.commit().await?;
        added.ok_or_else(|| StoreError::not_found(Noun::Credential, &new.identity))
    }

    /// The credentials of a device, or of all.
    pub async fn credentials(&mut self, device: Option<&str>) -> Result<Vec<Credential>, StoreError> {
        let mut tx = self.begin_read().await?;
        if let Some(name) = device {
            let id = device::require(&mut tx, name).await?;
            return of_device(&mut tx, id).await;
        }
        Ok(tx.all(sql(format!("{SELECT} ORDER BY devices.name, kind, identity"))).await?)
    }

    /// Revokes a credential, and says which, and whether it was still active.
    ///
    /// Without an identity it is the only one of its kind that the device has.
    pub async fn revoke_credential(
        &mut self,
        device: &str,
        kind: Kind,
        identity: Option<&str>,
    ) -> Result<(String, bool), StoreError> {
        let mut tx = self.begin().await?;
        let (id, identity) = find(&mut tx, device, kind, identity).await?;
        let query = sql("UPDATE credentials SET status = 'revoked' WHERE id = ? AND status <> 'revoked'");
        let changed = tx.execute(query.bind(id)).await? > 0;
        tx.commit().await?;
        Ok((identity, changed))
    }

    /// The identity of a credential, found as for [`revoke_credential`](Self::revoke_credential).
    pub async fn find_credential(
        &mut self,
        device: &str,
        kind: Kind,
        identity: Option<&str>,
    ) -> Result<String, StoreError> {
        Ok(find(&mut self.begin_read().await?, device, kind, identity).await?.1)
    }

    /// Adds a pre-shared key beside one that ends at this time (RFC 3339).
    pub async fn rotate_psk(
        &mut self,
        device: &str,
        old: &str,
        old_ends: &str,
        new: &NewCredential,
    ) -> Result<Credential, StoreError> {
        let mut tx = self.begin().await?;
        let (id, _) = find(&mut tx, device, Kind::Psk, Some(old)).await?;
        let (begins,): (i64,) =
            tx.one(sql("SELECT count(*) FROM credentials WHERE id = ? AND role_id IS NOT NULL").bind(id)).await?;
        if begins > 0 {
            // Another key would be one without its limits.
            return Err(StoreError::Conflict(format!("the device only begins with the key of `{old}`")));
        }
        tx.execute(sql("UPDATE credentials SET not_after = ? WHERE id = ?").bind(old_ends).bind(id)).await?;
        let device_id = device::require(&mut tx, device).await?;
        insert(&mut tx, device_id, new).await?;
        let mut all = of_device(&mut tx, device_id).await?.into_iter();
        let added = all.find(|it| it.kind == Kind::Psk.as_str() && it.identity == new.identity);
        tx.commit().await?;
        added.ok_or_else(|| StoreError::not_found(Noun::Credential, &new.identity))
    }

    /// Whether any device has a password.
    pub async fn any_password(&mut self) -> Result<bool, StoreError> {
        let query = sql("SELECT id FROM credentials WHERE kind = 'password' LIMIT 1");
        let found: Option<(i64,)> = self.connection.optional(query).await?;
        Ok(found.is_some())
    }

    /// Puts another password in the place of the one that a credential has.
    pub async fn replace_password(
        &mut self,
        device: &str,
        identity: &str,
        new: &HashedPassword,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let (id, _) = find(&mut tx, device, Kind::Password, Some(identity)).await?;
        tx.execute(sql("UPDATE credentials SET secret = ? WHERE id = ?").bind(&new.0).bind(id)).await?;
        Ok(tx.commit().await?)
    }

    /// Puts a better hash of the same password in the place of this one, if it is still there. Says whether it was.
    pub async fn upgrade_password(&mut self, user_name: &str, old: &str, new: &str) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let query = sql("UPDATE credentials SET secret = ? WHERE kind = 'password' AND identity = ? AND secret = ?");
        let replaced = tx.execute(query.bind(new).bind(user_name).bind(old)).await? > 0;
        tx.commit().await?;
        Ok(replaced)
    }

    /// Removes a credential.
    pub async fn remove_credential(&mut self, device: &str, kind: Kind, identity: &str) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let (id, _) = find(&mut tx, device, kind, Some(identity)).await?;
        tx.execute(sql("DELETE FROM credentials WHERE id = ?").bind(id)).await?;
        Ok(tx.commit().await?)
    }
}

pub(super) async fn insert(connection: &mut impl Ask, device_id: i64, new: &NewCredential) -> Result<(), StoreError> {
    let (secret, digest) = match &new.proof {
        Proof::X509(_) => (None, None),
        Proof::Psk(psk) => (Some(psk.sealed.as_str()), Some(psk.digest.as_str())),
        Proof::Password(HashedPassword(hash)) => (Some(hash.as_str()), None),
    };
    let only_role = match &new.only_role {
        Some(name) => Some(only_role(connection, device_id, name).await?),
        None => None,
    };
    let query = sql("INSERT INTO credentials
             (device_id, kind, identity, secret, secret_digest, issuer, role_id, not_before, not_after)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)")
    .bind(device_id)
    .bind(new.proof.kind().as_str())
    .bind(&new.identity)
    .bind(secret)
    .bind(digest)
    .bind(&new.issuer)
    .bind(only_role)
    .bind(&new.not_before)
    .bind(&new.not_after);
    connection.execute(query).await?;
    Ok(())
}

/// The role that a credential to begin with gives, unless it could never be used.
async fn only_role(connection: &mut impl Ask, device_id: i64, name: &str) -> Result<i64, StoreError> {
    let id = role::require(connection, name).await?;
    let query = "SELECT kind, identity FROM credentials
                 WHERE device_id = ? AND role_id IS NULL AND kind LIKE 'x509%' ORDER BY id LIMIT 1";
    match connection.optional::<(String, String)>(sql(query).bind(device_id)).await? {
        Some((kind, identity)) => Err(StoreError::Conflict(format!(
            "the device has a certificate ({kind} `{identity}`), so it can begin with nothing else"
        ))),
        None => Ok(id),
    }
}

pub(super) async fn of_device(connection: &mut impl Ask, id: i64) -> Result<Vec<Credential>, StoreError> {
    Ok(connection.all(sql(format!("{SELECT} WHERE device_id = ? ORDER BY kind, identity")).bind(id)).await?)
}

async fn find(
    connection: &mut impl Ask,
    device: &str,
    kind: Kind,
    identity: Option<&str>,
) -> Result<(i64, String), StoreError> {
    let device_id = device::require(connection, device).await?;
    let query = "SELECT id, identity FROM credentials WHERE device_id = ?1 AND kind = ?2
                 AND (?3 IS NULL OR identity = ?3) ORDER BY identity";
    let query = sql(query).bind(device_id).bind(kind.as_str()).bind(identity);
    let mut found: Vec<(i64, String)> = connection.all(query).await?;
    match (found.pop(), found.is_empty()) {
        (Some(only), true) => Ok(only),
        (Some(last), false) => {
            let identities = found.iter().chain([&last]).map(|(_, identity)| format!("`{identity}`"));
            let identities = identities.collect::<Vec<_>>().join(", ");
            Err(StoreError::Ambiguous(format!("`{device}` has several credentials of kind {kind}: {identities}")))
        }
        (None, _) => {
            let name = format!("{kind} {}", identity.unwrap_or("(any)"));
            Err(StoreError::not_found(Noun::Credential, &name))
        }
    }
}
