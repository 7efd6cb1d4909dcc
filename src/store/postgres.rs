//! The feed of a PostgreSQL database: a notification wakes, and what is visible now and was not before is what is new.
//!
//! Transactions commit in another order than the numbers of their log entries, and some stay open for long. So a reader
//! remembers which transactions it could see, PostgreSQL's own snapshot, and asks for the entries of all others: nothing
//! is lost, and nobody waits for anybody (PostgreSQL's manual, 9.27.8).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection as _, Executor as _, Row as _, SqlSafeStr as _, SqlStr};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::connection::{Ask, Connection, Inner, Purpose, once, sql};
use super::feed::{PATIENCE, Update};
use super::read::{self, Entity};
use super::{StoreError, schema, server};
use crate::database::Address;

/// What the triggers notify.
const CHANNEL: &str = "mosquitto_warden";
/// How often a server that notifies is asked nonetheless, so that it is known to be there.
const HEARTBEAT: Duration = Duration::from_millis(500);
/// How long a notification of our own may take, by which it is found out whether there are any.
const ECHO: Duration = Duration::from_secs(2);
/// How long nothing may be heard before it is found out once more. A connection that is cut says nothing either.
const CHECK: Duration = Duration::from_secs(5);
/// The pause before LISTEN is tried again.
const LISTEN_AGAIN: Duration = Duration::from_secs(10);

/// What the server is told when a connection begins, and asked for afterwards.
const DIRECT: &str = "mosquitto_warden.direct";

/// How every connection to a server is made.
fn connect_options(address: &Address) -> Result<PgConnectOptions, StoreError> {
    let options = PgConnectOptions::from_url(address.with_password()).map_err(|_| StoreError::Address)?;
    let options = match server::ipv6_host(address) {
        Some(host) => options.host(&host),
        None => options,
    };
    let named = address.with_password().query_pairs().any(|(name, _)| name == "application_name");
    let options = if named { options } else { options.application_name("mosquitto-warden") };
    let options = if server::is_pooled(address) {
        // A pooler does not know that parameter, and nothing here is a float.
        options.extra_float_digits(None)
    } else {
        options.options([(DIRECT, "yes")])
    };
    // Identities and sealed secrets are among what statements carry.
    Ok(options.disable_statement_logging())
}

/// A connection to a database, whatever is in it.
pub(super) async fn connect(address: &Address) -> Result<Connection, StoreError> {
    server::check_files(address)?;
    let connecting = connect_options(address)?;
    let connection = in_time(connecting.connect()).await;
    let connection = connection.map_err(|error| server::with_password_file(error, address))?;
    let pooled = server::is_pooled(address);
    let mut connection = Connection::new(Inner::Postgres(connection)).with_pooler(pooled);
    if !pooled {
        // A pooler that was told to ignore what it does not know has kept it for itself, and would mix statements up.
        let direct = format!("SELECT coalesce(current_setting('{DIRECT}', true), '')");
        let (direct,): (String,) = in_time(connection.one(once(direct))).await?;
        if direct != "yes" {
            return Err(StoreError::Pooler);
        }
    }
    Ok(connection)
}

/// Which transactions were visible: all below `xmax`, but those in `running` (`pg_snapshot`, written as text).
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    xmin: u64,
    xmax: u64,
    running: String,
}

impl Seen {
    fn parse(snapshot: &str) -> Option<Self> {
        let mut parts = snapshot.splitn(3, ':');
        let (xmin, xmax, running) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?);
        Some(Self { xmin, xmax, running: format!("{{{running}}}") })
    }
}

/// Follows one PostgreSQL database.
#[derive(Debug)]
pub(super) struct PostgresFeed {
    pub(super) connection: Connection,
    wake: Arc<Wake>,
    /// Through a pooler nobody listens.
    listener: Option<JoinHandle<()>>,
    /// What the last update saw, and of which tables: others may come to have their names.
    seen: Option<(Seen, i64)>,
    revision: i64,
    /// As of the last update.
    pub(super) checkpoint: i64,
}

/// What the two connections have in common.
#[derive(Debug, Default)]
struct Wake {
    notified: Notify,
    listens: AtomicBool,
}

/// The state of the database. A standby does not know which transactions run: there, none above the oldest is seen.
/// A table that is dropped leaves nothing in the log, so they are asked for by name. Whether there are entries that were
/// not seen is asked in the order of the index: told to find any, the planner expects many, and reads the whole log.
const STATE: &str = "\
    SELECT CASE WHEN pg_is_in_recovery() THEN pg_snapshot_xmin(s) || ':' || pg_snapshot_xmin(s) || ':' ELSE s::text END, \
           hashtextextended(concat_ws(',', 'change_log'::regclass::oid, 'devices'::regclass::oid, \
               'credentials'::regclass::oid, 'device_roles'::regclass::oid, 'roles'::regclass::oid, \
               'rules'::regclass::oid, 'revoked_certificates'::regclass::oid), 0), \
           (SELECT coalesce(max(revision), 0) FROM change_log), \
           coalesce((SELECT value::bigint FROM warden_meta WHERE key = 'change_log_deleted'), 0), \
           (SELECT count(*) FROM (SELECT xid FROM change_log ORDER BY xid DESC LIMIT 1) AS newest WHERE xid >= ?1::xid8) \
               + (SELECT count(*) FROM unnest(?2::xid8[]) AS running (xid) WHERE running.xid = \
                   (SELECT xid FROM change_log WHERE xid >= running.xid ORDER BY xid LIMIT 1)), \
           coalesce((SELECT value::bigint FROM warden_meta WHERE key = 'checkpoint'), 0) \
    FROM pg_current_snapshot() AS s";

impl PostgresFeed {
    pub(super) async fn open(address: &Address) -> Result<Self, StoreError> {
        let mut connection = connect(address).await?.with_patience(PATIENCE);
        schema::state(&mut connection).await?.current()?;
        let wake = Arc::new(Wake::default());
        let listener = if server::is_pooled(address) {
            tracing::info!(
                "the database is polled: notifications (LISTEN) need a direct connection, and the address says \
                 `statement-cache-capacity=0`, as for a pooler"
            );
            None
        } else {
            Some(tokio::spawn(listen(connect_options(address)?, Arc::clone(&wake))))
        };
        Ok(Self { connection, wake, listener, seen: None, revision: 0, checkpoint: 0 })
    }

    pub(super) async fn update(&mut self) -> Result<Update, StoreError> {
        let Some((seen, table)) = self.seen.clone() else { return self.read_everything().await };
        let (state, now_table, _, deleted, unseen, checkpoint) = self.state(&seen).await?;
        if now_table != table || u64::try_from(deleted).is_ok_and(|deleted| deleted >= seen.xmin) {
            return self.read_everything().await;
        }
        if unseen == 0 {
            // What is not visible yet is not visible in this state either.
            self.seen = Some((state, table));
            self.checkpoint = checkpoint;
            return Ok(Update::Nothing);
        }
        let mut snapshot = self.connection.begin(Purpose::ReadFew).await?;
        let (state, now_table, newest, deleted, _, checkpoint) = state_of(&mut snapshot, &seen).await?;
        if now_table != table || u64::try_from(deleted).is_ok_and(|deleted| deleted >= seen.xmin) {
            drop(snapshot);
            return self.read_everything().await;
        }
        let log = "SELECT entity, entity_id FROM change_log WHERE xid >= ?1::xid8
                   UNION SELECT entity, entity_id FROM change_log WHERE xid = ANY (?2::xid8[])";
        let log = sql(log).bind(seen.xmax.to_string()).bind(&seen.running);
        let log: Vec<(String, i64)> = snapshot.all(log).await?;
        let named = log.into_iter().map(|(entity, id)| (Entity::of(&entity), id)).collect();
        self.revision = self.revision.max(newest);
        let changes = read::changes(&mut snapshot, named, self.revision).await?;
        snapshot.commit().await?;
        self.seen = Some((state, table));
        self.checkpoint = checkpoint;
        Ok(Update::Changes(changes))
    }

    async fn read_everything(&mut self) -> Result<Update, StoreError> {
        let mut snapshot = self.connection.begin(Purpose::Read).await?;
        let nothing = Seen { xmin: 0, xmax: u64::MAX, running: "{}".to_owned() };
        let (state, table, newest, _, _, checkpoint) = state_of(&mut snapshot, &nothing).await?;
        let everything = read::everything(&mut snapshot, newest).await?;
        snapshot.commit().await?;
        self.seen = Some((state, table));
        (self.revision, self.checkpoint) = (newest, checkpoint);
        Ok(Update::Everything(everything))
    }

    async fn state(&mut self, seen: &Seen) -> Result<State, StoreError> {
        state_of(&mut self.connection, seen).await
    }

    pub(super) async fn wait(&self, poll_interval: Duration) {
        let listens = self.wake.listens.load(Ordering::Acquire);
        let pause = if listens { poll_interval.max(HEARTBEAT) } else { poll_interval };
        let _ = tokio::time::timeout(pause, self.wake.notified.notified()).await;
    }
}

impl Drop for PostgresFeed {
    fn drop(&mut self) {
        if let Some(listener) = &self.listener {
            listener.abort();
        }
    }
}

/// What is seen now, a number for the tables that there are, the log's newest revision, up to which transaction entries are
/// deleted, whether there are entries that were not seen, and the checkpoint.
type State = (Seen, i64, i64, i64, i64, i64);

async fn state_of(connection: &mut impl Ask, seen: &Seen) -> Result<State, StoreError> {
    let query = sql(STATE).bind(seen.xmax.to_string()).bind(&seen.running);
    let state = connection.one(query).await?;
    let (state, table, newest, deleted, unseen, checkpoint): (String, i64, i64, i64, i64, i64) = state;
    let state = Seen::parse(&state).ok_or_else(|| sqlx::Error::Decode("a snapshot that is none".into()))?;
    Ok((state, table, newest, deleted, unseen, checkpoint))
}

/// Listens for as long as the feed lives. Without it the feed asks as often as its operator said: late, not blind.
async fn listen(options: PgConnectOptions, wake: Arc<Wake>) {
    let mut trouble: Option<String> = None;
    loop {
        let begun = Instant::now();
        let why = match listen_once(&options, &wake, &mut trouble).await {
            Ok(()) => "the connection was lost".to_owned(),
            Err(error) => error.to_string(),
        };
        if wake.listens.swap(false, Ordering::AcqRel) {
            // What was notified meanwhile is found by asking.
            wake.notified.notify_one();
        }
        if trouble.as_ref() != Some(&why) {
            tracing::warn!(
                %why,
                "no notifications from the database (LISTEN needs a direct connection to a primary server): it is polled"
            );
            trouble = Some(why);
        }
        // Who was heard for a good while is asked again at once.
        tokio::time::sleep(LISTEN_AGAIN.saturating_sub(begun.elapsed())).await;
    }
}

async fn listen_once(options: &PgConnectOptions, wake: &Wake, trouble: &mut Option<String>) -> Result<(), StoreError> {
    let mut ear = in_time(Ear::new(options)).await?;
    // A pooler takes LISTEN and never tells of anything, so the first notification comes over another connection.
    let other = async {
        let mut other = options.connect().await?;
        other.execute(ear.echo()).await?;
        other.close().await
    };
    in_time(other).await?;
    ear.hears_itself(wake).await?;
    wake.listens.store(true, Ordering::Release);
    if trouble.take().is_some() {
        tracing::info!("the database notifies again");
    }
    wake.notified.notify_one();
    loop {
        match tokio::time::timeout(CHECK, ear.listener.try_recv()).await {
            Ok(Ok(Some(_notification))) => wake.notified.notify_one(),
            Ok(Ok(None)) => return Ok(()),
            Ok(Err(error)) => return Err(error.into()),
            Err(_) => {
                let echo = ear.echo();
                in_time(ear.listener.execute(echo)).await?;
                ear.hears_itself(wake).await?;
            }
        }
    }
}

/// A connection that listens, also to a channel of its own, where it wakes nobody else.
///
/// When it goes, sqlx says UNLISTEN on it and waits for the answer. Where none comes, the socket is there until the
/// system gives it up; there are few, because only one that was heard before can go so.
struct Ear {
    listener: PgListener,
    own: String,
}

impl Ear {
    async fn new(options: &PgConnectOptions) -> Result<Self, sqlx::Error> {
        let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(PATIENCE).idle_timeout(None);
        let pool = pool.max_lifetime(None).connect_with(options.clone()).await?;
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.eager_reconnect(false);
        let process: i32 = listener.fetch_one("SELECT pg_backend_pid()").await?.try_get(0)?;
        let own = format!("{CHANNEL}_{process}");
        listener.listen_all([CHANNEL, &own]).await?;
        Ok(Self { listener, own })
    }

    /// The statement that this one hears, if it hears anything.
    fn echo(&self) -> SqlStr {
        AssertSqlSafe(format!("NOTIFY {}", self.own)).into_sql_str()
    }

    /// Whether the echo comes back. What is heard meanwhile wakes as ever.
    async fn hears_itself(&mut self, wake: &Wake) -> Result<(), StoreError> {
        let heard = async {
            while let Some(notification) = self.listener.try_recv().await? {
                if notification.channel() == self.own {
                    return Ok(());
                }
                wake.notified.notify_one();
            }
            Err(StoreError::Deaf)
        };
        tokio::time::timeout(ECHO, heard).await.map_err(|_| StoreError::Deaf)?
    }
}

/// An answer that comes before patience ends.
async fn in_time<T>(answer: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, StoreError> {
    Ok(tokio::time::timeout(PATIENCE, answer).await.map_err(|_| StoreError::Silent)??)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_read_as_postgres_writes_it() {
        let seen = |xmin, xmax, running: &str| Some(Seen { xmin, xmax, running: running.to_owned() });
        assert_eq!(Seen::parse("10:20:10,14,15"), seen(10, 20, "{10,14,15}"));
        assert_eq!(Seen::parse("10:10:"), seen(10, 10, "{}"));
        assert_eq!(Seen::parse("10:10"), None);
    }
}
