use std::env;
use std::fmt::Write as _;
use std::fs::{self, File, Permissions};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::{blocks, here, read};

/// Everything that the shell has started, which ends with this.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        let group = Pid::from_raw(i32::try_from(self.0.id()).unwrap()).unwrap();
        // It may have ended as a whole.
        let _ = kill_process_group(group, Signal::KILL);
        let _ = self.0.wait();
    }
}

/// The brokers under `target/brokers`, or else the installed one.
fn brokers() -> Vec<PathBuf> {
    let fetched = fs::read_dir(here("target/brokers")).into_iter().flatten();
    let mut found: Vec<_> =
        fetched.map(|entry| entry.unwrap().path().join("mosquitto.sh")).filter(|path| path.exists()).collect();
    found.sort();
    if found.is_empty() { vec![PathBuf::from("/usr/sbin/mosquitto")] } else { found }
}

fn replaced(script: &str, from: &str, to: &str) -> String {
    assert!(script.contains(from), "the README does not say `{from}`");
    script.replace(from, to)
}

#[test]
fn the_tutorial_works_as_it_is_written() {
    for broker in brokers() {
        let ports = free_ports(30_000).map(|port| port.to_string());
        let ours = [("make build\n", ""), ("8883", &*ports[0]), ("8884", &*ports[1])];
        work_through("Tutorial", &broker, "/tmp/warden-tutorial", &ours, |_| ());
    }
}

/// What the section about many brokers leaves on the server.
struct OnServer<'a>(&'a [(&'static str, String)]);

impl Drop for OnServer<'_> {
    fn drop(&mut self) {
        let statements = ["DROP DATABASE IF EXISTS fleet WITH (FORCE)", "DROP ROLE IF EXISTS fleet_owner, mosquitto"];
        for statement in statements {
            let mut psql = Command::new("psql");
            let done = psql.args(["-Xqd", "postgres", "-c", statement]).envs(self.0.iter().cloned()).status();
            assert!(std::thread::panicking() || done.unwrap().success());
        }
    }
}

#[test]
fn many_brokers_share_a_database_as_it_is_written() {
    let server = env::var("WARDEN_TEST_POSTGRES").expect("no server: run `tests/databases.sh cargo test`");
    let port = server.rsplit(':').next().unwrap().split('/').next().unwrap().to_owned();
    let authority = env::var("WARDEN_TEST_TLS").unwrap() + "/ca.crt";
    let superuser = [("PGHOST", "127.0.0.1".to_owned()), ("PGPORT", port.clone()), ("PGUSER", "warden".to_owned())];
    for broker in brokers() {
        let _on_server = OnServer(&superuser);
        let ports = free_ports(31_000).map(|port| port.to_string());
        let server = format!("@localhost:{port}/");
        let ours = [
            ("8891", &*ports[0]),
            ("8892", &*ports[1]),
            ("@db.example/", &server),
            // The others of this server need none.
            ("PASSWORD '$owner'", "PASSWORD '$owner' IN ROLE by_password"),
            ("PASSWORD '$reader'", "PASSWORD '$reader' IN ROLE by_password"),
        ];
        work_through("Many brokers, one database", &broker, "/tmp/warden-fleet", &ours, |shell| {
            fs::copy(&authority, shell.get_current_dir().unwrap().join("ca.crt")).unwrap();
            shell.envs(superuser.iter().cloned());
        });
    }
}

/// Types a section of the README into a shell, with these words in place of others, and looks for what it says comes
/// of each step.
fn work_through(section: &str, broker: &Path, place: &str, ours: &[(&str, &str)], prepare: impl FnOnce(&mut Command)) {
    let directory = tempfile::Builder::new().prefix("warden-documents-").tempdir().unwrap();
    let built = directory.path().join("built");
    fs::create_dir(&built).unwrap();
    symlink(env!("CARGO_BIN_EXE_warden"), built.join("warden")).unwrap();
    let name = "libmosquitto_warden.so";
    symlink(std::env::current_exe().unwrap().with_file_name(name), built.join(name)).unwrap();
    fs::write(built.join("mosquitto"), format!("#!/bin/sh\nexec '{}' \"$@\"\n", broker.display())).unwrap();
    fs::set_permissions(built.join("mosquitto"), Permissions::from_mode(0o755)).unwrap();

    let readme = read("README.md");
    let readme = readme.split("\n## ").find(|part| part.lines().next() == Some(section)).unwrap();
    let (blocks, _) = blocks(readme);
    let (mut script, mut expected) = (String::new(), Vec::new());
    for block in &blocks {
        match &*block.language {
            "sh" => {
                write!(script, "echo '== step {}'\n{}", expected.len(), block.text).unwrap();
                expected.push("");
            }
            "text" => *expected.last_mut().unwrap() = &block.text,
            other => panic!("a block of {other} in {section}"),
        }
    }
    let (work, here) = (directory.path().join("work"), directory.path().join("here"));
    fs::create_dir(&here).unwrap();
    let script = ours.iter().fold(script, |script, (from, to)| replaced(&script, from, to));
    let script = replaced(&script, "$PWD/target/release", built.to_str().unwrap());
    let script = replaced(&script, place, work.to_str().unwrap());
    // A machine that has other things to do as well.
    let script = replaced(&script, "sleep 1", "sleep 2");

    let transcript = directory.path().join("transcript");
    let output = File::create(&transcript).unwrap();
    let mut shell = Command::new("timeout");
    shell.args(["--foreground", "120", "bash", "-uc", &script]).process_group(0).env_remove("WARDEN_KEY_FILE");
    shell.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output).current_dir(&here);
    prepare(&mut shell);
    let mut group = Group(shell.spawn().unwrap());
    let status = group.0.wait().unwrap();
    let logs = Command::new("find").arg(&work).args(["-name", "mosquitto.log", "-exec", "cat", "{}", "+"]).output();
    let log = String::from_utf8(logs.unwrap().stdout).unwrap();
    let transcript = fs::read_to_string(transcript).unwrap();
    let all = format!("with {}, {status}:\n{transcript}\nthe broker's log:\n{log}", broker.display());
    assert!(status.success(), "{all}");
    for (number, expected) in expected.into_iter().enumerate() {
        let step = transcript.split("== step ").find_map(|step| step.strip_prefix(&format!("{number}\n")));
        let mut lines = step.unwrap_or_default().lines();
        for line in ours.iter().fold(expected.to_owned(), |text, (from, to)| text.replace(from, to)).lines() {
            assert!(lines.any(|said| said.contains(line)), "step {number} does not say `{line}`, {all}");
        }
    }
}

/// Two ports that nobody listens on, below those that the system gives to outgoing connections. Tests at the same time begin
/// elsewhere.
fn free_ports(from: u16) -> [u16; 2] {
    let mut free = (from..32_768).filter(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok());
    [free.next().unwrap(), free.next().unwrap()]
}
