//! Hashes of passwords that are replaced by better ones, when their device has just shown the password.
//!
//! It is done by a thread that stands behind the broker's, and only if the operator wants it: it is the one thing that the
//! plugin writes to the database. A hash is replaced only if it is still the one that was verified.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::JoinHandle;

use tokio::sync::{mpsc, oneshot};
use zeroize::Zeroizing;

use super::{NICE, runtime_for};
use crate::credential::password::{Cost, upgrade};
use crate::database::Database;
use crate::log::causes;
use crate::store::{Store, StoreError};

/// How many may wait. Who finds no room is upgraded at another login.
const MOST_WAITING: usize = 64;

/// A password that was right for a hash that is to be replaced.
pub struct Upgrade {
    user_name: Box<str>,
    old: Box<str>,
    password: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for Upgrade {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upgrade").field("user_name", &self.user_name).finish_non_exhaustive()
    }
}

impl Upgrade {
    /// Of this user name, by this stored hash.
    #[must_use]
    pub fn new(user_name: &str, old: &str, password: &[u8]) -> Self {
        Self { user_name: user_name.into(), old: old.into(), password: Zeroizing::new(password.to_vec()) }
    }
}

/// Replaces hashes, until it is dropped.
#[derive(Debug)]
pub struct Upgrades {
    sender: mpsc::Sender<Upgrade>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Upgrades {
    /// Starts the thread. The database is opened when there is something to write.
    pub fn start(database: &Database, cost: Cost) -> std::io::Result<Self> {
        let runtime = runtime_for(database)?;
        let (sender, asked) = mpsc::channel(MOST_WAITING);
        let (stop, stopped) = oneshot::channel::<()>();
        let database = database.clone();
        let thread = std::thread::Builder::new().name("warden-upgrade".to_owned()).spawn(move || {
            // On Linux this is the thread's own, whatever POSIX says. Without it all works too.
            if let Err(error) = rustix::process::setpriority_process(None, NICE) {
                tracing::debug!(%error, "the thread that upgrades passwords has the same priority as the broker");
            }
            let work = async {
                tokio::select! {
                    _ = stopped => {}
                    () = run(&database, cost, asked) => {}
                }
            };
            if catch_unwind(AssertUnwindSafe(|| runtime.block_on(work))).is_err() {
                tracing::error!("the thread that upgrades passwords panicked; restart the broker");
            }
            runtime.shutdown_timeout(super::LAST_WORDS);
        })?;
        Ok(Self { sender, stop: Some(stop), thread: Some(thread) })
    }

    /// Has this hash replaced, soon.
    pub fn ask(&self, upgrade: Upgrade) {
        let _ = self.sender.try_send(upgrade);
    }
}

impl Drop for Upgrades {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so in the log.
            let _ = thread.join();
        }
    }
}

async fn run(database: &Database, cost: Cost, mut asked: mpsc::Receiver<Upgrade>) {
    let mut trouble: Option<String> = None;
    while let Some(Upgrade { user_name, old, password }) = asked.recv().await {
        let Ok(new) = upgrade(&password, &old, cost) else { continue };
        drop(password);
        match replace(database, &user_name, &old, &new).await {
            Ok(true) => {
                trouble = None;
                tracing::info!(user = %user_name.escape_debug(), "hash of a password upgraded");
            }
            // Somebody else has changed it meanwhile.
            Ok(false) => {}
            Err(error) => {
                let error = causes(&error);
                if trouble.as_ref() != Some(&error) {
                    tracing::error!(%error, "hashes of passwords cannot be upgraded, and stay as they are");
                    trouble = Some(error);
                }
            }
        }
    }
}

async fn replace(database: &Database, user_name: &str, old: &str, new: &str) -> Result<bool, StoreError> {
    let mut store = Store::open_again(database).await?;
    let replaced = store.upgrade_password(user_name, old, new).await;
    store.close().await?;
    replaced
}
