//! Waking the broker's thread, which waits for its sockets up to 100 ms between two ticks.
//!
//! There is no call for it. A signal that has a handler ends `epoll_wait` early, and the broker goes on to its tick;
//! SIGURG is one that means nothing to it and that is ignored where it has no handler.

use std::mem::MaybeUninit;

/// The handler for SIGURG while it exists, and the thread that it wakes.
#[derive(Debug)]
pub(super) struct Waker {
    before: Option<libc::sigaction>,
}

impl std::panic::RefUnwindSafe for Waker {}

extern "C" fn nothing(_: libc::c_int) {}

impl Waker {
    /// Installs the handler, unless somebody else in this process has one, which does as well.
    pub(super) fn install() -> Self {
        let mut before = MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: an all-zero sigaction is a valid one (no flags, empty mask, SIG_DFL); the handler does nothing, and
        // both pointers are to locals. `before` is written by the first call, and valid (zeroed) if that fails.
        let before = unsafe {
            libc::sigaction(libc::SIGURG, std::ptr::null(), before.as_mut_ptr());
            before.assume_init()
        };
        if before.sa_sigaction != libc::SIG_DFL && before.sa_sigaction != libc::SIG_IGN {
            return Self { before: None };
        }
        // SAFETY: as above. The library is linked with `-z nodelete`, so that the handler outlives a dlclose.
        unsafe {
            let mut ours = MaybeUninit::<libc::sigaction>::zeroed().assume_init();
            ours.sa_sigaction = nothing as extern "C" fn(libc::c_int) as libc::sighandler_t;
            libc::sigaction(libc::SIGURG, &raw const ours, std::ptr::null_mut());
        }
        Self { before: Some(before) }
    }

    /// What wakes the calling thread, from any thread, for as long as it lives.
    pub(super) fn of_this_thread() -> impl Fn() + Send + 'static {
        // SAFETY: takes nothing and cannot fail.
        let thread = unsafe { libc::pthread_self() };
        move || {
            // SAFETY: the broker's main thread lives as long as the process; a signal with a handler does it no harm.
            unsafe {
                libc::pthread_kill(thread, libc::SIGURG);
            }
        }
    }
}

impl Drop for Waker {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // SAFETY: `before` is what sigaction gave us.
            unsafe {
                libc::sigaction(libc::SIGURG, std::ptr::from_ref(before), std::ptr::null_mut());
            }
        }
    }
}

/// Runs `body` with every signal blocked, so that threads begun in it never take one that is meant for the broker.
pub(super) fn without_signals<T>(body: impl FnOnce() -> T) -> T {
    struct Restore(libc::sigset_t);
    impl Drop for Restore {
        fn drop(&mut self) {
            // SAFETY: the set is what pthread_sigmask gave us.
            unsafe {
                libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, std::ptr::null_mut());
            }
        }
    }
    let mut all = MaybeUninit::<libc::sigset_t>::zeroed();
    let mut before = MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: sigfillset and pthread_sigmask write to the sets that they are given; neither can fail with these
    // arguments, and a zeroed set is a valid one besides.
    let _restore = unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_BLOCK, all.as_ptr(), before.as_mut_ptr());
        Restore(before.assume_init())
    };
    body()
}
