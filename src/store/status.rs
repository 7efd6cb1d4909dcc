//! Facts about the database: its schema, how much is in it, its revision, and the key that its secrets are sealed with.

use super::connection::{Ask, sql};
use super::{Store, StoreError, read, schema};

/// What `warden status` reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreStatus {
    /// The number of the schema.
    pub schema: i64,
    pub revision: i64,
    /// The name of the key that the secrets are sealed with.
    pub key_id: Option<String>,
    pub counts: Counts,
}

/// How many rows there are.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Counts {
    pub active_devices: i64,
    pub suspended_devices: i64,
    pub revoked_devices: i64,
    pub credentials: i64,
    pub revoked_credentials: i64,
    pub roles: i64,
    pub rules: i64,
}

impl Store {
    /// Facts about the database, all from the same moment.
    pub async fn status(&mut self) -> Result<StoreStatus, StoreError> {
        let mut tx = self.begin_read().await?;
        let counts = sql("SELECT (SELECT count(*) FROM devices WHERE status = 'active') AS active_devices,
                    (SELECT count(*) FROM devices WHERE status = 'suspended') AS suspended_devices,
                    (SELECT count(*) FROM devices WHERE status = 'revoked') AS revoked_devices,
                    (SELECT count(*) FROM credentials WHERE status = 'active') AS credentials,
                    (SELECT count(*) FROM credentials WHERE status = 'revoked') AS revoked_credentials,
                    (SELECT count(*) FROM roles) AS roles,
                    (SELECT count(*) FROM rules) AS rules");
        let counts = tx.one(counts).await?;
        let (revision,) = tx.one(sql("SELECT coalesce(max(revision), 0) FROM change_log")).await?;
        let schema = schema::state(&mut tx).await?.current()?;
        Ok(StoreStatus { schema, revision, key_id: read::key_id(&mut tx).await?, counts })
    }

    /// The name of the key that the secrets are sealed with, once there is one.
    pub async fn key_id(&mut self) -> Result<Option<String>, StoreError> {
        Ok(read::key_id(&mut self.connection).await?)
    }

    /// Notes the name of the key that secrets are to be sealed with. One that is noted already stays.
    pub async fn set_key_id(&mut self, id: &str) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        if read::key_id(&mut tx).await?.is_none() {
            // `key`, the name of the first column, is a keyword of MySQL.
            tx.execute(sql("INSERT INTO warden_meta VALUES ('key_id', ?)").bind(id)).await?;
            tx.commit().await?;
        }
        Ok(())
    }
}
