//! How many connections a second one client after another makes, and what one costs the broker.

use std::time::Instant;

use super::control::{Door, Listener, Running};
use super::population::Population;
use super::report::Figure;

/// So many devices come and go in a round, spread evenly over the fleet.
pub(crate) const CLIENTS: usize = 200;
/// How often they do so in a round without TLS, where once takes less time than the scheduler needs to settle down.
pub(crate) const TURNS_OF_PLAIN: usize = 20;

/// What they come in by.
pub(crate) struct Doors {
    doors: Vec<(Door, String)>,
    turns: usize,
}

impl Doors {
    pub(crate) fn new(population: &Population, listener: Listener) -> Self {
        let step = (population.members.len() / CLIENTS).max(1);
        let door = |number| {
            let (member, client_id) = population.session(number * step);
            (Door::new(member, listener), client_id)
        };
        let turns = if listener == Listener::Plain { TURNS_OF_PLAIN } else { 1 };
        Self { doors: (0..CLIENTS).map(door).collect(), turns }
    }

    /// Everybody has come in once: a password that a plugin has not seen yet takes it longer.
    pub(crate) fn introduce(&self, running: &Running) {
        for (door, client_id) in &self.doors {
            running.admit(door, client_id).disconnect();
        }
    }

    /// Handshake, CONNECT, CONNACK, DISCONNECT, one after the other.
    pub(crate) fn round(&self, running: &Running) -> Figure {
        let (begun, before) = (Instant::now(), running.broker.time_of_threads());
        let all = || (0..self.turns).flat_map(|_| &self.doors);
        for (door, client_id) in all() {
            let client = door.enter(&running.broker, client_id);
            client.unwrap_or_else(|| panic!("{:?}: {client_id} was refused", running.control)).disconnect();
        }
        Figure::new(all().count(), begun.elapsed(), running.broker.time_of_threads().saturating_sub(before))
    }
}
