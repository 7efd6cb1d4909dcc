//! One log line for each refusal: who, what, which topic, why, by which rule; and no more of them than asked for.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use crate::policy::decision::{Reason, RuleId};

/// How much of a client's own words goes into a line.
const MOST_CHARACTERS: usize = 128;

/// A refusal, in words for the operator.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refused<'a> {
    pub(super) action: &'static str,
    pub(super) reason: Reason,
    pub(super) user_name: Option<&'a str>,
    pub(super) device: Option<&'a str>,
    pub(super) client_id: Option<&'a str>,
    pub(super) topic: Option<&'a str>,
    pub(super) rule: Option<RuleId>,
}

impl Refused<'_> {
    pub(super) const fn by(reason: Reason) -> Self {
        Self { action: "", reason, user_name: None, device: None, client_id: None, topic: None, rule: None }
    }
}

/// Writes refusals to the log, a bounded number a second.
#[derive(Debug)]
pub(super) struct Refusals {
    lines: DefaultDirectRateLimiter,
    /// Hints say what to change; one in ten seconds is enough.
    hints: DefaultDirectRateLimiter,
    unsaid: AtomicU64,
}

impl Refusals {
    pub(super) fn new(per_second: u32) -> Self {
        let per_second = NonZeroU32::new(per_second).unwrap_or(NonZeroU32::MIN);
        let seldom = Quota::per_minute(NonZeroU32::MIN.saturating_add(5)).allow_burst(NonZeroU32::MIN);
        Self {
            lines: RateLimiter::direct(Quota::per_second(per_second)),
            hints: RateLimiter::direct(seldom),
            unsaid: AtomicU64::new(0),
        }
    }

    pub(super) fn report(&self, refused: &Refused<'_>) {
        // Asked first: a refusal that is not said costs no allocation.
        if self.lines.check().is_err() {
            self.unsaid.fetch_add(1, Ordering::Relaxed);
            return;
        }
        tracing::warn!(
            action = refused.action,
            user = refused.user_name.map(shown),
            device = refused.device.map(shown),
            client = refused.client_id.map(shown),
            topic = refused.topic.map(shown),
            reason = refused.reason.as_str(),
            rule = refused.rule,
            "refused"
        );
    }

    /// Says what to change, so that this kind of refusal ends.
    pub(super) fn hint(&self, hint: &'static str) {
        if self.hints.check().is_ok() {
            tracing::error!("{hint}");
        }
    }

    /// Says how many refusals were not said, now that there may be room for it.
    pub(super) fn tick(&self) {
        if self.unsaid.load(Ordering::Relaxed) > 0 && self.lines.check().is_ok() {
            let count = self.unsaid.swap(0, Ordering::Relaxed);
            tracing::warn!(count, "refusals not shown one by one");
        }
    }
}

/// A client's own words, without what could disturb the log or its reader.
fn shown(text: &str) -> tracing::field::DisplayValue<String> {
    let mut characters = text.chars();
    let mut shown: String = characters.by_ref().take(MOST_CHARACTERS).flat_map(char::escape_debug).collect();
    if characters.next().is_some() {
        shown.push('…');
    }
    tracing::field::display(shown)
}
