//! The wal-index of an SQLite database: memory that all who have the database open share, and in which each commit shows.
//!
//! Its beginning is the same header twice, which SQLite's documentation of the file format describes ("The WAL-Index
//! Header"). Whoever commits writes the second copy, then the first, and only then does COMMIT return; whoever wants to read reads
//! the first and then the second, and compares. A header is never again what it once was: it counts transactions, and
//! holds the salts and the checksum of the log.

use std::ffi::{c_int, c_void};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, Ordering, fence};

use libsqlite3_sys::{SQLITE_FCNTL_FILE_POINTER, SQLITE_OK, sqlite3_file, sqlite3_file_control};
use sqlx::sqlite::LockedSqliteHandle;

/// The words of a header.
const WORDS: usize = 12;
/// The format of the header that is known here, which is its first word.
const VERSION: u32 = 3_007_000;
/// How much of it SQLite maps at once.
const REGION: c_int = 32_768;

/// What the wal-index said at one moment.
pub(crate) type Header = [u32; WORDS];

type Copies = [[AtomicU32; WORDS]; 2];

/// The beginning of a wal-index, in a mapping of our own: SQLite may end its own while somebody reads here.
#[derive(Debug)]
pub(crate) struct WalIndex {
    copies: NonNull<Copies>,
}

// SAFETY: what is mapped are atomics, and the mapping is ended by the last owner.
unsafe impl Send for WalIndex {}
// SAFETY: as above.
unsafe impl Sync for WalIndex {}

impl WalIndex {
    /// That of a database in WAL mode that this connection has read, if it is in memory that is shared.
    pub(crate) fn of(connection: &mut LockedSqliteHandle<'_>) -> Option<Self> {
        let database = connection.as_raw_handle().as_ptr();
        let mut file: *mut sqlite3_file = ptr::null_mut();
        // SAFETY: the connection is ours while it is locked; this asks for the file of its main database, and is told it.
        let found = unsafe {
            sqlite3_file_control(database, c"main".as_ptr(), SQLITE_FCNTL_FILE_POINTER, (&raw mut file).cast())
        };
        let file = NonNull::new(file).filter(|_| found == SQLITE_OK)?;
        // SAFETY: the file is open as long as the connection is, and has its methods, which are constant, while it is open.
        let methods = unsafe { file.as_ref().pMethods.as_ref() }.filter(|methods| methods.iVersion >= 2)?;
        let mut region: *mut c_void = ptr::null_mut();
        // SAFETY: as the manual has it (sqlite3_io_methods): the first region, of SQLite's own size, which is not made
        // where it is not there.
        let mapped = unsafe { methods.xShmMap?(file.as_ptr(), 0, REGION, 0, (&raw mut region).cast()) };
        let region = NonNull::new(region).filter(|_| mapped == SQLITE_OK)?;
        let index = Self { copies: mapped_again(region)?.cast() };
        // Nothing is mapped here but a wal-index of the format that is known.
        index.header().map(|_| index)
    }

    /// What it says now; nothing, where somebody is just writing it.
    pub(crate) fn header(&self) -> Option<Header> {
        // SAFETY: as many bytes are mapped until this is dropped; they are aligned, because a page begins with them.
        let [first, second] = unsafe { self.copies.as_ref() };
        let first = first.each_ref().map(|word| word.load(Ordering::Relaxed));
        fence(Ordering::SeqCst);
        let second = second.each_ref().map(|word| word.load(Ordering::Relaxed));
        (first == second && first[0] == VERSION).then_some(first)
    }
}

impl Drop for WalIndex {
    fn drop(&mut self) {
        // SAFETY: mapped by `mapped_again`, and nobody has it any more.
        unsafe {
            libc::munmap(self.copies.as_ptr().cast(), size_of::<Copies>());
        }
    }
}

/// The page that begins here, mapped a second time.
#[cfg(target_os = "linux")]
fn mapped_again(page: NonNull<c_void>) -> Option<NonNull<c_void>> {
    const { assert!(size_of::<Copies>() <= 4096) };
    // SAFETY: with an old size of 0, the mapping that is there stays as it is, and the new one is where nothing was
    // (mremap(2)). Memory that is not shared is refused; kernels before 4.14 make zeros of it, which are no header.
    let again = unsafe { libc::mremap(page.as_ptr(), 0, size_of::<Copies>(), libc::MREMAP_MAYMOVE) };
    NonNull::new(again).filter(|again| again.as_ptr() != libc::MAP_FAILED)
}

/// Nobody else has the like.
#[cfg(not(target_os = "linux"))]
fn mapped_again(_: NonNull<c_void>) -> Option<NonNull<c_void>> {
    None
}
