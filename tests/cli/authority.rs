//! A throw-away certificate authority, as files for `warden` to read.

use std::fs;
use std::path::{Path, PathBuf};

use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509Builder, X509Name, X509NameRef};

/// An authority whose files stand in one directory.
pub(crate) struct Authority {
    directory: PathBuf,
    key: PKey<Private>,
    certificate: X509,
}

impl Authority {
    /// Writes its own certificate to `NAME.pem`.
    pub(crate) fn new(directory: &Path, name: &str) -> Self {
        let key = new_key();
        let subject = subject(&[("CN", name), ("O", "Example")]);
        let mut builder = builder(&subject, 1, &key);
        builder.set_issuer_name(&subject).unwrap();
        builder.append_extension(BasicConstraints::new().critical().ca().build().unwrap()).unwrap();
        builder.sign(&key, MessageDigest::sha256()).unwrap();
        let certificate = builder.build();
        fs::write(directory.join(format!("{name}.pem")), certificate.to_pem().unwrap()).unwrap();
        Self { directory: directory.to_owned(), key, certificate }
    }

    /// Writes a certificate with these common names to `FILE.pem` and `FILE.der`.
    pub(crate) fn issue(&self, file: &str, serial: u32, common_names: &[&str]) -> X509 {
        self.issue_with(file, serial, common_names, |_| {})
    }

    /// The same with alternative names.
    pub(crate) fn issue_with(
        &self,
        file: &str,
        serial: u32,
        common_names: &[&str],
        alternative: impl FnOnce(&mut SubjectAlternativeName),
    ) -> X509 {
        let names: Vec<_> = common_names.iter().map(|name| ("CN", *name)).collect();
        let key = new_key();
        let mut builder = builder(&subject(&names), serial, &key);
        builder.set_issuer_name(self.certificate.subject_name()).unwrap();
        let mut names = SubjectAlternativeName::new();
        alternative(&mut names);
        // Without any name it cannot be built.
        if let Ok(extension) = names.build(&builder.x509v3_context(Some(&self.certificate), None)) {
            builder.append_extension(extension).unwrap();
        }
        builder.sign(&self.key, MessageDigest::sha256()).unwrap();
        let certificate = builder.build();
        fs::write(self.directory.join(format!("{file}.pem")), certificate.to_pem().unwrap()).unwrap();
        fs::write(self.directory.join(format!("{file}.der")), certificate.to_der().unwrap()).unwrap();
        certificate
    }
}

/// The SHA-256 of a certificate, as `warden` writes it.
pub(crate) fn sha256(certificate: &X509) -> String {
    hex(&certificate.digest(MessageDigest::sha256()).unwrap())
}

/// The SHA-256 of its public key.
pub(crate) fn spki_sha256(certificate: &X509) -> String {
    let key = certificate.public_key().unwrap().public_key_to_der().unwrap();
    hex(&openssl::hash::hash(MessageDigest::sha256(), &key).unwrap())
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from_digit(digit.into(), 16).unwrap())
        .collect()
}

fn new_key() -> PKey<Private> {
    let group = openssl::ec::EcGroup::from_curve_name(openssl::nid::Nid::X9_62_PRIME256V1).unwrap();
    PKey::from_ec_key(openssl::ec::EcKey::generate(&group).unwrap()).unwrap()
}

fn subject(parts: &[(&str, &str)]) -> X509Name {
    let mut name = X509Name::builder().unwrap();
    for (kind, value) in parts {
        name.append_entry_by_text(kind, value).unwrap();
    }
    name.build()
}

fn builder(subject: &X509NameRef, serial: u32, key: &PKey<Private>) -> X509Builder {
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_serial_number(&BigNum::from_u32(serial).unwrap().to_asn1_integer().unwrap()).unwrap();
    builder.set_subject_name(subject).unwrap();
    builder.set_pubkey(key).unwrap();
    builder.set_not_before(&Asn1Time::from_str_x509("20260101000000Z").unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::from_str_x509("20360101000000Z").unwrap()).unwrap();
    builder
}
