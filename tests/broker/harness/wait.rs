//! Waiting for something to become true, never for time to pass.

use std::time::{Duration, Instant};

/// How long anything may take before a test gives up: far more than it should need on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What `probe` finds, asked again and again until it finds something; `what` is what one waits for.
pub(crate) fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: not so within {PATIENCE:?}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}
