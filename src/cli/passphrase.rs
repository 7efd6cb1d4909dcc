//! The passphrase of an authority's key, on its way from a person. It is never on the command line, which others can see.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use zeroize::Zeroizing;

use super::error::CliError;
use super::new_files::open_to_others;

/// The fewest characters that a new passphrase may have.
const FEWEST: usize = 12;
/// What is read of a file at most, in bytes.
const MOST: usize = 1024;

#[derive(Debug, Args)]
pub(super) struct PassphraseArgs {
    /// The first line of this file is the passphrase of the authority's key; `-` is standard input, /dev/fd/3 an open
    /// file descriptor [default: ask]
    #[arg(long, value_name = "FILE", env = "WARDEN_PASSPHRASE_FILE", hide_env_values = true)]
    passphrase_file: Option<PathBuf>,
}

impl PassphraseArgs {
    /// Whether it comes from standard input.
    pub(super) fn takes_stdin(&self) -> bool {
        self.passphrase_file.as_deref() == Some(Path::new("-"))
    }

    /// That of a key that is there.
    pub(super) fn existing(&self, key: &Path) -> Result<Zeroizing<String>, CliError> {
        match &self.passphrase_file {
            Some(path) => first_line(path),
            None => ask(&format!("passphrase of {}: ", key.display())),
        }
    }

    /// One for a key that is being made.
    pub(super) fn new_one(&self) -> Result<Zeroizing<String>, CliError> {
        let passphrase = if let Some(path) = &self.passphrase_file {
            first_line(path)?
        } else {
            let first = ask("new passphrase: ")?;
            if *ask("once more: ")? != *first {
                return Err(CliError::Nonsense("the two passphrases differ".to_owned()));
            }
            first
        };
        if passphrase.chars().count() < FEWEST {
            return Err(CliError::Nonsense(format!("a passphrase has at least {FEWEST} characters")));
        }
        Ok(passphrase)
    }
}

fn ask(prompt: &str) -> Result<Zeroizing<String>, CliError> {
    rpassword::prompt_password(prompt).map(Zeroizing::new).map_err(CliError::NobodyToAsk)
}

fn first_line(path: &Path) -> Result<Zeroizing<String>, CliError> {
    let unreadable = |cause| CliError::Unreadable { path: path.into(), cause };
    // Room for all of it from the start: a string that grows leaves copies behind.
    let mut line = Zeroizing::new(String::with_capacity(MOST));
    if path == Path::new("-") {
        std::io::stdin().lock().take(MOST as u64).read_line(&mut line).map_err(unreadable)?;
    } else {
        let file = File::open(path).map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        if let Some(mode) = open_to_others(&metadata) {
            return Err(CliError::Exposed { path: path.into(), mode });
        }
        BufReader::new(file).take(MOST as u64).read_line(&mut line).map_err(unreadable)?;
    }
    let length = line.trim_end_matches(['\r', '\n']).len();
    line.truncate(length);
    if line.is_empty() { Err(CliError::NoPassphrase { path: path.into() }) } else { Ok(line) }
}
