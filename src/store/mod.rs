//! Where it is written down: opening the database, its schema, and the verbs that change it, one file per noun.
//!
//! Rules are stored here and never judged, and what a role or a client id pattern means is not known here. Each verb is
//! one transaction. What follows the database for the plugin, [`feed`] and the files after it, does not go through
//! [`Store`].

use std::fs::OpenOptions;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteJournalMode;

pub mod broker;
pub mod bulk;
pub mod certificate;
mod connection;
pub mod credential;
pub mod crl;
pub mod device;
pub mod ending;
mod error;
pub mod feed;
mod file;
pub mod go_auth;
mod grants;
pub mod issued;
mod mysql;
pub mod policy;
mod postgres;
mod read;
pub mod registry;
pub mod role;
mod rows;
pub mod rule;
pub mod schema;
mod sealing;
mod server;
pub mod sqlite;
mod standing;
pub mod status;
mod unseen;

use connection::{Connection, Inner, Purpose, Transaction};
pub use error::{Noun, StoreError};
pub use grants::Beyond;
pub use schema::SchemaState;

use crate::database::Database;

/// What the database is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// Nothing will be changed.
    Read,
    /// Something may be.
    Write,
}

/// What [`Store::create`] found and did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Created {
    /// Whether there was nothing before: no file, or no schema on the server.
    pub new: bool,
    /// What the schema was before.
    pub before: SchemaState,
}

/// The database, open, with a schema of this version.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
    mode: OpenMode,
}

impl Store {
    /// Opens a database that `warden init` has made and that has the schema of this version.
    pub async fn open(database: &Database, mode: OpenMode) -> Result<Self, StoreError> {
        if let Database::Sqlite(path) = database {
            file::check(path, mode)?;
            file::check_content(path)?;
        }
        Self::connect(database, mode).await
    }

    /// As [`Self::open`] for changing it, in a process in which connections to the same file may be open.
    pub async fn open_again(database: &Database) -> Result<Self, StoreError> {
        if let Database::Sqlite(path) = database {
            file::check(path, OpenMode::Write)?;
        }
        Self::connect(database, OpenMode::Write).await
    }

    async fn connect(database: &Database, mode: OpenMode) -> Result<Self, StoreError> {
        let connection = match database {
            Database::Sqlite(path) => sqlite::connect(path, mode).await?,
            Database::Postgres(address) => with_schema(postgres::connect(address).await, database).await?,
            Database::Mysql(address) => with_schema(mysql::connect(address).await, database).await?,
        };
        Ok(Self { connection, mode })
    }

    /// Makes the database where it is missing, and brings its schema up to this version. Mode and owner of an existing
    /// file stay as they are; a server must have the database, if an empty one.
    pub async fn create(database: &Database, owner: Option<(u32, u32)>) -> Result<(Self, Created), StoreError> {
        let at = |cause| StoreError::at(database, cause);
        let (mut connection, new_file) = match database {
            Database::Sqlite(path) => {
                let new_file = create_file(path, owner)?;
                file::check(path, OpenMode::Write)?;
                file::check_content(path)?;
                // The files that SQLite puts beside the database take over its mode and owner, so those are set before.
                let options = sqlite::connect_options(path, false).journal_mode(SqliteJournalMode::Wal);
                let connection = options.connect().await.map_err(|error| at(error.into()))?;
                (Connection::new(Inner::Sqlite(connection)), new_file)
            }
            Database::Postgres(address) => (postgres::connect(address).await.map_err(at)?, false),
            Database::Mysql(address) => (mysql::connect(address).await.map_err(at)?, false),
        };
        let before = schema::state(&mut connection).await.map_err(at)?;
        match before {
            SchemaState::Missing if schema::has_tables(&mut connection).await.map_err(at)? => {
                return Err(at(StoreError::NotOurs));
            }
            SchemaState::Missing | SchemaState::Older { .. } => schema::migrate(&mut connection).await.map_err(at)?,
            SchemaState::Current { .. } | SchemaState::Newer { .. } | SchemaState::Altered { .. } => {
                before.current().map_err(at)?;
            }
        }
        let new = new_file || (database.path().is_none() && before == SchemaState::Missing);
        Ok((Self { connection, mode: OpenMode::Write }, Created { new, before }))
    }

    /// Closes the database; the last to close a file also tidies up those beside it.
    pub async fn close(self) -> Result<(), StoreError> {
        Ok(self.connection.close().await?)
    }

    /// A transaction that may write.
    async fn begin(&mut self) -> Result<Transaction<'_>, StoreError> {
        if self.mode == OpenMode::Read {
            return Err(StoreError::ReadOnly);
        }
        Ok(self.connection.begin(Purpose::Write).await?)
    }

    /// A transaction that only reads, all of it from the same moment.
    async fn begin_read(&mut self) -> Result<Transaction<'_>, StoreError> {
        Ok(self.connection.begin(Purpose::Read).await?)
    }
}

/// The connection, if the database behind it has the schema of this version.
async fn with_schema(
    connection: Result<Connection, StoreError>,
    database: &Database,
) -> Result<Connection, StoreError> {
    let checked = async {
        let mut connection = connection?;
        schema::state(&mut connection).await?.current()?;
        Ok(connection)
    };
    checked.await.map_err(|cause| StoreError::at(database, cause))
}

/// Makes an empty file, which is an empty database, unless there is one. Says whether it did.
fn create_file(path: &Path, owner: Option<(u32, u32)>) -> Result<bool, StoreError> {
    let file = match OpenOptions::new().write(true).create_new(true).mode(0o660).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return Ok(false),
        Err(error) => return Err(file::not_created(path, error)),
    };
    let given = |()| owner.map_or(Ok(()), |(uid, gid)| std::os::unix::fs::fchown(&file, Some(uid), Some(gid)));
    // Whatever the umask says: the group may use it.
    file.set_permissions(PermissionsExt::from_mode(0o660))
        .and_then(given)
        .map_err(|error| file::not_created(path, error))?;
    Ok(true)
}
