//! How devices that shall be added stand to what is there: what of them is missing, and what stands against them.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::StoreError;
use super::bulk::{Added, Bulk, Entry, EntryCredential, among};
use super::connection::{Ask, list, once};
use crate::credential::password;
use crate::policy::device::CredentialKind;

/// How an [`Entry`] stands to what is in the database.
#[derive(Debug, Clone, Default)]
pub struct Standing {
    /// The device of this name, if there is one. What it has stays as it is.
    pub(super) id: Option<i64>,
    /// Which of the credentials are not there, by their place in the entry.
    pub missing: Vec<usize>,
    /// Which roles it does not have, by number.
    pub(super) grants: Vec<i64>,
    /// Why it cannot be added, in words.
    pub conflicts: Vec<String>,
    /// What is there already and different, and stays, in words.
    pub kept: Vec<String>,
}

impl Standing {
    /// Whether the device is not there yet.
    #[must_use]
    pub const fn is_new(&self) -> bool {
        self.id.is_none()
    }

    /// What [`Bulk::add`](super::bulk::Bulk::add) would insert for it.
    #[must_use]
    pub fn would_add(&self) -> Added {
        if !self.conflicts.is_empty() {
            return Added::default();
        }
        Added { devices: usize::from(self.is_new()), credentials: self.missing.len(), grants: self.grants.len() }
    }
}

/// A credential that is there.
#[derive(Debug, sqlx::FromRow)]
struct Known {
    device: String,
    kind: String,
    identity: String,
    secret: Option<String>,
    secret_digest: Option<String>,
}

/// A device that is there.
#[derive(Debug, sqlx::FromRow)]
struct KnownDevice {
    id: i64,
    name: String,
    client_id: Option<String>,
    attributes: String,
}

impl Bulk<'_> {
    /// How a batch stands to what is there; nothing is changed.
    pub async fn look(&mut self, batch: &[Entry]) -> Result<Vec<Standing>, StoreError> {
        let credentials = || batch.iter().flat_map(|entry| &entry.credentials);
        let mut user_names: BTreeSet<&str> = batch.iter().map(|entry| &*entry.name).collect();
        user_names.extend(credentials().map(|credential| &*credential.identity));
        let digests: BTreeSet<&str> = credentials().filter_map(|credential| credential.digest.as_deref()).collect();
        let attributes = self.tx.dialect().attributes();
        let columns = format!("SELECT id, name, client_id, {attributes} FROM devices WHERE name IN");
        let devices: Vec<KnownDevice> = among(&mut self.tx, &columns, &user_names).await?;
        let columns = "SELECT devices.name AS device, kind, identity, secret, secret_digest
                       FROM credentials JOIN devices ON devices.id = device_id WHERE";
        let known: Vec<Known> = among(&mut self.tx, &format!("{columns} identity IN"), &user_names).await?;
        let of_digests: Vec<Known> = among(&mut self.tx, &format!("{columns} secret_digest IN"), &digests).await?;
        let ids: Vec<i64> = devices.iter().map(|device| device.id).collect();
        let grants = self.grants_of(&ids).await?;

        let devices: HashMap<&str, &KnownDevice> = devices.iter().map(|device| (&*device.name, device)).collect();
        let mut by_identity: HashMap<&str, Vec<&Known>> = HashMap::new();
        for credential in &known {
            by_identity.entry(&credential.identity).or_default().push(credential);
        }
        let by_digest: HashMap<&str, &Known> =
            of_digests.iter().filter_map(|known| Some((known.secret_digest.as_deref()?, known))).collect();
        let there = There { devices, by_identity, by_digest, grants, roles: &self.roles };
        Ok(batch.iter().map(|entry| there.standing(entry)).collect())
    }

    async fn grants_of(&mut self, ids: &[i64]) -> Result<HashSet<(i64, i64)>, StoreError> {
        let ids = list(ids);
        let query = once(format!("SELECT device_id, role_id FROM device_roles WHERE device_id IN ({ids})"));
        Ok(self.tx.all::<(i64, i64)>(query).await?.into_iter().collect())
    }
}

/// What is there, as far as a batch is concerned.
struct There<'a> {
    devices: HashMap<&'a str, &'a KnownDevice>,
    by_identity: HashMap<&'a str, Vec<&'a Known>>,
    by_digest: HashMap<&'a str, &'a Known>,
    grants: HashSet<(i64, i64)>,
    roles: &'a HashMap<String, i64>,
}

impl There<'_> {
    fn standing(&self, entry: &Entry) -> Standing {
        let device = self.devices.get(&*entry.name);
        let mut standing = Standing { id: device.map(|device| device.id), ..Standing::default() };
        if let Some(device) = device {
            if entry.client_id.is_some() && device.client_id != entry.client_id {
                standing.kept.push(format!("device `{}` keeps its own client id pattern", entry.name));
            }
            let attributes: Result<serde_json::Value, _> = serde_json::from_str(&device.attributes);
            let same = attributes.is_ok_and(|there| there == serde_json::json!(entry.attributes));
            if !entry.attributes.is_empty() && !same {
                standing.kept.push(format!("device `{}` keeps its own attributes", entry.name));
            }
        }
        for known in self.by_identity.get(&*entry.name).into_iter().flatten() {
            if known.device != entry.name && names_the_user(&known.kind) {
                standing.conflicts.push(format!("`{}` is an identity of device `{}`", entry.name, known.device));
            }
        }
        for (place, credential) in entry.credentials.iter().enumerate() {
            self.credential(entry, place, credential, &mut standing);
        }
        for role in &entry.roles {
            match (self.roles.get(role), standing.id) {
                (None, _) => standing.conflicts.push(format!("there is no role `{role}`")),
                (Some(role), Some(id)) if self.grants.contains(&(id, *role)) => {}
                (Some(role), _) => standing.grants.push(*role),
            }
        }
        standing
    }

    fn credential(&self, entry: &Entry, place: usize, new: &EntryCredential, standing: &mut Standing) {
        let (identity, kind) = (&new.identity, new.kind);
        if kind.names_the_user() && *identity != entry.name && self.devices.contains_key(&**identity) {
            standing.conflicts.push(format!("there is a device whose name is `{identity}`"));
        }
        let known = self.by_identity.get(&**identity).map_or(&[][..], |known| known);
        let is_other = |known: &&&Known| {
            known.device != entry.name
                && (known.kind == kind.as_str() || (kind.names_the_user() && names_the_user(&known.kind)))
        };
        if let Some(other) = known.iter().find(is_other) {
            standing.conflicts.push(format!("`{identity}` is an identity of device `{}`", other.device));
            return;
        }
        let Some(same) = known.iter().find(|known| known.kind == kind.as_str()) else {
            match new.digest.as_deref().and_then(|digest| self.by_digest.get(digest)) {
                Some(other) => standing.conflicts.push(format!(
                    "the key of `{identity}` belongs to `{}` of device `{}` already; every credential needs its own",
                    other.identity, other.device
                )),
                None => standing.missing.push(place),
            }
            return;
        };
        let other_key = new.digest.is_some() && same.secret_digest != new.digest;
        let is_upgrade = |(new, same): (&String, &String)| password::is_upgrade(new, same);
        let upgraded = new.secret.as_ref().zip(same.secret.as_ref()).is_some_and(is_upgrade);
        let other_password = kind == CredentialKind::Password && same.secret != new.secret && !upgraded;
        if other_key || other_password {
            standing.kept.push(format!("credential {} `{identity}` keeps its own secret", kind.as_str()));
        }
    }
}

fn names_the_user(kind: &str) -> bool {
    CredentialKind::parse(kind).is_some_and(CredentialKind::names_the_user)
}
