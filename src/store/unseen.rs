//! Which numbers of a log have not been seen, where they are given out in one order and committed in another.
//!
//! Below the newest number that was seen there are gaps. Some will be filled when a transaction that is still open
//! commits, some never, because theirs was rolled back. A gap is watched for as long as its entry is there, uncommitted,
//! and for a good while after it was last there.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long a gap is watched in which nothing is to be seen, committed or not. An entry gets its number just before it is
/// written; what comes in between is a wait for a lock, of which servers make an end before that.
pub(super) const GIVE_UP_AFTER: Duration = Duration::from_mins(10);

/// The numbers that are missing below the newest.
#[derive(Debug)]
pub(super) struct Unseen {
    newest: i64,
    /// By their first number: the last one, and when something was last known to be in it.
    gaps: BTreeMap<i64, (i64, Instant)>,
}

impl Unseen {
    /// Nothing up to `oldest` is missing.
    pub(super) const fn after(oldest: i64) -> Self {
        Self { newest: oldest, gaps: BTreeMap::new() }
    }

    pub(super) const fn newest(&self) -> i64 {
        self.newest
    }

    /// The first number that is missing.
    pub(super) fn first(&self) -> i64 {
        self.gaps.first_key_value().map_or(self.newest + 1, |(first, _)| *first)
    }

    /// The gaps, each with its first and its last number.
    pub(super) fn gaps(&self) -> impl Iterator<Item = (i64, i64)> {
        self.gaps.iter().map(|(first, (last, _))| (*first, *last))
    }

    pub(super) fn contains(&self, number: i64) -> bool {
        number > self.newest || self.gap_of(number).is_some()
    }

    fn gap_of(&self, number: i64) -> Option<(i64, i64, Instant)> {
        let (first, (last, at)) = self.gaps.range(..=number).next_back()?;
        (number <= *last).then_some((*first, *last, *at))
    }

    /// This number was seen, at this time.
    pub(super) fn see(&mut self, number: i64, now: Instant) {
        if number > self.newest {
            if number > self.newest + 1 {
                self.gaps.insert(self.newest + 1, (number - 1, now));
            }
            self.newest = number;
        } else if let Some((first, last, at)) = self.gap_of(number) {
            self.gaps.remove(&first);
            if first < number {
                self.gaps.insert(first, (number - 1, at));
            }
            if number < last {
                self.gaps.insert(number + 1, (last, at));
            }
        }
    }

    /// What has this number is there, and not committed yet.
    pub(super) fn is_pending(&mut self, number: i64, now: Instant) {
        if let Some((first, last, _)) = self.gap_of(number) {
            self.gaps.insert(first, (last, now));
        }
    }

    /// Forgets the gaps in which nothing has been for too long.
    pub(super) fn give_up(&mut self, now: Instant) {
        self.gaps.retain(|_, (_, at)| now.saturating_duration_since(*at) < GIVE_UP_AFTER);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gaps(unseen: &Unseen) -> Vec<(i64, i64)> {
        unseen.gaps().collect()
    }

    #[test]
    fn what_is_passed_over_stays_missing_until_it_is_seen() {
        let now = Instant::now();
        let mut unseen = Unseen::after(10);
        assert_eq!((unseen.first(), unseen.newest()), (11, 10));
        unseen.see(11, now);
        assert!(gaps(&unseen).is_empty());
        unseen.see(20, now);
        assert_eq!(gaps(&unseen), [(12, 19)]);
        unseen.see(15, now);
        assert_eq!(gaps(&unseen), [(12, 14), (16, 19)]);
        for number in [12, 14, 16, 19, 13] {
            assert!(unseen.contains(number));
            unseen.see(number, now);
            assert!(!unseen.contains(number));
        }
        assert_eq!(gaps(&unseen), [(17, 18)]);
        assert_eq!(unseen.first(), 17);
        assert!(unseen.contains(21) && !unseen.contains(9));
        unseen.see(5, now);
        assert_eq!((gaps(&unseen), unseen.newest()), (vec![(17, 18)], 20));
    }

    #[test]
    fn a_gap_is_given_up_only_long_after_something_was_in_it() {
        let start = Instant::now();
        let at = |minutes| start + Duration::from_mins(minutes);
        let mut unseen = Unseen::after(0);
        unseen.see(3, start);
        unseen.see(5, start);
        unseen.is_pending(4, at(8));
        unseen.is_pending(5, at(8));
        unseen.give_up(at(9));
        assert_eq!(gaps(&unseen), [(1, 2), (4, 4)]);
        unseen.give_up(at(10));
        assert_eq!(gaps(&unseen), [(4, 4)]);
        unseen.give_up(at(18));
        assert!(gaps(&unseen).is_empty());
    }
}
