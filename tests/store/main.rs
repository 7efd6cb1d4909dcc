//! The store on real databases. One file for each thing that is tested:
//!
//! - `open`: making, opening, migrating, and every kind of database that is refused
//! - `verbs`: what each verb writes, and what it refuses
//! - `bulk`: many devices at once, what stands against them, and another plugin's tables
//! - `certificates`: certificates that are revoked: the verbs, the log, and what the feed makes of them
//! - `issued`: certificates that were issued, what a device begins its life with, and its end
//! - `schema`: what a database refuses from any writer, its own shell included, and what its log records
//! - `brokers`: how brokers register, and what a checkpoint proves that they confirm
//! - `pooler`: the same through one that shares a few connections among many
//! - `concurrency`: the same with eight writers who do as they like, and how soon each revocation is seen
//! - `policy_files`: a policy that is applied from a file is the one that was exported
//! - `freshness`: whoever waits until the policy is confirmed finds in it whatever was committed before
//! - `feed`: whoever follows a database misses nothing, in whatever order transactions are committed
//!
//! Nearly every case is run on SQLite, PostgreSQL and MariaDB. `tests/databases.sh` starts the servers, and `make test`
//! starts that. No broker is needed for any of it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod brokers;
mod bulk;
mod certificates;
mod concurrency;
mod databases;
mod feed;
mod freshness;
mod issued;
mod open;
mod policy_files;
mod pooler;
mod reader;
mod schema;
#[path = "../servers/mod.rs"]
mod servers;
mod verbs;

use databases::{Fresh, on_every_database, on_sqlite, run};
use servers::Kind;
