//! The file that keys are written to which were made for many devices at once: `identity:key`, mode 0600.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::error::CliError;
use crate::credential::psk::Psk;

/// A file of new keys. One that is there already is added to, and what it holds is used again: an import that was
/// interrupted may have written keys that are not in the database yet.
pub(super) struct NewKeys {
    path: PathBuf,
    file: File,
    known: HashMap<String, Psk>,
    unwritten: Vec<Zeroizing<String>>,
}

impl NewKeys {
    pub(super) fn open(path: &Path) -> Result<Self, CliError> {
        let fault = |cause: String| CliError::KeysFile { path: path.to_owned(), cause };
        let mut options = OpenOptions::new();
        // Not through a link, which may lead to a file of somebody else's.
        options.read(true).append(true).create(true).mode(0o600).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
        let mut file = options.open(path).map_err(|error| fault(error.to_string()))?;
        let metadata = file.metadata().map_err(|error| fault(error.to_string()))?;
        if !metadata.is_file() {
            return Err(fault("it is not a regular file".to_owned()));
        }
        if metadata.mode() & 0o077 != 0 {
            return Err(fault(format!("others than its owner can use it; run `chmod 600 {}`", path.display())));
        }
        let mut text = Zeroizing::new(String::new());
        file.read_to_string(&mut text).map_err(|error| fault(error.to_string()))?;
        // A line that was cut off gets its end, so that the next one is not added to it.
        let cut_off = !text.is_empty() && !text.ends_with('\n');
        let known = text.lines().filter_map(|line| {
            let (identity, key) = line.rsplit_once(':')?;
            Some((identity.to_owned(), Psk::from_hex(key).ok()?))
        });
        let unwritten = if cut_off { vec![line(&["\n"])] } else { Vec::new() };
        Ok(Self { path: path.to_owned(), file, known: known.collect(), unwritten })
    }

    /// The key for this identity: a new one, unless the file had one.
    pub(super) fn key_for(&mut self, identity: &str) -> Result<Psk, CliError> {
        if let Some(known) = self.known.get(identity) {
            return Ok(known.clone());
        }
        let psk = Psk::generate(Psk::DEFAULT_BYTES)?;
        let key = psk.hex();
        self.unwritten.push(line(&[identity, ":", &key, "\n"]));
        Ok(psk)
    }

    /// Writes what was made since the last time, and waits until it is on the disk.
    pub(super) fn keep(&mut self) -> Result<(), CliError> {
        if self.unwritten.is_empty() {
            return Ok(());
        }
        let lines: Vec<&str> = self.unwritten.iter().map(|line| line.as_str()).collect();
        let written = self.file.write_all(line(&lines).as_bytes()).and_then(|()| self.file.sync_data());
        written.map_err(|error| CliError::KeysFile { path: self.path.clone(), cause: error.to_string() })?;
        self.unwritten.clear();
        Ok(())
    }
}

/// These texts as one, with room for it from the start: a string that grows leaves copies behind.
fn line(texts: &[&str]) -> Zeroizing<String> {
    let mut line = Zeroizing::new(String::with_capacity(texts.iter().map(|text| text.len()).sum()));
    for text in texts {
        line.push_str(text);
    }
    line
}

impl std::fmt::Debug for NewKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewKeys").field("path", &self.path).finish_non_exhaustive()
    }
}
