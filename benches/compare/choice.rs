//! What the words of the command line choose.

use std::collections::BTreeSet;

use super::control::{Control, Listener};
use super::report::Part;

/// Numbers of devices if none is chosen, and for the document.
const FEW: [usize; 2] = [10, 10_000];
const ALL: [usize; 4] = [10, 1_000, 10_000, 100_000];

/// What was asked for.
pub(crate) struct Choice {
    parts: Vec<Part>,
    pub(crate) sizes: BTreeSet<usize>,
    pub(crate) listeners: Vec<Listener>,
    pub(crate) controls: Vec<Control>,
    pub(crate) sessions: usize,
    pub(crate) plots: bool,
    pub(crate) document: bool,
}

impl Choice {
    pub(crate) fn new(arguments: impl Iterator<Item = String>) -> Self {
        let words: Vec<String> = arguments.filter(|argument| !argument.starts_with('-')).collect();
        let has = |word: &str| words.iter().any(|one| one == word);
        let (document, mut known) = (has("document"), vec!["document", "plots", "none"]);
        known.extend(Part::ALL.map(Part::word));
        known.extend(Listener::ALL.map(Listener::word));
        known.extend(Control::ALL.map(Control::word));
        let numbers =
            |prefix: &'static str| words.iter().filter_map(move |word| word.strip_prefix(prefix)?.parse().ok());
        for word in &words {
            let number = word.strip_prefix("sessions=").unwrap_or(word).parse::<usize>();
            assert!(
                known.contains(&word.as_str()) || number.is_ok_and(|number| number > 0),
                "`{word}` means nothing: {known:?}"
            );
        }
        let sizes: BTreeSet<usize> = numbers("").collect();
        let default = if document { &ALL[..] } else { &FEW[..] };
        Self {
            parts: chosen(&Part::ALL, |part| has(part.word())),
            sizes: if sizes.is_empty() { default.iter().copied().collect() } else { sizes },
            listeners: chosen(&Listener::ALL, |listener| has(listener.word())),
            // Everything is compared with none.
            controls: chosen(&Control::ALL[1..], |control| has(control.word())),
            sessions: numbers("sessions=").next_back().unwrap_or(1_000),
            plots: document || has("plots"),
            document,
        }
    }

    pub(crate) fn has(&self, part: Part) -> bool {
        self.parts.contains(&part)
    }
}

/// Those that were named, or all if none was.
fn chosen<T: Copy>(all: &[T], named: impl Fn(&T) -> bool) -> Vec<T> {
    if all.iter().any(&named) { all.iter().copied().filter(named).collect() } else { all.to_vec() }
}
