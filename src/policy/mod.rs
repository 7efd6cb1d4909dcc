//! May they? Questions and rules in, verdicts out.
//!
//! Everything here is a plain value: no C, no SQL, no threads, no clock, no log. Whoever asks brings what was proved of
//! who the device is, and the time.
#![forbid(unsafe_code)]

pub mod certificate;
mod client_id;
pub mod decision;
pub mod device;
pub mod explain;
pub mod leaving;
mod placeholder;
mod reach;
pub mod revocation;
pub mod role;
pub mod rule;
mod shared_map;
pub mod snapshot;
pub mod topic;
mod trie;
