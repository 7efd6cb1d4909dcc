//! What opening a connection to a server needs from this machine: the files that its address names, and the password
//! that PostgreSQL's own programs would find. What is wrong with them is said here, because the servers cannot.

use std::env;
use std::fs::File;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use url::Host;

use super::StoreError;
use crate::database::Address;
use crate::system_user;

/// The parameters that name files.
const FILES: [&str; 6] = ["sslrootcert", "sslcert", "sslkey", "ssl-ca", "ssl-cert", "ssl-key"];

/// Whether the files that the address names can be read.
pub(super) fn check_files(address: &Address) -> Result<(), StoreError> {
    for (name, path) in address.with_password().query_pairs().filter(|(name, _)| FILES.contains(&&**name)) {
        if let Err(cause) = File::open(&*path) {
            let (parameter, path, user) = (name.into_owned(), PathBuf::from(&*path), system_user::current());
            return Err(StoreError::AddressFile { parameter, path, user, cause });
        }
    }
    Ok(())
}

/// The host, where it is an IPv6 address: without the brackets that it has in an address and nowhere else.
pub(super) fn ipv6_host(address: &Address) -> Option<String> {
    match address.with_password().host() {
        Some(Host::Ipv6(host)) => Some(host.to_string()),
        _ => None,
    }
}

/// Whether everything goes through a pooler that may give each transaction another connection to the server.
pub(super) fn is_pooled(address: &Address) -> bool {
    let pairs = address.with_password().query_pairs();
    pairs.filter(|(name, _)| name == "statement-cache-capacity").last().is_some_and(|(_, value)| value == "0")
}

/// What a refusal by PostgreSQL may come from: a password file that was left alone, as libpq does too (PostgreSQL's
/// manual, 34.16).
pub(super) fn with_password_file(error: StoreError, address: &Address) -> StoreError {
    let StoreError::Forbidden(message) = &error else { return error };
    if address.with_password().password().is_some() || env::var_os("PGPASSWORD").is_some() {
        return error;
    }
    let named = env::var_os("PGPASSFILE").map(PathBuf::from);
    let usual = env::home_dir().map(|home| home.join(".pgpass"));
    let ignored =
        named.into_iter().chain(usual).find_map(|path| match File::open(&path).and_then(|it| it.metadata()) {
            Ok(metadata) if metadata.permissions().mode() & 0o077 != 0 => {
                let path = path.display();
                Some(format!("others may read `{path}`, so it is not used: run `chmod 600 {path}`"))
            }
            Err(cause) if cause.kind() == io::ErrorKind::PermissionDenied => {
                Some(format!("`{}` cannot be read by `{}`", path.display(), system_user::current()))
            }
            _ => None,
        });
    match ignored {
        Some(why) => StoreError::Forbidden(format!("{message}; {why}")),
        None => error,
    }
}
