//! Which database: the text that an operator gives becomes a checked value, which shows no password.
//!
//! What is behind it is not known here, and nothing is opened.

use std::fmt;
use std::net::IpAddr;
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
///
/// A server on another machine is asked over TLS and has to prove its name, unless the address says otherwise.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    url: Url,
    verified: bool,
}

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
    #[error(
        "`{parameter}={mode}` is not supported, because {why}; write `{parameter}={verified}`, or `{parameter}={plain}` \
         if the network up to the server is yours alone"
    )]
    Mode { parameter: &'static str, mode: String, why: &'static str, verified: &'static str, plain: &'static str },
    #[error(
        "`{parameter}={mode}` looks at no certificate, so that `{authority}` has no meaning; write `{parameter}={verified}`"
    )]
    Unused { parameter: &'static str, mode: String, authority: &'static str, verified: &'static str },
}

/// How the words for TLS differ between the servers.
struct Tls {
    parameter: &'static str,
    /// Names the file with the authority.
    authority: &'static str,
    /// Without TLS.
    plain: &'static str,
    /// With TLS, to whoever answers.
    unverified: &'static str,
    /// With TLS, to the server of this name.
    verified: &'static str,
    /// With TLS if the server offers it.
    wavering: &'static [&'static str],
    /// With TLS, to the server of any name.
    nameless: &'static str,
}

const TLS_OF_POSTGRES: Tls = Tls {
    parameter: "sslmode",
    authority: "sslrootcert",
    plain: "disable",
    unverified: "require",
    verified: "verify-full",
    wavering: &["allow", "prefer"],
    nameless: "verify-ca",
};
const TLS_OF_MYSQL: Tls = Tls {
    parameter: "ssl-mode",
    authority: "ssl-ca",
    plain: "DISABLED",
    unverified: "REQUIRED",
    verified: "VERIFY_IDENTITY",
    wavering: &["PREFERRED"],
    nameless: "VERIFY_CA",
};

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
            Some("postgres" | "postgresql") => {
                Address::parse(text, "postgres", &OF_POSTGRES, &TLS_OF_POSTGRES).map(Self::Postgres)
            }
            Some("mysql") => Address::parse(text, "mysql", &OF_MYSQL, &TLS_OF_MYSQL).map(Self::Mysql),
            Some("mariadb") => {
                let text = text.replacen("mariadb", "mysql", 1);
                Address::parse(&text, "mysql", &OF_MYSQL, &TLS_OF_MYSQL).map(Self::Mysql)
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

    /// Whether the text that names it holds a password.
    #[must_use]
    pub fn has_password(&self) -> bool {
        self.address().is_some_and(|address| address.url.password().is_some())
    }

    /// The address, if it is on another machine and nothing verifies who answers there.
    #[must_use]
    pub fn unverified(&self) -> Option<&Address> {
        self.address().filter(|address| !address.verified)
    }

    fn address(&self) -> Option<&Address> {
        match self {
            Self::Sqlite(_) => None,
            Self::Postgres(address) | Self::Mysql(address) => Some(address),
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
    fn parse(text: &str, kind: &'static str, parameters: &[&str], tls: &Tls) -> Result<Self, DatabaseError> {
        let mut url = Url::parse(text).map_err(|error| DatabaseError::Unreadable(error, kind))?;
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
        let verified = is_local(&url) || tls.settle(&mut url)?;
        Ok(Self { url, verified })
    }

    /// The whole address, as it was given: with the password, for whoever opens the connection.
    #[must_use]
    pub fn with_password(&self) -> &Url {
        &self.url
    }
}

impl Tls {
    /// What the address of a server on another machine says about TLS, which is said where it is not. Whether the
    /// server has to prove who it is.
    fn settle(&self, url: &mut Url) -> Result<bool, DatabaseError> {
        let said = |name| url.query_pairs().filter(|(key, _)| key == name).last().map(|(_, value)| value.into_owned());
        let Some(mode) = said(self.parameter) else {
            url.query_pairs_mut().append_pair(self.parameter, self.verified);
            return Ok(true);
        };
        let is = |word: &str| mode.eq_ignore_ascii_case(word);
        let refused = |why| DatabaseError::Mode {
            parameter: self.parameter,
            mode: mode.clone(),
            why,
            verified: self.verified,
            plain: self.plain,
        };
        if is(self.verified) || is(self.plain) {
            return Ok(is(self.verified));
        }
        if is(self.unverified) {
            return match said(self.authority) {
                None => Ok(false),
                Some(_) => Err(DatabaseError::Unused {
                    parameter: self.parameter,
                    mode,
                    authority: self.authority,
                    verified: self.verified,
                }),
            };
        }
        Err(if self.wavering.iter().any(|word| is(word)) {
            refused("whoever is in between can then talk both into plain text")
        } else if is(self.nameless) {
            // Beside the one that is named, those of the system are authorities.
            refused("anybody with a certificate of some authority could then be the server")
        } else {
            refused("there is no such mode")
        })
    }
}

/// Whether the server is on this machine: on a socket, or on the loopback interface.
fn is_local(url: &Url) -> bool {
    let local = |host: &str| {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        host.is_empty()
            || host.starts_with('/')
            || host.get(..3).is_some_and(|start| start.eq_ignore_ascii_case("%2f"))
            || host.eq_ignore_ascii_case("localhost")
            || bare.parse().is_ok_and(|address: IpAddr| address.is_loopback())
    };
    // All that are named: which of them counts is not known here.
    local(url.host_str().unwrap_or_default())
        && url.query_pairs().filter(|(name, _)| name == "host").all(|(_, host)| local(&host))
}

impl fmt::Display for Address {
    /// Without the password, and without parameters.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut url = self.url.clone();
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

    fn with_password(text: &str) -> String {
        match Database::parse(text).unwrap() {
            Database::Postgres(address) | Database::Mysql(address) => address.with_password().to_string(),
            Database::Sqlite(path) => panic!("{path:?}"),
        }
    }

    #[test]
    fn a_server_elsewhere_has_to_prove_its_name_unless_the_address_says_otherwise() {
        for (text, settled) in [
            ("postgres://db/x", "postgres://db/x?sslmode=verify-full"),
            ("postgres://db/x?sslrootcert=/ca", "postgres://db/x?sslrootcert=%2Fca&sslmode=verify-full"),
            ("postgres:///x?host=db", "postgres:///x?host=db&sslmode=verify-full"),
            ("postgres://localhost/x?host=db", "postgres://localhost/x?host=db&sslmode=verify-full"),
            ("postgres://db/x?host=/run", "postgres://db/x?host=%2Frun&sslmode=verify-full"),
            ("postgres://127.0.0.1.example/x", "postgres://127.0.0.1.example/x?sslmode=verify-full"),
            ("mysql://db/x", "mysql://db/x?ssl-mode=VERIFY_IDENTITY"),
            ("mariadb://[2001:db8::1]/x", "mysql://[2001:db8::1]/x?ssl-mode=VERIFY_IDENTITY"),
        ] {
            assert_eq!(with_password(text).replace("=/", "=%2F"), settled, "{text}");
            assert_eq!(Database::parse(text).unwrap().unverified(), None, "{text}");
        }
        for (text, verified) in [
            ("postgres://db/x?sslmode=verify-full", true),
            ("postgres://db/x?sslmode=Verify-Full&sslrootcert=/ca", true),
            ("postgres://db/x?sslmode=require", false),
            ("postgres://db/x?sslmode=disable", false),
            ("postgres://db/x?sslmode=verify-full&sslmode=disable", false),
            ("mysql://db/x?ssl-mode=VERIFY_IDENTITY", true),
            ("mysql://db/x?ssl-mode=disabled", false),
            ("mysql://db/x?ssl-mode=REQUIRED", false),
        ] {
            assert_eq!(with_password(text), text, "{text}");
            assert_eq!(Database::parse(text).unwrap().unverified().is_none(), verified, "{text}");
        }
        for text in [
            "postgres://localhost/x",
            "postgres://127.0.0.2/x?sslmode=prefer",
            "postgres://[::1]/x",
            "postgres:///x?host=/run/postgresql",
            "postgres://%2Frun%2Fpostgresql/x",
            "mysql://LOCALHOST/x",
            "mysql:///x?socket=/run/mysqld/mysqld.sock",
        ] {
            assert_eq!(with_password(text), text, "{text}");
            assert_eq!(Database::parse(text).unwrap().unverified(), None, "{text}");
        }
    }

    #[test]
    fn what_only_looks_like_tls_is_refused() {
        for (text, words) in [
            ("postgres://db/x?sslmode=prefer", "plain text; write `sslmode=verify-full`, or `sslmode=disable`"),
            ("postgres://db/x?sslmode=allow", "plain text"),
            ("postgres://db/x?sslmode=verify-ca", "could then be the server; write `sslmode=verify-full`"),
            ("postgres://db/x?sslmode=require&sslrootcert=/ca", "`sslrootcert` has no meaning"),
            ("postgres://db/x?sslmode=on", "no such mode"),
            ("mysql://db/x?ssl-mode=PREFERRED", "write `ssl-mode=VERIFY_IDENTITY`, or `ssl-mode=DISABLED`"),
            ("mysql://db/x?ssl-mode=verify_ca", "could then be the server"),
            ("mysql://db/x?ssl-mode=REQUIRED&ssl-ca=/ca", "`ssl-ca` has no meaning"),
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
