//! Many clients in one thread, and when each of them hears what.

use std::ops::ControlFlow;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Client, End, PATIENCE, Packet};

/// What a client of a crowd hears.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Packet(Packet),
    /// The broker has closed the connection.
    Closed,
}

/// Clients that are read as soon as there is something to read. One that was closed stays in its place, silent.
#[derive(Debug)]
pub(crate) struct Crowd {
    clients: Vec<Option<Client>>,
}

impl Crowd {
    pub(crate) fn new(clients: impl IntoIterator<Item = Client>) -> Self {
        let quiet = |mut client: Client| {
            client.do_not_block();
            Some(client)
        };
        Self { clients: clients.into_iter().map(quiet).collect() }
    }

    /// How many are connected, as far as they have heard.
    pub(crate) fn connected(&self) -> usize {
        self.clients.iter().flatten().count()
    }

    /// Sends these bytes from one of them; short ones, which the socket's buffer takes.
    pub(crate) fn send(&mut self, index: usize, bytes: &[u8]) {
        self.clients[index].as_mut().expect("the client is connected").send(bytes).expect("the connection is open");
    }

    /// Tells `hear` who hears what and when it came, until `hear` has heard enough.
    pub(crate) fn listen<T>(&mut self, mut hear: impl FnMut(usize, Heard, Instant) -> ControlFlow<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "the crowd heard nothing more that the test waited for");
            for index in self.readable(Timespec::try_from(left).unwrap()) {
                let now = Instant::now();
                while let Some(heard) = self.next_of(index) {
                    if let ControlFlow::Break(found) = hear(index, heard, now) {
                        return found;
                    }
                }
            }
        }
    }

    fn readable(&self, timeout: Timespec) -> Vec<usize> {
        let indices: Vec<usize> = (0..self.clients.len()).filter(|index| self.clients[*index].is_some()).collect();
        let mut sockets: Vec<PollFd<'_>> =
            self.clients.iter().flatten().map(|client| PollFd::new(client, PollFlags::IN)).collect();
        poll(&mut sockets, Some(&timeout)).unwrap();
        sockets.iter().zip(indices).filter(|(socket, _)| !socket.revents().is_empty()).map(|(_, index)| index).collect()
    }

    fn next_of(&mut self, index: usize) -> Option<Heard> {
        match self.clients[index].as_mut()?.poll() {
            Ok(packet) => Some(Heard::Packet(packet)),
            Err(End::Silent) => None,
            Err(_) => {
                self.clients[index] = None;
                Some(Heard::Closed)
            }
        }
    }
}
