//! Facts about the database: its schema, how much is in it, its revision, and the key that its secrets are sealed with.

use sqlx::SqliteConnection;

use super::{Store, StoreError, schema};

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

/// Where `warden_meta` has the name of the sealing key.
const KEY_ID: &str = "key_id";

impl Store {
    /// Facts about the database, all from the same moment.
    pub async fn status(&mut self) -> Result<StoreStatus, StoreError> {
        let mut tx = self.begin_read().await?;
        let counts = sqlx::query_as(
            "SELECT (SELECT count(*) FROM devices WHERE status = 'active') AS active_devices,
                    (SELECT count(*) FROM devices WHERE status = 'suspended') AS suspended_devices,
                    (SELECT count(*) FROM devices WHERE status = 'revoked') AS revoked_devices,
                    (SELECT count(*) FROM credentials WHERE status = 'active') AS credentials,
                    (SELECT count(*) FROM credentials WHERE status = 'revoked') AS revoked_credentials,
                    (SELECT count(*) FROM roles) AS roles,
                    (SELECT count(*) FROM rules) AS rules",
        )
        .fetch_one(&mut *tx)
        .await?;
        let revision =
            sqlx::query_scalar("SELECT coalesce(max(revision), 0) FROM change_log").fetch_one(&mut *tx).await?;
        let schema = schema::state(&mut tx).await?.current()?;
        Ok(StoreStatus { schema, revision, key_id: key_id(&mut tx).await?, counts })
    }

    /// The name of the key that the secrets are sealed with, once there is one.
    pub async fn key_id(&mut self) -> Result<Option<String>, StoreError> {
        key_id(&mut self.connection).await
    }

    /// Notes the name of the key that secrets are to be sealed with. One that is noted already stays.
    pub async fn set_key_id(&mut self, id: &str) -> Result<(), StoreError> {
        let query = sqlx::query("INSERT INTO warden_meta (key, value) VALUES (?, ?) ON CONFLICT DO NOTHING");
        query.bind(KEY_ID).bind(id).execute(&mut self.connection).await?;
        Ok(())
    }
}

async fn key_id(connection: &mut SqliteConnection) -> Result<Option<String>, StoreError> {
    let query = sqlx::query_scalar("SELECT value FROM warden_meta WHERE key = ?");
    Ok(query.bind(KEY_ID).fetch_optional(connection).await?)
}
