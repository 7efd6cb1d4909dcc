//! The databases that the cases are run on.

use std::any::Any;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;

use mosquitto_warden::database::Database;
use mosquitto_warden::store::Store;
use tempfile::TempDir;

use crate::servers::{Kind, OnServer, Session, answer};

/// A database of its own for one test, gone afterwards.
pub(crate) struct Fresh {
    pub(crate) kind: Kind,
    pub(crate) store: Store,
    pub(crate) database: Database,
    pub(crate) directory: TempDir,
    on_server: Option<OnServer>,
}

impl Fresh {
    pub(crate) async fn new(kind: Kind) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (database, on_server) = match kind {
            Kind::Sqlite => (directory.path().join("warden.db").as_path().into(), None),
            Kind::Postgres | Kind::Mariadb => {
                let on_server = OnServer::new(kind);
                (Database::parse(on_server.address()).unwrap(), Some(on_server))
            }
        };
        let (store, _) = Store::create(&database, None).await.unwrap();
        Self { kind, store, database, directory, on_server }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("warden.db")
    }

    /// How the command is told which database it is.
    pub(crate) fn address(&self) -> String {
        let address = self.on_server.as_ref().map(|on_server| on_server.address().to_owned());
        address.unwrap_or_else(|| self.path().display().to_string())
    }

    /// What the database's own shell, an outsider, answers to this: its output or its complaint. Columns are separated
    /// by a bar.
    pub(crate) fn sql(&self, sql: &str) -> Result<String, String> {
        answer(self.shell().arg(sql).stdin(Stdio::null()).output().unwrap())
    }

    /// The shell, which runs what its last argument says.
    pub(crate) fn shell(&self) -> Command {
        match &self.database {
            Database::Sqlite(path) => {
                let mut shell = Command::new("sqlite3");
                shell.args(["-bail", "-cmd", ".timeout 10000"]).arg(path);
                shell
            }
            Database::Postgres(_) | Database::Mysql(_) => self.on_server.as_ref().unwrap().shell(),
        }
    }

    /// A shell that goes on, on a server.
    pub(crate) fn session(&self) -> Session {
        self.on_server.as_ref().unwrap().session()
    }

    /// The changes that the log has recorded since the last time it was asked, each once, in some order.
    pub(crate) fn log(&self) -> Vec<String> {
        let log = self.sql("SELECT entity, entity_id FROM change_log ORDER BY revision").unwrap();
        self.sql("DELETE FROM change_log").unwrap();
        let mut log: Vec<String> = log.lines().map(|line| line.replace('|', " ")).collect();
        log.sort();
        log.dedup();
        log
    }
}

/// Runs the test on a new database of each kind, and says on which of them it failed.
pub(crate) fn on_every_database(test: impl AsyncFn(Fresh) + Sync) {
    on(&[Kind::Sqlite, Kind::Postgres, Kind::Mariadb], test);
}

/// The same with the servers only, for what a file cannot do.
pub(crate) fn on_servers(test: impl AsyncFn(Fresh) + Sync) {
    on(&[Kind::Postgres, Kind::Mariadb], test);
}

/// The same with PostgreSQL only, for what belongs to it.
pub(crate) fn on_postgres(test: impl AsyncFn(Fresh) + Sync) {
    on(&[Kind::Postgres], test);
}

/// The same with SQLite only, for what no server can do.
pub(crate) fn on_sqlite(test: impl AsyncFn(Fresh) + Sync) {
    on(&[Kind::Sqlite], test);
}

fn on(kinds: &[Kind], test: impl AsyncFn(Fresh) + Sync) {
    let failures: Vec<String> = thread::scope(|scope| {
        let threads: Vec<_> = kinds
            .iter()
            .map(|kind| {
                let test = &test;
                let body = move || run(async { test(Fresh::new(*kind).await).await });
                (kind, thread::Builder::new().name(format!("{kind:?}")).spawn_scoped(scope, body).unwrap())
            })
            .collect();
        let joined = threads.into_iter().map(|(kind, thread)| (kind, thread.join()));
        joined.filter_map(|(kind, result)| Some(format!("on {kind:?}: {}", message(&*result.err()?)))).collect()
    });
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without words")
}

/// Runs a test's future.
pub(crate) fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}
