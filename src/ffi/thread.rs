//! The broker's rule about threads, as a type.

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
