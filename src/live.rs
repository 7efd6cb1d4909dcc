//! The policy that stays live: one thread that follows the database and puts each new version in place.
//!
//! Whoever asks loads the current [`Snapshot`] once and waits for nobody. What a new version means for those who are
//! connected is listed here; it cannot kick anyone.

pub mod cache;
mod consequences;
mod follow;
pub mod heartbeat;
pub mod lists;
mod outage;
pub mod responders;
mod start;
mod step;
pub mod upgrades;

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, Guard};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Notify, mpsc, oneshot};

use crate::database::Database;
use crate::ffi::clock;
use crate::policy::certificate::CertificateId;
use crate::policy::device::UnixSeconds;
use crate::policy::revocation::{List, Revocations, Standing};
use crate::policy::snapshot::Snapshot;
use crate::store::feed::Stillness;

use cache::{Keeper, Shelf};
use consequences::Untaken;
pub use consequences::{Consequences, NotYet};
use follow::{Door, Follower, Trouble};
use heartbeat::{Heartbeat, Progress};
use outage::Report;
use responders::{Responders, Shown};
use start::{First, first};
pub use start::{Sources, Staleness, StartError, WithoutDatabase};

/// What is found out elsewhere than in the database.
#[derive(Debug)]
enum Notice {
    /// This revocation list was read anew.
    List(Box<str>, List),
    /// A responder has said this of a certificate, or it is of no interest any more.
    Standing(CertificateId, Option<Standing>),
}

/// How long the thread's own helpers may go on after it has ended.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// How far a thread that helps stands behind all others: were it woken in the broker's place, a handshake would wait.
const NICE: i32 = 19;
/// How many notices may wait; who has more waits as well.
const MOST_NOTICES: usize = 1_000;

/// The policy was not confirmed against the database in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the policy could not be confirmed against the database")]
pub struct Unconfirmed;

/// Follows a database on a thread of its own, until it is dropped.
#[derive(Debug)]
pub struct Live {
    shared: Arc<Shared>,
    /// To whoever asks responders.
    shown: Option<mpsc::Sender<Shown>>,
    stop: Option<oneshot::Sender<()>>,
    threads: Vec<JoinHandle<()>>,
    /// Dropped last: it writes what the others have left.
    keeper: Option<Keeper>,
}

#[derive(Debug)]
struct Shared {
    snapshot: ArcSwap<Snapshot>,
    consequences: Untaken,
    spent: Mutex<Vec<Spent>>,
    /// Whether the broker's thread is to tick and has not since.
    unheard: AtomicBool,
    wants_tick: Notify,
    /// When the broker's thread has to be woken for something that it alone knows.
    wake_at: AtomicI64,
    started: Instant,
    /// When the database last confirmed the snapshot, in milliseconds since `started`, or before it; [`NEVER`].
    confirmed_at: AtomicI64,
    /// Whether the database that came is one that the key file does not belong to.
    foreign: AtomicBool,
    /// Whether the database answered when it was last asked.
    reachable: AtomicBool,
    /// The number of the latest question by [`Live::confirm`], and of the latest that was answered.
    asked: AtomicU64,
    ask: Notify,
    answered: Mutex<u64>,
    answer: Condvar,
    /// What tells that nothing was committed since the database last confirmed the snapshot.
    stillness: Mutex<Option<Stillness>>,
    progress: Progress,
}

/// What the broker's thread is done with.
type Spent = Box<dyn std::fmt::Debug + Send>;

/// The snapshot was never confirmed: it says nothing.
const NEVER: i64 = i64::MIN;

impl Live {
    /// Reads the whole policy from its `sources`, and follows them from there.
    ///
    /// Returns when the first snapshot is there, or when it is clear that there is none yet and that this is accepted.
    /// `wake` is called from the thread whenever there are [`Consequences`].
    pub fn start(mut sources: Sources, wake: impl Fn() + Send + 'static) -> Result<Self, StartError> {
        let runtime = runtime_for(&sources.database).map_err(StartError::Thread)?;
        let mut revocations = Revocations::with_demands(sources.demands);
        for (name, list) in sources.lists.take() {
            revocations.change_list(&name, Some(list));
        }
        let nothing = Snapshot::default().with_revocations(revocations);
        let door = Door {
            database: sources.database.clone(),
            keys: sources.keys.take(),
            patience: sources.staleness.patience(),
        };
        let mut report = Report::new(sources.staleness);
        let shelf = Arc::new(Shelf::default());
        let started = Instant::now();
        let register = |registration| Heartbeat::new(sources.database.clone(), registration);
        let mut heartbeat = sources.registration.take().map(register);
        let first = match runtime.block_on(first(&door, sources.start_patience(), heartbeat.as_mut(), &nothing)) {
            Ok((feed, snapshot, confirmed)) => {
                let snapshot = Arc::new(snapshot);
                shelf.put(Arc::clone(&snapshot), confirmed);
                Ok(First { feed: Some(feed), snapshot, confirmed_at: 0 })
            }
            Err(Trouble::OtherKey) => Err(StartError::OtherKey),
            Err(Trouble::Store(error)) => sources.without_database(error, nothing, &mut report),
        };
        let first = match first {
            Ok(first) => first,
            Err(error) => {
                // Dropped, it would wait for a name server.
                runtime.shutdown_background();
                return Err(error);
            }
        };
        let shared = Arc::new(Shared {
            snapshot: ArcSwap::new(first.snapshot),
            consequences: Untaken::default(),
            spent: Mutex::default(),
            unheard: AtomicBool::new(false),
            wants_tick: Notify::new(),
            wake_at: AtomicI64::new(UnixSeconds::MAX),
            started,
            confirmed_at: AtomicI64::new(first.confirmed_at),
            foreign: AtomicBool::new(false),
            reachable: AtomicBool::new(first.feed.is_some()),
            asked: AtomicU64::new(0),
            ask: Notify::new(),
            answered: Mutex::new(0),
            answer: Condvar::new(),
            stillness: Mutex::default(),
            progress: Progress::default(),
        });
        if let Some(feed) = &first.feed {
            shared.progress.place(shared.snapshot.load().revision(), feed.checkpoint());
        }
        let (stop, stopped) = oneshot::channel();
        let (notify, notices) = mpsc::channel(MOST_NOTICES);
        let responders = sources.asking.map(|asking| Responders::start(asking, notify.clone())).transpose()?;
        let (shown, responders) = responders.unzip();
        let keep = |file| Keeper::start(file, sources.database.to_string(), Arc::clone(&shelf));
        let keeper = sources.cache.map(keep).transpose().map_err(StartError::Thread)?;
        let watch = sources.lists.watch(notify);
        let follower = Follower {
            shared: Arc::clone(&shared),
            door,
            poll_interval: sources.poll_interval,
            report: RefCell::new(report),
            shelf,
            former: RefCell::default(),
            wake: Box::new(wake),
        };
        let feed = first.feed;
        let thread = std::thread::Builder::new()
            .name("warden-live".to_owned())
            .spawn(move || {
                let shared = Arc::clone(&follower.shared);
                let follow = async move {
                    tokio::spawn(watch);
                    let (end, ends) = oneshot::channel();
                    let heart = heartbeat.map(|it| tokio::spawn(it.run(Arc::clone(&follower.shared), ends)));
                    tokio::select! {
                        _ = stopped => {}
                        () = follower.run(feed, notices) => {}
                    }
                    drop(end);
                    if let Some(heart) = heart {
                        // The broker does not wait for a database either.
                        let _ = tokio::time::timeout(LAST_WORDS, heart).await;
                    }
                };
                if catch_unwind(AssertUnwindSafe(|| runtime.block_on(follow))).is_err() {
                    shared.away(false);
                    tracing::error!("the thread that follows the database panicked; restart the broker");
                }
                // The broker does not wait for a name server.
                runtime.shutdown_timeout(LAST_WORDS);
            })
            .map_err(StartError::Thread)?;
        let threads = responders.into_iter().chain([thread]).collect();
        Ok(Self { shared, shown, stop: Some(stop), threads, keeper })
    }

    /// Has the thread that follows free what it has once made. To free a large table is when the C library puts all small
    /// pieces of that thread's heap together, which takes milliseconds after a large change.
    pub fn give_back(&self, spent: impl std::fmt::Debug + Send + 'static) {
        lock(&self.shared.spent).push(Box::new(spent));
    }

    /// The current version. Load it once per question.
    #[must_use]
    pub fn snapshot(&self) -> Guard<Arc<Snapshot>> {
        self.shared.snapshot.load()
    }

    /// Waits, at most `timeout`, until the database has confirmed that nothing newer than the snapshot is committed,
    /// counted from this call. Does not wait for a database that is known to be away, nor for one whose memory says so.
    pub fn confirm(&self, timeout: Duration) -> Result<(), Unconfirmed> {
        let shared = &self.shared;
        if !shared.reachable.load(Ordering::Acquire) {
            return Err(Unconfirmed);
        }
        if shared.is_still(timeout) {
            return Ok(());
        }
        let question = shared.asked.fetch_add(1, Ordering::AcqRel) + 1;
        shared.ask.notify_one();
        let answered = lock(&shared.answered);
        let (answered, _) = shared
            .answer
            .wait_timeout_while(answered, timeout, |answered| {
                *answered < question && shared.reachable.load(Ordering::Acquire)
            })
            .unwrap_or_else(PoisonError::into_inner);
        if *answered >= question {
            return Ok(());
        }
        // A database that is slower than this is away, until it answers again: only one callback ever waits for it.
        shared.reachable.store(false, Ordering::Release);
        Err(Unconfirmed)
    }

    /// How long ago the database confirmed the snapshot; `None` before there is one: then it knows nobody, and that
    /// says nothing of anybody.
    #[must_use]
    pub fn age(&self) -> Option<Duration> {
        self.shared.age()
    }

    /// Whether connecting clients may be told what the snapshot says at all, however old it may be: there is one, and the
    /// database is not one that the key file does not belong to.
    #[must_use]
    pub fn is_trusted(&self) -> bool {
        self.age().is_some() && !self.shared.foreign.load(Ordering::Acquire)
    }

    /// Whether responders are asked about certificates that are shown.
    #[must_use]
    pub fn asks_responders(&self) -> bool {
        self.shown.is_some()
    }

    /// A certificate was shown, about which its responder is to be asked. Where too many wait already, it is not: who
    /// shows it again is heard then.
    pub fn shown(&self, shown: Shown) {
        if let Some(sender) = &self.shown {
            let _ = sender.try_send(shown);
        }
    }

    /// The broker's thread ticks. To be said before anything else is asked in a tick: what comes after it wakes it anew.
    pub fn heard(&self) {
        self.shared.unheard.swap(false, Ordering::AcqRel);
    }

    /// What the versions since the last call mean for those who are connected. To be asked before [`Self::snapshot`], which
    /// then is the version that they follow from, or a newer one.
    pub fn take_consequences(&self) -> Result<Option<Consequences>, NotYet> {
        self.shared.consequences.take()
    }

    /// The checkpoint (see [`crate::store::broker`]) up to which every change is in place. To be asked before
    /// [`Self::take_consequences`], which then has what follows from them.
    #[must_use]
    pub fn placed(&self) -> i64 {
        self.shared.progress.placed()
    }

    /// What follows from everything up to this checkpoint is done: nobody is here any more whom it has sent away.
    pub fn carried_out(&self, checkpoint: i64) {
        self.shared.progress.done(checkpoint);
    }

    /// How many sessions there are.
    pub fn count_sessions(&self, sessions: usize) {
        self.shared.progress.count_sessions(sessions);
    }

    /// Has the broker's thread woken at this time, instead of any other that was named before.
    pub fn wake_at(&self, time: UnixSeconds) {
        self.shared.wake_at.store(time, Ordering::Release);
    }

    /// Has the broker's thread woken once more, soon: it left work for its next tick.
    pub fn wake_again(&self) {
        self.shared.want_tick();
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        drop(self.stop.take());
        drop(self.shown.take());
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so in the log; there is nothing left to stop.
            let _ = thread.join();
        }
        drop(self.keeper.take());
    }
}

impl Shared {
    /// Has the broker's thread tick soon.
    fn want_tick(&self) {
        self.unheard.store(true, Ordering::Release);
        self.wants_tick.notify_one();
    }

    /// The database has answered everything up to this question, as of a moment at which it was asked.
    fn confirmed(&self, question: u64, asked: Instant, stillness: Option<Stillness>) {
        let then = asked.saturating_duration_since(self.started);
        self.confirmed_at.store(i64::try_from(then.as_millis()).unwrap_or(i64::MAX), Ordering::Release);
        *lock(&self.stillness) = stillness;
        self.foreign.store(false, Ordering::Release);
        self.reachable.store(true, Ordering::Release);
        *lock(&self.answered) = question;
        self.answer.notify_all();
    }

    /// Whether nothing was committed since the last answer, which was asked for no longer ago than this: a file that takes
    /// the place of the database is seen by whoever asks, and by nobody else.
    fn is_still(&self, longest: Duration) -> bool {
        self.age().is_some_and(|age| age <= longest) && lock(&self.stillness).as_ref().is_some_and(Stillness::holds)
    }

    /// Nobody looks any more where commits show: the feed is about to go, and then SQLite may cut that file off.
    fn see_nothing(&self) {
        *lock(&self.stillness) = None;
    }

    /// See [`Live::age`].
    fn age(&self) -> Option<Duration> {
        let confirmed = self.confirmed_at.load(Ordering::Acquire);
        let now = i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX);
        let age = u64::try_from(now.saturating_sub(confirmed)).unwrap_or(0);
        (confirmed != NEVER).then(|| Duration::from_millis(age))
    }

    /// The database does not answer. Whoever waits has an answer too: it is no.
    ///
    /// A `foreign` one stays so until the right one has answered.
    fn away(&self, foreign: bool) {
        self.foreign.fetch_or(foreign, Ordering::AcqRel);
        self.reachable.store(false, Ordering::Release);
        let _answered = lock(&self.answered);
        self.answer.notify_all();
    }
}

/// The present time. Policy and credentials are told it; they have no clock.
///
/// It is asked for at each message, and only seconds count, so it may be behind by some milliseconds.
#[must_use]
pub fn unix_now() -> UnixSeconds {
    clock::coarse_seconds()
}

/// What a database is asked with, on the thread that calls.
///
/// For a file it has no part that waits for sockets, and so no descriptor of its own: the broker's thread can wake it where
/// both have not the same table of descriptors (`ffi::thread`).
fn runtime_for(database: &Database) -> std::io::Result<Runtime> {
    let mut builder = Builder::new_current_thread();
    builder.enable_time();
    if database.path().is_none() {
        builder.enable_io();
    }
    builder.build()
}

/// What a mutex guards stays whole when a thread panics: each is written in one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
