//! What a broker has written to its standard error.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// The lines of a broker's log. They stand in a file without a name, so what the broker has written is there to be read
/// at once: a client that was refused may look for the reason as soon as it hears of the refusal.
#[derive(Debug)]
pub(super) struct Log {
    file: File,
    read: Mutex<Read>,
}

#[derive(Debug, Default)]
struct Read {
    bytes: u64,
    /// Whole lines.
    text: String,
    /// Since the last of them.
    rest: Vec<u8>,
}

impl Log {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { file: tempfile::tempfile()?, read: Mutex::default() })
    }

    /// For a process to write to.
    pub(super) fn writer(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Every whole line that was written until now.
    pub(super) fn text(&self) -> String {
        self.look(str::to_owned)
    }

    /// Whether this text comes in this time; unless it has come, an end of what writes ends the wait.
    pub(super) fn wait_for(&self, text: &str, patience: Duration, mut ended: impl FnMut() -> bool) -> bool {
        let deadline = Instant::now() + patience;
        loop {
            // Asked before the look: what it wrote until its end is there to be seen.
            let last = ended() || Instant::now() > deadline;
            let found = self.look(|log| log.contains(text));
            if found || last {
                return found;
            }
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }

    fn look<T>(&self, at: impl FnOnce(&str) -> T) -> T {
        let mut read = self.read.lock().unwrap();
        let mut buffer = [0; 1 << 14];
        loop {
            // Not `Read::read`, which would move the place where the broker writes.
            let count = self.file.read_at(&mut buffer, read.bytes).unwrap();
            if count == 0 {
                return at(&read.text);
            }
            read.bytes += count as u64;
            read.rest.extend_from_slice(&buffer[..count]);
            if let Some(end) = read.rest.iter().rposition(|&byte| byte == b'\n') {
                let rest = read.rest.split_off(end + 1);
                let lines = std::mem::replace(&mut read.rest, rest);
                read.text.push_str(&String::from_utf8_lossy(&lines));
            }
        }
    }
}
