//! Roles: added, listed, removed, granted, withdrawn.

use super::connection::{Ask, sql};
use super::rule::{self, Rule};
use super::{Noun, Store, StoreError, device};

/// A role in a list.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct RoleSummary {
    pub id: i64,
    pub name: String,
    pub client_id: Option<String>,
    /// How many rules it has.
    pub rules: i64,
    /// How many devices have it.
    pub devices: i64,
    /// How many credentials give it and nothing else.
    pub credentials: i64,
}

/// A role with its rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleRecord {
    pub role: RoleSummary,
    pub rules: Vec<Rule>,
}

const SELECT: &str = "\
    SELECT id, name, client_id, (SELECT count(*) FROM rules WHERE role_id = roles.id) AS rules, \
           (SELECT count(*) FROM device_roles WHERE role_id = roles.id) AS devices, \
           (SELECT count(*) FROM credentials WHERE role_id = roles.id) AS credentials \
    FROM roles";

impl Store {
    /// Adds a role without rules. `false` beside it if there was one of this name, which is kept where that is asked
    /// for and otherwise an error.
    pub async fn add_role(
        &mut self,
        name: &str,
        client_id: Option<&str>,
        keep_existing: bool,
    ) -> Result<(RoleRecord, bool), StoreError> {
        let mut tx = self.begin().await?;
        if id(&mut tx, name).await?.is_some() {
            if keep_existing {
                return Ok((record(&mut tx, name).await?, false));
            }
            return Err(StoreError::AlreadyExists { noun: Noun::Role, name: name.to_owned() });
        }
        tx.execute(sql("INSERT INTO roles (name, client_id) VALUES (?, ?)").bind(name).bind(client_id)).await?;
        let added = record(&mut tx, name).await?;
        tx.commit().await?;
        Ok((added, true))
    }

    /// A role with its rules.
    pub async fn role(&mut self, name: &str) -> Result<RoleRecord, StoreError> {
        record(&mut self.begin_read().await?, name).await
    }

    /// All roles, in the order of their names.
    pub async fn roles(&mut self) -> Result<Vec<RoleSummary>, StoreError> {
        Ok(self.connection.all(sql(format!("{SELECT} ORDER BY name"))).await?)
    }

    /// Removes a role with its rules and the credentials that give nothing else, and takes it off every device.
    pub async fn remove_role(&mut self, name: &str) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let id = require(&mut tx, name).await?;
        tx.execute(sql("DELETE FROM roles WHERE id = ?").bind(id)).await?;
        Ok(tx.commit().await?)
    }

    /// Gives a device a role. `false` if it had it already.
    pub async fn grant(&mut self, device: &str, role: &str) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let device_id = device::require(&mut tx, device).await?;
        let role_id = require(&mut tx, role).await?;
        let changed = insert_grant(&mut tx, device_id, role_id).await?;
        tx.commit().await?;
        Ok(changed)
    }

    /// Takes a role off a device. `false` if it did not have it.
    pub async fn withdraw(&mut self, device: &str, role: &str) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let device_id = device::require(&mut tx, device).await?;
        let role_id = require(&mut tx, role).await?;
        let query = sql("DELETE FROM device_roles WHERE device_id = ? AND role_id = ?");
        let changed = tx.execute(query.bind(device_id).bind(role_id)).await? > 0;
        tx.commit().await?;
        Ok(changed)
    }
}

async fn record(connection: &mut impl Ask, name: &str) -> Result<RoleRecord, StoreError> {
    let id = require(connection, name).await?;
    let role = connection.one(sql(format!("{SELECT} WHERE id = ?")).bind(id)).await?;
    Ok(RoleRecord { role, rules: rule::of_role(connection, id).await? })
}

/// A device that has the role already is left alone, so that nothing is logged as a change.
pub(super) async fn insert_grant(connection: &mut impl Ask, device_id: i64, role_id: i64) -> Result<bool, StoreError> {
    let query = sql("SELECT count(*) FROM device_roles WHERE device_id = ? AND role_id = ?");
    if connection.one::<(i64,)>(query.bind(device_id).bind(role_id)).await? != (0,) {
        return Ok(false);
    }
    let query = sql("INSERT INTO device_roles (device_id, role_id) VALUES (?, ?)");
    connection.execute(query.bind(device_id).bind(role_id)).await?;
    Ok(true)
}

async fn id(connection: &mut impl Ask, name: &str) -> Result<Option<i64>, StoreError> {
    let found: Option<(i64,)> = connection.optional(sql("SELECT id FROM roles WHERE name = ?").bind(name)).await?;
    Ok(found.map(|(id,)| id))
}

/// The id of this role, or an error that names the most similar one.
pub(super) async fn require(connection: &mut impl Ask, name: &str) -> Result<i64, StoreError> {
    if let Some(id) = id(connection, name).await? {
        return Ok(id);
    }
    let names: Vec<(String,)> = connection.all(sql("SELECT name FROM roles LIMIT 20000")).await?;
    let nearest = device::nearest(name, names);
    Err(StoreError::NotFound { noun: Noun::Role, name: name.to_owned(), nearest })
}
