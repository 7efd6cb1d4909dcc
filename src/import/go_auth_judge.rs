//! What the go-auth plugin answers with its tables: an evaluator of its own, to compare ours with.
//!
//! After the plugin's sources; nothing of our own engine is in it. The number of a row is read as its documentation has it,
//! whatever the query makes of it.

use super::go_auth::{Acl, User};
use crate::policy::decision::Action;

/// Whether the broker allows it to a client that has logged in.
#[must_use]
pub fn allows(users: &[User], acls: &[Acl], user: &str, client_id: &str, action: Action, topic: &str) -> bool {
    // By the broker itself, before any plugin is asked.
    if action == Action::Publish && (topic.starts_with("$SYS/") || topic.starts_with("$share/")) {
        return false;
    }
    let Some(row) = users.iter().find(|row| row.name == user) else { return false };
    let asked = match action {
        Action::Receive => 1,
        Action::Publish => 2,
        Action::Subscribe => 4,
    };
    let grants = |acl: &&Acl| acl.user == user && (1..=7).contains(&acl.rw) && acl.rw & asked != 0;
    let matches = |acl: &Acl| matches(&acl.topic.replace("%c", client_id).replace("%u", user), topic);
    row.is_admin || acls.iter().filter(grants).any(matches)
}

/// By levels, `$` is a character like any other, and so are `+` and `#` in what is asked.
fn matches(filter: &str, asked: &str) -> bool {
    if filter == asked {
        return true;
    }
    let mut levels = asked.split('/');
    let mut filter = filter.split('/').peekable();
    while let Some(level) = filter.next() {
        match (level, levels.next()) {
            ("#", _) => return filter.peek().is_none(),
            ("+", Some(_)) => {}
            (level, Some(asked)) if level == asked => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}
