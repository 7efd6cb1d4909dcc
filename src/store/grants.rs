//! What the plugin's user must be allowed on a server: to read what it follows, and nothing else unless it is wanted.

use super::connection::{Ask, Dialect, sql};
use super::{Store, StoreError};

/// What a feed reads.
const READ: [&str; 9] = [
    "devices",
    "credentials",
    "roles",
    "rules",
    "device_roles",
    "revoked_certificates",
    "change_log",
    "warden_meta",
    "_sqlx_migrations",
];

/// What a plugin's user may be allowed beyond reading.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Beyond {
    /// To register as a broker, and to say that it is alive.
    pub heartbeat: bool,
    /// To put better hashes of passwords in the place of others.
    pub upgrade_passwords: bool,
}

/// What a broker does to the table of brokers.
const REGISTER: &str = "SELECT, INSERT, UPDATE";

impl Store {
    /// The statements that let this user follow the database, and do what is wanted beyond that: a role of PostgreSQL, a
    /// user or `user@host` of MariaDB or MySQL. None for a file, which knows no users.
    pub async fn grants(&mut self, user: &str, beyond: Beyond) -> Result<Vec<String>, StoreError> {
        let Beyond { heartbeat, upgrade_passwords } = beyond;
        match self.connection.dialect() {
            Dialect::Sqlite => Ok(Vec::new()),
            Dialect::Postgres => {
                let place = "SELECT quote_ident(current_database()), quote_ident(current_schema())";
                let (database, schema): (String, String) = self.connection.one(sql(place)).await?;
                let user = format!("\"{}\"", user.replace('"', "\"\""));
                let tables = READ.map(|table| format!("{schema}.{table}")).join(", ");
                // LISTEN needs no right of its own.
                let mut grants = vec![
                    format!("GRANT CONNECT ON DATABASE {database} TO {user};"),
                    format!("GRANT USAGE ON SCHEMA {schema} TO {user};"),
                    format!("GRANT SELECT ON {tables} TO {user};"),
                ];
                grants.extend(heartbeat.then(|| format!("GRANT {REGISTER} ON {schema}.brokers TO {user};")));
                grants.extend(
                    upgrade_passwords.then(|| format!("GRANT UPDATE (secret) ON {schema}.credentials TO {user};")),
                );
                Ok(grants)
            }
            Dialect::Mysql => {
                let (database,): (String,) = self.connection.one(sql("SELECT database()")).await?;
                let (name, host) = user.rsplit_once('@').unwrap_or((user, "%"));
                let quoted = |text: &str, quote: char| {
                    format!("{quote}{}{quote}", text.replace(quote, &String::from_iter([quote, quote])))
                };
                let grant = |right: &str, table: &str| {
                    let (database, user, host) = (quoted(&database, '`'), quoted(name, '\''), quoted(host, '\''));
                    format!("GRANT {right} ON {database}.{table} TO {user}@{host};")
                };
                let mut grants: Vec<String> = READ.iter().map(|table| grant("SELECT", table)).collect();
                grants.extend(heartbeat.then(|| grant(REGISTER, "brokers")));
                grants.extend(upgrade_passwords.then(|| grant("UPDATE (secret)", "credentials")));
                Ok(grants)
            }
        }
    }
}
