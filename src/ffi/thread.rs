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
