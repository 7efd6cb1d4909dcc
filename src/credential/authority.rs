//! A certificate authority of our own, and what the certificates that it issues look like (RFC 5280).
//!
//! It is for the clients of a broker and for nothing else. Where its key is kept, what time it is, and who gets a
//! certificate, is not our concern.

use std::time::Duration;

use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::certificate::{Certificate, TbsCertificate, Version};
use x509_cert::der::asn1::{
    Any, BitString, GeneralizedTime, Ia5String, ObjectIdentifier, OctetString, SetOfVec, UtcTime, Utf8StringRef,
};
use x509_cert::der::oid::AssociatedOid;
use x509_cert::der::oid::db::rfc4519::COMMON_NAME;
use x509_cert::der::oid::db::rfc5280::ID_KP_CLIENT_AUTH;
use x509_cert::der::{self, Decode, Encode, EncodePem};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectAltName,
    SubjectKeyIdentifier,
};
use x509_cert::name::{Name, RdnSequence, RelativeDistinguishedName};
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::SubjectPublicKeyInfoOwned;
use x509_cert::time::{Time, Validity};

use super::certificate::sha256;
use super::key_pair::{KeyPair, KeyPairError, public_key_of};
use super::pem;
use crate::policy::device::UnixSeconds;

/// The longest common name (RFC 5280, appendix A.1: ub-common-name), in characters.
pub const LONGEST_COMMON_NAME: usize = 64;
/// RFC 5280 says at most 20 octets; of these all are random.
const SERIAL_BYTES: usize = 16;
/// 2050-01-01: up to then times are written in the short form (RFC 5280, section 4.1.2.5).
const LONG_TIMES: UnixSeconds = 2_524_608_000;

/// Why nothing was issued.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IssueError {
    #[error("the file holds no certificate of an authority")]
    Malformed,
    #[error("the certificate is not that of an authority")]
    NotAnAuthority,
    #[error("the key is not the one of the authority's certificate")]
    OtherKey,
    #[error("a common name has 1 to {LONGEST_COMMON_NAME} characters (RFC 5280), none of them a control character")]
    CommonName,
    #[error("`{0}` cannot be written into a certificate: it is empty or holds other characters than ASCII")]
    AlternativeName(String),
    #[error("the authority itself ends before the certificate would begin")]
    Ended,
    #[error("the certificate could not be encoded: {0}")]
    Encoding(der::Error),
    #[error(transparent)]
    Key(#[from] KeyPairError),
}

impl From<der::Error> for IssueError {
    fn from(error: der::Error) -> Self {
        Self::Encoding(error)
    }
}

/// A name beside the common name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AlternativeName {
    Uri(String),
    Dns(String),
}

/// What a certificate of a device is to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted<'a> {
    pub common_name: &'a str,
    pub alternative_names: &'a [AlternativeName],
    /// The first second in which it is good.
    pub not_before: UnixSeconds,
    /// The last one; if the authority ends before, then that.
    pub not_after: UnixSeconds,
}

/// An authority: its certificates and its key.
#[derive(Debug)]
pub struct Authority {
    certificate: Certificate,
    /// Those that speak for it, from the one that issued it upwards.
    above: Vec<Certificate>,
    key: KeyPair,
}

impl Authority {
    /// A new authority with this common name that vouches for itself; its certificate (PEM).
    pub fn create(
        name: &str,
        key: &KeyPair,
        not_before: UnixSeconds,
        not_after: UnixSeconds,
    ) -> Result<String, IssueError> {
        let public_key = key.public_key()?;
        let identifier = key_identifier(&public_key)?;
        let extensions = vec![
            // No authority below it: only devices.
            extension(true, &BasicConstraints { ca: true, path_len_constraint: Some(0) })?,
            extension(true, &KeyUsage(KeyUsages::KeyCertSign | KeyUsages::CRLSign))?,
            extension(false, &SubjectKeyIdentifier(identifier.clone()))?,
            extension(false, &AuthorityKeyIdentifier { key_identifier: Some(identifier), ..Default::default() })?,
        ];
        let name = named(name)?;
        let certificate = TbsCertificate {
            version: Version::V3,
            serial_number: serial_number()?,
            signature: key.signature_algorithm(),
            issuer: name.clone(),
            validity: Validity { not_before: time(not_before)?, not_after: time(not_after)? },
            subject: name,
            subject_public_key_info: public_key,
            issuer_unique_id: None,
            subject_unique_id: None,
            extensions: Some(extensions),
        };
        Ok(sign(certificate, key)?.to_pem(pkcs8::LineEnding::LF)?)
    }

    /// An authority from its certificate (PEM or DER; in PEM, those above it may follow) and its key.
    pub fn open(certificates: &[u8], key: KeyPair) -> Result<Self, IssueError> {
        let blocks = pem::blocks(certificates, "CERTIFICATE").ok_or(IssueError::Malformed)?;
        let read: Result<Vec<_>, _> = blocks.iter().map(|block| Certificate::from_der(block)).collect();
        let mut read = read.map_err(|_| IssueError::Malformed)?.into_iter();
        let certificate = read.next().ok_or(IssueError::Malformed)?;
        let constraints = certificate.tbs_certificate.get::<BasicConstraints>().map_err(|_| IssueError::Malformed)?;
        let usage = certificate.tbs_certificate.get::<KeyUsage>().map_err(|_| IssueError::Malformed)?;
        let signs = usage.is_none_or(|(_, usage)| usage.key_cert_sign());
        if !constraints.is_some_and(|(_, constraints)| constraints.ca) || !signs {
            return Err(IssueError::NotAnAuthority);
        }
        if certificate.tbs_certificate.subject_public_key_info != key.public_key()? {
            return Err(IssueError::OtherKey);
        }
        Ok(Self { certificate, above: read.collect(), key })
    }

    /// The last second in which it is good itself.
    #[must_use]
    pub fn not_after(&self) -> UnixSeconds {
        let end = self.certificate.tbs_certificate.validity.not_after;
        UnixSeconds::try_from(end.to_unix_duration().as_secs()).unwrap_or(UnixSeconds::MAX)
    }

    /// The authorities (PEM) up to the root, from this one on, as far as its file has them.
    pub fn chain(&self) -> Result<String, IssueError> {
        let pems: Result<Vec<_>, _> = std::iter::once(&self.certificate).chain(&self.above).map(to_pem).collect();
        Ok(pems?.concat())
    }

    /// A certificate (DER) by which the holder of this key (`SubjectPublicKeyInfo`, DER) is a TLS client.
    pub fn issue(&self, public_key: &[u8], wanted: &Wanted<'_>) -> Result<Vec<u8>, IssueError> {
        if self.not_after() <= wanted.not_before {
            return Err(IssueError::Ended);
        }
        let of_authority = &self.certificate.tbs_certificate;
        let public_key = public_key_of(public_key)?;
        let authority_key = match of_authority.get::<SubjectKeyIdentifier>()? {
            Some((_, identifier)) => identifier.0,
            None => key_identifier(&of_authority.subject_public_key_info)?,
        };
        let mut extensions = vec![
            extension(true, &BasicConstraints { ca: false, path_len_constraint: None })?,
            extension(true, &KeyUsage(KeyUsages::DigitalSignature.into()))?,
            extension(false, &ExtendedKeyUsage(vec![ID_KP_CLIENT_AUTH]))?,
            extension(false, &SubjectKeyIdentifier(key_identifier(&public_key)?))?,
            extension(false, &AuthorityKeyIdentifier { key_identifier: Some(authority_key), ..Default::default() })?,
        ];
        if !wanted.alternative_names.is_empty() {
            let names: Result<Vec<_>, _> = wanted.alternative_names.iter().map(general_name).collect();
            extensions.push(extension(false, &SubjectAltName(names?))?);
        }
        let certificate = TbsCertificate {
            version: Version::V3,
            serial_number: serial_number()?,
            signature: self.key.signature_algorithm(),
            issuer: of_authority.subject.clone(),
            validity: Validity {
                not_before: time(wanted.not_before)?,
                not_after: time(wanted.not_after.min(self.not_after()))?,
            },
            subject: named(wanted.common_name)?,
            subject_public_key_info: public_key,
            issuer_unique_id: None,
            subject_unique_id: None,
            extensions: Some(extensions),
        };
        Ok(sign(certificate, &self.key)?.to_der()?)
    }
}

/// A certificate (DER) as PEM.
pub fn certificate_pem(der: &[u8]) -> Result<String, IssueError> {
    to_pem(&Certificate::from_der(der)?)
}

fn to_pem(certificate: &Certificate) -> Result<String, IssueError> {
    Ok(certificate.to_pem(pkcs8::LineEnding::LF)?)
}

fn sign(tbs_certificate: TbsCertificate, key: &KeyPair) -> Result<Certificate, IssueError> {
    let signature: BitString = key.sign(&tbs_certificate.to_der()?)?;
    Ok(Certificate { tbs_certificate, signature_algorithm: key.signature_algorithm(), signature })
}

fn extension<T: AssociatedOid + Encode>(critical: bool, value: &T) -> Result<Extension, IssueError> {
    let extn_id: ObjectIdentifier = T::OID;
    Ok(Extension { extn_id, critical, extn_value: OctetString::new(value.to_der()?)? })
}

/// The leftmost 160 bits of the SHA-256 of the key's bits (RFC 7093, section 2, method 1).
fn key_identifier(key: &SubjectPublicKeyInfoOwned) -> Result<OctetString, IssueError> {
    let digest = sha256(key.subject_public_key.raw_bytes());
    Ok(OctetString::new(digest.get(..20).unwrap_or(&digest))?)
}

fn serial_number() -> Result<SerialNumber, IssueError> {
    let mut bytes = [0; SERIAL_BYTES];
    getrandom::fill(&mut bytes).map_err(|_| KeyPairError::NoRandomness)?;
    Ok(SerialNumber::new(&bytes)?)
}

/// A name of one part. It is not parsed from a text, so that nothing in it can make it two.
fn named(common_name: &str) -> Result<Name, IssueError> {
    let length = common_name.chars().count();
    if !(1..=LONGEST_COMMON_NAME).contains(&length) || common_name.chars().any(char::is_control) {
        return Err(IssueError::CommonName);
    }
    let value = Any::encode_from(&Utf8StringRef::new(common_name)?)?;
    let part = AttributeTypeAndValue { oid: COMMON_NAME, value };
    Ok(RdnSequence(vec![RelativeDistinguishedName(SetOfVec::try_from(vec![part])?)]))
}

fn general_name(name: &AlternativeName) -> Result<GeneralName, IssueError> {
    let text = |text: &str| {
        let usable = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        let text = usable.then(|| Ia5String::new(text).ok()).flatten();
        text.ok_or_else(|| IssueError::AlternativeName(name_of(name).to_owned()))
    };
    Ok(match name {
        AlternativeName::Uri(uri) => GeneralName::UniformResourceIdentifier(text(uri)?),
        AlternativeName::Dns(name) => GeneralName::DnsName(text(name)?),
    })
}

fn name_of(name: &AlternativeName) -> &str {
    match name {
        AlternativeName::Uri(text) | AlternativeName::Dns(text) => text,
    }
}

fn time(seconds: UnixSeconds) -> Result<Time, IssueError> {
    let since = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    Ok(if seconds < LONG_TIMES {
        UtcTime::from_unix_duration(since)?.into()
    } else {
        GeneralizedTime::from_unix_duration(since)?.into()
    })
}

#[cfg(test)]
#[path = "authority_tests.rs"]
mod tests;
