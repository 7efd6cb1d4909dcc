//! The policy as a whole, in words: read at one moment, changed in one transaction if nobody else changed it since.

use std::collections::HashMap;

use super::connection::{Ask, sql};
use super::rule::{self, NewRule, Rule};
use super::{Noun, Store, StoreError, device, role};

/// Roles, rules, and who has which roles, as the database has them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PolicyRows {
    /// Names with patterns for client ids, in the order of names.
    pub roles: Vec<(String, Option<String>)>,
    /// By role and number.
    pub rules: Vec<Rule>,
    /// The names of all devices, in their order.
    pub devices: Vec<String>,
    /// Devices with their roles, in the order of both names.
    pub grants: Vec<(String, String)>,
    /// Devices with the roles of their credentials that are not revoked and give one role only, in the order of both
    /// names.
    pub beginnings: Vec<(String, String)>,
}

/// One change of the policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicyChange {
    AddRole { role: String, client_id: Option<String> },
    SetClientId { role: String, client_id: Option<String> },
    RemoveRole { role: String },
    AddRule { role: String, rule: NewRule },
    RemoveRule { id: i64 },
    Grant { device: String, role: String },
    Withdraw { device: String, role: String },
}

impl Store {
    /// The policy in words, all of it from the same moment.
    pub async fn policy_rows(&mut self) -> Result<PolicyRows, StoreError> {
        rows(&mut self.begin_read().await?).await
    }

    /// Makes these changes, in this order, all or none. Where the policy is not `before` any more, none.
    pub async fn change_policy(&mut self, before: &PolicyRows, changes: &[PolicyChange]) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        if rows(&mut tx).await? != *before {
            return Err(StoreError::Conflict("the policy was changed meanwhile; look at the plan again".to_owned()));
        }
        let mut devices = HashMap::new();
        let mut roles = HashMap::new();
        for change in changes {
            match change {
                PolicyChange::AddRole { role, client_id } => {
                    tx.execute(sql("INSERT INTO roles (name, client_id) VALUES (?, ?)").bind(role).bind(client_id))
                        .await?;
                }
                PolicyChange::SetClientId { role, client_id } => {
                    tx.execute(sql("UPDATE roles SET client_id = ? WHERE name = ?").bind(client_id).bind(role)).await?;
                }
                PolicyChange::RemoveRole { role } => {
                    tx.execute(sql("DELETE FROM roles WHERE name = ?").bind(role)).await?;
                }
                PolicyChange::AddRule { role, rule } => {
                    let id = role_id(&mut tx, role, &mut roles).await?;
                    rule::insert(&mut tx, id, rule).await?;
                }
                PolicyChange::RemoveRule { id } => {
                    if tx.execute(sql("DELETE FROM rules WHERE id = ?").bind(*id)).await? == 0 {
                        return Err(StoreError::not_found(Noun::Rule, &id.to_string()));
                    }
                }
                PolicyChange::Grant { device, role } => {
                    let device = device_id(&mut tx, device, &mut devices).await?;
                    let role = role_id(&mut tx, role, &mut roles).await?;
                    role::insert_grant(&mut tx, device, role).await?;
                }
                PolicyChange::Withdraw { device, role } => {
                    let device = device_id(&mut tx, device, &mut devices).await?;
                    let role = role_id(&mut tx, role, &mut roles).await?;
                    let query = sql("DELETE FROM device_roles WHERE device_id = ? AND role_id = ?");
                    tx.execute(query.bind(device).bind(role)).await?;
                }
            }
        }
        Ok(tx.commit().await?)
    }
}

async fn role_id<'c>(
    connection: &mut impl Ask,
    name: &'c str,
    known: &mut HashMap<&'c str, i64>,
) -> Result<i64, StoreError> {
    if let Some(id) = known.get(name) {
        return Ok(*id);
    }
    let id = role::require(connection, name).await?;
    known.insert(name, id);
    Ok(id)
}

async fn device_id<'c>(
    connection: &mut impl Ask,
    name: &'c str,
    known: &mut HashMap<&'c str, i64>,
) -> Result<i64, StoreError> {
    if let Some(id) = known.get(name) {
        return Ok(*id);
    }
    let id = device::require(connection, name).await?;
    known.insert(name, id);
    Ok(id)
}

async fn rows(connection: &mut impl Ask) -> Result<PolicyRows, StoreError> {
    let roles = connection.all(sql("SELECT name, client_id FROM roles ORDER BY name")).await?;
    let devices: Vec<(String,)> = connection.all(sql("SELECT name FROM devices ORDER BY name")).await?;
    let grants = "SELECT devices.name, roles.name FROM device_roles
                  JOIN devices ON devices.id = device_id JOIN roles ON roles.id = role_id
                  ORDER BY devices.name, roles.name";
    let beginnings = "SELECT DISTINCT devices.name, roles.name FROM credentials
                      JOIN devices ON devices.id = device_id JOIN roles ON roles.id = role_id
                      WHERE credentials.status = 'active' ORDER BY devices.name, roles.name";
    Ok(PolicyRows {
        roles,
        rules: rule::all(connection).await?,
        devices: devices.into_iter().map(|(name,)| name).collect(),
        grants: connection.all(sql(grants)).await?,
        beginnings: connection.all(sql(beginnings)).await?,
    })
}
