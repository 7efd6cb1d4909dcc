//! Where it is written down: opening the database, its schema, and the verbs that change it, one file per noun.
//!
//! Rules are stored here and never judged, and what a role or a client id pattern means is not known here. Each verb is
//! one transaction. What follows the database for the plugin, [`feed`] and the files after it, does not go through
//! [`Store`].

use std::fs::OpenOptions;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode};
use sqlx::{ConnectOptions, Connection, Sqlite, Transaction};

pub mod certificate;
pub mod credential;
pub mod crl;
pub mod device;
mod error;
pub mod feed;
mod file;
pub mod role;
mod rows;
pub mod rule;
pub mod schema;
pub mod sqlite;
pub mod status;

pub use error::{Noun, StoreError};
pub use schema::SchemaState;

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
    /// Whether there was no file before.
    pub new_file: bool,
    /// What the schema was before.
    pub before: SchemaState,
}

/// The database, open, with a schema of this version.
#[derive(Debug)]
pub struct Store {
    connection: SqliteConnection,
    path: PathBuf,
}

/// How every connection to the database is made.
pub fn connect_options(path: &Path, read_only_use: bool) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .read_only(read_only_use)
        .create_if_missing(false)
        .foreign_keys(true)
        .busy_timeout(std::time::Duration::from_secs(5))
        // Identities and sealed secrets are among what statements carry.
        .disable_statement_logging()
}

impl Store {
    /// Opens a database that `warden init` has made and that has the schema of this version.
    pub async fn open(path: &Path, mode: OpenMode) -> Result<Self, StoreError> {
        file::check(path, mode)?;
        file::check_content(path)?;
        Ok(Self { connection: connect(path, mode).await?, path: path.into() })
    }

    /// Makes the database where it is missing, and brings its schema up to this version. Mode and owner of an existing
    /// file stay as they are.
    pub async fn create(path: &Path, owner: Option<(u32, u32)>) -> Result<(Self, Created), StoreError> {
        let at = |cause| StoreError::at(path, cause);
        let new_file = create_file(path, owner)?;
        file::check(path, OpenMode::Write)?;
        file::check_content(path)?;
        // The files that SQLite puts beside the database take over its mode and owner, so those are set before.
        let options = connect_options(path, false).journal_mode(SqliteJournalMode::Wal);
        let mut connection = options.connect().await.map_err(|error| at(error.into()))?;
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
        Ok((Self { connection, path: path.into() }, Created { new_file, before }))
    }

    /// Where the database is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Closes the database; the last to do so also tidies up the files beside it.
    pub async fn close(self) -> Result<(), StoreError> {
        Ok(self.connection.close().await?)
    }

    /// A transaction that may write. It takes its lock at once, so that it cannot fail for it half way.
    async fn begin(&mut self) -> Result<Transaction<'_, Sqlite>, StoreError> {
        Ok(self.connection.begin_with("BEGIN IMMEDIATE").await?)
    }

    /// A transaction that only reads, all of it from the same moment.
    async fn begin_read(&mut self) -> Result<Transaction<'_, Sqlite>, StoreError> {
        Ok(self.connection.begin().await?)
    }
}

/// A connection to a database that has the schema of this version.
async fn connect(path: &Path, mode: OpenMode) -> Result<SqliteConnection, StoreError> {
    let connected = async {
        let mut connection = connect_options(path, mode == OpenMode::Read).connect().await?;
        let state = schema::state(&mut connection).await?;
        Ok((connection, state))
    };
    match connected.await {
        Ok((connection, state)) => state.current().map(|_| connection).map_err(|cause| StoreError::at(path, cause)),
        // Even a reader writes, into a file beside the database, where nobody else has it open.
        Err(StoreError::CannotOpen) => {
            file::check(path, OpenMode::Write)?;
            Err(StoreError::at(path, StoreError::CannotOpen))
        }
        Err(cause) => Err(StoreError::at(path, cause)),
    }
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
