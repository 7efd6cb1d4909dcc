//! The C side: what the broker calls, and what we call in the broker.
//!
//! This is the only place with `unsafe`, and it decides nothing: a callback reads its event, asks
//! [`plugin`](crate::plugin), and turns the answer into a code.
//!
//! **Threads.** The broker calls from its one thread, with one exception: the HTTP API of 2.1 asks `BASIC_AUTH` and
//! `ACL_CHECK` from another. What belongs to the broker's thread is a [`thread::MainThread`]; the rest is `Sync`.
//! **Ownership.** `mosquitto_plugin_init` gives the broker a pointer to our [`entry::Instance`], every callback borrows
//! it, and `mosquitto_plugin_cleanup` frees it. Whatever an event points at is the broker's and is borrowed for the
//! length of the callback. **Panics.** Every function that C calls runs inside [`guard::refuse_on_panic`].

#![expect(unsafe_code, reason = "this is the boundary to C; the rest of the crate has none")]

mod broker;
mod callback;
mod client;
pub(crate) mod clock;
mod entry;
mod guard;
mod handshake;
pub(crate) mod sqlite_memory;
mod sys;
mod thread;
mod version;
mod wake;
pub(crate) mod wal_index;

#[cfg(test)]
mod fake_broker;
#[cfg(test)]
mod tests;
