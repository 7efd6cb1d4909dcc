//! A panic becomes a refusal.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs the body of a function that C calls. Should it panic, C gets `refusal` and the broker goes on.
///
/// A panic that leaves an `extern "C"` function would end the broker.
pub(super) fn refuse_on_panic<T>(callback: &'static str, refusal: T, body: impl FnOnce() -> T) -> T {
    // What the body may have left half done is only ever read again through types that stay whole: RefCells give their
    // borrow back while unwinding, and a snapshot is never changed in place.
    let result = catch_unwind(AssertUnwindSafe(|| {
        forced(callback);
        body()
    }));
    result.unwrap_or_else(|_| {
        let _ = catch_unwind(|| tracing::error!(callback, "panic in the plugin, answered as a refusal"));
        refusal
    })
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
