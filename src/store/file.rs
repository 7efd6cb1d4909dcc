//! The database as a file: is it there, is it one, and may we?
//!
//! SQLite says "unable to open database file" to most of this, so it is looked at beforehand.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD, accessat};

use super::{OpenMode, StoreError};
use crate::system_user;

/// Looks at the file, and says in the operator's words what would keep SQLite from working with it.
pub(super) fn check(path: &Path, mode: OpenMode) -> Result<(), StoreError> {
    let metadata = fs::metadata(path).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => out_of_reach(path),
        _ => StoreError::Missing { path: path.into() },
    })?;
    if !metadata.is_file() {
        return Err(StoreError::NotAFile { path: path.into() });
    }
    if !may(path, Access::READ_OK) {
        return Err(denied(path, &metadata, "read"));
    }
    if mode == OpenMode::Write {
        if !may(path, Access::WRITE_OK) {
            return Err(denied(path, &metadata, "written"));
        }
        // A write goes to a file beside the database first.
        let directory = directory(path);
        if !may(directory, Access::WRITE_OK | Access::EXEC_OK) {
            let owner = fs::metadata(directory).map_or_else(|_| "?".to_owned(), |it| system_user::name_of(it.uid()));
            return Err(StoreError::Directory { path: directory.into(), owner, user: system_user::current() });
        }
    }
    Ok(())
}

/// Why the file could not be made.
pub(super) fn not_created(path: &Path, error: io::Error) -> StoreError {
    let directory = directory(path);
    match (error.kind(), fs::metadata(directory)) {
        (io::ErrorKind::NotFound, _) => StoreError::NoDirectory { path: directory.into() },
        (io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem, Ok(metadata)) => StoreError::Directory {
            path: directory.into(),
            owner: system_user::name_of(metadata.uid()),
            user: system_user::current(),
        },
        _ => StoreError::Create { path: path.into(), cause: error },
    }
}

/// As the user that we are now, not the one that started us: brokers start as root and go on as `mosquitto`.
fn may(path: &Path, access: Access) -> bool {
    accessat(CWD, path, access, AtFlags::EACCESS).is_ok()
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn denied(path: &Path, metadata: &Metadata, verb: &'static str) -> StoreError {
    let (owner, user) = (system_user::name_of(metadata.uid()), system_user::current());
    StoreError::Denied { path: path.into(), verb, owner, mode: metadata.mode() & 0o7777, user }
}

fn out_of_reach(path: &Path) -> StoreError {
    StoreError::OutOfReach { path: path.into(), user: system_user::current() }
}

/// Whether the file starts like a database, and is as long as it says. An empty file is an empty database.
///
/// Only before this process has a connection to it: closing any descriptor of a file drops the locks that SQLite holds
/// on it (sqlite.org/howtocorrupt.html, 2.2).
pub(super) fn check_content(path: &Path) -> Result<(), StoreError> {
    let unreadable = |cause| StoreError::Unreadable { path: path.into(), cause };
    let mut file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if metadata.len() == 0 {
        return Ok(());
    }
    let mut header = [0; HEADER_BYTES];
    match file.read_exact(&mut header) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            return Err(StoreError::NotADatabase { path: path.into() });
        }
        Err(error) => return Err(unreadable(error)),
    }
    if !header.starts_with(b"SQLite format 3\0") {
        return Err(StoreError::NotADatabase { path: path.into() });
    }
    // While pages wait in the write-ahead log, the header may already count what the file does not hold yet.
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let log_waits = fs::metadata(log).is_ok_and(|log| log.len() > 0);
    match declared_bytes(&header) {
        Some(expected) if expected > metadata.len() && !log_waits => {
            Err(StoreError::Truncated { path: path.into(), found: metadata.len(), expected })
        }
        _ => Ok(()),
    }
}

const HEADER_BYTES: usize = 100;

/// How long the file is by its own account, where it gives a reliable one (sqlite.org/fileformat2.html, 1.3).
fn declared_bytes(header: &[u8; HEADER_BYTES]) -> Option<u64> {
    let u32_at =
        |at: usize| header.get(at..).and_then(|rest| rest.first_chunk()).map(|bytes| u32::from_be_bytes(*bytes));
    let page = header.get(16..).and_then(|rest| rest.first_chunk()).map(|bytes| u16::from_be_bytes(*bytes))?;
    let page = if page == 1 { 65536 } else { u64::from(page) };
    let (change_counter, pages, counted_at) = (u32_at(24)?, u32_at(28)?, u32_at(92)?);
    (change_counter == counted_at).then(|| page * u64::from(pages))
}
