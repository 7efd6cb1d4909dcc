//! The command itself, on databases of its own. One file for each thing that is tested:
//!
//! - `provisioning`: from nothing to a device that may publish, and back
//! - `init`: what is made, for whom, and what is kept
//! - `certificates`: credentials taken from certificates; single ones revoked, taken back, listed, shown
//! - `brokers`: which have registered, and who has not confirmed
//! - `issuing`: an authority, the certificates that it issues, and what a device begins its life with
//! - `bulk`: many devices from a table, revoked by file or attribute, and interrupted
//! - `import`: files of Mosquitto and tables of other plugins
//! - `crl`: revocation lists: imported if they can be believed, and what that changes
//! - `connecting`: servers that prove who they are, and passwords that nobody else sees
//! - `keys`: pre-shared keys: shown once, sealed, never shared
//! - `passwords`: never on a command line, hashed, replaced, refused where they are weak
//! - `refused`: exit codes, errors and hints
//! - `doctor`: what is unsafe in a broker's configuration
//! - `lint`: what is wrong with a policy
//! - `expectations`: what a policy is expected to say
//! - `policy_files`: a policy is written as a file and made what a file says
//! - `diff`: which devices gain or lose which rights
//! - `json`: the shapes that scripts read
//! - `schema`: every answer in JSON is what its schema says
//! - `help`: every help ends in examples, and those examples are good
//! - `rotation`: keys, and the key that they are sealed with, replaced while the old one still works

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod authority;
mod brokers;
mod bulk;
mod certificates;
mod connecting;
mod crl;
mod diff;
mod doctor;
mod expectations;
mod help;
mod import;
mod init;
mod issuing;
mod json;
mod keys;
mod lint;
mod passwords;
mod policy_files;
mod provisioning;
mod refused;
mod rotation;
mod schema;
#[path = "../servers/mod.rs"]
mod servers;

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// A directory for one test, in which `warden` works.
struct Warden {
    directory: TempDir,
}

/// How a command ended and what it said.
#[derive(Debug)]
struct Said {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Warden {
    /// Without a database.
    fn empty() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    /// With a new database.
    fn new() -> Self {
        let warden = Self::empty();
        warden.done("init");
        warden
    }

    /// With a role `sensor` of two rules, and devices `device-001` (certificate) and `device-002` (key) that have it.
    fn fleet() -> Self {
        let warden = Self::new();
        warden.done("role add sensor");
        warden.done("rule add sensor allow publish devices/%u/# --max-qos 1");
        warden.done("rule add sensor allow read devices/%u/cmd");
        warden.done("device add device-001 --cn --role sensor");
        warden.done("device add device-002 --psk --role sensor --client-id %u-*");
        warden
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_warden"));
        command
            .args(args)
            .env_clear()
            .env("WARDEN_DATABASE", self.path("warden.db"))
            .current_dir(self.directory.path());
        command
    }

    fn args(&self, args: &[&str]) -> Said {
        let said = Said::from(self.command(args).stdin(Stdio::null()).output().unwrap());
        schema::hold_against(args, &said);
        said
    }

    /// Runs `warden` with these words, which hold no spaces.
    fn run(&self, words: &str) -> Said {
        self.args(&words.split_whitespace().collect::<Vec<_>>())
    }

    fn run_with_stdin(&self, words: &str, stdin: &str) -> Said {
        let args: Vec<_> = words.split_whitespace().collect();
        let mut command = self.command(&args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // It may have ended without reading any of it.
        let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
        let said = Said::from(child.wait_with_output().unwrap());
        schema::hold_against(&args, &said);
        said
    }

    /// What a command writes that must succeed.
    fn done(&self, words: &str) -> String {
        let said = self.run(words);
        assert_eq!(said.code, 0, "warden {words}: {said:?}");
        said.stdout
    }

    /// The same, as JSON.
    fn json(&self, words: &str) -> serde_json::Value {
        serde_json::from_str(&self.done(&format!("{words} --json"))).unwrap()
    }

    /// What the sqlite3 shell answers to this. It waits for a `warden` that runs beside it.
    fn sqlite3(&self, sql: &str) -> String {
        let output = Command::new("sqlite3")
            .args(["-cmd", ".timeout 10000"])
            .arg(self.path("warden.db"))
            .arg(sql)
            .output()
            .expect("the sqlite3 shell is needed; run `apt-get install sqlite3`");
        assert!(output.status.success(), "{sql}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().expect("it was not ended by a signal"),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}
