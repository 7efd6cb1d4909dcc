//! Reading policy, whole or what has changed, from whichever database it is.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::connection::{Ask, once, sql};
use super::feed::{Changes, Everything};
use super::rows::{Columns, DeviceDraft, Fault, RoleDraft, RoleLists, revoked_certificate, row_number};
use crate::policy::certificate::CertificateId;
use crate::policy::device::{Device, DeviceId, RoleId, SharedDevice};
use crate::policy::role::Role;

/// How many devices, roles or certificates are asked for at once when changes are read.
const BATCH: usize = 500;
/// How many devices are read together when all are: what is in the making beside those that are done.
pub(super) const PAGE: usize = 5_000;

/// What an entry of a change log is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Entity {
    Device,
    Role,
    Certificate,
}

impl Entity {
    /// By the word that a change log has for it.
    pub(super) fn of(word: &str) -> Self {
        match word {
            "role" => Self::Role,
            "certificate" => Self::Certificate,
            _ => Self::Device,
        }
    }
}

/// Which key the secrets of a database are sealed with, if it says so.
pub(super) async fn key_id(connection: &mut impl Ask) -> Result<Option<String>, sqlx::Error> {
    // Behind the dot, `key` is no keyword in any of the databases.
    let query = sql("SELECT value FROM warden_meta WHERE warden_meta.key = 'key_id'");
    Ok(connection.optional::<(String,)>(query).await?.map(|(id,)| id))
}

pub(super) async fn everything(connection: &mut impl Ask, revision: i64) -> Result<Everything, sqlx::Error> {
    let roles = roles(connection, Rows::All).await?;
    let devices = all_devices(connection).await?;
    let (certificates, unreadable_certificates) = revoked_certificates(connection, Rows::All).await?;
    Ok(Everything { revision, devices, roles, certificates, unreadable_certificates })
}

/// What has changed, where a log names these: each with the word of its kind and its number.
pub(super) async fn changes(
    connection: &mut impl Ask,
    named: BTreeSet<(Entity, i64)>,
    revision: i64,
) -> Result<Changes, sqlx::Error> {
    let of = |kind: Entity| named.iter().filter(move |(entity, _)| *entity == kind).map(|(_, id)| *id);
    let device_ids: Vec<DeviceId> = of(Entity::Device).collect();
    let role_ids: Vec<RoleId> = of(Entity::Role).collect();
    let certificate_ids: Vec<i64> = of(Entity::Certificate).collect();
    let mut changes = Changes { revision, ..Changes::default() };
    for ids in role_ids.chunks(BATCH) {
        let found = roles(connection, Rows::Of(ids)).await?.into_iter().map(|role| (role.id(), role));
        changes.roles.extend(paired(ids, found));
    }
    for ids in device_ids.chunks(BATCH) {
        let found = devices(connection, ids).await?.into_iter().map(|device| (device.id, device));
        changes.devices.extend(paired(ids, found));
    }
    for ids in certificate_ids.chunks(BATCH) {
        let (found, unreadable) = revoked_certificates(connection, Rows::Of(ids)).await?;
        // A row that names no certificate any more names its former one no more either.
        changes.certificates.extend(paired(ids, found.into_iter()));
        changes.unreadable_certificates.extend(unreadable);
    }
    Ok(changes)
}

/// Each of these numbers with what was found under it.
fn paired<T>(ids: &[i64], found: impl Iterator<Item = (i64, T)>) -> impl Iterator<Item = (i64, Option<T>)> {
    let mut found: HashMap<i64, T> = found.collect();
    ids.iter().map(move |id| (*id, found.remove(id)))
}

/// These devices, by rising number.
pub(super) async fn devices(connection: &mut impl Ask, ids: &[DeviceId]) -> Result<Vec<Device>, sqlx::Error> {
    let mut drafts = drafts(connection, Rows::Of(ids)).await?;
    complete(connection, &mut drafts, Rows::Of(ids)).await?;
    let mut lists = RoleLists::default();
    Ok(drafts.into_iter().map(|draft| draft.finish(&mut lists)).collect())
}

/// All devices, by rising number, some at a time: what belongs to one comes to lie close together in memory, and nothing
/// is there twice.
async fn all_devices(connection: &mut impl Ask) -> Result<Vec<SharedDevice>, sqlx::Error> {
    let (mut devices, mut lists, mut before) = (Vec::new(), RoleLists::default(), None);
    loop {
        let mut drafts = drafts(connection, Rows::Behind(before, PAGE)).await?;
        let Some(last) = drafts.last().map(|draft| draft.id) else { return Ok(devices) };
        complete(connection, &mut drafts, Rows::Between(before, last)).await?;
        devices.extend(drafts.into_iter().map(|draft| Arc::new(draft.finish(&mut lists))));
        before = Some(last);
    }
}

/// Devices without what belongs to them.
async fn drafts(connection: &mut impl Ask, rows: Rows<'_>) -> Result<Vec<DeviceDraft>, sqlx::Error> {
    let mut drafts = Vec::new();
    let columns = format!("id, name, status, client_id, {}", connection.dialect().attributes());
    select(connection, "devices", "id", &columns, rows, |row| {
        drafts.push(DeviceDraft::from_row(row)?);
        Ok(())
    })
    .await?;
    Ok(drafts)
}

/// Gives them their credentials and roles.
async fn complete(connection: &mut impl Ask, drafts: &mut [DeviceDraft], rows: Rows<'_>) -> Result<(), sqlx::Error> {
    let mut owners = Owners::new(drafts, |draft| draft.id);
    let columns =
        format!("device_id, kind, identity, secret, issuer, role_id, status, {}", connection.dialect().moments());
    select(connection, "credentials", "device_id", &columns, rows, |row| {
        if let Some(draft) = owners.of(row_number(row, "device_id")?) {
            draft.add_credential(row);
        }
        Ok(())
    })
    .await?;
    let mut owners = Owners::new(drafts, |draft| draft.id);
    select(connection, "device_roles", "device_id", "device_id, role_id", rows, |row| {
        if let Some(draft) = owners.of(row_number(row, "device_id")?) {
            draft.add_role(row_number(row, "role_id")?);
        }
        Ok(())
    })
    .await
}

/// Roles, by rising number.
pub(super) async fn roles(connection: &mut impl Ask, rows: Rows<'_>) -> Result<Vec<Role>, sqlx::Error> {
    let mut drafts: Vec<RoleDraft> = Vec::new();
    select(connection, "roles", "id", "id, name, client_id", rows, |row| {
        drafts.push(RoleDraft::from_row(row)?);
        Ok(())
    })
    .await?;
    let mut owners = Owners::new(&mut drafts, |draft| draft.id);
    let columns = "id, role_id, effect, action, topic, max_qos, retain";
    select(connection, "rules", "role_id", columns, rows, |row| {
        owners.of(row_number(row, "role_id")?).map_or(Ok(()), |draft| draft.add_rule(row))
    })
    .await?;
    Ok(drafts.into_iter().map(RoleDraft::finish).collect())
}

/// Revoked certificates, by rising number of their rows; and rows that name none, with the reason.
async fn revoked_certificates(
    connection: &mut impl Ask,
    rows: Rows<'_>,
) -> Result<(Vec<(i64, CertificateId)>, Vec<(i64, Fault)>), sqlx::Error> {
    let (mut readable, mut unreadable) = (Vec::new(), Vec::new());
    select(connection, "revoked_certificates", "id", "id, issuer, serial", rows, |row| {
        let number = row_number(row, "id")?;
        match revoked_certificate(row) {
            Ok(certificate) => readable.push((number, certificate)),
            Err(why) => unreadable.push((number, why)),
        }
        Ok(())
    })
    .await?;
    Ok((readable, unreadable))
}

/// Which rows of a table, by a number that they have.
#[derive(Debug, Clone, Copy)]
pub(super) enum Rows<'a> {
    All,
    /// With one of these.
    Of(&'a [i64]),
    /// The first so many behind this one, or at all.
    Behind(Option<i64>, usize),
    /// Behind the first number, if there is one, up to the second.
    Between(Option<i64>, i64),
}

/// Hands these rows of a table to `take`, by rising `key`.
async fn select(
    connection: &mut impl Ask,
    table: &'static str,
    key: &'static str,
    columns: &str,
    rows: Rows<'_>,
    take: impl FnMut(&dyn Columns) -> Result<(), sqlx::Error>,
) -> Result<(), sqlx::Error> {
    // Every part of the statement is written in this file, or is a number.
    let (chosen, limit) = match rows {
        Rows::All => (String::new(), String::new()),
        Rows::Of(ids) => {
            let list = ids.iter().fold(String::new(), |list, id| list + ", " + &id.to_string());
            (format!("WHERE {key} IN (-1{list})"), String::new())
        }
        Rows::Behind(None, most) => (String::new(), format!("LIMIT {most}")),
        Rows::Behind(Some(before), most) => (format!("WHERE {key} > {before}"), format!("LIMIT {most}")),
        Rows::Between(None, last) => (format!("WHERE {key} <= {last}"), String::new()),
        Rows::Between(Some(before), last) => (format!("WHERE {key} > {before} AND {key} <= {last}"), String::new()),
    };
    connection.each(once(format!("SELECT {columns} FROM {table} {chosen} ORDER BY {key} {limit}")), take).await
}

/// Finds the owners of rows, where both come by rising number.
struct Owners<'a, T> {
    all: &'a mut [T],
    number: fn(&T) -> i64,
    next: usize,
}

impl<'a, T> Owners<'a, T> {
    fn new(owners: &'a mut [T], number: fn(&T) -> i64) -> Self {
        Self { all: owners, number, next: 0 }
    }

    /// The owner with this number; `None` for a row that belongs to nobody.
    fn of(&mut self, id: i64) -> Option<&mut T> {
        while self.all.get(self.next).is_some_and(|owner| (self.number)(owner) < id) {
            self.next += 1;
        }
        self.all.get_mut(self.next).filter(|owner| (self.number)(owner) == id)
    }
}
