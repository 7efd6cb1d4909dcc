//! Bytes as hexadecimal digits and back.
//!
//! Not by a lookup table: what passes through here is secret, and a table is read at an address that depends on it.

/// The two lower-case digits of a byte.
pub(super) const fn digits(byte: u8) -> [u8; 2] {
    [digit(byte >> 4), digit(byte & 0x0f)]
}

const fn digit(nibble: u8) -> u8 {
    // 39 is the distance from the byte after `9` to `a`, added where the nibble exceeds 9.
    let letter = (9_u8.wrapping_sub(nibble) >> 7) * 39;
    b'0' + nibble + letter
}

/// The byte that two digits stand for, in either case; `None` for anything else.
pub(super) const fn byte(high: u8, low: u8) -> Option<u8> {
    match (nibble(high), nibble(low)) {
        (Some(high), Some(low)) => Some(high << 4 | low),
        _ => None,
    }
}

const fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// Reads pairs of digits into `bytes`, which they must fill exactly.
pub(super) fn decode_into(text: &[u8], bytes: &mut [u8]) -> Option<()> {
    let (pairs, rest) = text.as_chunks::<2>();
    if !rest.is_empty() || pairs.len() != bytes.len() {
        return None;
    }
    for (slot, [high, low]) in bytes.iter_mut().zip(pairs) {
        *slot = byte(*high, *low)?;
    }
    Some(())
}

/// Appends the digits of `bytes` to `text`, which must have room for them where they are secret.
pub(super) fn push(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        for digit in digits(*byte) {
            text.push(char::from(digit));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_two_digits_and_they_mean_it() {
        for value in 0..=u8::MAX {
            let [high, low] = digits(value);
            assert_eq!(format!("{value:02x}").as_bytes(), [high, low]);
            assert_eq!(byte(high, low), Some(value));
            assert_eq!(byte(high.to_ascii_uppercase(), low.to_ascii_uppercase()), Some(value));
        }
    }

    #[test]
    fn what_is_not_a_digit_is_refused() {
        for not_a_digit in [b'g', b'G', b' ', b'/', b':', b'@', b'`', 0, 0xff] {
            assert_eq!(byte(not_a_digit, b'0'), None);
            assert_eq!(byte(b'0', not_a_digit), None);
        }
    }

    #[test]
    fn the_length_must_fit() {
        let mut two = [0; 2];
        assert_eq!(decode_into(b"0a0B", &mut two), Some(()));
        assert_eq!(two, [10, 11]);
        for wrong in ["", "0", "0a", "0a0", "0a0b0", "0a0b0c"] {
            assert_eq!(decode_into(wrong.as_bytes(), &mut two), None, "{wrong}");
        }
    }
}
