//! Many devices and whole roles in one transaction: looked at first, against what is there, and then inserted, some
//! hundred rows a statement.
//!
//! What a batch would do is told before it is done, so that whoever has a file can name all of its bad lines at once.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::connection::{Ask, Sql, Transaction, once, sql};
pub use super::standing::Standing;
use super::{Store, StoreError};
use crate::policy::device::CredentialKind;

/// How many devices are best given at once: the values of their rows fit into one statement on every database.
pub const BATCH: usize = 500;

/// A device that shall be there, with all that it shall have.
#[derive(Debug, Clone, Default)]
pub struct Entry {
    pub name: String,
    pub client_id: Option<String>,
    pub attributes: BTreeMap<String, String>,
    /// Why it is suspended from the start, if it is.
    pub suspended: Option<String>,
    pub roles: Vec<String>,
    pub credentials: Vec<EntryCredential>,
}

/// A credential that a device shall have.
#[derive(Clone)]
pub struct EntryCredential {
    pub kind: CredentialKind,
    pub identity: String,
    /// In its stored form; a psk may get it between [`Bulk::look`] and [`Bulk::add`].
    pub secret: Option<String>,
    /// psk: by which the database knows a key that is already in use.
    pub digest: Option<String>,
}

impl std::fmt::Debug for EntryCredential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EntryCredential")
            .field("kind", &self.kind)
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

/// What was inserted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Added {
    pub devices: usize,
    pub credentials: usize,
    pub grants: usize,
}

impl std::ops::AddAssign for Added {
    fn add_assign(&mut self, other: Self) {
        self.devices += other.devices;
        self.credentials += other.credentials;
        self.grants += other.grants;
    }
}

/// Effect, action and topic of a rule.
pub type RuleWords = (String, String, String);

/// What became of a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoleOutcome {
    Added,
    Unchanged,
    /// It had other rules, which are gone.
    Replaced,
    /// It has other rules, which stay.
    Conflict,
}

/// A transaction for many devices. Dropped, it is rolled back.
pub struct Bulk<'c> {
    pub(super) tx: Transaction<'c>,
    pub(super) roles: HashMap<String, i64>,
}

impl Store {
    /// Begins to change many devices at once.
    pub async fn bulk(&mut self) -> Result<Bulk<'_>, StoreError> {
        Bulk::new(self.begin().await?).await
    }

    /// The same for looking only: nobody who writes has to wait for it.
    pub async fn look_only(&mut self) -> Result<Bulk<'_>, StoreError> {
        Bulk::new(self.begin_read().await?).await
    }
}

impl std::fmt::Debug for Bulk<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bulk").field("roles", &self.roles.len()).finish_non_exhaustive()
    }
}

impl<'c> Bulk<'c> {
    async fn new(mut tx: Transaction<'c>) -> Result<Self, StoreError> {
        let roles: Vec<(String, i64)> = tx.all(once("SELECT name, id FROM roles")).await?;
        Ok(Self { tx, roles: roles.into_iter().collect() })
    }
}

impl Bulk<'_> {
    /// Keeps what was done.
    pub async fn commit(self) -> Result<(), StoreError> {
        Ok(self.tx.commit().await?)
    }

    /// Inserts what is missing of a batch that was looked at in this transaction. Entries with conflicts are passed over.
    pub async fn add(&mut self, batch: &[Entry], standings: &[Standing]) -> Result<Added, StoreError> {
        let good = || batch.iter().zip(standings).filter(|(_, standing)| standing.conflicts.is_empty());
        let new: Vec<&Entry> = good().filter(|(_, standing)| standing.is_new()).map(|(entry, _)| entry).collect();
        let ids = self.add_devices(&new).await?;
        let id_of = |entry: &Entry, standing: &Standing| standing.id.or_else(|| ids.get(&entry.name).copied());
        let mut credentials = Vec::new();
        let mut grants = Vec::new();
        for (entry, standing) in good() {
            let Some(id) = id_of(entry, standing) else {
                return Err(StoreError::not_found(super::Noun::Device, &entry.name));
            };
            let missing = standing.missing.iter().filter_map(|place| entry.credentials.get(*place));
            credentials.extend(missing.map(|credential| (id, credential)));
            grants.extend(standing.grants.iter().map(|role| (id, *role)));
        }
        for rows in credentials.chunks(BATCH) {
            let text = "INSERT INTO credentials (device_id, kind, identity, secret, secret_digest) VALUES ";
            let mut query = sql(text.to_owned() + &places("(?, ?, ?, ?, ?)", rows.len()));
            for (id, it) in rows {
                query = query.bind(*id).bind(it.kind.as_str()).bind(&it.identity).bind(&it.secret).bind(&it.digest);
            }
            self.tx.execute(query).await?;
        }
        for rows in grants.chunks(BATCH) {
            let text = "INSERT INTO device_roles (device_id, role_id) VALUES ";
            let bound = |query: Sql, (device, role): &(i64, i64)| query.bind(*device).bind(*role);
            let query = rows.iter().fold(sql(text.to_owned() + &places("(?, ?)", rows.len())), bound);
            self.tx.execute(query).await?;
        }
        Ok(Added { devices: new.len(), credentials: credentials.len(), grants: grants.len() })
    }

    async fn add_devices(&mut self, new: &[&Entry]) -> Result<HashMap<String, i64>, StoreError> {
        let json = self.tx.dialect().json("?");
        let mut ids = HashMap::with_capacity(new.len());
        for rows in new.chunks(BATCH) {
            let text = "INSERT INTO devices (name, client_id, attributes, status, status_reason) VALUES ";
            let mut query = sql(text.to_owned() + &places(&format!("(?, ?, {json}, ?, ?)"), rows.len()));
            for entry in rows {
                let status = if entry.suspended.is_some() { "suspended" } else { "active" };
                let attributes = serde_json::json!(entry.attributes).to_string();
                query = query.bind(&entry.name).bind(&entry.client_id).bind(attributes);
                query = query.bind(status).bind(&entry.suspended);
            }
            self.tx.execute(query).await?;
            let names = rows.iter().map(|entry| &*entry.name).collect();
            let found: Vec<(String, i64)> =
                among(&mut self.tx, "SELECT name, id FROM devices WHERE name IN", &names).await?;
            ids.extend(found);
        }
        Ok(ids)
    }

    /// Sees to it that there is a role with exactly these rules. One with others is left alone, unless it is to be
    /// replaced.
    pub async fn role(
        &mut self,
        name: &str,
        rules: &BTreeSet<RuleWords>,
        replace: bool,
    ) -> Result<RoleOutcome, StoreError> {
        if let Some(id) = self.roles.get(name).copied() {
            let query = sql("SELECT effect, action, topic, coalesce(max_qos, -1), coalesce(retain, -1)
                             FROM rules WHERE role_id = ?");
            let there: Vec<(String, String, String, i64, i64)> = self.tx.all(query.bind(id)).await?;
            let plain = there.iter().all(|(.., max_qos, retain)| (*max_qos, *retain) == (-1, -1));
            let there: BTreeSet<RuleWords> =
                there.into_iter().map(|(effect, action, topic, ..)| (effect, action, topic)).collect();
            if plain && there == *rules {
                return Ok(RoleOutcome::Unchanged);
            }
            if !replace {
                return Ok(RoleOutcome::Conflict);
            }
            self.tx.execute(sql("DELETE FROM rules WHERE role_id = ?").bind(id)).await?;
            self.insert_rules(id, rules).await?;
            return Ok(RoleOutcome::Replaced);
        }
        self.tx.execute(sql("INSERT INTO roles (name) VALUES (?)").bind(name)).await?;
        let (id,) = self.tx.one(sql("SELECT id FROM roles WHERE name = ?").bind(name)).await?;
        self.roles.insert(name.to_owned(), id);
        self.insert_rules(id, rules).await?;
        Ok(RoleOutcome::Added)
    }

    async fn insert_rules(&mut self, id: i64, rules: &BTreeSet<RuleWords>) -> Result<(), StoreError> {
        let rules: Vec<&RuleWords> = rules.iter().collect();
        for rows in rules.chunks(BATCH) {
            let text = "INSERT INTO rules (role_id, effect, action, topic) VALUES ";
            let mut query = sql(text.to_owned() + &places("(?, ?, ?, ?)", rows.len()));
            for (effect, action, topic) in rows {
                query = query.bind(id).bind(effect).bind(action).bind(topic);
            }
            self.tx.execute(query).await?;
        }
        Ok(())
    }

    /// Gives a role to every device that does not have it, and says to how many.
    pub async fn grant_to_all(&mut self, role: &str) -> Result<u64, StoreError> {
        let Some(id) = self.roles.get(role).copied() else {
            return Err(StoreError::not_found(super::Noun::Role, role));
        };
        let query = format!(
            "INSERT INTO device_roles (device_id, role_id) SELECT id, {id} FROM devices
             WHERE id NOT IN (SELECT device_id FROM device_roles WHERE role_id = {id})"
        );
        Ok(self.tx.execute(sql(query)).await?)
    }
}

/// The places of so many rows, with commas in between.
fn places(row: &str, rows: usize) -> String {
    vec![row; rows].join(", ")
}

/// The rows that a query finds for these values, which stand behind its `IN`; some hundred at once.
pub(super) async fn among<T: super::connection::FromAnyRow>(
    tx: &mut Transaction<'_>,
    query: &str,
    values: &BTreeSet<&str>,
) -> Result<Vec<T>, StoreError> {
    let values: Vec<&&str> = values.iter().collect();
    let mut found = Vec::new();
    for values in values.chunks(BATCH) {
        let places = places("?", values.len());
        let query = values.iter().fold(sql(format!("{query} ({places})")), |query, value| query.bind(**value));
        found.extend(tx.all::<T>(query).await?);
    }
    Ok(found)
}
