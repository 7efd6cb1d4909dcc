//! What the tests stand on: brokers to run, a fleet of devices with a CA and a database, and clients to connect with.
//!
//! Nothing here knows what the plugin should answer.

mod broker;
pub(crate) mod brokers;
mod ca;
mod client;
mod command_line;
mod crowd;
mod figures;
mod fleet;
mod leaf;
mod log;
mod many;
mod mqtt;
mod responder;
mod revocation_list;
mod s_client;
mod stage;
mod wait;
pub(crate) mod wire;

pub(crate) use broker::{Broker, Listen, with_websockets};
pub(crate) use brokers::{Mosquitto, installed, on_every_broker};
pub(crate) use ca::{Ca, Login};
pub(crate) use client::{Client, End, TlsVersion};
pub(crate) use crowd::{Crowd, Heard};
pub(crate) use figures::{
    admitted_though_revoked, bulk_revocation, callback_times, crowd, crowds, reloads, revocations, windows,
};
pub(crate) use fleet::{Fleet, give_to_broker};
pub(crate) use leaf::{Authority, Leaf, subject};
pub(crate) use mqtt::{Connect, Packet, Version, frame, string, subscribe};
pub(crate) use responder::{Responder, Word};
pub(crate) use revocation_list::RevocationList;
pub(crate) use s_client::{SClient, Tickets};
pub(crate) use stage::{Choice, MAX_STALENESS, Stage};
pub(crate) use wait::{PATIENCE, eventually};
