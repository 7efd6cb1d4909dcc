//! The end of a device: all that it has is over, and stays over if the device is ever let in again.

use super::connection::{Ask, sql};
use super::credential::{self, Credential};
use super::device::Status;
use super::issued::{self, IssuedCertificate};
use super::{Store, StoreError, device};
use crate::policy::device::UnixSeconds;

/// What ended with a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// What the device was before.
    pub status: String,
    /// The credentials that were active.
    pub credentials: Vec<Credential>,
    /// The certificates, of those that were issued here, that were good.
    pub certificates: Vec<IssuedCertificate>,
}

impl Ended {
    /// Whether there was anything to end.
    #[must_use]
    pub fn changed(&self) -> bool {
        self.status != Status::Revoked.as_str() || !self.credentials.is_empty() || !self.certificates.is_empty()
    }
}

impl Store {
    /// Revokes a device, its credentials and its certificates, and says which these were. Where it is only asked what would
    /// end, nothing does.
    pub async fn end_device(
        &mut self,
        name: &str,
        reason: Option<&str>,
        now: UnixSeconds,
        only_asked: bool,
    ) -> Result<Ended, StoreError> {
        let mut tx = if only_asked { self.begin_read().await? } else { self.begin().await? };
        let id = device::require(&mut tx, name).await?;
        let (status,): (String,) = tx.one(sql("SELECT status FROM devices WHERE id = ?").bind(id)).await?;
        // Before the device is revoked, which would be the reason for all others.
        let certificates = issued::current(&mut tx, id, now).await?;
        let credentials = credential::of_device(&mut tx, id).await?;
        let credentials = credentials.into_iter().filter(|it| it.status == "active").collect();
        let ended = Ended { status, credentials, certificates };
        if only_asked {
            return Ok(ended);
        }
        let query =
            sql("UPDATE devices SET status = 'revoked', status_reason = ? WHERE id = ? AND status <> 'revoked'");
        let changed = tx.execute(query.bind(reason).bind(id)).await? > 0;
        if !changed && reason.is_some() {
            tx.execute(sql("UPDATE devices SET status_reason = ? WHERE id = ?").bind(reason).bind(id)).await?;
        }
        let query = sql("UPDATE credentials SET status = 'revoked' WHERE device_id = ? AND status = 'active'");
        tx.execute(query.bind(id)).await?;
        for one in &ended.certificates {
            let query = sql("INSERT INTO revoked_certificates (issuer, serial, reason) VALUES (?, ?, ?)");
            let reason = reason.unwrap_or("the device was revoked");
            tx.execute(query.bind(&one.issuer).bind(&one.serial).bind(reason)).await?;
        }
        tx.commit().await?;
        Ok(ended)
    }
}
