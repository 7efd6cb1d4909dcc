//! mosquitto-warden: who may connect to a Mosquitto broker, and what each device may do, from a live database.
//!
//! The crate is the plugin that the broker loads (a cdylib that exports three functions), and the library under the
//! command `warden`. Arrows go one way: `ffi` → `plugin` → `live` → `store` → `credential` → `policy`.
//!
//! - [`ffi`]: what C calls and what we call in C; the only place with `unsafe`, and so `store` has one thing from it.
//! - [`plugin`]: one method for each question that the broker asks.
//! - [`live`]: one thread that follows the database and keeps the current snapshot.
//! - [`store`]: where policy is written down: SQLite, PostgreSQL, MariaDB or MySQL.
//! - [`policy`]: may they? Pure values and functions.
//! - [`audit`]: can a policy be trusted? Findings, differences, plans.
//! - [`credential`]: are they who they say? Bytes in, answer out.
//! - [`database`], [`config`], [`key_file`], [`log`]: what the operator says, the key, and what the operator hears.
//! - [`import`]: what others have written down about their clients, read into plans.
//! - [`cli`]: the command.

pub mod audit;
pub mod cli;
pub mod config;
pub mod credential;
pub mod database;
mod ffi;
pub mod import;
pub mod key_file;
pub mod live;
pub mod log;
pub mod plugin;
pub mod policy;
pub mod store;
pub mod system_user;
