//! What a long command shows of itself, and how it is stopped between two steps.

use indicatif::{ProgressBar, ProgressStyle};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// A bar on standard error; nothing where that is no terminal.
#[derive(Debug)]
pub(super) struct Progress(ProgressBar);

impl Progress {
    pub(super) fn new(steps: usize, doing: &'static str) -> Self {
        // It knows by itself whether standard error is a terminal.
        let bar = ProgressBar::new(steps as u64).with_message(doing);
        let template = "{msg} [{bar:30}] {human_pos} of {human_len}, {per_sec:0}, {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        Self(bar)
    }

    pub(super) fn step(&self, steps: usize) {
        self.0.inc(steps as u64);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Whether somebody has pressed Ctrl-C. A batch that has begun is finished.
#[derive(Debug)]
pub(super) struct Interrupt {
    signals: Signal,
    pressed: bool,
}

impl Interrupt {
    /// From now on Ctrl-C is noted, and ends nothing by itself.
    pub(super) fn listen() -> std::io::Result<Self> {
        Ok(Self { signals: signal(SignalKind::interrupt())?, pressed: false })
    }

    /// Whether it was pressed until now.
    pub(super) async fn pressed(&mut self) -> bool {
        tokio::select! {
            biased;
            () = self.press() => true,
            // The runtime looks for signals when everybody else has had a turn.
            () = tokio::task::yield_now() => self.pressed,
        }
    }

    /// Ends when it is pressed.
    pub(super) async fn press(&mut self) {
        if !self.pressed {
            self.signals.recv().await;
            self.pressed = true;
        }
    }
}
