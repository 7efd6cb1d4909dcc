//! The database is away: when it is asked again, and what the log is told about it, each thing once.

use std::time::{Duration, Instant};

use super::Staleness;

/// The longest pause between two attempts to reach a database that is away.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// A database that has answered nobody for so long is said to be away, before the attempt to ask it has failed.
const SILENCE: Duration = Duration::from_secs(1);
/// How many different reasons for one outage are told.
const MOST_REASONS: usize = 8;

/// The pauses between attempts: each about twice as long as the one before, up to a bound, and none foreseeable, so
/// that many brokers do not come back to one database all at once.
#[derive(Debug)]
pub(super) struct Backoff {
    first: Duration,
    next: Duration,
}

impl Backoff {
    pub(super) fn new(first: Duration) -> Self {
        Self { first, next: first }
    }

    /// The next attempt is the first of its kind.
    pub(super) fn reset(&mut self) {
        self.next = self.first;
    }

    /// The next pause, of at least half and at most all of what is its turn.
    pub(super) fn pause(&mut self) -> Duration {
        let whole = self.next.min(LONGEST_PAUSE);
        self.next = whole * 2;
        // Without random numbers all still works.
        let part = getrandom::u32().unwrap_or(u32::MAX);
        whole / 2 + (whole / 2).mul_f64(f64::from(part) / f64::from(u32::MAX))
    }
}

/// Tells the log how it stands with the database.
#[derive(Debug)]
pub(super) struct Report {
    staleness: Staleness,
    /// Since when it is away.
    away: Option<Instant>,
    /// Since when it answers nobody, whether or not that is said already.
    silent: Option<Instant>,
    /// Since when the policy is too old.
    stale: Option<Instant>,
    said_foreign: bool,
    reasons: Vec<String>,
}

impl Report {
    pub(super) fn new(staleness: Staleness) -> Self {
        Self { staleness, away: None, silent: None, stale: None, said_foreign: false, reasons: Vec::new() }
    }

    /// The broker has started without the database, and has said why.
    pub(super) fn is_away_from_the_start(&mut self, error: String) {
        self.away = Some(Instant::now());
        self.reasons.push(error);
    }

    /// An attempt has failed. `age` is that of the policy, if there is one.
    pub(super) fn trouble(&mut self, error: String, age: Option<Duration>) {
        if self.away.is_none() {
            self.away = Some(Instant::now());
            tracing::error!(%error, age = %of(age), "database is away: {}", self.meanwhile(age));
        } else if !self.reasons.contains(&error) && self.reasons.len() < MOST_REASONS {
            tracing::warn!(%error, "database is still away");
        } else {
            return;
        }
        self.reasons.push(error);
    }

    /// It is there, and is another one than the key file belongs to.
    pub(super) fn foreign(&mut self, age: Option<Duration>) {
        self.away.get_or_insert_with(Instant::now);
        if !self.said_foreign {
            self.said_foreign = true;
            tracing::error!(
                age = %of(age),
                "the database is sealed with another key than the key file holds: connecting clients are refused until \
                 they belong together"
            );
        }
    }

    /// Looks at the clock: whether it has become silent, or the policy too old.
    pub(super) fn look(&mut self, reachable: bool, age: Option<Duration>) {
        self.silent = if reachable { None } else { Some(self.silent.unwrap_or_else(Instant::now)) };
        if self.away.is_none() && self.silent.is_some_and(|since| since.elapsed() >= SILENCE) {
            self.trouble("it does not answer in time".to_owned(), age);
        }
        let Some((bound, age)) = self.staleness.bound.zip(age) else { return };
        if age > bound && self.stale.is_none() {
            self.stale = Some(Instant::now());
            let now = if self.staleness.serve { "served by it nonetheless" } else { "refused now" };
            tracing::error!(
                age = %of(Some(age)),
                max_staleness = %humantime::format_duration(bound),
                "policy is stale: connecting clients are {now}"
            );
        }
    }

    /// The database has answered.
    pub(super) fn back(&mut self, revision: i64) {
        (self.said_foreign, self.silent) = (false, None);
        self.reasons.clear();
        let (away, stale) = (self.away.take(), self.stale.take());
        if let Some(since) = away.or(stale) {
            tracing::info!(away = %of(Some(since.elapsed())), revision, "database is back");
        }
    }

    /// What becomes of connecting clients while it is away.
    pub(super) fn meanwhile(&self, age: Option<Duration>) -> String {
        let until = "until it is back";
        match (age, self.staleness) {
            (None, _) => format!("everybody is refused {until}"),
            (_, Staleness { serve: true, .. }) => {
                format!("connecting clients are served by the last policy known {until}")
            }
            (_, Staleness { bound: None, .. }) => format!("connecting clients are refused {until}"),
            (_, Staleness { bound: Some(bound), .. }) => {
                let bound = humantime::format_duration(bound);
                format!("the last policy known admits connecting clients until it is {bound} old")
            }
        }
    }
}

/// A time for the log.
pub(super) fn of(age: Option<Duration>) -> String {
    age.map_or("unknown".to_owned(), |age| format!("{:.1}s", age.as_secs_f64()))
}

#[cfg(test)]
mod tests;
