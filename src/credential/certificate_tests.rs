use super::*;
use crate::credential::x509_tests::{
    CN, DEVICE_KEY, Draft, UTF8, authority, basic_constraints, cn, device, extension, name, openssl, pem, san, seq,
    tlv, usage, utc,
};

const CLIENT: &str = "1.3.6.1.5.5.7.3.2";
const SERVER: &str = "1.3.6.1.5.5.7.3.1";
const ANY: &str = "2.5.29.37.0";

fn by(fields: &[Field]) -> Reading {
    Reading { identity: fields.to_vec(), ..Reading::default() }
}

fn try_identity(draft: &Draft, fields: &[Field]) -> Result<String, CertificateError> {
    read(&draft.der(), &by(fields), Box::default()).map(|certificate| {
        assert!(fields.iter().any(|field| field.kind() == certificate.kind));
        certificate.identity.into()
    })
}

#[track_caller]
fn accepted(draft: &Draft, fields: &[Field], expected: &str) {
    assert_eq!(try_identity(draft, fields).as_deref(), Ok(expected));
}

#[track_caller]
fn refused(draft: &Draft, fields: &[Field], expected: CertificateError) {
    assert_eq!(try_identity(draft, fields), Err(expected));
}

#[test]
fn each_field_can_identify_a_device() {
    let draft = device("device-001").with(san(&[
        (6, b"urn:dev:device-001?A"),
        (2, b"D1.fleet.example"),
        (1, b"d1@fleet.example"),
        (7, &[10, 0, 0, 1]),
    ]));
    let der = draft.der();
    accepted(&draft, &[Field::Cn], "device-001");
    accepted(&draft, &[Field::SanUri], "urn:dev:device-001?A");
    accepted(&draft, &[Field::SanDns], "D1.fleet.example");
    accepted(&draft, &[Field::SanEmail], "d1@fleet.example");
    accepted(&draft, &[Field::SanIp], "10.0.0.1");
    accepted(&draft, &[Field::Subject], "CN=device-001");
    accepted(&draft, &[Field::Serial], "12ab");
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
    let certificate = read(&der, &by(&[Field::Sha256]), Box::default()).unwrap();
    assert_eq!(*certificate.identity, hex(&Sha256::digest(&der)));
    let spki = DEVICE_KEY.spki();
    accepted(&draft, &[Field::SpkiSha256], &hex(&Sha256::digest(&spki)));
    assert_eq!(spki_sha256(&spki)[..], Sha256::digest(&spki)[..]);
}

#[test]
fn the_rest_is_read_as_well() {
    let der = device("device-001").der();
    let reading = Reading { clock_skew: Duration::from_secs(10), ..by(&[Field::Cn]) };
    let certificate = read(&der, &reading, Box::new([[7; 32]])).unwrap();
    assert_eq!(certificate.kind, CredentialKind::X509Cn);
    assert_eq!(certificate.common_name.as_deref(), Some("device-001"));
    assert_eq!(&*certificate.authorities, [[7; 32]]);
    assert_eq!(certificate.not_before, 1_767_323_045 - 10);
    assert_eq!(certificate.not_after, 1_798_859_045 + 1);
    assert_eq!(certificate.id, id("o=EXAMPLE, cn=Fleet  CA", "0x00:12:AB").unwrap());
}

#[test]
fn the_first_field_that_is_there_decides() {
    let all = [Field::SanUri, Field::SanDns, Field::Cn];
    accepted(&device("c").with(san(&[(2, b"d"), (6, b"u:x")])), &all, "u:x");
    accepted(&device("c").with(san(&[(2, b"d"), (1, b"e@x")])), &all, "d");
    accepted(&device("c"), &all, "c");
    refused(&Draft::new(seq(&[])), &all, CertificateError::NoIdentity);
    refused(&device("c"), &[], CertificateError::NoIdentity);
    refused(&device("c"), &[Field::SanIp], CertificateError::NoIdentity);
}

#[test]
fn two_values_where_one_is_meant_are_refused() {
    let all = [Field::SanUri, Field::Cn];
    refused(&device("c").with(san(&[(6, b"u:1"), (6, b"u:2")])), &all, CertificateError::Ambiguous(Field::SanUri));
    refused(&device("c").with(san(&[(6, b"u:1"), (6, b"u:1")])), &all, CertificateError::Ambiguous(Field::SanUri));
    let two = Draft::new(name(&[(CN, UTF8, b"a"), (CN, UTF8, b"b")]));
    refused(&two, &all, CertificateError::Ambiguous(Field::Cn));
    // Where another field decides, it only has no common name that could be held against anybody.
    let certificate = read(&two.der(), &by(&[Field::Serial]), Box::default()).unwrap();
    assert_eq!(certificate.common_name, None);
    let together = tlv(
        0x31,
        &[&seq(&[&[6, 3, 0x55, 4, 3], &tlv(UTF8, &[b"a"])]), &seq(&[&[6, 3, 0x55, 4, 3], &tlv(UTF8, &[b"b"])])],
    );
    refused(&Draft::new(seq(&[&together])), &[Field::Cn], CertificateError::Ambiguous(Field::Cn));
}

#[test]
fn what_is_no_clean_text_is_refused_and_nothing_else_is_asked() {
    let all = [Field::Cn, Field::Serial];
    let long = vec![b'a'; 65_536];
    for (tag, bytes) in [
        (UTF8, &b""[..]),
        (UTF8, b"a\0b"),
        (UTF8, b"\0"),
        (UTF8, b"a\nb"),
        (UTF8, b"a\x7f"),
        (UTF8, "a\u{85}".as_bytes()),
        (UTF8, b"\xff\xfe"),
        (UTF8, &long),
        (0x13, b"\xe9"),
        (0x14, b"device"),
        (0x1e, b"\0a\0\0"),
        (0x1e, b"a"),
        (0x1e, b"\xd8\x00\0a"),
        (0x1c, b"\0\x11\0\0"),
        (0x02, b"\x01"),
        (0x04, b"abc"),
    ] {
        let draft = Draft::new(name(&[(CN, tag, bytes)]));
        refused(&draft, &all, CertificateError::NotText(Field::Cn));
        let certificate = read(&draft.der(), &by(&[Field::Serial]), Box::default()).unwrap();
        assert_eq!(certificate.common_name, None);
    }
    for (kind, field) in [(6, Field::SanUri), (2, Field::SanDns), (1, Field::SanEmail)] {
        for bytes in [&b""[..], b"a\0b", b"a\r", b"\xff", "é".as_bytes(), &long] {
            let draft = device("c").with(san(&[(kind, bytes)]));
            refused(&draft, &[field, Field::Cn], CertificateError::NotText(field));
        }
    }
    for bytes in [&[][..], &[10, 0, 0], &[0; 8], &[0; 17], &[0; 32]] {
        let draft = device("c").with(san(&[(7, bytes)]));
        refused(&draft, &[Field::SanIp, Field::Cn], CertificateError::NotText(Field::SanIp));
    }
    let subject = Draft::new(name(&[("2.5.4.10", 0x14, b"Example"), (CN, UTF8, b"a")]));
    refused(&subject, &[Field::Subject], CertificateError::NotText(Field::Subject));
    let subject = Draft::new(name(&[("2.5.4.10", UTF8, b"Exam\0ple"), (CN, UTF8, b"a")]));
    refused(&subject, &[Field::Subject], CertificateError::NotText(Field::Subject));
}

#[test]
fn every_clean_text_is_accepted() {
    for (tag, bytes, expected) in [
        (UTF8, "Ølhus 1".as_bytes(), "Ølhus 1"),
        (0x12, b"42", "42"),
        (0x13, b"device-001", "device-001"),
        (0x16, b"d@x", "d@x"),
        (0x1e, b"\0d\x20\xac", "d€"),
        (0x1c, b"\0\0\0d\0\x01\xf6\0", "d\u{1f600}"),
    ] {
        accepted(&Draft::new(name(&[(CN, tag, bytes)])), &[Field::Cn], expected);
    }
    let long = "a".repeat(65_535);
    accepted(&device(&long), &[Field::Cn], &long);
    let eight_kib = format!("urn:{}", "x".repeat(8 * 1024));
    accepted(&device("c").with(san(&[(6, eight_kib.as_bytes())])), &[Field::SanUri], &eight_kib);
    accepted(&device("c").with(san(&[(7, &std::net::Ipv6Addr::LOCALHOST.octets())])), &[Field::SanIp], "::1");
}

#[test]
fn an_empty_subject_is_no_subject() {
    let draft = Draft::new(seq(&[])).with(san(&[(2, b"d1.example")]));
    refused(&draft, &[Field::Subject, Field::Cn], CertificateError::NoIdentity);
    accepted(&draft, &[Field::Subject, Field::Cn, Field::SanDns], "d1.example");
}

#[test]
fn the_subject_and_the_serial_number_are_written_as_people_do() {
    let subject = name(&[("2.5.4.6", 0x13, b"NO"), ("2.5.4.10", UTF8, b"Example, Inc."), (CN, UTF8, b"d1")]);
    accepted(&Draft::new(subject), &[Field::Subject], "CN=d1,O=Example\\, Inc.,C=NO");
    for (serial, expected) in
        [(&[0][..], "0"), (&[0, 0x8a], "8a"), (&[0x0a, 0x0b], "a0b"), (&[0x7f; 20], &"7f".repeat(20))]
    {
        let mut draft = device("c");
        draft.serial = serial.to_vec();
        accepted(&draft, &[Field::Serial], expected);
    }
}

#[test]
fn the_certificate_of_an_authority_is_no_device() {
    refused(&authority(&[]), &[Field::Cn], CertificateError::IsAuthority);
    refused(&device("c").with(basic_constraints(true)), &[Field::Cn], CertificateError::IsAuthority);
    accepted(&device("c").with(basic_constraints(false)), &[Field::Cn], "c");
}

#[test]
fn the_extended_key_usage_counts_where_it_is_asked_for() {
    let strict = Reading { ext_key_usage: true, ..by(&[Field::Cn]) };
    let with = |draft: Draft| read(&draft.der(), &strict, Box::default()).map(drop);
    assert_eq!(with(device("c").with(usage(&[SERVER, CLIENT]))), Ok(()));
    assert_eq!(with(device("c")), Err(CertificateError::KeyUsage));
    assert_eq!(with(device("c").with(usage(&[SERVER]))), Err(CertificateError::KeyUsage));
    assert_eq!(with(device("c").with(usage(&[ANY]))), Err(CertificateError::KeyUsage));
    accepted(&device("c").with(usage(&[SERVER])), &[Field::Cn], "c");
}

#[test]
fn an_old_version_is_accepted_without_extensions() {
    for version in [None, Some(0), Some(1), Some(2)] {
        let mut draft = device("c");
        draft.version = version;
        accepted(&draft, &[Field::Cn], "c");
        draft.extensions.push(basic_constraints(false));
        match version {
            Some(2) => accepted(&draft, &[Field::Cn], "c"),
            _ => refused(&draft, &[Field::Cn], CertificateError::Malformed),
        }
    }
    let mut draft = device("c");
    draft.version = Some(3);
    refused(&draft, &[Field::Cn], CertificateError::Malformed);
}

#[test]
fn expired_and_not_yet_valid_is_for_others_to_judge() {
    let mut draft = device("c");
    (draft.not_before, draft.not_after) = (utc("500101000000Z"), tlv(0x18, &[b"99991231235959Z"]));
    let certificate = read(&draft.der(), &by(&[Field::Cn]), Box::default()).unwrap();
    assert_eq!((certificate.not_before, certificate.not_after), (-631_152_000 - 300, 253_402_300_800));
    (draft.not_before, draft.not_after) = (utc("991301000000Z"), utc("270102030405Z"));
    refused(&draft, &[Field::Cn], CertificateError::Malformed);
}

#[test]
fn what_is_not_der_to_its_last_byte_is_refused() {
    let good = device("c");
    let fails = |der: &[u8]| {
        assert_eq!(read(der, &by(&[Field::SanUri, Field::Cn]), Box::default()), Err(CertificateError::Malformed));
    };
    fails(&[]);
    fails(&[good.der(), vec![0]].concat());
    fails(good.der().split_last().unwrap().1);
    for draft in [
        good.clone().with(basic_constraints(false)).with(basic_constraints(false)),
        good.clone().with(san(&[(6, b"u:1")])).with(san(&[(6, b"u:2")])),
        good.clone().with(extension("2.5.29.17", false, &[seq(&[]), vec![0]].concat())),
        good.clone().with(extension("2.5.29.17", false, &seq(&[&[0x86, 5, b'a']]))),
        good.clone().with(extension("2.5.29.19", true, b"")),
        Draft { serial: Vec::new(), ..good.clone() },
        Draft { subject: seq(&[&[0x31, 0]]), ..good.clone() },
        Draft { subject: [cn("c"), vec![]].concat().into_iter().chain([0x31]).collect(), ..good.clone() },
        Draft { spki: seq(&[&seq(&[&[6, 1, 0x2a]]), &[3, 2, 0, 1], &[5, 0]]), ..good.clone() },
    ] {
        fails(&draft.der());
    }
}

#[test]
fn a_certificate_has_one_id_however_it_is_written() {
    let one = id("CN=Fleet CA,O=Example", "12ab").unwrap();
    for (issuer, serial) in [
        ("O=Example,CN=Fleet CA", "12AB"),
        ("cn = fleet ca, o = example", "0x0012ab"),
        ("issuer=O = Example, CN = Fleet CA", "serial=12AB"),
        ("CN=Fleet CA,O=Example", "00:12:ab"),
        ("CN=Fleet CA,O=Example", " 12 AB "),
    ] {
        assert_eq!(id(issuer, serial), Ok(one), "{issuer} {serial}");
    }
    for (issuer, serial) in
        [("CN=Fleet CA,O=Example", "12abc"), ("CN=Fleet CA", "12ab"), ("CN=Fleet CA,O=Example", "0")]
    {
        assert_ne!(id(issuer, serial), Ok(one), "{issuer} {serial}");
    }
    for wrong in ["", ":", "0x", "xyz", "-12", "12 ab g", "é"] {
        assert_eq!(id("CN=a", wrong), Err(CertificateError::SerialText), "{wrong}");
    }
    assert_eq!(id("Fleet CA", "1"), Err(CertificateError::IssuerText));
    assert_eq!(id("", "1"), Err(CertificateError::IssuerText));
    assert_eq!(id("CN=a", "000"), id("CN=a", "0"));
}

/// The rows of a database are compared with the certificates of other releases: this must not change.
#[test]
fn an_id_is_for_ever() {
    let CertificateId(bytes) = id("CN=Fleet CA,O=Example", "12ab").unwrap();
    let canonical = b"2.5.4.10=example,2.5.4.3=fleet ca\x0012ab";
    assert_eq!(bytes, blake3::hash(canonical).as_bytes()[..16]);
}

#[test]
fn what_openssl_says_of_a_certificate_finds_it() {
    let mut draft = device("c");
    draft.serial = vec![0, 0xfe, 0xdc];
    draft.issuer = name(&[("2.5.4.10", 0x1e, b"\0\xd8\0l"), ("2.5.4.11", UTF8, b"a, \"b\""), (CN, 0x13, b"Fleet CA")]);
    let der = draft.der();
    let known = read(&der, &by(&[Field::Cn]), Box::default()).unwrap().id;
    for options in [&["-nameopt", "RFC2253"][..], &[], &["-nameopt", "oneline"]] {
        let said = |what| openssl(&[&["x509", "-inform", "DER", "-noout", what], options].concat(), &der);
        assert_eq!(id(&said("-issuer"), &said("-serial")), Ok(known), "{}", said("-issuer"));
    }
}

#[test]
fn a_description_says_what_there_is() {
    let draft = device("d1").with(san(&[(6, b"u:1"), (6, b"u:2"), (2, b"d"), (1, b"e@x"), (7, &[1, 2, 3, 4])]));
    let der = draft.der();
    let described = describe(&der).unwrap();
    assert_eq!(described, describe(&pem("CERTIFICATE", &der)).unwrap());
    assert_eq!(described, describe(&[pem("PRIVATE KEY", b"abc"), pem("CERTIFICATE", &der)].concat()).unwrap());
    let found = read(&der, &by(&[Field::SanDns]), Box::default()).unwrap();
    assert_eq!((described.id, described.sha256.as_str()), (found.id, &*found.sha256));
    assert_eq!(described.spki_sha256, &*found.spki_sha256);
    assert_eq!((described.subject.as_str(), described.issuer.as_str()), ("CN=d1", "CN=Fleet CA,O=Example"));
    assert_eq!((described.serial.as_str(), described.common_names.as_slice()), ("12ab", &["d1".to_owned()][..]));
    assert_eq!((described.not_before, described.not_after), (1_767_323_045, 1_798_859_045));
    assert_eq!((described.san_uris.len(), described.san_dns[0].as_str()), (2, "d"));
    assert_eq!((described.san_emails[0].as_str(), described.san_ips[0].as_str()), ("e@x", "1.2.3.4"));
    assert_eq!(described.der, der);
    assert_eq!(id(&described.issuer, &described.serial), Ok(described.id));
    for wrong in [&b""[..], b"\n", b"hello", &pem("PRIVATE KEY", b"abc"), b"-----BEGIN CERTIFICATE-----\n*\n-----END"] {
        assert_eq!(describe(wrong), Err(CertificateError::Malformed));
    }
}

#[test]
fn an_authority_is_known_by_its_key() {
    let der = authority(&[]).der();
    let key = spki_sha256(&crate::credential::x509_tests::CA_KEY.spki());
    assert_eq!(authority_key(&der), Ok(key));
    assert_eq!(authority_key(&pem("CERTIFICATE", &der)), Ok(key));
    assert_eq!(authority_key(b""), Err(CertificateError::Malformed));
    let other = device("c").der();
    let two = [pem("CERTIFICATE", &der), pem("CERTIFICATE", &other)].concat();
    assert_eq!(all(&two), Ok(vec![der.clone(), other]));
    assert_eq!(all(&der), Ok(vec![der]));
    assert_eq!(all(b"nothing"), Err(CertificateError::Malformed));
}

proptest::proptest! {
    #[test]
    fn a_damaged_certificate_is_read_or_not(at in 0_usize..900, with in proptest::num::u8::ANY, cut in 0_usize..1200) {
        static GOOD: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| {
            let names = [(6, &b"u:1"[..]), (2, b"d"), (1, b"e@x"), (7, &[1, 2, 3, 4])];
            let access = seq(&[&seq(&[&crate::credential::x509_tests::oid("1.3.6.1.5.5.7.48.1"), &tlv(0x86, &[b"http://o"])])]);
            device("d1").with(san(&names)).with(usage(&[CLIENT])).with(basic_constraints(false))
                .with(extension("1.3.6.1.5.5.7.1.1", false, &access)).der()
        });
        let mut der = GOOD.clone();
        let at = at % der.len();
        der[at] = with;
        der.truncate(cut.max(1));
        let fields = [Field::SanUri, Field::SanDns, Field::SanEmail, Field::SanIp, Field::Cn, Field::Subject, Field::Serial];
        for field in fields {
            let _ = read(&der, &Reading { ext_key_usage: true, ..by(&[field]) }, Box::default());
        }
        let _ = describe(&der);
        let _ = crate::credential::ocsp::responder(&der);
    }
}
