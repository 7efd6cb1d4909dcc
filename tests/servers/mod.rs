//! Databases on the servers that `tests/databases.sh` has started, and their shells; servers of a test's own; and what
//! can happen on the way to one.

#![allow(dead_code, unused_imports, reason = "not every floor needs all of it")]

pub(crate) mod own;
mod pgbouncer;
pub(crate) mod proxy;
pub(crate) mod writer;

use std::env;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
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
    /// A new database on the server that is there for all.
    pub(crate) fn new(kind: Kind) -> Self {
        let variable = if kind == Kind::Postgres { "WARDEN_TEST_POSTGRES" } else { "WARDEN_TEST_MYSQL" };
        let server = env::var(variable).unwrap_or_else(|_| {
            panic!("{variable} names no server: run `tests/databases.sh cargo test`, or `make test`, which does")
        });
        Self::at(kind, Url::parse(&server).unwrap())
    }

    /// A new database on this server.
    pub(crate) fn at(kind: Kind, server: Url) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
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

    /// Where the server is.
    pub(crate) fn socket_address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.server.port().expect("the address of a test's server has a port")).into()
    }

    /// The shell of this database: it runs what its last argument says.
    pub(crate) fn shell(&self) -> Command {
        let mut address = self.address.clone();
        address.set_path(&self.name());
        shell_of(self.kind, &address)
    }

    /// PostgreSQL: gives the database another name, so that it is gone for all who know it by its own, and gives it that
    /// back.
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

    /// This table as statements that make it again, with all that belongs to it.
    pub(crate) fn dump(&self, table: &str) -> String {
        let mut dump = Command::new(if self.kind == Kind::Postgres { "pg_dump" } else { "mariadb-dump" });
        if self.kind == Kind::Postgres {
            dump.args(["-t", table, "-d", self.address()]);
        } else {
            let shell = self.shell();
            dump.args(
                shell
                    .get_args()
                    .filter(|arg| *arg != "--skip-column-names" && *arg != "--batch" && *arg != "--execute"),
            );
            dump.arg(table);
        }
        let output = dump.stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// A shell that goes on.
    pub(crate) fn session(&self) -> Session {
        let shell = self.shell();
        let mut command = Command::new(shell.get_program());
        // The last argument asks for a statement instead of standard input.
        command.args(shell.get_args().filter(|arg| *arg != "-c" && *arg != "--execute"));
        if self.kind == Kind::Mariadb {
            command.arg("--unbuffered");
        }
        let mut shell = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let stdin = shell.stdin.take().unwrap();
        Session { shell, stdin }
    }

    fn run(&self, sql: &str) {
        self.try_run(sql).unwrap();
    }

    fn try_run(&self, sql: &str) -> Result<String, String> {
        answer(shell_of(self.kind, &self.server).arg(sql).stdin(Stdio::null()).output().unwrap())
    }
}

impl Drop for OnServer {
    fn drop(&mut self) {
        let force = if self.kind == Kind::Postgres { " WITH (FORCE)" } else { "" };
        let statement = format!("DROP DATABASE {}{force}", self.name());
        // A test that fails may leave a server that does not answer.
        if std::thread::panicking() {
            return;
        }
        // MariaDB drops the tables and now and then finds their directory not empty (ERROR 1010); it goes with the server.
        if let Err(said) = self.try_run(&statement) {
            assert!(self.kind == Kind::Mariadb && said.contains("ERROR 1010"), "{said}");
        }
    }
}

/// Somebody at a shell, with a transaction open.
#[derive(Debug)]
pub(crate) struct Session {
    shell: Child,
    stdin: ChildStdin,
}

impl Session {
    pub(crate) fn say(&mut self, sql: &str) {
        writeln!(self.stdin, "{sql};").unwrap();
        self.stdin.flush().unwrap();
    }

    /// Says it, and waits until all is done.
    pub(crate) fn done(mut self, sql: &str) {
        self.say(sql);
        assert!(self.leave().wait().unwrap().success());
    }

    /// The shell ends by itself when all is done.
    pub(crate) fn leave(self) -> Child {
        self.shell
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
