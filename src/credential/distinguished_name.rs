//! Distinguished names: read from certificates (RFC 5280, section 4.1.2.4), read and written as text (RFC 4514), and
//! compared.
//!
//! Two names are the same if their canonical forms are: there, case, the order of the parts, and blanks make no
//! difference, nor do the string type of a value and the way in which it was written as text.

use std::fmt::Write as _;

use super::der;
use super::hex;

/// A distinguished name: relative ones, from the root on, each of one or more attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(Vec<Vec<Attribute>>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Attribute {
    /// Its type, as numbers with dots between them.
    kind: String,
    value: Value,
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    Text(String),
    /// A string in which bytes beyond ASCII mean what the sender pleases; OpenSSL takes them for Latin-1, and so does
    /// this, for comparing.
    Guess(String),
    /// Of a type that is no string, or no valid one, in DER.
    Other(Vec<u8>),
}

/// The short names of attribute types (RFC 4514, section 3; for others what OpenSSL writes). Where a type has several,
/// the first is written and all are read.
const KINDS: [(&str, &str); 42] = [
    ("CN", "2.5.4.3"),
    ("L", "2.5.4.7"),
    ("ST", "2.5.4.8"),
    ("S", "2.5.4.8"),
    ("O", "2.5.4.10"),
    ("OU", "2.5.4.11"),
    ("C", "2.5.4.6"),
    ("STREET", "2.5.4.9"),
    ("DC", "0.9.2342.19200300.100.1.25"),
    ("UID", "0.9.2342.19200300.100.1.1"),
    ("emailAddress", "1.2.840.113549.1.9.1"),
    ("E", "1.2.840.113549.1.9.1"),
    ("email", "1.2.840.113549.1.9.1"),
    ("serialNumber", "2.5.4.5"),
    ("SN", "2.5.4.4"),
    ("surname", "2.5.4.4"),
    ("GN", "2.5.4.42"),
    ("givenName", "2.5.4.42"),
    ("initials", "2.5.4.43"),
    ("generationQualifier", "2.5.4.44"),
    ("title", "2.5.4.12"),
    ("description", "2.5.4.13"),
    ("businessCategory", "2.5.4.15"),
    ("postalCode", "2.5.4.17"),
    ("name", "2.5.4.41"),
    ("dnQualifier", "2.5.4.46"),
    ("pseudonym", "2.5.4.65"),
    ("organizationIdentifier", "2.5.4.97"),
    ("unstructuredName", "1.2.840.113549.1.9.2"),
    ("commonName", "2.5.4.3"),
    ("organizationName", "2.5.4.10"),
    ("organizationalUnitName", "2.5.4.11"),
    ("countryName", "2.5.4.6"),
    ("localityName", "2.5.4.7"),
    ("stateOrProvinceName", "2.5.4.8"),
    ("streetAddress", "2.5.4.9"),
    ("domainComponent", "0.9.2342.19200300.100.1.25"),
    ("userId", "0.9.2342.19200300.100.1.1"),
    ("x500UniqueIdentifier", "2.5.4.45"),
    ("unstructuredAddress", "1.2.840.113549.1.9.8"),
    ("telephoneNumber", "2.5.4.20"),
    ("role", "2.5.4.72"),
];

const COMMON_NAME: &str = "2.5.4.3";

impl Name {
    /// Reads a DER Name, to its last byte.
    pub fn from_der(name: &[u8]) -> Option<Self> {
        let rdns = der::elements(der::only(name, der::SEQUENCE)?)?;
        rdns.iter().map(|rdn| relative(rdn.whole)).collect::<Option<_>>().map(Self)
    }

    /// Reads a name as RFC 4514 or its forerunners write it, or as `openssl x509 -issuer` does.
    ///
    /// Of the values, what blanks they begin and end with is not kept.
    pub fn from_text(text: &str) -> Option<Self> {
        let text = text.trim_start();
        let mut rest = text.strip_prefix("issuer=").or_else(|| text.strip_prefix("subject=")).unwrap_or(text);
        let (mut rdns, mut rdn) = (Vec::new(), Vec::new());
        loop {
            let (kind, after) = rest.split_once('=')?;
            let (value, end, after) = value_of_text(after.trim_start())?;
            rdn.push(Attribute { kind: kind_of_text(kind.trim())?, value });
            if end != Some('+') {
                rdns.push(std::mem::take(&mut rdn));
            }
            if end.is_none() {
                // Text has the root at its end.
                rdns.reverse();
                return Some(Self(rdns));
            }
            rest = after;
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The name as text (RFC 4514).
    pub fn to_rfc4514(&self) -> String {
        let mut text = String::new();
        for (at, rdn) in self.0.iter().rev().enumerate() {
            for (more, attribute) in rdn.iter().enumerate() {
                text.push_str(match (at, more) {
                    (0, 0) => "",
                    (_, 0) => ",",
                    _ => "+",
                });
                attribute.write(&mut text);
            }
        }
        text
    }

    /// The form in which equal names are equal. It is kept nowhere, and only fit for comparing.
    pub fn canonical(&self) -> String {
        let mut rdns: Vec<String> = self.0.iter().map(|rdn| canonical_relative(rdn)).collect();
        rdns.sort_unstable();
        rdns.join(",")
    }

    /// Every common name; `None` stands for one that is no text.
    pub fn common_names(&self) -> impl Iterator<Item = Option<&str>> {
        self.0.iter().flatten().filter(|attribute| attribute.kind == COMMON_NAME).map(|attribute| {
            match &attribute.value {
                Value::Text(text) => Some(text.as_str()),
                Value::Guess(_) | Value::Other(_) => None,
            }
        })
    }

    /// The values that are strings; `None` stands for one whose text can only be guessed.
    pub fn texts(&self) -> impl Iterator<Item = Option<&str>> {
        self.0.iter().flatten().filter_map(|attribute| match &attribute.value {
            Value::Text(text) => Some(Some(text.as_str())),
            Value::Guess(_) => Some(None),
            Value::Other(der) => der.first().is_some_and(|tag| is_string(*tag)).then_some(None),
        })
    }
}

/// A `RelativeDistinguishedName` in DER.
fn relative(rdn: &[u8]) -> Option<Vec<Attribute>> {
    let attributes = der::elements(der::only(rdn, der::SET)?)?;
    if attributes.is_empty() {
        return None;
    }
    let read = |attribute: &der::Element<'_>| {
        let (kind, value) = der::element(der::only(attribute.whole, der::SEQUENCE)?)?;
        let (value, []) = der::element(value)? else { return None };
        Some(Attribute { kind: kind_of_der(kind.whole)?, value: value_of_der(value) })
    };
    attributes.iter().map(read).collect()
}

impl Attribute {
    fn write(&self, text: &mut String) {
        let known = KINDS.iter().find(|(_, kind)| *kind == self.kind);
        match (known, &self.value) {
            (Some((word, _)), Value::Text(value) | Value::Guess(value)) => {
                text.push_str(word);
                text.push('=');
                write_value(text, value);
            }
            // RFC 4514, section 2.4: a type without a short name has a value that is not read as a string.
            (known, value) => {
                text.push_str(known.map_or(self.kind.as_str(), |(word, _)| word));
                text.push_str("=#");
                match value {
                    Value::Other(der) => hex::push(text, der),
                    Value::Text(value) | Value::Guess(value) => hex::push(text, &utf8_string(value)),
                }
            }
        }
    }

    fn canonical(&self) -> String {
        let mut text = format!("{}=", self.kind);
        match &self.value {
            Value::Text(value) | Value::Guess(value) => {
                for (at, word) in value.to_lowercase().split_whitespace().enumerate() {
                    if at > 0 {
                        text.push(' ');
                    }
                    for char in word.chars() {
                        if matches!(char, ',' | '+' | '#' | '\\' | '\0') {
                            text.push('\\');
                        }
                        text.push(if char == '\0' { '0' } else { char });
                    }
                }
            }
            Value::Other(der) => {
                text.push('#');
                hex::push(&mut text, der);
            }
        }
        text
    }
}

fn canonical_relative(rdn: &[Attribute]) -> String {
    let mut attributes: Vec<String> = rdn.iter().map(Attribute::canonical).collect();
    attributes.sort_unstable();
    attributes.join("+")
}

/// Whether a value with this tag is meant to be a string.
const fn is_string(tag: u8) -> bool {
    matches!(tag, 0x0c | 0x12 | 0x13 | 0x14 | 0x16 | 0x1a | 0x1c | 0x1e)
}

/// A value as what its type says (X.680, section 41): strings are decoded.
fn value_of_der(value: der::Element<'_>) -> Value {
    let latin1 = || Value::Guess(value.content.iter().copied().map(char::from).collect());
    let text = match value.tag {
        0x0c => str::from_utf8(value.content).ok().map(|text| Value::Text(text.to_owned())),
        // NumericString, PrintableString, IA5String, VisibleString.
        0x12 | 0x13 | 0x16 | 0x1a => match str::from_utf8(value.content) {
            Ok(text) if text.is_ascii() => Some(Value::Text(text.to_owned())),
            _ => Some(latin1()),
        },
        // TeletexString, also called T61String.
        0x14 => Some(latin1()),
        // UniversalString: four bytes a character.
        0x1c => {
            let (quads, rest) = value.content.as_chunks::<4>();
            let chars = quads.iter().map(|quad| char::from_u32(u32::from_be_bytes(*quad))).collect::<Option<String>>();
            chars.filter(|_| rest.is_empty()).map(Value::Text)
        }
        // BMPString: two bytes a character, and none beyond those.
        0x1e => {
            let (pairs, rest) = value.content.as_chunks::<2>();
            let char = |pair: &[u8; 2]| char::from_u32(u32::from(u16::from_be_bytes(*pair)));
            let chars = pairs.iter().map(char).collect::<Option<String>>();
            chars.filter(|_| rest.is_empty()).map(Value::Text)
        }
        _ => None,
    };
    text.unwrap_or_else(|| Value::Other(value.whole.to_vec()))
}

/// A text as `UTF8String`, in DER.
fn utf8_string(text: &str) -> Vec<u8> {
    let length = text.len().to_be_bytes();
    let short: Vec<u8> = length.iter().copied().skip_while(|byte| *byte == 0).collect();
    let mut der = vec![0x0c];
    match (short.as_slice(), short.len()) {
        ([], _) => der.push(0),
        ([one], _) if *one < 0x80 => der.push(*one),
        (bytes, count) => {
            der.push(0x80 | u8::try_from(count).unwrap_or(0x7f));
            der.extend_from_slice(bytes);
        }
    }
    der.extend_from_slice(text.as_bytes());
    der
}

/// The numbers of an OBJECT IDENTIFIER (X.690, section 8.19).
fn kind_of_der(oid: &[u8]) -> Option<String> {
    let content = der::only(oid, der::OID)?;
    let mut text = String::new();
    let mut arc: u128 = 0;
    for (at, byte) in content.iter().enumerate() {
        arc = arc.checked_mul(128)? | u128::from(byte & 0x7f);
        if byte & 0x80 != 0 {
            // A number that begins with a zero, or that does not end.
            if (arc == 0) || at + 1 == content.len() {
                return None;
            }
            continue;
        }
        if text.is_empty() {
            let root = (arc / 40).min(2);
            write!(text, "{root}.{}", arc - 40 * root).ok()?;
        } else {
            write!(text, ".{arc}").ok()?;
        }
        arc = 0;
    }
    (!text.is_empty()).then_some(text)
}

/// An attribute type as text: a short name, or numbers.
fn kind_of_text(kind: &str) -> Option<String> {
    if let Some((_, oid)) = KINDS.iter().find(|(word, _)| word.eq_ignore_ascii_case(kind)) {
        return Some((*oid).to_owned());
    }
    let numbers = kind.strip_prefix("OID.").or_else(|| kind.strip_prefix("oid.")).unwrap_or(kind);
    let mut text = String::new();
    for (at, number) in numbers.split('.').enumerate() {
        if at > 0 {
            text.push('.');
        }
        if !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        write!(text, "{}", number.parse::<u128>().ok()?).ok()?;
    }
    text.contains('.').then_some(text)
}

/// Writes a value with what has to be escaped (RFC 4514, section 2.4), and control characters as well.
fn write_value(text: &mut String, value: &str) {
    let last = value.chars().count().saturating_sub(1);
    for (at, char) in value.chars().enumerate() {
        match char {
            ' ' if at == 0 || at == last => text.push_str("\\ "),
            '#' if at == 0 => text.push_str("\\#"),
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => text.extend(['\\', char]),
            _ if char.is_control() => {
                for byte in char.encode_utf8(&mut [0; 4]).bytes() {
                    text.push('\\');
                    hex::push(text, &[byte]);
                }
            }
            _ => text.push(char),
        }
    }
}

/// The value that a text begins with, what ends it (`None`: the end of the text), and what follows.
fn value_of_text(text: &str) -> Option<(Value, Option<char>, &str)> {
    if let Some(digits) = text.strip_prefix('#') {
        let (digits, end, rest) = up_to_separator(digits);
        let digits = digits.trim_end();
        let mut bytes = vec![0; digits.len() / 2];
        hex::decode_into(digits.as_bytes(), &mut bytes)?;
        let (element, []) = der::element(&bytes)? else { return None };
        return Some((value_of_der(element), end, rest));
    }
    let (quoted, mut chars) = match text.strip_prefix('"') {
        Some(inner) => (true, inner.chars()),
        None => (false, text.chars()),
    };
    // Bytes, because a character may be written as several that are escaped one by one.
    let mut bytes = Vec::new();
    let end = loop {
        match chars.next() {
            None if quoted => return None,
            None => break None,
            Some('"') if quoted => {
                let (blanks, end, rest) = up_to_separator(chars.as_str());
                if !blanks.trim().is_empty() {
                    return None;
                }
                chars = rest.chars();
                break end;
            }
            Some('"') => return None,
            Some(end @ (',' | ';' | '+')) if !quoted => break Some(end),
            Some('\\') => match chars.next()? {
                special @ (' ' | '"' | '#' | '+' | ',' | ';' | '<' | '=' | '>' | '\\') => push(&mut bytes, special),
                high => {
                    let (high, low) = (u8::try_from(high).ok()?, u8::try_from(chars.next()?).ok()?);
                    bytes.push(hex::byte(high, low)?);
                }
            },
            Some(char) => push(&mut bytes, char),
        }
    };
    let value = String::from_utf8(bytes).ok()?;
    Some((Value::Text(value.trim().to_owned()), end, chars.as_str()))
}

fn push(bytes: &mut Vec<u8>, char: char) {
    bytes.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
}

/// The text before the next separator, the separator, and what follows.
fn up_to_separator(text: &str) -> (&str, Option<char>, &str) {
    match text.split_once([',', ';', '+']) {
        Some((before, rest)) => {
            let end = text.strip_prefix(before).and_then(|rest| rest.chars().next());
            (before, end, rest)
        }
        None => (text, None, ""),
    }
}

#[cfg(test)]
#[path = "distinguished_name_tests.rs"]
mod tests;
