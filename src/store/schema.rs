//! The schema: which one the database has, and how it gets the one of this version.

use sqlx::migrate::Migrator;
use sqlx::sqlite::SqliteConnection;

use super::StoreError;

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

/// How the schema of a database relates to the one of this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemaState {
    /// There is none.
    Missing,
    /// `warden init` can bring it up to date.
    Older { found: i64, needed: i64 },
    /// A later version made it.
    Newer { found: i64, needed: i64 },
    /// It has the right number and other contents: nobody's release made it.
    Altered { version: i64 },
    /// It is the one of this version.
    Current { version: i64 },
}

impl SchemaState {
    /// Its number, if it is the one of this version; otherwise an error that names the way out.
    pub fn current(self) -> Result<i64, StoreError> {
        match self {
            Self::Current { version } => Ok(version),
            Self::Missing => Err(StoreError::SchemaMissing),
            Self::Older { found, needed } => Err(StoreError::SchemaOlder { found, needed }),
            Self::Newer { found, needed } => Err(StoreError::SchemaNewer { found, needed }),
            Self::Altered { version } => Err(StoreError::SchemaAltered { version }),
        }
    }
}

/// Compares the schema of this database with the one of this version. Writes nothing.
pub async fn state(connection: &mut SqliteConnection) -> Result<SchemaState, StoreError> {
    let is_there: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = '_sqlx_migrations')",
    )
    .fetch_one(&mut *connection)
    .await?;
    if !is_there {
        return Ok(SchemaState::Missing);
    }
    let applied: Vec<(i64, Vec<u8>)> =
        sqlx::query_as("SELECT version, checksum FROM _sqlx_migrations WHERE success ORDER BY version")
            .fetch_all(connection)
            .await?;
    let needed = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0);
    let Some(found) = applied.last().map(|(version, _)| *version) else { return Ok(SchemaState::Missing) };
    let altered = |(version, checksum): &&(i64, Vec<u8>)| {
        !MIGRATIONS.iter().any(|ours| ours.version == *version && *ours.checksum == **checksum)
    };
    Ok(if found > needed {
        SchemaState::Newer { found, needed }
    } else if let Some((version, _)) = applied.iter().find(altered) {
        SchemaState::Altered { version: *version }
    } else if found < needed {
        SchemaState::Older { found, needed }
    } else {
        SchemaState::Current { version: found }
    })
}

/// Whether anything is in the database, ours or not.
pub(super) async fn has_tables(connection: &mut SqliteConnection) -> Result<bool, StoreError> {
    let query = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name NOT LIKE 'sqlite~_%' ESCAPE '~' \
                 AND name <> '_sqlx_migrations')";
    Ok(sqlx::query_scalar(query).fetch_one(connection).await?)
}

/// Applies what is missing.
pub(super) async fn migrate(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    MIGRATIONS.run_direct(None, connection, false).await.map_err(StoreError::Migrate)
}
