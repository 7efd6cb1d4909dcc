use std::fmt::Write;
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use super::*;

const BOUNDED: Staleness = Staleness { bound: Some(Duration::from_mins(1)), serve: false };
const STRICT: Staleness = Staleness { bound: None, serve: false };

/// What is said to the log: the level, the message and its fields.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        match field.name() {
            "message" => self.0.insert_str(0, &format!("{value:?}")),
            name => write!(self.0, " {name}={value:?}").unwrap(),
        }
    }
}

impl<S: tracing::Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.lock().unwrap().push(format!("{} {}", event.metadata().level(), line.0));
    }
}

fn said(what: impl FnOnce()) -> Vec<String> {
    let lines = Lines::default();
    tracing::subscriber::with_default(tracing_subscriber::registry().with(lines.clone()), what);
    lines.0.lock().unwrap().clone()
}

const AGED: fn(u64) -> Option<Duration> = |seconds| Some(Duration::from_secs(seconds));

#[test]
fn each_change_is_said_once() {
    let mut report = Report::new(BOUNDED);
    let lines = said(|| {
        report.look(true, AGED(1));
        report.back(7);
        for age in 1..3 {
            report.trouble("gone".to_owned(), AGED(age));
            report.trouble("full".to_owned(), AGED(age));
            report.look(false, AGED(age));
        }
        report.look(false, AGED(60));
        report.look(false, AGED(61));
        report.look(false, AGED(62));
    });
    assert_eq!(
        lines,
        [
            "ERROR database is away: the last policy known admits connecting clients until it is 1m old \
             error=gone age=1.0s",
            "WARN database is still away error=full",
            "ERROR policy is stale: connecting clients are refused now age=61.0s max_staleness=1m",
        ]
    );
    let lines = said(|| {
        report.back(8);
        report.back(8);
    });
    assert!(lines.len() == 1 && lines[0].starts_with("INFO database is back away=0.0s revision=8"), "{lines:?}");
    assert_eq!(said(|| report.trouble("gone".to_owned(), AGED(1))).len(), 1, "another outage");
}

#[test]
fn a_policy_that_is_too_old_is_said_to_be_so_before_any_attempt_has_failed() {
    let mut report = Report::new(Staleness { serve: true, ..BOUNDED });
    let lines = said(|| {
        report.look(true, AGED(61));
        report.back(7);
    });
    assert_eq!(
        lines,
        [
            "ERROR policy is stale: connecting clients are served by it nonetheless age=61.0s max_staleness=1m",
            "INFO database is back away=0.0s revision=7",
        ]
    );
}

#[test]
fn a_database_that_answers_nobody_in_time_is_away_after_a_moment() {
    let mut report = Report::new(STRICT);
    assert!(said(|| report.look(false, AGED(1))).is_empty());
    assert!(said(|| report.look(true, AGED(1))).is_empty());
    report.silent = Instant::now().checked_sub(SILENCE);
    assert_eq!(
        said(|| {
            report.look(false, AGED(1));
            report.look(false, AGED(100));
        }),
        ["ERROR database is away: connecting clients are refused until it is back \
             error=it does not answer in time age=1.0s"]
    );
}

#[test]
fn a_database_of_another_key_is_said_to_be_so_once_for_each_outage() {
    let mut report = Report::new(STRICT);
    for _ in 0..2 {
        let lines = said(|| {
            report.foreign(None);
            report.look(false, None);
            report.foreign(None);
        });
        assert!(lines.len() == 1 && lines[0].contains("sealed with another key"), "{lines:?}");
        assert_eq!(said(|| report.back(1)).len(), 1);
    }
}

#[test]
fn an_outage_of_many_reasons_fills_no_log() {
    let mut report = Report::new(STRICT);
    let lines = said(|| (0..100).for_each(|reason| report.trouble(format!("reason {reason}"), None)));
    assert_eq!(lines.len(), MOST_REASONS);
    assert!(lines[0].starts_with("ERROR database is away: everybody is refused until it is back"), "{lines:?}");
}

#[test]
fn pauses_double_up_to_a_bound_and_differ() {
    let mut backoff = Backoff::new(Duration::from_millis(20));
    let mut whole = Duration::from_millis(20);
    for _ in 0..100 {
        let pause = backoff.pause();
        assert!(whole / 2 <= pause && pause <= whole, "{pause:?} of {whole:?}");
        whole = (whole * 2).min(LONGEST_PAUSE);
    }
    let pauses: std::collections::BTreeSet<Duration> = (0..100).map(|_| backoff.pause()).collect();
    assert!(pauses.len() > 50, "{pauses:?}");
    backoff.reset();
    assert!(backoff.pause() <= Duration::from_millis(20));
}

#[test]
fn a_first_pause_beyond_the_bound_is_cut() {
    assert!(Backoff::new(Duration::from_mins(1)).pause() <= LONGEST_PAUSE);
}
