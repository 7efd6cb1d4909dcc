//! The brokers that have registered, as somebody at the command sees them; and what they are asked to confirm.
//!
//! The newest number in the change log proves nothing: a transaction with a smaller one may be committed later. So
//! whoever waits raises the *checkpoint* once the change is committed, and a broker repeats it in its row when it has
//! carried out all that it saw together with it. The row of the checkpoint is locked until it is committed: these numbers,
//! unlike others, are committed in their order, and a broker that repeats a larger one has seen the smaller.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::connection::{Ask, Dialect, sql};
use super::device::nearest;
use super::{Noun, Store, StoreError};

/// What is known of a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    pub name: String,
    /// Of the plugin.
    pub version: String,
    pub mosquitto: String,
    pub state: BrokerState,
    /// The newest change that its policy holds.
    pub revision: i64,
    /// By how many numbers the change log is ahead of that.
    pub behind: i64,
    /// The newest checkpoint up to which it has carried out everything.
    pub confirmed: i64,
    pub sessions: i64,
    pub started_at: String,
    pub seen_at: String,
    /// How many seconds ago that was, by the database's clock.
    pub seconds_since: i64,
}

/// Whether a broker is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BrokerState {
    /// It writes its row as often as it has promised.
    Live,
    /// It does not, and has not said that it ends. It may be gone, or cut off with clients that it goes on serving.
    Silent,
    /// It has said that it ends.
    Ended,
}

impl BrokerState {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Silent => "silent",
            Self::Ended => "ended",
        }
    }
}

/// How long a broker with this interval may say nothing before it counts as silent.
pub(super) fn patience(interval_ms: i64) -> Duration {
    // No plugin lets an interval be longer; somebody else may have written the row.
    let interval = Duration::from_millis(u64::try_from(interval_ms).unwrap_or(0)).min(Duration::from_mins(1));
    interval * 3 + Duration::from_secs(2)
}

#[derive(sqlx::FromRow)]
struct Row {
    name: String,
    version: String,
    mosquitto: String,
    revision: i64,
    confirmed: i64,
    sessions: i64,
    interval_ms: i64,
    started_at: String,
    seen_at: String,
    ended_at: Option<String>,
    present: String,
}

impl Row {
    fn finish(self, newest: i64) -> Broker {
        let seconds_since = match (self.present.parse::<jiff::Timestamp>(), self.seen_at.parse::<jiff::Timestamp>()) {
            (Ok(now), Ok(seen)) => now.as_second() - seen.as_second(),
            // Written by somebody else than a broker.
            _ => i64::MAX,
        };
        let longest = i64::try_from(patience(self.interval_ms).as_secs()).unwrap_or(i64::MAX);
        Broker {
            state: match self.ended_at {
                Some(_) => BrokerState::Ended,
                None if seconds_since > longest => BrokerState::Silent,
                None => BrokerState::Live,
            },
            behind: newest.saturating_sub(self.revision).max(0),
            // A clock that was put back.
            seconds_since: seconds_since.max(0),
            name: self.name,
            version: self.version,
            mosquitto: self.mosquitto,
            revision: self.revision,
            confirmed: self.confirmed,
            sessions: self.sessions,
            started_at: self.started_at,
            seen_at: self.seen_at,
        }
    }
}

impl Store {
    /// The brokers that have registered, in the order of their names.
    pub async fn brokers(&mut self) -> Result<Vec<Broker>, StoreError> {
        let mut tx = self.begin_read().await?;
        let (newest,): (i64,) = tx.one(sql("SELECT coalesce(max(revision), 0) FROM change_log")).await?;
        let rows: Vec<Row> = tx.all(sql(format!("{} ORDER BY name", select(tx.dialect())))).await?;
        Ok(rows.into_iter().map(|row| row.finish(newest)).collect())
    }

    /// Forgets a broker that is gone. One that is live would only register again.
    pub async fn forget_broker(&mut self, name: &str) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let query = sql(format!("{} WHERE name = ?", select(tx.dialect()))).bind(name);
        let Some(row) = tx.optional::<Row>(query).await? else {
            let names: Vec<(String,)> = tx.all(sql("SELECT name FROM brokers")).await?;
            return Err(StoreError::NotFound {
                noun: Noun::Broker,
                name: name.to_owned(),
                nearest: nearest(name, names),
            });
        };
        if row.finish(0).state == BrokerState::Live {
            return Err(StoreError::Conflict(format!("broker `{name}` is live, and would register again")));
        }
        tx.execute(sql("DELETE FROM brokers WHERE name = ?").bind(name)).await?;
        Ok(tx.commit().await?)
    }

    /// Raises the checkpoint: a broker that confirms the number has carried out everything that was committed before this
    /// call.
    pub async fn raise_checkpoint(&mut self) -> Result<i64, StoreError> {
        let mut tx = self.begin().await?;
        // By the clock, so that a database that was restored does not give out a number once more.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        let raised = match tx.dialect() {
            Dialect::Sqlite => "CAST(max(CAST(value AS INTEGER) + 1, ?) AS TEXT)",
            Dialect::Postgres => "greatest(value::bigint + 1, ?)::text",
            Dialect::Mysql => "CAST(greatest(CAST(value AS SIGNED) + 1, ?) AS CHAR)",
        };
        let raise = format!("UPDATE warden_meta SET value = {raised} WHERE warden_meta.key = 'checkpoint'");
        if tx.execute(sql(raise).bind(now)).await? == 0 {
            tx.execute(sql("INSERT INTO warden_meta VALUES ('checkpoint', ?)").bind(now.to_string())).await?;
        }
        let value = sql("SELECT value FROM warden_meta WHERE warden_meta.key = 'checkpoint'");
        let (value,): (String,) = tx.one(value).await?;
        let checkpoint = value.parse().map_err(|_| sqlx::Error::Decode("a checkpoint that is no number".into()))?;
        if tx.dialect() == Dialect::Postgres {
            // The brokers that are notified ask seldom.
            tx.execute(sql("SELECT pg_notify('mosquitto_warden', '')")).await?;
        }
        tx.commit().await?;
        Ok(checkpoint)
    }
}

fn select(dialect: Dialect) -> String {
    format!(
        "SELECT name, version, mosquitto, revision, confirmed, sessions, interval_ms, started_at, seen_at, ended_at,
                {} AS present
         FROM brokers",
        dialect.now()
    )
}
