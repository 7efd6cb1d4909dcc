//! Revocation lists in files: read when the plugin starts, and again whenever somebody puts another in their place.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::mpsc;

use super::{Notice, unix_now};
use crate::credential::certificate;
use crate::credential::crl::{Crl, CrlError};
use crate::log::causes;
use crate::policy::device::UnixSeconds;
use crate::policy::revocation::List;

/// How often it is looked whether a file has changed.
const LOOK_AT_FILES: Duration = Duration::from_secs(1);

/// Why a list, or the certificate of its authority, cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    #[error("cannot read the revocation list `{}`: {error}", .path.display())]
    File { path: PathBuf, error: std::io::Error },
    #[error("the revocation list `{}` cannot be used: {error}", .path.display())]
    List { path: PathBuf, error: CrlError },
    #[error(
        "`{}` is a delta list, which says nothing without another; give the full list, or import both with \
         `warden crl import`", .path.display()
    )]
    Delta { path: PathBuf },
    #[error("cannot read `{}`, which crl_issuers names: {error}", .path.display())]
    IssuerFile { path: PathBuf, error: std::io::Error },
    #[error("`{}`, which crl_issuers names, has no certificate that can be used: {error}", .path.display())]
    Issuer { path: PathBuf, error: certificate::CertificateError },
}

/// The files, as they were last read.
#[derive(Debug, Default)]
pub struct Lists {
    authorities: Vec<Vec<u8>>,
    files: Vec<File>,
}

#[derive(Debug)]
struct File {
    path: PathBuf,
    seen: Option<Stamp>,
    list: Option<List>,
    next_update: Option<UnixSeconds>,
    /// What was last said of it in the log.
    trouble: Option<String>,
    said_past: bool,
}

/// What tells one content of a file from another.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    device: u64,
    file: u64,
    length: u64,
    modified: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            file: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

impl Lists {
    /// Reads these lists, each of which one of the authorities in `issuers` must have signed. Tells all that is wrong.
    pub fn read(files: &[PathBuf], issuers: &[PathBuf]) -> Result<Self, Vec<ListError>> {
        let mut errors = Vec::new();
        let mut authorities = Vec::new();
        for path in issuers {
            match read_issuers(path) {
                Ok(found) => authorities.extend(found),
                Err(error) => errors.push(error),
            }
        }
        let mut lists = Vec::new();
        for path in files {
            match read_list(path, &authorities) {
                Ok((stamp, list)) => lists.push(File {
                    path: path.clone(),
                    seen: Some(stamp),
                    next_update: list.next_update,
                    list: Some(list),
                    trouble: None,
                    said_past: false,
                }),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() { Ok(Self { authorities, files: lists }) } else { Err(errors) }
    }

    /// What they say, each with its name, once.
    pub(super) fn take(&mut self) -> impl Iterator<Item = (String, List)> {
        self.files.iter_mut().filter_map(|file| Some((name(&file.path), file.list.take()?)))
    }

    /// Looks at the files for ever, and tells what is new in them. A list that cannot be used (any more) leaves what it
    /// last said in force.
    pub(super) async fn watch(mut self, notices: mpsc::Sender<Notice>) {
        while !self.files.is_empty() {
            for file in &mut self.files {
                file.warn_when_past(unix_now());
                let now = std::fs::metadata(&file.path).ok().as_ref().map(Stamp::of);
                if now.is_some() && now == file.seen {
                    continue;
                }
                let (path, authorities) = (file.path.clone(), self.authorities.clone());
                // A long list takes its time, in which the database must be asked as always.
                let read = tokio::task::spawn_blocking(move || read_list(&path, &authorities));
                match read.await {
                    Ok(Ok((stamp, list))) => {
                        tracing::info!(
                            file = %file.path.display(), certificates = list.revoked.len(), "revocation list replaced"
                        );
                        (file.seen, file.next_update) = (Some(stamp), list.next_update);
                        (file.trouble, file.said_past) = (None, false);
                        if notices.send(Notice::List(name(&file.path).into(), list)).await.is_err() {
                            return;
                        }
                    }
                    Ok(Err(error)) => file.complain(&causes(&error)),
                    Err(_) => return,
                }
            }
            tokio::time::sleep(LOOK_AT_FILES).await;
        }
    }
}

impl File {
    fn complain(&mut self, error: &str) {
        if self.trouble.as_deref() != Some(error) {
            tracing::error!(%error, "what the revocation list said before stays in force");
            self.trouble = Some(error.to_owned());
        }
    }

    fn warn_when_past(&mut self, now: UnixSeconds) {
        if !self.said_past && self.next_update.is_some_and(|next| now >= next) {
            tracing::warn!(file = %self.path.display(), "revocation list is past its next update: get a newer one");
            self.said_past = true;
        }
    }
}

fn name(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn read_issuers(path: &Path) -> Result<Vec<Vec<u8>>, ListError> {
    let bytes = std::fs::read(path).map_err(|error| ListError::IssuerFile { path: path.into(), error })?;
    certificate::all(&bytes).map_err(|error| ListError::Issuer { path: path.into(), error })
}

fn read_list(path: &Path, authorities: &[Vec<u8>]) -> Result<(Stamp, List), ListError> {
    let unreadable = |error| ListError::File { path: path.into(), error };
    // Looked at first: what is put there while it is read differs from this, and is read once more.
    let stamp = Stamp::of(&std::fs::metadata(path).map_err(unreadable)?);
    let bytes = std::fs::read(path).map_err(unreadable)?;
    let unusable = |error| ListError::List { path: path.into(), error };
    let crl = Crl::read(&bytes, authorities).map_err(unusable)?;
    if crl.base.is_some() {
        return Err(ListError::Delta { path: path.into() });
    }
    // In a list that is not a delta list, an entry revokes whatever its reason.
    let revoked = crl.entries.iter().map(|entry| entry.id).collect();
    Ok((stamp, List { authority: crl.authority, revoked, next_update: crl.next_update }))
}
