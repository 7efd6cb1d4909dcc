//! Can this policy be trusted? Policies and texts in, findings, differences and plans out.
//!
//! Everything here is a plain function on values, asked by the command: no database, no files, no clock. What a rule
//! says to a question is never decided here; the engine in `policy` is asked.
#![forbid(unsafe_code)]

pub mod applied;
mod client_ids;
pub mod diff;
pub mod doctor;
pub mod expectation;
pub mod finding;
pub mod lint;
pub mod mosquitto_conf;
pub mod plan;
pub mod policy_file;
pub mod topics;

use thiserror::Error;

/// Something that can be told only with more work than is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("there are more than {most} kinds of {what} to tell apart")]
pub struct TooMuch {
    what: &'static str,
    most: usize,
}
