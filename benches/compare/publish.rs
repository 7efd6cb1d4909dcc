//! How many messages a second reach those who may read them, and what one delivery costs the broker.

use std::ops::ControlFlow;
use std::time::Instant;

use super::control::{Control, Door, Listener, Running};
use super::harness::{Client, Crowd, End, Heard, Packet, frame, string};
use super::population::{Population, WATCHERS};
use super::report::Figure;

const PUBLISHERS: usize = 20;
/// Messages that a publisher sends at once, and how often all of them do so in a round.
const AT_ONCE: usize = 25;
const TIMES: usize = 20;
/// What a round delivers.
pub(crate) const DELIVERIES: usize = PUBLISHERS * AT_ONCE * TIMES * WATCHERS;

/// The clients of one broker, on one listener.
pub(crate) struct Hall<'a> {
    running: &'a Running,
    publishers: Vec<(Client, String)>,
    watchers: Crowd,
    forger: Door,
}

impl<'a> Hall<'a> {
    pub(crate) fn new(running: &'a Running, population: &Population, listener: Listener) -> Self {
        let publisher = |number| {
            let (member, client_id) = population.session(number);
            let client_id = format!("{client_id}-{}", listener.word());
            (running.admit(&Door::new(member, listener), &client_id), member.name.clone())
        };
        let watchers = running.watchers(population, listener);
        let forger = Door::new(population.session(0).0, listener);
        Self { running, publishers: (0..PUBLISHERS).map(publisher).collect(), watchers, forger }
    }

    /// All of them publish at QoS 0 below their own names, and everybody who may read it hears all of it and nothing
    /// else.
    pub(crate) fn round(&mut self) -> Figure {
        let Self { running, publishers, watchers, .. } = self;
        let batches: Vec<Vec<u8>> = publishers
            .iter()
            .map(|(_, name)| message(&format!("devices/{name}/data"), name.as_bytes()).repeat(AT_ONCE))
            .collect();
        let mut send = || {
            for ((client, _), batch) in publishers.iter_mut().zip(&batches) {
                client.send(batch).expect("who is there stays");
            }
        };
        let (begun, before) = (Instant::now(), running.broker.time_of_threads());
        // The broker has always more to do: the next is on its way before this one has arrived.
        send();
        send();
        let (mut heard, mut sent) = ([0; WATCHERS], 2);
        watchers.listen(|watcher, what, _| {
            let Heard::Packet(Packet::Publish { topic, payload, .. }) = what else { panic!("{what:?}") };
            assert!(is_below_its_own(&topic, &payload), "{topic}");
            heard[watcher] += 1;
            let all: usize = heard.iter().sum();
            if all.is_multiple_of(DELIVERIES / TIMES) && sent < TIMES {
                send();
                sent += 1;
            }
            if all == DELIVERIES { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        let (time, cpu) = (begun.elapsed(), running.broker.time_of_threads().saturating_sub(before));
        assert_eq!(heard, [DELIVERIES / WATCHERS; WATCHERS]);
        self.forge();
        Figure::new(DELIVERIES, time, cpu)
    }

    /// What one device says in the name of another is delivered only where nothing is refused.
    fn forge(&mut self) {
        let Self { running, publishers, watchers, forger } = self;
        let (client, name) = &mut publishers[1];
        let topic = format!("devices/{name}/data");
        let mut liar = running.admit(forger, &format!("{}-forger", forger.name()));
        liar.send(&message(&topic, b"forged")).expect("it is sent");
        // An answer or an end: Mosquitto 2.0.11 throws off whom its `acl_file` refuses. Either way it has seen the message.
        assert!(!matches!(liar.ping(), Err(End::Silent)));
        client.send(&message(&topic, b"end")).expect("who is there stays");
        let (mut forged, mut ends) = (0, 0);
        watchers.listen(|_, what, _| {
            match what {
                Heard::Packet(Packet::Publish { payload, .. }) if payload == b"forged" => forged += 1,
                Heard::Packet(Packet::Publish { payload, .. }) if payload == b"end" => ends += 1,
                other => panic!("{other:?}"),
            }
            if ends == WATCHERS { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        let expected = if running.control == Control::None { WATCHERS } else { 0 };
        assert_eq!(forged, expected, "{:?}: what another says in its name", running.control);
    }
}

fn is_below_its_own(topic: &str, name: &[u8]) -> bool {
    topic.strip_prefix("devices/").and_then(|rest| rest.strip_suffix("/data")).is_some_and(|own| own.as_bytes() == name)
}

fn message(topic: &str, payload: &[u8]) -> Vec<u8> {
    frame(0x30, &[&string(topic.as_bytes())[..], payload].concat())
}
