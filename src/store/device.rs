//! Devices: added, shown, changed, removed. A device is added with its credentials and roles, or not at all.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::connection::{Ask, once, sql};
use super::credential::{Credential, NewCredential};
use super::{Noun, Store, StoreError, credential, read, role, rows};
use crate::policy::device as policy;
use crate::policy::snapshot::Snapshot;

/// What may become of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Active,
    Suspended,
    Revoked,
}

impl Status {
    /// The word that the database uses.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Revoked => "revoked",
        }
    }
}

/// A device to be added, with all that belongs to it.
#[derive(Debug, Clone, Default)]
pub struct NewDevice {
    pub name: String,
    pub client_id: Option<String>,
    pub attributes: BTreeMap<String, String>,
    pub credentials: Vec<NewCredential>,
    pub roles: Vec<String>,
}

/// The row of a device.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Device {
    pub id: i64,
    pub name: String,
    pub status: String,
    pub status_reason: Option<String>,
    pub client_id: Option<String>,
    /// JSON, as it stands in the database.
    pub attributes: String,
    pub created_at: String,
    pub updated_at: String,
}

/// A device with all that belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceRecord {
    pub device: Device,
    pub credentials: Vec<Credential>,
    /// Names, in their order.
    pub roles: Vec<String>,
}

/// A device in a list.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct DeviceSummary {
    pub name: String,
    pub status: String,
    /// Kinds, with a comma between them.
    pub credentials: String,
    /// Names, with a comma between them.
    pub roles: String,
    pub updated_at: String,
}

/// Which devices to list: those that fit all that is given.
#[derive(Debug, Clone, Default)]
pub struct DeviceFilter {
    pub status: Option<Status>,
    pub role: Option<String>,
    /// With `*` and `?`, as in a shell.
    pub name: Option<String>,
}

/// What to change about a device; what is not mentioned stays.
#[derive(Debug, Clone, Default)]
pub struct DeviceChange {
    pub name: Option<String>,
    /// `Some(None)` takes the binding off.
    pub client_id: Option<Option<String>>,
    pub attributes: BTreeMap<String, String>,
    pub attributes_removed: Vec<String>,
}

impl Store {
    /// The names of all devices with this attribute, in their order. Numbers and truth values are compared as texts.
    pub async fn devices_with(&mut self, attribute: &str, value: &str) -> Result<Vec<String>, StoreError> {
        let mut tx = self.begin_read().await?;
        let attributes = tx.dialect().attributes();
        let query = once(format!("SELECT name, {attributes} FROM devices ORDER BY name"));
        let all: Vec<(String, String)> = tx.all(query).await?;
        let has = |attributes: String| {
            rows::attributes(Some(attributes.into())).is_ok_and(|known| known.get(attribute) == Some(value))
        };
        Ok(all.into_iter().filter_map(|(name, attributes)| has(attributes).then_some(name)).collect())
    }

    /// Adds a device with its credentials and roles. `false` beside it if there was one of this name, which is kept as
    /// it is where that is asked for and otherwise an error.
    pub async fn add_device(
        &mut self,
        new: &NewDevice,
        keep_existing: bool,
    ) -> Result<(DeviceRecord, bool), StoreError> {
        let mut tx = self.begin().await?;
        if id(&mut tx, &new.name).await?.is_some() {
            if keep_existing {
                return Ok((record(&mut tx, &new.name).await?, false));
            }
            return Err(StoreError::AlreadyExists { noun: Noun::Device, name: new.name.clone() });
        }
        let attributes = tx.dialect().json("?");
        let query = sql(format!("INSERT INTO devices (name, client_id, attributes) VALUES (?, ?, {attributes})"));
        tx.execute(query.bind(&new.name).bind(&new.client_id).bind(to_json(&new.attributes))).await?;
        let id = require(&mut tx, &new.name).await?;
        for credential in &new.credentials {
            credential::insert(&mut tx, id, credential).await?;
        }
        for role in &new.roles {
            let role = role::require(&mut tx, role).await?;
            role::insert_grant(&mut tx, id, role).await?;
        }
        let added = record(&mut tx, &new.name).await?;
        tx.commit().await?;
        Ok((added, true))
    }

    /// A device with its credentials and roles.
    pub async fn device(&mut self, name: &str) -> Result<DeviceRecord, StoreError> {
        record(&mut self.begin_read().await?, name).await
    }

    /// The policy as far as it concerns one device: its row, its credentials and its roles.
    pub async fn policy_of(&mut self, name: &str) -> Result<Snapshot, StoreError> {
        let mut tx = self.begin_read().await?;
        let id = require(&mut tx, name).await?;
        let devices = read::devices(&mut tx, &[id]).await?;
        let of_credentials =
            |device: &policy::Device| device.credentials.iter().filter_map(|it| it.limits.role).collect();
        let granted = devices.iter().flat_map(|device| [device.roles.to_vec(), of_credentials(device)].concat());
        let granted: Vec<_> = granted.collect();
        let roles = read::roles(&mut tx, read::Rows::Of(&granted)).await?;
        Ok(Snapshot::whole(0, devices.into_iter().map(Arc::new), roles))
    }

    /// The whole policy, without what is revoked; beside it, the rows of revoked certificates that name none.
    pub async fn policy(&mut self) -> Result<(Snapshot, Vec<(i64, Box<str>)>), StoreError> {
        let mut tx = self.begin_read().await?;
        let everything = read::everything(&mut tx, 0).await?;
        Ok((Snapshot::whole(0, everything.devices, everything.roles), everything.unreadable_certificates))
    }

    /// The devices that fit, in the order of their names.
    pub async fn devices(&mut self, filter: &DeviceFilter) -> Result<Vec<DeviceSummary>, StoreError> {
        let mut tx = self.begin_read().await?;
        if let Some(name) = &filter.role {
            role::require(&mut tx, name).await?;
        }
        let dialect = tx.dialect();
        let credentials = dialect.joined("kind", "credentials WHERE device_id = devices.id AND status = 'active'");
        let of_roles = "device_roles JOIN roles ON roles.id = role_id";
        let roles = dialect.joined("roles.name", &format!("{of_roles} WHERE device_id = devices.id"));
        let like = dialect.like("?2");
        let query = sql(format!(
            "SELECT name, status, updated_at, {credentials} AS credentials, {roles} AS roles
             FROM devices
             WHERE (?1 IS NULL OR status = ?1) AND (?2 IS NULL OR {like})
               AND (?3 IS NULL OR id IN (SELECT device_id FROM {of_roles} WHERE roles.name = ?3))
             ORDER BY name"
        ));
        let pattern = filter.name.as_deref().map(|glob| dialect.pattern(glob));
        let query = query.bind(filter.status.map(Status::as_str)).bind(pattern).bind(&filter.role);
        let devices = tx.all(query).await?;
        Ok(devices)
    }

    /// Changes what is said and leaves the rest.
    pub async fn set_device(&mut self, name: &str, change: &DeviceChange) -> Result<DeviceRecord, StoreError> {
        let mut tx = self.begin().await?;
        let id = require(&mut tx, name).await?;
        if let Some(client_id) = &change.client_id {
            tx.execute(sql("UPDATE devices SET client_id = ? WHERE id = ?").bind(client_id).bind(id)).await?;
        }
        let removed = change.attributes_removed.iter().map(|attribute| (attribute, None));
        let changed = change.attributes.iter().map(|(attribute, value)| (attribute, Some(value)));
        // As RFC 7396 has it: a member that is null goes, every other one is set.
        let patch: serde_json::Map<_, _> =
            removed.chain(changed).map(|(name, value)| (name.clone(), serde_json::json!(value))).collect();
        if !patch.is_empty() {
            let patched = tx.dialect().patched_attributes();
            let query = sql(format!("UPDATE devices SET attributes = {patched} WHERE id = ?2"));
            tx.execute(query.bind(serde_json::Value::Object(patch).to_string()).bind(id)).await?;
        }
        if let Some(new_name) = &change.name {
            tx.execute(sql("UPDATE devices SET name = ? WHERE id = ?").bind(new_name).bind(id)).await?;
        }
        let record = record(&mut tx, change.name.as_deref().unwrap_or(name)).await?;
        tx.commit().await?;
        Ok(record)
    }

    /// Gives a device this status. `false` if it had it already; then its reason stays, unless a new one is given.
    pub async fn set_status(&mut self, name: &str, status: Status, reason: Option<&str>) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let id = require(&mut tx, name).await?;
        let query = sql("UPDATE devices SET status = ?1, status_reason = ?2 WHERE id = ?3 AND status <> ?1");
        let changed = tx.execute(query.bind(status.as_str()).bind(reason).bind(id)).await? > 0;
        if !changed && reason.is_some() {
            tx.execute(sql("UPDATE devices SET status_reason = ? WHERE id = ?").bind(reason).bind(id)).await?;
        }
        tx.commit().await?;
        Ok(changed)
    }

    /// Removes a device with its credentials.
    pub async fn remove_device(&mut self, name: &str) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let id = require(&mut tx, name).await?;
        tx.execute(sql("DELETE FROM devices WHERE id = ?").bind(id)).await?;
        Ok(tx.commit().await?)
    }
}

async fn record(connection: &mut impl Ask, name: &str) -> Result<DeviceRecord, StoreError> {
    let id = require(connection, name).await?;
    let attributes = connection.dialect().attributes();
    let query = format!(
        "SELECT id, name, status, status_reason, client_id, {attributes}, created_at, updated_at
         FROM devices WHERE id = ?"
    );
    let device = connection.one(sql(query).bind(id)).await?;
    let query =
        "SELECT roles.name FROM device_roles JOIN roles ON roles.id = role_id WHERE device_id = ? ORDER BY roles.name";
    let roles: Vec<(String,)> = connection.all(sql(query).bind(id)).await?;
    let roles = roles.into_iter().map(|(name,)| name).collect();
    Ok(DeviceRecord { device, credentials: credential::of_device(connection, id).await?, roles })
}

async fn id(connection: &mut impl Ask, name: &str) -> Result<Option<i64>, StoreError> {
    let found: Option<(i64,)> = connection.optional(sql("SELECT id FROM devices WHERE name = ?").bind(name)).await?;
    Ok(found.map(|(id,)| id))
}

/// The id of this device, or an error that names the most similar one.
pub(super) async fn require(connection: &mut impl Ask, name: &str) -> Result<i64, StoreError> {
    if let Some(id) = id(connection, name).await? {
        return Ok(id);
    }
    // Enough for a guess, and no long wait in a large fleet.
    let query = "SELECT name FROM devices ORDER BY abs(length(name) - length(?)) LIMIT 20000";
    let names: Vec<(String,)> = connection.all(sql(query).bind(name)).await?;
    Err(StoreError::NotFound { noun: Noun::Device, name: name.to_owned(), nearest: nearest(name, names) })
}

/// The most similar of these names, if one is similar at all.
pub(super) fn nearest(name: &str, names: Vec<(String,)>) -> Option<String> {
    let distance = |(known,): (String,)| (strsim::damerau_levenshtein(name, &known), known);
    let (distance, nearest) = names.into_iter().map(distance).min()?;
    (distance * 3 <= nearest.chars().count()).then_some(nearest)
}

fn to_json(attributes: &BTreeMap<String, String>) -> String {
    serde_json::json!(attributes).to_string()
}
