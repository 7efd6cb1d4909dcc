//! Which client ids a device or a role may use.

use std::fmt;

use thiserror::Error;

use super::placeholder::{Names, Part, Placeholder, PlaceholderError};
use super::topic::MAX_BYTES;

/// Why a text is not a pattern for client ids.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ClientIdError {
    #[error("a client id pattern cannot be empty")]
    Empty,
    #[error("a client id has at most {MAX_BYTES} bytes, this pattern has {bytes}")]
    TooLong { bytes: usize },
    #[error("a client id cannot hold a NUL character")]
    Nul,
    #[error("`%c` cannot be part of a client id pattern: it is the client id itself")]
    Itself,
    #[error(transparent)]
    Placeholder(#[from] PlaceholderError),
}

/// A client id with `%u`, `%{attribute}`, `%%`, and `*` for any run of characters, also none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientIdPattern(Box<Pattern>);

/// Behind a pointer, because every device has room for a pattern, and hardly any has one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    source: Box<str>,
    /// What comes before the first `*`.
    head: Segment,
    /// What comes between two `*`.
    middle: Box<[Segment]>,
    /// What comes after the last `*`, if there is one.
    tail: Option<Segment>,
}

impl ClientIdPattern {
    /// Reads a pattern.
    pub fn parse(source: &str) -> Result<Self, ClientIdError> {
        if source.is_empty() {
            return Err(ClientIdError::Empty);
        }
        if source.len() > MAX_BYTES {
            return Err(ClientIdError::TooLong { bytes: source.len() });
        }
        if source.contains('\0') {
            return Err(ClientIdError::Nul);
        }
        let mut head = None;
        let mut middle = Vec::new();
        let mut current = Vec::new();
        let mut close = |segment: Vec<Part>| match head {
            None => head = Some(Segment(segment.into())),
            Some(_) => middle.push(Segment(segment.into())),
        };
        for part in Part::parse_all(source)? {
            match part {
                Part::Text(text) => {
                    let mut pieces = text.split('*');
                    current
                        .extend(pieces.next().filter(|piece| !piece.is_empty()).map(|piece| Part::Text(piece.into())));
                    for piece in pieces {
                        close(std::mem::take(&mut current));
                        current.extend(
                            Some(piece).filter(|piece| !piece.is_empty()).map(|piece| Part::Text(piece.into())),
                        );
                    }
                }
                Part::Value(Placeholder::ClientId) => return Err(ClientIdError::Itself),
                part @ Part::Value(_) => current.push(part),
            }
        }
        let last = Segment(current.into());
        let source = source.into();
        // `**` says no more than `*`.
        middle.retain(|segment| !segment.0.is_empty());
        Ok(Self(Box::new(match head {
            None => Pattern { source, head: last, middle: middle.into(), tail: None },
            Some(head) => Pattern { source, head, middle: middle.into(), tail: Some(last) },
        })))
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.0.source
    }

    /// The texts around each `*`, with the values put in: one more than there are `*`. `None` where an attribute is
    /// missing or empty, so that nothing fits.
    #[must_use]
    pub fn pieces(&self, names: &Names<'_>) -> Option<Vec<String>> {
        let text = |segment: &Segment| segment.0.iter().map(|part| part.text(names)).collect::<Option<String>>();
        std::iter::once(&self.0.head).chain(&self.0.middle).chain(&self.0.tail).map(text).collect()
    }

    /// Whether a device's own name is part of it.
    #[must_use]
    pub fn names_the_device(&self) -> bool {
        let names = |part: &Part| matches!(part, Part::Value(Placeholder::Device));
        std::iter::once(&self.0.head)
            .chain(&self.0.middle)
            .chain(&self.0.tail)
            .any(|segment| segment.0.iter().any(names))
    }

    /// Whether this client id fits. It does not where an attribute is missing or empty.
    ///
    /// Time is at most the product of both lengths: every segment takes the first place where it fits, and no later
    /// segment can be helped by a later place, so nothing is ever tried again.
    pub fn matches(&self, client_id: &str, names: &Names<'_>) -> bool {
        let complete = |segment: &Segment| segment.is_complete(names);
        if !(complete(&self.0.head) && self.0.middle.iter().all(complete) && self.0.tail.iter().all(complete)) {
            return false;
        }
        let Some(mut rest) = self.0.head.strip_from(client_id, names) else { return false };
        let Some(tail) = &self.0.tail else { return rest.is_empty() };
        for segment in &self.0.middle {
            match segment.find_in(rest, names) {
                Some(behind) => rest = behind,
                None => return false,
            }
        }
        tail.ends(rest, names)
    }
}

impl fmt::Display for ClientIdPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.source)
    }
}

/// A run of text and values without a `*`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Segment(Box<[Part]>);

impl Segment {
    fn is_complete(&self, names: &Names<'_>) -> bool {
        self.0.iter().all(|part| part.text(names).is_some())
    }

    /// What is left of a text that begins with this segment.
    fn strip_from<'t>(&self, text: &'t str, names: &Names<'_>) -> Option<&'t str> {
        self.0.iter().try_fold(text, |rest, part| rest.strip_prefix(part.text(names)?))
    }

    /// Whether a text ends with this segment.
    fn ends(&self, text: &str, names: &Names<'_>) -> bool {
        self.0.iter().rev().try_fold(text, |rest, part| rest.strip_suffix(part.text(names)?)).is_some()
    }

    /// What is left of a text behind the first place where this segment is found.
    fn find_in<'t>(&self, text: &'t str, names: &Names<'_>) -> Option<&'t str> {
        if let [part] = &*self.0 {
            return text.split_once(part.text(names)?).map(|(_, behind)| behind);
        }
        text.char_indices().find_map(|(at, _)| self.strip_from(text.get(at..)?, names))
    }
}

impl Part {
    fn text<'a>(&'a self, names: &Names<'a>) -> Option<&'a str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Value(placeholder) => names.value(placeholder),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::placeholder::Attributes;
    use super::*;

    #[track_caller]
    fn matches(pattern: &str, client_id: &str) -> bool {
        let attributes = Attributes::from_iter([("line", "l7"), ("none", ""), ("star", "*")]);
        let names = Names { device: "d1", client_id: None, attributes: &attributes };
        ClientIdPattern::parse(pattern).unwrap().matches(client_id, &names)
    }

    #[test]
    fn a_pattern_is_compared_with_the_whole_client_id() {
        for (pattern, fits, differs) in [
            ("%u", "d1", "d12"),
            ("%u", "d1", "xd1"),
            ("%u-*", "d1-", "d1"),
            ("%u-*", "d1-a-b", "d2-a"),
            ("*-%u", "x-d1", "x-d1-"),
            ("*", "", "no difference"),
            ("a*b*c", "abc", "acb"),
            ("a*b*c", "aXbbYbc", "aXc"),
            ("a*a", "aa", "a"),
            ("*%u-%{line}*", "..d1-d1-l7..", "..d1-l8.."),
            ("**a**", "xay", "xy"),
            ("50%%*", "50%", "50"),
            ("%{line}", "l7", "l"),
        ] {
            assert!(matches(pattern, fits), "{pattern} {fits}");
            assert!(pattern == "*" || !matches(pattern, differs), "{pattern} {differs}");
        }
    }

    #[test]
    fn a_missing_or_empty_attribute_fits_nothing() {
        for pattern in ["%{none}", "%{absent}", "*%{none}*", "a*%{absent}", "*%{absent}*x"] {
            for client_id in ["", "a", "*", "x"] {
                assert!(!matches(pattern, client_id), "{pattern} {client_id:?}");
            }
        }
    }

    #[test]
    fn a_star_in_a_value_is_a_star() {
        assert!(matches("%{star}", "*"));
        assert!(!matches("%{star}", "anything"));
    }

    #[test]
    fn characters_of_several_bytes_are_whole() {
        assert!(matches("*é-%u*", "àéé-d1ü"));
    }

    #[test]
    fn many_stars_take_no_exponential_time() {
        let pattern = "a*".repeat(2000) + "b";
        assert!(!matches(&pattern, &"a".repeat(60_000)));
    }

    #[test]
    fn what_cannot_be_a_client_id_is_an_error() {
        assert_eq!(ClientIdPattern::parse(""), Err(ClientIdError::Empty));
        assert_eq!(ClientIdPattern::parse("a\0"), Err(ClientIdError::Nul));
        assert_eq!(ClientIdPattern::parse("%c"), Err(ClientIdError::Itself));
        assert!(matches!(ClientIdPattern::parse("%x"), Err(ClientIdError::Placeholder(_))));
    }
}
