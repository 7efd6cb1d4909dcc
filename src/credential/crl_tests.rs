use super::*;
use crate::credential::x509_tests::{
    CA_KEY, Key, OTHER_KEY, authority, basic_constraints, ca_name, cn, device, ecdsa_sha256, extension, int, pem, seq,
    signature, signed, tlv, utc,
};

/// A list; what a test does not say is that it is in order, and of the authority.
#[derive(Clone)]
struct Draft {
    version: Vec<u8>,
    issuer: Vec<u8>,
    next_update: Vec<u8>,
    entries: Vec<Vec<u8>>,
    extensions: Vec<Vec<u8>>,
}

fn list(entries: &[Vec<u8>]) -> Draft {
    let (version, issuer, next_update) = (int(&[1]), ca_name(), utc("260202030405Z"));
    Draft { version, issuer, next_update, entries: entries.to_vec(), extensions: vec![number(7)] }
}

fn concat(parts: &[Vec<u8>]) -> Vec<u8> {
    parts.concat()
}

impl Draft {
    fn with(mut self, extension: Vec<u8>) -> Self {
        self.extensions.push(extension);
        self
    }

    fn tbs(&self) -> Vec<u8> {
        let entries = if self.entries.is_empty() { Vec::new() } else { seq(&[&concat(&self.entries)]) };
        let extensions =
            if self.extensions.is_empty() { Vec::new() } else { tlv(0xa0, &[&seq(&[&concat(&self.extensions)])]) };
        let this_update = utc("260102030405Z");
        seq(&[&self.version, &ecdsa_sha256(), &self.issuer, &this_update, &self.next_update, &entries, &extensions])
    }

    fn signed(&self, key: &Key) -> Vec<u8> {
        signed(key, &self.tbs())
    }

    fn read(&self) -> Result<Crl, CrlError> {
        Crl::read(&self.signed(&CA_KEY), &[authority(&[]).der()])
    }
}

fn number(number: u8) -> Vec<u8> {
    extension("2.5.29.20", false, &int(&[number]))
}

fn delta(base: u8) -> Vec<u8> {
    extension("2.5.29.27", true, &int(&[base]))
}

fn point(parts: &[&[u8]]) -> Vec<u8> {
    extension("2.5.29.28", true, &seq(parts))
}

fn revoked(serial: &[u8], extensions: &[Vec<u8>]) -> Vec<u8> {
    let extensions = if extensions.is_empty() { Vec::new() } else { seq(&[&concat(extensions)]) };
    seq(&[&int(serial), &utc("260101000000Z"), &extensions])
}

fn reason(code: u8) -> Vec<u8> {
    extension("2.5.29.21", false, &tlv(10, &[&[code]]))
}

fn key_usage(bits: u8) -> Vec<u8> {
    extension("2.5.29.15", true, &tlv(3, &[&[0, bits]]))
}

const CRL_SIGN: u8 = 0x02;
const CERT_SIGN: u8 = 0x04;

#[test]
fn a_list_says_who_is_revoked() {
    let draft = list(&[revoked(&[0x12, 0xab], &[reason(1)]), revoked(&[0, 0xff], &[])]);
    let read = draft.read().unwrap();
    assert_eq!(read.issuer, "CN=Fleet CA,O=Example");
    assert_eq!(read.authority, certificate::spki_sha256(&CA_KEY.spki()));
    assert_eq!((read.number.as_deref(), &read.base, &read.scope), (Some("7"), &None, &None));
    assert_eq!((read.this_update, read.next_update), (1_767_323_045, Some(1_770_001_445)));
    let entry = |serial: &str, reason| Entry {
        id: certificate::id("O=Example, CN=Fleet CA", serial).unwrap(),
        serial: serial.to_owned(),
        revoked_at: 1_767_225_600,
        reason,
        removed: false,
    };
    assert_eq!(read.entries, [entry("12ab", Some("keyCompromise")), entry("ff", None)]);
    // It is the very certificate that a device would show.
    let shown = certificate::read(&device("c").der(), &certificate::Reading::default(), Box::default()).unwrap();
    assert_eq!(shown.id, read.entries[0].id);
}

#[test]
fn pem_is_as_good_as_der() {
    let der = list(&[revoked(&[1], &[])]).signed(&CA_KEY);
    let authorities = [authority(&[]).der()];
    let read = Crl::read(&der, &authorities).unwrap();
    assert_eq!(Crl::read(&pem("X509 CRL", &der), &authorities).unwrap(), read);
    let mixed = [pem("CERTIFICATE", &authorities[0]), pem("X509 CRL", &der)].concat();
    assert_eq!(Crl::read(&mixed, &authorities).unwrap(), read);
    assert_eq!(Crl::read(&pem("CERTIFICATE", &authorities[0]), &authorities), Err(CrlError::Malformed));
}

#[test]
fn a_list_may_be_empty_and_may_have_no_number() {
    let mut draft = list(&[]);
    assert!(draft.read().unwrap().entries.is_empty());
    draft.extensions.clear();
    assert_eq!(draft.read().unwrap().number, None);
    // Version 1 (X.509 of 1988) has no extensions at all.
    (draft.version, draft.next_update) = (Vec::new(), Vec::new());
    let read = draft.read().unwrap();
    assert_eq!((read.next_update, read.is_past(i64::MAX)), (None, false));
    assert_eq!(draft.clone().with(number(1)).read(), Err(CrlError::Malformed));
    draft.version = int(&[2]);
    assert_eq!(draft.read(), Err(CrlError::Malformed));
}

#[test]
fn a_list_is_past_after_its_next_update() {
    let read = list(&[]).read().unwrap();
    assert!(!read.is_past(0) && !read.is_past(1_770_001_445) && read.is_past(1_770_001_446));
}

#[test]
fn a_number_may_be_long_and_cannot_be_negative() {
    let with = |value: &[u8]| {
        let mut draft = list(&[]);
        draft.extensions = vec![extension("2.5.29.20", false, value)];
        draft.read().map(|read| read.number.unwrap())
    };
    assert_eq!(with(&int(&[0x7f; 20])).unwrap(), "7f".repeat(20));
    assert_eq!(with(&int(&[0])).unwrap(), "0");
    for wrong in [int(&[0x80]), int(&[]), vec![], [int(&[1]), vec![0]].concat(), tlv(4, &[&[1]])] {
        assert_eq!(with(&wrong), Err(CrlError::Malformed));
    }
}

#[test]
fn a_delta_list_names_its_base_and_what_it_takes_back() {
    let read = list(&[revoked(&[1], &[reason(8)]), revoked(&[2], &[reason(6)])]).with(delta(5)).read().unwrap();
    assert_eq!(read.base.as_deref(), Some("5"));
    let marks: Vec<_> = read.entries.iter().map(|entry| (entry.reason, entry.removed)).collect();
    assert_eq!(marks, [(Some("removeFromCRL"), true), (Some("certificateHold"), false)]);
}

#[test]
fn every_reason_has_its_word() {
    let words = (0..=10).map(|code| match list(&[revoked(&[1], &[reason(code)])]).read() {
        Ok(read) => read.entries[0].reason.unwrap(),
        Err(error) => {
            assert_eq!(error, CrlError::Malformed);
            "-"
        }
    });
    let words = words.collect::<Vec<_>>().join(" ");
    assert_eq!(
        words,
        "unspecified keyCompromise cACompromise affiliationChanged superseded cessationOfOperation certificateHold - \
         removeFromCRL privilegeWithdrawn aACompromise"
    );
    assert_eq!(list(&[revoked(&[1], &[reason(11)])]).read(), Err(CrlError::Malformed));
}

#[test]
fn only_the_authority_itself_is_believed() {
    let draft = list(&[revoked(&[1], &[])]);
    let good = draft.signed(&CA_KEY);
    let issuer = || "CN=Fleet CA,O=Example".to_owned();
    assert_eq!(Crl::read(&good, &[]), Err(CrlError::OtherIssuer { issuer: issuer() }));
    let mut other = authority(&[]);
    other.subject = cn("Other CA");
    assert_eq!(Crl::read(&good, &[other.der()]), Err(CrlError::OtherIssuer { issuer: issuer() }));
    let altered = Err(CrlError::Signature { issuer: issuer() });
    assert_eq!(Crl::read(&draft.signed(&OTHER_KEY), &[authority(&[]).der()]), altered);
    // The same name with another key, as after a change of keys: each is tried.
    let mut renewed = authority(&[]);
    renewed.spki = OTHER_KEY.spki();
    assert_eq!(Crl::read(&good, &[renewed.der()]), altered);
    assert!(Crl::read(&good, &[other.der(), renewed.der(), authority(&[]).der()]).is_ok());
    assert_eq!(Crl::read(&good, &[b"nothing".to_vec()]), Err(CrlError::Authority));
}

#[test]
fn a_list_that_was_tampered_with_is_refused() {
    let draft = list(&[revoked(&[0x12, 0xab], &[])]);
    let good = draft.signed(&CA_KEY);
    let mut altered = good.clone();
    let at = altered.windows(2).position(|bytes| bytes == [0x12, 0xab]).unwrap();
    altered[at] = 0x13;
    let authorities = [authority(&[]).der()];
    assert!(matches!(Crl::read(&altered, &authorities), Err(CrlError::Signature { .. })));
    let after = [good.clone(), vec![0]].concat();
    assert_eq!(Crl::read(&after, &authorities), Err(CrlError::Malformed));
    // Another algorithm inside than outside, and one that nobody knows.
    let tbs = draft.tbs();
    let foreign = seq(&[&crate::credential::x509_tests::oid("1.2.3.4")]);
    let outside = seq(&[&tbs, &foreign, &signature(&CA_KEY, &tbs)]);
    assert_eq!(Crl::read(&outside, &authorities), Err(CrlError::Malformed));
}

#[test]
fn an_unsupported_signature_is_named() {
    let foreign = seq(&[&crate::credential::x509_tests::oid("1.2.3.4")]);
    let tbs = seq(&[&int(&[1]), &foreign, &ca_name(), &utc("260102030405Z")]);
    let der = seq(&[&tbs, &foreign, &signature(&CA_KEY, &tbs)]);
    let refused = Crl::read(&der, &[authority(&[]).der()]);
    assert_eq!(refused, Err(CrlError::Algorithm { algorithm: "1.2.3.4".to_owned() }));
}

#[test]
fn an_authority_must_be_entitled_to_sign_lists() {
    let der = list(&[]).signed(&CA_KEY);
    let by = |authority: crate::credential::x509_tests::Draft| Crl::read(&der, &[authority.der()]).map(drop);
    let refused = || Err(CrlError::NotEntitled { issuer: "CN=Fleet CA,O=Example".to_owned() });
    assert_eq!(by(authority(&[key_usage(CRL_SIGN)])), Ok(()));
    assert_eq!(by(authority(&[key_usage(CRL_SIGN | CERT_SIGN)])), Ok(()));
    assert_eq!(by(authority(&[key_usage(CERT_SIGN)])), refused());
    let mut no_authority = authority(&[]);
    no_authority.extensions = vec![basic_constraints(false)];
    assert_eq!(by(no_authority.clone()), refused());
    no_authority.extensions.clear();
    assert_eq!(by(no_authority.clone()), refused());
    no_authority.version = None;
    assert_eq!(by(no_authority), refused());
}

#[test]
fn the_key_identifier_tells_authorities_of_one_name_apart() {
    let names_key = |id: &[u8]| extension("2.5.29.35", false, &seq(&[&tlv(0x80, &[id])]));
    let has_key = |id: &[u8]| extension("2.5.29.14", false, &tlv(4, &[id]));
    let der = list(&[]).with(names_key(b"one")).signed(&CA_KEY);
    assert!(Crl::read(&der, &[authority(&[has_key(b"one")]).der()]).is_ok());
    assert!(Crl::read(&der, &[authority(&[]).der()]).is_ok());
    let other = Crl::read(&der, &[authority(&[has_key(b"two")]).der()]);
    assert!(matches!(other, Err(CrlError::OtherIssuer { .. })), "{other:?}");
}

#[test]
fn what_a_list_is_about_must_be_all_clients() {
    let with = |parts: &[&[u8]]| list(&[]).with(point(parts)).read().map(|read| read.scope.is_some());
    let name = |uri: &[u8]| tlv(0xa0, &[&tlv(0xa0, &[&tlv(0x86, &[uri])])]);
    assert_eq!(with(&[]), Ok(false));
    assert_eq!(with(&[&name(b"http://c/1.crl")]), Ok(true));
    assert_eq!(with(&[&tlv(0x81, &[&[0xff]])]), Ok(false));
    assert_eq!(with(&[&tlv(0x84, &[&[0xff]])]), Err(CrlError::Indirect));
    assert_eq!(with(&[&tlv(0x82, &[&[0xff]])]), Err(CrlError::Partial));
    assert_eq!(with(&[&tlv(0x85, &[&[0xff]])]), Err(CrlError::Partial));
    assert_eq!(with(&[&tlv(0x83, &[&[0, 0x40]])]), Err(CrlError::Partial));
    assert_eq!(with(&[&tlv(0x86, &[&[0xff]])]), Err(CrlError::Malformed));
    let scope = |uri| list(&[]).with(point(&[&name(uri)])).read().unwrap().scope;
    assert_ne!(scope(b"http://c/1.crl"), scope(b"http://c/2.crl"));
}

#[test]
fn what_is_critical_and_unknown_is_refused() {
    let unknown = |critical| extension("1.2.3.4", critical, &[5, 0]);
    let error = || Err(CrlError::UnknownExtension { oid: "1.2.3.4".to_owned() });
    assert_eq!(list(&[]).with(unknown(true)).read(), error());
    assert_eq!(list(&[revoked(&[1], &[unknown(true)])]).read(), error());
    assert!(list(&[revoked(&[1], &[unknown(false)])]).with(unknown(false)).read().is_ok());
    // The certificate issuer of an entry of an indirect list.
    let elsewhere = extension("2.5.29.29", true, &seq(&[&tlv(0xa4, &[&cn("Other CA")])]));
    assert!(matches!(list(&[revoked(&[1], &[elsewhere])]).read(), Err(CrlError::UnknownExtension { .. })));
    assert_eq!(list(&[]).with(number(8)).read(), Err(CrlError::Malformed));
}

#[test]
fn a_hundred_thousand_entries_are_read() {
    let entries: Vec<_> =
        (0..100_000_u32).map(|at| revoked(&[&[1], &at.to_be_bytes()[..]].concat(), &[reason(4)])).collect();
    let read = list(&entries).read().unwrap();
    assert_eq!(read.entries.len(), 100_000);
    assert_eq!(read.entries[99_999].serial, "10001869f");
}

proptest::proptest! {
    #[test]
    fn a_damaged_list_is_refused(at in 0_usize..900, with in proptest::num::u8::ANY, cut in 0_usize..900) {
        static GOOD: std::sync::LazyLock<(Vec<u8>, Vec<u8>)> = std::sync::LazyLock::new(|| {
            let point = point(&[&tlv(0xa0, &[&tlv(0xa0, &[&tlv(0x86, &[b"http://c"])])]), &tlv(0x81, &[&[0xff]])]);
            let entries = [revoked(&[1], &[reason(1)]), revoked(&[2], &[])];
            (list(&entries).with(delta(3)).with(point).signed(&CA_KEY), authority(&[key_usage(CRL_SIGN)]).der())
        });
        let (mut list, authority) = GOOD.clone();
        let at = at % list.len();
        let changed = std::mem::replace(&mut list[at], with) != with || cut < list.len();
        list.truncate(cut);
        proptest::prop_assert!(Crl::read(&list, std::slice::from_ref(&authority)).is_err() || !changed);
    }

    /// As an authority that makes mistakes would sign it.
    #[test]
    fn a_strange_list_is_read_or_not(at in 0_usize..900, with in proptest::num::u8::ANY, cut in 0_usize..2000) {
        let point = point(&[&tlv(0xa0, &[&tlv(0xa0, &[&tlv(0x86, &[b"http://c"])])]), &tlv(0x81, &[&[0xff]])]);
        let mut tbs = list(&[revoked(&[1], &[reason(1)]), revoked(&[2], &[])]).with(delta(3)).with(point).tbs();
        let at = at % tbs.len();
        tbs[at] = with;
        tbs.truncate(cut.max(1));
        let _ = Crl::read(&signed(&CA_KEY, &tbs), &[authority(&[]).der()]);
    }
}
