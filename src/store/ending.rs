//! The end of devices: all that they have is over, and stays over if one is ever let in again.

use std::collections::HashMap;

use super::bulk::BATCH;
use super::connection::{Ask, Sql, Transaction, list, once, sql};
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

/// How much ended with many devices.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Endings {
    /// Those that were not revoked before.
    pub devices: u64,
    pub credentials: u64,
    pub certificates: u64,
}

impl std::ops::AddAssign for Endings {
    fn add_assign(&mut self, other: Self) {
        self.devices += other.devices;
        self.credentials += other.credentials;
        self.certificates += other.certificates;
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
        let certificates = issued::current(&mut tx, &[id], now).await?;
        let credentials = credential::of_device(&mut tx, id).await?;
        let credentials = credentials.into_iter().filter(|it| it.status == "active").collect();
        let ended = Ended { status, credentials, certificates };
        if only_asked {
            return Ok(ended);
        }
        let endings = end(&mut tx, &[id], &ended.certificates, reason).await?;
        if endings.devices == 0 && reason.is_some() {
            tx.execute(sql("UPDATE devices SET status_reason = ? WHERE id = ?").bind(reason).bind(id)).await?;
        }
        tx.commit().await?;
        Ok(ended)
    }

    /// Does to many devices what [`Self::end_device`] does to one, in one transaction. Names that are nobody's are passed
    /// over.
    pub async fn end_devices(
        &mut self,
        names: &[String],
        reason: Option<&str>,
        now: UnixSeconds,
    ) -> Result<Endings, StoreError> {
        let mut tx = self.begin().await?;
        let mut endings = Endings::default();
        for names in names.chunks(BATCH) {
            let ids: Vec<(i64,)> = tx.all(of_names("SELECT id FROM devices", names)).await?;
            let ids: Vec<i64> = ids.into_iter().map(|(id,)| id).collect();
            let certificates = issued::current(&mut tx, &ids, now).await?;
            endings += end(&mut tx, &ids, &certificates, reason).await?;
        }
        tx.commit().await?;
        Ok(endings)
    }

    /// Of those of these devices that are there, by name, whether they have ended: are revoked, and nothing that they have
    /// would let them in if they were not.
    pub async fn whether_ended(&mut self, names: &[String]) -> Result<HashMap<String, bool>, StoreError> {
        let mut tx = self.begin_read().await?;
        let mut found = HashMap::new();
        for names in names.chunks(BATCH) {
            let query = "SELECT name, status, (SELECT count(*) FROM credentials
                                               WHERE device_id = devices.id AND credentials.status = 'active')
                         FROM devices";
            let rows: Vec<(String, String, i64)> = tx.all(of_names(query, names)).await?;
            let ended = |(name, status, credentials)| (name, status == Status::Revoked.as_str() && credentials == 0);
            found.extend(rows.into_iter().map(ended));
        }
        Ok(found)
    }
}

/// This query, about the devices with these names.
fn of_names(query: &str, names: &[String]) -> Sql {
    let places = vec!["?"; names.len()].join(", ");
    names.iter().fold(sql(format!("{query} WHERE name IN ({places})")), Sql::bind)
}

/// Revokes these devices, all their credentials, and these certificates of theirs.
async fn end(
    tx: &mut Transaction<'_>,
    ids: &[i64],
    certificates: &[IssuedCertificate],
    reason: Option<&str>,
) -> Result<Endings, StoreError> {
    let query =
        format!("UPDATE credentials SET status = 'revoked' WHERE device_id IN ({}) AND status = 'active'", list(ids));
    let credentials = tx.execute(once(query)).await?;
    // With a reason bound to it, a statement is prepared and kept: it has to be the same for every whole batch.
    let places = vec!["?"; ids.len()].join(", ");
    let query = "UPDATE devices SET status = 'revoked', status_reason = ? WHERE status <> 'revoked' AND id IN";
    let query = ids.iter().copied().fold(sql(format!("{query} ({places})")).bind(reason), Sql::bind);
    let devices = if ids.is_empty() { 0 } else { tx.execute(query).await? };
    for one in certificates {
        let query = sql("INSERT INTO revoked_certificates (issuer, serial, reason) VALUES (?, ?, ?)");
        let reason = reason.unwrap_or("the device was revoked");
        tx.execute(query.bind(&one.issuer).bind(&one.serial).bind(reason)).await?;
    }
    Ok(Endings { devices, credentials, certificates: certificates.len() as u64 })
}
