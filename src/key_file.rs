//! The file that holds the sealing key: one line, and a second one while the key is replaced; mode 0600.
//!
//! A key that others can read is no key, so such a file is refused; every message says what to type next.

use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use thiserror::Error;
use zeroize::Zeroizing;

use crate::credential::psk::{KeyError, SealingKey};
use crate::system_user;

/// Why a key file cannot be used.
#[derive(Debug, Error)]
pub enum KeyFileError {
    #[error("there is no key file `{path}`; `warden init` makes one")]
    Missing { path: PathBuf },
    #[error("the key file `{path}` belongs to `{owner}` and cannot be read by `{user}`; run `chown {user} {path}`")]
    Unreadable { path: PathBuf, owner: String, user: String },
    #[error(
        "the key file `{path}` is out of reach of `{user}`; that user must be able to enter every directory above it"
    )]
    OutOfReach { path: PathBuf, user: String },
    #[error(
        "the key file `{path}` has mode {mode:04o}, so that others than its owner can use it; run `chmod 600 {path}`"
    )]
    Exposed { path: PathBuf, mode: u32 },
    #[error("the key file `{path}` is not a regular file; name the file that `warden init` made")]
    NotAFile { path: PathBuf },
    #[error("the key file `{path}` is not one: {cause}; restore it from a backup, or name the right one")]
    Content { path: PathBuf, cause: KeyError },
    #[error("there is already a key file `{path}`; it is kept as it is")]
    Exists { path: PathBuf },
    #[error("the key file `{path}` cannot be {verb} by `{user}`: {cause}")]
    Io { path: PathBuf, verb: &'static str, user: String, cause: io::Error },
}

/// Longer than any key file, so that a wrong path is noticed before all of it is read.
const MOST_BYTES: u64 = 1024;

/// Reads the sealing key.
pub fn read(path: &Path) -> Result<SealingKey, KeyFileError> {
    let broken = |cause| KeyFileError::Io { path: path.into(), verb: "read", user: system_user::current(), cause };
    // Without O_NONBLOCK, opening a pipe would wait for its other end.
    let file =
        OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(|source| {
            match source.kind() {
                io::ErrorKind::NotFound => KeyFileError::Missing { path: path.into() },
                io::ErrorKind::PermissionDenied => refused(path),
                _ => broken(source),
            }
        })?;
    let metadata = file.metadata().map_err(broken)?;
    if !metadata.is_file() {
        return Err(KeyFileError::NotAFile { path: path.into() });
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeyFileError::Exposed { path: path.into(), mode });
    }
    let content = |cause| KeyFileError::Content { path: path.into(), cause };
    let size = usize::try_from(metadata.len()).unwrap_or(usize::MAX);
    if metadata.len() > MOST_BYTES {
        return Err(content(KeyError::Length { found: size }));
    }
    // Room for all of it from the start: a buffer that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(size + 1));
    file.take(metadata.len()).read_to_end(&mut bytes).map_err(broken)?;
    let text = str::from_utf8(&bytes).map_err(|_| content(KeyError::NotHex))?;
    SealingKey::from_text(text).map_err(content)
}

/// Makes a new sealing key and the file that holds it, and gives that to a user and group if any are named. An existing
/// file is never touched.
pub fn create(path: &Path, owner: Option<(u32, u32)>) -> Result<SealingKey, KeyFileError> {
    let key = SealingKey::generate().map_err(|cause| KeyFileError::Content { path: path.into(), cause })?;
    let broken = |cause: io::Error| {
        if cause.kind() == io::ErrorKind::AlreadyExists {
            return KeyFileError::Exists { path: path.into() };
        }
        KeyFileError::Io { path: path.into(), verb: "made", user: system_user::current(), cause }
    };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(broken)?;
    file.write_all(key.to_text().as_bytes()).map_err(broken)?;
    if let Some((uid, gid)) = owner {
        // By its handle: the path may lead elsewhere by now, where the directory is another's.
        fchown(&file, Some(uid), Some(gid)).map_err(broken)?;
    }
    // Secrets sealed with a key that a power cut takes away would be lost.
    file.sync_all().and_then(|()| sync_directory(path)).map_err(broken)?;
    Ok(key)
}

/// Puts another key into an existing file, which keeps its owner. Whoever reads it meanwhile finds the old content or the
/// new, and never a part.
pub fn replace(path: &Path, key: &SealingKey) -> Result<(), KeyFileError> {
    let broken = |cause| KeyFileError::Io { path: path.into(), verb: "replaced", user: system_user::current(), cause };
    // A link stays a link to the same file.
    let path = &path.canonicalize().map_err(broken)?;
    let owner = std::fs::metadata(path).map_err(broken)?;
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let beside = PathBuf::from(name);
    let mut file = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside) {
        // What an interrupted command has left is nobody's key.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            std::fs::remove_file(&beside).map_err(broken)?;
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)
        }
        opened => opened,
    }
    .map_err(broken)?;
    file.write_all(key.to_text().as_bytes()).map_err(broken)?;
    fchown(&file, Some(owner.uid()), Some(owner.gid())).map_err(broken)?;
    file.sync_all().map_err(broken)?;
    std::fs::rename(&beside, path).map_err(broken)?;
    sync_directory(path).map_err(broken)
}

/// The directory's entry counts as well, after a power cut.
fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::File::open(directory)?.sync_all()
}

/// Permission was denied: by the file, whose owner can then be named, or by a directory on the way to it.
fn refused(path: &Path) -> KeyFileError {
    let user = system_user::current();
    match std::fs::metadata(path) {
        Ok(metadata) => {
            KeyFileError::Unreadable { path: path.into(), owner: system_user::name_of(metadata.uid()), user }
        }
        Err(_) => KeyFileError::OutOfReach { path: path.into(), user },
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn at(directory: &tempfile::TempDir) -> PathBuf {
        directory.path().join("warden.key")
    }

    #[test]
    fn a_key_that_was_made_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let made = create(&at(&directory), None).unwrap();
        assert_eq!(read(&at(&directory)).unwrap().id(), made.id());
        assert_eq!(fs::metadata(at(&directory)).unwrap().mode() & 0o7777, 0o600);
    }

    #[test]
    fn an_existing_file_is_never_touched() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(at(&directory), "mine").unwrap();
        assert!(matches!(create(&at(&directory), None), Err(KeyFileError::Exists { .. })));
        assert_eq!(fs::read_to_string(at(&directory)).unwrap(), "mine");
    }

    #[test]
    fn a_file_that_others_can_use_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        create(&at(&directory), None).unwrap();
        for (mode, accepted) in [
            (0o600, true),
            (0o400, true),
            (0o700, true),
            (0o640, false),
            (0o620, false),
            (0o610, false),
            (0o604, false),
            (0o602, false),
            (0o601, false),
        ] {
            fs::set_permissions(at(&directory), Permissions::from_mode(mode)).unwrap();
            let answer = read(&at(&directory));
            assert_eq!(answer.is_ok(), accepted, "{mode:o}");
            if let Err(error) = answer {
                let command = format!("`chmod 600 {}`", at(&directory).display());
                assert!(error.to_string().ends_with(&command), "{error}");
            }
        }
    }

    #[test]
    fn what_is_not_a_key_file_is_refused_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = at(&directory);
        assert!(matches!(read(&path), Err(KeyFileError::Missing { .. })));
        assert!(matches!(read(directory.path()), Err(KeyFileError::NotAFile { .. })));
        for (content, expected) in [
            (vec![], KeyError::Length { found: 0 }),
            (b"ab".repeat(31), KeyError::Length { found: 62 }),
            (b"ab".repeat(100_000), KeyError::Length { found: 200_000 }),
            (vec![0xff; 64], KeyError::NotHex),
        ] {
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
            match read(&path) {
                Err(KeyFileError::Content { cause, .. }) => assert_eq!(cause, expected),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_pipe_is_refused_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let made = std::process::Command::new("mkfifo").args(["-m", "600"]).arg(at(&directory)).status().unwrap();
        assert!(made.success());
        assert!(matches!(read(&at(&directory)), Err(KeyFileError::NotAFile { .. })));
    }
}
