//! What the plugin's user must be allowed on a server: to read what it follows, to write its own row where it is to
//! have one, and nothing else.

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

/// What a broker does to the table of brokers.
const REGISTER: &str = "SELECT, INSERT, UPDATE";

impl Store {
    /// The statements that let this user follow the database, and register as a broker where it has a `heartbeat`: a role
    /// of PostgreSQL, a user or `user@host` of MariaDB or MySQL. None for a file, which knows no users.
    pub async fn grants(&mut self, user: &str, heartbeat: bool) -> Result<Vec<String>, StoreError> {
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
                Ok(grants)
            }
            Dialect::Mysql => {
                let (database,): (String,) = self.connection.one(sql("SELECT database()")).await?;
                let (name, host) = user.rsplit_once('@').unwrap_or((user, "%"));
                let quoted = |text: &str, quote: char| {
                    format!("{quote}{}{quote}", text.replace(quote, &String::from_iter([quote, quote])))
                };
                let grant = |(rights, table)| {
                    let (database, user, host) = (quoted(&database, '`'), quoted(name, '\''), quoted(host, '\''));
                    format!("GRANT {rights} ON {database}.{table} TO {user}@{host};")
                };
                let tables = READ.map(|table| ("SELECT", table));
                Ok(tables.into_iter().chain(heartbeat.then_some((REGISTER, "brokers"))).map(grant).collect())
            }
        }
    }
}
