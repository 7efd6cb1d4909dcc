//! What new versions of the policy mean for those who are connected, on its way to the broker's thread.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::lock;
use crate::policy::certificate::CertificateId;
use crate::policy::decision::Reason;
use crate::policy::device::DeviceId;

/// What new versions mean for those who are connected.
///
/// All are sets, so that they stay as small as the fleet however long nobody fetches them.
#[derive(Debug, Default)]
pub struct Consequences {
    /// The devices whose sessions have to be asked about once more.
    pub changed: HashSet<DeviceId>,
    /// The user names under which nobody may be here any more, and why.
    pub leaving: HashMap<Box<str>, Reason>,
    /// The certificates that are revoked now and were not before.
    pub revoked: HashSet<CertificateId>,
}

impl Consequences {
    fn are_none(&self) -> bool {
        self.changed.is_empty() && self.leaving.is_empty() && self.revoked.is_empty()
    }
}

/// There are consequences, and more are just being added to them: they can be taken soon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotYet;

/// Those that nobody has taken yet. One thread adds to them and another takes them, and neither waits while the other works:
/// they may be very many.
#[derive(Debug, Default)]
pub(super) struct Untaken {
    /// Whether there are any to be taken, or will be soon.
    any: AtomicBool,
    all: Mutex<All>,
}

#[derive(Debug, Default)]
struct All {
    consequences: Consequences,
    /// Whether they are with the one who adds to them.
    lent: bool,
}

impl Untaken {
    /// Has `more` add to them. Whether there are any now.
    pub(super) fn add(&self, more: impl FnOnce(&mut Consequences)) -> bool {
        let mut consequences = {
            let mut all = lock(&self.all);
            all.lent = true;
            std::mem::take(&mut all.consequences)
        };
        more(&mut consequences);
        let any = !consequences.are_none();
        *lock(&self.all) = All { consequences, lent: false };
        if any {
            self.any.store(true, Ordering::Release);
        }
        any
    }

    /// All of them, if there are any. A policy that is loaded after this is the one that they follow from, or a newer one.
    pub(super) fn take(&self) -> Result<Option<Consequences>, NotYet> {
        // Nearly every time there are none, and no lock is taken to see it.
        if !self.any.swap(false, Ordering::AcqRel) {
            return Ok(None);
        }
        let mut all = lock(&self.all);
        if all.lent {
            self.any.store(true, Ordering::Release);
            return Err(NotYet);
        }
        Ok(Some(std::mem::take(&mut all.consequences)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(number: DeviceId) -> impl FnOnce(&mut Consequences) {
        move |all| _ = all.changed.insert(number)
    }

    fn devices(taken: Result<Option<Consequences>, NotYet>) -> Vec<DeviceId> {
        let mut devices: Vec<DeviceId> = taken.unwrap().unwrap_or_default().changed.into_iter().collect();
        devices.sort_unstable();
        devices
    }

    #[test]
    fn what_was_added_since_the_last_time_is_taken_once() {
        let untaken = Untaken::default();
        assert!(devices(untaken.take()).is_empty());
        assert!(!untaken.add(|_| {}));
        assert!(untaken.add(changed(1)) && untaken.add(changed(2)));
        assert_eq!(devices(untaken.take()), [1, 2]);
        assert!(devices(untaken.take()).is_empty());
    }

    #[test]
    fn those_that_are_being_added_to_are_neither_taken_nor_taken_for_none() {
        let untaken = Untaken::default();
        assert!(untaken.add(changed(1)));
        untaken.add(|all| {
            assert_eq!(untaken.take().unwrap_err(), NotYet);
            assert_eq!(untaken.take().unwrap_err(), NotYet);
            changed(2)(all);
        });
        assert_eq!(devices(untaken.take()), [1, 2]);
    }

    #[test]
    fn while_the_first_is_being_added_there_is_none() {
        let untaken = Untaken::default();
        untaken.add(|all| {
            assert!(devices(untaken.take()).is_empty());
            changed(1)(all);
        });
        assert_eq!(devices(untaken.take()), [1]);
    }
}
