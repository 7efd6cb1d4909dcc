//! What can go wrong with a command beside what the store and the key file report.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::Exit;
use crate::config::Problems;
use crate::credential::authority::IssueError;
use crate::credential::certificate::CertificateError;
use crate::credential::crl::CrlError;
use crate::credential::key_pair::KeyPairError;
use crate::credential::password::{HashError, Weakness};
use crate::credential::psk::{OpenError, PskError};
use crate::credential::request::RequestError;
use crate::store::StoreError;
use crate::store::credential::Kind;

/// What can go wrong with a command.
#[derive(Debug, Error)]
pub(super) enum CliError {
    #[error("{0}")]
    Config(Problems),
    #[error("{what} needs to be confirmed")]
    Unconfirmed { what: String },
    #[error("{what} was not confirmed")]
    Declined { what: String },
    #[error("there is no user `{name}` on this machine")]
    NoSuchUser { name: String },
    #[error("only root can give files to another user")]
    NotRoot,
    #[error("the database is sealed with the key `{database}`, the key file `{path}` holds the key `{file}`")]
    OtherKey { database: String, file: String, path: PathBuf },
    #[error("the database is sealed with the key `{database}`, and there is no key file `{path}`")]
    KeyLost { database: String, path: PathBuf },
    #[error("the key for `{identity}` is still sealed with the old key")]
    StillSealed { identity: String },
    #[error("`{identity}`: {cause}")]
    NotOpened { identity: String, cause: OpenError },
    #[error("the database does not say which key it is sealed with")]
    NoKeyYet,
    #[error("standard input holds no key")]
    NoKeyOnStdin,
    #[error("only a credential of kind psk takes `--key-stdin` or `--bytes`")]
    NoKeyWanted,
    #[error("only a credential of kind x509_… takes `--issuer`")]
    NoIssuerWanted,
    #[error("only a credential of kind password takes `--stdin`, `--hash` or `--replace`")]
    NoPasswordWanted,
    #[error("only a credential of kind psk takes `--opaque`, and no `--identity` beside it")]
    NoOpaqueWanted,
    #[error("credentials of kind {kind} are not rotated like this")]
    NotRotated { kind: Kind },
    #[error("device `{device}` has no key that does not end: there is none that it could go on with")]
    NothingToFinish { device: String },
    #[error("the key for `{identity}` does not work any more")]
    OldKeyEnded { identity: String },
    #[error("a device only begins with the key for `{identity}`, which is not rotated")]
    OnlyBegins { identity: String },
    #[error("standard input holds no password")]
    NoPasswordOnStdin,
    #[error("a password is typed on a terminal, and standard input is none")]
    NoTerminal,
    #[error("the two passwords are not the same")]
    TypedTwice,
    #[error(transparent)]
    Weak(Weakness),
    #[error(transparent)]
    Hash(HashError),
    #[error("a credential of kind {kind} needs `--identity`")]
    IdentityWanted { kind: Kind },
    /// What was written means nothing; in words.
    #[error("{0}")]
    Nonsense(String),
    #[error("{what}: devices have roles that would be gone: {roles}")]
    RolesInUse { what: String, roles: String },
    #[error("the policy cannot be written as a file\n{}", .0.join("\n"))]
    NotAFile(Vec<String>),
    #[error("there are no devices {0}")]
    NoSuchDevices(String),
    #[error("cannot write `{path}`: {cause}")]
    Unwritable { path: PathBuf, cause: io::Error },
    /// Mistakes in a file, each with its line.
    #[error("`{path}` is wrong\n{}", mistakes.join("\n"))]
    Mistakes { path: PathBuf, mistakes: Vec<String> },
    #[error("cannot read `{path}`: {cause}")]
    Unreadable { path: PathBuf, cause: io::Error },
    #[error("`{path}`: {cause}")]
    Certificate { path: PathBuf, cause: CertificateError },
    #[error("`{path}`: {cause}")]
    Crl { path: PathBuf, cause: CrlError },
    #[error("certificate `{serial}` of `{issuer}` is on the revocation list of its authority")]
    Listed { issuer: String, serial: String },
    #[error("a password on the command line can be read by everybody on this machine")]
    PasswordShown,
    #[error("`{path}`: {cause}")]
    Request { path: PathBuf, cause: RequestError },
    #[error("`{path}`: {cause}")]
    KeyPair { path: PathBuf, cause: KeyPairError },
    #[error("`{path}`: {cause}")]
    Issue { path: PathBuf, cause: IssueError },
    #[error("there is already a file `{path}`, and it is kept as it is")]
    Exists { path: PathBuf },
    #[error("`{path}` cannot be made: {cause}")]
    NotMade { path: PathBuf, cause: io::Error },
    #[error("`{path}` has mode {mode:04o}, so that others than its owner can use it")]
    Exposed { path: PathBuf, mode: u32 },
    #[error("`{path}` holds no passphrase in its first line")]
    NoPassphrase { path: PathBuf },
    #[error("nobody can be asked for the passphrase: {0}")]
    NobodyToAsk(io::Error),
    #[error(transparent)]
    Psk(#[from] PskError),
    #[error("`{path}`: {cause}")]
    Content { path: PathBuf, cause: String },
    #[error("{count} of the entries cannot be imported, so nothing was changed")]
    BadEntries { count: usize },
    #[error("some of the roles are there with other rules, so nothing was changed")]
    RolesDiffer,
    #[error("`--keys` names no file for the keys that are to be made")]
    NoKeysFile,
    #[error("the file `{path}` for new keys cannot be used: {cause}")]
    KeysFile { path: PathBuf, cause: String },
}

impl CliError {
    pub(super) const fn exit(&self) -> Exit {
        match self {
            Self::Config(_)
            | Self::Unconfirmed { .. }
            | Self::NoSuchUser { .. }
            | Self::NotRoot
            | Self::NoKeyOnStdin
            | Self::NoKeyWanted
            | Self::NoIssuerWanted
            | Self::NoPasswordWanted
            | Self::NoOpaqueWanted
            | Self::NotRotated { .. }
            | Self::NoPasswordOnStdin
            | Self::NoTerminal
            | Self::TypedTwice
            | Self::Weak(_)
            | Self::Hash(_)
            | Self::IdentityWanted { .. }
            | Self::Nonsense(_)
            | Self::Mistakes { .. }
            | Self::Unreadable { .. }
            | Self::Certificate { .. }
            | Self::PasswordShown
            | Self::Request { .. }
            | Self::NoPassphrase { .. }
            | Self::NobodyToAsk(_)
            | Self::NoKeysFile
            | Self::Psk(_) => Exit::Usage,
            Self::OtherKey { .. }
            | Self::KeyLost { .. }
            | Self::Listed { .. }
            | Self::StillSealed { .. }
            | Self::NotOpened { .. }
            | Self::NothingToFinish { .. }
            | Self::OldKeyEnded { .. }
            | Self::OnlyBegins { .. }
            | Self::RolesInUse { .. }
            | Self::RolesDiffer
            | Self::Exists { .. }
            | Self::NotAFile(_) => Exit::Conflict,
            Self::NoSuchDevices(_) => Exit::NotFound,
            Self::NoKeyYet | Self::Exposed { .. } | Self::KeyPair { .. } => Exit::Unavailable,
            Self::Declined { .. }
            | Self::Crl { .. }
            | Self::Unwritable { .. }
            | Self::Issue { .. }
            | Self::NotMade { .. }
            | Self::Content { .. }
            | Self::BadEntries { .. }
            | Self::KeysFile { .. } => Exit::Failure,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Unconfirmed { .. } => "add `--yes`".to_owned(),
            Self::OtherKey { .. } => {
                "name the right file with `--key-file`; no secret in this database opens with this one".to_owned()
            }
            Self::KeyLost { .. } => {
                "restore it from a backup, or name it with `--key-file`; a new key would open no secret".to_owned()
            }
            Self::StillSealed { .. } => "`warden key rotate` seals it with the new one".to_owned(),
            Self::NotOpened { .. } => {
                "nothing was changed; `warden credential remove` removes a key that cannot be used".to_owned()
            }
            Self::NoKeyYet => "`warden init` makes a key, or notes the one that is there".to_owned(),
            Self::NotRotated { kind: Kind::Password } => {
                "`warden credential add DEVICE password --replace` changes a password".to_owned()
            }
            Self::NotRotated { .. } => {
                "`warden credential add` adds the new one, and `warden credential revoke` ends the old one".to_owned()
            }
            Self::OnlyBegins { .. } => {
                "`warden credential add DEVICE psk --only-role ROLE` adds another one to begin with".to_owned()
            }
            Self::OldKeyEnded { .. } => "`warden credential add DEVICE psk` makes a new one".to_owned(),
            Self::NoTerminal => "`--stdin` reads the password from standard input".to_owned(),
            Self::NoPasswordOnStdin | Self::Weak(_) => {
                "for a device, let a machine make it: `openssl rand -base64 18 | tee FILE | warden … --stdin`"
                    .to_owned()
            }
            Self::NoKeyOnStdin => "for instance: `openssl rand -hex 32 | warden credential add …`".to_owned(),
            Self::IdentityWanted { .. } => {
                "or name a file with the certificate: `warden credential add DEVICE --certificate FILE --as KIND`"
                    .to_owned()
            }
            Self::Certificate {
                cause: CertificateError::Ambiguous(_) | CertificateError::NoIdentity | CertificateError::NotText(_),
                ..
            } => "`--as` takes something else of the certificate, for instance `--as x509_sha256`".to_owned(),
            Self::Crl { cause: CrlError::OtherIssuer { .. } | CrlError::NotEntitled { .. }, .. } => {
                "name the certificate of the authority that signs the list with `--ca`".to_owned()
            }
            Self::PasswordShown => {
                "put the address into WARDEN_DATABASE, or into a file that `database_url_file` names; \
                 PostgreSQL's passwords can also stand in ~/.pgpass"
                    .to_owned()
            }
            Self::RolesInUse { .. } => "`--withdraw` takes them off these devices, with the credentials that give nothing else".to_owned(),
            Self::NotAFile(_) => "mend or remove these rules with `warden rule remove`".to_owned(),
            Self::NoSuchDevices(_) => "add them with `warden device add`, or take them out of the file".to_owned(),
            Self::Request { cause: RequestError::Malformed, .. } => {
                "for instance: `openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=any -keyout KEY`"
                    .to_owned()
            }
            Self::Issue { cause: IssueError::CommonName, .. } => {
                "`--common-name` gives the certificate another one, and `--as x509_san_uri --uri URI` makes it count for less"
                    .to_owned()
            }
            Self::Exposed { path, .. } => format!("run `chmod 600 {}`", path.display()),
            Self::Exists { .. } => "name another place, or move what is there away".to_owned(),
            Self::NobodyToAsk(_) => "name a file with `--passphrase-file`; `-` is standard input".to_owned(),
            Self::BadEntries { .. } => "`--skip-bad` leaves them out and imports the rest".to_owned(),
            Self::RolesDiffer => "`--replace-roles` gives them the rules of the file".to_owned(),
            Self::NoKeysFile => {
                "for instance `--keys new-keys.psk`; each line will be an identity, a colon and its key".to_owned()
            }
            Self::Listed { .. } => "its authority takes it off in its next list".to_owned(),
            _ => return None,
        })
    }
}

/// What may help after this error.
pub(super) fn hint(error: &anyhow::Error) -> Option<String> {
    match error.downcast_ref() {
        Some(StoreError::AlreadyExists { .. }) => return Some("`--if-missing` keeps the one that is there".to_owned()),
        Some(error) => return error.hint(),
        None => {}
    }
    error.downcast_ref::<CliError>()?.hint()
}
