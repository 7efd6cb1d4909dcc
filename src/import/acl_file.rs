//! Mosquitto's `acl_file`, as mosquitto.conf(5) documents it and the broker reads it.
//!
//! A line that the broker would not start with is a mistake; all of them are named, not only the first.

use super::plan::{Finding, Weight};
use crate::policy::topic;

/// The lines of a file, sorted by whom they are for, each list in the order of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AclFile {
    /// For clients without user name, and for nobody else.
    pub anonymous: Vec<Entry>,
    pub users: Vec<User>,
    /// For every client.
    pub patterns: Vec<Entry>,
}

/// What a user's lines say. A user may be named several times; all lines count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub line: usize,
    pub entries: Vec<Entry>,
}

/// A `topic` or `pattern` line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub line: usize,
    pub access: Access,
    pub topic: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Deny,
    Read,
    Write,
    ReadWrite,
}

impl AclFile {
    /// Reads a file, and says which lines make no sense.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> (Self, Vec<Finding>) {
        let (mut file, mut mistakes) = (Self::default(), Vec::new());
        let mut user: Option<usize> = None;
        for (line, bytes) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
            if let Err(words) = file.take(line, bytes, &mut user) {
                mistakes.push(Finding { weight: Weight::Mistake, line: Some(line), words });
            }
        }
        (file, mistakes)
    }

    fn take(&mut self, line: usize, bytes: &[u8], user: &mut Option<usize>) -> Result<(), String> {
        let text = str::from_utf8(bytes).map_err(|_| "the line is not UTF-8")?;
        if text.contains('\0') {
            return Err("the line holds a NUL character".to_owned());
        }
        // The broker drops blanks of any kind at the end, and knows spaces alone between words.
        let text = text.trim_end_matches(is_blank);
        if text.starts_with('#') {
            return Ok(());
        }
        let text = text.trim_start_matches(' ');
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        let rest = rest.trim_start_matches(' ');
        match word {
            "" => Ok(()),
            "user" => {
                let name = rest.trim_matches(is_blank);
                if name.is_empty() {
                    return Err("`user` is followed by no name".to_owned());
                }
                *user = Some(self.user(name, line));
                Ok(())
            }
            "topic" | "pattern" => {
                let entry = entry(line, rest)?;
                let of_user = user.and_then(|index| self.users.get_mut(index));
                match (word, of_user) {
                    ("pattern", _) => self.patterns.push(entry),
                    (_, Some(user)) => user.entries.push(entry),
                    (_, None) => self.anonymous.push(entry),
                }
                Ok(())
            }
            other => Err(format!("`{other}` is none of `user`, `topic` and `pattern`")),
        }
    }

    fn user(&mut self, name: &str, line: usize) -> usize {
        let known = self.users.iter().position(|user| user.name == name);
        known.unwrap_or_else(|| {
            self.users.push(User { name: name.to_owned(), line, entries: Vec::new() });
            self.users.len() - 1
        })
    }

    /// The lines of a user.
    #[must_use]
    pub fn entries_of(&self, user: &str) -> &[Entry] {
        self.users.iter().find(|known| known.name == user).map_or(&[], |user| &user.entries)
    }
}

/// What follows `topic` or `pattern`: an access and a topic, or a topic alone.
fn entry(line: usize, rest: &str) -> Result<Entry, String> {
    let (first, topic) = rest.split_once(' ').unwrap_or((rest, ""));
    let topic = topic.trim_matches(is_blank);
    let (access, topic) = match (first, topic) {
        ("", _) => return Err("the topic is missing".to_owned()),
        (only, "") => (Access::ReadWrite, only),
        ("read", topic) => (Access::Read, topic),
        ("write", topic) => (Access::Write, topic),
        ("readwrite", topic) => (Access::ReadWrite, topic),
        ("deny", topic) => (Access::Deny, topic),
        (other, _) => return Err(format!("`{other}` is none of `read`, `write`, `readwrite` and `deny`")),
    };
    topic::check_filter(topic).map_err(|error| error.to_string())?;
    Ok(Entry { line, access, topic: topic.to_owned() })
}

/// What C's `isspace()` takes for a blank.
fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\x0b' | '\x0c' | '\r')
}
