//! Rules: added, listed, removed. What they mean is not known here; the schema refuses those that mean nothing.

use super::connection::{Ask, sql};
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub id: i64,
    pub role: String,
    pub effect: String,
    pub action: String,
    pub topic: String,
    pub max_qos: Option<i64>,
    pub retain: Option<bool>,
}

/// A rule, as the database has it.
#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    role: String,
    effect: String,
    action: String,
    topic: String,
    max_qos: Option<i64>,
    retain: Option<i64>,
}

impl From<Row> for Rule {
    fn from(row: Row) -> Self {
        let Row { id, role, effect, action, topic, max_qos, retain } = row;
        Self { id, role, effect, action, topic, max_qos, retain: retain.map(|retain| retain != 0) }
    }
}

const SELECT: &str = "\
    SELECT rules.id, roles.name AS role, effect, action, topic, max_qos, retain \
    FROM rules JOIN roles ON roles.id = role_id";

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
        insert(&mut tx, role_id, new).await?;
        let added = of_role(&mut tx, role_id).await?.into_iter().find(same);
        let added = added.ok_or_else(|| StoreError::not_found(Noun::Rule, &new.topic))?;
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
        all(&mut tx).await
    }

    /// Removes a rule by its number, and says what it was.
    pub async fn remove_rule(&mut self, id: i64) -> Result<Rule, StoreError> {
        let mut tx = self.begin().await?;
        let rule = by_id(&mut tx, id).await?;
        tx.execute(sql("DELETE FROM rules WHERE id = ?").bind(id)).await?;
        tx.commit().await?;
        Ok(rule)
    }
}

pub(super) async fn insert(connection: &mut impl Ask, role_id: i64, new: &NewRule) -> Result<(), StoreError> {
    let query = "INSERT INTO rules (role_id, effect, action, topic, max_qos, retain) VALUES (?, ?, ?, ?, ?, ?)";
    let query = sql(query).bind(role_id).bind(&new.effect).bind(&new.action).bind(&new.topic);
    connection.execute(query.bind(new.max_qos.map(i64::from)).bind(new.retain.map(i64::from))).await?;
    Ok(())
}

/// The rules of all roles, by role and number.
pub(super) async fn all(connection: &mut impl Ask) -> Result<Vec<Rule>, StoreError> {
    let rows: Vec<Row> = connection.all(sql(format!("{SELECT} ORDER BY roles.name, rules.id"))).await?;
    Ok(rows.into_iter().map(Rule::from).collect())
}

pub(super) async fn of_role(connection: &mut impl Ask, role_id: i64) -> Result<Vec<Rule>, StoreError> {
    let query = sql(format!("{SELECT} WHERE role_id = ? ORDER BY rules.id")).bind(role_id);
    Ok(connection.all::<Row>(query).await?.into_iter().map(Rule::from).collect())
}

async fn by_id(connection: &mut impl Ask, id: i64) -> Result<Rule, StoreError> {
    let rule: Option<Row> = connection.optional(sql(format!("{SELECT} WHERE rules.id = ?")).bind(id)).await?;
    rule.map(Rule::from).ok_or_else(|| StoreError::not_found(Noun::Rule, &id.to_string()))
}
