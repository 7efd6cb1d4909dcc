//! On what it was measured, and when.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::thread::available_parallelism;

use super::harness::{Broker, Mosquitto};

/// The machine when the bench began, and the brokers that it has seen.
#[derive(Debug)]
pub(crate) struct Machine {
    cores: usize,
    model: String,
    began: String,
    load: String,
    brokers: BTreeMap<String, String>,
}

impl Machine {
    pub(crate) fn new() -> Self {
        let information = fs::read_to_string("/proc/cpuinfo").unwrap();
        let model = information.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let load = fs::read_to_string("/proc/loadavg").unwrap();
        Self {
            cores: available_parallelism().unwrap().get(),
            model: model.map_or("of unknown model", |(_, model)| model.trim()).to_owned(),
            began: jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string(),
            load: load.split(' ').take(3).collect::<Vec<_>>().join(", "),
            brokers: BTreeMap::new(),
        }
    }

    /// Looks which OpenSSL this broker has loaded.
    pub(crate) fn saw(&mut self, mosquitto: &Mosquitto, broker: &Broker) {
        let maps = fs::read_to_string(format!("/proc/{}/maps", broker.pid())).unwrap();
        let library = maps.split_whitespace().find(|word| word.contains("/libcrypto.so"));
        let version = library.and_then(|path| version(&fs::read(path).ok()?));
        self.brokers.insert(mosquitto.name.clone(), version.unwrap_or_else(|| "an unknown OpenSSL".to_owned()));
    }
}

/// What the library calls itself: a name, three numbers, a date.
fn version(library: &[u8]) -> Option<String> {
    let name = b"OpenSSL ";
    let mut texts = library.windows(name.len() + 1).enumerate().filter_map(|(at, window)| {
        let is_it = window.starts_with(name) && window[name.len()].is_ascii_digit();
        let text = is_it.then(|| library[at..].split(|byte| *byte == 0).next())??;
        str::from_utf8(text).ok()
    });
    texts.next().map(str::to_owned)
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cores, model, began, load, brokers } = self;
        let ours = openssl::version::version();
        writeln!(f, "{began}; {cores} cores, {model}; load average at the start {load}; clients with {ours};")?;
        let brokers: Vec<String> = brokers.iter().map(|(name, openssl)| format!("{name} with {openssl}")).collect();
        write!(f, "mosquitto {}.", brokers.join(", "))
    }
}
