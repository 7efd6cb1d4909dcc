//! A server of a test's own: PostgreSQL or MariaDB in a new directory, to be stopped, killed, filled and started again.
//!
//! It needs no rights. Under root it runs as `nobody`, as servers do that `tests/databases.sh` starts. It ends with this
//! value, and with the thread that made it. A full disk is a limit on the size of its files (`prlimit --fsize`), which
//! anybody may set: what has to grow beyond it cannot be written, and all else goes on.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use url::Url;

use super::{Kind, OnServer, shell_of};

/// How long a server may take to start, on a machine that has much else to do.
const START: Duration = Duration::from_mins(1);
/// With a full disk no file grows beyond this. PostgreSQL's log of what it is about to write has smaller ones here.
const FULL: &str = "--fsize=2097152:";
/// Loaded before the system's library, it sets a program's clock back.
const CLOCK: &str = include_str!("clock.c");

/// A server that runs until this is dropped.
#[derive(Debug)]
pub(crate) struct OwnServer {
    kind: Kind,
    directory: TempDir,
    port: u16,
    process: Option<Child>,
}

impl OwnServer {
    pub(crate) fn start(kind: Kind) -> Self {
        let directory = tempfile::Builder::new().prefix("warden-server-").tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let mut server = Self { kind, directory, port, process: None };
        server.make();
        server.start_again();
        server
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// An empty database on it.
    pub(crate) fn database(&self) -> OnServer {
        OnServer::at(self.kind, self.address())
    }

    pub(crate) fn socket_address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// SIGSTOP: every connection stays open, and nobody answers.
    pub(crate) fn stop(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT: it answers again.
    pub(crate) fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    /// SIGKILL: it is gone, and every connection with it.
    pub(crate) fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.process.take().unwrap().wait().unwrap();
    }

    /// The same server on the same port.
    pub(crate) fn start_again(&mut self) {
        let deadline = Instant::now() + START;
        loop {
            let process = self.process.get_or_insert_with(|| spawn(self.kind, self.directory.path(), self.port));
            // Until all that belonged to a killed one is gone, it gives up at once.
            if process.try_wait().unwrap().is_some() {
                self.process = None;
            } else if shell_of(self.kind, &self.address()).arg("SELECT 1").output().unwrap().status.success() {
                return;
            }
            assert!(Instant::now() < deadline, "the server does not start: {}", self.log());
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }

    /// From now on, no file of it can grow any more; or it can again.
    pub(crate) fn fill_disk(&self, full: bool) {
        let limit = if full { FULL } else { "--fsize=unlimited:" };
        for process in self.processes() {
            let pid = process.as_raw_nonzero().to_string();
            let status = as_nobody().args(["prlimit", "--pid", &pid, limit]).status().unwrap();
            // One of them may have ended meanwhile.
            assert!(status.success() || !Path::new("/proc").join(pid).exists());
        }
    }

    /// Sets its clock an hour back, and nobody else's.
    pub(crate) fn set_clock_back(&self) {
        fs::write(self.directory.path().join("clock-is-back"), "").unwrap();
    }

    fn address(&self) -> Url {
        let port = self.port;
        let address = match self.kind {
            Kind::Postgres => format!("postgres://warden@127.0.0.1:{port}/postgres"),
            _ => format!("mysql://root@127.0.0.1:{port}/mysql"),
        };
        Url::parse(&address).unwrap()
    }

    fn make(&self) {
        let directory = self.directory.path();
        let data = directory.join("data");
        fs::create_dir(&data).unwrap();
        give_to_nobody(&data);
        fs::write(directory.join("clock.c"), CLOCK).unwrap();
        let compiler = Command::new("cc")
            .args(["-shared", "-fPIC", "-O2", "-o", "clock.so", "clock.c", "-ldl"])
            .current_dir(directory)
            .status();
        assert!(compiler.unwrap().success(), "cc makes no library: make deps");
        let mut maker = as_nobody();
        if self.kind == Kind::Postgres {
            maker.arg(postgres("initdb")).args(["-U", "warden", "-A", "trust", "-E", "UTF8", "--no-locale"]);
            maker.args(["--no-sync", "--wal-segsize=1", "-D"]).arg(&data);
        } else {
            maker.args(["mariadb-install-db", "--no-defaults", "--skip-test-db"]).arg(format!("--user={}", user()));
            maker.arg("--auth-root-authentication-method=normal").arg(format!("--datadir={}", data.display()));
            // At its start a server deletes what it takes for another's leavings.
            maker.arg(format!("--tmpdir={}", data.display()));
        }
        let output = maker.current_dir(directory).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        if self.kind == Kind::Postgres {
            // Who is called so needs a password.
            let file = data.join("pg_hba.conf");
            let trusted = fs::read_to_string(&file).unwrap();
            fs::write(&file, format!("host all plugin 127.0.0.1/32 scram-sha-256\n{trusted}")).unwrap();
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    fn signal(&self, signal: Signal) {
        for process in self.processes() {
            // One of them may have ended meanwhile.
            let _ = kill_process(process, signal);
        }
    }

    /// The server, and the processes that it has for its connections.
    fn processes(&self) -> Vec<Pid> {
        let Some(process) = &self.process else { return Vec::new() };
        let id = process.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        let children = children.split_whitespace().map(|id| id.parse().unwrap());
        std::iter::once(i32::try_from(id).unwrap()).chain(children).filter_map(Pid::from_raw).collect()
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        if let Some(mut process) = self.process.take() {
            let _ = process.wait();
        }
    }
}

fn spawn(kind: Kind, directory: &Path, port: u16) -> Child {
    let data = directory.join("data");
    let mut server = as_nobody();
    if kind == Kind::Postgres {
        server.arg(postgres("postgres")).arg("-D").arg(&data).arg("-k").arg(&data).arg(format!("-p{port}"));
        server.args(["-clisten_addresses=127.0.0.1", "-cfsync=off", "-cmax_connections=200", "-cautovacuum=off"]);
    } else {
        server.args(["mariadbd", "--no-defaults", "--bind-address=127.0.0.1", "--skip-log-bin"]);
        server.arg(format!("--user={}", user())).arg(format!("--datadir={}", data.display()));
        server.arg(format!("--port={port}")).arg(format!("--socket={}", data.join("socket").display()));
        // What is committed is there after SIGKILL.
        server.args(["--innodb-flush-log-at-trx-commit=2", "--innodb-buffer-pool-size=64M"]);
        server.arg(format!("--tmpdir={}", data.display()));
    }
    let log = fs::File::options().create(true).append(true).open(directory.join("log")).unwrap();
    server
        .env("LD_PRELOAD", directory.join("clock.so"))
        .env("WARDEN_TEST_CLOCK", directory.join("clock-is-back"))
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

/// The newest PostgreSQL's program of this name.
fn postgres(name: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().filter_map(|entry| {
        let path = entry.ok()?.path();
        let version: u32 = path.file_name()?.to_str()?.parse().ok()?;
        Some((version, path.join("bin").join(name)))
    });
    versions.max().map_or_else(|| PathBuf::from(name), |(_, path)| path)
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn user() -> String {
    let asked = Command::new("id").arg("-un").output().unwrap();
    if is_root() { "nobody".to_owned() } else { String::from_utf8(asked.stdout).unwrap().trim().to_owned() }
}

/// A command whose arguments are another, which ends with this thread and is not root.
fn as_nobody() -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    if is_root() {
        let (user, group) = ids_of_nobody();
        command.args([format!("--reuid={user}"), format!("--regid={group}"), "--clear-groups".to_owned()]);
    }
    command.env("PATH", format!("{}:/usr/sbin:/usr/local/sbin", std::env::var("PATH").unwrap()));
    command
}

fn give_to_nobody(path: &Path) {
    if is_root() {
        let (user, group) = ids_of_nobody();
        chown(path, Some(user), Some(group)).unwrap();
    }
}

fn ids_of_nobody() -> (u32, u32) {
    let [user, group] = ["-u", "-g"].map(|option| {
        let output = Command::new("id").args([option, "nobody"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
    });
    (user, group)
}
