//! The policy that stays live: one thread that follows the database and puts each new version in place.
//!
//! Whoever asks loads the current [`Snapshot`] once and waits for nobody. What a new version means for those who are
//! connected is listed here; it cannot kick anyone.

pub mod heartbeat;
pub mod lists;
pub mod responders;

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arc_swap::{ArcSwap, Guard};
use tokio::sync::{Notify, mpsc, oneshot};

use crate::database::Database;
use crate::log::causes;
use crate::policy::certificate::CertificateId;
use crate::policy::decision::Reason;
use crate::policy::device::{DeviceId, RoleId, SharedDevice, UnixSeconds};
use crate::policy::leaving::{Leaving, leaving};
use crate::policy::revocation::{Demands, List, Revocations, Standing};
use crate::policy::snapshot::Snapshot;
use crate::store::StoreError;
use crate::store::feed::{Feed, Update};

use heartbeat::{Heartbeat, Progress, Registration};
use lists::Lists;
use responders::{Asking, Responders, Shown};

/// The longest pause between two attempts to reach a database that is away.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How often it is asked whether credentials have ended; they end at full seconds.
const LOOK_AT_CLOCK: Duration = Duration::from_millis(50);

/// What the new versions mean for those who are connected.
///
/// Both tables are sets, so that they stay as small as the fleet however long nobody fetches them.
#[derive(Debug, Default)]
pub struct Consequences {
    /// The devices whose sessions have to be asked about once more.
    pub changed: HashSet<DeviceId>,
    /// The user names under which nobody may be here any more, and why.
    pub leaving: HashMap<Box<str>, Reason>,
    /// The certificates that are revoked now and were not before.
    pub revoked: HashSet<CertificateId>,
}

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
    key_id: Option<String>,
    /// To whoever asks responders.
    shown: Option<mpsc::Sender<Shown>>,
    stop: Option<oneshot::Sender<()>>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    snapshot: ArcSwap<Snapshot>,
    consequences: Mutex<Consequences>,
    has_consequences: AtomicBool,
    wake_again: AtomicBool,
    /// When the broker's thread has to be woken for something that it alone knows.
    wake_at: AtomicI64,
    started: Instant,
    /// When the database last confirmed the snapshot, in milliseconds since `started`.
    confirmed_at: AtomicU64,
    /// Whether the database answered when it was last asked.
    reachable: AtomicBool,
    /// The number of the latest question by [`Live::confirm`], and of the latest that was answered.
    asked: AtomicU64,
    ask: Notify,
    answered: Mutex<u64>,
    answer: Condvar,
    progress: Progress,
}

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
    /// As whom the broker registers, if it does.
    pub registration: Option<Registration>,
}

impl Live {
    /// Reads the whole policy from its `sources`, and follows them from there.
    ///
    /// Returns when the first snapshot is there. `wake` is called from the thread whenever there are [`Consequences`].
    pub fn start(mut sources: Sources, wake: impl Fn() + Send + 'static) -> Result<Self, StartError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(StartError::Thread)?;
        let (feed, key_id, heartbeat, first) = runtime.block_on(async {
            let mut feed = Feed::open(&sources.database).await?;
            let heartbeat = match sources.registration.take() {
                Some(registration) => Some(Heartbeat::begin(sources.database.clone(), registration).await),
                None => None,
            };
            let key_id = feed.key_id().await?;
            let mut revocations = Revocations::with_demands(sources.demands);
            for (name, list) in sources.lists.take() {
                revocations.change_list(&name, Some(list));
            }
            let nothing = Snapshot::default().with_revocations(revocations);
            let first = match Step::after(&nothing, feed.update().await?) {
                Some(step) => {
                    step.report_unreadable(&nothing);
                    step.snapshot
                }
                None => nothing,
            };
            Ok::<_, StoreError>((feed, key_id, heartbeat, first))
        })?;
        let shared = Arc::new(Shared {
            snapshot: ArcSwap::from_pointee(first),
            consequences: Mutex::new(Consequences::default()),
            has_consequences: AtomicBool::new(false),
            wake_again: AtomicBool::new(false),
            wake_at: AtomicI64::new(UnixSeconds::MAX),
            started: Instant::now(),
            confirmed_at: AtomicU64::new(0),
            reachable: AtomicBool::new(true),
            asked: AtomicU64::new(0),
            ask: Notify::new(),
            answered: Mutex::new(0),
            answer: Condvar::new(),
            progress: Progress::default(),
        });
        shared.progress.place(shared.snapshot.load().revision(), feed.checkpoint());
        let (stop, stopped) = oneshot::channel();
        let (notify, notices) = mpsc::channel(MOST_NOTICES);
        let responders = sources.asking.map(|asking| Responders::start(asking, notify.clone())).transpose()?;
        let (shown, responders) = responders.unzip();
        let watch = sources.lists.watch(notify);
        let follower = Follower {
            shared: Arc::clone(&shared),
            database: sources.database,
            poll_interval: sources.poll_interval,
            wake: Box::new(wake),
        };
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
                    shared.away();
                    tracing::error!("the thread that follows the database panicked; restart the broker");
                }
                // The broker does not wait for a name server.
                runtime.shutdown_timeout(LAST_WORDS);
            })
            .map_err(StartError::Thread)?;
        Ok(Self { shared, key_id, shown, stop: Some(stop), threads: responders.into_iter().chain([thread]).collect() })
    }

    /// Which key the secrets of the database are sealed with, if it says so.
    #[must_use]
    pub fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    /// The current version. Load it once per question.
    #[must_use]
    pub fn snapshot(&self) -> Guard<Arc<Snapshot>> {
        self.shared.snapshot.load()
    }

    /// Waits, at most `timeout`, until the database has confirmed that nothing newer than the snapshot is committed,
    /// counted from this call. Does not wait for a database that is known to be away.
    pub fn confirm(&self, timeout: Duration) -> Result<(), Unconfirmed> {
        let shared = &self.shared;
        if !shared.reachable.load(Ordering::Acquire) {
            return Err(Unconfirmed);
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

    /// How long ago the database confirmed the snapshot.
    #[must_use]
    pub fn age(&self) -> Duration {
        let confirmed = Duration::from_millis(self.shared.confirmed_at.load(Ordering::Acquire));
        self.shared.started.elapsed().saturating_sub(confirmed)
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

    /// What the versions since the last call mean for those who are connected.
    #[must_use]
    pub fn take_consequences(&self) -> Option<Consequences> {
        // Nearly every tick finds nothing, and takes no lock to see it.
        let any = self.shared.has_consequences.swap(false, Ordering::AcqRel);
        any.then(|| std::mem::take(&mut *lock(&self.shared.consequences)))
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
        self.shared.wake_again.store(true, Ordering::Release);
        self.shared.ask.notify_one();
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
    }
}

/// Why there is no live policy.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The system gives us no thread.
    #[error("cannot start the thread that follows the database: {0}")]
    Thread(std::io::Error),
    /// Responders cannot be asked.
    #[error("cannot ask OCSP responders: {0}")]
    Responders(reqwest::Error),
}

/// The thread's side.
struct Follower {
    shared: Arc<Shared>,
    database: Database,
    poll_interval: Duration,
    wake: Box<dyn Fn() + Send>,
}

impl Follower {
    /// All that the thread does. The parts take turns, and none of them awaits anything between reading the snapshot and
    /// putting another in its place.
    async fn run(&self, feed: Feed, notices: mpsc::Receiver<Notice>) {
        tokio::join!(self.follow(feed), self.hear(notices), self.keep_time());
    }

    /// Follows the database.
    async fn follow(&self, feed: Feed) {
        let mut feed = Some(feed);
        let mut pause = self.poll_interval;
        let mut trouble: Option<String> = None;
        loop {
            // What is asked from here on is answered by the next round.
            let question = self.shared.asked.load(Ordering::Acquire);
            let result = match &mut feed {
                Some(feed) => self.round(feed).await.map(|()| &*feed),
                None => match Feed::open_again(&self.database).await {
                    Ok(opened) => {
                        let feed = feed.insert(opened);
                        self.round(feed).await.map(|()| &*feed)
                    }
                    Err(error) => Err(error),
                },
            };
            match result {
                Ok(feed) => {
                    self.shared.confirmed(question);
                    if trouble.take().is_some() {
                        tracing::info!(revision = self.shared.snapshot.load().revision(), "database is back");
                    }
                    pause = self.poll_interval;
                    if self.shared.wake_again.swap(false, Ordering::AcqRel) {
                        (self.wake)();
                    }
                    // Sleeps until it is time to ask, or until somebody waits for an answer.
                    tokio::select! {
                        () = feed.wait(pause) => {}
                        () = self.shared.ask.notified() => {}
                    }
                }
                Err(error) => {
                    feed = None;
                    self.shared.away();
                    let error = causes(&error);
                    if trouble.as_ref() != Some(&error) {
                        tracing::error!(%error, "database is away, the last policy known stays");
                        trouble = Some(error);
                    }
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    /// Asks the database once and puts what it answers in place.
    async fn round(&self, feed: &mut Feed) -> Result<(), StoreError> {
        self.put(feed.update().await?);
        if self.shared.progress.place(self.shared.snapshot.load().revision(), feed.checkpoint()) {
            // Somebody waits to hear that everything up to it is done.
            (self.wake)();
        }
        Ok(())
    }

    /// Puts an update in place.
    fn put(&self, update: Update) {
        let old = self.shared.snapshot.load_full();
        let Some(step) = Step::after(&old, update) else { return };
        step.report_unreadable(&old);
        let Step { snapshot: next, devices: changed, revoked, .. } = step;
        let now = unix_now();
        let leaving: Vec<Leaving> = leaving((&old, now), (&next, now), changed.iter().copied()).collect();
        tracing::debug!(
            revision = next.revision(),
            changed = changed.len(),
            leaving = leaving.len(),
            revoked = revoked.len(),
            "policy replaced"
        );
        self.shared.snapshot.store(Arc::new(next));
        self.tell(changed, leaving, revoked);
    }

    /// Puts in place what is found out elsewhere than in the database.
    async fn hear(&self, mut notices: mpsc::Receiver<Notice>) {
        while let Some(notice) = notices.recv().await {
            let old = self.shared.snapshot.load_full();
            let mut revocations = old.revocations().clone();
            let revoked: Vec<CertificateId> = match notice {
                Notice::List(name, list) => {
                    let new = list.revoked.iter().filter(|id| !revocations.contains(id)).copied().collect();
                    revocations.change_list(&name, Some(list));
                    new
                }
                Notice::Standing(id, standing) => {
                    let was = revocations.standing(&id);
                    revocations.change_standing(id, standing);
                    let now_revoked = standing == Some(Standing::Revoked) && was != standing;
                    if now_revoked { vec![id] } else { Vec::new() }
                }
            };
            self.shared.snapshot.store(Arc::new(old.with_revocations(revocations)));
            self.tell([], [], revoked);
        }
    }

    /// Sees to it that those leave whose credentials have come to their end.
    async fn keep_time(&self) {
        let mut then = unix_now();
        loop {
            tokio::time::sleep(LOOK_AT_CLOCK).await;
            let now = unix_now();
            if now == then {
                continue;
            }
            let snapshot = self.shared.snapshot.load_full();
            let changed: Vec<DeviceId> = snapshot.ending(then, now).collect();
            let leaving: Vec<Leaving> = leaving((&snapshot, then), (&snapshot, now), changed.iter().copied()).collect();
            self.tell(changed, leaving, []);
            if now >= self.shared.wake_at.load(Ordering::Acquire) {
                (self.wake)();
            }
            // A clock that was put back shows some ends twice, which is nothing to those who have left.
            then = now;
        }
    }

    /// Leaves word for the broker's thread, and wakes it.
    fn tell(
        &self,
        changed: impl IntoIterator<Item = DeviceId>,
        leaving: impl IntoIterator<Item = Leaving>,
        revoked: impl IntoIterator<Item = CertificateId>,
    ) {
        let mut consequences = lock(&self.shared.consequences);
        consequences.changed.extend(changed);
        consequences.leaving.extend(leaving.into_iter().map(|one| (one.user_name, one.reason)));
        consequences.revoked.extend(revoked);
        let any = !(consequences.changed.is_empty() && consequences.revoked.is_empty());
        drop(consequences);
        if any {
            self.shared.has_consequences.store(true, Ordering::Release);
            (self.wake)();
        }
    }
}

impl Shared {
    /// The database has answered everything up to this question.
    fn confirmed(&self, question: u64) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.confirmed_at.store(now, Ordering::Release);
        self.reachable.store(true, Ordering::Release);
        *lock(&self.answered) = question;
        self.answer.notify_all();
    }

    /// The database does not answer. Whoever waits has an answer too: it is no.
    fn away(&self) {
        self.reachable.store(false, Ordering::Release);
        let _answered = lock(&self.answered);
        self.answer.notify_all();
    }
}

/// A version, and what differs in it from the one before.
struct Step {
    snapshot: Snapshot,
    devices: Vec<DeviceId>,
    roles: Vec<RoleId>,
    revoked: Vec<CertificateId>,
    /// Rows of revoked certificates that name none, and why.
    unreadable: Vec<(i64, Box<str>)>,
}

impl Step {
    /// The version after this update; `None` where nothing is new.
    fn after(old: &Snapshot, update: Update) -> Option<Self> {
        match update {
            Update::Nothing => None,
            Update::Changes(changes) => {
                let devices = changes.devices.iter().map(|(id, _)| *id).collect();
                let roles = changes.roles.iter().map(|(id, _)| *id).collect();
                let is_new = |id: &CertificateId| !old.revocations().contains(id);
                let revoked = changes.certificates.iter().filter_map(|(_, id)| *id).filter(is_new).collect();
                let mut revocations = old.revocations().clone();
                revocations.change_rows(changes.certificates);
                let snapshot = old.next(changes.revision, changes.devices, changes.roles);
                let snapshot = snapshot.with_revocations(revocations);
                let unreadable = changes.unreadable_certificates;
                Some(Self { snapshot, devices, roles, revoked, unreadable })
            }
            Update::Everything(all) => {
                let devices = all.devices.into_iter().map(|device| (device.id, Some(device)));
                let roles = all.roles.into_iter().map(|role| (role.id(), Some(role)));
                let mut revocations = old.revocations().without_rows();
                revocations.change_rows(all.certificates.into_iter().map(|(number, id)| (number, Some(id))));
                let revoked = revocations.named().filter(|id| !old.revocations().contains(id)).copied().collect();
                let snapshot = Snapshot::default().next(all.revision, devices, roles).with_revocations(revocations);
                let gone = old.devices().filter(|device| snapshot.device(device.id).is_none());
                let differs = |device: &&SharedDevice| old.device(device.id) != Some(*device);
                let devices = snapshot.devices().filter(differs).chain(gone).map(|device| device.id).collect();
                let roles = snapshot.roles().map(|role| role.id()).collect();
                Some(Self { snapshot, devices, roles, revoked, unreadable: all.unreadable_certificates })
            }
        }
    }

    /// One log line for each row that has become unreadable.
    fn report_unreadable(&self, old: &Snapshot) {
        for device in self.devices.iter().filter_map(|id| self.snapshot.device(*id)) {
            let before = old.device(device.id).and_then(|device| device.unreadable.as_ref());
            if let Some(why) = device.unreadable.as_ref().filter(|why| before != Some(*why)) {
                let name = device.name.escape_debug();
                tracing::warn!(device = %name, number = device.id, %why, "unreadable device is refused");
            }
        }
        for (number, why) in &self.unreadable {
            tracing::error!(number, %why, "unreadable row of revoked_certificates: IT REVOKES NOTHING");
        }
        for role in self.roles.iter().filter_map(|id| self.snapshot.role(*id)) {
            let name = role.name().escape_debug();
            for rule in role.unreadable() {
                let effect = if rule.may_deny { "its role denies everything" } else { "it allows nothing" };
                tracing::warn!(role = %name, rule = rule.id, why = %rule.why, "unreadable rule: {effect}");
            }
        }
    }
}

/// The present time. Policy and credentials are told it; they have no clock.
#[must_use]
pub fn unix_now() -> UnixSeconds {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixSeconds::try_from(since.as_secs()).unwrap_or(UnixSeconds::MAX)
}

/// What a mutex guards stays whole when a thread panics: each is written in one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
