//! The policy beside independent models of it: the matcher beside a naive one and beside the broker's own, the verdict
//! beside rules tried one by one on every topic of a small world, gains and losses beside all questions of one.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

mod broker_matcher;
mod diff;
mod judge;
mod judge_model;
mod matcher;
