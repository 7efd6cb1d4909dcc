//! Any bytes as a revocation list and as a responder's answer. Where the first byte says so we sign them, because what
//! nobody has signed is not read far.
#![no_main]

use std::sync::LazyLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use mosquitto_warden::credential::certificate::id;
use mosquitto_warden::credential::crl::Crl;
use mosquitto_warden::credential::ocsp::{Answer, Request};
use ring::signature::Ed25519KeyPair;

/// An authority, and a certificate that it has issued; the key is the one below. Made by `fixtures/make.sh`.
const AUTHORITY: &[u8] = include_bytes!("../fixtures/ca.der");
const LEAF: &[u8] = include_bytes!("../fixtures/leaf.der");
static KEY: LazyLock<Ed25519KeyPair> =
    LazyLock::new(|| Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("any 32 bytes are a key"));

/// 2027-01-15, when everything is valid.
const NOW: i64 = 1_800_000_000;
const MAX_AGE: Duration = Duration::from_secs(3600);
/// The algorithm identifier of Ed25519 (RFC 8410, section 3).
const ED25519: [u8; 7] = [0x30, 5, 6, 3, 0x2B, 0x65, 0x70];
/// `id-pkix-ocsp-basic` (RFC 6960, section 4.2.1).
const BASIC: [u8; 11] = [6, 9, 0x2B, 6, 1, 5, 5, 7, 48, 1, 1];

fuzz_target!(|data: &[u8]| {
    let [mode, input @ ..] = data else { return };
    match mode % 4 {
        0 => list(input),
        1 => list(&signed(input)),
        2 => answer(input),
        _ => {
            let basic = tlv(0x30, &[&BASIC[..], &tlv(4, &signed(input))].concat());
            answer(&tlv(0x30, &[&[0x0A, 1, 0][..], &tlv(0xA0, &basic)].concat()));
        }
    }
});

fn list(bytes: &[u8]) {
    let Ok(list) = Crl::read(bytes, &[AUTHORITY.to_vec()]) else { return };
    let _ = list.is_past(NOW);
    for entry in list.entries.iter().take(100) {
        let digits = entry.serial.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
        assert!(digits && !entry.serial.is_empty(), "{}", entry.serial);
        // Who types what we print means the same certificate.
        assert_eq!(id(&list.issuer, &entry.serial), Ok(entry.id), "{}", list.issuer);
    }
}

fn answer(bytes: &[u8]) {
    let question = Request::new(LEAF, AUTHORITY, [9; 32]).expect("it is about this certificate");
    let [lenient, strict] = [false, true].map(|nonce| question.check(bytes, NOW, MAX_AGE, nonce));
    if let Ok(Answer { this_update, next_update, .. }) = lenient {
        assert!(this_update < NOW + 3600 && next_update.is_none_or(|next| next >= NOW), "{lenient:?}");
    }
    assert!(strict.is_err() || strict == lenient);
}

/// These bytes with our signature.
fn signed(data: &[u8]) -> Vec<u8> {
    let signature = [&[0], KEY.sign(data).as_ref()].concat();
    tlv(0x30, &[data, &ED25519, &tlv(3, &signature)].concat())
}

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let significant = length.iter().position(|byte| *byte != 0).unwrap_or(length.len() - 1);
    let length = &length[significant..];
    let long = content.len() > 0x7F;
    let header = if long { vec![tag, 0x80 | length.len() as u8] } else { vec![tag] };
    [&header, length, content].concat()
}
