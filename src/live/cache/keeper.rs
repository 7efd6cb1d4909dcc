//! Keeps the cache as young as the policy, on a thread of its own.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use super::{CacheError, CacheFile, UnixMillis, directory, file};
use crate::credential::cache::CacheId;
use crate::live::NICE;
use crate::live::lock;
use crate::log::causes;
use crate::policy::snapshot::Snapshot;

/// The shortest time between two writings.
const BETWEEN_WRITINGS: Duration = Duration::from_secs(2);
/// What takes long is written seldom: after so many times the time that it took.
const REST: u32 = 20;
/// How often it is written that the database has confirmed what is there.
const BETWEEN_CONFIRMATIONS: Duration = Duration::from_secs(5);
/// How long the last writing may take, for which the broker waits when it ends.
const LAST_WRITING: Duration = Duration::from_secs(5);
/// After this time a file beside the cache was left behind by somebody who is no more.
const LEFT_BEHIND: Duration = Duration::from_hours(1);

/// Where the latest policy lies for whoever keeps the cache.
#[derive(Debug, Default)]
pub(in crate::live) struct Shelf {
    content: Mutex<Content>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Content {
    /// The policy, its number among those that were put here, and when it was confirmed.
    latest: Option<(Arc<Snapshot>, u64, UnixMillis)>,
    /// Set at the end: when everything must be done.
    end: Option<Instant>,
}

impl Shelf {
    /// The database has confirmed, at this time, that this is its policy.
    pub(in crate::live) fn put(&self, snapshot: Arc<Snapshot>, confirmed: UnixMillis) {
        let latest = &mut lock(&self.content).latest;
        let number = latest.as_ref().map_or(0, |(_, before, _)| before.wrapping_add(1));
        *latest = Some((snapshot, number, confirmed));
    }

    /// The database has confirmed once more, at this time, what was put here last.
    pub(in crate::live) fn confirm(&self, confirmed: UnixMillis) {
        if let Some((_, _, before)) = &mut lock(&self.content).latest {
            *before = confirmed;
        }
    }

    fn end(&self) {
        lock(&self.content).end = Some(Instant::now() + LAST_WRITING);
        self.changed.notify_all();
    }

    /// Whether there is still time.
    fn has_time(&self) -> bool {
        lock(&self.content).end.is_none_or(|end| Instant::now() < end)
    }
}

/// Writes what lies on a shelf, until it is dropped, and once more then.
#[derive(Debug)]
pub(in crate::live) struct Keeper {
    shelf: Arc<Shelf>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Starts to write what is put on the `shelf`.
    pub(in crate::live) fn start(file: CacheFile, database: String, shelf: Arc<Shelf>) -> std::io::Result<Self> {
        let writer = Writer { file, database, shelf: Arc::clone(&shelf), written: None, trouble: None };
        let thread = std::thread::Builder::new().name("warden-cache".to_owned()).spawn(move || {
            // On Linux this is the thread's own, whatever POSIX says. Without it all works too.
            if let Err(error) = rustix::process::setpriority_process(None, NICE) {
                tracing::debug!(%error, "the thread that writes the cache has the same priority as the broker");
            }
            if catch_unwind(AssertUnwindSafe(|| writer.run())).is_err() {
                tracing::error!("the thread that writes the cache panicked; restart the broker");
            }
        })?;
        Ok(Self { shelf, thread: Some(thread) })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.shelf.end();
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so in the log.
            let _ = thread.join();
        }
    }
}

struct Writer {
    file: CacheFile,
    database: String,
    shelf: Arc<Shelf>,
    written: Option<Written>,
    /// What was last said of it in the log.
    trouble: Option<String>,
}

/// What is in the file.
struct Written {
    /// Of the policy: to hold that itself would keep a former one in memory.
    number: u64,
    id: CacheId,
    confirmed: UnixMillis,
    confirmed_at: Instant,
}

impl Writer {
    fn run(mut self) {
        remove_what_was_left(&self.file.path);
        let mut pause = Duration::ZERO;
        loop {
            let content = lock(&self.shelf.content);
            let (content, _) = self
                .shelf
                .changed
                .wait_timeout_while(content, pause, |content| content.end.is_none())
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            let (latest, ends) = (content.latest.clone(), content.end.is_some());
            drop(content);
            let begun = Instant::now();
            if let Some((snapshot, number, confirmed)) = latest {
                self.keep(&snapshot, number, confirmed, ends);
            }
            if ends {
                return;
            }
            pause = BETWEEN_WRITINGS.max(begun.elapsed() * REST);
        }
    }

    /// Writes what has changed.
    fn keep(&mut self, snapshot: &Snapshot, number: u64, confirmed: UnixMillis, ends: bool) {
        let result = match &mut self.written {
            Some(written) if written.number == number => {
                let due = ends || written.confirmed_at.elapsed() >= BETWEEN_CONFIRMATIONS;
                if written.confirmed == confirmed || !due {
                    return;
                }
                (written.confirmed, written.confirmed_at) = (confirmed, Instant::now());
                file::write_confirmation(&self.file.path, &self.file.key, &written.id, confirmed)
            }
            _ => {
                let all = (&*self.database, snapshot, confirmed);
                let written = file::write(&self.file.path, &self.file.key, all, || self.shelf.has_time());
                written.map(|id| {
                    self.written = Some(Written { number, id, confirmed, confirmed_at: Instant::now() });
                })
            }
        };
        self.report(result);
    }

    /// One line in the log for each kind of trouble, and one when it is over.
    fn report(&mut self, result: Result<(), CacheError>) {
        match result {
            Ok(()) => {
                if self.trouble.take().is_some() {
                    tracing::info!(file = %self.file.path.display(), "cache is written again");
                }
            }
            Err(error) => {
                let error = causes(&error);
                if self.trouble.as_ref() != Some(&error) {
                    tracing::error!(%error, "cache is not written, what it said before stays in it");
                    self.trouble = Some(error);
                }
            }
        }
    }
}

/// Removes new files beside the cache that somebody could not finish. One instance may be at it while another starts.
fn remove_what_was_left(path: &Path) {
    let names = [file::beside(path), file::beside(&file::confirmation(path))];
    let now = SystemTime::now();
    for entry in std::fs::read_dir(directory(path)).into_iter().flatten().flatten() {
        let ours = names.iter().any(|name| entry.file_name().as_encoded_bytes().starts_with(name.as_bytes()));
        let age = || now.duration_since(entry.metadata().ok()?.modified().ok()?).ok();
        if ours && age().is_some_and(|age| age > LEFT_BEHIND) {
            // It costs some room, and nothing else.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}
