//! What an access check costs in Mosquitto's own plugins and in ours: each is loaded as Mosquitto loads it, by the same
//! caller, in the same process, with the same rules, and any device asks for any topic of its own.
//! `WARDEN_BENCH_DEVICES` sets another number of devices for the largest fleet of ours.
//!
//! The process runs under the loader of the Mosquitto that tests/brokers.sh has unpacked, as that broker does, so that
//! its plugins find what they are linked with.
#![allow(
    dead_code,
    clippy::cast_precision_loss,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a bench that cannot measure has nothing else to say"
)]

#[path = "plugins/allocations.rs"]
mod allocations;
#[path = "../tests/broker/harness/brokers.rs"]
mod brokers;
#[path = "plugins/caller.rs"]
mod caller;
#[path = "plugins/files.rs"]
mod files;
mod stand;

use std::env;
use std::ffi::{CString, c_int};
use std::fs;
use std::hint::black_box;
use std::io::Write as _;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use caller::{ALLOWED, Client, DEFERRED, DENIED, Plugin};
use stand::{Stand, name};

const CHECKS: usize = 500_000;
/// As many logins or checks have a tick before them; none is in what is measured.
const BETWEEN_TICKS: usize = 1_000;
/// Rules that each device has, where nothing else is said.
const RULES: usize = 10;
/// The directories that the process under the broker's loader finds plugins in: Mosquitto's, and ours.
const PLUGINS: [&str; 2] = ["WARDEN_BENCH_THEIR_PLUGINS", "WARDEN_BENCH_OUR_PLUGIN"];

fn main() {
    match PLUGINS.map(env::var_os) {
        [Some(theirs), Some(ours)] => Comparison { theirs: theirs.into(), ours: ours.into() }.run(),
        _ => start_under_the_brokers_loader(),
    }
}

/// Starts this program again, and does not return.
fn start_under_the_brokers_loader() {
    let broker = brokers::installed().into_iter().find(brokers::Mosquitto::has_connect_event);
    let directory = broker.and_then(|broker| broker.program.parent().map(Path::to_owned));
    let directory = directory.expect("no mosquitto 2.1 under target/brokers: run tests/brokers.sh --all");
    let entries = |directory: &Path| fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let libraries = entries(&directory.join("usr/lib"))
        .find(|path| path.join("mosquitto/mosquitto_acl_file.so").exists())
        .expect("this mosquitto has no mosquitto_acl_file.so beside it");
    let is_loader = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with("ld-linux");
    let loader = entries(&libraries).find(is_loader).expect("this mosquitto has no loader beside it");
    let more = directory.join("lib").join(libraries.file_name().unwrap());
    let program = env::current_exe().unwrap();
    let error = Command::new(loader)
        .arg("--library-path")
        .arg(env::join_paths([&libraries, &more]).unwrap())
        .arg(&program)
        .env(PLUGINS[0], libraries.join("mosquitto"))
        .env(PLUGINS[1], program.parent().unwrap())
        .exec();
    panic!("{error}");
}

/// Mosquitto's own access controls, which believe user names and know rules by a file.
#[derive(Clone, Copy)]
enum Theirs {
    Sections,
    Patterns,
    RoleEach,
    OneRole,
}

impl Theirs {
    fn name(self) -> &'static str {
        match self {
            Self::Sections => "acl_file, a section each",
            Self::Patterns => "acl_file, patterns",
            Self::RoleEach => "dynamic-security, a role each",
            Self::OneRole => "dynamic-security, one role with `%u`",
        }
    }

    fn file(self, devices: usize) -> String {
        match self {
            Self::Sections => files::sections(devices, RULES),
            Self::Patterns => files::patterns(RULES),
            Self::RoleEach => files::roles(devices, RULES),
            Self::OneRole => files::one_role(devices, RULES),
        }
    }

    /// The plugin, its option for the file, and what it says where no rule allows.
    fn plugin(self) -> (&'static str, &'static str, c_int) {
        match self {
            Self::Sections | Self::Patterns => ("mosquitto_acl_file.so", "acl_file", DENIED),
            Self::RoleEach | Self::OneRole => ("mosquitto_dynamic_security.so", "config_file", DEFERRED),
        }
    }
}

struct Comparison {
    theirs: PathBuf,
    ours: PathBuf,
}

impl Comparison {
    fn run(&self) {
        let largest = env::var("WARDEN_BENCH_DEVICES").map_or(1_000_000, |text| text.parse().expect("a number"));
        println!("| access control | devices | rules of a device | started in | median ns | p99 ns | allocations |");
        println!("|---|---|---|---|---|---|---|");
        let [few, many] = [10_000, 100_000];
        for (control, devices) in [(Theirs::Sections, many), (Theirs::Patterns, many), (Theirs::Patterns, largest)] {
            self.theirs(control, devices);
        }
        let theirs = [Theirs::RoleEach, Theirs::OneRole].map(|control| (control, self.theirs(control, few)));
        let ours = [few, many, largest].map(|devices| (devices, self.warden(devices, RULES)));
        for rules in [10, 100, 1_000, 10_000] {
            self.warden(1_000, rules);
        }
        println!();
        for (devices, median) in ours {
            let [each, one] = theirs.map(|(control, theirs)| {
                format!("{:.2} of that of {}", median.as_secs_f64() / theirs.as_secs_f64(), control.name())
            });
            println!("the median of warden with {devices} devices is {each}, and {one}, with {few}");
        }
    }

    /// What a check takes in the middle.
    fn theirs(&self, control: Theirs, devices: usize) -> Duration {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(control.file(devices).as_bytes()).unwrap();
        let (library, option, refusal) = control.plugin();
        let begun = Instant::now();
        let plugin = Plugin::load(&self.theirs.join(library), &[(option, file.path().to_str().unwrap())]);
        let started = begun.elapsed();
        let clients: Vec<Client> = (0..devices).map(|number| Client::with_user_name(&name(number))).collect();
        print!("| {} | {devices} | {RULES} | {started:.2?} ", control.name());
        checks(&plugin, &clients, refusal)
    }

    /// What a check takes in the middle in ours, which finds devices by their certificates.
    fn warden(&self, devices: usize, rules: usize) -> Duration {
        let directory = tempfile::tempdir().unwrap();
        let stand = Stand::make(directory.path(), devices, rules);
        let (database, key_file) = (stand.database(), stand.key_file());
        let options = [
            ("database", database.to_str().unwrap()),
            ("key_file", key_file.to_str().unwrap()),
            ("freshness", "bounded"),
            // There are certificates here, but no TLS.
            ("handshake", "off"),
        ];
        let begun = Instant::now();
        let plugin = Plugin::load(&self.ours.join("libmosquitto_warden.so"), &options);
        let started = begun.elapsed();
        let mut clients: Vec<Client> = (0..devices).map(|number| Client::with_certificate(&name(number))).collect();
        for (number, client) in clients.iter_mut().enumerate() {
            if number % BETWEEN_TICKS == 0 {
                plugin.tick();
            }
            plugin.login(client);
        }
        print!("| warden | {devices} | {rules} | {started:.2?} ");
        checks(&plugin, &clients, DENIED)
    }
}

/// Any device publishes to a topic of its own; none may to another's, nor to what is denied to all. The rest of the line
/// of the table, and the median.
fn checks(plugin: &Plugin, clients: &[Client], refusal: c_int) -> Duration {
    let topic = |number: usize, rest: &str| CString::new(format!("site/dev/{}/{rest}", name(number))).unwrap();
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    let asked: Vec<(usize, CString)> = (0..CHECKS)
        .map(|_| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let number = usize::try_from(random >> 33).unwrap() % clients.len();
            (number, topic(number, &format!("up/{}", random % 1_000)))
        })
        .collect();
    // Each has asked before, as each that is here for longer has.
    for (number, client) in clients.iter().enumerate() {
        if number % BETWEEN_TICKS == 0 {
            plugin.tick();
        }
        assert_eq!(plugin.may_publish(client, &topic(number, "up")), ALLOWED, "client {number}");
    }
    let clock = clock_cost();
    let mut times: Vec<Duration> = Vec::with_capacity(CHECKS);
    let mut allocations = 0;
    for (index, (number, topic)) in asked.iter().enumerate() {
        if index % BETWEEN_TICKS == 0 {
            plugin.tick();
        }
        let before = allocations::of_this_thread();
        let begun = Instant::now();
        let answer = plugin.may_publish(black_box(&clients[*number]), black_box(topic));
        times.push(begun.elapsed().saturating_sub(clock));
        allocations += allocations::of_this_thread() - before;
        assert_eq!(answer, ALLOWED, "{topic:?}");
    }
    for (number, client) in clients.iter().enumerate().take(100) {
        // A rule that denies answers for itself, also where nobody would know of one.
        for (topic, refusal) in [(topic(number + 1, "up"), refusal), (topic(number, "secret"), DENIED)] {
            assert_eq!(plugin.may_publish(client, &topic), refusal, "client {number}, {topic:?}");
        }
    }
    times.sort();
    let [median, p99] = [50, 99].map(|percent| times[CHECKS * percent / 100]);
    println!("| {} | {} | {allocations} in {CHECKS} |", median.as_nanos(), p99.as_nanos());
    median
}

/// What it costs to look at the clock.
fn clock_cost() -> Duration {
    let mut times: Vec<Duration> = (0..10_000).map(|_| Instant::now()).map(|begun| begun.elapsed()).collect();
    times.sort();
    times[times.len() / 2]
}
