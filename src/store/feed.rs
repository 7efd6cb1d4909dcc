//! What a reader of the database is told: nothing new, what changed, or everything.
//!
//! Whoever follows a feed applies a delta to what it has, and starts afresh when it is given everything: after a start,
//! after the database was away for longer than its change log reaches, and after another one was put in its place.

use std::time::Duration;

use super::connection::Connection;
use super::mysql::MysqlFeed;
use super::postgres::PostgresFeed;
use super::sqlite::SqliteFeed;
pub use super::sqlite::Stillness;
use super::{OpenMode, StoreError, file, read};
use crate::database::Database;
use crate::policy::certificate::CertificateId;
use crate::policy::device::{Device, DeviceId, RoleId, SharedDevice};
use crate::policy::role::Role;

/// How long a server may be silent, at any step of a question, before it counts as away and is called anew.
///
/// A connection of which the other end is gone without a word is noticed by that alone. It is not shorter, because who
/// calls anew reads everything, and a server under load may well think for a second or two before its first row; whether
/// a policy is too old for those who connect is counted from its last confirmation, and does not wait for it.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// What was found when the database was asked.
#[derive(Debug)]
pub enum Update {
    /// Nothing newer is committed.
    Nothing,
    /// These devices, roles and revoked certificates are different now.
    Changes(Changes),
    /// The whole policy.
    Everything(Everything),
}

/// What is different since the last update. `None` stands for what is no more.
#[derive(Debug, Default)]
pub struct Changes {
    pub revision: i64,
    pub devices: Vec<(DeviceId, Option<Device>)>,
    pub roles: Vec<(RoleId, Option<Role>)>,
    /// Rows of revoked certificates, by number.
    pub certificates: Vec<(i64, Option<CertificateId>)>,
    /// Which of these rows name no certificate, and why. They revoke nothing.
    pub unreadable_certificates: Vec<(i64, Box<str>)>,
}

/// The whole policy of one revision.
#[derive(Debug, Default)]
pub struct Everything {
    pub revision: i64,
    pub devices: Vec<SharedDevice>,
    pub roles: Vec<Role>,
    /// Rows of revoked certificates, by number.
    pub certificates: Vec<(i64, CertificateId)>,
    /// Rows that name no certificate, and why. They revoke nothing.
    pub unreadable_certificates: Vec<(i64, Box<str>)>,
}

/// Follows one database.
///
/// It is only ever read, whatever it is: the log of its changes is kept, and kept small, by its own triggers.
#[derive(Debug)]
pub struct Feed(Kind);

#[derive(Debug)]
enum Kind {
    Sqlite(SqliteFeed),
    Postgres(PostgresFeed),
    Mysql(MysqlFeed),
}

impl Feed {
    /// Opens the database, which must have the schema that this release knows.
    pub async fn open(database: &Database) -> Result<Self, StoreError> {
        if let Database::Sqlite(path) = database {
            file::check(path, OpenMode::Write)?;
            file::check_content(path)?;
        }
        Self::open_again(database).await
    }

    /// As [`Self::open`], in a process in which connections to the same file may still be open.
    pub async fn open_again(database: &Database) -> Result<Self, StoreError> {
        let at = |cause| StoreError::at(database, cause);
        Ok(Self(match database {
            Database::Sqlite(path) => Kind::Sqlite(SqliteFeed::open(path).await?),
            Database::Postgres(address) => Kind::Postgres(PostgresFeed::open(address).await.map_err(at)?),
            Database::Mysql(address) => Kind::Mysql(MysqlFeed::open(address).await.map_err(at)?),
        }))
    }

    /// From now on a server that is silent for longer than this counts as away.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        let own = &mut self.connection().patience;
        *own = own.map(|own| own.min(patience));
        self
    }

    /// Which key the secrets of this database are sealed with, if it says so.
    pub async fn key_id(&mut self) -> Result<Option<String>, StoreError> {
        Ok(read::key_id(self.connection()).await?)
    }

    fn connection(&mut self) -> &mut Connection {
        match &mut self.0 {
            Kind::Sqlite(feed) => &mut feed.connection,
            Kind::Postgres(feed) => &mut feed.connection,
            Kind::Mysql(feed) => &mut feed.connection,
        }
    }

    /// What is new since the last call; everything at the first.
    ///
    /// Whatever was committed before this call is part of the answer or of an earlier one.
    pub async fn update(&mut self) -> Result<Update, StoreError> {
        match &mut self.0 {
            Kind::Sqlite(feed) => feed.update().await,
            Kind::Postgres(feed) => feed.update().await,
            Kind::Mysql(feed) => feed.update().await,
        }
    }

    /// The checkpoint as of the last update: what that has answered, and those before it, is all that was committed before
    /// the checkpoint was raised.
    #[must_use]
    pub fn checkpoint(&self) -> i64 {
        match &self.0 {
            Kind::Sqlite(feed) => feed.checkpoint,
            Kind::Postgres(feed) => feed.checkpoint,
            Kind::Mysql(feed) => feed.checkpoint,
        }
    }

    /// What tells, without asking, that nothing was committed since the last update, where the database has such a thing.
    ///
    /// Not to be used any more once this feed is dropped.
    #[must_use]
    pub fn stillness(&self) -> Option<Stillness> {
        match &self.0 {
            Kind::Sqlite(feed) => feed.stillness(),
            Kind::Postgres(_) | Kind::Mysql(_) => None,
        }
    }

    /// Returns when it is time to ask again: after `poll_interval`, or when the database says that something was
    /// committed. While it says so by itself, it is asked less often.
    pub async fn wait(&self, poll_interval: Duration) {
        match &self.0 {
            Kind::Postgres(feed) => feed.wait(poll_interval).await,
            Kind::Sqlite(_) | Kind::Mysql(_) => tokio::time::sleep(poll_interval).await,
        }
    }
}
