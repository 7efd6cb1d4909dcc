//! Revocation lists (RFC 5280, section 5): imported and listed. Whether a list can be believed is known before.

use std::collections::{HashMap, HashSet};

use super::connection::{Ask, Dialect, sql};
use super::{Store, StoreError};
use crate::credential::crl::{Crl, Entry};

/// How many rows one statement writes.
const BATCH: usize = 5_000;

/// A list that was imported.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct ImportedCrl {
    pub issuer: String,
    /// In lower-case hexadecimal digits.
    pub number: Option<String>,
    pub this_update: String,
    pub next_update: Option<String>,
    pub imported_at: String,
    /// How many certificates it revokes.
    pub revoked: i64,
}

/// What [`Store::import_crl`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// Whether the list was newer than what was there, or something of it was missing.
    pub changed: bool,
    /// How many certificates are revoked by it that were not.
    pub added: usize,
    /// How many certificates it takes back.
    pub removed: usize,
    /// The list, as it is now.
    pub list: ImportedCrl,
}

const SELECT: &str = "\
    SELECT issuer, number, this_update, next_update, imported_at, \
           (SELECT count(*) FROM revoked_certificates WHERE crl_id = crls.id) AS revoked \
    FROM crls";

impl Store {
    /// Makes the certificates that this list revokes the ones that its authority has revoked; for a delta list, changes
    /// those (section 5.2.4). What somebody has revoked by hand stays as it is.
    ///
    /// A list that is older than the one that is there changes nothing. `progress` is told, now and then, how many
    /// certificates of how many are written.
    pub async fn import_crl(
        &mut self,
        crl: &Crl,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Import, StoreError> {
        let mut tx = self.begin().await?;
        let known = find(&mut tx, crl).await?;
        if let Some(base) = &crl.base {
            require_base(known.as_ref(), base, crl)?;
        }
        if let Some(known) = known.as_ref().filter(|known| known.is_newer_than(crl)) {
            let list = record(&mut tx, known.id).await?;
            return Ok(Import { changed: false, added: 0, removed: 0, list });
        }
        let newer = known.as_ref().is_none_or(|known| known.is_older_than(crl));
        let id = write_list(&mut tx, known.as_ref(), crl).await?;
        let differences = Differences::find(&mut tx, id, crl).await?;
        let (added, removed) = (differences.added.len(), differences.removed.len());
        let changed = newer || added + removed + differences.altered.len() > 0;
        differences.write(&mut tx, id, &crl.issuer, progress).await?;
        let list = record(&mut tx, id).await?;
        if changed {
            tx.commit().await?;
        } else {
            drop(tx);
        }
        Ok(Import { changed, added, removed, list })
    }

    /// The lists that were imported, in the order of their issuers.
    pub async fn crls(&mut self) -> Result<Vec<ImportedCrl>, StoreError> {
        Ok(self.connection.all(sql(format!("{SELECT} ORDER BY issuer"))).await?)
    }
}

/// The list of an authority that is there.
#[derive(Debug)]
struct Known {
    id: i64,
    number: Option<String>,
    this_update: i64,
}

impl Known {
    fn is_newer_than(&self, crl: &Crl) -> bool {
        match (&self.number, &crl.number) {
            (Some(own), Some(other)) => order(own) > order(other),
            // Without numbers the dates have to tell.
            _ => self.this_update > crl.this_update,
        }
    }

    fn is_older_than(&self, crl: &Crl) -> bool {
        match (&self.number, &crl.number) {
            (Some(own), Some(other)) => order(own) < order(other),
            _ => self.this_update < crl.this_update,
        }
    }
}

/// By which numbers in hexadecimal digits, without leading zeros, are in order.
fn order(digits: &str) -> (usize, &str) {
    (digits.len(), digits)
}

/// What the list is known by: an authority may publish several beside each other, each somewhere else.
fn name(crl: &Crl) -> String {
    match &crl.scope {
        Some(scope) => format!("{} ({})", crl.issuer, scope.get(..16).unwrap_or(scope)),
        None => crl.issuer.clone(),
    }
}

async fn find(connection: &mut impl Ask, crl: &Crl) -> Result<Option<Known>, StoreError> {
    let query = sql("SELECT id, number, this_update FROM crls WHERE issuer = ?").bind(name(crl));
    let found: Option<(i64, Option<String>, String)> = connection.optional(query).await?;
    // A time that is none is older than any.
    let seconds = |text: &str| text.parse().map_or(0, jiff::Timestamp::as_second);
    Ok(found.map(|(id, number, this_update)| Known { id, number, this_update: seconds(&this_update) }))
}

/// As times are written in the database; `None` for what no calendar has.
fn time(seconds: i64) -> Option<String> {
    let time = jiff::Timestamp::from_second(seconds).ok()?;
    Some(time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// That a delta list has something to change: the list that it is based on, or a newer one.
fn require_base(known: Option<&Known>, base: &str, crl: &Crl) -> Result<(), StoreError> {
    let full = format!("import the full list of `{}` first", name(crl));
    let Some(known) = known else {
        return Err(StoreError::Conflict(format!("this is a delta list, and there is no list to change; {full}")));
    };
    match &known.number {
        Some(number) if order(number) >= order(base) => Ok(()),
        number => {
            let number = number.as_deref().unwrap_or("no number");
            Err(StoreError::Conflict(format!(
                "this delta list changes list {base}, and what is there is {number}; {full}"
            )))
        }
    }
}

/// Writes what is said of a list as a whole; its id.
async fn write_list(connection: &mut impl Ask, known: Option<&Known>, crl: &Crl) -> Result<i64, StoreError> {
    let (this_update, next_update) = (time(crl.this_update), crl.next_update.and_then(time));
    let query = match known {
        Some(known) => sql(
            "UPDATE crls SET number = ?2, this_update = coalesce(?3, this_update), next_update = ?4, imported_at = ?5
             WHERE id = ?1",
        )
        .bind(known.id),
        None => {
            sql("INSERT INTO crls (issuer, number, this_update, next_update, imported_at) VALUES (?1, ?2, ?3, ?4, ?5)")
                .bind(name(crl))
        }
    };
    let now = time(jiff::Timestamp::now().as_second());
    connection.execute(query.bind(&crl.number).bind(this_update).bind(next_update).bind(now)).await?;
    if let Some(known) = known {
        return Ok(known.id);
    }
    let (id,) = connection.one(sql("SELECT id FROM crls WHERE issuer = ?").bind(name(crl))).await?;
    Ok(id)
}

/// What a list says of a certificate, as rows have it.
type Row<'a> = (&'a str, Option<String>, Option<&'a str>);

/// What has to be written for the rows to say what the list says.
#[derive(Default)]
struct Differences<'a> {
    added: Vec<Row<'a>>,
    /// Only the reason is another one.
    altered: Vec<Row<'a>>,
    removed: Vec<String>,
}

impl<'a> Differences<'a> {
    async fn find(connection: &mut impl Ask, id: i64, crl: &'a Crl) -> Result<Self, StoreError> {
        let query = sql("SELECT serial, reason FROM revoked_certificates WHERE crl_id = ?").bind(id);
        let rows: Vec<(String, Option<String>)> = connection.all(query).await?;
        let mut rows: HashMap<String, Option<String>> = rows.into_iter().collect();
        let mut seen = HashSet::with_capacity(crl.entries.len());
        let mut found = Self::default();
        for Entry { serial, revoked_at, reason, removed, .. } in &crl.entries {
            // Where an entry is there twice, the first counts.
            if !seen.insert(serial.as_str()) {
                continue;
            }
            // Only a delta list takes back; anywhere else the word revokes like any other.
            let removed = *removed && crl.base.is_some();
            match (rows.remove(serial), removed) {
                (Some(_), true) => found.removed.push(serial.clone()),
                (None, true) => {}
                (Some(row), false) if row.as_deref() == *reason => {}
                (Some(_), false) => found.altered.push((serial, time(*revoked_at), *reason)),
                (None, false) => found.added.push((serial, time(*revoked_at), *reason)),
            }
        }
        if crl.base.is_none() {
            found.removed.extend(rows.into_keys());
        }
        Ok(found)
    }

    async fn write(
        self,
        connection: &mut impl Ask,
        id: i64,
        issuer: &str,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<(), StoreError> {
        let all = self.added.len() + self.altered.len() + self.removed.len();
        let mut done = 0;
        let mut tell = |rows: usize| {
            done += rows;
            progress(done, all);
        };
        let input = connection.dialect().input("?3");
        let insert = format!(
            "INSERT INTO revoked_certificates (issuer, serial, revoked_at, reason, crl_id)
             SELECT ?1, a, b, c, ?2 FROM {input}"
        );
        for rows in self.added.chunks(BATCH) {
            connection.execute(sql(insert.clone()).bind(issuer).bind(id).bind(json(rows))).await?;
            tell(rows.len());
        }
        // The plus keeps SQLite from going through the whole list to find one certificate of it.
        let same = "issuer = ?1 AND serial = a AND +crl_id = ?2";
        let update = match connection.dialect() {
            Dialect::Sqlite | Dialect::Postgres => {
                format!("UPDATE revoked_certificates SET revoked_at = b, reason = c FROM {input} WHERE {same}")
            }
            Dialect::Mysql => {
                format!(
                    "UPDATE revoked_certificates JOIN {input} ON serial = a SET revoked_at = b, reason = c WHERE {same}"
                )
            }
        };
        for rows in self.altered.chunks(BATCH) {
            connection.execute(sql(update.clone()).bind(issuer).bind(id).bind(json(rows))).await?;
            tell(rows.len());
        }
        let delete = format!(
            "DELETE FROM revoked_certificates WHERE issuer = ?1 AND serial IN (SELECT a FROM {input}) AND +crl_id = ?2"
        );
        for serials in self.removed.chunks(BATCH) {
            let rows: Vec<[&String; 1]> = serials.iter().map(|serial| [serial]).collect();
            connection.execute(sql(delete.clone()).bind(issuer).bind(id).bind(json(&rows))).await?;
            tell(serials.len());
        }
        Ok(())
    }
}

fn json(rows: &[impl serde::Serialize]) -> String {
    // Of texts and numbers there is nothing that JSON could not write.
    serde_json::to_string(rows).unwrap_or_default()
}

async fn record(connection: &mut impl Ask, id: i64) -> Result<ImportedCrl, StoreError> {
    Ok(connection.one(sql(format!("{SELECT} WHERE id = ?")).bind(id)).await?)
}
