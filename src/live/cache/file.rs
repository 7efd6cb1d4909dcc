//! The two files of a cache: what the policy is, and when that was last confirmed.
//!
//! Format 1. A file begins with its word, a byte with the number of the format, and, in the cache itself, a [`Head`] in
//! clear behind its length (32 bits, little endian). Pieces follow, each behind its length: records, sealed together
//! with all that stands before the first of them. Records are in the format of postcard. Both files are replaced as a
//! whole, so that there is the former one or the next.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use super::record::{Nonsense, Record};
use super::{CacheError, UnixMillis, directory};
use crate::credential::cache::{CacheId, CacheKey, CacheSealError, OVERHEAD, Sealer};
use crate::policy::certificate::CertificateId;
use crate::policy::device::SharedDevice;
use crate::policy::role::Role;
use crate::policy::snapshot::Snapshot;
use crate::store::feed::Everything;

/// The number of the format.
pub(super) const VERSION: u8 = 2;

const WORD: &[u8] = b"mosquitto-warden cache\n";
const WORD_OF_CONFIRMATION: &[u8] = b"mosquitto-warden cache confirmed\n";
/// More than any head has.
const MOST_HEAD: usize = 64 * 1024;
/// When a piece is sealed and written; the record that fills it may be longer.
const PIECE: usize = 64 * 1024;
/// More than any piece has: one role with half a million rules.
const MOST_PIECE: usize = 64 * 1024 * 1024;
/// More than a cache of five million devices has.
const MOST_BYTES: u64 = 2 * 1024 * 1024 * 1024;

/// What stands in a cache in clear. Every piece vouches for it.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Head<'a> {
    key_id: &'a str,
    id: CacheId,
    database: &'a str,
    revision: i64,
    confirmed: UnixMillis,
}

/// What a cache says of itself.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) id: CacheId,
    pub(super) database: String,
    pub(super) confirmed: UnixMillis,
}

/// Writes this policy, which the database confirmed then, in the place of the former one.
///
/// It is written piece by piece, for as long as `go_on` says so. What stands there and is no cache, is left alone.
pub(super) fn write(
    path: &Path,
    key: &CacheKey,
    (database, snapshot, confirmed): (&str, &Snapshot, UnixMillis),
    go_on: impl Fn() -> bool,
) -> Result<CacheId, CacheError> {
    let seal = |error| CacheError::Seal { path: path.into(), error };
    let broken = |error| CacheError::Io { path: path.into(), verb: "written", error };
    must_be_ours(path, WORD)?;
    let id = key.new_cache().map_err(seal)?;
    let head = Head { key_id: key.id(), id, database, revision: snapshot.revision(), confirmed };
    let head = postcard::to_stdvec(&head).map_err(|_| CacheError::TooLarge)?;
    let mut start = [WORD, &[VERSION], &length(&head, MOST_HEAD)?].concat();
    start.extend(&head);
    let mut file = new_file(path).map_err(broken)?;
    file.write_all(&start).map_err(broken)?;
    let mut pieces = Pieces { file, sealer: key.sealer(&id, &start), piece: Vec::new(), written: 0 };
    for record in records(snapshot) {
        pieces.add(&record, path)?;
        if !go_on() {
            return Err(CacheError::Interrupted(path.into()));
        }
    }
    put(pieces.finish(path)?, path).map_err(broken)?;
    Ok(id)
}

/// Says that the database confirmed then what the cache with this number holds.
pub(super) fn write_confirmation(
    path: &Path,
    key: &CacheKey,
    id: &CacheId,
    confirmed: UnixMillis,
) -> Result<(), CacheError> {
    let path = &confirmation(path);
    let broken = |error| CacheError::Io { path: path.clone(), verb: "written", error };
    must_be_ours(path, WORD_OF_CONFIRMATION)?;
    let text = postcard::to_stdvec(&(id, confirmed)).map_err(|_| CacheError::TooLarge)?;
    let start = [WORD_OF_CONFIRMATION, &[VERSION]].concat();
    let sealed = key.seal(&start, &text).map_err(|error| CacheError::Seal { path: path.clone(), error })?;
    let mut file = new_file(path).map_err(broken)?;
    file.write_all(&start).and_then(|()| file.write_all(&sealed)).map_err(broken)?;
    put(file, path).map_err(broken)
}

/// Reads a cache. Nothing in it is believed before it has opened.
pub(super) fn read(path: &Path, key: &CacheKey) -> Result<(Content, Everything), CacheError> {
    let altered = || CacheError::Seal { path: path.into(), error: CacheSealError::Altered };
    let nonsense = |error| CacheError::Nonsense { path: path.into(), error };
    let (mut file, mut left) = open(path, MOST_BYTES)?;
    // Whatever ends too early was cut off.
    let mut take = |length: usize| -> Result<(Vec<u8>, u64), CacheError> {
        left = left.checked_sub(length as u64).ok_or_else(altered)?;
        let mut bytes = vec![0; length];
        file.read_exact(&mut bytes).map_err(|_| altered())?;
        Ok((bytes, left))
    };
    let (mut start, _) = take(WORD.len() + 1).map_err(|_| CacheError::NotOurs(path.into()))?;
    version(path, &start, WORD)?;
    let (length, _) = take(4)?;
    start.extend(&length);
    let (head, _) = take(number(&length).filter(|length| *length <= MOST_HEAD).ok_or_else(altered)?)?;
    start.extend(&head);
    let head: Head<'_> = postcard::from_bytes(&head).map_err(|_| altered())?;
    if head.key_id != key.id() {
        let found = head.key_id.escape_debug().to_string();
        return Err(CacheError::OtherKey { path: path.into(), expected: key.id().to_owned(), found });
    }
    let mut everything = Everything { revision: head.revision, ..Everything::default() };
    let mut opener = key.opener(&head.id, &start);
    loop {
        let (length, _) = take(4)?;
        let most = OVERHEAD..=MOST_PIECE + OVERHEAD;
        let (mut piece, left) = take(number(&length).filter(|length| most.contains(length)).ok_or_else(altered)?)?;
        if left == 0 {
            opener.last(&mut piece).map_err(|_| altered())?;
            add_records(&mut everything, &piece).map_err(nonsense)?;
            break;
        }
        opener.next(&mut piece).map_err(|_| altered())?;
        add_records(&mut everything, &piece).map_err(nonsense)?;
    }
    Ok((Content { id: head.id, database: head.database.to_owned(), confirmed: head.confirmed }, everything))
}

/// When the database last confirmed what the cache with this number holds, if that is said.
pub(super) fn read_confirmation(path: &Path, key: &CacheKey, id: &CacheId) -> Result<Option<UnixMillis>, CacheError> {
    let path = &confirmation(path);
    let altered = || CacheError::Seal { path: path.clone(), error: CacheSealError::Altered };
    let mut bytes = Vec::new();
    match open(path, 1024) {
        Ok((mut file, _)) => file.read_to_end(&mut bytes).map_err(|_| altered())?,
        Err(CacheError::Missing(_)) => return Ok(None),
        Err(error) => return Err(error),
    };
    let (start, sealed) =
        bytes.split_at_checked(WORD_OF_CONFIRMATION.len() + 1).ok_or_else(|| CacheError::NotOurs(path.clone()))?;
    version(path, start, WORD_OF_CONFIRMATION)?;
    let text = key.open(start, sealed).map_err(|_| altered())?;
    let (of, confirmed): (CacheId, UnixMillis) = postcard::from_bytes(&text).map_err(|_| altered())?;
    // One of another cache is what is left where a broker ended between writing the two.
    Ok((of == *id).then_some(confirmed))
}

/// Where it is said when a cache was last confirmed.
pub(super) fn confirmation(path: &Path) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(".confirmed");
    path.into()
}

/// Everything that the database says, each as a record, in an order that makes the same policy of it again: who gave
/// way to another because of a name that both claim comes behind that one.
pub(super) fn records(snapshot: &Snapshot) -> impl Iterator<Item = Record<'_>> {
    let mut devices: Vec<&SharedDevice> = snapshot.devices().collect();
    devices.sort_unstable_by_key(|device| (device.unreadable.is_some(), device.id));
    let roles = snapshot.roles().map(|role| Record::from(&**role));
    let devices = devices.into_iter().map(|device| Record::from(&**device));
    roles.chain(devices).chain(snapshot.revocations().rows().map(Record::from))
}

pub(super) fn add_records(everything: &mut Everything, mut bytes: &[u8]) -> Result<(), Nonsense> {
    while !bytes.is_empty() {
        let (record, rest) =
            postcard::take_from_bytes::<Record<'_>>(bytes).map_err(|_| Nonsense("it cannot be read"))?;
        bytes = rest;
        match record {
            Record::Role(role) => everything.roles.push(Role::try_from(role)?),
            Record::Device(device) => everything.devices.push(Arc::new(device.try_into()?)),
            Record::Certificate(number, id) => everything.certificates.push((number, CertificateId(id))),
        }
    }
    Ok(())
}

/// A cache in the making.
struct Pieces<'h> {
    file: NamedTempFile,
    sealer: Sealer<'h>,
    piece: Vec<u8>,
    written: u64,
}

impl Pieces<'_> {
    fn add(&mut self, record: &Record<'_>, path: &Path) -> Result<(), CacheError> {
        // Writing to memory fails only where there is no more of it.
        postcard::to_io(record, &mut self.piece).map_err(|_| CacheError::TooLarge)?;
        if self.piece.len() < PIECE {
            return Ok(());
        }
        self.sealer.next(&mut self.piece).map_err(|error| CacheError::Seal { path: path.into(), error })?;
        self.write(path)
    }

    fn finish(mut self, path: &Path) -> Result<NamedTempFile, CacheError> {
        let sealer = self.sealer;
        sealer.last(&mut self.piece).map_err(|error| CacheError::Seal { path: path.into(), error })?;
        write_piece(&mut self.file, &mut self.piece, &mut self.written, path)?;
        Ok(self.file)
    }

    fn write(&mut self, path: &Path) -> Result<(), CacheError> {
        write_piece(&mut self.file, &mut self.piece, &mut self.written, path)
    }
}

fn write_piece(
    file: &mut NamedTempFile,
    piece: &mut Vec<u8>,
    written: &mut u64,
    path: &Path,
) -> Result<(), CacheError> {
    let length = length(piece, MOST_PIECE + OVERHEAD)?;
    *written += (length.len() + piece.len()) as u64;
    if *written > MOST_BYTES - MOST_HEAD as u64 {
        return Err(CacheError::TooLarge);
    }
    let written = file.write_all(&length).and_then(|()| file.write_all(piece));
    piece.clear();
    written.map_err(|error| CacheError::Io { path: path.into(), verb: "written", error })
}

fn length(bytes: &[u8], most: usize) -> Result<[u8; 4], CacheError> {
    let length = u32::try_from(bytes.len()).ok().filter(|_| bytes.len() <= most);
    length.map(u32::to_le_bytes).ok_or(CacheError::TooLarge)
}

fn number(length: &[u8]) -> Option<usize> {
    length.first_chunk().and_then(|length| usize::try_from(u32::from_le_bytes(*length)).ok())
}

fn version(path: &Path, start: &[u8], word: &[u8]) -> Result<(), CacheError> {
    match start.split_last() {
        Some((&VERSION, found)) if found == word => Ok(()),
        Some((&found, before)) if before == word => Err(CacheError::Version { path: path.into(), found }),
        _ => Err(CacheError::NotOurs(path.into())),
    }
}

/// A file of at most so many bytes, and how many it has.
fn open(path: &Path, most: u64) -> Result<(BufReader<File>, u64), CacheError> {
    let broken = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => CacheError::Missing(path.into()),
        _ => CacheError::Io { path: path.into(), verb: "read", error },
    };
    // Without O_NONBLOCK, opening a pipe would wait for its other end.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(broken)?;
    let metadata = file.metadata().map_err(broken)?;
    if !metadata.is_file() || metadata.len() > most {
        return Err(CacheError::NotOurs(path.into()));
    }
    Ok((BufReader::with_capacity(PIECE, file), metadata.len()))
}

/// Nothing is there, or what begins with this word.
fn must_be_ours(path: &Path, word: &[u8]) -> Result<(), CacheError> {
    let mut found = vec![0; word.len()];
    let begins = |(mut file, _): (BufReader<File>, u64)| file.read_exact(&mut found).is_ok() && found == word;
    match open(path, u64::MAX).map(begins) {
        Ok(true) | Err(CacheError::Missing(_)) => Ok(()),
        Ok(false) => Err(CacheError::NotOurs(path.into())),
        Err(error) => Err(error),
    }
}

/// A new file beside this one, for its owner alone (0600). It goes unless it is put in the other's place.
fn new_file(path: &Path) -> io::Result<NamedTempFile> {
    tempfile::Builder::new().prefix(&beside(path)).tempfile_in(directory(path))
}

/// What the names of new files beside this one begin with.
pub(super) fn beside(path: &Path) -> String {
    format!(".{}.new-", path.file_name().unwrap_or_default().display())
}

fn put(file: NamedTempFile, path: &Path) -> io::Result<()> {
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    File::open(directory(path))?.sync_all()
}
