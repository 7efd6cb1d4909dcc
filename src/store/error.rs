//! What can go wrong with the database, by cause, in the operator's words.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// What a verb is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noun {
    Device,
    Credential,
    Role,
    Rule,
}

impl fmt::Display for Noun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Device => "device",
            Self::Credential => "credential",
            Self::Role => "role",
            Self::Rule => "rule",
        })
    }
}

/// What can go wrong with the database. A message is complete: no cause needs to be asked for.
#[derive(Debug, Error)]
pub enum StoreError {
    // The file.
    #[error("there is no database `{path}`; `warden init` makes one")]
    Missing { path: PathBuf },
    #[error("the database `{path}` is not a regular file")]
    NotAFile { path: PathBuf },
    #[error("`{path}` is not an SQLite database; name the right file, or move this one away and run `warden init`")]
    NotADatabase { path: PathBuf },
    #[error("the database `{path}` is cut off: {found} of {expected} bytes are left; restore it from a backup")]
    Truncated { path: PathBuf, found: u64, expected: u64 },
    #[error(
        "the database `{path}` cannot be {verb} by `{user}`: it belongs to `{owner}` and has mode {mode:04o}; \
         run `chown {user} {path}`"
    )]
    Denied { path: PathBuf, verb: &'static str, owner: String, mode: u32, user: String },
    #[error("the database `{path}` is out of reach of `{user}`, who must be able to enter every directory above it")]
    OutOfReach { path: PathBuf, user: String },
    #[error(
        "the directory `{path}` cannot be written by `{user}`, and SQLite keeps files beside the database; \
         it belongs to `{owner}`: run `chown {user} {path}`, or work as `{owner}`"
    )]
    Directory { path: PathBuf, owner: String, user: String },
    #[error("there is no directory `{path}`; run `mkdir -p {path}`")]
    NoDirectory { path: PathBuf },
    #[error("the database `{path}` cannot be made: {cause}")]
    Create { path: PathBuf, cause: io::Error },
    #[error("the database `{path}` cannot be read: {cause}")]
    Unreadable { path: PathBuf, cause: io::Error },
    #[error("another file was put in the place of the database `{path}`")]
    Replaced { path: PathBuf },
    /// What follows, and where.
    #[error("`{path}`: {cause}")]
    At { path: PathBuf, cause: Box<StoreError> },

    // The schema.
    #[error("the database has no schema yet; run `warden init`")]
    SchemaMissing,
    #[error("the database has schema {found}, this version of mosquitto-warden needs {needed}; run `warden init`")]
    SchemaOlder { found: i64, needed: i64 },
    #[error(
        "the database has schema {found}, this version of mosquitto-warden knows {needed}; upgrade mosquitto-warden"
    )]
    SchemaNewer { found: i64, needed: i64 },
    #[error(
        "schema {version} of the database is not the one that this version of mosquitto-warden was released with; \
         use the version that made the database, or restore it from a backup"
    )]
    SchemaAltered { version: i64 },
    #[error("the database holds tables of something else; give mosquitto-warden a database of its own")]
    NotOurs,
    #[error("the schema cannot be brought up to date: {0}")]
    Migrate(sqlx::migrate::MigrateError),

    // The rows.
    #[error("there is no {noun} `{name}`")]
    NotFound { noun: Noun, name: String, nearest: Option<String> },
    #[error("there is already a {noun} `{name}`")]
    AlreadyExists { noun: Noun, name: String },
    #[error("{0}")]
    Ambiguous(String),
    /// The row cannot stand beside another.
    #[error("{0}")]
    Conflict(String),
    /// The row makes no sense by itself.
    #[error("{0}")]
    Refused(String),

    // The engine.
    #[error("another program kept the database locked for too long; try again")]
    Busy,
    #[error("the database is read-only")]
    ReadOnly,
    #[error("the disk is full")]
    Full,
    #[error("the database is damaged; restore it from a backup")]
    Damaged,
    #[error("the database file, or a file that SQLite keeps beside it, cannot be opened")]
    CannotOpen,
    #[error("the database failed: {0}")]
    Database(sqlx::Error),
}

impl StoreError {
    pub(super) fn at(path: &Path, cause: Self) -> Self {
        Self::At { path: path.into(), cause: Box::new(cause) }
    }

    pub(super) fn not_found(noun: Noun, name: &str) -> Self {
        Self::NotFound { noun, name: name.to_owned(), nearest: None }
    }

    /// What may help, where that is more than the message says.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotFound { nearest: Some(nearest), .. } => Some(format!("did you mean `{nearest}`?")),
            Self::NotFound { noun: noun @ (Noun::Device | Noun::Role), .. } => {
                Some(format!("`warden {noun} list` shows what there is"))
            }
            Self::At { cause, .. } => cause.hint(),
            _ => None,
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let sqlx::Error::Database(cause) = &error else { return Self::Database(error) };
        let code: Option<u32> = cause.code().and_then(|code| code.parse().ok());
        // The low byte is the primary result code (sqlite.org/rescode.html).
        match code.map(|code| code & 0xff) {
            Some(5 | 6) => Self::Busy,
            Some(8) => Self::ReadOnly,
            Some(11 | 26) => Self::Damaged,
            Some(13) => Self::Full,
            Some(14) => Self::CannotOpen,
            Some(19) => constraint(cause.message()),
            _ => Self::Database(error),
        }
    }
}

/// What a constraint of the schema means.
fn constraint(message: &str) -> StoreError {
    let of_unique = [
        ("devices.name", "there is already a device of this name"),
        ("roles.name", "there is already a role of this name"),
        ("credentials.kind, credentials.identity", "this identity already has a credential of this kind"),
        ("credentials.secret_digest", "this key already belongs to another credential; every credential needs its own"),
    ];
    if let Some(columns) = message.strip_prefix("UNIQUE constraint failed: ") {
        let known = of_unique.into_iter().find(|(known, _)| *known == columns);
        return StoreError::Conflict(known.map_or_else(|| message.to_owned(), |(_, words)| words.to_owned()));
    }
    // SQLite quotes the expression of a check; a telling part of it is enough to know it by.
    let of_check = [
        ("name NOT GLOB", "a device name cannot hold `+`, `#`, `/` or control characters"),
        ("instr(name", "a device name cannot hold `+`, `#`, `/` or control characters"),
        ("length(name)", "a name has 1 to 255 characters"),
        ("kind NOT IN", "a fingerprint is written in 64 lower-case hexadecimal digits"),
        ("kind <> 'x509_serial'", "a serial number is written in lower-case hexadecimal digits, without leading zeros"),
        ("length(identity)", "an identity has 1 to 65535 characters"),
        ("instr(identity", "an identity cannot hold a NUL character"),
        ("length(client_id)", "a client id pattern has 1 to 1024 characters"),
        ("issuer IS NULL OR kind", "only a certificate has an issuer"),
        ("length(issuer) = 64", "an issuer is known by the 64 lower-case hexadecimal digits of its key's SHA-256"),
        ("length(issuer)", "an issuer's name has 1 to 4096 characters"),
        ("length(serial)", "a serial number has 1 to 128 hexadecimal digits"),
        ("json_valid(attributes)", "attributes are a JSON object"),
        ("topic", "the topic is not a topic filter (MQTT 5, section 4.7)"),
        ("max_qos", "a highest QoS is 0, 1 or 2, and only an allow rule has one"),
        ("unixepoch", "a time is written like `2026-01-31T12:00:00Z`"),
    ];
    if let Some(expression) = message.strip_prefix("CHECK constraint failed: ") {
        let known = of_check.into_iter().find(|(known, _)| expression.contains(known));
        return StoreError::Refused(known.map_or_else(|| message.to_owned(), |(_, words)| words.to_owned()));
    }
    // What a trigger raises is in words already.
    StoreError::Conflict(message.to_owned())
}
