//! What changes of the policy mean for those who are connected, seen to on the ticks of the broker.
//!
//! A change may be about a million devices. No tick works longer at it than for its share of a millisecond, and those who
//! have to leave are denied everything from the moment at which the policy is in place: only the end of their
//! connections may come some ticks later.

use std::collections::{hash_map, hash_set};
use std::time::{Duration, Instant};

use super::admission::upgraded_hash;
use super::kick::{Cause, Kick};
use super::{Broker, Desk, Kicking, Plugin};
use crate::live::{Consequences, NotYet, unix_now};
use crate::policy::certificate::CertificateId;
use crate::policy::decision::Reason;
use crate::policy::device::{DeviceId, UnixSeconds};
use crate::policy::leaving::keeps_subscriptions;
use crate::policy::snapshot::{Proof, Snapshot};

/// How long one tick may spend on looking for those who have to leave, and on throwing them off; the rest waits for the
/// next, which is asked for at once.
const TIME: Duration = Duration::from_millis(1);
/// After so much of it the looking stops, so that throwing off begins while there is still more to look at.
const LOOKING_TIME: Duration = Duration::from_micros(500);
/// So many are looked at between two looks at the clock.
const AT_ONCE: usize = 16;
/// While so many wait to be thrown off, nobody is looked for: a table of a hundred thousand would take milliseconds to
/// grow, and a tick throws off fewer than these.
const ENOUGH: usize = 1_024;

/// What is left of the consequences that were taken last.
#[derive(Debug, Default)]
pub(super) struct Aftermath {
    left: Option<Left>,
    /// The checkpoint up to which everything is seen to when nothing is left and all who are due are thrown off.
    placed: i64,
}

#[derive(Debug)]
struct Left {
    devices: hash_set::IntoIter<DeviceId>,
    certificates: hash_set::IntoIter<CertificateId>,
    user_names: hash_map::IntoIter<Box<str>, Reason>,
}

impl From<Consequences> for Left {
    fn from(all: Consequences) -> Self {
        Self {
            devices: all.changed.into_iter(),
            certificates: all.revoked.into_iter(),
            user_names: all.leaving.into_iter(),
        }
    }
}

impl Plugin {
    /// Throws off whom the policy no longer lets be here, as far as there is time for it on this tick, which has begun at
    /// `start`.
    pub(super) fn see_to_changes(&self, desk: &Desk, broker: &impl Broker, start: Instant) {
        let mut aftermath = desk.aftermath.borrow_mut();
        let mut has_all = true;
        if aftermath.left.is_none() {
            // Asked before the consequences, which then have what follows from it.
            let placed = self.live.placed();
            match self.live.take_consequences() {
                Ok(all) => (aftermath.placed, aftermath.left) = (placed, all.map(Left::from)),
                Err(NotYet) => has_all = false,
            }
        }
        // Behind the consequences: whoever has to leave by them might stay by the version before.
        let snapshot = self.live.snapshot();
        let seen_all_ends = self.look_at_expired(desk, &snapshot, start);
        while let Some(left) = &mut aftermath.left {
            if desk.kicks.borrow().waiting() >= ENOUGH {
                break;
            }
            if !self.look_at_some(left, desk, &snapshot, (start, broker.tells_of_connections())) {
                if let Some(left) = aftermath.left.take() {
                    self.live.give_back(left);
                }
            } else if start.elapsed() > LOOKING_TIME {
                break;
            }
        }
        let (looked_at_all, placed) = (has_all && aftermath.left.is_none(), aftermath.placed);
        drop(aftermath);
        let none_is_due = self.throw_off(desk, broker, start);
        if looked_at_all && none_is_due {
            self.live.carried_out(placed);
        }
        if !(seen_all_ends && looked_at_all && none_is_due) {
            self.live.wake_again();
        }
    }

    /// The sessions whose certificates have expired. Whether there was time and room for all.
    fn look_at_expired(&self, desk: &Desk, snapshot: &Snapshot, start: Instant) -> bool {
        while start.elapsed() <= LOOKING_TIME && desk.kicks.borrow().waiting() < ENOUGH {
            let expired = desk.sessions.borrow_mut().next_expired(unix_now());
            let Some(client_id) = expired else {
                self.live.wake_at(desk.sessions.borrow().next_end().unwrap_or(UnixSeconds::MAX));
                return true;
            };
            self.look_at(desk, snapshot, &client_id);
        }
        false
    }

    /// Looks at some of those whom a change may concern, at those first whose sessions are known; `tells` is whether the
    /// broker tells of connections. Whether there were any left.
    fn look_at_some(&self, left: &mut Left, desk: &Desk, snapshot: &Snapshot, (now, tells): (Instant, bool)) -> bool {
        let mut any = false;
        let of = |client_ids: Vec<Box<str>>| client_ids.iter().for_each(|id| self.look_at(desk, snapshot, id));
        for device in left.devices.by_ref().take(AT_ONCE) {
            any = true;
            self.logins.changed(device, snapshot);
            let client_ids = desk.sessions.borrow().of_device(device).map(Into::into).collect();
            of(client_ids);
        }
        for certificate in left.certificates.by_ref().take(AT_ONCE) {
            any = true;
            let client_ids = desk.sessions.borrow().with_certificate(&certificate).map(Into::into).collect();
            of(client_ids);
        }
        // For each user name the broker looks at all its clients.
        if any || (tells && desk.sessions.borrow().are_all()) {
            return any;
        }
        for (user_name, reason) in left.user_names.by_ref().take(AT_ONCE) {
            any = true;
            let cause = Cause { reason, keeps_subscriptions: keeps_subscriptions(reason) };
            desk.kicks.borrow_mut().user_name(user_name, cause, now, !tells);
        }
        any
    }

    /// Whether the session with this client id may go on; else it is thrown off soon.
    fn look_at(&self, desk: &Desk, snapshot: &Snapshot, client_id: &str) {
        let mut sessions = desk.sessions.borrow_mut();
        let Some(session) = sessions.with_client_id(client_id) else { return };
        let upgraded = snapshot.device(session.device).and_then(|device| upgraded_hash(device, session));
        if let Err(reason) = self.still(snapshot, session, client_id, unix_now()) {
            let cause = Cause { reason, keeps_subscriptions: keeps_subscriptions(reason) };
            desk.kicks.borrow_mut().client_id(client_id, cause);
        }
        if let Some(hash) = upgraded {
            sessions.replace_hash(client_id, hash);
        }
    }

    /// Throws off who is due, as far as there is time for it. Whether that was all.
    fn throw_off(&self, desk: &Desk, broker: &impl Broker, start: Instant) -> bool {
        // Loaded for each one anew: between two kicks the policy may have changed its mind.
        loop {
            let now = Instant::now();
            let Some((kick, cause)) = desk.kicks.borrow_mut().next(now) else { return true };
            let _kicking = Kicking::begin(&desk.kicking, cause);
            match &kick {
                Kick::ClientId(client_id) => {
                    let reason = cause.reason;
                    tracing::info!(client_id = %client_id.escape_debug(), %reason, "client thrown off");
                    broker.kick_client_id(client_id);
                }
                Kick::UserName(user_name) => {
                    match self.live.snapshot().present(Proof::UserName(user_name), unix_now()) {
                        Ok(_) => desk.kicks.borrow_mut().pardon(user_name),
                        Err(_) => broker.kick_user_name(user_name),
                    }
                    desk.kicks.borrow_mut().took(now.elapsed(), now);
                }
            }
            if start.elapsed() > TIME {
                return !desk.kicks.borrow().is_due();
            }
        }
    }
}
