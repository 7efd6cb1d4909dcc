//! The feed of an SQLite database: its data version tells that something was committed, its change log tells what.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;

use super::connection::{Ask, Connection, Inner, Purpose, sql};
use super::feed::Update;
use super::read::{self, Entity};
use super::{OpenMode, StoreError, file, schema};
use crate::ffi::sqlite_memory::leave_uncounted;
use crate::ffi::wal_index::{Header, WalIndex};

/// How many rows SQLite's thread may be ahead of the one that reads them. Where it has to wait, each row that is read
/// wakes it for the next one.
const ROWS_AHEAD: usize = 2 * read::PAGE;

/// How every connection to a file is made.
pub fn connect_options(path: &Path, read_only_use: bool) -> SqliteConnectOptions {
    leave_uncounted();
    SqliteConnectOptions::new()
        .filename(path)
        .read_only(read_only_use)
        .create_if_missing(false)
        .foreign_keys(true)
        .busy_timeout(std::time::Duration::from_secs(5))
        .row_buffer_size(ROWS_AHEAD)
        // Identities and sealed secrets are among what statements carry.
        .disable_statement_logging()
}

/// A connection to a file that has the schema of this version.
pub(super) async fn connect(path: &Path, mode: OpenMode) -> Result<Connection, StoreError> {
    let at = |cause| StoreError::at(&path.display(), cause);
    let connected = async {
        let options = connect_options(path, mode == OpenMode::Read);
        let mut connection = Connection::new(Inner::Sqlite(options.connect().await?));
        schema::state(&mut connection).await?.current()?;
        Ok(connection)
    };
    match connected.await {
        // Even a reader writes, into a file beside the database, where nobody else has it open.
        Err(StoreError::CannotOpen) => {
            file::check(path, OpenMode::Write)?;
            Err(at(StoreError::CannotOpen))
        }
        connected => connected.map_err(at),
    }
}

/// Follows one SQLite database.
#[derive(Debug)]
pub(super) struct SqliteFeed {
    path: PathBuf,
    pub(super) connection: Connection,
    /// Where commits show, if that can be seen.
    commits: Option<Arc<WalIndex>>,
    /// What that said before the last update.
    header: Option<Header>,
    /// Which file is open: another one may come to stand at its path.
    file: (u64, u64),
    /// SQLite's number for what was committed by others, as of the last update.
    data_version: Option<i64>,
    /// The revision of the last update.
    revision: Option<i64>,
    /// As of the last update.
    pub(super) checkpoint: i64,
}

impl SqliteFeed {
    /// Opens the database at `path`. It is only ever read, but SQLite wants to write to the files that it keeps beside it.
    pub(super) async fn open(path: &Path) -> Result<Self, StoreError> {
        file::check(path, OpenMode::Write)?;
        let file = file_number(path)?;
        let mut connection = connect(path, OpenMode::Read).await?;
        let commits = commits(&mut connection).await?.map(Arc::new);
        let path = path.to_owned();
        Ok(Self { path, connection, commits, header: None, file, data_version: None, revision: None, checkpoint: 0 })
    }

    /// What tells that nothing was committed since the last update.
    pub(super) fn stillness(&self) -> Option<Stillness> {
        Some(Stillness { commits: Arc::clone(self.commits.as_ref()?), header: self.header? })
    }

    pub(super) async fn update(&mut self) -> Result<Update, StoreError> {
        if file_number(&self.path)? != self.file {
            return Err(StoreError::Replaced { path: self.path.clone() });
        }
        if self.stillness().is_some_and(|stillness| stillness.holds()) {
            return Ok(Update::Nothing);
        }
        // Read before the database is: what is committed in between is seen now, and asked about once more later.
        self.header = None;
        let header = self.commits.as_ref().and_then(|commits| commits.header());
        let update = self.look().await?;
        self.header = header;
        Ok(update)
    }

    async fn look(&mut self) -> Result<Update, StoreError> {
        // Read before the change log is: what is committed in between is seen now, and asked about once more later.
        let (data_version,): (i64,) = self.connection.one(sql("PRAGMA data_version")).await?;
        if self.data_version == Some(data_version) {
            return Ok(Update::Nothing);
        }
        let update = self.read().await?;
        self.data_version = Some(data_version);
        Ok(update)
    }

    /// Reads, as of one commit, what the change log names, or everything where it does not reach back far enough.
    async fn read(&mut self) -> Result<Update, StoreError> {
        let known = self.revision;
        let mut snapshot = self.connection.begin(Purpose::Read).await?;
        let bounds = sql("SELECT coalesce(min(revision), 0), coalesce(max(revision), 0),
                    coalesce((SELECT CAST(value AS INTEGER) FROM warden_meta WHERE key = 'checkpoint'), 0)
             FROM change_log");
        let (oldest, newest, checkpoint): (i64, i64, i64) = snapshot.one(bounds).await?;
        let update = match known {
            Some(known) if known == newest => Update::Nothing,
            // A log that went back belongs to a database that was restored.
            Some(known) if known < newest && oldest <= known + 1 => {
                let log = sql("SELECT DISTINCT entity, entity_id FROM change_log WHERE revision > ?").bind(known);
                let log: Vec<(String, i64)> = snapshot.all(log).await?;
                let named = log.into_iter().map(|(entity, id)| (Entity::of(&entity), id)).collect();
                Update::Changes(read::changes(&mut snapshot, named, newest).await?)
            }
            _ => Update::Everything(read::everything(&mut snapshot, newest).await?),
        };
        snapshot.commit().await?;
        (self.revision, self.checkpoint) = (Some(newest), checkpoint);
        Ok(update)
    }
}

/// What tells, by a look at memory and nothing else, that nothing was committed since an update.
#[derive(Debug)]
pub struct Stillness {
    commits: Arc<WalIndex>,
    header: Header,
}

impl Stillness {
    /// Whether nothing was. It may be that nothing was and this does not say so.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.commits.header() == Some(self.header)
    }
}

/// Where it shows what others commit.
async fn commits(connection: &mut Connection) -> Result<Option<WalIndex>, StoreError> {
    let (mode,): (String,) = connection.one(sql("PRAGMA journal_mode")).await?;
    match &mut connection.inner {
        // In any other mode there is none, and to ask for it would make one.
        Inner::Sqlite(sqlite) if mode == "wal" => Ok(WalIndex::of(&mut sqlite.lock_handle().await?)),
        _ => Ok(None),
    }
}

/// Which file stands at a path.
pub(super) fn file_number(path: &Path) -> Result<(u64, u64), StoreError> {
    let metadata = std::fs::metadata(path).map_err(|_| StoreError::Missing { path: path.into() })?;
    Ok((metadata.dev(), metadata.ino()))
}
