//! Which Mosquitto this is. No broker tells its plugins; but its program holds its version, as the only text of that
//! form.

use std::fs;
use std::path::PathBuf;

/// The version of the broker whose program has this address in it; `unknown` where it does not say so clearly.
pub(super) fn of_program_at(address: usize) -> String {
    let program = fs::read_to_string("/proc/self/maps").ok().and_then(|maps| file_at(&maps, address));
    let text = program.and_then(|path| fs::read(path).ok()).unwrap_or_default();
    only_version(&text).unwrap_or("unknown").to_owned()
}

/// The file that is mapped at this address, as proc(5) describes them.
fn file_at(maps: &str, address: usize) -> Option<PathBuf> {
    maps.lines().find_map(|line| {
        let (range, rest) = line.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        let number = |digits| usize::from_str_radix(digits, 16).ok();
        let holds = (number(start)?..number(end)?).contains(&address);
        holds.then(|| rest.find('/').and_then(|at| rest.get(at..)).map(PathBuf::from)).flatten()
    })
}

/// The one text, between two NULs, that is three numbers with dots in between.
fn only_version(bytes: &[u8]) -> Option<&str> {
    let is_version = |text: &&str| {
        let is_number = |part: &str| (1..=4).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
        text.len() <= 12 && text.split('.').count() == 3 && text.split('.').all(is_number)
    };
    let texts = bytes.split(|byte| *byte == 0).filter(|text| (5..=12).contains(&text.len()));
    let mut versions = texts.filter_map(|text| str::from_utf8(text).ok()).filter(is_version);
    let first = versions.next()?;
    versions.all(|other| other == first).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_told_if_there_is_only_one() {
        for (bytes, version) in [
            (&b"a\0mosquitto version %s\x002.0.21\0b"[..], Some("2.0.21")),
            (b"x\x002.1.2\0y\x002.1.2\0", Some("2.1.2")),
            (b"x\x002.1.2\0y\x001.3.1\0", None),
            (b"x\x002.1\x00127.0.0.1\x00v2.1.2\0", None),
            (b"", None),
        ] {
            assert_eq!(only_version(bytes), version, "{bytes:?}");
        }
    }

    #[test]
    fn a_file_is_found_by_an_address_in_it() {
        let maps = "5600-5700 r--p 00000000 08:01 42   /usr/sbin/a b\n5700-5800 rw-p 00000000 00:00 0 \n";
        assert_eq!(file_at(maps, 0x56ff), Some(PathBuf::from("/usr/sbin/a b")));
        assert_eq!(file_at(maps, 0x5700), None);
        assert_eq!(file_at(maps, 0x5800), None);
    }
}
