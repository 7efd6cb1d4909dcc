//! The elements of DER (X.690, section 8.1), one at a time: for what has to be read to its last byte.
//!
//! What they mean is for others. The parsers that we use stop, here and there, at what they cannot read and leave the
//! rest of a sequence unseen; where that could hide something, this is asked as well.

/// One element.
#[derive(Debug, Clone, Copy)]
pub(super) struct Element<'a> {
    /// Its identifier octet: class, constructed or not, number.
    pub(super) tag: u8,
    pub(super) content: &'a [u8],
    /// The content with tag and length before it.
    pub(super) whole: &'a [u8],
}

pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
#[cfg(test)]
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OID: u8 = 0x06;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;

/// The first element, and what follows it. Its tag has one byte, its length is definite and as short as can be.
pub(super) fn element(input: &[u8]) -> Option<(Element<'_>, &[u8])> {
    let (&tag, rest) = input.split_first()?;
    if tag & 0x1f == 0x1f {
        return None;
    }
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        if bytes.is_empty() || bytes.len() > 4 || bytes.first() == Some(&0) {
            return None;
        }
        let length = bytes.iter().fold(0_usize, |length, byte| length << 8 | usize::from(*byte));
        if length < 0x80 {
            return None;
        }
        (length, rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    let whole = input.get(..input.len() - rest.len())?;
    Some((Element { tag, content, whole }, rest))
}

/// The content of this one element, if it has this tag and nothing follows it.
pub(super) fn only(input: &[u8], tag: u8) -> Option<&[u8]> {
    match element(input)? {
        (element, []) if element.tag == tag => Some(element.content),
        _ => None,
    }
}

/// All elements, to the end.
pub(super) fn elements(mut input: &[u8]) -> Option<Vec<Element<'_>>> {
    let mut all = Vec::new();
    while !input.is_empty() {
        let (next, rest) = element(input)?;
        all.push(next);
        input = rest;
    }
    Some(all)
}

/// Whether this is something that was signed: what, by which algorithm, and the signature (RFC 5280, sections 4.1.1 and
/// 5.1.1). The algorithm must be the one that is named in what is signed.
pub(super) fn is_signed(input: &[u8]) -> bool {
    let parts = only(input, SEQUENCE).and_then(elements).unwrap_or_default();
    let [data, algorithm, signature] = parts.as_slice() else { return false };
    let inner = elements(data.content).unwrap_or_default();
    data.tag == SEQUENCE
        && inner.iter().find(|part| part.tag == SEQUENCE).is_some_and(|inner| inner.whole == algorithm.whole)
        && signature.tag == BIT_STRING
        && signature.content.first() == Some(&0)
}

/// The digits of a non-negative INTEGER without leading zeros; `None` for a negative one.
pub(super) fn unsigned(content: &[u8]) -> Option<String> {
    let first = *content.first()?;
    (first < 0x80).then(|| digits(content))
}

/// These bytes as one number, in lower-case hexadecimal digits without leading zeros.
pub(super) fn digits(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    super::hex::push(&mut text, bytes);
    match text.find(|digit| digit != '0') {
        Some(zeros) => drop(text.drain(..zeros)),
        None => text.replace_range(.., "0"),
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_ends_where_its_length_says() {
        let (found, rest) = element(&[0x02, 0x01, 0x05, 0xff]).unwrap();
        assert_eq!((found.tag, found.content, found.whole, rest), (2, &[5][..], &[2, 1, 5][..], &[0xff][..]));
        let long = [&[0x04, 0x81, 0x80][..], &[7; 128]].concat();
        assert_eq!(only(&long, OCTET_STRING).unwrap(), [7; 128]);
    }

    #[test]
    fn what_is_not_der_is_no_element() {
        for wrong in [
            &[][..],
            &[0x02],
            &[0x02, 0x01],
            &[0x30, 0x80, 0, 0],
            &[0x04, 0x81, 0x01, 0],
            &[0x04, 0x82, 0x00, 0x81],
            &[0x04, 0x85, 0, 0, 0, 0, 1, 0],
            &[0x04, 0x84, 0xff, 0xff, 0xff, 0xff],
            &[0x1f, 0x01, 0x00],
        ] {
            assert!(element(wrong).is_none(), "{wrong:x?}");
        }
        assert!(only(&[2, 1, 5, 0], INTEGER).is_none());
        assert!(only(&[2, 1, 5], OID).is_none());
        assert!(elements(&[2, 1, 5, 2]).is_none());
    }

    #[test]
    fn a_number_has_no_leading_zeros() {
        for (bytes, expected) in [(&[0][..], "0"), (&[0, 0], "0"), (&[0, 0x8a], "8a"), (&[0x0a, 0], "a00"), (&[], "0")]
        {
            assert_eq!(digits(bytes), expected);
        }
        assert_eq!(unsigned(&[0x80]), None);
        assert_eq!(unsigned(&[]), None);
        assert_eq!(unsigned(&[0, 0x80]).as_deref(), Some("80"));
    }
}
