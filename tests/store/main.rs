//! The store on a real database file. One file for each thing that is tested:
//!
//! - `open`: making, opening, migrating, and every kind of file that is refused
//! - `verbs`: what each verb writes, and what it refuses
//! - `certificates`: certificates that are revoked: the verbs, the log, and what the feed makes of them
//! - `schema`: what the database refuses from any writer, the sqlite3 shell included, and what its log records
//!
//! Neither the command nor a broker is needed for any of it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod certificates;
mod open;
mod schema;
mod verbs;

use std::path::PathBuf;
use std::process::Command;

use mosquitto_warden::store::Store;
use tempfile::TempDir;

/// A database of its own for one test, gone afterwards.
struct Fresh {
    directory: TempDir,
    store: Store,
}

impl Fresh {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (store, _) = Store::create(&directory.path().join("warden.db"), None).await.unwrap();
        Self { directory, store }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("warden.db")
    }

    /// What the sqlite3 shell, an outsider with foreign keys off, answers to this: its output or its complaint.
    fn sqlite3(&self, sql: &str) -> Result<String, String> {
        let output = Command::new("sqlite3")
            .arg(self.path())
            .arg(sql)
            .output()
            .expect("the sqlite3 shell is needed; run `apt-get install sqlite3`");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().trim().to_owned();
        if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
    }

    /// The changes that the log has recorded since the last time it was asked, in their order.
    fn log(&self) -> Vec<String> {
        let log = self.sqlite3("SELECT entity || ' ' || entity_id FROM change_log ORDER BY revision").unwrap();
        self.sqlite3("DELETE FROM change_log").unwrap();
        log.lines().map(str::to_owned).collect()
    }
}

/// Runs a test's future.
fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}
