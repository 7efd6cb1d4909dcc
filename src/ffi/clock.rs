//! The C library's clocks that the standard library does not have.
//!
//! `rustix` has them too, but looks for the kernel's vDSO by itself, and whoever runs the broker under valgrind has none.

use std::time::Duration;

/// Seconds since 1970, behind by some milliseconds at the most: what this costs is a fraction of what
/// [`SystemTime`](std::time::SystemTime) does (`clock_gettime(2)`, `CLOCK_REALTIME_COARSE`).
#[allow(clippy::useless_conversion, reason = "it has 32 bits on some machines")]
pub(crate) fn coarse_seconds() -> i64 {
    read(libc::CLOCK_REALTIME_COARSE).tv_sec.into()
}

/// How long this thread has been at work.
pub(super) fn of_this_thread() -> Duration {
    let time = read(libc::CLOCK_THREAD_CPUTIME_ID);
    let nanoseconds = u32::try_from(time.tv_nsec).unwrap_or_default();
    Duration::new(u64::try_from(time.tv_sec).unwrap_or_default(), nanoseconds)
}

fn read(clock: libc::clockid_t) -> libc::timespec {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: there is room for what is written. It fails for a clock that the kernel does not know, and these are older
    // than any that Rust runs on.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn it_is_behind_by_less_than_a_second() {
        let exactly = || {
            let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
            i64::try_from(since.as_secs()).unwrap()
        };
        let before = exactly();
        let coarse = coarse_seconds();
        assert!((before - 1..=exactly()).contains(&coarse), "{coarse}");
    }

    #[test]
    fn a_thread_that_works_has_been_at_work() {
        let before = of_this_thread();
        while of_this_thread() == before {}
        assert!(of_this_thread() > before);
    }
}
