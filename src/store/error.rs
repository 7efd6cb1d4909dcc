//! What can go wrong with the database, by cause, in the operator's words.

use std::fmt;
use std::io;
use std::path::PathBuf;

use sqlx::error::DatabaseError;
use sqlx::mysql::MySqlDatabaseError;
use sqlx::postgres::PgDatabaseError;
use thiserror::Error;

/// What a verb is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noun {
    Device,
    Credential,
    Role,
    Rule,
    Broker,
}

impl fmt::Display for Noun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Device => "device",
            Self::Credential => "credential",
            Self::Role => "role",
            Self::Rule => "rule",
            Self::Broker => "broker",
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
    #[error("`{database}`: {cause}")]
    At { database: String, cause: Box<StoreError> },

    // The server.
    #[error("the address cannot be understood")]
    Address,
    #[error("the file that `{parameter}` names in the address, `{path}`, cannot be read by `{user}`: {cause}")]
    AddressFile { parameter: String, path: PathBuf, user: String, cause: io::Error },
    #[error(
        "the database server does not offer TLS; turn it on there, or write `sslmode=disable` (PostgreSQL) or \
         `ssl-mode=DISABLED` (MariaDB, MySQL) behind a `?` in the address if the network up to it is yours alone"
    )]
    NoTls,
    #[error(
        "the database server's certificate is not accepted: {0}; the address has to have the name that is in the \
         certificate, and `sslrootcert=FILE` (PostgreSQL) or `ssl-ca=FILE` (MariaDB, MySQL) behind a `?` names the \
         authority that has signed it"
    )]
    Certificate(String),
    #[error(
        "a pooler is in between, for which the address needs `statement-cache-capacity=0` behind a `?`; \
         `warden init` needs the address of the server itself"
    )]
    Pooler,
    #[error("the database server cannot be reached: {0}")]
    Unreachable(sqlx::Error),
    #[error("the database server does not answer")]
    Silent,
    #[error("a notification that was sent did not come back")]
    Deaf,
    #[error("the database server refuses: {0}")]
    Forbidden(String),

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
    pub(super) fn at(database: &impl fmt::Display, cause: Self) -> Self {
        Self::At { database: database.to_string(), cause: Box::new(cause) }
    }

    /// The server of this database does not answer.
    #[must_use]
    pub fn silent(database: &impl fmt::Display) -> Self {
        Self::at(database, Self::Silent)
    }

    pub(super) fn not_found(noun: Noun, name: &str) -> Self {
        Self::NotFound { noun, name: name.to_owned(), nearest: None }
    }

    /// Whether it is a right that is missing.
    #[must_use]
    pub fn is_forbidden(&self) -> bool {
        match self {
            Self::At { cause, .. } => cause.is_forbidden(),
            Self::Forbidden(_) => true,
            _ => false,
        }
    }

    /// Whether the database is there, and nothing but its operator can make it one that this release can use.
    #[must_use]
    pub fn is_about_the_schema(&self) -> bool {
        match self {
            Self::At { cause, .. } => cause.is_about_the_schema(),
            Self::SchemaMissing
            | Self::SchemaOlder { .. }
            | Self::SchemaNewer { .. }
            | Self::SchemaAltered { .. }
            | Self::NotOurs => true,
            _ => false,
        }
    }

    /// What may help, where that is more than the message says.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotFound { nearest: Some(nearest), .. } => Some(format!("did you mean `{nearest}`?")),
            Self::NotFound { noun: noun @ (Noun::Device | Noun::Role | Noun::Broker), .. } => {
                Some(format!("`warden {noun} list` shows what there is"))
            }
            Self::At { cause, .. } => cause.hint(),
            _ => None,
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(cause) => {
                let known = if let Some(cause) = cause.try_downcast_ref::<PgDatabaseError>() {
                    of_postgres(cause)
                } else if let Some(cause) = cause.try_downcast_ref::<MySqlDatabaseError>() {
                    of_mysql(cause)
                } else {
                    of_sqlite(&**cause)
                };
                known.unwrap_or(Self::Database(error))
            }
            sqlx::Error::Io(cause) if cause.kind() == io::ErrorKind::TimedOut => Self::Silent,
            sqlx::Error::PoolTimedOut => Self::Silent,
            sqlx::Error::Io(cause) if cause.kind() == io::ErrorKind::InvalidData => {
                let words = cause.to_string();
                match words.strip_prefix("invalid peer certificate: ") {
                    Some(why) => Self::Certificate(why.to_owned()),
                    None => Self::Unreachable(error),
                }
            }
            sqlx::Error::Tls(cause) if cause.to_string() == "server does not support TLS" => Self::NoTls,
            sqlx::Error::Io(_) | sqlx::Error::Tls(_) => Self::Unreachable(error),
            _ => Self::Database(error),
        }
    }
}

fn of_sqlite(cause: &dyn DatabaseError) -> Option<StoreError> {
    let code: u32 = cause.code()?.parse().ok()?;
    // The low byte is the primary result code (sqlite.org/rescode.html).
    Some(match code & 0xff {
        5 | 6 => StoreError::Busy,
        8 => StoreError::ReadOnly,
        11 | 26 => StoreError::Damaged,
        13 => StoreError::Full,
        14 => StoreError::CannotOpen,
        19 => constraint(cause.message()),
        _ => return None,
    })
}

/// By the codes of PostgreSQL's manual, appendix A.
fn of_postgres(cause: &PgDatabaseError) -> Option<StoreError> {
    let message = || cause.message().to_owned();
    let named =
        |else_words: &dyn Fn() -> StoreError| cause.constraint().and_then(of_constraint).unwrap_or_else(else_words);
    Some(match cause.code() {
        "23505" | "23503" => named(&|| StoreError::Conflict(message())),
        "23514" | "23502" => named(&|| StoreError::Refused(message())),
        // What a trigger raises is in words already.
        "P0001" => StoreError::Conflict(message()),
        "22021" | "22P05" => StoreError::Refused("a text cannot hold a NUL character".to_owned()),
        // Texts that are too long for a column or an index, JSON that is none.
        "22001" | "54000" | "22P02" => StoreError::Refused(message()),
        "40001" | "40P01" | "55P03" => StoreError::Busy,
        "25006" => StoreError::ReadOnly,
        "53100" => StoreError::Full,
        "XX001" | "XX002" => StoreError::Damaged,
        // PgBouncer's word for what it does not pass on, and what becomes of prepared statements behind one.
        "08P01" if cause.message().starts_with("unsupported startup parameter") => StoreError::Pooler,
        "26000" | "42P05" => StoreError::Pooler,
        "28000" | "28P01" | "3D000" | "42501" | "53300" => StoreError::Forbidden(message()),
        _ => return None,
    })
}

/// By MariaDB's numbers, and MySQL's.
fn of_mysql(cause: &MySqlDatabaseError) -> Option<StoreError> {
    let message = || cause.message().to_owned();
    let named = |else_words: &dyn Fn() -> StoreError| {
        // The name of the constraint stands in quotes, behind that of its table in some versions.
        let words = cause.message().split(['`', '\'']).map(|word| word.rsplit('.').next().unwrap_or(word));
        words.rev().find_map(of_constraint).unwrap_or_else(else_words)
    };
    Some(match cause.number() {
        1062 | 1216 | 1217 | 1451 | 1452 => named(&|| StoreError::Conflict(message())),
        3819 | 4025 | 1048 => named(&|| StoreError::Refused(message())),
        // What a trigger raises is in words already.
        1644 => StoreError::Conflict(message()),
        1264 | 1366 => StoreError::Refused(message()),
        1406 => match cause.message().split('\'').nth(1) {
            Some("name") => of_constraint("devices_name_length"),
            Some("client_id") => of_constraint("devices_client_id"),
            Some("serial") => of_constraint("revoked_certificates_serial"),
            Some("not_before" | "not_after") => of_constraint("credentials_not_after"),
            _ => None,
        }
        .unwrap_or_else(|| StoreError::Refused(message())),
        1205 | 1213 => StoreError::Busy,
        1290 | 1792 | 1836 => StoreError::ReadOnly,
        1021 | 1114 => StoreError::Full,
        1040 | 1044 | 1045 | 1049 | 1142 | 1143 | 1227 | 1370 | 1698 => StoreError::Forbidden(message()),
        _ => return None,
    })
}

/// What a constraint means that has a name, as those of PostgreSQL, MariaDB and MySQL have.
fn of_constraint(name: &str) -> Option<StoreError> {
    let conflict = |words: &str| Some(StoreError::Conflict(words.to_owned()));
    match name {
        "devices_name" => return conflict("there is already a device of this name"),
        "roles_name" => return conflict("there is already a role of this name"),
        "credentials_identity" => return conflict("this identity already has a credential of this kind"),
        "credentials_secret_digest" => {
            return conflict("this key already belongs to another credential; every credential needs its own");
        }
        "credentials_device" | "device_roles_device" => return conflict("no such device"),
        "rules_role" | "device_roles_role" => return conflict("no such role"),
        "revoked_certificates_crl" => return conflict("no such revocation list"),
        _ => {}
    }
    let words = match name {
        "devices_name_characters" => "a device name cannot hold `+`, `#`, `/` or control characters",
        "devices_name_length" | "roles_name_length" => "a name has 1 to 255 characters",
        "devices_client_id" | "roles_client_id" => "a client id pattern has 1 to 1024 characters",
        "brokers_name_length" => "a broker's name has 1 to 255 characters",
        "devices_attributes" => "attributes are a JSON object",
        "credentials_fingerprint" => "a fingerprint is written in 64 lower-case hexadecimal digits",
        "credentials_serial" => "a serial number is written in lower-case hexadecimal digits, without leading zeros",
        "credentials_identity_length" => "an identity has 1 to 65535 characters",
        "credentials_identity_characters" => "an identity cannot hold a NUL character",
        "credentials_issuer_kind" => "only a certificate has an issuer",
        "credentials_issuer_form" => "an issuer is known by the 64 lower-case hexadecimal digits of its key's SHA-256",
        "credentials_not_before" | "credentials_not_after" => "a time is written like `2026-01-31T12:00:00Z`",
        "revoked_certificates_issuer" => "an issuer's name has 1 to 4096 characters",
        "revoked_certificates_serial" => "a serial number has 1 to 128 hexadecimal digits",
        "rules_topic_length" | "rules_topic_filter" | "rules_topic_characters" => {
            "the topic is not a topic filter (MQTT 5, section 4.7)"
        }
        "rules_max_qos" | "rules_max_qos_allows" => "a highest QoS is 0, 1 or 2, and only an allow rule has one",
        _ => return None,
    };
    Some(StoreError::Refused(words.to_owned()))
}

/// What a constraint of an SQLite database means.
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
