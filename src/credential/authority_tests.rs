use x509_parser::prelude::{FromDer, X509Certificate};

use super::*;
use crate::credential::certificate::{CertificateError, Reading, describe, read};
use crate::credential::key_pair::Curve;

const START: UnixSeconds = 1_700_000_000;
const END: UnixSeconds = START + 1_000_000;

fn authority(curve: Curve) -> Authority {
    let key = KeyPair::generate(curve).unwrap();
    let certificate = Authority::create("Fleet CA", &key, START, END).unwrap();
    Authority::open(certificate.as_bytes(), key).unwrap()
}

fn wanted<'a>(common_name: &'a str, alternative_names: &'a [AlternativeName]) -> Wanted<'a> {
    Wanted { common_name, alternative_names, not_before: START + 10, not_after: END - 10 }
}

fn public_key() -> Vec<u8> {
    KeyPair::generate(Curve::P256).unwrap().public_key_der().unwrap()
}

#[test]
fn what_is_issued_is_what_was_wanted_and_signed_by_the_authority() {
    for curve in [Curve::P256, Curve::P384] {
        let authority = authority(curve);
        let names = [AlternativeName::Uri("urn:device:1".into()), AlternativeName::Dns("d1.example".into())];
        let key = public_key();
        let der = authority.issue(&key, &wanted("device-001", &names)).unwrap();
        let says = describe(&der).unwrap();
        assert_eq!((says.subject.as_str(), says.issuer.as_str()), ("CN=device-001", "CN=Fleet CA"));
        assert_eq!((says.not_before, says.not_after), (START + 10, END - 10));
        assert_eq!((says.san_uris, says.san_dns), (vec!["urn:device:1".to_owned()], vec!["d1.example".to_owned()]));
        let (_, leaf) = X509Certificate::from_der(&der).unwrap();
        let chain = authority.chain().unwrap();
        let issuer = describe(chain.as_bytes()).unwrap();
        let (_, issuer) = X509Certificate::from_der(&issuer.der).unwrap();
        leaf.verify_signature(Some(issuer.public_key())).unwrap();
        issuer.verify_signature(None).unwrap();
        assert_eq!(leaf.public_key().raw, key);
        leaf.verify_signature(None).expect_err("it does not vouch for itself");
        // What the plugin makes of it, at its strictest.
        let reading = Reading { ext_key_usage: true, ..Reading::default() };
        assert_eq!(&*read(&der, &reading, Box::default()).unwrap().identity, "device-001");
        let own = describe(chain.as_bytes()).unwrap().der;
        assert_eq!(read(&own, &reading, Box::default()).unwrap_err(), CertificateError::IsAuthority);
    }
}

#[test]
fn serial_numbers_are_random_positive_and_short_enough() {
    let (authority, key) = (authority(Curve::P256), public_key());
    let mut seen = std::collections::HashSet::new();
    for _ in 0..64 {
        let der = authority.issue(&key, &wanted("d", &[])).unwrap();
        let (_, leaf) = X509Certificate::from_der(&der).unwrap();
        let raw = leaf.raw_serial().to_vec();
        // A leading zero says that the number is not negative; half of them need one.
        assert!(raw.len() <= 17 && raw[0] < 0x80, "{raw:?}");
        assert!(seen.insert(raw));
    }
}

#[test]
fn a_name_is_one_name_whatever_is_in_it() {
    let (authority, key) = (authority(Curve::P256), public_key());
    let issue = |name: &str| authority.issue(&key, &wanted(name, &[]));
    let identity = |der: Vec<u8>| read(&der, &Reading::default(), Box::default()).unwrap().identity.into_string();
    for name in ["d,CN=admin", "d+CN=admin", "\"quoted\"", "größe", " d ", "a=b;c<d>", &"x".repeat(64)] {
        let der = issue(name).unwrap();
        assert_eq!(describe(&der).unwrap().common_names, [name]);
        assert_eq!(identity(der), name);
    }
    for name in ["", "a\0b", "a\nb", &"x".repeat(65)] {
        assert_eq!(issue(name).unwrap_err(), IssueError::CommonName, "{name:?}");
    }
    for name in
        [AlternativeName::Uri(String::new()), AlternativeName::Dns("größe".into()), AlternativeName::Uri("a b".into())]
    {
        let refused = authority.issue(&key, &wanted("d", std::slice::from_ref(&name)));
        assert_eq!(refused.unwrap_err(), IssueError::AlternativeName(name_of(&name).to_owned()));
    }
}

#[test]
fn nothing_outlives_the_authority_and_nothing_begins_after_it() {
    let (authority, key) = (authority(Curve::P256), public_key());
    let issue = |not_before, not_after| {
        let der = authority.issue(&key, &Wanted { not_before, not_after, ..wanted("d", &[]) })?;
        Ok::<_, IssueError>(describe(&der).unwrap().not_after)
    };
    assert_eq!(issue(START, END + 1), Ok(END));
    assert_eq!(issue(START, END - 1), Ok(END - 1));
    assert_eq!(issue(END, END + 1), Err(IssueError::Ended));
}

#[test]
fn times_after_2049_are_written_in_the_long_form() {
    let key = KeyPair::generate(Curve::P256).unwrap();
    for end in [LONG_TIMES - 1, LONG_TIMES, LONG_TIMES + 1_000_000_000] {
        let certificate = Authority::create("CA", &key, START, end).unwrap();
        assert_eq!(describe(certificate.as_bytes()).unwrap().not_after, end);
    }
}

#[test]
fn an_authority_is_opened_with_its_own_key_only() {
    let [one, other] = [(); 2].map(|()| KeyPair::generate(Curve::P256).unwrap());
    let certificate = Authority::create("CA", &one, START, END).unwrap();
    assert_eq!(Authority::open(certificate.as_bytes(), other).unwrap_err(), IssueError::OtherKey);
    let authority = Authority::open(certificate.as_bytes(), one).unwrap();
    let device = KeyPair::generate(Curve::P256).unwrap();
    let leaf = authority.issue(&device.public_key_der().unwrap(), &wanted("d", &[])).unwrap();
    assert_eq!(Authority::open(&leaf, device).unwrap_err(), IssueError::NotAnAuthority);
    let key = KeyPair::generate(Curve::P256).unwrap();
    assert_eq!(Authority::open(b"nothing", key).unwrap_err(), IssueError::Malformed);
}

#[test]
fn a_key_opens_with_its_passphrase_and_no_other() {
    for curve in [Curve::P256, Curve::P384] {
        let key = KeyPair::generate(curve).unwrap();
        let text = key.to_encrypted_pem(b"correct horse").unwrap();
        let opened = KeyPair::from_encrypted_pem(&text, b"correct horse").unwrap();
        assert_eq!(opened.public_key_der(), key.public_key_der());
        assert_eq!(KeyPair::from_encrypted_pem(&text, b"wrong horse").unwrap_err(), KeyPairError::Passphrase);
        let plain = key.to_pem().unwrap();
        assert_eq!(KeyPair::from_encrypted_pem(&plain, b"correct horse").unwrap_err(), KeyPairError::Form);
        assert!(!format!("{key:?}").contains("PRIVATE") && *text != *key.to_encrypted_pem(b"correct horse").unwrap());
    }
}
