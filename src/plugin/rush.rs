//! How many TLS handshakes the broker takes on when all devices come at once.
//!
//! A handshake costs the broker's thread about as much as hundreds of messages, and everybody who is connected waits for
//! it. Who is over the limit is told so before anything is computed, and comes again: nothing waits in a queue that a
//! flood could fill.

use std::num::NonZeroU32;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use super::Plugin;
use super::refusal::Refused;
use crate::policy::decision::Reason;

/// How much may come at once, as a part of what may come in a second: nobody waits longer than for so many.
const AT_ONCE: u32 = 10;

/// The handshakes that may begin, a number of them each second.
#[derive(Debug)]
pub(super) struct Rush {
    anybody: DefaultDirectRateLimiter,
    /// As many more for those who say that they were here before, whatever strangers do.
    returning: DefaultDirectRateLimiter,
}

impl Rush {
    pub(super) fn new(per_second: NonZeroU32) -> Self {
        let at_once = NonZeroU32::new(per_second.get().div_ceil(AT_ONCE)).unwrap_or(NonZeroU32::MIN);
        let limiter = || RateLimiter::direct(Quota::per_second(per_second).allow_burst(at_once));
        Self { anybody: limiter(), returning: limiter() }
    }

    fn admits(&self, returning: bool) -> bool {
        (returning && self.returning.check().is_ok()) || self.anybody.check().is_ok()
    }
}

impl Plugin {
    /// Whether the number of handshakes is limited at all.
    pub fn limits_handshakes(&self) -> bool {
        self.rush.is_some()
    }

    /// Whether a TLS handshake may begin. `returning` is what the client says: it shows a session ticket, or the identity
    /// of a key. That proves nothing yet.
    pub fn may_begin_handshake(&self, returning: bool) -> bool {
        let admitted = self.rush.as_ref().is_none_or(|rush| rush.admits(returning));
        if !admitted {
            self.refusals.report(&Refused { action: "handshake", ..Refused::by(Reason::TooManyHandshakes) });
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// Of a thousand, as many are admitted as may come at once, and those for whom there was time since `begun`.
    fn takes_all(rush: &Rush, returning: bool, at_once: u128, begun: Instant, per_second: u32) {
        let admitted = (0..1_000).filter(|_| rush.admits(returning)).map(|_| 1_u128).sum();
        let more = begun.elapsed().as_millis() * u128::from(per_second) / 1_000 + 1;
        assert!((at_once..=at_once + more).contains(&admitted), "{admitted}, not {at_once} and {more} more at most");
    }

    #[test]
    fn a_tenth_of_a_second_may_come_at_once_and_whoever_returns_has_as_much_again() {
        for (rate, at_once) in [(1, 1), (10, 1), (95, 10)] {
            let (rush, begun) = (Rush::new(NonZeroU32::new(rate).unwrap()), Instant::now());
            takes_all(&rush, false, at_once, begun, rate);
            takes_all(&rush, true, at_once, begun, 2 * rate);
            let (rush, begun) = (Rush::new(NonZeroU32::new(rate).unwrap()), Instant::now());
            takes_all(&rush, true, 2 * at_once, begun, 2 * rate);
        }
    }
}
