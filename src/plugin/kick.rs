//! Who is to be thrown off the broker at the next ticks.
//!
//! Nobody is thrown off inside another callback. By client id where it is known; by user name where there may be a
//! session that the broker has not shown us, and then again for as long as a connection that has finished its TLS
//! handshake may take to send CONNECT: on a certificate listener its user name is set only then (seen on every broker
//! without CONNECT event).

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::policy::decision::Reason;

/// How long a connection may stay without CONNECT: 93 s on 2.0.11, 90 s on 2.0.21.
const WITHOUT_CONNECT: Duration = Duration::from_secs(96);
/// How often a user name is tried again in that time.
const AGAIN_EVERY: Duration = Duration::from_secs(1);
/// The broker looks at all its clients for each user name. So after trying again, nobody is tried again for so many times
/// as long: it takes a twentieth of the broker's time at most, and where many names wait, each waits longer.
const REST: u32 = 19;
/// How many user names are tried again; beyond it the access check of their first message is what stops them.
const MOST_REPEATED: usize = 100_000;
/// How many client ids may wait for the next tick; beyond it they are found again at their next message.
const MOST_WAITING: usize = 100_000;

/// One to throw off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kick {
    ClientId(Box<str>),
    UserName(Box<str>),
}

/// Why somebody is thrown off, and what that means for the subscriptions of a session that is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cause {
    pub reason: Reason,
    pub keeps_subscriptions: bool,
}

#[derive(Debug)]
struct Repeated {
    user_name: Box<str>,
    cause: Cause,
    due: Instant,
    until: Instant,
}

/// Those who are to be thrown off.
#[derive(Debug, Default)]
pub struct Kicks {
    waiting: VecDeque<Box<str>>,
    causes: HashMap<Box<str>, Cause>,
    /// Those that were not tried yet.
    new: VecDeque<Repeated>,
    /// By rising `due`: each goes to the back when it was tried.
    repeated: VecDeque<Repeated>,
    /// Whether the last one was tried again.
    again: bool,
    /// When somebody may be tried again.
    rested: Option<Instant>,
}

impl Kicks {
    /// The session with this client id.
    pub fn client_id(&mut self, client_id: &str, cause: Cause) {
        if self.waiting.len() < MOST_WAITING && self.causes.insert(client_id.into(), cause).is_none() {
            self.waiting.push_back(client_id.into());
        }
    }

    /// Every session under this user name; again and again where `repeat` says so.
    pub fn user_name(&mut self, user_name: Box<str>, cause: Cause, now: Instant, repeat: bool) {
        let until = if repeat { now + WITHOUT_CONNECT } else { now };
        if self.new.len() + self.repeated.len() < MOST_REPEATED {
            self.new.push_back(Repeated { user_name, cause, due: now, until });
        }
    }

    /// Whether the session with this client id is to be thrown off.
    #[must_use]
    pub fn awaits(&self, client_id: &str) -> bool {
        self.causes.contains_key(client_id)
    }

    /// This client is gone by itself.
    pub fn forget(&mut self, client_id: &str) {
        self.causes.remove(client_id);
    }

    /// The next one, and why.
    pub fn next(&mut self, now: Instant) -> Option<(Kick, Cause)> {
        while let Some(client_id) = self.waiting.pop_front() {
            if let Some(cause) = self.causes.remove(&client_id) {
                return Some((Kick::ClientId(client_id), cause));
            }
        }
        let new = self.new.pop_front();
        self.again = new.is_none();
        let rested = self.rested.is_none_or(|rested| rested <= now);
        let mut one = new.or_else(|| self.repeated.pop_front_if(|one| rested && one.due <= now))?;
        let kick = (Kick::UserName(one.user_name.clone()), one.cause);
        one.due = now + AGAIN_EVERY;
        if one.due <= one.until {
            self.repeated.push_back(one);
        }
        Some(kick)
    }

    /// To throw off the last user name took so long, from then on.
    pub fn took(&mut self, time: Duration, then: Instant) {
        if self.again {
            self.rested = then.checked_add(time * (REST + 1));
        }
    }

    /// The user name that was given last may be here again.
    pub fn pardon(&mut self, user_name: &str) {
        self.repeated.pop_back_if(|last| *last.user_name == *user_name);
    }

    /// How many are to be thrown off who were not tried yet.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.causes.len() + self.new.len()
    }

    /// Whether somebody is to be thrown off who was not tried yet.
    #[must_use]
    pub fn is_due(&self) -> bool {
        self.waiting() > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REVOKED: Cause = Cause { reason: Reason::DeviceRevoked, keeps_subscriptions: false };

    #[test]
    fn a_client_is_thrown_off_once_however_often_it_was_refused() {
        let mut kicks = Kicks::default();
        kicks.client_id("c", REVOKED);
        kicks.client_id("c", REVOKED);
        let now = Instant::now();
        assert_eq!(kicks.next(now), Some((Kick::ClientId("c".into()), REVOKED)));
        assert_eq!(kicks.next(now), None);
    }

    #[test]
    fn a_client_that_left_by_itself_is_not_looked_for() {
        let mut kicks = Kicks::default();
        kicks.client_id("c", REVOKED);
        kicks.forget("c");
        assert_eq!(kicks.next(Instant::now()), None);
    }

    #[test]
    fn a_user_name_is_tried_every_second_for_as_long_as_a_connect_may_take() {
        let mut kicks = Kicks::default();
        let start = Instant::now();
        kicks.user_name("u".into(), REVOKED, start, true);
        let tries = (0..1200u32).filter(|tenth| kicks.next(start + Duration::from_millis(100) * *tenth).is_some());
        assert_eq!(tries.count(), 97);
        assert_eq!(kicks.next(start + Duration::from_hours(1)), None);
    }

    #[test]
    fn trying_again_takes_a_twentieth_of_the_time_and_trying_once_all_that_it_needs() {
        let mut kicks = Kicks::default();
        let start = Instant::now();
        let (each, second) = (Duration::from_millis(1), Duration::from_secs(1));
        for number in 0..1_000 {
            kicks.user_name(format!("{number}").into(), REVOKED, start, true);
        }
        let mut now = start;
        let mut tries = |kicks: &mut Kicks, until| {
            let mut tries = 0;
            while now < until {
                if kicks.next(now).is_some() {
                    kicks.took(each, now);
                    tries += 1;
                }
                now += each;
            }
            tries
        };
        assert!(kicks.is_due());
        assert_eq!(tries(&mut kicks, start + second), 1_000);
        assert!(!kicks.is_due(), "nobody is woken for those that are tried again");
        assert_eq!(tries(&mut kicks, start + 11 * second), 500);
    }

    #[test]
    fn a_user_name_that_is_good_again_is_left_alone() {
        let mut kicks = Kicks::default();
        let start = Instant::now();
        kicks.user_name("u".into(), REVOKED, start, true);
        assert!(kicks.next(start).is_some());
        kicks.pardon("u");
        assert_eq!(kicks.next(start + Duration::from_secs(2)), None);
    }
}
