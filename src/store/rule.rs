//! Rules: added, listed, removed. What they mean is not known here; the schema refuses those that mean nothing.

use sqlx::SqliteConnection;

use super::{Noun, Store, StoreError, role};

/// A rule to be added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRule {
    pub effect: String,
    pub action: String,
    pub topic: String,
    pub max_qos: Option<u8>,
    pub retain: Option<bool>,
}

/// The row of a rule.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Rule {
    pub id: i64,
    pub role: String,
    pub effect: String,
    pub action: String,
    pub topic: String,
    pub max_qos: Option<i64>,
    pub retain: Option<bool>,
}

impl Store {
    /// Adds a rule to a role. `false` beside it if the role had the very same rule already; that one is returned.
    pub async fn add_rule(&mut self, role: &str, new: &NewRule) -> Result<(Rule, bool), StoreError> {
        let mut tx = self.begin().await?;
        let role_id = role::require(&mut tx, role).await?;
        let same = |old: &Rule| {
            old.effect == new.effect
                && old.action == new.action
                && old.topic == new.topic
                && old.max_qos == new.max_qos.map(i64::from)
                && old.retain == new.retain
        };
        if let Some(found) = of_role(&mut tx, role_id).await?.into_iter().find(same) {
            return Ok((found, false));
        }
        let query = "INSERT INTO rules (role_id, effect, action, topic, max_qos, retain) VALUES (?, ?, ?, ?, ?, ?)";
        let id = sqlx::query(query)
            .bind(role_id)
            .bind(&new.effect)
            .bind(&new.action)
            .bind(&new.topic)
            .bind(new.max_qos)
            .bind(new.retain)
            .execute(&mut *tx)
            .await?
            .last_insert_rowid();
        let added = by_id(&mut tx, id).await?;
        tx.commit().await?;
        Ok((added, true))
    }

    /// The rules of a role, or of all.
    pub async fn rules(&mut self, role: Option<&str>) -> Result<Vec<Rule>, StoreError> {
        let mut tx = self.begin_read().await?;
        if let Some(name) = role {
            let id = role::require(&mut tx, name).await?;
            return of_role(&mut tx, id).await;
        }
        let query = "SELECT rules.*, roles.name AS role FROM rules JOIN roles ON roles.id = role_id
                     ORDER BY roles.name, rules.id";
        Ok(sqlx::query_as(query).fetch_all(&mut *tx).await?)
    }

    /// Removes a rule by its number, and says what it was.
    pub async fn remove_rule(&mut self, id: i64) -> Result<Rule, StoreError> {
        let mut tx = self.begin().await?;
        let rule = by_id(&mut tx, id).await?;
        sqlx::query("DELETE FROM rules WHERE id = ?").bind(id).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(rule)
    }
}

pub(super) async fn of_role(connection: &mut SqliteConnection, role_id: i64) -> Result<Vec<Rule>, StoreError> {
    let query = "SELECT rules.*, roles.name AS role FROM rules JOIN roles ON roles.id = role_id
                 WHERE role_id = ? ORDER BY rules.id";
    Ok(sqlx::query_as(query).bind(role_id).fetch_all(connection).await?)
}

async fn by_id(connection: &mut SqliteConnection, id: i64) -> Result<Rule, StoreError> {
    let query = "SELECT rules.*, roles.name AS role FROM rules JOIN roles ON roles.id = role_id WHERE rules.id = ?";
    let rule = sqlx::query_as(query).bind(id).fetch_optional(connection).await?;
    rule.ok_or_else(|| StoreError::not_found(Noun::Rule, &id.to_string()))
}
