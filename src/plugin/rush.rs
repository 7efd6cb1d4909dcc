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
    use super::*;

    fn admitted(rush: &Rush, returning: bool) -> usize {
        (0..1_000).filter(|_| rush.admits(returning)).count()
    }

    #[test]
    fn a_tenth_of_a_second_may_come_at_once_and_whoever_returns_has_as_much_again() {
        // So few that none comes back in the time of a test.
        let rush = Rush::new(NonZeroU32::new(10).unwrap());
        assert_eq!(admitted(&rush, false), 1);
        assert_eq!(admitted(&rush, true), 1, "strangers have not taken it");
        assert_eq!(admitted(&rush, true), 0);
        let rush = Rush::new(NonZeroU32::MIN);
        assert_eq!(admitted(&rush, true), 2, "nobody else has come");
        assert_eq!(admitted(&rush, false), 0);
    }
}
