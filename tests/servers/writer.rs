//! Somebody who has a database open and writes.

use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, MySqlConnection, PgConnection, SqliteConnection};

/// A connection that says what it is told to.
#[derive(Debug)]
pub(crate) enum Writer {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
    Mysql(MySqlConnection),
}

impl Writer {
    /// To a file, or an address.
    pub(crate) async fn new(place: &str) -> Self {
        match place.split_once("://") {
            Some(("postgres", _)) => Self::Postgres(PgConnection::connect(place).await.unwrap()),
            Some(_) => Self::Mysql(MySqlConnection::connect(place).await.unwrap()),
            None => {
                let options = SqliteConnectOptions::new().filename(place).busy_timeout(Duration::from_mins(1));
                Self::Sqlite(options.connect().await.unwrap())
            }
        }
    }

    /// When it returns, all of it is done; what was not begun before is committed.
    pub(crate) async fn execute(&mut self, statement: &str) -> Result<(), sqlx::Error> {
        let statement = sqlx::raw_sql(AssertSqlSafe(statement.to_owned()));
        match self {
            Self::Sqlite(it) => statement.execute(it).await.map(|_| ()),
            Self::Postgres(it) => statement.execute(it).await.map(|_| ()),
            Self::Mysql(it) => statement.execute(it).await.map(|_| ()),
        }
    }
}
