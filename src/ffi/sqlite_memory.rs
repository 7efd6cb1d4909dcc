//! SQLite's account of the memory that it has taken.

use std::ffi::c_int;

use libsqlite3_sys::{SQLITE_CONFIG_MEMSTATUS, SQLITE_OK, sqlite3_config};
use once_cell::sync::Lazy;

/// Whether it is kept no more.
static UNCOUNTED: Lazy<bool> = Lazy::new(|| {
    const OFF: c_int = 0;
    // SAFETY: the option takes one int (sqlite3_config). No other thread is in SQLite, which belongs to this library alone:
    // every way to it begins with `leave_uncounted`, and they wait for each other here. Where that is not so, and SQLite has
    // begun already, it refuses and changes nothing.
    unsafe { sqlite3_config(SQLITE_CONFIG_MEMSTATUS, OFF) == SQLITE_OK }
});

/// To be called before anything is asked of SQLite. It counts what it takes from the heap, under one lock for all threads;
/// but a row is taken by the thread that reads the file, and given back by the one that wanted it. They wait for each
/// other at each value, and nobody asks for the sum.
pub(crate) fn leave_uncounted() {
    Lazy::force(&UNCOUNTED);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_counted_once_it_was_said() {
        leave_uncounted();
        assert!(*UNCOUNTED);
    }
}
