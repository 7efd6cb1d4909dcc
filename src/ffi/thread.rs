//! The broker's rule about threads, as a type, and what is better done on another.

use std::panic::resume_unwind;
use std::thread;

use super::wake::without_signals;

/// Something that only the thread that made it may touch.
#[derive(Debug)]
pub(super) struct MainThread<T> {
    owner: usize,
    value: T,
}

// SAFETY: `get` hands out the value on the thread that made it and nowhere else, so it is never shared between two.
unsafe impl<T> Sync for MainThread<T> {}

impl<T> MainThread<T> {
    /// Belongs to the thread that calls.
    pub(super) fn new(value: T) -> Self {
        Self { owner: this_thread(), value }
    }

    /// The value, on its own thread.
    pub(super) fn get(&self) -> Option<&T> {
        (self.owner == this_thread()).then_some(&self.value)
    }
}

/// Runs `body` on a thread of this name, with every signal blocked, and waits for it.
///
/// To read a policy leaves holes all over a heap. In the heap of the broker's thread they would come to be used for each
/// connection: with ten thousand devices, a TLS handshake took a twelfth longer, because its memory was in no cache.
/// glibc has a heap for each thread.
pub(super) fn apart<T: Send>(name: &str, body: impl FnOnce() -> T + Send) -> std::io::Result<T> {
    thread::scope(|scope| {
        let thread = without_signals(|| thread::Builder::new().name(name.to_owned()).spawn_scoped(scope, body))?;
        Ok(thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
    })
}

/// Has the calling thread, and all that it will start, keep their descriptors in a table of their own, with nothing in it
/// but standard input and output. Without it all works too.
///
/// The kernel looks up a descriptor for a thread that has its table to itself without counting who else uses it. The broker
/// names several for each message, and its thread is the only one that works with its table, as it was without us.
///
/// No descriptor may then be given from one side to the other, nor may the broker's thread do to anything of ours what
/// writes to one. A tokio runtime that waits for sockets is woken like that.
pub(super) fn keep_own_descriptors() {
    #[cfg(target_os = "linux")]
    {
        const FIRST: libc::c_uint = 3;
        // SAFETY: close_range(2) with this flag closes nothing in the table that the thread has had: the broker's stays as
        // it is. Nobody has kept a number from it on this thread, which has opened nothing yet. Kernels before 5.9 do not
        // know the call, and some sandboxes forbid it; both leave everything as it was.
        let result =
            unsafe { libc::syscall(libc::SYS_close_range, FIRST, libc::c_uint::MAX, libc::CLOSE_RANGE_UNSHARE) };
        if result != 0 {
            let error = std::io::Error::last_os_error();
            tracing::debug!(%error, "the threads of the plugin have their descriptors in one table with the broker's");
        }
    }
}

/// A number that no other living thread has: the address of something it has of its own.
fn this_thread() -> usize {
    thread_local!(static HERE: u8 = const { 0 });
    HERE.with(|here| std::ptr::from_ref(here).addr())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_own_thread_gets_the_value() {
        let value = MainThread::new(std::cell::Cell::new(1));
        assert!(value.get().is_some());
        std::thread::scope(|scope| scope.spawn(|| assert!(value.get().is_none())).join().unwrap());
    }
}
