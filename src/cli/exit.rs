//! How the command ends, in a number that scripts can rely on. The help of `warden` lists them.

use std::process::ExitCode;

use super::error::CliError;
use crate::key_file::KeyFileError;
use crate::store::StoreError;

/// How the command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done. For `explain`: allowed.
    Done = 0,
    /// It failed, for no reason that has a number of its own.
    Failure = 1,
    /// The command line makes no sense. Also what clap ends with.
    Usage = 2,
    /// For `explain`: denied. The command itself did not fail.
    Denied = 3,
    /// There is no such device, credential, role, rule or broker.
    NotFound = 4,
    /// What is there stands against it.
    Conflict = 5,
    /// The database or the key file cannot be used.
    Unavailable = 6,
    /// For `--wait`: what was to be changed is, but not every broker has confirmed in time.
    NotConfirmed = 7,
    /// `lint` and `doctor` found something, an expectation of `test` does not hold, `diff`, `apply --dry-run` or
    /// `import --verify` found a difference. The command itself did not fail.
    Found = 8,
    /// Ctrl-C between two batches: those before are done, those behind are not begun.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl Exit {
    /// What this error ends the command with.
    pub(super) fn of(error: &anyhow::Error) -> Self {
        if let Some(error) = error.downcast_ref::<StoreError>() {
            return Self::of_store(error);
        }
        if let Some(error) = error.downcast_ref::<CliError>() {
            return error.exit();
        }
        match error.downcast_ref::<KeyFileError>() {
            Some(_) => Self::Unavailable,
            None => Self::Failure,
        }
    }

    fn of_store(error: &StoreError) -> Self {
        match error {
            StoreError::At { cause, .. } => Self::of_store(cause),
            StoreError::NotFound { .. } => Self::NotFound,
            StoreError::AlreadyExists { .. } | StoreError::Conflict(_) | StoreError::Ambiguous(_) => Self::Conflict,
            StoreError::Refused(_) => Self::Usage,
            StoreError::Database(_) | StoreError::Full | StoreError::Migrate(_) => Self::Failure,
            _ => Self::Unavailable,
        }
    }
}
