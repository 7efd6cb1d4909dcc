//! The plugin in real brokers, asked by real clients: one file for each behaviour, run on every Mosquitto there is.
//!
//! `tests/brokers.sh` fetches the brokers; `WARDEN_TEST_BROKERS=2.1.2` narrows a run to some of them.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "in a test, a panic is how one says that something does not hold"
)]

mod harness;
/// The listeners that the plugin serves: most claims are made about every one of them.
mod listeners;
#[path = "../servers/mod.rs"]
mod servers;

/// A fleet of ten thousand through ten thousand changes.
mod churn;
/// What docker-compose.yml runs, without Docker.
mod compose;
/// Ways to a database on a server: by TLS, with a password, through a pooler; and those that are refused.
mod connecting;
/// Revocation lists of the authorities: imported, and watched in files.
mod crl;
/// A thousand sessions at once, and how soon one of them ends.
mod crowds;
/// Databases, key files and options that a broker cannot or can no longer use.
mod damage;
/// One policy on a server, for one broker or several.
mod databases;
/// Whose table of descriptors the plugin's threads use.
mod descriptors;
/// Who is let in, and who is not: identities and client ids.
mod entry;
/// Faults of a database server and of the way to it: who is here stays, and who is revoked is not let in.
mod faults;
/// Several brokers on one database: what is known of each, and what they confirm.
mod fleet;
/// What a connecting client may be sure of, with either kind of freshness.
mod freshness;
/// Certificates are judged in the TLS handshake: on every listener, with either TLS, before and after SIGHUP.
mod handshake;
/// Identities, topics and bytes that nobody sane would send.
mod hostile;
/// What a certificate says of who its holder is, by every field; and certificates that nobody sane would make.
mod identity;
/// Rules and keys of Mosquitto's own files, before and after they were imported.
mod import;
/// Passwords of other files and plugins, which devices go on using.
mod import_logins;
/// Pre-shared keys, and the key that seals them, are replaced while brokers run.
mod keys;
/// A device from its first key to its end.
mod life;
/// What the authorities' responders say, and what holds while they say nothing.
mod ocsp;
/// The database goes and comes back, or is away when a broker starts.
mod outage;
/// A panic in each callback.
mod panics;
/// User names and passwords: right and wrong ones, in every stored form, and those of somebody who guesses.
mod passwords;
/// SIGHUP costs nobody anything.
mod reload;
/// TLS sessions that are resumed, and those that must not be.
mod resumption;
/// A committed change of any kind acts on sessions that are there, and on those that come.
mod revocation;
/// What a device may do, and what not, on every kind of listener.
mod rights;
/// A device has two certificates, and one of them goes.
mod rotation;
/// Rows that make no sense, written by somebody who has switched the constraints off.
mod rows;
/// All devices come at once, and the broker takes on some of them.
mod rush;
/// The ways to start a broker with the plugin.
mod start;
/// The harness itself, without the plugin: what it cannot see, no other test here could.
mod the_harness;
/// Brokers that never call the plugin on their tick.
mod ticks;
/// Credentials and certificates that come to their end while somebody is connected by them.
mod validity;
