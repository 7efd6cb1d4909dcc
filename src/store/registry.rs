//! A broker's own row: how it registers, how it writes it again, and how it says that it ends.
//!
//! It is written over a connection of its own, with rights to this one table. What the row says is for people, and for
//! those who wait; no broker goes by another's.

use std::path::PathBuf;
use std::time::Duration;

use super::broker::patience;
use super::connection::{Ask, Connection, Purpose, sql};
use super::{OpenMode, StoreError, mysql, postgres, sqlite};
use crate::database::Database;

/// How long a server may be silent before it counts as away.
const PATIENCE: Duration = Duration::from_secs(5);

/// Who registers.
#[derive(Debug, Clone)]
pub struct Registrant {
    /// The broker's name. No two that run may have the same.
    pub name: String,
    /// Another for each process.
    pub instance: String,
    /// How often the row will be written at least.
    pub interval: Duration,
    /// Of the plugin.
    pub version: &'static str,
    pub mosquitto: String,
}

/// How far a broker has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Beat {
    /// The newest change that its policy holds.
    pub revision: i64,
    /// The newest checkpoint up to which it has carried out everything.
    pub confirmed: i64,
    pub sessions: i64,
}

/// The row that has a broker's name already, as it was found: of a process that is gone, or of another broker.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Occupant {
    instance: String,
    beats: i64,
    interval_ms: i64,
}

impl Occupant {
    /// How long to look whether it still writes its row.
    #[must_use]
    pub fn patience(&self) -> Duration {
        patience(self.interval_ms)
    }
}

/// The table of brokers, open for one of them.
#[derive(Debug)]
pub struct Registry {
    connection: Connection,
    /// Which file is open, and where: another one may come to stand there.
    file: Option<(PathBuf, (u64, u64))>,
}

impl Registry {
    /// Opens the table, in a process that may have the database open already.
    pub async fn open(database: &Database) -> Result<Self, StoreError> {
        let at = |cause| StoreError::at(database, cause);
        let (connection, file) = match database {
            Database::Sqlite(path) => {
                let file = sqlite::file_number(path)?;
                (sqlite::connect(path, OpenMode::Write).await?, Some((path.clone(), file)))
            }
            Database::Postgres(address) => (postgres::connect(address).await.map_err(at)?, None),
            Database::Mysql(address) => (mysql::connect(address).await.map_err(at)?, None),
        };
        Ok(Self { connection: connection.with_patience(PATIENCE), file })
    }

    /// Registers a broker; an occupant where its name is taken. One that is known to be `gone` is followed.
    pub async fn register(
        &mut self,
        who: &Registrant,
        beat: Beat,
        gone: Option<&Occupant>,
    ) -> Result<Option<Occupant>, StoreError> {
        self.check_file()?;
        let mut tx = self.connection.begin(Purpose::Write).await?;
        let now = tx.dialect().now();
        let found = sql("SELECT instance, beats, interval_ms FROM brokers WHERE name = ? AND ended_at IS NULL");
        let occupant: Option<Occupant> = tx.optional(found.bind(&who.name)).await?;
        if let Some(occupant) = occupant.filter(|occupant| occupant.instance != who.instance && gone != Some(occupant))
        {
            return Ok(Some(occupant));
        }
        let fill = |query: &str| {
            sql(query.replace("{now}", now))
                .bind(&who.name)
                .bind(&who.instance)
                .bind(i64::try_from(who.interval.as_millis()).unwrap_or(i64::MAX))
                .bind(who.version)
                .bind(&who.mosquitto)
                .bind(beat.revision)
                .bind(beat.confirmed)
                .bind(beat.sessions)
        };
        let update = "UPDATE brokers
             SET instance = ?2, beats = beats + 1, interval_ms = ?3, version = ?4, mosquitto = ?5, revision = ?6,
                 confirmed = ?7, sessions = ?8, started_at = {now}, seen_at = {now}, ended_at = NULL
             WHERE name = ?1 AND (ended_at IS NOT NULL OR instance = ?2 OR (instance = ?9 AND beats = ?10))";
        let followed = gone.map(|gone| (gone.instance.clone(), gone.beats)).unzip();
        if tx.execute(fill(update).bind(followed.0).bind(followed.1)).await? == 0 {
            // Somebody who was faster has the key already, and this fails.
            let insert =
                "INSERT INTO brokers (name, instance, beats, interval_ms, version, mosquitto, revision, confirmed,
                                               sessions, started_at, seen_at)
                          VALUES (?1, ?2, 1, ?3, ?4, ?5, ?6, ?7, ?8, {now}, {now})";
            tx.execute(fill(insert)).await?;
        }
        tx.commit().await?;
        Ok(None)
    }

    /// Writes a broker's row; `false` where it has none any more.
    pub async fn beat(&mut self, who: &Registrant, beat: Beat) -> Result<bool, StoreError> {
        self.check_file()?;
        let now = self.connection.dialect().now();
        let query = sql(format!(
            "UPDATE brokers SET revision = ?, confirmed = ?, sessions = ?, beats = beats + 1, seen_at = {now}
             WHERE name = ? AND instance = ?"
        ));
        let query = query.bind(beat.revision).bind(beat.confirmed).bind(beat.sessions);
        Ok(self.connection.execute(query.bind(&who.name).bind(&who.instance)).await? > 0)
    }

    /// Says that a broker ends: nobody needs to wait for it.
    pub async fn end(mut self, who: &Registrant) -> Result<(), StoreError> {
        self.check_file()?;
        let now = self.connection.dialect().now();
        let query = sql(format!(
            "UPDATE brokers SET sessions = 0, beats = beats + 1, seen_at = {now}, ended_at = {now}
             WHERE name = ? AND instance = ?"
        ));
        self.connection.execute(query.bind(&who.name).bind(&who.instance)).await?;
        Ok(self.connection.close().await?)
    }

    fn check_file(&self) -> Result<(), StoreError> {
        match &self.file {
            Some((path, file)) if sqlite::file_number(path)? != *file => {
                Err(StoreError::Replaced { path: path.clone() })
            }
            _ => Ok(()),
        }
    }
}
