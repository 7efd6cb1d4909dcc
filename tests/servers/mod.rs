//! Databases on the servers that `tests/databases.sh` has started, and their shells.

#![allow(dead_code, unused_imports, reason = "not every floor needs all of it")]

mod pgbouncer;

use std::env;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

pub(crate) use pgbouncer::PgBouncer;
use url::Url;

/// Which database it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Sqlite,
    Postgres,
    Mariadb,
}

/// A database on a server.
#[derive(Debug)]
pub(crate) struct OnServer {
    kind: Kind,
    server: Url,
    address: Url,
    name: String,
    /// While it goes by another name.
    away: AtomicBool,
}

impl OnServer {
    pub(crate) fn new(kind: Kind) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let variable = if kind == Kind::Postgres { "WARDEN_TEST_POSTGRES" } else { "WARDEN_TEST_MYSQL" };
        let server = env::var(variable).unwrap_or_else(|_| {
            panic!("{variable} names no server: run `tests/databases.sh cargo test`, or `make test`, which does")
        });
        let server = Url::parse(&server).unwrap();
        let name = format!("warden_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let mut address = server.clone();
        address.set_path(&name);
        let on_server = Self { kind, server, address, name, away: AtomicBool::new(false) };
        on_server.run(&format!("CREATE DATABASE {}", on_server.name));
        on_server
    }

    /// As it is given to `warden` and to the plugin.
    pub(crate) fn address(&self) -> &str {
        self.address.as_str()
    }

    /// The shell of this database: it runs what its last argument says.
    pub(crate) fn shell(&self) -> Command {
        let mut address = self.address.clone();
        address.set_path(&self.name());
        shell_of(self.kind, &address)
    }

    /// PostgreSQL: gives the database another name, so that it is gone for all who know it by its own, and gives it that
    /// back.
    #[allow(dead_code, reason = "one of the suites that share this file takes no database away")]
    pub(crate) fn set_away(&self, away: bool) {
        let before = self.name();
        self.away.store(away, Ordering::Release);
        let after = self.name();
        self.run(&format!("ALTER DATABASE {before} WITH ALLOW_CONNECTIONS false"));
        self.run(&format!("SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = '{before}'"));
        self.run(&format!("ALTER DATABASE {before} RENAME TO {after}"));
        self.run(&format!("ALTER DATABASE {after} WITH ALLOW_CONNECTIONS true"));
    }

    fn name(&self) -> String {
        if self.away.load(Ordering::Acquire) { format!("{}_away", self.name) } else { self.name.clone() }
    }

    /// What the server's user who may do all, in this database, is answered to this.
    pub(crate) fn sql(&self, sql: &str) -> String {
        answer(self.shell().arg(sql).stdin(Stdio::null()).output().unwrap()).unwrap()
    }

    fn run(&self, sql: &str) {
        answer(shell_of(self.kind, &self.server).arg(sql).stdin(Stdio::null()).output().unwrap()).unwrap();
    }
}

impl Drop for OnServer {
    fn drop(&mut self) {
        let force = if self.kind == Kind::Postgres { " WITH (FORCE)" } else { "" };
        self.run(&format!("DROP DATABASE {}{force}", self.name()));
    }
}

/// The file with the certificate of an authority: `ca.crt` that of both servers, `other-ca.crt` that of none.
pub(crate) fn authority(name: &str) -> String {
    let directory = env::var("WARDEN_TEST_TLS").expect("tests/databases.sh says where certificates are");
    format!("{directory}/{name}")
}

/// This address with these parameters and no others.
pub(crate) fn with_parameters(address: &str, parameters: &[(&str, &str)]) -> String {
    let mut address = Url::parse(address).unwrap();
    address.query_pairs_mut().clear().extend_pairs(parameters);
    address.into()
}

/// The shell of a server, as an operator would call it: it runs what its last argument says.
fn shell_of(kind: Kind, address: &Url) -> Command {
    if kind == Kind::Postgres {
        let mut shell = Command::new("psql");
        shell.args(["-X", "-qAt", "-v", "ON_ERROR_STOP=1", "-d", address.as_str(), "-c"]);
        return shell;
    }
    let mut shell = Command::new("mariadb");
    shell.args(["--no-defaults", "--skip-column-names", "--batch", "--host", address.host_str().unwrap()]);
    shell.arg(format!("--port={}", address.port().unwrap_or(3306))).arg(format!("--user={}", address.username()));
    shell.arg(address.path().trim_matches('/')).arg("--execute");
    shell
}

/// What a shell has answered: its output, with bars between columns, or its complaint.
pub(crate) fn answer(output: Output) -> Result<String, String> {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().trim().to_owned();
    if output.status.success() { Ok(text(output.stdout).replace('\t', "|")) } else { Err(text(output.stderr)) }
}
