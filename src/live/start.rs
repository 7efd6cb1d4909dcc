//! What a live policy is made of, and how it starts: with the database, or without.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use super::NEVER;
use super::cache::{CacheError, CacheFile, Cached, UnixMillis, unix_millis};
use super::follow::{Door, Trouble};
use super::heartbeat::{Heartbeat, Registration};
use super::lists::Lists;
use super::outage::{self, Report};
use super::responders::Asking;
use super::step::Step;
use crate::credential::psk::SealingKey;
use crate::database::Database;
use crate::policy::revocation::Demands;
use crate::policy::snapshot::Snapshot;
use crate::store::StoreError;
use crate::store::feed::Feed;

/// The longest silence of a server that does not count as its being away, and the shortest that may.
const MOST_PATIENCE: Duration = Duration::from_secs(5);
const LEAST_PATIENCE: Duration = Duration::from_secs(1);

/// The same at the start, where something else is there to start from.
const START_PATIENCE: Duration = Duration::from_secs(2);

/// What is followed.
#[derive(Debug)]
pub struct Sources {
    /// The database.
    pub database: Database,
    /// How often it is asked whether it has changed.
    pub poll_interval: Duration,
    /// What has to be known of a certificate.
    pub demands: Demands,
    /// The revocation lists.
    pub lists: Lists,
    /// How responders are asked, if they are.
    pub asking: Option<Asking>,
    /// The keys, one of which the secrets of the database must be sealed with, if it says with which.
    pub keys: Option<Arc<ArcSwap<SealingKey>>>,
    /// Where the last policy known is kept, if anywhere.
    pub cache: Option<CacheFile>,
    /// What is done where the database cannot be reached at the start.
    pub without_database: WithoutDatabase,
    /// What becomes of connecting clients while it is away.
    pub staleness: Staleness,
    /// As whom the broker registers, if it does.
    pub registration: Option<Registration>,
}

impl Sources {
    /// This database, and nothing else.
    #[must_use]
    pub fn only(database: Database) -> Self {
        Self {
            database,
            poll_interval: Duration::from_millis(20),
            demands: Demands::default(),
            lists: Lists::default(),
            asking: None,
            keys: None,
            cache: None,
            without_database: WithoutDatabase { from_cache: false, refusing: false },
            staleness: Staleness { bound: None, serve: false },
            registration: None,
        }
    }
}

/// How to start where the database cannot be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WithoutDatabase {
    /// From the cache, if it can be used.
    pub from_cache: bool,
    /// Else with a policy that knows nobody, instead of not at all.
    pub refusing: bool,
}

/// What becomes of connecting clients while the database does not confirm the policy. Whoever answers them sees to it;
/// here it decides what the log is told, and how long a server may be silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Staleness {
    /// How old the policy may become; `None` where it may not age at all.
    pub bound: Option<Duration>,
    /// Whether they are served nonetheless.
    pub serve: bool,
}

impl Staleness {
    /// How long a server may be silent, so that it is noticed before the policy is too old.
    pub(super) fn patience(self) -> Duration {
        self.bound.map_or(MOST_PATIENCE, |bound| (bound / 2).clamp(LEAST_PATIENCE, MOST_PATIENCE))
    }
}

/// Why there is no live policy.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The database cannot be reached, and nothing may take its place.
    #[error(
        "{error}{}; `start_without_database` says whether the broker may start nonetheless, from a `cache_file` or \
         refusing everybody", no_cache(.cache.as_deref())
    )]
    NoDatabase { error: Box<StoreError>, cache: Option<Box<CacheError>> },
    /// The key that seals the database is another one.
    #[error("the database is sealed with another key than the key file holds")]
    OtherKey,
    /// The system gives us no thread.
    #[error("cannot start the thread that follows the database: {0}")]
    Thread(std::io::Error),
    /// Responders cannot be asked.
    #[error("cannot ask OCSP responders: {0}")]
    Responders(reqwest::Error),
}

fn no_cache(error: Option<&CacheError>) -> String {
    error.map_or_else(String::new, |error| format!("; and {error}"))
}

/// What there is at the start.
pub(super) struct First {
    pub(super) feed: Option<Feed>,
    pub(super) snapshot: Arc<Snapshot>,
    /// When the database confirmed it: see [`super::Shared`].
    pub(super) confirmed_at: i64,
}

/// The feed of the database, its whole policy, and when that was asked for.
pub(super) async fn first(
    door: &Door,
    patience: Duration,
    heartbeat: Option<&mut Heartbeat>,
    nothing: &Snapshot,
) -> Result<(Feed, Snapshot, UnixMillis), Trouble> {
    let mut feed = door.open(Some(patience)).await?;
    if let Some(heartbeat) = heartbeat {
        heartbeat.begin().await;
    }
    let confirmed = unix_millis();
    let first = match Step::after(nothing, door.update(&mut feed).await?) {
        Some(step) => {
            step.report_unreadable(nothing);
            step.snapshot
        }
        None => nothing.clone(),
    };
    Ok((feed, first, confirmed))
}

impl Sources {
    /// How long a server may be silent at the start.
    pub(super) fn start_patience(&self) -> Duration {
        let WithoutDatabase { from_cache, refusing } = self.without_database;
        let patience = self.staleness.patience();
        if from_cache || refusing { patience.min(START_PATIENCE) } else { patience }
    }

    /// What there is at the start without database, if that is accepted.
    pub(super) fn without_database(
        &self,
        error: StoreError,
        nothing: Snapshot,
        report: &mut Report,
    ) -> Result<First, StartError> {
        // Such a database is there, and its operator has to do something.
        if error.is_about_the_schema() {
            return Err(StartError::Store(error));
        }
        let WithoutDatabase { from_cache, refusing } = self.without_database;
        let cache = self.cache.as_ref().filter(|_| from_cache).map(|cache| cache.read(&self.database, unix_millis()));
        let no_cache = match cache {
            Some(Ok(Cached { everything, age })) => {
                let step = Step::to(&nothing, everything);
                step.report_unreadable(&nothing);
                let revision = step.snapshot.revision();
                tracing::error!(
                    %error, revision, age = %outage::of(Some(age)),
                    "database is away: started from the cache; {}", report.meanwhile(Some(age))
                );
                report.is_away_from_the_start(error.to_string());
                let confirmed_at = i64::try_from(age.as_millis()).map_or(NEVER, |age| -age);
                return Ok(First { feed: None, snapshot: Arc::new(step.snapshot), confirmed_at });
            }
            Some(Err(error)) => Some(error),
            None => None,
        };
        if !refusing {
            return Err(StartError::NoDatabase { error: Box::new(error), cache: no_cache.map(Box::new) });
        }
        if let Some(cache) = no_cache {
            tracing::error!(%cache, "the cache is not used");
        }
        tracing::error!(%error, "database is away: started without a policy; {}", report.meanwhile(None));
        report.is_away_from_the_start(error.to_string());
        Ok(First { feed: None, snapshot: Arc::new(nothing), confirmed_at: NEVER })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_silent_is_away_before_the_policy_is_too_old() {
        for (bound, expected) in [(None, 5_000), (Some(60_000), 5_000), (Some(4_000), 2_000), (Some(1), 1_000)] {
            let staleness = Staleness { bound: bound.map(Duration::from_millis), serve: false };
            assert_eq!(staleness.patience(), Duration::from_millis(expected), "{bound:?}");
        }
    }
}
