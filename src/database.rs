//! Which database: the text that an operator gives becomes a checked value, which shows no password.
//!
//! What is behind it is not known here, and nothing is opened.

use std::fmt;
use std::path::{Path, PathBuf};

use url::Url;

/// The database that is named.
#[derive(Clone, PartialEq, Eq)]
pub enum Database {
    /// A file.
    Sqlite(PathBuf),
    /// A database on a PostgreSQL server.
    Postgres(Address),
    /// A database on a MariaDB or MySQL server.
    Mysql(Address),
}

/// Where a server is, and as whom it is asked. It may hold a password, and shows none.
#[derive(Clone, PartialEq, Eq)]
pub struct Address(Url);

/// Why a text names no database. It does not repeat the text, which may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DatabaseError {
    #[error("a path is missing")]
    Empty,
    #[error(
        "databases of kind `{0}` are not supported; give the path of an SQLite file, `postgres://…` or `mysql://…`"
    )]
    Kind(String),
    #[error("this address cannot be read: {0}; it is written like {1}://user@host/database, other characters like %40")]
    Unreadable(url::ParseError, &'static str),
    #[error("the address names no {0}; it is written like {1}://user@host/database")]
    Incomplete(&'static str, &'static str),
    #[error("unknown parameter `{0}` in the address; there are {1}")]
    Parameter(String, String),
}

/// What can stand behind the `?` of an address. The passwords that sqlx would take from there are shown by other tools.
const OF_POSTGRES: [&str; 9] = [
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "host",
    "port",
    "application_name",
    "options",
    "statement-cache-capacity",
];
const OF_MYSQL: [&str; 6] = ["ssl-mode", "ssl-ca", "ssl-cert", "ssl-key", "socket", "statement-cache-capacity"];

impl Database {
    /// From a path, or an address such as `postgres://user@host/database`.
    pub fn parse(text: &str) -> Result<Self, DatabaseError> {
        if let Some(rest) = text.strip_prefix("sqlite:") {
            return Self::file(rest.strip_prefix("//").unwrap_or(rest));
        }
        match text.split_once("://").map(|(scheme, _)| scheme) {
            Some("postgres" | "postgresql") => Address::parse(text, "postgres", &OF_POSTGRES).map(Self::Postgres),
            Some("mysql") => Address::parse(text, "mysql", &OF_MYSQL).map(Self::Mysql),
            Some("mariadb") => {
                Address::parse(&text.replacen("mariadb", "mysql", 1), "mysql", &OF_MYSQL).map(Self::Mysql)
            }
            Some(other)
                if !other.is_empty() && other.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'+') =>
            {
                Err(DatabaseError::Kind(other.to_owned()))
            }
            _ => Self::file(text),
        }
    }

    fn file(path: &str) -> Result<Self, DatabaseError> {
        if path.is_empty() { Err(DatabaseError::Empty) } else { Ok(Self::Sqlite(PathBuf::from(path))) }
    }

    /// The file, where it is one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Sqlite(path) => Some(path),
            Self::Postgres(_) | Self::Mysql(_) => None,
        }
    }
}

impl From<&Path> for Database {
    fn from(path: &Path) -> Self {
        Self::Sqlite(path.to_owned())
    }
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => path.display().fmt(f),
            Self::Postgres(address) | Self::Mysql(address) => address.fmt(f),
        }
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Database({self})")
    }
}

impl Address {
    fn parse(text: &str, kind: &'static str, parameters: &[&str]) -> Result<Self, DatabaseError> {
        let url = Url::parse(text).map_err(|error| DatabaseError::Unreadable(error, kind))?;
        let unknown = url.query_pairs().find(|(name, _)| !parameters.contains(&name.as_ref()));
        if let Some((name, _)) = unknown {
            return Err(DatabaseError::Parameter(name.into_owned(), parameters.join(", ")));
        }
        let elsewhere = url.query_pairs().any(|(name, _)| matches!(&*name, "host" | "socket"));
        if url.host_str().is_none_or(str::is_empty) && !elsewhere {
            return Err(DatabaseError::Incomplete("host", kind));
        }
        if url.path().trim_matches('/').is_empty() {
            return Err(DatabaseError::Incomplete("database", kind));
        }
        Ok(Self(url))
    }

    /// The whole address, as it was given: with the password, for whoever opens the connection.
    #[must_use]
    pub fn with_password(&self) -> &Url {
        &self.0
    }
}

impl fmt::Display for Address {
    /// Without the password, and without parameters.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut url = self.0.clone();
        url.set_query(None);
        url.set_fragment(None);
        // Only addresses without a host cannot have a password, and those have none.
        let _ = url.set_password(None);
        url.fmt(f)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_a_file_and_an_address_is_a_server() {
        for (text, shown) in [
            ("warden.db", "warden.db"),
            ("/srv/fleet.db", "/srv/fleet.db"),
            ("sqlite:/srv/fleet.db", "/srv/fleet.db"),
            ("sqlite:///srv/fleet.db", "/srv/fleet.db"),
            ("postgres://warden@db/fleet", "postgres://warden@db/fleet"),
            ("postgresql://db:5433/fleet?sslmode=verify-full", "postgresql://db:5433/fleet"),
            ("postgres:///fleet?host=/run/postgresql", "postgres:///fleet"),
            ("mysql://warden@db/fleet", "mysql://warden@db/fleet"),
            ("mariadb://warden@db/fleet", "mysql://warden@db/fleet"),
        ] {
            assert_eq!(Database::parse(text).unwrap().to_string(), shown, "{text}");
        }
    }

    #[test]
    fn what_names_no_database_is_refused() {
        for (text, words) in [
            ("", "missing"),
            ("sqlite:", "missing"),
            ("oracle://db/x", "`oracle`"),
            ("postgres://db", "no database"),
            ("mysql:///x", "no host"),
            ("postgres://db:port/x", "cannot be read"),
            ("postgres://db/x?passwd=y", "`passwd`"),
            ("mysql://db/x?sslmode=y", "`sslmode`"),
        ] {
            let error = Database::parse(text).unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        let secret = "s3cr%2Ft";
        for text in [
            format!("postgres://u:{secret}@db/x"),
            format!("postgres://u:{secret}@db/x?application_name={secret}#{secret}"),
            format!("mariadb://u:{secret}@db/x"),
        ] {
            let database = Database::parse(&text).unwrap();
            let shown = format!("{database} {database:?} {:?}", Some(&database));
            assert!(!shown.contains("s3cr"), "{shown}");
        }
        for text in [
            format!("postgres://u:{secret}@db:x/x"),
            format!("mysql://u:{secret}@db"),
            format!("postgres://u:{secret}@db/x?password={secret}"),
            format!("oracle://u:{secret}@db/x"),
        ] {
            let error = Database::parse(&text).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("s3cr"), "{error:?}");
        }
    }
}
