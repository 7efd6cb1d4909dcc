//! Around every function that C calls: a panic becomes a refusal, and whoever wants to know is told how long it took.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::clock;

/// Runs the body of a function that C calls. Should it panic, C gets `refusal` and the broker goes on.
///
/// A panic that leaves an `extern "C"` function would end the broker.
pub(super) fn refuse_on_panic<T>(callback: &'static str, refusal: T, body: impl FnOnce() -> T) -> T {
    // What the body may have left half done is only ever read again through types that stay whole: RefCells give their
    // borrow back while unwinding, and a snapshot is never changed in place.
    let start = MEASURED.load(Ordering::Relaxed).then(|| (Instant::now(), clock::of_this_thread()));
    let result = catch_unwind(AssertUnwindSafe(|| {
        forced(callback);
        body()
    }));
    if let Some((start, processor)) = start {
        note(callback, start.elapsed(), clock::of_this_thread().saturating_sub(processor));
    }
    result.unwrap_or_else(|_| {
        let _ = catch_unwind(|| tracing::error!(callback, "panic in the plugin, answered as a refusal"));
        refusal
    })
}

/// Whether callbacks are measured: two looks at the clock are not much, but half of what an access check takes.
static MEASURED: AtomicBool = AtomicBool::new(false);
/// The longest call of each callback so far.
static LONGEST: Mutex<BTreeMap<&str, Longest>> = Mutex::new(BTreeMap::new());

#[derive(Default)]
struct Longest {
    /// From call to return.
    time: Duration,
    /// What of a call was work; the rest is waiting, be it only that the kernel let somebody else run.
    processor: Duration,
    told: bool,
}

/// From now on callbacks are measured.
pub(super) fn measure() {
    MEASURED.store(true, Ordering::Relaxed);
}

fn note(callback: &'static str, time: Duration, processor: Duration) {
    let mut longest = LONGEST.lock().unwrap_or_else(PoisonError::into_inner);
    let entry = longest.entry(callback).or_default();
    if time > entry.time || processor > entry.processor {
        *entry = Longest { time: entry.time.max(time), processor: entry.processor.max(processor), told: false };
    }
}

/// Tells the log which callbacks have taken longer than ever before.
pub(super) fn report_longest() {
    if !MEASURED.load(Ordering::Relaxed) {
        return;
    }
    let mut longest = LONGEST.lock().unwrap_or_else(PoisonError::into_inner);
    for (callback, longest) in longest.iter_mut().filter(|(_, longest)| !longest.told) {
        let (microseconds, processor) = (longest.time.as_micros(), longest.processor.as_micros());
        tracing::info!(callback, microseconds, processor, "longest callback so far");
        longest.told = true;
    }
}

/// Test builds panic in the callback that is named in the environment, so that a real broker can be shown to survive it.
#[cfg(debug_assertions)]
fn forced(callback: &'static str) {
    use once_cell::sync::Lazy;

    static CHOSEN: Lazy<Option<String>> = Lazy::new(|| std::env::var("WARDEN_TEST_PANIC_IN").ok());
    assert!(CHOSEN.as_deref() != Some(callback), "forced by WARDEN_TEST_PANIC_IN");
}

#[cfg(not(debug_assertions))]
const fn forced(_: &'static str) {}
