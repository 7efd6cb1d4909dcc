//! The thread that follows the database: asks, puts the answer in place, and tells what it means.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::mpsc;

use super::cache::{Shelf, UnixMillis, unix_millis};
use super::outage::{Backoff, Report};
use super::step::Step;
use super::{Notice, Shared, lock, unix_now};
use crate::credential::psk::SealingKey;
use crate::database::Database;
use crate::log::causes;
use crate::policy::certificate::CertificateId;
use crate::policy::device::DeviceId;
use crate::policy::leaving::{Leaving, leaving};
use crate::policy::revocation::Standing;
use crate::policy::snapshot::Snapshot;
use crate::store::StoreError;
use crate::store::feed::{Feed, Update};

/// How often it is asked whether credentials have ended; they end at full seconds.
const LOOK_AT_CLOCK: Duration = Duration::from_millis(50);

/// How soon the broker's thread is woken again that has not ticked since; each time it is left twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
/// How long it sleeps at most.
const SLEEP_OF_BROKERS: Duration = Duration::from_millis(100);

/// How long a policy is kept after another has taken its place: longer than any callback, so that it is never the broker's
/// thread that has to free a million devices.
const KEEP_FORMER: Duration = Duration::from_secs(1);

/// Why the database is not followed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the database is sealed with another key than the key file holds")]
    OtherKey,
}

/// Which database, and what is asked of it before it is believed.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) database: Database,
    /// The keys, one of which its secrets must be sealed with, if it says with which.
    pub(super) keys: Option<Arc<ArcSwap<SealingKey>>>,
    /// How long a server may be silent.
    pub(super) patience: Duration,
}

impl Door {
    /// Opens the database; for the first time in this process, if it says how long that may take.
    pub(super) async fn open(&self, first: Option<Duration>) -> Result<Feed, Trouble> {
        let open = async {
            match first {
                Some(_) => Feed::open(&self.database).await,
                None => Feed::open_again(&self.database).await,
            }
        };
        let opened = match &self.database {
            Database::Sqlite(_) => open.await,
            Database::Postgres(_) | Database::Mysql(_) => {
                let opened = tokio::time::timeout(first.unwrap_or(self.patience), open).await;
                opened.unwrap_or_else(|_| Err(StoreError::silent(&self.database)))
            }
        };
        let mut feed = opened?.with_patience(self.patience);
        self.check_key(&mut feed).await?;
        Ok(feed)
    }

    /// Asks what is new in it.
    pub(super) async fn update(&self, feed: &mut Feed) -> Result<Update, Trouble> {
        let update = feed.update().await?;
        if matches!(update, Update::Everything(_)) {
            // Another database may have been put in its place.
            self.check_key(feed).await?;
        }
        Ok(update)
    }

    async fn check_key(&self, feed: &mut Feed) -> Result<(), Trouble> {
        match (feed.key_id().await?, &self.keys) {
            (Some(sealed_with), Some(ours)) if ours.load().named(&sealed_with).is_none() => Err(Trouble::OtherKey),
            _ => Ok(()),
        }
    }
}

/// Until this is dropped, which is before the feed is, others may look where that shows what is committed.
struct Sight<'s>(&'s Shared);

impl Drop for Sight<'_> {
    fn drop(&mut self) {
        self.0.see_nothing();
    }
}

/// The thread's side.
pub(super) struct Follower {
    pub(super) shared: Arc<Shared>,
    pub(super) door: Door,
    pub(super) poll_interval: Duration,
    pub(super) report: RefCell<Report>,
    pub(super) shelf: Arc<Shelf>,
    /// Former policies, since when they are that, and the oldest first.
    pub(super) former: RefCell<VecDeque<(Instant, Arc<Snapshot>)>>,
    pub(super) wake: Box<dyn Fn() + Send>,
}

impl Follower {
    /// All that the thread does. The parts take turns, and none of them awaits anything between reading the snapshot and
    /// putting another in its place.
    pub(super) async fn run(&self, feed: Option<Feed>, notices: mpsc::Receiver<Notice>) {
        tokio::join!(self.follow(feed), self.hear(notices), self.keep_time(), self.see_to_ticks());
    }

    /// Follows the database.
    async fn follow(&self, feed: Option<Feed>) {
        let mut feed = feed;
        let _sight = Sight(&self.shared);
        let mut backoff = Backoff::new(self.poll_interval);
        loop {
            // What is asked from here on is answered by the next round, and as of now is what it answers.
            let question = self.shared.asked.load(Ordering::Acquire);
            let (begun, confirmed) = (Instant::now(), unix_millis());
            match self.ask(&mut feed).await {
                Ok(feed) => {
                    self.shared.confirmed(question, begun, feed.stillness());
                    self.shelf.confirm(confirmed);
                    self.report.borrow_mut().back(self.shared.snapshot.load().revision());
                    backoff.reset();
                    // Sleeps until it is time to ask, or until somebody waits for an answer.
                    tokio::select! {
                        () = feed.wait(self.poll_interval) => {}
                        () = self.shared.ask.notified() => {}
                    }
                }
                Err(trouble) => {
                    self.shared.see_nothing();
                    feed = None;
                    self.shared.away(matches!(trouble, Trouble::OtherKey));
                    let age = self.shared.age();
                    match trouble {
                        Trouble::OtherKey => self.report.borrow_mut().foreign(age),
                        Trouble::Store(error) => self.report.borrow_mut().trouble(causes(&error), age),
                    }
                    tokio::time::sleep(backoff.pause()).await;
                }
            }
        }
    }

    /// Asks the database once, which is opened where it is not open, and puts what it answers in place.
    async fn ask<'f>(&self, feed: &'f mut Option<Feed>) -> Result<&'f Feed, Trouble> {
        let feed = match feed {
            Some(feed) => feed,
            None => feed.insert(self.door.open(None).await?),
        };
        self.round(feed).await?;
        Ok(feed)
    }

    async fn round(&self, feed: &mut Feed) -> Result<(), Trouble> {
        let begun = unix_millis();
        self.put(self.door.update(feed).await?, begun);
        if self.shared.progress.place(self.shared.snapshot.load().revision(), feed.checkpoint()) {
            // Somebody waits to hear that everything up to it is done.
            self.shared.want_tick();
        }
        Ok(())
    }

    /// Puts an update in place, for which the database was asked then.
    fn put(&self, update: Update, begun: UnixMillis) {
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
        let next = Arc::new(next);
        self.replace(Arc::clone(&next));
        self.shelf.put(next, begun);
        self.tell(changed, leaving, revoked);
    }

    /// Puts this policy in the place of the one that is there.
    fn replace(&self, next: Arc<Snapshot>) {
        let former = self.shared.snapshot.swap(next);
        self.former.borrow_mut().push_back((Instant::now(), former));
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
            self.replace(Arc::new(old.with_revocations(revocations)));
            self.tell([], [], revoked);
        }
    }

    /// Sees to it that those leave whose credentials have come to their end.
    async fn keep_time(&self) {
        let mut then = unix_now();
        loop {
            tokio::time::sleep(LOOK_AT_CLOCK).await;
            while self.former.borrow_mut().pop_front_if(|(since, _)| since.elapsed() > KEEP_FORMER).is_some() {}
            // Taken first: the broker's thread, which adds to it, does not wait until all is freed.
            let spent = std::mem::take(&mut *lock(&self.shared.spent));
            drop(spent);
            self.report.borrow_mut().look(self.shared.reachable.load(Ordering::Acquire), self.shared.age());
            let now = unix_now();
            if now == then {
                continue;
            }
            let snapshot = self.shared.snapshot.load_full();
            let changed: Vec<DeviceId> = snapshot.ending(then, now).collect();
            let leaving: Vec<Leaving> = leaving((&snapshot, then), (&snapshot, now), changed.iter().copied()).collect();
            self.tell(changed, leaving, []);
            if now >= self.shared.wake_at.load(Ordering::Acquire) {
                self.shared.want_tick();
            }
            // A clock that was put back shows some ends twice, which is nothing to those who have left.
            then = now;
        }
    }

    /// Wakes the broker's thread when it is to tick, and again where it has not: who is woken just before going to sleep
    /// sleeps all the same.
    async fn see_to_ticks(&self) {
        loop {
            self.shared.wants_tick.notified().await;
            let mut pause = FIRST_PAUSE;
            while pause < SLEEP_OF_BROKERS && self.shared.unheard.load(Ordering::Acquire) {
                (self.wake)();
                tokio::select! {
                    () = tokio::time::sleep(pause) => pause *= 2,
                    // Another wake, which does not inherit how long the one before was not heard.
                    () = self.shared.wants_tick.notified() => pause = FIRST_PAUSE,
                }
            }
        }
    }

    /// Leaves word for the broker's thread, and wakes it.
    fn tell(
        &self,
        changed: impl IntoIterator<Item = DeviceId>,
        leaving: impl IntoIterator<Item = Leaving>,
        revoked: impl IntoIterator<Item = CertificateId>,
    ) {
        let any = self.shared.consequences.add(|all| {
            all.changed.extend(changed);
            all.leaving.extend(leaving.into_iter().map(|one| (one.user_name, one.reason)));
            all.revoked.extend(revoked);
        });
        if any {
            self.shared.want_tick();
        }
    }
}
