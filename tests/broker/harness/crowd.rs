//! Many clients in one thread, and when each of them hears what.

use std::ops::ControlFlow;
use std::time::Instant;

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;

use super::{Client, End, PATIENCE, Packet};

/// How many are looked at before those are asked for anew who have something to read.
const MOST_AT_ONCE: usize = 64;

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
    /// Those that were closed. To free what TLS has for each takes a while, in which the others would not be heard.
    gone: Vec<Client>,
    /// Tells which of them have something to read, however many there are.
    epoll: OwnedFd,
}

impl Crowd {
    pub(crate) fn new(clients: impl IntoIterator<Item = Client>) -> Self {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        let quiet = |(index, mut client): (u64, Client)| {
            client.do_not_block();
            epoll::add(&epoll, &client, epoll::EventData::new_u64(index), epoll::EventFlags::IN).unwrap();
            Some(client)
        };
        Self { clients: (0..).zip(clients).map(quiet).collect(), gone: Vec::new(), epoll }
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
        let mut events = Vec::with_capacity(MOST_AT_ONCE);
        match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&timeout)) {
            // Whoever waits like this is interrupted when the machine is put to sleep for a moment, and asks again.
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => panic!("waiting for a crowd: {error}"),
        }
        events.iter().map(|event| usize::try_from(event.data.u64()).unwrap()).collect()
    }

    fn next_of(&mut self, index: usize) -> Option<Heard> {
        match self.clients[index].as_mut()?.poll() {
            Ok(packet) => Some(Heard::Packet(packet)),
            Err(End::Silent) => None,
            Err(_) => {
                let client = self.clients[index].take()?;
                epoll::delete(&self.epoll, &client).unwrap();
                self.gone.push(client);
                Some(Heard::Closed)
            }
        }
    }
}
