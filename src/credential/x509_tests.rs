//! Certificates and lists for tests, put together byte by byte: also such as no tool would make.

use std::sync::LazyLock;

use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};

/// A key pair. Not one of the `openssl` crate: with OpenSSL in the process, the tests of the handshake hook would find
/// it there.
pub(super) struct Key {
    pair: EcdsaKeyPair,
    pkcs8: Vec<u8>,
}

/// Keys that are made once: of the authority, of devices, and of somebody else.
pub(super) static CA_KEY: LazyLock<Key> = LazyLock::new(Key::generate);
pub(super) static DEVICE_KEY: LazyLock<Key> = LazyLock::new(Key::generate);
pub(super) static OTHER_KEY: LazyLock<Key> = LazyLock::new(Key::generate);

impl Key {
    fn generate() -> Self {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap().as_ref().to_vec();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &pkcs8, &random).unwrap();
        Self { pair, pkcs8 }
    }

    /// Its `SubjectPublicKeyInfo`.
    pub(super) fn spki(&self) -> Vec<u8> {
        let algorithm = seq(&[&oid("1.2.840.10045.2.1"), &oid("1.2.840.10045.3.1.7")]);
        seq(&[&algorithm, &tlv(3, &[&[0], self.pair.public_key().as_ref()])])
    }

    pub(super) fn pem(&self) -> Vec<u8> {
        pem("PRIVATE KEY", &self.pkcs8)
    }
}

/// An element of DER with this tag and what is in it.
pub(super) fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let mut out = vec![tag];
    match content.len() {
        short @ 0..0x80 => out.push(u8::try_from(short).unwrap()),
        long => {
            let bytes: Vec<u8> = long.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
            out.push(0x80 | u8::try_from(bytes.len()).unwrap());
            out.extend(bytes);
        }
    }
    out.extend(content);
    out
}

pub(super) fn seq(parts: &[&[u8]]) -> Vec<u8> {
    tlv(0x30, parts)
}

pub(super) fn int(content: &[u8]) -> Vec<u8> {
    tlv(2, &[content])
}

/// An object identifier, from its numbers.
pub(super) fn oid(numbers: &str) -> Vec<u8> {
    let numbers: Vec<u32> = numbers.split('.').map(|number| number.parse().unwrap()).collect();
    let mut content = Vec::new();
    for number in [&[40 * numbers[0] + numbers[1]], &numbers[2..]].concat() {
        let sevens = (0..5).rev().map(|at| u8::try_from(number >> (7 * at) & 0x7f).unwrap());
        let mut sevens: Vec<u8> = sevens.skip_while(|seven| *seven == 0).collect();
        let last = sevens.pop().unwrap_or(0);
        content.extend(sevens.iter().map(|seven| 0x80 | seven));
        content.push(last);
    }
    tlv(6, &[&content])
}

pub(super) const CN: &str = "2.5.4.3";
pub(super) const UTF8: u8 = 0x0c;

/// A name in which every attribute stands alone: type, tag of the value, value.
pub(super) fn name(attributes: &[(&str, u8, &[u8])]) -> Vec<u8> {
    let rdns: Vec<Vec<u8>> =
        attributes.iter().map(|(kind, tag, value)| tlv(0x31, &[&seq(&[&oid(kind), &tlv(*tag, &[value])])])).collect();
    seq(&rdns.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

/// A name with this common name only.
pub(super) fn cn(text: &str) -> Vec<u8> {
    name(&[(CN, UTF8, text.as_bytes())])
}

/// `CN=Fleet CA,O=Example`.
pub(super) fn ca_name() -> Vec<u8> {
    name(&[("2.5.4.10", UTF8, b"Example"), (CN, 0x13, b"Fleet CA")])
}

pub(super) fn extension(kind: &str, critical: bool, value: &[u8]) -> Vec<u8> {
    let flag = if critical { vec![1, 1, 0xff] } else { Vec::new() };
    seq(&[&oid(kind), &flag, &tlv(4, &[value])])
}

/// Alternative names: the number of the kind (2 DNS, 6 URI…) and the bytes.
pub(super) fn san(names: &[(u8, &[u8])]) -> Vec<u8> {
    let names: Vec<Vec<u8>> = names.iter().map(|(kind, name)| tlv(0x80 | kind, &[name])).collect();
    extension("2.5.29.17", false, &seq(&names.iter().map(Vec::as_slice).collect::<Vec<_>>()))
}

pub(super) fn basic_constraints(ca: bool) -> Vec<u8> {
    extension("2.5.29.19", true, &seq(&[if ca { &[1, 1, 0xff][..] } else { &[] }]))
}

/// Extended key usage for these purposes.
pub(super) fn usage(purposes: &[&str]) -> Vec<u8> {
    extension("2.5.29.37", false, &seq(&purposes.iter().map(|it| oid(it)).collect::<Vec<_>>().each()))
}

trait Each {
    fn each(&self) -> Vec<&[u8]>;
}

impl Each for Vec<Vec<u8>> {
    fn each(&self) -> Vec<&[u8]> {
        self.iter().map(Vec::as_slice).collect()
    }
}

/// `2026-01-02 03:04:05` as `260102030405Z`.
pub(super) fn utc(time: &str) -> Vec<u8> {
    tlv(0x17, &[time.as_bytes()])
}

pub(super) fn ecdsa_sha256() -> Vec<u8> {
    seq(&[&oid("1.2.840.10045.4.3.2")])
}

pub(super) fn signature(key: &Key, data: &[u8]) -> Vec<u8> {
    tlv(3, &[&[0], key.pair.sign(&SystemRandom::new(), data).unwrap().as_ref()])
}

/// What is signed, the algorithm and the signature, in a SEQUENCE.
pub(super) fn signed(key: &Key, data: &[u8]) -> Vec<u8> {
    seq(&[data, &ecdsa_sha256(), &signature(key, data)])
}

/// A certificate; what a test does not say is what a device of this fleet would have.
#[derive(Clone)]
pub(super) struct Draft {
    pub(super) version: Option<u8>,
    pub(super) serial: Vec<u8>,
    pub(super) issuer: Vec<u8>,
    pub(super) subject: Vec<u8>,
    pub(super) not_before: Vec<u8>,
    pub(super) not_after: Vec<u8>,
    pub(super) spki: Vec<u8>,
    pub(super) extensions: Vec<Vec<u8>>,
}

impl Draft {
    pub(super) fn new(subject: Vec<u8>) -> Self {
        Self {
            version: Some(2),
            serial: vec![0x12, 0xab],
            issuer: ca_name(),
            subject,
            not_before: utc("260102030405Z"),
            not_after: utc("270102030405Z"),
            spki: DEVICE_KEY.spki(),
            extensions: Vec::new(),
        }
    }

    pub(super) fn with(mut self, extension: Vec<u8>) -> Self {
        self.extensions.push(extension);
        self
    }

    pub(super) fn tbs(&self) -> Vec<u8> {
        let version = self.version.map_or_else(Vec::new, |version| tlv(0xa0, &[&int(&[version])]));
        let extensions = match self.extensions.as_slice() {
            [] => Vec::new(),
            _ => tlv(0xa3, &[&seq(&self.extensions.each())]),
        };
        seq(&[
            &version,
            &int(&self.serial),
            &ecdsa_sha256(),
            &self.issuer,
            &seq(&[&self.not_before, &self.not_after]),
            &self.subject,
            &self.spki,
            &extensions,
        ])
    }

    pub(super) fn der(&self) -> Vec<u8> {
        signed(&CA_KEY, &self.tbs())
    }
}

/// A device whose subject is this common name.
pub(super) fn device(common_name: &str) -> Draft {
    Draft::new(cn(common_name))
}

/// The authority, with basic constraints and these further extensions.
pub(super) fn authority(extensions: &[Vec<u8>]) -> Draft {
    let mut draft = Draft::new(ca_name()).with(basic_constraints(true));
    draft.spki = CA_KEY.spki();
    draft.serial = vec![1];
    draft.extensions.extend_from_slice(extensions);
    draft
}

/// The same file as PEM, with a word before it.
pub(super) fn pem(label: &str, der: &[u8]) -> Vec<u8> {
    let text = data_encoding::BASE64.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| str::from_utf8(line).unwrap()).collect();
    format!("a list of ours\n-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n")).into_bytes()
}

/// What the openssl command writes to standard output for this input.
pub(super) fn openssl(arguments: &[&str], input: &[u8]) -> String {
    use std::io::Write;
    use std::process::{Command, Stdio};
    let mut command = Command::new("openssl");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the openssl command is missing: make deps");
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
