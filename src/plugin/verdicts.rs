//! What the policy has allowed lately: clients say and hear the same topics again and again, and the broker asks at each
//! message.
//!
//! An entry is the answer to one question of one [`Stay`](super::session::Stay), which is about one session, one policy
//! and a span of time: when that stay is over, nobody finds its entries again. Only what was allowed is remembered. The
//! table keeps its size; whatever comes to the place of another takes it.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::fast::RandomState;

use super::session::ConnectionMark;
use crate::policy::decision::{Action, Question};

/// How many answers are remembered.
const PLACES: usize = 8_192;
const PLACES_U64: u64 = PLACES as u64;
/// What is asked about a longer topic is looked up each time.
const MOST_BYTES: usize = 116;

/// Tells each stay from every other in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StayId(u64);

impl StayId {
    /// One that no other has.
    #[must_use]
    pub fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// A question that was answered with yes. With a topic of up to 52 bytes, it is one line of the processor's caches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(align(64))]
struct Allowed {
    stay: StayId,
    action: Action,
    qos: u8,
    retain: bool,
    length: u8,
    topic: [u8; MOST_BYTES],
}

/// Where the answer to a question of a connection is, if it is known.
///
/// It does not depend on the stay, so that the processor can fetch it while it waits for the session.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    index: usize,
    length: u8,
}

/// The table.
#[derive(Debug)]
pub(super) struct Verdicts {
    places: Box<[Option<Allowed>]>,
    hasher: RandomState,
}

impl Default for Verdicts {
    fn default() -> Self {
        Self { places: vec![None; PLACES].into(), hasher: RandomState::default() }
    }
}

impl Verdicts {
    /// Where the answer to this would be; nowhere, if the topic has no room.
    pub(super) fn place(&self, mark: ConnectionMark, question: &Question<'_>) -> Option<Place> {
        let length = u8::try_from(question.topic.len()).ok().filter(|length| usize::from(*length) <= MOST_BYTES)?;
        let hash = self.hasher.hash_one((mark, question.action, question.topic.as_bytes()));
        let index = usize::try_from(hash % PLACES_U64).ok()?;
        Some(Place { index, length })
    }

    /// Whether this was asked before in this stay, and allowed.
    pub(super) fn allow(&self, place: Place, stay: StayId, question: &Question<'_>) -> bool {
        let Some(Some(known)) = self.places.get(place.index) else { return false };
        known.stay == stay
            && known.action == question.action
            && known.qos == question.qos
            && known.retain == question.retain
            && known.topic.get(..usize::from(known.length)) == Some(question.topic.as_bytes())
    }

    /// This was allowed in this stay.
    pub(super) fn remember(&mut self, place: Place, stay: StayId, question: &Question<'_>) {
        let Place { index, length } = place;
        let Question { action, topic: text, qos, retain } = *question;
        let Some(at) = self.places.get_mut(index) else { return };
        let known = at.insert(Allowed { stay, action, qos, retain, length, topic: [0; MOST_BYTES] });
        if let Some(room) = known.topic.get_mut(..usize::from(length)) {
            room.copy_from_slice(text.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All of one connection: what one stay allows must not be found in another.
    const MARK: ConnectionMark = 1;
    const ASKED: Question<'_> = Question { action: Action::Publish, topic: "a/b", qos: 1, retain: false };

    fn knows(verdicts: &Verdicts, stay: StayId, question: &Question<'_>) -> bool {
        verdicts.place(MARK, question).is_some_and(|place| verdicts.allow(place, stay, question))
    }

    fn remember(verdicts: &mut Verdicts, stay: StayId, question: &Question<'_>) {
        if let Some(place) = verdicts.place(MARK, question) {
            verdicts.remember(place, stay, question);
        }
    }

    #[test]
    fn what_was_allowed_is_known_for_the_same_question_of_the_same_stay() {
        let mut verdicts = Verdicts::default();
        let (stay, other) = (StayId::new(), StayId::new());
        assert!(!knows(&verdicts, stay, &ASKED));
        remember(&mut verdicts, stay, &ASKED);
        assert!(knows(&verdicts, stay, &ASKED));
        assert!(!knows(&verdicts, other, &ASKED), "another session, another policy, or a date that has come");
        for question in [
            Question { action: Action::Receive, ..ASKED },
            Question { action: Action::Subscribe, ..ASKED },
            Question { topic: "a/c", ..ASKED },
            Question { topic: "a/b/", ..ASKED },
            Question { topic: "a", ..ASKED },
            Question { topic: "", ..ASKED },
            Question { qos: 2, ..ASKED },
            Question { retain: true, ..ASKED },
        ] {
            assert!(!knows(&verdicts, stay, &question), "{question:?}");
        }
    }

    #[test]
    fn a_topic_that_has_no_room_is_not_remembered_and_takes_nobodys_place() {
        let mut verdicts = Verdicts::default();
        let stay = StayId::new();
        for (length, known) in [(MOST_BYTES, true), (MOST_BYTES + 1, false), (300, false), (65_535, false)] {
            let topic = "t".repeat(length);
            let question = Question { topic: &topic, ..ASKED };
            remember(&mut verdicts, stay, &question);
            assert_eq!(knows(&verdicts, stay, &question), known, "{length}");
        }
    }

    #[test]
    fn the_table_never_grows() {
        let mut verdicts = Verdicts::default();
        let stay = StayId::new();
        let topics: Vec<String> = (0..2 * PLACES).map(|number| format!("topic/{number}")).collect();
        for topic in &topics {
            remember(&mut verdicts, stay, &Question { topic, ..ASKED });
        }
        let known = topics.iter().filter(|topic| knows(&verdicts, stay, &Question { topic, ..ASKED })).count();
        assert!((1..=PLACES).contains(&known), "{known}");
        assert_eq!(verdicts.places.len(), PLACES);
    }
}
