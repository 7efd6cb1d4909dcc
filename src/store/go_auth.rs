//! Another database: the tables of the go-auth plugin, read from wherever it keeps them. Nothing is written.

use sqlx::ConnectOptions;

use super::connection::{Ask, Connection, Dialect, Inner, once};
use super::rows::Columns;
use super::{StoreError, mysql, postgres, sqlite};
use crate::database::Database;

/// The documented table of users; a query of one's own has these columns too.
pub const USERS: &str = "SELECT username, password_hash, is_admin FROM test_user ORDER BY username";
/// The documented table of ACLs; a query of one's own has these columns too.
pub const ACLS: &str = "SELECT test_user.username AS username, topic, rw \
                        FROM test_acl JOIN test_user ON test_user.id = test_user_id ORDER BY test_acl.id";

/// User name, hash of the password, and whether it is an administrator.
pub type UserRow = (String, String, bool);
/// User name, topic, and the number for what may be done with it.
pub type AclRow = (String, String, i64);

/// Reads both tables, by these queries.
pub async fn read(database: &Database, users: &str, acls: &str) -> Result<(Vec<UserRow>, Vec<AclRow>), StoreError> {
    let at = |cause| StoreError::at(database, cause);
    let mut connection = connect(database).await.map_err(at)?;
    let read = async {
        let number = |column: &str| match connection.dialect() {
            Dialect::Sqlite => format!("CAST({column} AS INTEGER)"),
            Dialect::Postgres => format!("CAST({column} AS BIGINT)"),
            Dialect::Mysql => format!("CAST({column} AS SIGNED)"),
        };
        let (is_admin, rw) = (number("CASE WHEN is_admin THEN 1 ELSE 0 END"), number("rw"));
        let query = format!("SELECT username, password_hash, {is_admin} AS is_admin FROM ({users}) AS found");
        let mut found_users = Vec::new();
        connection
            .each(once(query), |row| {
                let is_admin = row.number("is_admin").map_err(fault)? == Some(1);
                found_users.push((text(row, "username")?, text(row, "password_hash")?, is_admin));
                Ok(())
            })
            .await?;
        let query = format!("SELECT username, topic, {rw} AS rw FROM ({acls}) AS found");
        let mut found_acls = Vec::new();
        connection
            .each(once(query), |row| {
                let rw = row.number("rw").map_err(fault)?.unwrap_or_default();
                found_acls.push((text(row, "username")?, text(row, "topic")?, rw));
                Ok(())
            })
            .await?;
        connection.close().await?;
        Ok::<_, StoreError>((found_users, found_acls))
    };
    read.await.map_err(at)
}

async fn connect(database: &Database) -> Result<Connection, StoreError> {
    match database {
        Database::Sqlite(path) => {
            let connection = sqlite::connect_options(path, true).connect().await?;
            Ok(Connection::new(Inner::Sqlite(connection)))
        }
        Database::Postgres(address) => postgres::connect(address).await,
        Database::Mysql(address) => mysql::connect(address).await,
    }
}

fn text(row: &dyn Columns, column: &'static str) -> Result<String, sqlx::Error> {
    Ok(row.text(column).map_err(fault)?.unwrap_or_default().into())
}

fn fault(why: Box<str>) -> sqlx::Error {
    sqlx::Error::Decode(String::from(why).into())
}
