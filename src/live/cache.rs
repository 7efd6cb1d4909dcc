//! The last policy known, kept in a file for the day on which a broker starts while its database is away.
//!
//! The file is sealed with a key that comes from the key file. Beside it, a small file says when the database last
//! confirmed what it holds: so the age of a cache is the age of that confirmation, and a policy that nobody changes is
//! not written again and again. What a cache is good for is decided by whoever reads it.

mod file;
mod keeper;
mod record;

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::credential::cache::{CacheKey, CacheSealError};
use crate::database::Database;
use crate::store::feed::Everything;

pub(super) use keeper::{Keeper, Shelf};
pub use record::Nonsense;

/// How far in the future the time of a confirmation may lie, for a clock that was put right meanwhile.
const SKEW: Duration = Duration::from_mins(1);

/// Milliseconds since 1970-01-01 00:00 UTC.
pub(super) type UnixMillis = i64;

/// Where a cache is kept.
#[derive(Debug)]
pub struct CacheFile {
    pub path: PathBuf,
    pub key: CacheKey,
    /// How long ago the database may have confirmed what is read from it.
    pub max_age: Duration,
}

/// What was read from a cache.
#[derive(Debug)]
pub(super) struct Cached {
    pub(super) everything: Everything,
    /// How long ago the database confirmed it.
    pub(super) age: Duration,
}

/// Why a cache cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    #[error("there is no cache `{}` yet", .0.display())]
    Missing(PathBuf),
    #[error("the cache `{}` cannot be {verb}: {error}", .path.display())]
    Io { path: PathBuf, verb: &'static str, error: std::io::Error },
    #[error("`{}` is not a cache of mosquitto-warden", .0.display())]
    NotOurs(PathBuf),
    #[error(
        "the cache `{}` has format {found}, this version of mosquitto-warden knows {}", .path.display(), file::VERSION
    )]
    Version { path: PathBuf, found: u8 },
    #[error("the cache `{}` is sealed with the key `{found}`, and the key file holds `{expected}`", .path.display())]
    OtherKey { path: PathBuf, expected: String, found: String },
    #[error("the cache `{}` cannot be used: {error}", .path.display())]
    Seal { path: PathBuf, error: CacheSealError },
    #[error("the cache `{}` is of another database, `{found}`", .path.display())]
    OtherDatabase { path: PathBuf, found: String },
    #[error("the cache `{}` cannot be used: {error}", .path.display())]
    Nonsense { path: PathBuf, error: Nonsense },
    #[error(
        "the cache `{}` is too old: the database confirmed it {} ago, and `cache_max_age` is {}",
        .path.display(), humantime::format_duration(*.age), humantime::format_duration(*.most)
    )]
    TooOld { path: PathBuf, age: Duration, most: Duration },
    #[error(
        "the cache `{}` was confirmed {} in the future: put the clock right",
        .path.display(), humantime::format_duration(*.by)
    )]
    Future { path: PathBuf, by: Duration },
    #[error("the policy is too large for a cache")]
    TooLarge,
    #[error("there was no time left to write the cache `{}`", .0.display())]
    Interrupted(PathBuf),
}

impl CacheFile {
    /// What the cache says of this database, if it is sound and was confirmed not too long before `now`.
    pub(super) fn read(&self, database: &Database, now: UnixMillis) -> Result<Cached, CacheError> {
        let path = || self.path.clone();
        let (content, everything) = file::read(&self.path, &self.key)?;
        if content.database != database.to_string() {
            return Err(CacheError::OtherDatabase { path: path(), found: content.database });
        }
        let later = file::read_confirmation(&self.path, &self.key, &content.id)?;
        let confirmed = later.map_or(content.confirmed, |later| later.max(content.confirmed));
        let whole_seconds = |millis: u64| Duration::from_secs(Duration::from_millis(millis).as_secs());
        if let Ok(by) = u64::try_from(confirmed.saturating_sub(now)).map(Duration::from_millis)
            && by > SKEW
        {
            return Err(CacheError::Future { path: path(), by: Duration::from_secs(by.as_secs()) });
        }
        let millis = u64::try_from(now.saturating_sub(confirmed)).unwrap_or(0);
        let age = Duration::from_millis(millis);
        if age > self.max_age {
            return Err(CacheError::TooOld { path: path(), age: whole_seconds(millis), most: self.max_age });
        }
        Ok(Cached { everything, age })
    }
}

/// The directory that a file is in.
fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The present time.
pub(super) fn unix_millis() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis::try_from(since.as_millis()).unwrap_or(UnixMillis::MAX)
}

#[cfg(test)]
mod tests;
