//! The feed of an SQLite database: its data version tells that something was committed, its change log tells what.

use std::collections::{BTreeSet, HashMap};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use futures_util::TryStreamExt;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, Connection, Row};

use super::feed::{Changes, Everything, Update};
use super::rows::{DeviceDraft, Fault, RoleDraft, revoked_certificate, row_number};
use super::{OpenMode, StoreError, connect, file};
use crate::policy::certificate::CertificateId;
use crate::policy::device::{Device, DeviceId, RoleId};
use crate::policy::role::Role;

/// How many devices, roles or certificates are asked for at once when changes are read.
const BATCH: usize = 500;

const CREDENTIAL_COLUMNS: &str = "device_id, kind, identity, secret, issuer, status, \
    unixepoch(not_before) AS not_before, not_before IS NOT NULL AS not_before_given, \
    unixepoch(not_after) AS not_after, not_after IS NOT NULL AS not_after_given";

/// Follows one SQLite database.
#[derive(Debug)]
pub struct Feed {
    path: PathBuf,
    connection: SqliteConnection,
    /// Which file is open: another one may come to stand at its path.
    file: (u64, u64),
    /// SQLite's number for what was committed by others, as of the last update.
    data_version: Option<i64>,
    /// The revision of the last update.
    revision: Option<i64>,
}

impl Feed {
    /// Opens the database at `path`, which must have the schema that this release knows.
    ///
    /// It is only ever read, but SQLite wants to write to the files that it keeps beside it.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        file::check(path, OpenMode::Write)?;
        file::check_content(path)?;
        Self::open_again(path).await
    }

    /// As [`Self::open`], in a process in which connections to the same file may still be open.
    pub async fn open_again(path: &Path) -> Result<Self, StoreError> {
        file::check(path, OpenMode::Write)?;
        let file = file_number(path)?;
        let connection = connect(path, OpenMode::Read).await?;
        Ok(Self { path: path.to_owned(), connection, file, data_version: None, revision: None })
    }

    /// Which key the secrets of this database are sealed with, if it says so.
    pub async fn key_id(&mut self) -> Result<Option<String>, StoreError> {
        sqlx::query_scalar("SELECT value FROM warden_meta WHERE key = 'key_id'")
            .fetch_optional(&mut self.connection)
            .await
            .map_err(StoreError::from)
    }

    /// What is new since the last call; everything at the first.
    ///
    /// Whatever was committed before this call is part of the answer or of an earlier one.
    pub async fn update(&mut self) -> Result<Update, StoreError> {
        if file_number(&self.path)? != self.file {
            return Err(StoreError::Replaced { path: self.path.clone() });
        }
        // Read before the change log is: what is committed in between is seen now, and asked about once more later.
        let data_version: i64 = sqlx::query_scalar("PRAGMA data_version").fetch_one(&mut self.connection).await?;
        if self.data_version == Some(data_version) {
            return Ok(Update::Nothing);
        }
        let update = self.read().await?;
        self.data_version = Some(data_version);
        Ok(update)
    }

    /// Reads, as of one commit, what the change log names, or everything where it does not reach back far enough.
    async fn read(&mut self) -> Result<Update, StoreError> {
        let known = self.revision;
        let mut snapshot = self.connection.begin().await?;
        let (oldest, newest): (i64, i64) =
            sqlx::query_as("SELECT coalesce(min(revision), 0), coalesce(max(revision), 0) FROM change_log")
                .fetch_one(&mut *snapshot)
                .await?;
        let update = match known {
            Some(known) if known == newest => Update::Nothing,
            // A log that went back belongs to a database that was restored.
            Some(known) if known < newest && oldest <= known + 1 => {
                Update::Changes(changes(&mut snapshot, known, newest).await?)
            }
            _ => Update::Everything(everything(&mut snapshot, newest).await?),
        };
        snapshot.commit().await?;
        self.revision = Some(newest);
        Ok(update)
    }
}

/// Which file stands at a path.
fn file_number(path: &Path) -> Result<(u64, u64), StoreError> {
    let metadata = std::fs::metadata(path).map_err(|_| StoreError::Missing { path: path.into() })?;
    Ok((metadata.dev(), metadata.ino()))
}

async fn everything(connection: &mut SqliteConnection, revision: i64) -> Result<Everything, sqlx::Error> {
    let roles = roles(connection, None).await?;
    let devices = devices(connection, None).await?;
    let (certificates, unreadable_certificates) = revoked_certificates(connection, None).await?;
    Ok(Everything { revision, devices, roles, certificates, unreadable_certificates })
}

async fn changes(connection: &mut SqliteConnection, after: i64, revision: i64) -> Result<Changes, sqlx::Error> {
    let mut device_ids = BTreeSet::new();
    let mut role_ids = BTreeSet::new();
    let mut certificate_ids = BTreeSet::new();
    let log = sqlx::query("SELECT DISTINCT entity, entity_id FROM change_log WHERE revision > ?")
        .bind(after)
        .fetch_all(&mut *connection)
        .await?;
    for row in &log {
        let id = row_number(row, "entity_id")?;
        let ids = match row.try_get::<&str, _>("entity")? {
            "role" => &mut role_ids,
            "certificate" => &mut certificate_ids,
            _ => &mut device_ids,
        };
        ids.insert(id);
    }
    let device_ids: Vec<DeviceId> = device_ids.into_iter().collect();
    let role_ids: Vec<RoleId> = role_ids.into_iter().collect();
    let certificate_ids: Vec<i64> = certificate_ids.into_iter().collect();
    let mut changes = Changes { revision, ..Changes::default() };
    for ids in role_ids.chunks(BATCH) {
        let found = roles(connection, Some(ids)).await?.into_iter().map(|role| (role.id(), role));
        changes.roles.extend(paired(ids, found));
    }
    for ids in device_ids.chunks(BATCH) {
        let found = devices(connection, Some(ids)).await?.into_iter().map(|device| (device.id, device));
        changes.devices.extend(paired(ids, found));
    }
    for ids in certificate_ids.chunks(BATCH) {
        let (found, unreadable) = revoked_certificates(connection, Some(ids)).await?;
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

/// These devices, or all, by rising number.
pub(super) async fn devices(
    connection: &mut SqliteConnection,
    ids: Option<&[DeviceId]>,
) -> Result<Vec<Device>, sqlx::Error> {
    let mut drafts: Vec<DeviceDraft> = Vec::new();
    select(connection, "devices", "id", "id, name, status, client_id, attributes", ids, |row| {
        drafts.push(DeviceDraft::from_row(row)?);
        Ok(())
    })
    .await?;
    let mut owners = Owners::new(&mut drafts, |draft| draft.id);
    select(connection, "credentials", "device_id", CREDENTIAL_COLUMNS, ids, |row| {
        if let Some(draft) = owners.of(row_number(row, "device_id")?) {
            draft.add_credential(row);
        }
        Ok(())
    })
    .await?;
    let mut owners = Owners::new(&mut drafts, |draft| draft.id);
    select(connection, "device_roles", "device_id", "device_id, role_id", ids, |row| {
        if let Some(draft) = owners.of(row_number(row, "device_id")?) {
            draft.add_role(row_number(row, "role_id")?);
        }
        Ok(())
    })
    .await?;
    Ok(drafts.into_iter().map(DeviceDraft::finish).collect())
}

/// These roles, or all, by rising number.
pub(super) async fn roles(connection: &mut SqliteConnection, ids: Option<&[RoleId]>) -> Result<Vec<Role>, sqlx::Error> {
    let mut drafts: Vec<RoleDraft> = Vec::new();
    select(connection, "roles", "id", "id, name, client_id", ids, |row| {
        drafts.push(RoleDraft::from_row(row)?);
        Ok(())
    })
    .await?;
    let mut owners = Owners::new(&mut drafts, |draft| draft.id);
    let columns = "id, role_id, effect, action, topic, max_qos, retain";
    select(connection, "rules", "role_id", columns, ids, |row| {
        owners.of(row_number(row, "role_id")?).map_or(Ok(()), |draft| draft.add_rule(row))
    })
    .await?;
    Ok(drafts.into_iter().map(RoleDraft::finish).collect())
}

/// These rows of revoked certificates, or all, by rising number; and those that name none, with the reason.
async fn revoked_certificates(
    connection: &mut SqliteConnection,
    ids: Option<&[i64]>,
) -> Result<(Vec<(i64, CertificateId)>, Vec<(i64, Fault)>), sqlx::Error> {
    let (mut readable, mut unreadable) = (Vec::new(), Vec::new());
    select(connection, "revoked_certificates", "id", "id, issuer, serial", ids, |row| {
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

/// Hands every row of a table, or those whose `key` is one of `ids`, to `take`, by rising `key`.
async fn select(
    connection: &mut SqliteConnection,
    table: &'static str,
    key: &'static str,
    columns: &'static str,
    ids: Option<&[i64]>,
    mut take: impl FnMut(&SqliteRow) -> Result<(), sqlx::Error>,
) -> Result<(), sqlx::Error> {
    // Every part of the statement is written in this file; the numbers are bound.
    let chosen = if ids.is_some() { format!("WHERE {key} IN (SELECT value FROM json_each(?))") } else { String::new() };
    let statement = AssertSqlSafe(format!("SELECT {columns} FROM {table} {chosen} ORDER BY {key}"));
    let mut query = sqlx::query(statement);
    if let Some(ids) = ids {
        query = query.bind(format!("{ids:?}"));
    }
    let mut rows = query.fetch(connection);
    while let Some(row) = rows.try_next().await? {
        take(&row)?;
    }
    Ok(())
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
