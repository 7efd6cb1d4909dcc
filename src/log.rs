//! Log lines on their way to the broker's own log.
//!
//! The broker's log functions belong to its thread, and calling them inside an access check can lead to the next access
//! check. So `tracing` events, from whatever thread, become lines in a bounded queue, which the tick empties.

use std::collections::VecDeque;
use std::error::Error;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use once_cell::sync::Lazy;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};

/// How many lines may wait. What does not fit is counted and said.
const MOST_LINES: usize = 1000;

/// One line, and how grave it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub level: Level,
    pub text: String,
}

static QUEUE: Lazy<Queue> = Lazy::new(Queue::default);

#[derive(Default)]
struct Queue {
    lines: Mutex<VecDeque<Line>>,
    lost: AtomicU64,
}

/// From now on events of this crate are queued. Further calls change nothing.
pub fn install() {
    let subscriber = tracing_subscriber::registry().with(ToQueue);
    // It is there already when the broker has loaded the plugin twice, or has loaded it again.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// The lines that wait, oldest first, at most `most` of them.
pub fn take(most: usize) -> Vec<Line> {
    let mut lines = QUEUE.lines.lock().unwrap_or_else(PoisonError::into_inner);
    let many = lines.len().min(most);
    let mut taken: Vec<Line> = lines.drain(..many).collect();
    drop(lines);
    let lost = QUEUE.lost.swap(0, Ordering::Relaxed);
    if lost > 0 {
        taken.push(Line { level: Level::WARN, text: format!("log lines lost count={lost}") });
    }
    taken
}

/// An error with its causes, on one line.
#[must_use]
pub fn causes(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        // Writing to a String cannot fail.
        let _ = write!(line, ": {cause}");
        source = cause.source();
    }
    line
}

struct ToQueue;

impl<S: Subscriber> Layer<S> for ToQueue {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        // Other crates' events are theirs to explain, and debug lines are for tests with a subscriber of their own.
        if !metadata.target().starts_with("mosquitto_warden") || *metadata.level() > Level::INFO {
            return;
        }
        let mut lines = QUEUE.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() >= MOST_LINES {
            QUEUE.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let mut text = Text::default();
        event.record(&mut text);
        lines.push_back(Line { level: *metadata.level(), text: text.message + &text.fields });
    }
}

/// An event as one line: the message, then `key=value` for each field.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        // Writing to a String cannot fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let _ = match field.name() {
            "message" => write!(self.message, "{value}"),
            name => write!(self.fields, " {name}={value}"),
        };
    }
}
