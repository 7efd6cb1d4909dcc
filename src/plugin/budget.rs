//! What guessing may cost: how many wrong passwords, and how much of the broker's time.
//!
//! Three accounts, each of which is paid back as time goes by: one for all hashing, one for each user name, one for each
//! source address. Whoever is over one of them is refused without any hashing. Time is a parameter here.

use std::hash::Hash;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use lru::LruCache;

/// A user name is forgiven one wrong password in this time.
const USER_NAME_FORGIVEN: Duration = Duration::from_mins(1);
/// A source address is forgiven one in this time: many devices may be behind it.
const SOURCE_FORGIVEN: Duration = Duration::from_secs(1);
/// For the same reason it may have so many times as many of them as a user name.
const SOURCE_TIMES: u32 = 5;
/// How many user names, and how many addresses, are remembered; the one heard of longest ago is forgotten first.
const MOST_REMEMBERED: usize = 100_000;
/// What may be taken of the account for hashing at once: as much as is paid back in this time.
const AT_ONCE: Duration = Duration::from_secs(1);

/// Where a login comes from, as far as it counts: an IPv4 address, or the network of an IPv6 one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Source(u128);

impl Source {
    /// From what a broker says: an address, or something else for what is no IP connection.
    pub(super) fn of(address: Option<&str>) -> Self {
        Self(match address.and_then(|text| text.parse::<IpAddr>().ok()).map(|address| address.to_canonical()) {
            Some(IpAddr::V4(address)) => u128::from(address.to_ipv6_mapped()),
            // Who has one IPv6 address has 2^64 of them.
            Some(IpAddr::V6(address)) => u128::from(address) >> 64 << 64,
            None => 0,
        })
    }
}

/// A user name that was tried, by a digest of it: whoever guesses may send long ones.
pub(super) type Tried = [u8; 16];

/// Something that is owed until time has paid it back.
#[derive(Debug, Clone, Copy)]
struct Debt(Instant);

impl Debt {
    /// How long it takes from now until nothing is owed.
    fn left(self, now: Instant) -> Duration {
        self.0.saturating_duration_since(now)
    }

    fn more(self, now: Instant, amount: Duration) -> Self {
        Self(self.0.max(now) + amount)
    }
}

/// The accounts.
#[derive(Debug)]
pub(super) struct Budget {
    /// How much hashing a second of time pays for.
    hashing_per_second: Duration,
    /// How many wrong passwords a user name may have at once.
    attempts: u32,
    hashing: Debt,
    user_names: LruCache<Tried, Debt, foldhash::quality::RandomState>,
    sources: LruCache<Source, Debt, foldhash::quality::RandomState>,
}

impl Budget {
    pub(super) fn new(hashing_per_second: Duration, attempts: u32, now: Instant) -> Self {
        Self {
            hashing_per_second,
            attempts,
            hashing: Debt(now),
            user_names: LruCache::unbounded_with_hasher(foldhash::quality::RandomState::default()),
            sources: LruCache::unbounded_with_hasher(foldhash::quality::RandomState::default()),
        }
    }

    /// Whether a password may be looked at now.
    pub(super) fn allows(&self, user_name: &Tried, source: Source, now: Instant) -> bool {
        let left = |debt: Option<&Debt>| debt.map_or(Duration::ZERO, |debt| debt.left(now));
        let (of_name, of_source) = (left(self.user_names.peek(user_name)), left(self.sources.peek(&source)));
        // What has been wrong lately leaves half of the time to others.
        let most = if of_name.is_zero() && of_source.is_zero() { AT_ONCE } else { AT_ONCE / 2 };
        of_name <= USER_NAME_FORGIVEN * (self.attempts - 1)
            && of_source <= SOURCE_FORGIVEN * (self.attempts * SOURCE_TIMES - 1)
            && self.hashing.left(now) < most
    }

    /// So long was hashed.
    pub(super) fn hashed(&mut self, time: Duration, now: Instant) {
        let seconds = time.as_secs_f64() / self.hashing_per_second.as_secs_f64();
        // No single hash takes that long; but a machine may be put to sleep.
        let amount = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX).min(Duration::from_mins(1));
        self.hashing = self.hashing.more(now, amount);
    }

    /// The password was wrong.
    pub(super) fn wrong(&mut self, user_name: Tried, source: Source, now: Instant) {
        owe(&mut self.user_names, user_name, USER_NAME_FORGIVEN, now);
        owe(&mut self.sources, source, SOURCE_FORGIVEN, now);
    }

    /// The password was right: who mistyped it before is forgiven. Its address is not, or whoever has one password could
    /// guess others for as long as it likes.
    pub(super) fn right(&mut self, user_name: &Tried) {
        self.user_names.pop(user_name);
    }
}

fn owe<K: Hash + Eq>(
    debts: &mut LruCache<K, Debt, foldhash::quality::RandomState>,
    who: K,
    amount: Duration,
    now: Instant,
) {
    let debt = debts.get(&who).copied().unwrap_or(Debt(now)).more(now, amount);
    debts.put(who, debt);
    if debts.len() > MOST_REMEMBERED {
        debts.pop_lru();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: Duration = Duration::from_millis(20);

    fn budget(now: Instant) -> Budget {
        Budget::new(Duration::from_millis(200), 10, now)
    }

    fn source(text: &str) -> Source {
        Source::of(Some(text))
    }

    /// How many of `many` wrong passwords, each at its time, are looked at.
    fn looked_at(
        budget: &mut Budget,
        many: u32,
        when: impl Fn(u32) -> Instant,
        who: impl Fn(u32) -> (Tried, Source),
    ) -> usize {
        let attempt = |n: &u32| {
            let (now, (user_name, source)) = (when(*n), who(*n));
            let allowed = budget.allows(&user_name, source, now);
            if allowed {
                budget.hashed(HASH, now);
                budget.wrong(user_name, source, now);
            }
            allowed
        };
        (0..many).filter(attempt).count()
    }

    fn name(number: u32) -> Tried {
        blake3::hash(&number.to_be_bytes()).as_bytes()[..16].try_into().unwrap()
    }

    #[test]
    fn a_user_name_is_guessed_ten_times_and_then_once_a_minute_wherever_from() {
        let start = Instant::now();
        let mut budget = budget(start);
        // One a second, each from another network, for ten minutes.
        let from = |n: u32| (name(0), Source(u128::from(n)));
        let many = looked_at(&mut budget, 600, |n| start + Duration::from_secs(n.into()), from);
        assert_eq!(many, 19);
        assert!(budget.allows(&name(1), source("192.0.2.9"), start + Duration::from_mins(10)));
    }

    #[test]
    fn a_source_guesses_fifty_times_and_then_once_a_second_whoever_it_tries() {
        let start = Instant::now();
        let mut budget = budget(start);
        let who = |n: u32| (name(n), source("192.0.2.1"));
        let many = looked_at(&mut budget, 1000, |n| start + Duration::from_millis(100) * n, who);
        assert_eq!(many, 149);
        let end = start + Duration::from_millis(99_900);
        assert!(!budget.allows(&name(5000), source("192.0.2.1"), end));
        assert!(budget.allows(&name(5000), source("192.0.2.2"), end));
    }

    #[test]
    fn all_together_take_the_share_of_time_that_is_paid_back() {
        let start = Instant::now();
        let mut budget = budget(start);
        // Ten thousand in ten seconds, each from elsewhere under another name.
        let who = |n: u32| (name(n), Source(u128::from(n)));
        let many = looked_at(&mut budget, 10_000, |n| start + Duration::from_millis(1) * n, who);
        // 200 ms of each second, and 200 ms more at the start, at 20 ms each.
        assert_eq!(many, 110);
    }

    #[test]
    fn who_was_not_wrong_lately_finds_room_beside_those_who_were() {
        let start = Instant::now();
        let mut budget = budget(start);
        let attacker = |_: u32| (name(0), source("192.0.2.1"));
        for _ in 0..5 {
            budget.wrong(name(0), source("192.0.2.1"), start);
        }
        // Five at 20 ms are half of what there is at once.
        assert_eq!(looked_at(&mut budget, 100, |_| start, attacker), 5);
        assert!(budget.allows(&name(1), source("192.0.2.2"), start));
        assert!(!budget.allows(&name(1), source("192.0.2.1"), start), "from there as well");
    }

    #[test]
    fn a_right_password_forgives_its_name_and_not_its_source() {
        let start = Instant::now();
        let mut budget = Budget::new(Duration::from_secs(10), 10, start);
        let who = |n: u32| (name(n / 10), source("192.0.2.1"));
        assert_eq!(looked_at(&mut budget, 60, |_| start, who), 50);
        assert!(!budget.allows(&name(0), source("192.0.2.2"), start));
        budget.right(&name(0));
        assert!(budget.allows(&name(0), source("192.0.2.2"), start));
        assert!(!budget.allows(&name(0), source("192.0.2.1"), start));
    }

    #[test]
    fn an_address_is_one_however_it_is_written_and_a_network_of_ipv6_is_one() {
        assert_eq!(source("192.0.2.1"), source("::ffff:192.0.2.1"));
        assert_ne!(source("192.0.2.1"), source("192.0.2.2"));
        assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:2"));
        assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
        assert_eq!(source(""), Source::of(None));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let start = Instant::now();
        let mut budget = budget(start);
        for n in 0..250_000 {
            budget.wrong(name(n), Source(u128::from(n)), start);
        }
        assert_eq!((budget.user_names.len(), budget.sources.len()), (100_000, 100_000));
    }
}
