//! Certificate revocation lists (RFC 5280, section 5), of any length and any date.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use openssl::hash::MessageDigest;
use openssl::sign::Signer;

use super::Authority;
use super::ca::der;

/// What is to be in a list.
#[derive(Debug, Clone)]
pub(crate) struct RevocationList {
    pub(crate) number: u32,
    /// In hexadecimal digits.
    pub(crate) serials: Vec<String>,
    /// When it was made and when the next one is due, in seconds from now.
    pub(crate) dates: (i64, i64),
}

impl RevocationList {
    /// The first one, made now, good for a day.
    pub(crate) fn of(serials: Vec<String>) -> Self {
        Self { number: 1, serials, dates: (-60, 24 * 3600) }
    }

    /// Writes it to a file (PEM), which is replaced as a whole.
    pub(crate) fn write(&self, authority: &Authority, file: &Path) {
        let base64 = openssl::base64::encode_block(&self.signed(authority));
        let lines: Vec<&str> = base64.as_bytes().chunks(64).map(|line| str::from_utf8(line).unwrap()).collect();
        let pem = format!("-----BEGIN X509 CRL-----\n{}\n-----END X509 CRL-----\n", lines.join("\n"));
        let half = file.with_extension("half");
        std::fs::write(&half, pem).unwrap();
        std::fs::rename(half, file).unwrap();
    }

    /// The list (DER), signed by this authority with ECDSA and SHA-256.
    pub(crate) fn signed(&self, authority: &Authority) -> Vec<u8> {
        let algorithm = der(0x30, &der(0x06, &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 4, 3, 2]));
        let revoked_at = time(self.dates.0);
        let entry = |serial: &String| der(0x30, &[integer(&bytes(serial)), revoked_at.clone()].concat());
        let entries: Vec<u8> = self.serials.iter().flat_map(entry).collect();
        let number =
            der(0x30, &[der(0x06, &[0x55, 0x1D, 20]), der(0x04, &integer(&self.number.to_be_bytes()))].concat());
        let list = [
            integer(&[1]),
            algorithm.clone(),
            authority.certificate.subject_name().to_der().unwrap(),
            time(self.dates.0),
            time(self.dates.1),
            // An empty list is left out (section 5.1.2.6).
            if entries.is_empty() { Vec::new() } else { der(0x30, &entries) },
            der(0xA0, &der(0x30, &number)),
        ];
        let list = der(0x30, &list.concat());
        let mut signer = Signer::new(MessageDigest::sha256(), &authority.key).unwrap();
        let signature = signer.sign_oneshot_to_vec(&list).unwrap();
        der(0x30, &[list, algorithm, der(0x03, &[&[0][..], &signature].concat())].concat())
    }
}

/// A `UTCTime`, with two digits for the year: the other kind is right from 2050 on only.
fn time(offset: i64) -> Vec<u8> {
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
    let moment = jiff::Timestamp::from_second(now + offset).unwrap();
    der(0x17, moment.strftime("%y%m%d%H%M%SZ").to_string().as_bytes())
}

/// A positive INTEGER of these bytes.
fn integer(bytes: &[u8]) -> Vec<u8> {
    let significant: Vec<u8> = bytes.iter().copied().skip_while(|byte| *byte == 0).collect();
    match significant.first() {
        None => der(0x02, &[0]),
        Some(first) if *first >= 0x80 => der(0x02, &[&[0][..], &significant].concat()),
        Some(_) => der(0x02, &significant),
    }
}

fn bytes(digits: &str) -> Vec<u8> {
    let even = format!("{}{digits}", if digits.len() % 2 == 1 { "0" } else { "" });
    (0..even.len()).step_by(2).map(|at| u8::from_str_radix(&even[at..at + 2], 16).unwrap()).collect()
}
