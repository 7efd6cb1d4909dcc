//! Client ids that stand for all: one for each way in which patterns, texts and topics can tell client ids apart.
//!
//! Patterns are walked together as one automaton, character by character. Two client ids that end in the same states
//! are the same to every pattern, so the first that gets there stands for both.

use std::collections::{BTreeSet, HashSet, VecDeque};

use super::TooMuch;

/// How many states are visited before it is given up.
const MOST_STATES: usize = 5_000;

/// A pattern for client ids: the texts around each `*`.
pub(super) type Pieces = Vec<String>;

/// What a client id does to a topic level in which it would stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Use {
    Plain,
    /// It begins with `$`.
    Dollar,
    /// It cannot be part of a level.
    Unusable,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State {
    /// For each pattern, the places in it where what was read may end.
    places: Vec<BTreeSet<usize>>,
    usable: Use,
    /// Whether anything was read: no client id is empty.
    begun: bool,
}

/// One client id, none of them empty, for each set of patterns that fit and of `texts` that are equal to it. With each
/// comes which of the patterns fit.
pub(super) fn representatives(
    patterns: &[Pieces],
    texts: &BTreeSet<String>,
) -> Result<Vec<(String, Vec<bool>)>, TooMuch> {
    let exact = texts.iter().map(|text| vec![text.clone()]);
    let globs: Vec<Vec<Token>> = patterns.iter().cloned().chain(exact).map(|pieces| tokens(&pieces)).collect();
    let alphabet = alphabet(&globs);
    let start =
        State { places: globs.iter().map(|glob| closed(glob, [0].into())).collect(), usable: Use::Plain, begun: false };
    let mut seen = HashSet::from([start.clone()]);
    let mut waiting = VecDeque::from([(String::new(), start)]);
    let mut found = HashSet::new();
    let mut representatives = Vec::new();
    while let Some((text, state)) = waiting.pop_front() {
        if state.begun {
            let fits: Vec<bool> =
                globs.iter().zip(&state.places).map(|(glob, places)| places.contains(&glob.len())).collect();
            if found.insert((fits.clone(), state.usable)) {
                representatives.push((text.clone(), fits.into_iter().take(patterns.len()).collect()));
            }
        }
        for char in &alphabet {
            let next = state.read(*char, &globs);
            if seen.insert(next.clone()) {
                if seen.len() > MOST_STATES {
                    return Err(TooMuch { what: "client ids", most: MOST_STATES });
                }
                let mut text = text.clone();
                text.push(*char);
                waiting.push_back((text, next));
            }
        }
    }
    Ok(representatives)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Char(char),
    Star,
}

fn tokens(pieces: &[String]) -> Vec<Token> {
    let mut tokens = Vec::new();
    for (index, piece) in pieces.iter().enumerate() {
        if index > 0 {
            tokens.push(Token::Star);
        }
        tokens.extend(piece.chars().map(Token::Char));
    }
    tokens
}

/// All characters that any pattern has, those that mean something in a topic, and, first, one that means nothing.
fn alphabet(globs: &[Vec<Token>]) -> Vec<char> {
    let known: BTreeSet<char> = globs
        .iter()
        .flatten()
        .filter_map(|token| match token {
            Token::Char(char) => Some(*char),
            Token::Star => None,
        })
        .chain(['$', '+'])
        .collect();
    let fresh = ('a'..='z')
        .rev()
        .chain('0'..='9')
        .chain('A'..='Z')
        .chain('\u{e000}'..='\u{f8ff}')
        .find(|it| !known.contains(it));
    fresh.into_iter().chain(known).collect()
}

/// With a star, what comes behind it may begin at once.
fn closed(glob: &[Token], mut places: BTreeSet<usize>) -> BTreeSet<usize> {
    let mut open: Vec<usize> = places.iter().copied().collect();
    while let Some(place) = open.pop() {
        if glob.get(place) == Some(&Token::Star) && places.insert(place + 1) {
            open.push(place + 1);
        }
    }
    places
}

impl State {
    fn read(&self, char: char, globs: &[Vec<Token>]) -> Self {
        let step = |(glob, places): (&Vec<Token>, &BTreeSet<usize>)| {
            let next = places.iter().filter_map(|place| match glob.get(*place) {
                Some(Token::Star) => Some(*place),
                Some(Token::Char(wanted)) if *wanted == char => Some(place + 1),
                _ => None,
            });
            closed(glob, next.collect())
        };
        let usable = match self.usable {
            _ if matches!(char, '+' | '#' | '/' | '\0') => Use::Unusable,
            Use::Plain if !self.begun && char == '$' => Use::Dollar,
            usable => usable,
        };
        Self { places: globs.iter().zip(&self.places).map(step).collect(), usable, begun: true }
    }
}

/// A level with `%c` in it, once or more often: what stands around it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Shape(Vec<String>);

impl Shape {
    /// From a level in which a mark stands for the client id.
    pub(super) fn new(level: &str, mark: &str) -> Self {
        Self(level.split(mark).map(str::to_owned).collect())
    }

    fn with(&self, client: &str) -> String {
        self.0.join(client)
    }

    /// The client id with which the level is this text, if there is one.
    pub(super) fn solve(&self, text: &str) -> Option<String> {
        let fixed: usize = self.0.iter().map(String::len).sum();
        let (times, start) = (self.0.len() - 1, self.0.first()?.len());
        let length = text.len().checked_sub(fixed)? / times;
        let client = text.get(start..start + length)?;
        (!client.is_empty() && self.with(client) == text).then(|| client.to_owned())
    }

    /// Client ids with which two such levels are the same: where one has more before the `%c` than the other, the
    /// client id repeats what is between. The shortest few stand for longer ones.
    pub(super) fn meets(&self, other: &Self) -> Vec<String> {
        let ([before, _], [longer, _]) = (&*self.0, &*other.0) else { return Vec::new() };
        let Some(period) = longer.strip_prefix(before.as_str()).filter(|period| !period.is_empty()) else {
            return Vec::new();
        };
        let endless: Vec<char> = period.chars().cycle().take(2 * period.chars().count()).collect();
        let prefixes = (1..=endless.len()).map(|length| endless.iter().take(length).collect::<String>());
        prefixes.filter(|client| self.with(client) == other.with(client)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(patterns: &[&str], texts: &[&str]) -> Vec<(String, Vec<bool>)> {
        let patterns: Vec<Pieces> =
            patterns.iter().map(|pattern| pattern.split('*').map(str::to_owned).collect()).collect();
        representatives(&patterns, &texts.iter().map(|text| (*text).to_owned()).collect()).unwrap()
    }

    #[test]
    fn without_patterns_they_differ_in_how_a_topic_takes_them() {
        let ids: Vec<String> = of(&[], &[]).into_iter().map(|(id, _)| id).collect();
        assert_eq!(ids, ["z", "$", "+"]);
    }

    #[test]
    fn every_set_of_patterns_that_something_fits_has_one() {
        let sets: BTreeSet<Vec<bool>> = of(&["a*", "*b", "a-b"], &[]).into_iter().map(|(_, fits)| fits).collect();
        let expected = [[false; 3], [true, false, false], [false, true, false], [true, true, false], [true; 3]];
        assert_eq!(sets, expected.into_iter().map(Vec::from).collect());
    }

    #[test]
    fn a_text_has_one_of_its_own() {
        assert!(of(&["d*"], &["d7"]).contains(&("d7".to_owned(), vec![true])));
    }

    #[test]
    fn patterns_that_exclude_each_other_share_none() {
        assert!(!of(&["a*", "b*"], &[]).iter().any(|(_, fits)| fits == &[true, true]));
    }

    #[test]
    fn a_level_with_the_client_id_in_it_is_solved() {
        let shape = |level: &str| Shape::new(level, "%c");
        assert_eq!(shape("dev-%c").solve("dev-7"), Some("7".to_owned()));
        assert_eq!(shape("%c-%c").solve("a-a"), Some("a".to_owned()));
        for (level, text) in [("dev-%c", "dev-"), ("dev-%c", "x-7"), ("%c-%c", "a-b"), ("%c.%c", "a")] {
            assert_eq!(shape(level).solve(text), None, "{level} {text}");
        }
        assert_eq!(shape("%cab").meets(&shape("ab%c")), ["ab", "abab"]);
        assert_eq!(shape("%cx").meets(&shape("y%c")), [""; 0]);
    }

    #[test]
    fn what_would_take_too_long_is_given_up() {
        let wild: Pieces = "*a".repeat(12).split('*').map(str::to_owned).collect();
        let many: Vec<Pieces> =
            ["b", "c", "d", "e"].map(|char| wild.iter().map(|it| it.replace('a', char)).collect()).into();
        assert!(representatives(&many, &BTreeSet::new()).is_err());
    }
}
