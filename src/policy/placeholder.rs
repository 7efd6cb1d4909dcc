//! `%u`, `%c` and `%{attribute}`: how they are written, and what they stand for.
//!
//! A value is compared with the text of a level, never pasted into a filter, so it cannot bring a wildcard or a slash.

use std::fmt;

use thiserror::Error;

/// Why a text with placeholders cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PlaceholderError {
    #[error("unknown placeholder `%{0}`; there are `%u`, `%c` and `%{{attribute}}`, and `%%` for a percent sign")]
    Unknown(char),
    #[error("a `%` stands at the end of a level; a percent sign is written `%%`")]
    Lone,
    #[error("`%{{{0}` has no closing brace in its level")]
    Unclosed(Box<str>),
    #[error("`{0}` cannot be the name of an attribute here: it is empty or holds one of `/ + # % {{ }}`")]
    BadAttribute(Box<str>),
}

/// What placeholders stand for in one question.
#[derive(Debug, Clone, Copy)]
pub struct Names<'a> {
    /// The device's name: `%u`.
    pub device: &'a str,
    /// The client id, where one is known: `%c`.
    pub client_id: Option<&'a str>,
    /// The device's attributes: `%{attribute}`.
    pub attributes: &'a Attributes,
}

impl<'a> Names<'a> {
    /// The value of a placeholder; an empty one is as good as none.
    pub(super) fn value(&self, placeholder: &Placeholder) -> Option<&'a str> {
        let value = match placeholder {
            Placeholder::Device => Some(self.device),
            Placeholder::ClientId => self.client_id,
            Placeholder::Attribute(name) => self.attributes.get(name),
        };
        value.filter(|value| !value.is_empty())
    }

    /// The value of a placeholder, if it can be part of one topic level.
    pub(super) fn level_value(&self, placeholder: &Placeholder) -> Option<&'a str> {
        let fits = |value: &&str| !value.bytes().any(|byte| matches!(byte, 0 | b'+' | b'#' | b'/'));
        self.value(placeholder).filter(fits)
    }
}

/// The attributes of a device, by name.
///
/// Behind one pointer, because nearly every device has none, and all have room for it.
#[expect(clippy::box_collection, reason = "a vector takes three words where it is empty, and a pointer one")]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attributes(Option<Box<Vec<Attribute>>>);

/// A name and its value.
type Attribute = (Box<str>, Box<str>);

impl Attributes {
    /// The value of this attribute.
    pub fn get(&self, name: &str) -> Option<&str> {
        let all = self.all();
        let at = all.binary_search_by(|(known, _)| (**known).cmp(name)).ok()?;
        all.get(at).map(|(_, value)| &**value)
    }

    /// All attributes, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.all().iter().map(|(name, value)| (&**name, &**value))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    fn all(&self) -> &[Attribute] {
        self.0.as_deref().map_or(&[], Vec::as_slice)
    }
}

impl<N: Into<Box<str>>, V: Into<Box<str>>> FromIterator<(N, V)> for Attributes {
    /// Where a name comes twice, its last value stays.
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let mut pairs: Vec<Attribute> = pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        pairs.reverse();
        pairs.sort_by(|(a, _), (b, _)| a.cmp(b));
        pairs.dedup_by(|(later, _), (kept, _)| later == kept);
        pairs.shrink_to_fit();
        Self((!pairs.is_empty()).then(|| Box::new(pairs)))
    }
}

/// Something that a device's value is put in for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Placeholder {
    /// `%u`
    Device,
    /// `%c`
    ClientId,
    /// `%{attribute}`
    Attribute(Box<str>),
}

impl fmt::Display for Placeholder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device => f.write_str("%u"),
            Self::ClientId => f.write_str("%c"),
            Self::Attribute(name) => write!(f, "%{{{name}}}"),
        }
    }
}

/// A piece of a text with placeholders.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Text(Box<str>),
    Value(Placeholder),
}

impl Part {
    /// Reads a text with placeholders. No two texts follow each other, and none is empty.
    pub(super) fn parse_all(text: &str) -> Result<Vec<Self>, PlaceholderError> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('%') {
            literal.push_str(before);
            let mut chars = after.chars();
            let sign = chars.next().ok_or(PlaceholderError::Lone)?;
            rest = chars.as_str();
            let placeholder = match sign {
                '%' => {
                    literal.push('%');
                    continue;
                }
                'u' => Placeholder::Device,
                'c' => Placeholder::ClientId,
                '{' => {
                    let (name, behind) = rest.split_once('}').ok_or_else(|| PlaceholderError::Unclosed(rest.into()))?;
                    if name.is_empty() || name.contains(['/', '+', '#', '%', '{', '\0']) {
                        return Err(PlaceholderError::BadAttribute(name.into()));
                    }
                    rest = behind;
                    Placeholder::Attribute(name.into())
                }
                other => return Err(PlaceholderError::Unknown(other)),
            };
            if !literal.is_empty() {
                parts.push(Self::Text(std::mem::take(&mut literal).into()));
            }
            parts.push(Self::Value(placeholder));
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Self::Text(literal.into()));
        }
        Ok(parts)
    }
}

/// A topic level that holds at least one placeholder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LevelPattern(pub(super) Box<[Part]>);

impl LevelPattern {
    /// Whether a level of a valid topic name or filter is equal to this one.
    ///
    /// Such a level holds no character that would make a value unusable, but for the `+` of a filter.
    pub(super) fn equals(&self, level: &str, names: &Names<'_>) -> bool {
        let mut rest = level;
        for part in &self.0 {
            let text = match part {
                Part::Text(text) => Some(&**text),
                Part::Value(placeholder) => names.value(placeholder),
            };
            match text.and_then(|text| rest.strip_prefix(text)) {
                Some(behind) => rest = behind,
                None => return false,
            }
        }
        rest.is_empty() && level != "+"
    }

    /// Whether it begins with what somebody else may choose.
    pub(super) fn begins_with_value(&self) -> bool {
        matches!(self.0.first(), Some(Part::Value(_)))
    }

    /// The level with its values put in, for people to read.
    pub(super) fn text(&self, names: &Names<'_>) -> String {
        let mut whole = String::new();
        for part in &self.0 {
            whole.push_str(match part {
                Part::Text(text) => text,
                Part::Value(placeholder) => names.level_value(placeholder).unwrap_or_default(),
            });
        }
        whole
    }

    /// The first placeholder without a usable value.
    pub(super) fn missing(&self, names: &Names<'_>) -> Option<&Placeholder> {
        self.0.iter().find_map(|part| match part {
            Part::Value(placeholder) if names.level_value(placeholder).is_none() => Some(placeholder),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    enum Fit {
        Equal,
        Different,
        Unknown,
    }

    fn fit(pattern: &str, level: &str, device: &str) -> Fit {
        let attributes = Attributes::from_iter([("site", "s1"), ("none", ""), ("wild", "+")]);
        let names = Names { device, client_id: None, attributes: &attributes };
        let pattern = LevelPattern(Part::parse_all(pattern).unwrap().into());
        match pattern.missing(&names) {
            Some(_) => Fit::Unknown,
            None if pattern.equals(level, &names) => Fit::Equal,
            None => Fit::Different,
        }
    }

    #[test]
    fn a_plus_that_is_asked_for_equals_no_value() {
        let attributes = Attributes::from_iter([("wild", "+")]);
        for device in ["+", "d1", ""] {
            let names = Names { device, client_id: Some("+"), attributes: &attributes };
            for pattern in ["%u", "%c", "%{wild}"] {
                let pattern = LevelPattern(Part::parse_all(pattern).unwrap().into());
                assert!(!pattern.equals("+", &names));
            }
        }
    }

    #[test]
    fn a_value_is_compared_with_the_whole_level() {
        assert_eq!(fit("%u", "d1", "d1"), Fit::Equal);
        assert_eq!(fit("%u", "d12", "d1"), Fit::Different);
        assert_eq!(fit("%u", "d", "d1"), Fit::Different);
        assert_eq!(fit("dev-%u-x", "dev-d1-x", "d1"), Fit::Equal);
        assert_eq!(fit("%u%{site}", "d1s1", "d1"), Fit::Equal);
        assert_eq!(fit("100%%%u", "100%d1", "d1"), Fit::Equal);
    }

    #[test]
    fn a_value_that_cannot_be_part_of_a_level_is_unknown() {
        for device in ["", "+", "#", "a/b", "a\0", "a+"] {
            assert_eq!(fit("%u", device, device), Fit::Unknown, "{device:?}");
        }
        for pattern in ["%c", "%{none}", "%{absent}", "%{wild}", "%u%{absent}"] {
            assert_eq!(fit(pattern, "+", "d1"), Fit::Unknown, "{pattern}");
        }
    }

    #[test]
    fn what_is_not_a_placeholder_is_an_error() {
        assert_eq!(Part::parse_all("%x"), Err(PlaceholderError::Unknown('x')));
        assert_eq!(Part::parse_all("a%"), Err(PlaceholderError::Lone));
        assert_eq!(Part::parse_all("%{a"), Err(PlaceholderError::Unclosed("a".into())));
        assert_eq!(Part::parse_all("%{}"), Err(PlaceholderError::BadAttribute("".into())));
        assert_eq!(Part::parse_all("%{%u}"), Err(PlaceholderError::BadAttribute("%u".into())));
    }

    #[test]
    fn the_last_value_of_an_attribute_stays() {
        let attributes = Attributes::from_iter([("b", "1"), ("a", "2"), ("b", "3")]);
        assert_eq!(attributes.iter().collect::<Vec<_>>(), [("a", "2"), ("b", "3")]);
        assert_eq!(attributes.get("b"), Some("3"));
        assert_eq!(attributes.get("c"), None);
    }
}
