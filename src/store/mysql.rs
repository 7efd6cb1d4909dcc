//! The feed of a MariaDB or MySQL database: its change log is polled, and so are the numbers that were passed over.
//!
//! A number that is missing below the newest belongs to a transaction that is still open, or was rolled back. Which of
//! both, a read at isolation level READ UNCOMMITTED tells: it shows the entries of open transactions. Those stay on the
//! list for as long as they are open, and delay nobody else's.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use sqlx::ConnectOptions;
use sqlx::mysql::MySqlConnectOptions;

use super::connection::{Ask, Connection, Inner, Purpose, once};
use super::feed::{PATIENCE, Update};
use super::read::{self, Entity};
use super::unseen::Unseen;
use super::{StoreError, schema, server};
use crate::database::Address;

/// How often it is asked what open transactions have written, and whether the tables are the same.
const LOOK_AT_OPEN: Duration = Duration::from_secs(1);
/// More gaps than this are asked for as one.
const MOST_GAPS: usize = 200;

/// A connection to a database, whatever is in it.
pub(super) async fn connect(address: &Address) -> Result<Connection, StoreError> {
    server::check_files(address)?;
    let options = MySqlConnectOptions::from_url(address.with_password()).map_err(|_| StoreError::Address)?;
    let options = match server::ipv6_host(address) {
        Some(host) => options.host(&host),
        None => options,
    };
    // Identities and sealed secrets are among what statements carry.
    let options = options.disable_statement_logging();
    Ok(tokio::time::timeout(PATIENCE, connect_with(options)).await.map_err(|_| StoreError::Silent)??)
}

async fn connect_with(options: MySqlConnectOptions) -> Result<Connection, sqlx::Error> {
    let mut connection = Connection::new(Inner::Mysql(options.connect().await?));
    let session = "SET SESSION transaction_isolation = 'REPEATABLE-READ', SESSION group_concat_max_len = 1048576";
    let of_older = "SET SESSION tx_isolation = 'REPEATABLE-READ', SESSION group_concat_max_len = 1048576";
    // MariaDB has called it so since 11.1.
    if connection.execute(once(session)).await.is_err() {
        connection.execute(once(of_older)).await?;
    }
    Ok(connection)
}

/// Follows one MariaDB or MySQL database.
#[derive(Debug)]
pub(super) struct MysqlFeed {
    pub(super) connection: Connection,
    unseen: Option<Unseen>,
    /// Up to which number entries were deleted when the log was last read.
    deleted: i64,
    /// Since when there have been the tables that there are. One that is dropped leaves nothing in the log.
    tables: String,
    looked_at_open: Instant,
    /// As of the last update.
    pub(super) checkpoint: i64,
}

/// An entry of the log, by its number.
type Entry = (i64, (Entity, i64));

/// What the log and the facts about it say at one moment.
struct State {
    /// Up to which number entries are deleted.
    deleted: i64,
    checkpoint: i64,
    /// The entries that were not seen, by rising number.
    found: Vec<Entry>,
}

impl MysqlFeed {
    pub(super) async fn open(address: &Address) -> Result<Self, StoreError> {
        let mut connection = connect(address).await?.with_patience(PATIENCE);
        schema::state(&mut connection).await?.current()?;
        // A reader whose connection is cut holds its locks, which ALTER TABLE would wait for, no longer than a minute.
        connection.execute(once("SET SESSION wait_timeout = 60")).await?;
        Ok(Self {
            connection,
            unseen: None,
            deleted: 0,
            tables: String::new(),
            looked_at_open: Instant::now(),
            checkpoint: 0,
        })
    }

    pub(super) async fn update(&mut self) -> Result<Update, StoreError> {
        let Some(mut unseen) = self.unseen.take() else { return self.read_everything().await };
        if self.looked_at_open.elapsed() >= LOOK_AT_OPEN {
            if unseen.gaps().next().is_some() {
                for number in open_entries(&mut self.connection, &unseen).await? {
                    unseen.is_pending(number, Instant::now());
                }
                unseen.give_up(Instant::now());
            }
            if tables(&mut self.connection).await? != self.tables {
                return self.read_everything().await;
            }
            self.looked_at_open = Instant::now();
        }
        let State { deleted, checkpoint, found } = state(&mut self.connection, &unseen).await?;
        // What is deleted now and was not before may have been committed in between.
        if deleted != self.deleted && deleted >= unseen.first() {
            return self.read_everything().await;
        }
        if found.is_empty() {
            (self.deleted, self.checkpoint) = (deleted, checkpoint);
            self.unseen = Some(unseen);
            return Ok(Update::Nothing);
        }
        let mut snapshot = self.connection.begin(Purpose::Read).await?;
        let State { deleted, checkpoint, found } = state(&mut snapshot, &unseen).await?;
        if deleted != self.deleted && deleted >= unseen.first() {
            drop(snapshot);
            return self.read_everything().await;
        }
        let mut named = BTreeSet::new();
        for (number, about) in found {
            unseen.see(number, Instant::now());
            named.insert(about);
        }
        let changes = read::changes(&mut snapshot, named, unseen.newest()).await?;
        snapshot.commit().await?;
        (self.deleted, self.checkpoint) = (deleted, checkpoint);
        self.unseen = Some(unseen);
        Ok(Update::Changes(changes))
    }

    async fn read_everything(&mut self) -> Result<Update, StoreError> {
        // What is made anew while it reads is noticed afterwards.
        self.tables = tables(&mut self.connection).await?;
        let mut snapshot = self.connection.begin(Purpose::Read).await?;
        let mut unseen = Unseen::after(0);
        // From the oldest on: a transaction that is still open may have written its entry any time ago.
        let State { deleted, checkpoint, found } = state(&mut snapshot, &unseen).await?;
        for (number, _) in found {
            unseen.see(number, Instant::now());
        }
        let everything = read::everything(&mut snapshot, unseen.newest()).await?;
        snapshot.commit().await?;
        (self.deleted, self.checkpoint) = (deleted, checkpoint);
        self.unseen = Some(unseen);
        Ok(Update::Everything(everything))
    }
}

/// The state of the database, where so much was seen.
async fn state(connection: &mut impl Ask, unseen: &Unseen) -> Result<State, sqlx::Error> {
    let (newest, gaps) = (unseen.newest(), ranges(unseen));
    // One statement, so that all of it is from one moment.
    let query = format!(
        "SELECT CAST(value AS SIGNED) AS revision, NULL AS entity,
                CASE WHEN warden_meta.key = 'checkpoint' THEN 1 END AS entity_id
         FROM warden_meta WHERE warden_meta.key IN ('change_log_deleted', 'checkpoint')
         UNION ALL SELECT revision, entity, entity_id FROM change_log WHERE revision > {newest}{gaps}
         ORDER BY revision"
    );
    let rows: Vec<(i64, Option<String>, Option<i64>)> = connection.all(once(query)).await?;
    let mut state = State { deleted: 0, checkpoint: 0, found: Vec::new() };
    for row in rows {
        match row {
            (number, Some(entity), Some(id)) if unseen.contains(number) => {
                state.found.push((number, (Entity::of(&entity), id)));
            }
            (_, Some(_), _) => {}
            (number, None, None) => state.deleted = number,
            (number, None, Some(_)) => state.checkpoint = number,
        }
    }
    Ok(state)
}

/// The tables that are read, each with when it was made.
async fn tables(connection: &mut impl Ask) -> Result<String, sqlx::Error> {
    let query = "SELECT coalesce(group_concat(concat(table_name, ' ', create_time) ORDER BY table_name), '')
                 FROM information_schema.tables WHERE table_schema = database() AND table_name IN (
                     'change_log', 'devices', 'credentials', 'device_roles', 'roles', 'rules', 'revoked_certificates')";
    Ok(connection.one::<(String,)>(once(query)).await?.0)
}

/// The numbers in gaps whose entries are there, committed or not.
async fn open_entries(connection: &mut impl Ask, unseen: &Unseen) -> Result<Vec<i64>, sqlx::Error> {
    connection.execute(once("SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED")).await?;
    let gaps = ranges(unseen);
    let query = once(format!("SELECT revision FROM change_log WHERE revision < 0{gaps}"));
    Ok(connection.all::<(i64,)>(query).await?.into_iter().map(|(number,)| number).collect())
}

/// The gaps, as conditions; several as one where there are too many, so that more is found than is missing.
fn ranges(unseen: &Unseen) -> String {
    let gaps: Vec<(i64, i64)> = unseen.gaps().collect();
    let together = gaps.len() / MOST_GAPS + 1;
    let bounds = gaps.chunks(together).filter_map(|gaps| Some((gaps.first()?.0, gaps.last()?.1)));
    bounds.fold(String::new(), |text, (first, last)| text + &format!(" OR revision BETWEEN {first} AND {last}"))
}
