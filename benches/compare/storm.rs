//! A thousand devices that come at once: how long until all are in, and how long somebody who was there waits meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use openssl::ssl::SslVersion;

use super::control::{Door, Listener, Running};
use super::harness::wire::shake_hands;
use super::harness::{Broker, Client, Connect, Listen};
use super::population::Population;
use super::returning::Memory;

pub(crate) const DEVICES: usize = 1_000;
/// So many of them wait for the broker at the same time.
pub(crate) const AT_ONCE: usize = 64;
/// Between two pings: who pings without pause takes a processor from the broker.
const PAUSE: Duration = Duration::from_millis(1);

/// How they come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    Certificates,
    Resumed,
    Psk,
}

impl Way {
    pub(crate) const ALL: [Self; 3] = [Self::Certificates, Self::Resumed, Self::Psk];

    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Certificates => "certificates",
            Self::Resumed => "certificates, resumed",
            Self::Psk => "psk",
        }
    }

    /// The listener that it takes.
    pub(crate) const fn listener(self) -> Listener {
        match self {
            Self::Certificates | Self::Resumed => Listener::Certificates,
            Self::Psk => Listener::Psk,
        }
    }
}

/// The devices, and what they remember of one broker.
pub(crate) struct Storm<'a> {
    running: &'a Running,
    comers: Vec<Comer>,
    there: Client,
}

struct Comer {
    client_id: String,
    memory: Memory,
    psk: Door,
}

/// How long until all were in, and the longest ping of somebody who was there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    pub(crate) all: Duration,
    pub(crate) ping: Duration,
}

impl<'a> Storm<'a> {
    pub(crate) fn new(running: &'a Running, population: &Population) -> Self {
        let comer = |number| {
            let (member, client_id) = population.session(number);
            Comer { client_id, memory: Memory::new(&member.certificate), psk: Door::new(member, Listener::Psk) }
        };
        let there = running.admit(&Door::new(&population.watchers[0], Listener::Plain), &population.watchers[0].name);
        Self { running, comers: (0..DEVICES).map(comer).collect(), there }
    }

    pub(crate) fn round(&mut self, way: Way) -> Times {
        let Self { running, comers, there } = self;
        let broker = &running.broker;
        let (ended, begun) = (AtomicBool::new(false), Instant::now());
        thread::scope(|scope| {
            let pings = scope.spawn(|| {
                let mut longest = Duration::ZERO;
                while !ended.load(Ordering::Relaxed) {
                    let sent = Instant::now();
                    there.ping().expect("who is there stays");
                    longest = longest.max(sent.elapsed());
                    thread::park_timeout(PAUSE);
                }
                longest
            });
            let parts: Vec<_> = comers
                .chunks(DEVICES.div_ceil(AT_ONCE))
                .map(|part| scope.spawn(move || part.iter().map(|comer| comer.come(broker, way)).collect::<Vec<_>>()))
                .collect();
            let parts: Vec<_> = parts.into_iter().map(thread::ScopedJoinHandle::join).collect();
            let all = begun.elapsed();
            // Also where somebody was refused: else the pings would never end.
            ended.store(true, Ordering::Relaxed);
            let clients: Vec<Client> = parts.into_iter().flat_map(Result::unwrap).collect();
            assert_eq!(clients.len(), DEVICES, "{:?}", running.control);
            Times { all, ping: pings.join().unwrap() }
        })
    }
}

impl Comer {
    fn come(&self, broker: &Broker, way: Way) -> Client {
        if way == Way::Psk {
            return self.psk.enter(broker, &self.client_id).expect("it is let in");
        }
        let ssl = self.memory.ssl(way == Way::Resumed);
        let stream = shake_hands(broker.port(Listen::Certificates), ssl).expect("it is let in");
        assert_eq!(stream.ssl().version2(), Some(SslVersion::TLS1_3));
        assert_eq!(stream.ssl().session_reused(), way == Way::Resumed, "{}", self.client_id);
        let mut client = Client::over(stream);
        assert_eq!(client.connect_on(&Connect::v311(self.client_id.as_str())).expect("it is let in"), 0);
        client
    }
}
