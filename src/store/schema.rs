//! The schema: which one the database has, and how it gets the one of this version.

use sqlx::migrate::Migrator;

use super::StoreError;
use super::connection::{Ask, Connection, Dialect, Inner, sql};

static SQLITE: Migrator = sqlx::migrate!("migrations/sqlite");
static POSTGRES: Migrator = sqlx::migrate!("migrations/postgres");
static MYSQL: Migrator = sqlx::migrate!("migrations/mysql");

/// The migrations of a database.
fn migrations(dialect: Dialect) -> &'static Migrator {
    match dialect {
        Dialect::Sqlite => &SQLITE,
        Dialect::Postgres => &POSTGRES,
        Dialect::Mysql => &MYSQL,
    }
}

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
pub(super) async fn state(connection: &mut impl Ask) -> Result<SchemaState, StoreError> {
    let is_there = match connection.dialect() {
        Dialect::Sqlite => "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = '_sqlx_migrations'",
        Dialect::Postgres => "SELECT count(*) FROM pg_class WHERE oid = to_regclass('_sqlx_migrations')",
        Dialect::Mysql => {
            "SELECT count(*) FROM information_schema.tables
             WHERE table_schema = database() AND table_name = '_sqlx_migrations'"
        }
    };
    if connection.one::<(i64,)>(sql(is_there)).await? == (0,) {
        return Ok(SchemaState::Missing);
    }
    let migrations = migrations(connection.dialect());
    let applied = sql("SELECT version, checksum FROM _sqlx_migrations WHERE success ORDER BY version");
    let applied: Vec<(i64, Vec<u8>)> = connection.all(applied).await?;
    let needed = migrations.iter().map(|migration| migration.version).max().unwrap_or(0);
    let Some(found) = applied.last().map(|(version, _)| *version) else { return Ok(SchemaState::Missing) };
    let altered = |(version, checksum): &&(i64, Vec<u8>)| {
        !migrations.iter().any(|ours| ours.version == *version && *ours.checksum == **checksum)
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
pub(super) async fn has_tables(connection: &mut Connection) -> Result<bool, StoreError> {
    let query = match connection.dialect() {
        Dialect::Sqlite => {
            "SELECT count(*) FROM sqlite_schema WHERE name NOT LIKE 'sqlite~_%' ESCAPE '~' AND name <> '_sqlx_migrations'"
        }
        Dialect::Postgres => {
            "SELECT count(*) FROM pg_class WHERE relnamespace = current_schema()::regnamespace
             AND relkind IN ('r', 'p', 'v', 'm', 'f') AND relname <> '_sqlx_migrations'"
        }
        Dialect::Mysql => {
            "SELECT count(*) FROM information_schema.tables
             WHERE table_schema = database() AND table_name <> '_sqlx_migrations'"
        }
    };
    Ok(connection.one::<(i64,)>(sql(query)).await? != (0,))
}

/// Applies what is missing.
pub(super) async fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    if connection.is_pooled() {
        // Its lock belongs to a connection, and would stay with one of the pooler's.
        return Err(StoreError::Pooler);
    }
    let migrations = migrations(connection.dialect());
    match &mut connection.inner {
        Inner::Sqlite(it) => migrations.run_direct(None, it, false).await,
        Inner::Postgres(it) => migrations.run_direct(None, it, false).await,
        Inner::Mysql(it) => migrations.run_direct(None, it, false).await,
    }
    .map_err(StoreError::Migrate)
}
