//! What in a broker's configuration is unsafe beside this plugin, or cannot work with it.
//!
//! One file for what the configuration says by itself, one for the files and the database that it names. What those
//! are like has been found out before, and comes as [`Facts`].

mod listeners;
mod named;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::finding::{Finding, Kind, Severity};
use super::mosquitto_conf::{Conf, Plugin};

macro_rules! kinds {
    ($($name:ident = $severity:ident $code:literal: $meaning:literal;)*) => {
        $(pub(super) const $name: Kind = Kind { code: $code, severity: Severity::$severity, meaning: $meaning };)*
        /// Every kind of finding.
        pub const KINDS: &[Kind] = &[$($name),*];
    };
}

kinds! {
    UNREADABLE_FILE = Error "unreadable-file": "a configuration file, or a directory of them, cannot be read";
    NO_PLUGIN = Error "no-plugin": "no line loads the plugin";
    PLUGIN_TWICE = Error "plugin-twice": "two lines load the plugin for the same listeners";
    PLUGIN_MISSING = Error "plugin-missing": "the file of the plugin is not there, or cannot be read";
    PLUGIN_OF_OTHER_RELEASE = Error "plugin-of-other-release": "the plugin and `warden` are of different releases";
    OPTION_REJECTED = Error "option-rejected": "the plugin refuses an option, so that the broker does not start";
    OPTION_TOO_SHORT = Error "option-too-short": "the broker refuses keys of options with fewer than three characters";
    OPTION_WITHOUT_PLUGIN = Error "option-without-plugin": "an option of a plugin stands before any plugin";
    ANONYMOUS = Error "anonymous": "`allow_anonymous true` lets anybody in whom no plugin refuses";
    IDENTITY_OFF = Error "identity-off": "a pre-shared key listener lets clients choose their user name";
    PSK_FILE = Error "psk-file": "with a `psk_file`, Mosquitto 2.0 never asks the plugin for a key";
    CERTIFICATE_AND_PSK = Error "certificate-and-psk": "a listener has certificates and pre-shared keys, and refuses one of them";
    SUBJECT_AS_USERNAME = Error "subject-as-username": "the plugin knows no user that is named by a whole subject";
    PER_LISTENER = Error "per-listener-settings": "Mosquitto 2.0.11 gives plugins of listeners no tick, so that nobody can be thrown off";
    PLUGIN_BEFORE_LISTENERS = Error "plugin-before-listeners": "with `per_listener_settings true`, a plugin before the first listener serves nobody";
    LISTENER_WITHOUT_PLUGIN = Error "listener-without-plugin": "with `per_listener_settings true`, a listener has no plugin";
    FILE_MISSING = Error "file-missing": "a file that is named is not there";
    SECRET_EXPOSED = Error "secret-exposed": "a private key or the key file can be read by everybody";
    BROKER_CANNOT_USE = Error "broker-cannot-use": "the broker's user cannot read a file, or not write where it must";
    DATABASE = Error "database": "the database cannot be used, or its schema is of another release";
    KEY_FILE = Error "key-file": "the key file cannot be used";
    KEY_DOES_NOT_FIT = Error "key-does-not-fit": "the key file holds another key than the database is sealed with";
    PASSWORDS_WITHOUT_TLS = Error "passwords-without-tls": "devices have passwords, and a listener that others can reach has no TLS";
    RUNS_AS_ROOT = Error "runs-as-root": "the broker keeps the rights of root";
    NO_TLS = Warning "no-tls": "a listener that others can reach has no TLS: messages can be read on the way";
    NO_CERTIFICATE_WANTED = Warning "no-certificate-wanted": "a TLS listener asks clients for no certificate, and no device has a password";
    USERNAME_AS_CLIENTID = Warning "username-as-clientid": "`use_username_as_clientid` goes by the name that a client claims";
    OLD_TLS = Warning "old-tls": "a listener admits TLS below 1.2";
    FILE_NEVER_ASKED = Warning "file-never-asked": "an `acl_file` or a `password_file` decides nothing beside the plugin";
    CRLFILE_ON_WEBSOCKETS = Warning "crlfile-on-websockets": "before 2.1, SIGHUP makes the broker use memory that it has freed";
    OTHER_PLUGIN_FIRST = Warning "other-plugin-first": "another plugin is asked before this one, and its yes counts";
    NO_LISTENER = Warning "no-listener": "without a listener the broker is reached from its own machine only";
    HANDSHAKE_OFF = Warning "handshake-off": "certificates are judged after the handshake only, though devices have them";
    OPENSSL_UNSEEN = Warning "openssl-unseen": "the broker seems not to use an OpenSSL that plugins see; certificates are then judged at CONNECT";
}

/// What the files, the plugin and the database are like.
#[derive(Debug, Default)]
pub struct Facts {
    /// What is known of each file and directory that is named, if it is there.
    pub files: BTreeMap<PathBuf, File>,
    /// The broker's release, where it is known.
    pub broker: Option<(u32, u32, u32)>,
    /// Whether the broker is linked with OpenSSL as a library of its own, where that is known.
    pub openssl: Option<bool>,
    /// The release of `warden`, and of the plugin where its file says it.
    pub release: String,
    pub plugin_release: Option<String>,
    /// What the plugin would refuse of its options.
    pub refused_options: Vec<String>,
    /// Whether users whom the database does not know are left to others.
    pub defers: bool,
    /// Whether certificates are judged in the handshake.
    pub handshake: bool,
    /// Whether devices have passwords.
    pub passwords: bool,
    /// Why the database cannot be used, if it cannot.
    pub database: Option<String>,
    /// Why the key file cannot be used, if it cannot.
    pub key_file: Option<String>,
    /// The key in the file and the key of the database, where they differ.
    pub other_key: Option<(String, String)>,
}

/// A file or a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct File {
    /// The bits of its mode that say who may what.
    pub mode: u32,
    /// Whether the broker's user can read it, and enter every directory above it.
    pub readable: bool,
    /// The same for writing.
    pub writable: bool,
}

/// What a file that is named is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// It is read.
    Read,
    /// It is read, and is nobody else's business.
    Secret,
    /// It is read and written, and so is its directory.
    Write,
}

/// A file that is named: where, by what, and what for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    pub place: String,
    /// `cafile`, `database`, …
    pub what: String,
    pub path: PathBuf,
    pub purpose: Purpose,
}

/// All that is found: what the configuration says first.
#[must_use]
pub fn examine(conf: &Conf, named: &[Named], facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (place, path, why) in &conf.unreadable {
        let what = format!("`{}` cannot be read: {why}", path.display());
        findings.push(finding(UNREADABLE_FILE, place, what, "name the right path, or let this user read it"));
    }
    listeners::look(conf, facts, &mut findings);
    named::look(conf, named, facts, &mut findings);
    findings
}

/// The lines that load this plugin.
pub fn ours(conf: &Conf) -> impl Iterator<Item = &Plugin> {
    conf.plugins.iter().filter(|plugin| is_ours(plugin))
}

/// A copy may have a number behind its name; another plugin may be in a directory of this name.
fn is_ours(plugin: &Plugin) -> bool {
    plugin.path.rsplit('/').next().is_some_and(|name| name.contains("mosquitto_warden"))
}

fn finding(kind: Kind, place: &str, what: String, remedy: &str) -> Finding {
    Finding { kind, place: place.to_owned(), what, remedy: remedy.to_owned() }
}

/// The files that the configuration itself names.
#[must_use]
pub fn named_files(conf: &Conf) -> Vec<Named> {
    let read = ["cafile", "certfile", "crlfile", "dhparamfile", "acl_file", "password_file", "psk_file"];
    let keys = read.into_iter().map(|key| (key, Purpose::Read)).chain([("keyfile", Purpose::Secret)]);
    keys.flat_map(|(key, purpose)| {
        conf.all(key).map(move |line| Named {
            place: line.place.clone(),
            what: key.to_owned(),
            path: PathBuf::from(&line.value),
            purpose,
        })
    })
    .collect()
}
