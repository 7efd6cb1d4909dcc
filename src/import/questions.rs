//! Questions to ask of old rules and new ones, made from what a file names: topics that its filters match, and topics
//! just beside them.

use std::collections::BTreeSet;

use crate::policy::decision::Action;
use crate::policy::topic;

/// The client id that a client uses beside its own name.
pub const OTHER_CLIENT_ID: &str = "verify-client";
/// A level that no file is likely to have.
const FRESH: &str = "verify";
/// Of one user; beyond that, filters of other users are left out first.
const MOST_TOPICS: usize = 4_000;

/// What one client is asked about.
#[derive(Debug, Default)]
pub struct Questions {
    /// To publish to, and to receive.
    pub names: BTreeSet<String>,
    /// To subscribe to.
    pub filters: BTreeSet<String>,
    /// How many filters were left out, for being too many.
    pub left_out: usize,
}

impl Questions {
    /// For a client, from the filters that concern it, the most important ones first. `%u` and `%c` become its names.
    #[must_use]
    pub fn new<'a>(filters: impl IntoIterator<Item = &'a str>, user: &str, client_id: &str) -> Self {
        let mut questions = Self::default();
        for filter in ["#", "+/#", "$SYS/#", "$SYS/broker/uptime", "$CONTROL/x/v1"].into_iter().chain(filters) {
            if questions.names.len() + questions.filters.len() > MOST_TOPICS {
                questions.left_out += 1;
                continue;
            }
            for (user, client_id) in [(user, client_id), (client_id, user), ("%u", "%c")] {
                questions.about(&filter.replace("%u", user).replace("%c", client_id));
            }
        }
        questions.names.retain(|name| topic::check_name(name).is_ok());
        questions.filters.retain(|filter| topic::check_filter(filter).is_ok());
        questions
    }

    /// The questions with their actions.
    pub fn iter(&self) -> impl Iterator<Item = (Action, &str)> {
        let named = self.names.iter().flat_map(|name| [(Action::Publish, &**name), (Action::Receive, &**name)]);
        named.chain(self.filters.iter().map(|filter| (Action::Subscribe, &**filter)))
    }

    /// What a filter matches, what it does not quite match, and what is inside and around it.
    fn about(&mut self, filter: &str) {
        self.filters.insert(filter.to_owned());
        self.filters.insert(format!("$share/group/{filter}"));
        let closed = filter.replace('+', FRESH);
        if let Some(open) = closed.strip_suffix('#') {
            let parent = open.trim_end_matches('/');
            self.names.extend([parent.to_owned(), format!("{open}{FRESH}"), format!("{open}{FRESH}/{FRESH}")]);
            self.filters.extend([format!("{open}{FRESH}"), format!("{open}+"), format!("{open}{FRESH}/#")]);
        } else {
            self.names.extend([closed.clone(), format!("{closed}/{FRESH}"), format!("{closed}{FRESH}")]);
            self.filters.extend([closed.clone(), format!("{closed}/#")]);
        }
        if let Some((before, _)) = closed.rsplit_once('/') {
            self.names.extend([before.to_owned(), format!("{before}/{FRESH}")]);
            self.filters.extend([format!("{before}/#"), format!("{before}/+")]);
        }
        if let Some((_, behind)) = closed.split_once('/') {
            self.names.insert(format!("{FRESH}/{}", behind.trim_end_matches(['#', '/'])));
            self.filters.insert(format!("+/{behind}"));
        }
    }
}
