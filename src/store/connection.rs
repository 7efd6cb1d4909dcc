//! One way to ask three kinds of databases.
//!
//! A statement is written once, in SQLite's notation for what is bound to it, and in words that all three understand.
//! Where they differ, [`Dialect`] has the words of each. What is asked is not known here.

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::time::Duration;

use futures_util::TryStreamExt;
use sqlx::mysql::{MySqlConnection, MySqlRow};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{
    Arguments, AssertSqlSafe, Connection as _, Database, Encode, FromRow, MySql, Postgres, SqlSafeStr, SqlStr, Sqlite,
    Type,
};

use super::rows::Columns;

/// A connection to a database.
pub(super) struct Connection {
    pub(super) inner: Inner,
    /// How long a server may be silent before it counts as away; `None`: as long as it likes.
    pub(super) patience: Option<Duration>,
    /// Whether each transaction may come to another connection behind a pooler.
    pooled: bool,
}

pub(super) enum Inner {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
    Mysql(MySqlConnection),
}

/// Which words a database understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Sqlite,
    Postgres,
    Mysql,
}

/// What a transaction is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To read, all of it from the same moment.
    Read,
    /// The same, where it is a few rows of large tables, which have indexes for that.
    ReadFew,
    /// To write as well.
    Write,
}

/// A statement, and what is bound to its `?`, or `?1`, `?2` and so on where one value is needed twice.
#[derive(Debug)]
pub(super) struct Sql {
    text: Cow<'static, str>,
    values: Vec<Value>,
    prepared: bool,
}

/// What can be bound.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Text(Option<String>),
    Number(Option<i64>),
}

/// A statement. Whoever makes one from parts writes them, or makes them of numbers.
pub(super) fn sql(text: impl Into<Cow<'static, str>>) -> Sql {
    Sql { text: text.into(), values: Vec::new(), prepared: true }
}

/// A statement to which nothing is bound, and which will not come again as it is.
///
/// It is not prepared: that would be one more question to the server, and closing it another, for which MariaDB has no
/// answer: the next one would wait for a delayed acknowledgement, 40 ms.
pub(super) fn once(text: impl Into<Cow<'static, str>>) -> Sql {
    Sql { text: text.into(), values: Vec::new(), prepared: false }
}

/// Numbers as SQL lists them. It has no empty list, and no row has the number 0.
pub(super) fn list(ids: &[i64]) -> String {
    let ids: Vec<String> = std::iter::once(&0).chain(ids).map(ToString::to_string).collect();
    ids.join(", ")
}

impl Sql {
    pub(super) fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// The statement as this database wants it, and which value belongs to each of its places.
    fn rendered(&self, dialect: Dialect) -> (String, Vec<usize>) {
        let mut text = String::with_capacity(self.text.len() + 8);
        let mut places = Vec::new();
        let mut next = 0;
        let mut pieces = self.text.split('?');
        text.push_str(pieces.next().unwrap_or_default());
        for piece in pieces {
            let rest = piece.trim_start_matches(|c: char| c.is_ascii_digit());
            let number = piece.strip_suffix(rest).and_then(|digits| digits.parse::<usize>().ok());
            let value = number.map_or(next, |number| number.saturating_sub(1));
            next = value + 1;
            match dialect {
                Dialect::Mysql => {
                    places.push(value);
                    text.push('?');
                }
                Dialect::Sqlite | Dialect::Postgres => {
                    text.push_str(if dialect == Dialect::Sqlite { "?" } else { "$" });
                    text.push_str(&(value + 1).to_string());
                }
            }
            text.push_str(rest);
        }
        if dialect != Dialect::Mysql {
            places = (0..self.values.len()).collect();
        }
        (text, places)
    }

    fn arguments<D: Database>(&self, places: &[usize]) -> Result<D::Arguments, sqlx::Error>
    where
        Option<String>: for<'q> Encode<'q, D> + Type<D>,
        Option<i64>: for<'q> Encode<'q, D> + Type<D>,
    {
        let mut arguments = D::Arguments::default();
        for value in places.iter().filter_map(|place| self.values.get(*place)) {
            match value {
                Value::Text(text) => arguments.add(text.clone()),
                Value::Number(number) => arguments.add(*number),
            }
            .map_err(sqlx::Error::Encode)?;
        }
        Ok(arguments)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(Some(text.to_owned()))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Some(text))
    }
}

impl From<&String> for Value {
    fn from(text: &String) -> Self {
        Self::Text(Some(text.clone()))
    }
}

impl From<Option<&str>> for Value {
    fn from(text: Option<&str>) -> Self {
        Self::Text(text.map(str::to_owned))
    }
}

impl From<Option<String>> for Value {
    fn from(text: Option<String>) -> Self {
        Self::Text(text)
    }
}

impl From<&Option<String>> for Value {
    fn from(text: &Option<String>) -> Self {
        Self::Text(text.clone())
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(Some(number))
    }
}

impl From<Option<i64>> for Value {
    fn from(number: Option<i64>) -> Self {
        Self::Number(number)
    }
}

/// What can be made from a row of any of the databases.
pub(super) trait FromAnyRow:
    for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + for<'r> FromRow<'r, MySqlRow>
{
}

impl<T> FromAnyRow for T where
    T: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + for<'r> FromRow<'r, MySqlRow>
{
}

/// Does the same with the query and the connection of whichever database it is.
macro_rules! on_each {
    ($asked:expr, $sql:expr, |$query:ident, $inner:ident, $patience:ident| $body:expr) => {{
        let sql = $sql;
        let $patience = $asked.patience();
        let (text, places) = sql.rendered($asked.dialect());
        let text = AssertSqlSafe(text).into_sql_str();
        match ($asked.inner(), sql.prepared) {
            (Asked::Sqlite($inner), true) => on_each!(Sqlite, sql, text, places, |$query| $body),
            (Asked::Postgres($inner, Prepared::Once), true) => on_each!(Postgres, sql, text, places, |$query| $body),
            (Asked::Postgres($inner, Prepared::EachTime), true) => {
                let $query =
                    sqlx::query_with::<Postgres, _>(text, sql.arguments::<Postgres>(&places)?).persistent(false);
                $body
            }
            // What is prepared is there until its transaction ends.
            (Asked::Postgres(connection, Prepared::InTransaction), true) => {
                let mut alone = answer($patience, connection.begin()).await?;
                let $inner = &mut *alone;
                let $query =
                    sqlx::query_with::<Postgres, _>(text, sql.arguments::<Postgres>(&places)?).persistent(false);
                let answered = $body;
                answer($patience, alone.commit()).await?;
                answered
            }
            (Asked::Mysql($inner), true) => on_each!(MySql, sql, text, places, |$query| $body),
            (Asked::Sqlite($inner), false) => on_each!(text, |$query| $body),
            (Asked::Postgres($inner, _), false) => on_each!(text, |$query| $body),
            (Asked::Mysql($inner), false) => on_each!(text, |$query| $body),
        }
    }};
    ($database:ty, $sql:ident, $text:ident, $places:ident, |$query:ident| $body:expr) => {{
        let $query = sqlx::query_with::<$database, _>($text, $sql.arguments::<$database>(&$places)?);
        $body
    }};
    ($text:ident, |$query:ident| $body:expr) => {{
        let $query = sqlx::raw_sql($text);
        $body
    }};
}

/// What is asked: a connection, or a transaction on it.
pub(super) enum Asked<'c> {
    Sqlite(&'c mut SqliteConnection),
    Postgres(&'c mut PgConnection, Prepared),
    Mysql(&'c mut MySqlConnection),
}

/// How statements are prepared. A pooler may give the next transaction another connection, which does not know them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Prepared {
    /// For as long as the connection lasts.
    Once,
    /// Again and again, within a transaction.
    EachTime,
    /// Again and again, in a transaction that has to be begun.
    InTransaction,
}

/// What can be asked.
pub(super) trait Ask: Sized {
    fn inner(&mut self) -> Asked<'_>;
    fn dialect(&self) -> Dialect;
    fn patience(&self) -> Option<Duration>;

    /// Executes a statement; the number of rows that it concerned.
    async fn execute(&mut self, sql: Sql) -> Result<u64, sqlx::Error> {
        on_each!(self, sql, |query, connection, patience| {
            answer(patience, query.execute(connection)).await.map(|done| done.rows_affected())
        })
    }

    /// All rows.
    async fn all<T: FromAnyRow>(&mut self, sql: Sql) -> Result<Vec<T>, sqlx::Error> {
        let mut found = Vec::new();
        on_each!(self, sql, |query, connection, patience| {
            let mut rows = query.fetch(connection);
            while let Some(row) = answer(patience, rows.try_next()).await? {
                found.push(T::from_row(&row)?);
            }
        });
        Ok(found)
    }

    /// The first row, if there is one.
    async fn optional<T: FromAnyRow>(&mut self, sql: Sql) -> Result<Option<T>, sqlx::Error> {
        on_each!(self, sql, |query, connection, patience| {
            let row = answer(patience, query.fetch_optional(connection)).await?;
            row.map(|row| T::from_row(&row)).transpose()
        })
    }

    /// The first row.
    async fn one<T: FromAnyRow>(&mut self, sql: Sql) -> Result<T, sqlx::Error> {
        self.optional(sql).await?.ok_or(sqlx::Error::RowNotFound)
    }

    /// Hands every row to `take`.
    async fn each(
        &mut self,
        sql: Sql,
        mut take: impl FnMut(&dyn Columns) -> Result<(), sqlx::Error>,
    ) -> Result<(), sqlx::Error> {
        on_each!(self, sql, |query, connection, patience| {
            let mut rows = query.fetch(connection);
            while let Some(row) = answer(patience, rows.try_next()).await? {
                take(&row)?;
            }
        });
        Ok(())
    }
}

impl Connection {
    pub(super) fn new(inner: Inner) -> Self {
        Self { inner, patience: None, pooled: false }
    }

    /// Whether it goes through a pooler.
    pub(super) fn with_pooler(mut self, pooled: bool) -> Self {
        self.pooled = pooled;
        self
    }

    pub(super) fn is_pooled(&self) -> bool {
        self.pooled
    }

    /// From now on a server that is silent for so long counts as away.
    pub(super) fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = Some(patience);
        self
    }

    /// Begins a transaction. Dropped, it is rolled back.
    pub(super) async fn begin(&mut self, purpose: Purpose) -> Result<Transaction<'_>, sqlx::Error> {
        let statement = SqlStr::from_static(match (self.dialect(), purpose) {
            // It takes its lock at once, so that it cannot fail for it half way.
            (Dialect::Sqlite, Purpose::Write) => "BEGIN IMMEDIATE",
            (Dialect::Sqlite, Purpose::Read | Purpose::ReadFew) | (Dialect::Postgres, Purpose::Write) => "BEGIN",
            // A reader whose connection is cut holds up nobody for longer than this: neither VACUUM nor ALTER TABLE.
            (Dialect::Postgres, Purpose::Read) => {
                "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY; SET LOCAL idle_in_transaction_session_timeout = 60000"
            }
            // Without statistics, and with a prepared statement always, the planner takes a third of a table for few.
            (Dialect::Postgres, Purpose::ReadFew) => {
                "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY; SET LOCAL idle_in_transaction_session_timeout = 60000; \
                 SET LOCAL enable_seqscan = off"
            }
            (Dialect::Mysql, Purpose::Write) => "START TRANSACTION",
            (Dialect::Mysql, Purpose::Read | Purpose::ReadFew) => {
                "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY"
            }
        });
        let patience = self.patience;
        let prepared = if self.pooled { Prepared::EachTime } else { Prepared::Once };
        let inner = match &mut self.inner {
            Inner::Sqlite(it) => Begun::Sqlite(answer(patience, it.begin_with(statement)).await?),
            Inner::Postgres(it) => Begun::Postgres(answer(patience, it.begin_with(statement)).await?, prepared),
            Inner::Mysql(it) => Begun::Mysql(answer(patience, it.begin_with(statement)).await?),
        };
        Ok(Transaction { inner, patience })
    }

    pub(super) async fn close(self) -> Result<(), sqlx::Error> {
        match self.inner {
            Inner::Sqlite(it) => it.close().await,
            Inner::Postgres(it) => it.close().await,
            Inner::Mysql(it) => it.close().await,
        }
    }
}

impl Ask for Connection {
    fn inner(&mut self) -> Asked<'_> {
        let prepared = if self.pooled { Prepared::InTransaction } else { Prepared::Once };
        match &mut self.inner {
            Inner::Sqlite(it) => Asked::Sqlite(it),
            Inner::Postgres(it) => Asked::Postgres(it, prepared),
            Inner::Mysql(it) => Asked::Mysql(it),
        }
    }

    fn dialect(&self) -> Dialect {
        match self.inner {
            Inner::Sqlite(_) => Dialect::Sqlite,
            Inner::Postgres(_) => Dialect::Postgres,
            Inner::Mysql(_) => Dialect::Mysql,
        }
    }

    fn patience(&self) -> Option<Duration> {
        self.patience
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What sqlx shows of a connection may show how it was made.
        write!(f, "Connection({:?})", self.dialect())
    }
}

/// Waits for an answer, as long as one may take.
async fn answer<T>(
    patience: Option<Duration>,
    answer: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    let Some(patience) = patience else { return answer.await };
    match tokio::time::timeout(patience, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer"))),
    }
}

/// A transaction, which is rolled back where it is not committed.
pub(super) struct Transaction<'c> {
    inner: Begun<'c>,
    patience: Option<Duration>,
}

enum Begun<'c> {
    Sqlite(sqlx::Transaction<'c, Sqlite>),
    Postgres(sqlx::Transaction<'c, Postgres>, Prepared),
    Mysql(sqlx::Transaction<'c, MySql>),
}

impl Transaction<'_> {
    pub(super) async fn commit(self) -> Result<(), sqlx::Error> {
        match self.inner {
            Begun::Sqlite(it) => answer(self.patience, it.commit()).await,
            Begun::Postgres(it, _) => answer(self.patience, it.commit()).await,
            Begun::Mysql(it) => answer(self.patience, it.commit()).await,
        }
    }
}

impl Ask for Transaction<'_> {
    fn inner(&mut self) -> Asked<'_> {
        match &mut self.inner {
            Begun::Sqlite(it) => Asked::Sqlite(it),
            Begun::Postgres(it, prepared) => Asked::Postgres(it, *prepared),
            Begun::Mysql(it) => Asked::Mysql(it),
        }
    }

    fn dialect(&self) -> Dialect {
        match self.inner {
            Begun::Sqlite(_) => Dialect::Sqlite,
            Begun::Postgres(..) => Dialect::Postgres,
            Begun::Mysql(_) => Dialect::Mysql,
        }
    }

    fn patience(&self) -> Option<Duration> {
        self.patience
    }
}

impl Dialect {
    /// The attributes of a device, as a text named `attributes`.
    pub(super) const fn attributes(self) -> &'static str {
        match self {
            Self::Postgres => "devices.attributes::text AS attributes",
            Self::Sqlite | Self::Mysql => "devices.attributes AS attributes",
        }
    }

    /// The JSON that is bound here.
    pub(super) fn json(self, place: &str) -> String {
        match self {
            Self::Postgres => format!("{place}::jsonb"),
            Self::Sqlite | Self::Mysql => place.to_owned(),
        }
    }

    /// The attributes of a device after the patch that is bound as `?1` (RFC 7396, of members without members).
    pub(super) const fn patched_attributes(self) -> &'static str {
        match self {
            Self::Sqlite => "json_patch(attributes, ?1)",
            Self::Postgres => {
                "(SELECT coalesce(jsonb_object_agg(key, value), '{}') FROM jsonb_each(attributes || ?1::jsonb)
                  WHERE NOT coalesce(?1::jsonb -> key = 'null', false))"
            }
            Self::Mysql => "json_merge_patch(attributes, ?1)",
        }
    }

    /// The present time, as times are written everywhere.
    pub(super) const fn now(self) -> &'static str {
        match self {
            Self::Sqlite => "strftime('%Y-%m-%dT%H:%M:%SZ', 'now')",
            Self::Postgres => "to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')",
            Self::Mysql => "date_format(utc_timestamp(), '%Y-%m-%dT%H:%i:%sZ')",
        }
    }

    /// A credential's moments, as texts. What means none stays as it is.
    pub(super) const fn moments(self) -> &'static str {
        match self {
            // Here they may be written in any way that SQLite understands.
            Self::Sqlite => {
                "coalesce(strftime('%Y-%m-%dT%H:%M:%SZ', not_before), not_before) AS not_before, \
                 coalesce(strftime('%Y-%m-%dT%H:%M:%SZ', not_after), not_after) AS not_after"
            }
            Self::Postgres | Self::Mysql => "not_before, not_after",
        }
    }

    /// All that a column has in rows that are found so, in order, with commas in between.
    pub(super) fn joined(self, column: &str, found: &str) -> String {
        let joined = match self {
            Self::Sqlite | Self::Postgres => format!("string_agg({column}, ', ' ORDER BY {column})"),
            Self::Mysql => format!("group_concat({column} ORDER BY {column} SEPARATOR ', ')"),
        };
        format!("coalesce((SELECT {joined} FROM {found}), '')")
    }

    /// Whether a name is like the pattern that is bound here, and the pattern `*` and `?` have to become for that.
    pub(super) fn like(self, place: &str) -> String {
        match self {
            Self::Sqlite => format!("name GLOB {place}"),
            Self::Postgres | Self::Mysql => format!("name LIKE {place} ESCAPE '!'"),
        }
    }

    /// A pattern as [`Self::like`] wants it.
    pub(super) fn pattern(self, glob: &str) -> String {
        if self == Self::Sqlite {
            return glob.to_owned();
        }
        let mut pattern = String::with_capacity(glob.len());
        for c in glob.chars() {
            match c {
                '*' => pattern.push('%'),
                '?' => pattern.push('_'),
                '%' | '_' | '!' => pattern.extend(['!', c]),
                other => pattern.push(other),
            }
        }
        pattern
    }

    /// A serial number of which the case, colons and leading zeros are gone.
    pub(super) const fn bare_serial(self) -> &'static str {
        match self {
            Self::Sqlite | Self::Postgres => "ltrim(replace(lower(serial), ':', ''), '0')",
            Self::Mysql => "trim(LEADING '0' FROM replace(lower(serial), ':', ''))",
        }
    }

    /// A table `input` of three texts, `a`, `b` and `c`, from the JSON array of arrays that is bound here.
    pub(super) fn input(self, place: &str) -> String {
        match self {
            Self::Sqlite => {
                format!(
                    "(SELECT value ->> 0 AS a, value ->> 1 AS b, value ->> 2 AS c FROM json_each({place})) AS input"
                )
            }
            Self::Postgres => format!(
                "(SELECT value ->> 0 AS a, value ->> 1 AS b, value ->> 2 AS c
                  FROM jsonb_array_elements({place}::jsonb) AS element (value)) AS input"
            ),
            Self::Mysql => format!(
                "(SELECT a COLLATE utf8mb4_bin AS a, b, c FROM json_table({place}, '$[*]' COLUMNS (
                      a VARCHAR(128) PATH '$[0]', b VARCHAR(32) PATH '$[1]', c VARCHAR(64) PATH '$[2]')) AS element)
                 AS input"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_numbered_as_the_database_wants_them() {
        for (text, dialect, expected, places) in [
            ("a = ? AND b = ?", Dialect::Sqlite, "a = ?1 AND b = ?2", &[0, 1][..]),
            ("a = ? AND b = ?", Dialect::Postgres, "a = $1 AND b = $2", &[0, 1]),
            ("a = ? AND b = ?", Dialect::Mysql, "a = ? AND b = ?", &[0, 1]),
            ("?2 = ?1 OR ?2", Dialect::Postgres, "$2 = $1 OR $2", &[0, 1]),
            ("?2 = ?1 OR ?2", Dialect::Mysql, "? = ? OR ?", &[1, 0, 1]),
        ] {
            let sql = sql(text).bind(1).bind("x");
            assert_eq!(sql.rendered(dialect), (expected.to_owned(), places.to_vec()), "{text}");
        }
    }

    #[test]
    fn a_pattern_of_a_shell_becomes_one_of_sql() {
        assert_eq!(Dialect::Postgres.pattern("a*b?100%_!"), "a%b_100!%!_!!");
    }
}
