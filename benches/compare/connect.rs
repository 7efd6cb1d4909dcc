//! How many connections a second one client after another makes, and what one costs the broker.

use std::time::Instant;

use super::control::{Door, Listener, Running};
use super::population::Population;
use super::report::Figure;

/// So many devices come and go in a round, spread evenly over the fleet.
pub(crate) const CONNECTIONS: usize = 200;

/// What they come in by.
pub(crate) struct Doors(Vec<(Door, String)>);

impl Doors {
    pub(crate) fn new(population: &Population, listener: Listener) -> Self {
        let step = (population.members.len() / CONNECTIONS).max(1);
        let door = |number| {
            let (member, client_id) = population.session(number * step);
            (Door::new(member, listener), client_id)
        };
        Self((0..CONNECTIONS).map(door).collect())
    }

    /// Everybody has come in once: a password that a plugin has not seen yet takes it longer.
    pub(crate) fn introduce(&self, running: &Running) {
        for (door, client_id) in &self.0 {
            running.admit(door, client_id).disconnect();
        }
    }

    /// Handshake, CONNECT, CONNACK, DISCONNECT, one after the other.
    pub(crate) fn round(&self, running: &Running) -> Figure {
        let (begun, before) = (Instant::now(), running.broker.time_of_threads());
        for (door, client_id) in &self.0 {
            let client = door.enter(&running.broker, client_id);
            client.unwrap_or_else(|| panic!("{:?}: {client_id} was refused", running.control)).disconnect();
        }
        Figure::new(self.0.len(), begun.elapsed(), running.broker.time_of_threads().saturating_sub(before))
    }
}
