//! The sealing keys in use, read again when their file has changed: `warden key rotate` puts a new key beside the old one
//! there, before anything is sealed with it.
//!
//! A file that cannot be read leaves in place what was read before: what is sealed with any other key does not open.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::credential::psk::SealingKey;
use crate::key_file;

/// How often the file is looked at. `warden key rotate` waits for longer than this.
const LOOK_AT_FILE: Duration = Duration::from_secs(1);

/// What a file is known by: another one in its place differs in one of these.
type Stamp = (u64, u64, u64, i64, i64);

/// The keys of a file that is watched, until this is dropped.
#[derive(Debug)]
pub(super) struct Keys {
    current: Arc<ArcSwap<SealingKey>>,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Keys {
    /// Watches the file that this key was read from.
    pub(super) fn watch(path: PathBuf, key: SealingKey) -> std::io::Result<Self> {
        let current = Arc::new(ArcSwap::from_pointee(key));
        let (stop, stopped) = channel();
        let shared = Arc::clone(&current);
        // What was put in its place since it was read is read once more.
        let mut seen = None;
        let thread = std::thread::Builder::new().name("warden-keys".to_owned()).spawn(move || {
            while stopped.recv_timeout(LOOK_AT_FILE) == Err(RecvTimeoutError::Timeout) {
                let found = stamp(&path);
                if found != seen {
                    seen = found;
                    read_again(&path, &shared);
                }
            }
        })?;
        Ok(Self { current, stop: Some(stop), thread: Some(thread) })
    }

    /// The same, for another thread.
    pub(super) fn shared(&self) -> Arc<ArcSwap<SealingKey>> {
        Arc::clone(&self.current)
    }

    /// Those that are in use now.
    pub(super) fn load(&self) -> arc_swap::Guard<Arc<SealingKey>> {
        self.current.load()
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // Where it panicked, the keys that were read last are in use.
            let _ = thread.join();
        }
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let file = std::fs::metadata(path).ok()?;
    Some((file.dev(), file.ino(), file.len(), file.mtime(), file.mtime_nsec()))
}

fn read_again(path: &Path, current: &ArcSwap<SealingKey>) {
    match key_file::read(path) {
        Ok(key) => {
            if !key.keys().map(SealingKey::id).eq(current.load().keys().map(SealingKey::id)) {
                tracing::info!(key = key.id(), "key file read again");
                current.store(Arc::new(key));
            }
        }
        Err(error) => tracing::error!(%error, "the key file cannot be read again; the keys that were read before stay"),
    }
}
