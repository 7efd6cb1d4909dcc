use std::fmt::Write as _;
use std::fs::{self, File, Permissions};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
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
    assert!(script.contains(from), "the tutorial does not say `{from}`");
    script.replace(from, to)
}

#[test]
fn the_tutorial_works_as_it_is_written() {
    for broker in brokers() {
        work_through_on(&broker);
    }
}

fn work_through_on(broker: &std::path::Path) {
    let directory = tempfile::Builder::new().prefix("warden-documents-").tempdir().unwrap();
    let built = directory.path().join("built");
    fs::create_dir(&built).unwrap();
    symlink(env!("CARGO_BIN_EXE_warden"), built.join("warden")).unwrap();
    let name = "libmosquitto_warden.so";
    symlink(std::env::current_exe().unwrap().with_file_name(name), built.join(name)).unwrap();
    fs::write(built.join("mosquitto"), format!("#!/bin/sh\nexec '{}' \"$@\"\n", broker.display())).unwrap();
    fs::set_permissions(built.join("mosquitto"), Permissions::from_mode(0o755)).unwrap();

    let readme = read("README.md");
    let section = readme.split("\n## ").find(|section| section.starts_with("Tutorial\n")).unwrap();
    let (blocks, _) = blocks(section);
    let (mut script, mut expected) = (String::new(), Vec::new());
    for block in &blocks {
        match &*block.language {
            "sh" => {
                write!(script, "echo '== step {}'\n{}", expected.len(), block.text).unwrap();
                expected.push("");
            }
            "text" => *expected.last_mut().unwrap() = &block.text,
            other => panic!("a block of {other} in the tutorial"),
        }
    }
    let [certificates, keys] = free_ports();
    let script = replaced(&script, "make build\n", "");
    let script = replaced(&script, "8883", &certificates.to_string());
    let script = replaced(&script, "8884", &keys.to_string());
    let script = replaced(&script, "$PWD/target/release", built.to_str().unwrap());
    let script = replaced(&script, "/tmp/warden-tutorial", directory.path().join("work").to_str().unwrap());
    // A machine that has other things to do as well.
    let script = replaced(&script, "sleep 1", "sleep 2");

    let transcript = directory.path().join("transcript");
    let output = File::create(&transcript).unwrap();
    let mut shell = Command::new("timeout");
    shell.args(["--foreground", "120", "bash", "-uc", &script]).process_group(0).env_remove("WARDEN_KEY_FILE");
    shell.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
    let mut group = Group(shell.spawn().unwrap());
    let status = group.0.wait().unwrap();
    let log = fs::read_to_string(directory.path().join("work/mosquitto.log")).unwrap_or_default();
    let transcript = fs::read_to_string(transcript).unwrap();
    let all = format!("with {}, {status}:\n{transcript}\nthe broker's log:\n{log}", broker.display());
    assert!(status.success(), "{all}");
    for (number, expected) in expected.into_iter().enumerate() {
        let step = transcript.split("== step ").find_map(|step| step.strip_prefix(&format!("{number}\n")));
        let mut lines = step.unwrap_or_default().lines();
        for line in expected.lines() {
            assert!(lines.any(|said| said.contains(line)), "step {number} does not say `{line}`, {all}");
        }
    }
}

/// Two ports that nobody listens on, below those that the system gives to outgoing connections.
fn free_ports() -> [u16; 2] {
    let mut free = (30_000..32_768).filter(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok());
    [free.next().unwrap(), free.next().unwrap()]
}
