//! A fleet: a CA, a database made by the `warden` command, and a directory in which brokers run on both.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use tempfile::TempDir;

use super::broker::NotStarted;
use super::{Broker, Ca, Login, Mosquitto};
use crate::servers::{Kind, OnServer, answer};

/// A directory that has everything a broker needs, and goes when this does.
#[derive(Debug)]
pub(crate) struct Fleet {
    directory: TempDir,
    pub(crate) ca: Ca,
    /// Where the database is, if it is not a file in the directory.
    server: Option<OnServer>,
    /// While it is somewhere else than the brokers believe.
    away: AtomicBool,
}

impl Fleet {
    /// Certificates and directories, and no database: for brokers without the plugin, or that shall not start.
    pub(crate) fn without_database() -> Self {
        let directory = tempfile::Builder::new().prefix("warden-").tempdir().unwrap();
        open_to_everyone(directory.path());
        for name in ["etc", "data", "plugin"] {
            fs::create_dir(directory.path().join(name)).unwrap();
        }
        let ca = Ca::new(&directory.path().join("etc"));
        let fleet = Self { directory, ca, server: None, away: AtomicBool::new(false) };
        fs::copy(built_plugin(), fleet.plugin()).expect("cargo has built no plugin beside the tests");
        fs::write(fleet.path("etc/warden.toml"), fleet.with_our_paths(&example("warden.toml"))).unwrap();
        // Many brokers share this machine: to be late for a moment is not what is tested.
        fleet.option("barrier_timeout = \"5s\"");
        give_to_broker(&fleet.ca.key("server"));
        give_to_broker(&fleet.path("data"));
        fleet
    }

    /// An empty database.
    pub(crate) fn new() -> Self {
        let fleet = Self::without_database();
        fleet.warden(&["init"]);
        give_to_broker(&fleet.database());
        give_to_broker(&fleet.key_file());
        fleet
    }

    /// An empty database of this kind.
    pub(crate) fn on(kind: Kind) -> Self {
        if kind == Kind::Sqlite {
            return Self::new();
        }
        Self::on_server(OnServer::new(kind))
    }

    /// An empty database that is this one.
    pub(crate) fn on_server(server: OnServer) -> Self {
        let fleet = Self { server: Some(server), ..Self::without_database() };
        let file = fleet.path("etc/warden.toml");
        let options = fs::read_to_string(&file).unwrap();
        let line = |place: &str| format!("\ndatabase = \"{place}\"\n");
        let here = line(fleet.database().to_str().unwrap());
        assert!(options.contains(&here));
        fs::write(&file, options.replace(&here, &line(&fleet.place()))).unwrap();
        fleet.warden(&["init"]);
        give_to_broker(&fleet.key_file());
        fleet
    }

    /// With the role `sensor`, on a database of this kind.
    pub(crate) fn with_sensors_on(kind: Kind) -> Self {
        let fleet = Self::on(kind);
        fleet.add_sensor();
        fleet
    }

    /// With the role `sensor`, as the demo has it: a device may publish below its own name and read its own commands,
    /// under a client id that begins with its name.
    pub(crate) fn with_sensors() -> Self {
        Self::with_sensors_on(Kind::Sqlite)
    }

    pub(crate) fn add_sensor(&self) {
        self.warden(&["role", "add", "sensor", "--client-id", "%u*"]);
        self.warden(&["rule", "add", "sensor", "allow", "publish", "devices/%u/#"]);
        self.warden(&["rule", "add", "sensor", "allow", "read", "devices/%u/cmd"]);
    }

    /// What the database is called.
    pub(crate) fn place(&self) -> String {
        match &self.server {
            Some(server) => server.address().to_owned(),
            None => self.database().into_os_string().into_string().unwrap(),
        }
    }

    /// A new device that shows a certificate with its name.
    pub(crate) fn certificate_device(&self, name: &str, role: &str) -> Login {
        self.warden(&["device", "add", name, "--cn", "--role", role]);
        self.ca.device(name)
    }

    /// A new device that has a pre-shared key.
    pub(crate) fn psk_device(&self, name: &str, role: &str) -> Login {
        let printed = self.warden(&["device", "add", name, "--psk", "--role", role, "--json"]);
        let printed: serde_json::Value = serde_json::from_str(&printed).unwrap();
        Login::psk(name, printed["psk"]["key"].as_str().expect("the new key is printed"))
    }

    /// A new device that has a password.
    pub(crate) fn password_device(&self, name: &str, role: &str) -> Login {
        let password = format!("the password of {name}");
        self.warden_with(&["device", "add", name, "--password", "--stdin", "--role", role], &password);
        self.ca.password(name, password)
    }

    /// Runs `warden` with this standard input, which must succeed.
    pub(crate) fn warden_with(&self, arguments: &[&str], stdin: &str) {
        let mut command = self.command(arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "warden {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Runs `warden`, which must succeed, and returns what it printed.
    pub(crate) fn warden(&self, arguments: &[&str]) -> String {
        let output = self.try_warden(arguments);
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "warden {}: {}\n{stdout}{stderr}", arguments.join(" "), output.status);
        stdout.into_owned()
    }

    /// Runs `warden`, and whatever comes of it.
    pub(crate) fn try_warden(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_warden"));
        command.args(arguments).env("WARDEN_DATABASE", self.place()).env("WARDEN_KEY_FILE", self.key_file());
        command.env("WARDEN_CONFIG", self.path("etc/warden.toml"));
        command
    }

    /// Runs SQL in the database's shell, as an operator would type it, and returns what it printed.
    pub(crate) fn sql(&self, statements: &str) -> String {
        if self.server.is_some() {
            return self.try_sql(statements).unwrap_or_else(|complaint| panic!("{statements}: {complaint}"));
        }
        let output = Command::new("sqlite3")
            .args(["-bail", "-cmd", ".timeout 10000"])
            .arg(self.file())
            .arg(statements)
            .output()
            .expect("the sqlite3 shell is missing: make deps");
        assert!(output.status.success(), "{statements}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// What the shell of a server answers, or its complaint.
    pub(crate) fn try_sql(&self, statements: &str) -> Result<String, String> {
        answer(self.on_its_server().shell().arg(statements).stdin(Stdio::null()).output().unwrap())
    }

    /// The database, which is on a server.
    pub(crate) fn on_its_server(&self) -> &OnServer {
        self.server.as_ref().expect("the database is on a server")
    }

    /// `UPDATE devices SET status = …`: the whole revocation, or its reversal.
    pub(crate) fn set_status(&self, device: &str, status: &str) {
        self.sql(&format!("UPDATE devices SET status = '{status}' WHERE name = '{device}';"));
    }

    /// A broker with one of the example configurations.
    pub(crate) fn start(&self, mosquitto: &Mosquitto, example: &str) -> Broker {
        self.start_with(mosquitto, &self.configuration(example))
    }

    /// A broker with this configuration.
    pub(crate) fn start_with(&self, mosquitto: &Mosquitto, configuration: &str) -> Broker {
        self.try_start(mosquitto, configuration)
            .unwrap_or_else(|failure| panic!("the broker ended with {:?} and says:\n{}", failure.code, failure.log))
    }

    /// A broker with this configuration, which may be one that it does not start with.
    pub(crate) fn try_start(&self, mosquitto: &Mosquitto, configuration: &str) -> Result<Broker, NotStarted> {
        Broker::start(mosquitto, self.directory.path(), configuration)
    }

    /// An example configuration with our paths in it, for tests that change a line.
    pub(crate) fn configuration(&self, name: &str) -> String {
        self.with_our_paths(&example(name))
    }

    /// The same with further options of the plugin, as lines of the broker's configuration.
    pub(crate) fn configuration_with(&self, name: &str, options: &[(&str, &str)]) -> String {
        let configuration = self.configuration(name);
        let place = "\nallow_anonymous";
        assert!(configuration.contains(place), "{name} has the plugin's lines somewhere else");
        let lines: Vec<String> = options.iter().map(|(key, value)| format!("\nplugin_opt_{key} {value}")).collect();
        configuration.replace(place, &format!("{}{place}", lines.concat()))
    }

    /// Adds a line to the plugin's options.
    pub(crate) fn option(&self, line: &str) {
        let file = self.path("etc/warden.toml");
        fs::write(&file, format!("{}\n{line}\n", fs::read_to_string(&file).unwrap())).unwrap();
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.path("data/warden.db")
    }

    /// Takes the database away from the brokers, or gives it back. Meanwhile it can be written by [`Self::sql`].
    pub(crate) fn set_away(&self, away: bool) {
        if let Some(server) = &self.server {
            return server.set_away(away);
        }
        // What is beside the file belongs to it.
        self.sql("PRAGMA wal_checkpoint(TRUNCATE)");
        let before = self.file();
        self.away.store(away, Ordering::Release);
        fs::rename(before, self.file()).unwrap();
    }

    /// Where the database is now, if it is a file.
    fn file(&self) -> PathBuf {
        if self.away.load(Ordering::Acquire) { self.path("data/aside.db") } else { self.database() }
    }

    pub(crate) fn key_file(&self) -> PathBuf {
        self.path("data/warden.key")
    }

    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.directory.path().join(relative)
    }

    fn plugin(&self) -> PathBuf {
        self.path("plugin/libmosquitto_warden.so")
    }

    fn with_our_paths(&self, text: &str) -> String {
        let path = |relative: &str| self.path(relative).into_os_string().into_string().unwrap();
        text.replace("/usr/lib/mosquitto-warden/", &path("plugin/"))
            .replace("/etc/mosquitto/warden/", &path("etc/"))
            .replace("/var/lib/mosquitto/", &path("data/"))
    }
}

fn example(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("mosquitto-conf").join(name)).unwrap()
}

/// `cargo test` refreshes the plugin only here, beside the tests, and not in `target/debug`.
fn built_plugin() -> PathBuf {
    std::env::current_exe().unwrap().with_file_name("libmosquitto_warden.so")
}

fn open_to_everyone(directory: &Path) {
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A broker that root starts drops to another user, who must be able to read and write this.
pub(crate) fn give_to_broker(path: &Path) {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let id = |option: &str| {
        ["mosquitto", "nobody"].into_iter().find_map(|user| {
            let output = Command::new("id").args([option, user]).output().unwrap();
            String::from_utf8(output.stdout).unwrap().trim().parse().ok()
        })
    };
    chown(path, id("-u"), id("-g")).unwrap();
}
