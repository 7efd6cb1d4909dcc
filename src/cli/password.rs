//! Passwords on their way from a person into the database. None ever stands on a command line.

use std::io::{BufRead, IsTerminal, Read};

use anyhow::Context;
use zeroize::Zeroizing;

use super::error::CliError;
use crate::credential::password::{self, Cost, MOST_BYTES, PasswordHash};
use crate::store::credential::{HashedPassword, Proof};

/// Where a password comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Given {
    /// Somebody types it, twice.
    Prompt,
    /// A line of standard input.
    Stdin,
    /// A line of standard input is its hash, ready for keeping.
    Hash,
}

impl Given {
    /// The stored form of a password for somebody with these names.
    pub(super) fn hashed(self, names: &[&str], cost: Cost) -> anyhow::Result<Proof> {
        let password = match self {
            Self::Prompt => typed()?,
            Self::Stdin => line()?,
            Self::Hash => {
                let text = line()?;
                PasswordHash::parse(text.trim()).map_err(CliError::Hash)?;
                return Ok(Proof::Password(HashedPassword(text.trim().to_owned())));
            }
        };
        password::accept(&password, names).map_err(CliError::Weak)?;
        let hash = password::hash(password.as_bytes(), cost).map_err(CliError::Hash)?;
        Ok(Proof::Password(HashedPassword(hash)))
    }
}

fn typed() -> anyhow::Result<Zeroizing<String>> {
    if !std::io::stdin().is_terminal() {
        return Err(CliError::NoTerminal.into());
    }
    let ask = |prompt| rpassword::prompt_password(prompt).map(Zeroizing::new).context("cannot read the terminal");
    let password = ask("password: ")?;
    if *password != *ask("once more: ")? {
        return Err(CliError::TypedTwice.into());
    }
    Ok(password)
}

fn line() -> anyhow::Result<Zeroizing<String>> {
    // Room for the longest from the start: a string that grows leaves copies behind.
    let most = MOST_BYTES + 64;
    let mut line = Zeroizing::new(String::with_capacity(most));
    std::io::stdin().lock().take(most as u64).read_line(&mut line).context("cannot read standard input")?;
    let length = line.trim_end_matches(['\r', '\n']).len();
    line.truncate(length);
    if line.is_empty() { Err(CliError::NoPasswordOnStdin.into()) } else { Ok(line) }
}
