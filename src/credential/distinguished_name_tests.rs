use super::*;
use crate::credential::x509_tests::{CN, UTF8, device, name, openssl, seq, tlv};

fn text(text: &str) -> String {
    Name::from_text(text).unwrap_or_else(|| panic!("{text:?} is a name")).canonical()
}

#[test]
fn spelling_makes_no_difference() {
    let one = text("CN=Fleet CA,O=Example Org,C=NO");
    for same in [
        "cn=fleet ca,o=example org,c=no",
        "C=NO,O=Example Org,CN=Fleet CA",
        "CN = Fleet CA, O = Example Org, C = NO",
        "  CN=Fleet  CA ;O=Example Org; C=NO ",
        "issuer=C = NO, O = \"Example Org\", CN = Fleet CA",
        "2.5.4.3=Fleet CA,OID.2.5.4.10=Example Org,2.5.4.6=NO",
        "commonName=Fleet CA,O=Example Org,countryName=NO",
        "CN=Fleet\\20CA,O=Example\\ Org,C=NO",
        "CN=#0c08466c656574204341,O=Example Org,C=#13024E4F",
    ] {
        assert_eq!(text(same), one, "{same:?}");
    }
}

#[test]
fn what_differs_stays_different() {
    let all = [
        "CN=a",
        "CN=b",
        "O=a",
        "CN=a,O=a",
        "CN=a+O=a",
        "CN=a\\,O=a",
        "CN=a\\+O=a",
        "CN=\\#0c0161",
        "CN=ab",
        "CN=a b",
        "CN=a\\00",
        "CN=a0",
        "CN=a\\\\0",
        "CN=a,CN=a",
        "1.2.3=#030100",
        "1.2.3=\\#030100",
    ];
    for (at, one) in all.iter().enumerate() {
        for other in &all[at + 1..] {
            assert_ne!(text(one), text(other), "{one:?} and {other:?}");
        }
    }
}

#[test]
fn what_is_no_name_is_refused() {
    for wrong in [
        "",
        "CN",
        "=a",
        "CN=a,",
        "CN=a,O",
        "/CN=a/O=b",
        "CN=a\\",
        "CN=a\\g0",
        "CN=a\\0",
        "CN=\"a",
        "CN=\"a\"b",
        "CN=a\"b",
        "XX=a",
        "CN=#",
        "CN=#0",
        "CN=#0c",
        "CN=#0c0161ff",
        "CN=#zz",
        "CN=\\ff",
        "1=a",
        "1..2=a",
        ".1=a",
        "1.+2=a",
        "CN=\\é",
        "340282366920938463463374607431768211456.1=a",
    ] {
        assert_eq!(Name::from_text(wrong), None, "{wrong:?}");
    }
}

#[test]
fn every_string_type_is_decoded() {
    for (tag, bytes, expected) in [
        (0x0c, "é".as_bytes(), Some("é")),
        (0x0c, &b"\xff"[..], None),
        (0x12, b"12", Some("12")),
        (0x13, b"ab", Some("ab")),
        (0x13, b"\xe9", None),
        (0x14, b"ab", None),
        (0x16, b"a@b", Some("a@b")),
        (0x1a, b"ab", Some("ab")),
        (0x1c, b"\0\0\0a\0\x01\xf6\x00", Some("a\u{1f600}")),
        (0x1c, b"\0\0\0", None),
        (0x1c, b"\0\x11\0\0", None),
        (0x1e, b"\0a\x20\xac", Some("a€")),
        (0x1e, b"\0", None),
        (0x1e, b"\xd8\x3d\xde\x00", None),
        (0x02, b"\x05", None),
        (0x2c, b"\x0c\x01a", None),
    ] {
        let name = Name::from_der(&name(&[(CN, tag, bytes)])).unwrap();
        assert_eq!(name.common_names().collect::<Vec<_>>(), [expected], "{tag:x} {bytes:x?}");
        assert_eq!(text(&name.to_rfc4514()), name.canonical());
    }
}

#[test]
fn string_types_make_no_difference_either() {
    let canonical = |tag, bytes: &[u8]| Name::from_der(&name(&[(CN, tag, bytes)])).unwrap().canonical();
    assert_eq!(canonical(0x0c, "Øst".as_bytes()), canonical(0x1e, b"\0\xd8\0s\0t"));
    assert_eq!(canonical(0x0c, "Øst".as_bytes()), canonical(0x14, b"\xd8st"));
    assert_eq!(canonical(0x0c, b"ab"), canonical(0x13, b"AB"));
}

#[test]
fn a_name_is_read_to_its_last_byte() {
    let good = tlv(0x31, &[&seq(&[&[6, 3, 0x55, 4, 3], &tlv(UTF8, &[b"a"])])]);
    assert!(Name::from_der(&seq(&[&good])).is_some());
    assert!(Name::from_der(&seq(&[])).unwrap().is_empty());
    for wrong in [
        [seq(&[&good]), vec![0]].concat(),
        seq(&[&good, &[0x31]]),
        seq(&[&good, &[0x31, 0]]),
        seq(&[&good, &seq(&[])]),
        seq(&[&tlv(0x31, &[&seq(&[&[6, 3, 0x55, 4, 3], &tlv(UTF8, &[b"a"]), &[5, 0]])])]),
        seq(&[&tlv(0x31, &[&seq(&[&[6, 3, 0x55, 4, 0x83], &tlv(UTF8, &[b"a"])])])]),
        seq(&[&tlv(0x31, &[&seq(&[&[6, 0], &tlv(UTF8, &[b"a"])])])]),
        seq(&[&tlv(0x31, &[&seq(&[&[6, 3, 0x55, 0x80, 3], &tlv(UTF8, &[b"a"])])])]),
        seq(&[&tlv(0x31, &[&seq(&[&[6, 3, 0x55, 4, 3]])])]),
    ] {
        assert_eq!(Name::from_der(&wrong), None, "{wrong:x?}");
    }
}

/// OpenSSL escapes what is not ASCII, which RFC 4514 need not; so those names are compared by meaning.
#[test]
fn openssl_writes_the_same() {
    let email = "1.2.840.113549.1.9.1";
    let names: [&[(&str, u8, &[u8])]; 8] = [
        &[("2.5.4.6", 0x13, b"NO"), ("2.5.4.10", UTF8, b"Example"), (CN, UTF8, b"Fleet CA")],
        &[("2.5.4.10", UTF8, b"Example, Inc. + \"Sons\" <x>;\\"), (CN, UTF8, b"#1 "), ("2.5.4.5", 0x13, b"42")],
        &[(CN, UTF8, b" lead"), (email, 0x16, b"a@example.org"), ("2.5.4.4", UTF8, b"Doe"), ("2.5.4.42", UTF8, b"J")],
        &[("0.9.2342.19200300.100.1.25", 0x16, b"example"), ("0.9.2342.19200300.100.1.1", UTF8, b"x")],
        &[("1.2.3.4.5", UTF8, b"unknown type"), (CN, UTF8, b"a\nb")],
        &[(CN, UTF8, "Ølhus".as_bytes())],
        &[(CN, 0x1e, b"\0\xd8\0l")],
        &[(CN, 0x14, b"\xd8l"), ("2.5.4.45", 3, b"\0\x01")],
    ];
    for (at, attributes) in names.iter().enumerate() {
        let der = name(attributes);
        let mut draft = device("x");
        draft.subject.clone_from(&der);
        let said =
            |option: &str| openssl(&["x509", "-inform", "DER", "-noout", "-subject", "-nameopt", option], &draft.der());
        let name = Name::from_der(&der).unwrap();
        let (rfc2253, oneline) = (said("RFC2253"), said("oneline,utf8"));
        assert_eq!(text(&rfc2253), name.canonical(), "{rfc2253}");
        assert_eq!(text(&oneline), name.canonical(), "{oneline}");
        if at < 4 {
            assert_eq!(rfc2253.trim_end_matches('\n'), format!("subject={}", name.to_rfc4514()));
        }
    }
}

proptest::proptest! {
    #[test]
    fn text_is_read_back_as_it_was_written(values in proptest::collection::vec((0_usize..4, "\\PC{0,12}|.{0,6}"), 1..5)) {
        let kinds = [CN, "2.5.4.10", "1.2.3.4", "0.9.2342.19200300.100.1.25"];
        let attributes: Vec<_> = values.iter().map(|(kind, value)| (kinds[*kind], UTF8, value.as_bytes())).collect();
        let name = Name::from_der(&name(&attributes)).unwrap();
        proptest::prop_assert_eq!(text(&name.to_rfc4514()), name.canonical());
    }

    #[test]
    fn any_text_is_a_name_or_not(text in "([A-Za-z0-9.]{0,3}[=#,+;\\\\\" ]{0,2}.{0,3}){0,6}") {
        if let Some(name) = Name::from_text(&text) {
            let again = Name::from_text(&name.to_rfc4514()).map(|again| again.canonical());
            proptest::prop_assert_eq!(again, Some(name.canonical()));
        }
    }

    #[test]
    fn any_bytes_are_a_name_or_not(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..64)) {
        let _ = Name::from_der(&seq(&[&bytes]));
        let _ = Name::from_der(&seq(&[&tlv(0x31, &[&seq(&[&[6, 3, 0x55, 4, 3], &bytes])])]));
    }
}
