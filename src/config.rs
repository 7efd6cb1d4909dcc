//! Plugin options and the configuration file become one checked [`Config`].
//!
//! Text in, typed values out: every mistake is found before anything is opened, and all of them are reported at once.
//! A key means the same in the file and, where the table below says so, as a `plugin_opt_` line in mosquitto.conf,
//! which wins over the file.

mod value;

use std::fmt;
use std::io::Read;
use std::num::NonZeroU32;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Value;

use crate::credential::certificate::Reading;
use crate::credential::password::Cost;
use crate::database::Database;

use value::{
    broker_name, cost, database, duration, fields, number, one_line, one_of, path, paths, responder, text, tolerance,
    truth,
};

/// Where the database is when nobody says otherwise: in the directory that belongs to the broker's user.
pub const DEFAULT_DATABASE: &str = "/var/lib/mosquitto/warden.db";

/// What is older than this, no broker should start from.
const MOST_CACHE_AGE: Duration = Duration::from_hours(30 * 24);
/// The release, as it stands in the file of the plugin for `warden doctor` to find.
pub const RELEASE_MARK: &str = concat!("mosquitto-warden release ", env!("CARGO_PKG_VERSION"), ";");

/// The release that such a mark names.
#[must_use]
pub fn release_of(mark: &str) -> &str {
    mark.trim_start_matches("mosquitto-warden release ").trim_end_matches(';')
}

/// Everything that an operator can choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The database.
    pub database: Database,
    /// The key that the pre-shared keys are sealed with.
    pub key_file: PathBuf,
    /// How sure a connecting client's answer must be.
    pub freshness: Freshness,
    /// With [`Freshness::Strict`]: how long a connecting client may keep the broker waiting for the database.
    pub barrier_timeout: Duration,
    /// With [`Freshness::Bounded`]: how old the last confirmation by the database may be.
    pub max_staleness: Duration,
    /// What happens to connecting clients when the policy cannot be confirmed.
    pub on_stale: OnStale,
    /// Where the last policy known is kept.
    pub cache_file: Option<PathBuf>,
    /// How long ago the database may have confirmed what a broker starts from.
    pub cache_max_age: Duration,
    /// What a broker does that starts while the database is away.
    pub start_without_database: StartWithoutDatabase,
    /// What happens to users that the database does not know.
    pub unknown: Unknown,
    /// How often the database is asked whether it has changed.
    pub poll_interval: Duration,
    /// The name under which the broker registers in the database, if it is to.
    pub broker_name: Option<String>,
    /// How often it writes there that it is alive.
    pub heartbeat_interval: Duration,
    /// How many log lines a second refusals may write.
    pub refusals_per_second: u32,
    /// Whether the log is told how long the broker has waited for the plugin at most.
    pub callback_times: bool,
    /// Whether certificates are judged in the TLS handshake.
    pub handshake: Handshake,
    /// Who may resume a TLS session instead of a full handshake.
    pub resumption: Resumption,
    /// How many TLS handshakes a second the broker takes on, if that is limited.
    pub admission_rate: Option<NonZeroU32>,
    /// How a certificate says who its holder is.
    pub certificate: Reading,
    /// What happens to devices whose certificate has expired, where the broker lets it through.
    pub expired: Expired,
    /// With [`Expired::RenewOnly`]: the name of the role that they have.
    pub renewal_role: String,
    /// Revocation lists that are watched.
    pub crl_files: Vec<PathBuf>,
    /// The certificates of the authorities that have signed them.
    pub crl_issuers: Vec<PathBuf>,
    /// What a list past its next update means.
    pub crl_expired: CrlExpired,
    /// Whether the authorities' responders are asked.
    pub ocsp: Ocsp,
    /// The responder that is asked, instead of the one that a certificate names.
    pub ocsp_responder: Option<String>,
    /// The longest time between two questions about one certificate.
    pub ocsp_refresh: Duration,
    /// Whether an answer must repeat the nonce of its question.
    pub ocsp_require_nonce: bool,
    /// How much of each second the broker may wait for passwords to be verified.
    pub login_budget: Duration,
    /// How many wrong passwords a user name may have at once.
    pub login_attempts: u32,
    /// What new hashes of passwords cost.
    pub password_cost: Cost,
    /// Whether hashes that cost less, or are of another form, are replaced when their device logs in.
    pub password_upgrade: bool,
}

impl Default for Config {
    fn default() -> Self {
        let database = Database::from(Path::new(DEFAULT_DATABASE));
        Self {
            key_file: default_key_file(&database),
            database,
            freshness: Freshness::Strict,
            barrier_timeout: Duration::from_millis(500),
            max_staleness: Duration::from_mins(1),
            on_stale: OnStale::Refuse,
            cache_file: None,
            cache_max_age: Duration::from_hours(24),
            start_without_database: StartWithoutDatabase::Fail,
            unknown: Unknown::Deny,
            poll_interval: Duration::from_millis(20),
            broker_name: None,
            heartbeat_interval: Duration::from_secs(5),
            refusals_per_second: 50,
            callback_times: false,
            handshake: Handshake::Enforce,
            resumption: Resumption::Good,
            admission_rate: None,
            certificate: Reading::default(),
            expired: Expired::Refuse,
            renewal_role: "renewal".to_owned(),
            crl_files: Vec::new(),
            crl_issuers: Vec::new(),
            crl_expired: CrlExpired::Warn,
            ocsp: Ocsp::Off,
            ocsp_responder: None,
            ocsp_refresh: Duration::from_hours(1),
            ocsp_require_nonce: false,
            login_budget: Duration::from_millis(200),
            login_attempts: 10,
            password_cost: Cost::default(),
            password_upgrade: false,
        }
    }
}

/// Whether a connecting client waits until the database has confirmed that nothing newer is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Freshness {
    /// It waits, at most [`Config::barrier_timeout`]: a revocation that is committed is never missed.
    Strict,
    /// It does not: the policy may be up to [`Config::max_staleness`] old.
    Bounded,
}

/// What happens to connecting clients when the policy cannot be confirmed in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnStale {
    /// They are refused.
    Refuse,
    /// They are served by the last policy that is known.
    Serve,
}

/// What a broker does that starts while the database is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartWithoutDatabase {
    /// It does not start.
    Fail,
    /// It refuses everybody until the database is there.
    Refuse,
    /// It goes by the cache; where that cannot be used, it does not start.
    Cache,
    /// It goes by the cache; where that cannot be used, it refuses everybody until the database is there.
    CacheOrRefuse,
}

impl StartWithoutDatabase {
    /// Whether it may go by the cache.
    #[must_use]
    pub fn may_use_the_cache(self) -> bool {
        matches!(self, Self::Cache | Self::CacheOrRefuse)
    }

    /// Whether it may start with nothing at all.
    #[must_use]
    pub fn may_refuse(self) -> bool {
        matches!(self, Self::Refuse | Self::CacheOrRefuse)
    }
}

/// What happens to users that the database does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unknown {
    /// They are refused.
    Deny,
    /// Other plugins, and then the broker's own files, are asked.
    Defer,
}

/// Whether certificates are judged in the TLS handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Handshake {
    /// They are, and who was not judged there is refused.
    Enforce,
    /// They are judged when the client is connected.
    Off,
}

/// Who may resume a TLS session instead of a full handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resumption {
    /// Whose certificate is still good.
    Good,
    /// Nobody.
    Off,
}

/// What happens to devices whose certificate has expired, where the broker lets it through
/// (`disable_client_cert_date_checks` of Mosquitto 2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expired {
    /// They are refused.
    Refuse,
    /// They have the role named [`Config::renewal_role`] and nothing else.
    RenewOnly,
}

/// What a revocation list past its next update means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CrlExpired {
    /// A line in the log; what it says still counts.
    Warn,
    /// Nobody comes in whose certificate is of its authority.
    Refuse,
}

/// Whether the authorities' responders (RFC 6960) are asked about certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ocsp {
    Off,
    /// They are; who they say nothing of is admitted.
    Soft,
    /// They are; nobody is admitted before they have said that the certificate is good.
    Hard,
}

impl Config {
    /// Whether there is anybody else to talk to than a file: a server with the database, or responders.
    #[must_use]
    pub fn needs_sockets(&self) -> bool {
        self.database.path().is_none() || self.ocsp != Ocsp::Off
    }

    /// What makes sense of each option alone, and none of them together.
    pub fn warnings(&self) -> impl Iterator<Item = &'static str> {
        let reads = self.start_without_database.may_use_the_cache();
        let unread = self.cache_file.is_some() && !reads;
        let admits_nobody = reads && self.freshness == Freshness::Strict && self.on_stale == OnStale::Refuse;
        let unread = unread.then_some(
            "the cache is written and never read: `start_without_database = \"cache\"` has a broker start from it",
        );
        let admits_nobody = admits_nobody.then_some(
            "the cache admits nobody: with `freshness = \"strict\"` and `on_stale = \"refuse\"` connecting clients are \
             refused while the database is away; it is of use with \"bounded\" and enough `max_staleness`, or with \
             \"serve\"",
        );
        unread.into_iter().chain(admits_nobody)
    }

    fn check_cache(&self, problems: &mut Problems) {
        match &self.cache_file {
            None if self.start_without_database.may_use_the_cache() => {
                problems.push("start_without_database: name the cache that is to be used in `cache_file`");
            }
            Some(cache) if *cache == self.key_file || self.database.path() == Some(cache) => {
                problems.push("cache_file: it needs a file of its own, which is written again and again");
            }
            _ => {}
        }
    }
}

/// The key file that belongs to a database unless another is named: beside it, ending in `.key`; for a database on a
/// server, where it would be for the usual file.
#[must_use]
pub fn default_key_file(database: &Database) -> PathBuf {
    database.path().unwrap_or(Path::new(DEFAULT_DATABASE)).with_extension("key")
}

/// Every mistake that was found, one line each.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Problems {
    lines: Vec<String>,
    rest: Option<Box<Config>>,
}

impl Problems {
    /// One more mistake.
    pub fn push(&mut self, problem: impl Into<String>) {
        self.lines.push(problem.into());
    }

    /// What is said without mistake, where that names a database: good for finding out what else is wrong, and for
    /// nothing more.
    #[must_use]
    pub fn rest(&self) -> Option<&Config> {
        self.rest.as_deref()
    }

    /// The mistakes, in the order in which they were found.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines.join("\n"))
    }
}

impl std::error::Error for Problems {}

/// A file that is named, as it was read.
#[derive(Debug)]
pub struct Contents {
    pub text: String,
    /// Whether everybody on this machine may read it.
    pub for_everybody: bool,
}

/// What this file holds.
pub fn read(path: &Path) -> std::io::Result<Contents> {
    let mut file = std::fs::File::open(path)?;
    let for_everybody = file.metadata()?.permissions().mode() & 0o004 != 0;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok(Contents { text, for_everybody })
}

/// The key that names the configuration file; it has a meaning as a plugin option only.
const CONFIG_FILE: &str = "config_file";

/// Every key, in the order in which the documentation has them. The broker wants at least three characters.
pub const KEYS: [&str; 35] = [
    "database",
    "database_url_file",
    "key_file",
    "freshness",
    "barrier_timeout",
    "max_staleness",
    "on_stale",
    "cache_file",
    "cache_max_age",
    "start_without_database",
    "unknown",
    "poll_interval",
    "broker_name",
    "heartbeat_interval",
    "refusals_per_second",
    "callback_times",
    "handshake",
    "resumption",
    "admission_rate",
    "certificate.identity",
    "certificate.ext_key_usage",
    "certificate.clock_skew",
    "certificate.expired",
    "certificate.renewal_role",
    "crl_files",
    "crl_issuers",
    "crl_expired",
    "ocsp.mode",
    "ocsp.responder",
    "ocsp.refresh",
    "ocsp.require_nonce",
    "login_budget",
    "login_attempts",
    "password_cost",
    "password_upgrade",
];

/// The configuration that these plugin options, and the file that they may name, describe.
///
/// `read` fetches the file's text.
pub fn from_options<'a>(
    options: impl IntoIterator<Item = (&'a str, &'a str)>,
    read: impl Fn(&Path) -> std::io::Result<Contents>,
) -> Result<Config, Problems> {
    let mut problems = Problems::default();
    let mut draft = Draft::default();
    let options: Vec<(&str, &str)> = options.into_iter().map(|(key, value)| (key, value.trim())).collect();
    for (_, path) in options.iter().filter(|(key, _)| *key == CONFIG_FILE) {
        read_file(Path::new(path), &read, &mut draft, &mut problems);
    }
    for (key, value) in options.iter().filter(|(key, _)| *key != CONFIG_FILE) {
        // Everything is text on a plugin_opt line; where a number is meant, it is read as one.
        let value = value.parse::<i64>().map_or_else(|_| Value::String((*value).to_owned()), Value::Integer);
        draft.set(key, value, &format!("plugin_opt_{key}"), &mut problems);
    }
    draft.finish(&read, problems)
}

/// The configuration that this file describes, for the command, which has no plugin options.
pub fn from_file(path: &Path, read: impl Fn(&Path) -> std::io::Result<Contents>) -> Result<Config, Problems> {
    let mut problems = Problems::default();
    let mut draft = Draft::default();
    read_file(path, &read, &mut draft, &mut problems);
    draft.finish(&read, problems)
}

fn read_file(
    path: &Path,
    read: &impl Fn(&Path) -> std::io::Result<Contents>,
    draft: &mut Draft,
    problems: &mut Problems,
) {
    let Contents { text, for_everybody } = match read(path) {
        Ok(contents) => contents,
        Err(error) => {
            return problems.push(format!("cannot read the configuration file `{}`: {error}", path.display()));
        }
    };
    match text.parse::<toml::Table>() {
        Ok(table) => {
            let place = |key: &str| format!("`{key}` in `{}`", path.display());
            for (key, value) in table {
                match value {
                    Value::Table(section) => {
                        for (name, value) in section {
                            let key = format!("{key}.{name}");
                            draft.set(&key, value, &place(&key), problems);
                        }
                    }
                    value => draft.set(&key, value, &place(&key), problems),
                }
            }
            if for_everybody && draft.config.database.has_password() {
                problems.push(exposed(&place("database"), path));
            }
        }
        Err(error) => problems.push(format!("`{}` is not a TOML file: {}", path.display(), one_line(&error))),
    }
}

/// A configuration in the making: what was said wins over the default, the later over the earlier.
#[derive(Default)]
struct Draft {
    config: Config,
    database_named: bool,
    key_file_named: bool,
    freshness_named: bool,
    database_url_file: Option<PathBuf>,
}

impl Draft {
    /// Takes one value; `place` says where it was written.
    fn set(&mut self, key: &str, value: Value, place: &str, problems: &mut Problems) {
        let config = &mut self.config;
        let result = match key {
            "database" => database(value).map(|database| {
                config.database = database;
                self.database_named = true;
            }),
            "database_url_file" => path(value).map(|path| self.database_url_file = Some(path)),
            "key_file" => path(value).map(|path| {
                config.key_file = path;
                self.key_file_named = true;
            }),
            "freshness" => one_of(value).map(|choice| {
                config.freshness = choice;
                self.freshness_named = true;
            }),
            "barrier_timeout" => duration(&value, Duration::from_secs(5)).map(|time| config.barrier_timeout = time),
            "max_staleness" => duration(&value, Duration::from_hours(24)).map(|time| config.max_staleness = time),
            "on_stale" => one_of(value).map(|choice| config.on_stale = choice),
            "cache_file" => path(value).map(|path| config.cache_file = Some(path)),
            "cache_max_age" => duration(&value, MOST_CACHE_AGE).map(|time| config.cache_max_age = time),
            "start_without_database" => one_of(value).map(|choice| config.start_without_database = choice),
            "unknown" => one_of(value).map(|choice| config.unknown = choice),
            "poll_interval" => duration(&value, Duration::from_secs(1)).map(|time| config.poll_interval = time),
            "broker_name" => broker_name(value).map(|name| config.broker_name = Some(name)),
            "heartbeat_interval" => {
                duration(&value, Duration::from_mins(1)).map(|time| config.heartbeat_interval = time)
            }
            "callback_times" => truth(&value).map(|truth| config.callback_times = truth),
            "handshake" => one_of(value).map(|choice| config.handshake = choice),
            "resumption" => one_of(value).map(|choice| config.resumption = choice),
            "admission_rate" => number(&value, 0..=100_000).map(|rate| config.admission_rate = NonZeroU32::new(rate)),
            "certificate.identity" => fields(value).map(|fields| config.certificate.identity = fields),
            "certificate.ext_key_usage" => truth(&value).map(|truth| config.certificate.ext_key_usage = truth),
            "certificate.clock_skew" => {
                tolerance(&value, Duration::from_hours(24)).map(|time| config.certificate.clock_skew = time)
            }
            "certificate.expired" => one_of(value).map(|choice| config.expired = choice),
            "certificate.renewal_role" => text(value).map(|name| config.renewal_role = name),
            "crl_files" => paths(value).map(|paths| config.crl_files = paths),
            "crl_issuers" => paths(value).map(|paths| config.crl_issuers = paths),
            "crl_expired" => one_of(value).map(|choice| config.crl_expired = choice),
            "ocsp.mode" => one_of(value).map(|choice| config.ocsp = choice),
            "ocsp.responder" => responder(value).map(|url| config.ocsp_responder = Some(url)),
            "ocsp.refresh" => duration(&value, Duration::from_hours(24)).map(|time| config.ocsp_refresh = time),
            "ocsp.require_nonce" => truth(&value).map(|truth| config.ocsp_require_nonce = truth),
            "login_budget" => duration(&value, Duration::from_millis(900)).map(|time| config.login_budget = time),
            "login_attempts" => number(&value, 1..=1_000).map(|count| config.login_attempts = count),
            "password_cost" => cost(value).map(|cost| config.password_cost = cost),
            "password_upgrade" => truth(&value).map(|truth| config.password_upgrade = truth),
            "refusals_per_second" => number(&value, 1..=10_000).map(|count| config.refusals_per_second = count),
            unknown => return problems.push(unknown_key(unknown, place)),
        };
        if let Err(why) = result {
            problems.push(format!("{place}: {why}"));
        }
    }

    fn finish(
        mut self,
        read: &impl Fn(&Path) -> std::io::Result<Contents>,
        mut problems: Problems,
    ) -> Result<Config, Problems> {
        if let Some(file) = self.database_url_file.take() {
            let named = if self.database_named { Err("`database` is given as well".to_owned()) } else { Ok(()) };
            let contents = named.and_then(|()| read(&file).map_err(|error| error.to_string()));
            let found = contents.and_then(|Contents { text, for_everybody }| {
                let database = Database::parse(text.trim()).map_err(|error| error.to_string())?;
                Ok((database, for_everybody))
            });
            match found {
                Ok((database, for_everybody)) => {
                    if for_everybody && database.has_password() {
                        problems.push(exposed("database_url_file", &file));
                    }
                    self.config.database = database;
                    self.database_named = true;
                }
                Err(why) => problems.push(format!("database_url_file `{}`: {why}", file.display())),
            }
        }
        if !self.key_file_named {
            self.config.key_file = default_key_file(&self.config.database);
        }
        // Over a network, nobody waits for the database unless its operator says so.
        if !self.freshness_named && self.config.database.path().is_none() {
            self.config.freshness = Freshness::Bounded;
        }
        if !self.config.crl_files.is_empty() && self.config.crl_issuers.is_empty() {
            problems.push("crl_files: name the certificates of the authorities that sign these lists in `crl_issuers`");
        }
        self.config.check_cache(&mut problems);
        if self.config.handshake == Handshake::Off && self.config.ocsp != Ocsp::Off {
            problems.push("ocsp.mode: responders are asked about what clients show in the handshake, which is \"off\"");
        }
        if problems.is_empty() {
            return Ok(self.config);
        }
        problems.rest = self.database_named.then(|| Box::new(self.config));
        Err(problems)
    }
}

fn unknown_key(key: &str, place: &str) -> String {
    let nearest = KEYS
        .iter()
        .chain([&CONFIG_FILE])
        .map(|known| (strsim::damerau_levenshtein(key, known), *known))
        .min()
        .filter(|(distance, known)| *distance * 3 <= known.len());
    match nearest {
        Some((_, known)) => format!("unknown option {place}; did you mean `{known}`?"),
        None => format!("unknown option {place}; the options are {}", KEYS.join(", ")),
    }
}

fn exposed(place: &str, file: &Path) -> String {
    let file = file.display();
    format!("{place}: everybody may read the password in `{file}`; run `chmod o-r {file}`")
}

#[cfg(test)]
mod tests;
