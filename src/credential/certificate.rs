//! What a client certificate (RFC 5280) says of who its holder is. That it can be believed, TLS has checked.

use std::time::Duration;

use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::policy::certificate::{self, Certificate, CertificateId};
use crate::policy::device::{CredentialKind, UnixSeconds};

/// Why a certificate identifies nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    #[error("the certificate cannot be decoded")]
    Malformed,
    #[error("the subject has no common name")]
    NoCommonName,
    #[error("the subject has more than one common name")]
    SeveralCommonNames,
    #[error("the common name is not a text without control characters")]
    NotText,
}

/// A part of a certificate that may say who its holder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Field {
    SanUri,
    SanDns,
    SanEmail,
    SanIp,
    Cn,
    Sha256,
    SpkiSha256,
    Subject,
    Serial,
}

impl Field {
    /// The kind of credential that this field is the identity of.
    #[must_use]
    pub const fn kind(self) -> CredentialKind {
        match self {
            Self::SanUri => CredentialKind::X509SanUri,
            Self::SanDns => CredentialKind::X509SanDns,
            Self::SanEmail => CredentialKind::X509SanEmail,
            Self::SanIp => CredentialKind::X509SanIp,
            Self::Cn => CredentialKind::X509Cn,
            Self::Sha256 => CredentialKind::X509Sha256,
            Self::SpkiSha256 => CredentialKind::X509SpkiSha256,
            Self::Subject => CredentialKind::X509Subject,
            Self::Serial => CredentialKind::X509Serial,
        }
    }
}

/// How a certificate is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// The fields that may say who it is; the first that the certificate has does.
    pub identity: Vec<Field>,
    /// Whether its extended key usage must be there and allow TLS client authentication (RFC 5280, section 4.2.1.12).
    pub ext_key_usage: bool,
    /// How far the clock of whoever made it may have been ahead of ours.
    pub clock_skew: Duration,
}

impl Default for Reading {
    fn default() -> Self {
        Self { identity: vec![Field::Cn], ext_key_usage: false, clock_skew: Duration::from_mins(5) }
    }
}

/// What this DER certificate says. `authorities` are the public keys of the chain by which TLS has verified it.
pub fn read(
    der: &[u8],
    reading: &Reading,
    authorities: Box<[certificate::Sha256]>,
) -> Result<Certificate, CertificateError> {
    let (_, parsed) = X509Certificate::from_der(der).map_err(|_| CertificateError::Malformed)?;
    let name = common_name(der)?;
    let hex = |bytes: &[u8]| -> Box<str> {
        let mut text = String::with_capacity(2 * bytes.len());
        super::hex::push(&mut text, bytes);
        text.into()
    };
    let skew = i64::try_from(reading.clock_skew.as_secs()).unwrap_or(0);
    Ok(Certificate {
        id: CertificateId([0; 16]),
        kind: CredentialKind::X509Cn,
        identity: name.as_str().into(),
        common_name: Some(name.into()),
        sha256: hex(&Sha256::digest(der)),
        spki_sha256: hex(&Sha256::digest(parsed.public_key().raw)),
        authorities,
        not_before: parsed.validity().not_before.timestamp().saturating_sub(skew),
        not_after: parsed.validity().not_after.timestamp().saturating_add(1),
    })
}

/// The SHA-256 of a whole certificate.
#[must_use]
pub fn sha256(der: &[u8]) -> certificate::Sha256 {
    Sha256::digest(der).into()
}

/// The SHA-256 of a public key, a DER SubjectPublicKeyInfo.
#[must_use]
pub fn spki_sha256(der: &[u8]) -> certificate::Sha256 {
    Sha256::digest(der).into()
}

/// The second from which on this DER certificate is valid by its own dates.
pub fn not_before(der: &[u8]) -> Result<UnixSeconds, CertificateError> {
    let (_, parsed) = X509Certificate::from_der(der).map_err(|_| CertificateError::Malformed)?;
    Ok(parsed.validity().not_before.timestamp())
}

/// The certificate that this issuer, as RFC 4514 writes names, has given this serial number, in hexadecimal digits.
///
/// Case, the order of the parts, blanks around them, colons and leading zeros make no difference.
pub fn id(issuer: &str, serial: &str) -> Result<CertificateId, CertificateError> {
    let _ = (issuer, serial);
    Err(CertificateError::Malformed)
}

/// The common name of the subject (RFC 5280, section 4.1.2.6) of a DER certificate, where there is exactly one.
pub fn common_name(der: &[u8]) -> Result<String, CertificateError> {
    let (rest, certificate) = X509Certificate::from_der(der).map_err(|_| CertificateError::Malformed)?;
    if !rest.is_empty() {
        return Err(CertificateError::Malformed);
    }
    let mut names = certificate.subject().iter_common_name();
    let name = names.next().ok_or(CertificateError::NoCommonName)?;
    if names.next().is_some() {
        return Err(CertificateError::SeveralCommonNames);
    }
    match name.as_str() {
        Ok(name) if !name.is_empty() && !name.contains(char::is_control) => Ok(name.to_owned()),
        _ => Err(CertificateError::NotText),
    }
}
