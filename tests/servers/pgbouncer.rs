//! A `pgbouncer` in front of the PostgreSQL that `tests/databases.sh` has started.

use std::fs::{self, Permissions};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use url::Url;

/// One that gives each transaction another connection, of two. It runs until it is dropped.
#[derive(Debug)]
pub(crate) struct PgBouncer {
    process: Child,
    address: Url,
    _directory: TempDir,
}

impl PgBouncer {
    /// In front of the server of this address.
    pub(crate) fn before(address: &str) -> Self {
        Self::with_option(address, "")
    }

    /// The same with one more option.
    pub(crate) fn with_option(address: &str, option: &str) -> Self {
        let mut address = Url::parse(address).unwrap();
        let directory = tempfile::Builder::new().prefix("warden-pgbouncer-").tempdir().unwrap();
        let (file, log) = (directory.path().join("pgbouncer.ini"), directory.path().join("log"));
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
        fs::write(&log, "").unwrap();
        fs::set_permissions(&log, Permissions::from_mode(0o666)).unwrap();
        let server = address.port().unwrap();
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let options = format!(
            "[databases]\n* = host=127.0.0.1 port={server} user=warden\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = transaction\n\
             default_pool_size = 2\nmax_client_conn = 50\n{option}\n"
        );
        fs::write(&file, options).unwrap();
        let mut command = Command::new("pgbouncer");
        // It does not run as root.
        if rustix::process::geteuid().is_root() {
            command.args(["-u", "nobody"]);
        }
        let output = fs::OpenOptions::new().append(true).open(&log).unwrap();
        command.arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(output);
        command.env("PATH", format!("{}:/usr/sbin", std::env::var("PATH").unwrap()));
        let process = command.spawn().expect("no pgbouncer: make deps");
        address.set_port(Some(port)).unwrap();
        let pooler = Self { process, address, _directory: directory };
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            assert!(Instant::now() < deadline, "pgbouncer says:\n{}", fs::read_to_string(&log).unwrap());
            std::thread::park_timeout(Duration::from_millis(10));
        }
        pooler
    }

    /// Where it is, with these parameters and no others.
    pub(crate) fn address(&self, parameters: &[(&str, &str)]) -> String {
        super::with_parameters(self.address.as_str(), parameters)
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
