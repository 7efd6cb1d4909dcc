//! What the plugin's user must be allowed on a server: to read what it follows, and nothing else.

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

impl Store {
    /// The statements that let this user follow the database: a role of PostgreSQL, a user or `user@host` of MariaDB or
    /// MySQL. None for a file, which knows no users.
    pub async fn grants(&mut self, user: &str) -> Result<Vec<String>, StoreError> {
        match self.connection.dialect() {
            Dialect::Sqlite => Ok(Vec::new()),
            Dialect::Postgres => {
                let place = "SELECT quote_ident(current_database()), quote_ident(current_schema())";
                let (database, schema): (String, String) = self.connection.one(sql(place)).await?;
                let user = format!("\"{}\"", user.replace('"', "\"\""));
                let tables = READ.map(|table| format!("{schema}.{table}")).join(", ");
                // LISTEN needs no right of its own.
                Ok(vec![
                    format!("GRANT CONNECT ON DATABASE {database} TO {user};"),
                    format!("GRANT USAGE ON SCHEMA {schema} TO {user};"),
                    format!("GRANT SELECT ON {tables} TO {user};"),
                ])
            }
            Dialect::Mysql => {
                let (database,): (String,) = self.connection.one(sql("SELECT database()")).await?;
                let (name, host) = user.rsplit_once('@').unwrap_or((user, "%"));
                let quoted = |text: &str, quote: char| {
                    format!("{quote}{}{quote}", text.replace(quote, &String::from_iter([quote, quote])))
                };
                let grant = |table| {
                    let (database, user, host) = (quoted(&database, '`'), quoted(name, '\''), quoted(host, '\''));
                    format!("GRANT SELECT ON {database}.{table} TO {user}@{host};")
                };
                Ok(READ.map(grant).into())
            }
        }
    }
}
