//! The Mosquitto versions to run on: those that `tests/brokers.sh` has put under `target/brokers`.

use std::any::Any;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, thread};

/// What `WARDEN_BROKERS=all` asks for: the beginning and the end of the name of each that the plugin is made for.
const ALL: [(&str, &str); 4] = [("2.0.11", ""), ("2.0.2", ""), ("2.0.2", "-openssl3.5"), ("2.1.", "")];

/// One Mosquitto that can be run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mosquitto {
    /// Its directory's name: the version, and what else makes it different from another of that version.
    pub(crate) name: String,
    pub(crate) program: PathBuf,
}

impl Mosquitto {
    /// What it calls itself.
    pub(crate) fn version(&self) -> &str {
        self.parts().0
    }

    /// The version, and the rest of its name with the hyphen in front.
    fn parts(&self) -> (&str, &str) {
        self.name.split_at(self.name.find('-').unwrap_or(self.name.len()))
    }

    /// The dynamic-security plugin that it comes with, and `mosquitto_ctrl`.
    pub(crate) fn dynamic_security(&self) -> (PathBuf, Command) {
        let directory = self.program.parent().unwrap();
        let here = |path: &str| directory.join(path);
        let library = "usr/lib/x86_64-linux-gnu";
        if here("usr/bin/mosquitto_ctrl").exists() {
            let paths = [here(library), here("lib/x86_64-linux-gnu")].map(|path| path.display().to_string()).join(":");
            // Each comes with its C library, which only its own loader can load.
            let loader = [library, "lib/x86_64-linux-gnu"].map(|path| here(&format!("{path}/ld-linux-x86-64.so.2")));
            let loader = loader.into_iter().find(|path| path.exists()).expect("it comes with a loader");
            let mut command = Command::new(loader);
            command.args(["--library-path", &paths]).arg(here("usr/bin/mosquitto_ctrl"));
            return (here(&format!("{library}/mosquitto_dynamic_security.so")), command);
        }
        (format!("/{library}/mosquitto_dynamic_security.so").into(), Command::new("mosquitto_ctrl"))
    }

    /// Whether it tells plugins about every client that connects: from 2.1.
    pub(crate) fn has_connect_event(&self) -> bool {
        !self.name.starts_with("2.0.")
    }
}

/// Runs the test on each Mosquitto at the same time, and says on which of them it failed: at once, because all that tests
/// print is kept until the last of them is over.
pub(crate) fn on_every_broker(test: impl Fn(&Mosquitto) + Sync) {
    let failures: Vec<String> = thread::scope(|scope| {
        let threads: Vec<_> = installed()
            .into_iter()
            .map(|mosquitto| {
                let (name, test) = (format!("mosquitto {}", mosquitto.name), &test);
                let body = move || test(&mosquitto);
                (name.clone(), thread::Builder::new().name(name).spawn_scoped(scope, body).unwrap())
            })
            .collect();
        threads
            .into_iter()
            .filter_map(|(name, thread)| thread.join().err().map(|panic| format!("on {name}: {}", message(&*panic))))
            .collect()
    });
    if !failures.is_empty() {
        let failures = failures.join("\n");
        let _ = writeln!(io::stderr(), "{}: {failures}", thread::current().name().unwrap_or_default());
        panic!("{failures}");
    }
}

/// The brokers that there are.
pub(crate) fn installed() -> Vec<Mosquitto> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/brokers");
    let mut found: Vec<Mosquitto> = fs::read_dir(&directory)
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap())
        .map(|entry| Mosquitto {
            name: entry.file_name().into_string().unwrap(),
            program: entry.path().join("mosquitto.sh"),
        })
        .filter(|mosquitto| mosquitto.program.exists())
        .collect();
    found.sort();
    if env::var("WARDEN_BROKERS").is_ok_and(|which| which == "all") {
        for (series, more) in ALL {
            let wanted = |mosquitto: &Mosquitto| mosquitto.name.starts_with(series) && mosquitto.parts().1 == more;
            assert!(
                found.iter().any(wanted),
                "no mosquitto {series}{more} under target/brokers: run tests/brokers.sh --all"
            );
        }
    }
    if let Ok(only) = env::var("WARDEN_TEST_BROKERS") {
        found.retain(|mosquitto| only.split([',', ' ']).any(|name| name == mosquitto.name));
    }
    assert!(!found.is_empty(), "no mosquitto under target/brokers: run tests/brokers.sh, or `make test`, which does");
    found
}

fn message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without words")
}
