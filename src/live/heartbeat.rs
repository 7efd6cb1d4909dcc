//! What a broker says of itself in the database, while it runs: that it is there, and how far it has come.
//!
//! Over a connection and in a task of its own: the feed never waits for it, and nothing else depends on it. A broker that
//! cannot register goes on without; the log says so once.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::Shared;
use crate::database::Database;
use crate::log::causes;
use crate::store::StoreError;
use crate::store::registry::{Beat, Occupant, Registrant, Registry};

/// How long a start may wait until it has registered.
const AT_START: Duration = Duration::from_secs(5);
/// The least time between two beats, when there is something new to confirm.
const SOON: Duration = Duration::from_millis(20);
/// The same when there is only a newer revision, which nobody waits for.
const FOR_REVISION: Duration = Duration::from_secs(1);
/// The pauses between attempts that fail.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// As whom a broker registers.
#[derive(Debug, Clone)]
pub struct Registration {
    /// The broker's name.
    pub name: String,
    /// How often it says that it is alive.
    pub interval: Duration,
    /// Mosquitto's version.
    pub mosquitto: String,
}

/// How far a broker has come. Written by the thread that follows the database and by the broker's; neither waits.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// The checkpoint up to which everything is in place: whoever is asked about from now on is judged by it.
    placed: AtomicI64,
    /// The checkpoint up to which the broker's thread has thrown off whom it no longer lets be here.
    done: AtomicI64,
    revision: AtomicI64,
    sessions: AtomicI64,
    changed: Notify,
}

impl Progress {
    /// The policy of this revision is in place, and with it everything up to this checkpoint. Whether the checkpoint is new.
    pub(super) fn place(&self, revision: i64, checkpoint: i64) -> bool {
        if self.revision.swap(revision, Ordering::AcqRel) != revision {
            self.changed.notify_one();
        }
        self.placed.swap(checkpoint, Ordering::AcqRel) != checkpoint
    }

    pub(super) fn placed(&self) -> i64 {
        self.placed.load(Ordering::Acquire)
    }

    /// The broker's thread has done what follows from everything up to this checkpoint.
    pub(super) fn done(&self, checkpoint: i64) {
        // Nearly every tick finds nothing new.
        if self.done.load(Ordering::Relaxed) != checkpoint {
            self.done.store(checkpoint, Ordering::Release);
            self.changed.notify_one();
        }
    }

    pub(super) fn count_sessions(&self, sessions: usize) {
        self.sessions.store(i64::try_from(sessions).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    fn beat(&self) -> Beat {
        Beat {
            // Before the revision: what is confirmed is never ahead of it.
            confirmed: self.done.load(Ordering::Acquire),
            revision: self.revision.load(Ordering::Acquire),
            sessions: self.sessions.load(Ordering::Relaxed),
        }
    }
}

/// Registers a broker, and keeps it registered.
#[derive(Debug)]
pub(super) struct Heartbeat {
    database: Database,
    who: Registrant,
    registry: Option<Registry>,
    /// Whether the row is ours.
    registered: bool,
    /// Who has the name, and since when its row is as it is.
    occupant: Option<(Occupant, Instant)>,
    trouble: Option<String>,
}

/// Why there is no row of ours.
#[derive(Debug, thiserror::Error)]
enum NotRegistered {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the database does not answer")]
    Silent,
    #[error("the process that has this name has not said that it ended; its row is taken over if it stays silent")]
    Unclear,
    #[error("another broker runs under this name; give each a `broker_name` of its own")]
    Taken,
}

impl Heartbeat {
    pub(super) fn new(database: Database, registration: Registration) -> Self {
        let Registration { name, interval, mosquitto } = registration;
        let instance = format!("{:016x}", getrandom::u64().unwrap_or_else(|_| u64::from(std::process::id())));
        let version = env!("CARGO_PKG_VERSION");
        let who = Registrant { name, instance, interval, version, mosquitto };
        Self { database, who, registry: None, registered: false, occupant: None, trouble: None }
    }

    /// Registers, if that can be done at once. It is done before the policy is read: whoever changes that afterwards
    /// finds the broker among those to wait for.
    pub(super) async fn begin(&mut self) {
        let result = timeout(AT_START, self.beat(Beat::default())).await.unwrap_or(Err(NotRegistered::Silent));
        self.report(&result);
    }

    /// Beats until it is told to stop, and then says that the broker ends.
    pub(super) async fn run(mut self, shared: Arc<Shared>, mut stop: oneshot::Receiver<()>) {
        let progress = &shared.progress;
        let mut pause = FIRST_PAUSE;
        loop {
            let beat = progress.beat();
            let result = self.beat(beat).await;
            self.report(&result);
            pause = match (&result, &self.occupant) {
                (Ok(()), _) => FIRST_PAUSE,
                // Until it is clear whether the other one lives.
                (Err(_), Some((occupant, since))) => occupant.patience().saturating_sub(since.elapsed()) + SOON,
                (Err(_), None) => (pause * 2).min(LONGEST_PAUSE),
            };
            let next = async {
                match result {
                    Ok(()) => next_beat(progress, beat, self.who.interval).await,
                    Err(_) => next_attempt(progress, pause).await,
                }
            };
            tokio::select! {
                _ = &mut stop => break,
                () = next => {}
            }
        }
        if let Some(registry) = self.registry.take().filter(|_| self.registered)
            && let Err(error) = registry.end(&self.who).await
        {
            tracing::warn!(error = %causes(&error), "the database was not told that this broker ends");
        }
    }

    /// Writes the row, or registers where there is none of ours.
    async fn beat(&mut self, beat: Beat) -> Result<(), NotRegistered> {
        let mut registry = match self.registry.take() {
            Some(registry) => registry,
            None => Registry::open(&self.database).await?,
        };
        if self.registered {
            self.registered = registry.beat(&self.who, beat).await?;
        }
        if !self.registered {
            // One that has been silent for as long as it may is gone.
            let gone = self.occupant.as_ref().filter(|(occupant, since)| since.elapsed() > occupant.patience());
            let found = registry.register(&self.who, beat, gone.map(|(occupant, _)| occupant)).await?;
            self.registered = found.is_none();
            let before = self.occupant.take();
            if let Some(occupant) = found {
                self.registry = Some(registry);
                let (why, since) = match before {
                    None => (NotRegistered::Unclear, Instant::now()),
                    Some((same, since)) if same == occupant => (NotRegistered::Unclear, since),
                    Some(_) => (NotRegistered::Taken, Instant::now()),
                };
                self.occupant = Some((occupant, since));
                return Err(why);
            }
        }
        // One that failed is not used again.
        self.registry = Some(registry);
        Ok(())
    }

    /// Says once what is the matter, and once that it is over.
    fn report(&mut self, result: &Result<(), NotRegistered>) {
        let name = self.who.name.escape_debug();
        let Err(error) = result else {
            if self.trouble.take().is_some() {
                tracing::info!(broker = %name, "heartbeat is written");
            }
            return;
        };
        let why = causes(error);
        if self.trouble.as_ref() != Some(&why) {
            let what = if self.registered { "heartbeat is not written" } else { "broker is not registered" };
            let is_right = matches!(error, NotRegistered::Store(error) if error.is_forbidden());
            let hint = if is_right { "; `warden db grant-sql --heartbeat` writes the rights for it" } else { "" };
            tracing::warn!(broker = %name, %why, "{what}{hint}");
            self.trouble = Some(why);
        }
    }
}

/// Returns when the row that says `written` is to be written again.
async fn next_beat(progress: &Progress, written: Beat, interval: Duration) {
    let since = Instant::now();
    loop {
        let beat = progress.beat();
        let pause = if beat.confirmed != written.confirmed {
            SOON
        } else if beat.revision != written.revision {
            FOR_REVISION.min(interval)
        } else {
            interval
        };
        tokio::select! {
            () = sleep_until(since + pause) => return,
            () = progress.changed.notified() => {}
        }
    }
}

/// Returns after a pause, or earlier where something has changed: the database may be back.
async fn next_attempt(progress: &Progress, pause: Duration) {
    tokio::select! {
        () = sleep(pause) => {}
        () = async {
            sleep(FIRST_PAUSE).await;
            progress.changed.notified().await;
        } => {}
    }
}
