//! Any bytes as a client certificate: whoever it says its holder is, that must be usable as an identity, be among what
//! the certificate says of itself, and be the same to everybody who asks.
//!
//! The first two bytes choose how it is read, the rest is the certificate.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use mosquitto_warden::credential::certificate::{Field, Reading, describe, id, not_before, read};
use mosquitto_warden::credential::ocsp;

const FIELDS: [Field; 9] = [
    Field::SanUri,
    Field::SanDns,
    Field::SanEmail,
    Field::SanIp,
    Field::Cn,
    Field::Sha256,
    Field::SpkiSha256,
    Field::Subject,
    Field::Serial,
];

fuzz_target!(|data: &[u8]| {
    let [first, second, der @ ..] = data else { return };
    // All orders that begin with any of the fields, and so many of those that follow.
    let (start, many) = (usize::from(first % 9), 1 + usize::from(second % 9));
    let identity: Vec<Field> = FIELDS.into_iter().cycle().skip(start).take(many).collect();
    let ext_key_usage = second & 0x80 != 0;
    let reading = Reading { identity, ext_key_usage, clock_skew: Duration::from_secs(u64::from(*first)) };

    let _ = (not_before(der), ocsp::responder(der));
    let described = describe(der);
    let Ok(certificate) = read(der, &reading, Box::default()) else { return };
    let field = *reading.identity.iter().find(|field| field.kind() == certificate.kind).expect("it was asked for");
    let name = &*certificate.identity;
    assert!(!name.is_empty() && name.len() <= 65_535 && !name.contains(char::is_control), "{name:?}");

    // Where the alternative names are damaged there is no description, but there may be an identity that is none of them.
    let Ok(description) = described else {
        assert!(!matches!(field, Field::SanUri | Field::SanDns | Field::SanEmail | Field::SanIp), "{field}");
        return;
    };
    let said = match field {
        Field::SanUri => &description.san_uris[..],
        Field::SanDns => &description.san_dns,
        Field::SanEmail => &description.san_emails,
        Field::SanIp => &description.san_ips,
        Field::Cn => &description.common_names,
        Field::Sha256 => std::slice::from_ref(&description.sha256),
        Field::SpkiSha256 => std::slice::from_ref(&description.spki_sha256),
        Field::Subject => std::slice::from_ref(&description.subject),
        Field::Serial => std::slice::from_ref(&description.serial),
    };
    assert_eq!(said, [name], "{field}");
    assert_eq!(certificate.id, description.id);
    // Who types what we print revokes this certificate.
    assert_eq!(id(&description.issuer, &description.serial), Ok(certificate.id), "{}", description.issuer);
    // The tolerance for clocks takes nothing off.
    assert!(certificate.not_before <= description.not_before && certificate.not_after > description.not_after);
});
