//! Files that are made once, together, and never written over.

use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::error::CliError;

/// For its owner alone.
pub(super) const SECRET: u32 = 0o600;
/// For everybody to read.
pub(super) const PUBLIC: u32 = 0o644;

/// Files that were made. Dropped before they are [kept](Self::keep), they are taken away again.
#[derive(Debug, Default)]
pub(super) struct NewFiles {
    made: Vec<PathBuf>,
    directory: Option<PathBuf>,
}

impl NewFiles {
    /// Makes these files, each with its name, mode and content, in a directory, which is made where it is missing.
    pub(super) fn make(directory: &Path, files: &[(&str, u32, &[u8])]) -> Result<Self, CliError> {
        let mut new = Self::default();
        let refused = |cause| CliError::NotMade { path: directory.into(), cause };
        match DirBuilder::new().mode(0o700).create(directory) {
            Ok(()) => new.directory = Some(directory.into()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(refused(error)),
        }
        // Before one of them is made.
        for (name, _, _) in files {
            let path = directory.join(name);
            if path.symlink_metadata().is_ok() {
                return Err(CliError::Exists { path });
            }
        }
        for (name, mode, content) in files {
            new.file(&directory.join(name), *mode, content)?;
        }
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(refused)?;
        Ok(new)
    }

    /// Makes one file.
    pub(super) fn make_one(path: &Path, mode: u32, content: &[u8]) -> Result<Self, CliError> {
        let mut new = Self::default();
        new.file(path, mode, content)?;
        Ok(new)
    }

    /// They stay.
    pub(super) fn keep(mut self) {
        self.made.clear();
        self.directory = None;
    }

    fn file(&mut self, path: &Path, mode: u32, content: &[u8]) -> Result<(), CliError> {
        let refused = |cause: io::Error| match cause.kind() {
            io::ErrorKind::AlreadyExists => CliError::Exists { path: path.into() },
            _ => CliError::NotMade { path: path.into(), cause },
        };
        let mut file = OpenOptions::new().write(true).create_new(true).mode(SECRET).open(path).map_err(refused)?;
        self.made.push(path.into());
        file.write_all(content).map_err(refused)?;
        // Whatever the umask says.
        file.set_permissions(PermissionsExt::from_mode(mode)).and_then(|()| file.sync_all()).map_err(refused)
    }
}

/// The mode of a file that others than its owner can use.
pub(super) fn open_to_others(metadata: &Metadata) -> Option<u32> {
    (metadata.is_file() && metadata.mode() & 0o077 != 0).then_some(metadata.mode() & 0o7777)
}

impl Drop for NewFiles {
    fn drop(&mut self) {
        // What cannot be taken away is no worse than the error that is being told.
        for path in &self.made {
            let _ = std::fs::remove_file(path);
        }
        if let Some(directory) = &self.directory {
            let _ = std::fs::remove_dir(directory);
        }
    }
}
