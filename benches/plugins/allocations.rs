//! How often a thread asks the C library for memory, in whatever language: these stand before the C library's functions
//! of the same names for everything that is loaded into the process, and pass on what they are asked.
#![expect(unsafe_code, reason = "allocations of a C library cannot be counted otherwise")]
#![allow(clippy::missing_safety_doc, reason = "each is the function of the C library that it stands before")]

use std::cell::Cell;
use std::ffi::{c_int, c_void};

thread_local!(static TIMES: Cell<usize> = const { Cell::new(0) });

// SAFETY: glibc's own names and types of malloc(3), calloc(3), realloc(3) and memalign(3), made for those that replace
// them; what they return can be given to its free(3), which is not replaced.
unsafe extern "C" {
    fn __libc_malloc(size: usize) -> *mut c_void;
    fn __libc_calloc(count: usize, size: usize) -> *mut c_void;
    fn __libc_realloc(pointer: *mut c_void, size: usize) -> *mut c_void;
    fn __libc_memalign(alignment: usize, size: usize) -> *mut c_void;
}

/// How often this thread has done so since it began.
pub(crate) fn of_this_thread() -> usize {
    TIMES.get()
}

fn count() {
    TIMES.set(TIMES.get() + 1);
}

#[unsafe(no_mangle)]
extern "C" fn malloc(size: usize) -> *mut c_void {
    count();
    // SAFETY: passed on as it came.
    unsafe { __libc_malloc(size) }
}

#[unsafe(no_mangle)]
extern "C" fn calloc(number: usize, size: usize) -> *mut c_void {
    count();
    // SAFETY: passed on as it came.
    unsafe { __libc_calloc(number, size) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn realloc(pointer: *mut c_void, size: usize) -> *mut c_void {
    count();
    // SAFETY: passed on as it came.
    unsafe { __libc_realloc(pointer, size) }
}

#[unsafe(no_mangle)]
extern "C" fn aligned_alloc(alignment: usize, size: usize) -> *mut c_void {
    count();
    // SAFETY: passed on as it came.
    unsafe { __libc_memalign(alignment, size) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn posix_memalign(out: *mut *mut c_void, alignment: usize, size: usize) -> c_int {
    count();
    // SAFETY: passed on as it came; `out` has room for a pointer.
    unsafe {
        let pointer = __libc_memalign(alignment, size);
        if pointer.is_null() {
            return libc::ENOMEM;
        }
        *out = pointer;
    }
    0
}
