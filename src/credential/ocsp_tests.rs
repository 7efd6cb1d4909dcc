use std::fs;
use std::process::Command;
use std::time::SystemTime;

use super::*;
use crate::credential::x509_tests::{
    CA_KEY, DEVICE_KEY, Draft, Key, OTHER_KEY, authority, cn, device, extension, int, oid, pem, seq, signed, tlv,
    usage, utc,
};

const NONCE: [u8; 32] = [0xa5; 32];
/// 2026-06-01, in the middle of the life of all certificates here.
const NOW: UnixSeconds = 1_780_272_000;
const MAX_AGE: Duration = Duration::from_hours(1);
const OCSP_SIGNING: &str = "1.3.6.1.5.5.7.3.9";

fn leaf() -> Draft {
    device("device-001")
}

fn request() -> Request {
    Request::new(&leaf().der(), &authority(&[]).der(), NONCE).unwrap()
}

fn generalized(time: &str) -> Vec<u8> {
    tlv(0x18, &[time.as_bytes()])
}

/// A response; what a test does not say is that our certificate is good, as the authority itself says.
#[derive(Clone)]
struct Response {
    status: u8,
    kind: &'static str,
    responder: Vec<u8>,
    singles: Vec<Vec<u8>>,
    extensions: Vec<Vec<u8>>,
    certificates: Vec<Vec<u8>>,
}

fn response(request: &Request, single: &Single) -> Response {
    Response {
        status: 0,
        kind: "1.3.6.1.5.5.7.48.1.1",
        responder: tlv(0xa1, &[&authority(&[]).subject]),
        singles: vec![single.der(request)],
        extensions: vec![nonce(&NONCE)],
        certificates: Vec::new(),
    }
}

#[derive(Clone)]
struct Single {
    status: Vec<u8>,
    this_update: &'static str,
    next_update: Option<&'static str>,
    extensions: Vec<u8>,
}

fn good() -> Single {
    let (this_update, next_update) = ("20260531235900Z", Some("20260601010000Z"));
    Single { status: tlv(0x80, &[]), this_update, next_update, extensions: Vec::new() }
}

impl Single {
    fn der(&self, request: &Request) -> Vec<u8> {
        let next = self.next_update.map_or_else(Vec::new, |time| tlv(0xa0, &[&generalized(time)]));
        let id = request.id.to_der().unwrap();
        let extensions = if self.extensions.is_empty() { Vec::new() } else { tlv(0xa1, &[&seq(&[&self.extensions])]) };
        seq(&[&id, &self.status, &generalized(self.this_update), &next, &extensions])
    }
}

fn nonce(bytes: &[u8]) -> Vec<u8> {
    extension("1.3.6.1.5.5.7.48.1.2", false, &tlv(4, &[bytes]))
}

impl Response {
    /// What is signed of it.
    fn data(&self) -> Vec<u8> {
        let extensions =
            if self.extensions.is_empty() { Vec::new() } else { tlv(0xa1, &[&seq(&[&self.extensions.concat()])]) };
        let singles = seq(&[&self.singles.concat()]);
        seq(&[&self.responder, &generalized("20260601000000Z"), &singles, &extensions])
    }

    fn signed(&self, key: &Key) -> Vec<u8> {
        self.around(&self.data(), key)
    }

    fn around(&self, data: &[u8], key: &Key) -> Vec<u8> {
        let basic = signed(key, data);
        let certificates =
            if self.certificates.is_empty() { Vec::new() } else { tlv(0xa0, &[&seq(&[&self.certificates.concat()])]) };
        let basic = seq(&[der::only(&basic, der::SEQUENCE).unwrap(), &certificates]);
        let bytes = tlv(0xa0, &[&seq(&[&oid(self.kind), &tlv(4, &[&basic])])]);
        seq(&[&tlv(10, &[&[self.status]]), if self.status == 0 { &bytes } else { &[] }])
    }

    fn check(&self, request: &Request) -> Result<Status, OcspError> {
        request.check(&self.signed(&CA_KEY), NOW, MAX_AGE, true).map(|answer| answer.status)
    }
}

fn said(single: &Single) -> Result<Status, OcspError> {
    let request = request();
    response(&request, single).check(&request)
}

#[test]
fn each_status_is_understood() {
    let with = |status: Vec<u8>| said(&Single { status, ..good() });
    assert_eq!(with(tlv(0x80, &[])), Ok(Status::Good));
    let time = generalized("20260530000000Z");
    assert_eq!(with(tlv(0xa1, &[&time])), Ok(Status::Revoked));
    assert_eq!(with(tlv(0xa1, &[&time, &tlv(0xa0, &[&tlv(10, &[&[1]])])])), Ok(Status::Revoked));
    assert_eq!(with(tlv(0x82, &[])), Ok(Status::Unknown));
    assert_eq!(with(tlv(0x83, &[])), Err(OcspError::Malformed));
}

#[test]
fn the_times_are_those_of_the_response() {
    let request = request();
    let answer = request.check(&response(&request, &good()).signed(&CA_KEY), NOW, MAX_AGE, true).unwrap();
    assert_eq!((answer.this_update, answer.next_update), (NOW - 60, Some(NOW + 3600)));
}

#[test]
fn only_a_current_answer_counts() {
    let times = |this_update, next_update| said(&Single { this_update, next_update, ..good() });
    assert_eq!(times("20260601000500Z", None), Ok(Status::Good));
    assert_eq!(times("20260601000501Z", None), Err(OcspError::Future));
    assert_eq!(times("20260531230000Z", None), Ok(Status::Good));
    assert_eq!(times("20260531225959Z", None), Err(OcspError::Old));
    assert_eq!(times("20260501000000Z", Some("20260601000000Z")), Ok(Status::Good));
    assert_eq!(times("20260501000000Z", Some("20260531235959Z")), Err(OcspError::Old));
}

#[test]
fn a_refusal_is_no_answer() {
    let request = request();
    for (status, words) in [
        (1, "malformed request"),
        (2, "internal error"),
        (3, "try later"),
        (5, "the request must be signed"),
        (6, "unauthorized"),
    ] {
        let refusal = Response { status, ..response(&request, &good()) };
        assert_eq!(refusal.check(&request), Err(OcspError::Refused(words)));
    }
    assert_eq!(Response { status: 4, ..response(&request, &good()) }.check(&request), Err(OcspError::Malformed));
    let other = Response { kind: "1.2.3.4", ..response(&request, &good()) };
    assert_eq!(other.check(&request), Err(OcspError::Malformed));
}

#[test]
fn the_answer_must_be_about_our_certificate() {
    let ours = request();
    let mut neighbour = leaf();
    neighbour.serial = vec![0x77];
    let theirs = Request::new(&neighbour.der(), &authority(&[]).der(), NONCE).unwrap();
    let mut about = response(&theirs, &good());
    assert_eq!(about.check(&ours), Err(OcspError::OtherCertificate));
    // It may be one of several.
    about.singles.push(Single { status: tlv(0x82, &[]), ..good() }.der(&ours));
    assert_eq!(about.check(&ours), Ok(Status::Unknown));
    about.singles.push(good().der(&ours));
    assert_eq!(about.check(&ours), Err(OcspError::Malformed));
    about.singles.clear();
    assert_eq!(about.check(&ours), Err(OcspError::OtherCertificate));
}

#[test]
fn the_nonce_tells_whether_it_answers_this_question() {
    let request = request();
    let mut other = response(&request, &good());
    other.extensions = vec![nonce(&[1; 32])];
    assert_eq!(other.check(&request), Err(OcspError::Nonce));
    assert_eq!(request.check(&other.signed(&CA_KEY), NOW, MAX_AGE, false), Err(OcspError::Nonce));
    other.extensions = vec![nonce(&NONCE), nonce(&NONCE)];
    assert_eq!(other.check(&request), Err(OcspError::Malformed));
    other.extensions.clear();
    assert_eq!(other.check(&request), Err(OcspError::NoNonce));
    assert!(request.check(&other.signed(&CA_KEY), NOW, MAX_AGE, false).is_ok());
}

#[test]
fn what_is_critical_and_unknown_is_refused() {
    let request = request();
    let unknown = || Err(OcspError::UnknownExtension("1.2.3.4".to_owned()));
    let mut asks = response(&request, &good());
    asks.extensions.push(extension("1.2.3.4", false, &[5, 0]));
    assert_eq!(asks.check(&request), Ok(Status::Good));
    asks.extensions.push(extension("1.2.3.4", true, &[5, 0]));
    assert_eq!(asks.check(&request), unknown());
    assert_eq!(said(&Single { extensions: extension("1.2.3.4", true, &[5, 0]), ..good() }), unknown());
}

#[test]
fn only_the_issuer_and_its_delegates_are_believed() {
    let request = request();
    let from_issuer = response(&request, &good());
    let check = |der: &[u8]| request.check(der, NOW, MAX_AGE, true).map(|answer| answer.status);
    assert_eq!(check(&from_issuer.signed(&OTHER_KEY)), Err(OcspError::Signature));
    let key_hash = |key: &Key| {
        let spki = key.spki();
        let (_, spki) = SubjectPublicKeyInfo::from_der(&spki).unwrap();
        tlv(0xa2, &[&tlv(4, &[&Sha1::digest(&spki.subject_public_key.data)])])
    };
    let by_key = Response { responder: key_hash(&CA_KEY), ..from_issuer.clone() };
    assert_eq!(check(&by_key.signed(&CA_KEY)), Ok(Status::Good));
    let nobody = Response { responder: key_hash(&OTHER_KEY), ..from_issuer.clone() };
    assert_eq!(check(&nobody.signed(&OTHER_KEY)), Err(OcspError::Responder));

    let delegate = || {
        let mut delegate = Draft::new(cn("OCSP")).with(usage(&[OCSP_SIGNING]));
        delegate.spki = OTHER_KEY.spki();
        delegate
    };
    let by = |certificate: Vec<u8>| {
        let response = Response {
            responder: tlv(0xa1, &[&cn("OCSP")]),
            certificates: vec![device("bystander").der(), certificate],
            ..from_issuer.clone()
        };
        check(&response.signed(&OTHER_KEY))
    };
    assert_eq!(by(delegate().der()), Ok(Status::Good));
    let refused = Err(OcspError::Responder);
    assert_eq!(by(Draft { extensions: Vec::new(), ..delegate() }.der()), refused);
    assert_eq!(by(Draft { extensions: vec![usage(&["1.3.6.1.5.5.7.3.2"])], ..delegate() }.der()), refused);
    assert_eq!(by(Draft { not_after: utc("260301000000Z"), ..delegate() }.der()), refused);
    assert_eq!(by(Draft { not_before: utc("260701000000Z"), ..delegate() }.der()), refused);
    assert_eq!(by(Draft { issuer: cn("Other CA"), ..delegate() }.der()), refused);
    assert_eq!(by(Draft { subject: cn("Other"), ..delegate() }.der()), refused);
    assert_eq!(by(signed(&OTHER_KEY, &delegate().tbs())), refused);
    let key_usage = |bits| extension("2.5.29.15", true, &tlv(3, &[&[0, bits]]));
    assert_eq!(by(delegate().with(key_usage(0x80)).der()), Ok(Status::Good));
    assert_eq!(by(delegate().with(key_usage(0x02)).der()), refused);
    let other_key = Draft { spki: DEVICE_KEY.spki(), ..delegate() };
    assert_eq!(by(other_key.der()), Err(OcspError::Signature));
}

#[test]
fn a_question_needs_a_certificate_and_its_issuer() {
    let (leaf, issuer) = (leaf().der(), authority(&[]).der());
    let error = |leaf: &[u8], issuer: &[u8]| Request::new(leaf, issuer, NONCE).unwrap_err();
    assert_eq!(error(b"", &issuer), OcspError::Certificate);
    assert_eq!(error(&leaf, b""), OcspError::Certificate);
    assert_eq!(error(&leaf, &leaf), OcspError::OtherIssuer);
    let names_key = extension("2.5.29.35", false, &seq(&[&tlv(0x80, &[b"one"])]));
    let has_key = extension("2.5.29.14", false, &tlv(4, &[b"two"]));
    let leaf = device("c").with(names_key).der();
    assert!(Request::new(&leaf, &issuer, NONCE).is_ok());
    assert_eq!(error(&leaf, &authority(&[has_key]).der()), OcspError::OtherIssuer);
    let mut long = device("c");
    long.serial = vec![1; 300];
    assert_eq!(error(&long.der(), &issuer), OcspError::Certificate);
}

#[test]
fn the_responder_is_the_first_that_can_be_asked() {
    let access = |method: &str, kind: u8, place: &[u8]| seq(&[&oid(method), &tlv(kind, &[place])]);
    let (ocsp, issuers) = ("1.3.6.1.5.5.7.48.1", "1.3.6.1.5.5.7.48.2");
    let of = |places: &[Vec<u8>]| {
        responder(&leaf().with(extension("1.3.6.1.5.5.7.1.1", false, &seq(&[&places.concat()]))).der())
    };
    assert_eq!(responder(&leaf().der()), None);
    assert_eq!(responder(b"nothing"), None);
    let all = [
        access(issuers, 0x86, b"http://ca.example/ca.crt"),
        access(ocsp, 0x86, b"ldap://ocsp.example"),
        access(ocsp, 0x86, b"https://ocsp.example"),
        access(ocsp, 0x86, b"http://ocsp.example/a b"),
        access(ocsp, 0x86, b"http://"),
        access(ocsp, 0x82, b"http://ocsp.example"),
        access(ocsp, 0x86, b"HTTP://ocsp.example:8888/x"),
        access(ocsp, 0x86, b"http://second.example"),
    ];
    assert_eq!(of(&all).as_deref(), Some("HTTP://ocsp.example:8888/x"));
    assert_eq!(of(&all[..6]), None);
}

/// With the responder of OpenSSL, which reads our question and signs its own answer.
#[test]
fn openssl_answers() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let issuer = authority(&[]).der();
    fs::write(path("ca.pem"), pem("CERTIFICATE", &issuer)).unwrap();
    fs::write(path("ca.key"), CA_KEY.pem()).unwrap();
    fs::write(
        path("index"),
        "V\t270102030405Z\t\t12AB\tunknown\t/CN=a\nR\t270102030405Z\t260101000000Z\t12AC\tunknown\t/CN=b\n",
    )
    .unwrap();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let now = UnixSeconds::try_from(now).unwrap();
    for (serial, expected) in [([0x12, 0xab], Status::Good), ([0x12, 0xac], Status::Revoked), ([1, 2], Status::Unknown)]
    {
        let leaf = Draft { serial: serial.to_vec(), ..leaf() };
        let request = Request::new(&leaf.der(), &issuer, NONCE).unwrap();
        fs::write(path("request"), request.der()).unwrap();
        let mut openssl = Command::new("openssl");
        openssl.current_dir(&directory).args(["ocsp", "-index", "index", "-CA", "ca.pem", "-rsigner", "ca.pem"]);
        openssl.args(["-rkey", "ca.key", "-reqin", "request", "-respout", "response", "-ndays", "1"]);
        let output = openssl.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let answer = request.check(&fs::read(path("response")).unwrap(), now, MAX_AGE, true).unwrap();
        assert_eq!(answer.status, expected);
        assert!(answer.next_update.is_some_and(|next| next > now));
    }
}

proptest::proptest! {
    #[test]
    fn a_damaged_response_is_refused(at in 0_usize..900, with in proptest::num::u8::ANY, cut in 0_usize..1500) {
        static GOOD: std::sync::LazyLock<(Request, Vec<u8>)> = std::sync::LazyLock::new(|| {
            let request = request();
            let response = Response { certificates: vec![leaf().der()], ..response(&request, &good()) };
            let der = response.signed(&CA_KEY);
            (request, der)
        });
        let (request, mut der) = GOOD.clone();
        let at = at % der.len();
        der[at] = with;
        der.truncate(cut);
        // What is not signed may change, the certificates among it; the answer may not.
        if let Ok(answer) = request.check(&der, NOW, MAX_AGE, true) {
            proptest::prop_assert_eq!(answer.status, Status::Good);
        }
        let _ = Request::new(&der, &der, NONCE);
    }

    /// As a responder that makes mistakes would sign it.
    #[test]
    fn a_strange_response_is_understood_or_not(at in 0_usize..900, with in proptest::num::u8::ANY, cut in 0_usize..2000) {
        let request = request();
        let response = response(&request, &good());
        let mut data = response.data();
        let at = at % data.len();
        data[at] = with;
        data.truncate(cut.max(1));
        let _ = request.check(&response.around(&data, &CA_KEY), NOW, MAX_AGE, false);
    }
}

#[test]
fn a_request_is_what_rfc_6960_says() {
    let request = request();
    let decoded = OcspRequest::from_der(request.der()).unwrap();
    assert_eq!(decoded.nonce().unwrap().0.as_bytes(), NONCE);
    assert_eq!(decoded.tbs_request.request_list[0].req_cert.serial_number.to_der().unwrap(), int(&[0x12, 0xab]));
}
