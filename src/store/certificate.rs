//! Certificates: revoked by hand, taken back, listed, looked up.
//!
//! What the lists of authorities revoke stands in the same table, and is not taken back here.

use super::connection::{Ask, sql};
use super::credential::{self, Credential};
use super::{Store, StoreError};
use crate::credential::certificate::{Field, id, serial_of_text};
use crate::credential::distinguished_name::Name;

/// The row of a revoked certificate.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct RevokedCertificate {
    #[sqlx(rename = "id")]
    number: i64,
    pub issuer: String,
    /// In hexadecimal digits.
    pub serial: String,
    pub revoked_at: String,
    pub reason: Option<String>,
    /// Whether it is the list of an authority that says so, and not somebody's own decision.
    pub listed: bool,
}

/// What became of a certificate that was to be revoked no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unrevoked {
    /// Whether it was revoked by hand.
    pub changed: bool,
    /// Whether the list of an authority revokes it nonetheless.
    pub listed: bool,
}

const SELECT: &str = "SELECT id, issuer, serial, revoked_at, reason, crl_id IS NOT NULL AS listed \
                      FROM revoked_certificates";

impl Store {
    /// Revokes a certificate, and says whether it was not revoked by hand yet. If it was, it takes over a reason.
    pub async fn revoke_certificate(
        &mut self,
        issuer: &str,
        serial: &str,
        reason: Option<&str>,
    ) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let by_hand = rows_of(&mut tx, issuer, serial).await?.into_iter().find(|row| !row.listed);
        if let Some(row) = &by_hand {
            let query = sql("UPDATE revoked_certificates SET reason = coalesce(?, reason) WHERE id = ?");
            tx.execute(query.bind(reason).bind(row.number)).await?;
        } else {
            // What can be written in several ways is stored in one.
            let issuer = Name::from_text(issuer).map_or_else(|| issuer.to_owned(), |name| name.to_rfc4514());
            let serial = serial_of_text(serial).unwrap_or_else(|| serial.to_owned());
            let query = sql("INSERT INTO revoked_certificates (issuer, serial, reason) VALUES (?, ?, ?)");
            tx.execute(query.bind(issuer).bind(serial).bind(reason)).await?;
        }
        tx.commit().await?;
        Ok(by_hand.is_none())
    }

    /// Takes back that a certificate was revoked by hand.
    pub async fn unrevoke_certificate(&mut self, issuer: &str, serial: &str) -> Result<Unrevoked, StoreError> {
        let mut tx = self.begin().await?;
        let (listed, by_hand): (Vec<_>, Vec<_>) =
            rows_of(&mut tx, issuer, serial).await?.into_iter().partition(|row| row.listed);
        for row in &by_hand {
            tx.execute(sql("DELETE FROM revoked_certificates WHERE id = ?").bind(row.number)).await?;
        }
        tx.commit().await?;
        Ok(Unrevoked { changed: !by_hand.is_empty(), listed: !listed.is_empty() })
    }

    /// All revoked certificates, in the order of their issuers and serial numbers.
    pub async fn revoked_certificates(&mut self) -> Result<Vec<RevokedCertificate>, StoreError> {
        Ok(self.connection.all(sql(format!("{SELECT} ORDER BY issuer, length(serial), serial, id"))).await?)
    }

    /// What revokes this certificate: nothing, somebody's own decision, lists.
    pub async fn revocations_of(&mut self, issuer: &str, serial: &str) -> Result<Vec<RevokedCertificate>, StoreError> {
        rows_of(&mut self.connection, issuer, serial).await
    }

    /// The credentials, whosever they are, that stand for one of these fields of a certificate.
    pub async fn credentials_of_certificate(
        &mut self,
        fields: &[(Field, &str)],
    ) -> Result<Vec<Credential>, StoreError> {
        let mut tx = self.begin_read().await?;
        let mut found = Vec::new();
        for (field, identity) in fields {
            let query = sql(format!("{} WHERE kind = ? AND identity = ?", credential::SELECT));
            found.extend(tx.optional(query.bind(field.kind().as_str()).bind(*identity)).await?);
        }
        Ok(found)
    }
}

/// The rows that name this certificate, however they write it.
pub(super) async fn rows_of(
    connection: &mut impl Ask,
    issuer: &str,
    serial: &str,
) -> Result<Vec<RevokedCertificate>, StoreError> {
    let refused = |error: crate::credential::certificate::CertificateError| StoreError::Refused(error.to_string());
    let wanted = id(issuer, serial).map_err(refused)?;
    // Of one serial number there are few, each from another issuer.
    let digits = serial_of_text(serial).unwrap_or_default();
    let query = sql(format!("{SELECT} WHERE {} = ?", connection.dialect().bare_serial()));
    let mut rows: Vec<RevokedCertificate> = connection.all(query.bind(digits.trim_start_matches('0'))).await?;
    rows.retain(|row| id(&row.issuer, &row.serial) == Ok(wanted));
    Ok(rows)
}
