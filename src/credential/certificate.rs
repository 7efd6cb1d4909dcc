//! What a client certificate (RFC 5280) says of who its holder is. That it can be believed, TLS has checked.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use sha2::{Digest, Sha256};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension, X509Extension};
use x509_parser::oid_registry::{OID_X509_EXT_BASIC_CONSTRAINTS, OID_X509_EXT_EXTENDED_KEY_USAGE};
use x509_parser::oid_registry::{OID_X509_EXT_SUBJECT_ALT_NAME, Oid};
use x509_parser::prelude::FromDer;
use x509_parser::x509::X509Version;

use super::distinguished_name::Name;
use super::{der, hex, pem};
use crate::policy::certificate::{self, Certificate, CertificateId};
use crate::policy::device::{CredentialKind, UnixSeconds};

/// Why a certificate identifies nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    #[error("the certificate cannot be decoded")]
    Malformed,
    #[error("the certificate has more than one {0}")]
    Ambiguous(Field),
    #[error("the certificate has none of the fields that identify a device")]
    NoIdentity,
    #[error("the {0} of the certificate is empty, too long, or no text without control characters")]
    NotText(Field),
    #[error("the certificate is that of an authority")]
    IsAuthority,
    #[error("the certificate does not say that it is for TLS clients (extended key usage)")]
    KeyUsage,
    #[error("the issuer is no distinguished name, as in `CN=Fleet CA,O=Example`")]
    IssuerText,
    #[error("the serial number is not written in hexadecimal digits")]
    SerialText,
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

    /// What people call it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SanUri => "URI among the alternative names",
            Self::SanDns => "DNS name among the alternative names",
            Self::SanEmail => "e-mail address among the alternative names",
            Self::SanIp => "IP address among the alternative names",
            Self::Cn => "common name",
            Self::Sha256 => "SHA-256",
            Self::SpkiSha256 => "SHA-256 of the public key",
            Self::Subject => "subject",
            Self::Serial => "serial number",
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
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

/// What there is to know about a certificate, for people: [`describe`] makes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// As RFC 4514 writes names, and as a credential of kind `x509_subject` has it.
    pub subject: String,
    pub issuer: String,
    /// In lower-case hexadecimal digits without leading zeros.
    pub serial: String,
    pub sha256: String,
    /// Of the `SubjectPublicKeyInfo`.
    pub spki_sha256: String,
    /// The first second in which it is good.
    pub not_before: UnixSeconds,
    /// The last one.
    pub not_after: UnixSeconds,
    /// What of its names is text; see [`read`] for which of them can identify a device.
    pub common_names: Vec<String>,
    pub san_uris: Vec<String>,
    pub san_dns: Vec<String>,
    pub san_emails: Vec<String>,
    pub san_ips: Vec<String>,
    pub id: CertificateId,
    pub der: Vec<u8>,
}

/// What a file with a certificate, DER or PEM, says. Of several certificates the first counts.
pub fn describe(der_or_pem: &[u8]) -> Result<Description, CertificateError> {
    let der = pem::first(der_or_pem, "CERTIFICATE").ok_or(CertificateError::Malformed)?;
    let (parsed, subject, issuer) = parse(&der)?;
    let san = |field| -> Result<Vec<String>, CertificateError> {
        Ok(alternative_names(&parsed, field)?.into_iter().flatten().collect())
    };
    Ok(Description {
        subject: subject.to_rfc4514(),
        issuer: issuer.to_rfc4514(),
        serial: der::digits(parsed.raw_serial()),
        sha256: fingerprint(&der),
        spki_sha256: fingerprint(parsed.public_key().raw),
        not_before: parsed.validity().not_before.timestamp(),
        not_after: parsed.validity().not_after.timestamp(),
        common_names: subject.common_names().flatten().map(str::to_owned).collect(),
        san_uris: san(Field::SanUri)?,
        san_dns: san(Field::SanDns)?,
        san_emails: san(Field::SanEmail)?,
        san_ips: san(Field::SanIp)?,
        id: Issuer::new(&issuer).certificate(parsed.raw_serial()),
        der: der.clone(),
    })
}

/// What this DER certificate says. `authorities` are the public keys of the chain by which TLS has verified it.
///
/// The first of the fields asked for that the certificate has says who it is (RFC 5280, sections 4.1.2.6 and 4.2.1.6).
/// Where that one is unusable, no other is asked: whoever made the certificate meant that one.
pub fn read(
    der: &[u8],
    reading: &Reading,
    authorities: Box<[certificate::Sha256]>,
) -> Result<Certificate, CertificateError> {
    let (parsed, subject, issuer) = parse(der)?;
    if is_authority(&parsed)? {
        return Err(CertificateError::IsAuthority);
    }
    if reading.ext_key_usage && !for_clients(&parsed)? {
        return Err(CertificateError::KeyUsage);
    }
    let (sha256, spki_sha256) = (fingerprint(der), fingerprint(parsed.public_key().raw));
    let mut found = None;
    for field in reading.identity.iter().copied() {
        let values = match field {
            Field::SanUri | Field::SanDns | Field::SanEmail | Field::SanIp => alternative_names(&parsed, field)?,
            Field::Cn => subject.common_names().map(|name| name.map(str::to_owned)).collect(),
            Field::Sha256 => vec![Some(sha256.clone())],
            Field::SpkiSha256 => vec![Some(spki_sha256.clone())],
            Field::Subject if subject.is_empty() => Vec::new(),
            Field::Subject => {
                vec![subject.texts().all(|text| text.is_some_and(is_clean)).then(|| subject.to_rfc4514())]
            }
            Field::Serial => vec![Some(der::digits(parsed.raw_serial()))],
        };
        let mut values = values.into_iter();
        match (values.next(), values.next()) {
            (None, _) => {}
            (Some(_), Some(_)) => return Err(CertificateError::Ambiguous(field)),
            (Some(value), None) => {
                let value = value.filter(|value| is_clean(value)).ok_or(CertificateError::NotText(field))?;
                found = Some((field, value));
                break;
            }
        }
    }
    let (field, identity) = found.ok_or(CertificateError::NoIdentity)?;
    let skew = i64::try_from(reading.clock_skew.as_secs()).unwrap_or(i64::MAX);
    Ok(Certificate {
        id: Issuer::new(&issuer).certificate(parsed.raw_serial()),
        kind: field.kind(),
        identity: identity.into(),
        common_name: only_common_name(&subject).map(Into::into),
        sha256: sha256.into(),
        spki_sha256: spki_sha256.into(),
        authorities,
        not_before: parsed.validity().not_before.timestamp().saturating_sub(skew),
        // RFC 5280, section 4.1.2.5: the second that it names is still good.
        not_after: parsed.validity().not_after.timestamp().saturating_add(1),
    })
}

/// The SHA-256 of a whole certificate.
#[must_use]
pub fn sha256(der: &[u8]) -> certificate::Sha256 {
    Sha256::digest(der).into()
}

/// The second from which on this DER certificate is valid by its own dates.
pub fn not_before(der: &[u8]) -> Result<UnixSeconds, CertificateError> {
    let (parsed, _, _) = parse(der)?;
    Ok(parsed.validity().not_before.timestamp())
}

/// The certificate that this issuer, as RFC 4514 writes names, has given this serial number, in hexadecimal digits.
///
/// Case, the order of the parts, blanks around them, colons and leading zeros make no difference.
pub fn id(issuer: &str, serial: &str) -> Result<CertificateId, CertificateError> {
    let issuer = Name::from_text(issuer).ok_or(CertificateError::IssuerText)?;
    let serial = serial_of_text(serial).ok_or(CertificateError::SerialText)?;
    Ok(Issuer::new(&issuer).of_digits(&serial))
}

/// A serial number (RFC 5280, section 4.1.2.2) in lower-case hexadecimal digits without leading zeros, read as
/// [`id`] reads it.
pub fn serial_of_text(text: &str) -> Option<String> {
    let text = text.trim();
    let text = text.strip_prefix("serial=").unwrap_or(text);
    let text = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
    let mut digits = String::with_capacity(text.len());
    for char in text.chars().filter(|char| *char != ':' && !char.is_ascii_whitespace()) {
        digits.push(char::from_digit(char.to_digit(16)?, 16)?);
    }
    match (digits.trim_start_matches('0'), digits.is_empty()) {
        (_, true) => None,
        ("", _) => Some("0".to_owned()),
        (significant, _) => Some(significant.to_owned()),
    }
}

/// Gives the certificates of one issuer their identity.
#[derive(Debug)]
pub(super) struct Issuer {
    /// The canonical name, a NUL, and room for the digits of a serial number.
    buffer: Vec<u8>,
    name: usize,
}

impl Issuer {
    pub(super) fn new(name: &Name) -> Self {
        let mut buffer = name.canonical().into_bytes();
        // No canonical name has one, so that what follows cannot be taken for a part of it.
        buffer.push(0);
        Self { name: buffer.len(), buffer }
    }

    /// The certificate that it has given this serial number.
    pub(super) fn certificate(mut self, serial: &[u8]) -> CertificateId {
        self.of_digits(&der::digits(serial))
    }

    pub(super) fn of_digits(&mut self, digits: &str) -> CertificateId {
        self.buffer.truncate(self.name);
        self.buffer.extend_from_slice(digits.as_bytes());
        let hash = blake3::hash(&self.buffer);
        CertificateId(hash.as_bytes().first_chunk().copied().unwrap_or_default())
    }
}

/// The SHA-256 of a `SubjectPublicKeyInfo` (RFC 5280, section 4.1.2.7), by which authorities are known.
pub fn spki_sha256(spki_der: &[u8]) -> certificate::Sha256 {
    Sha256::digest(spki_der).into()
}

/// The public key of the authority whose certificate this file has, DER or PEM.
pub fn authority_key(der_or_pem: &[u8]) -> Result<certificate::Sha256, CertificateError> {
    let der = pem::first(der_or_pem, "CERTIFICATE").ok_or(CertificateError::Malformed)?;
    let (parsed, _, _) = parse(&der)?;
    Ok(spki_sha256(parsed.public_key().raw))
}

/// All certificates of a file, DER or PEM, each as DER.
pub fn all(der_or_pem: &[u8]) -> Result<Vec<Vec<u8>>, CertificateError> {
    let found = pem::blocks(der_or_pem, "CERTIFICATE").filter(|found| !found.is_empty());
    let found = found.ok_or(CertificateError::Malformed)?;
    for der in &found {
        parse(der)?;
    }
    Ok(found)
}

/// A certificate, its subject and its issuer, read to their last byte.
pub(super) fn parse(der: &[u8]) -> Result<(X509Certificate<'_>, Name, Name), CertificateError> {
    let Ok(([], parsed)) = X509Certificate::from_der(der) else { return Err(CertificateError::Malformed) };
    // These end where the parser has stopped, which must be where their own length says.
    let whole = [parsed.tbs_certificate.as_ref(), parsed.public_key().raw];
    let whole = der::is_signed(der) && whole.iter().all(|part| der::only(part, der::SEQUENCE).is_some());
    // RFC 5280, section 4.1.2.1: only version 3 has extensions. Section 4.2: none of them twice.
    let version = parsed.version();
    let versions = version == X509Version::V3
        || (version == X509Version::V1 || version == X509Version::V2) && parsed.extensions().is_empty();
    let serial = !parsed.raw_serial().is_empty();
    if !whole || !versions || !serial || parsed.extensions_map().is_err() {
        return Err(CertificateError::Malformed);
    }
    let name = |raw| Name::from_der(raw).ok_or(CertificateError::Malformed);
    let (subject, issuer) = (name(parsed.subject().as_raw())?, name(parsed.issuer().as_raw())?);
    Ok((parsed, subject, issuer))
}

/// What an extension says, where there is one; an error where it cannot be read to its last byte.
pub(super) fn extension<'a, 'b>(
    parsed: &'a X509Certificate<'b>,
    oid: &Oid<'_>,
) -> Result<Option<&'a X509Extension<'b>>, CertificateError> {
    let Some(found) = parsed.extensions().iter().find(|extension| extension.oid == *oid) else { return Ok(None) };
    match der::element(found.value) {
        Some((_, [])) if found.parsed_extension().error().is_none() => Ok(Some(found)),
        _ => Err(CertificateError::Malformed),
    }
}

/// Whether it is the certificate of an authority (RFC 5280, section 4.2.1.9).
pub(super) fn is_authority(parsed: &X509Certificate<'_>) -> Result<bool, CertificateError> {
    match extension(parsed, &OID_X509_EXT_BASIC_CONSTRAINTS)?.map(X509Extension::parsed_extension) {
        None => Ok(false),
        Some(ParsedExtension::BasicConstraints(constraints)) => Ok(constraints.ca),
        Some(_) => Err(CertificateError::Malformed),
    }
}

fn for_clients(parsed: &X509Certificate<'_>) -> Result<bool, CertificateError> {
    match extension(parsed, &OID_X509_EXT_EXTENDED_KEY_USAGE)?.map(X509Extension::parsed_extension) {
        None => Ok(false),
        Some(ParsedExtension::ExtendedKeyUsage(usage)) => Ok(usage.client_auth),
        Some(_) => Err(CertificateError::Malformed),
    }
}

/// The alternative names of a kind (RFC 5280, section 4.2.1.6); `None` stands for one that cannot be used.
fn alternative_names(parsed: &X509Certificate<'_>, field: Field) -> Result<Vec<Option<String>>, CertificateError> {
    let names = match extension(parsed, &OID_X509_EXT_SUBJECT_ALT_NAME)?.map(X509Extension::parsed_extension) {
        None => return Ok(Vec::new()),
        Some(ParsedExtension::SubjectAlternativeName(names)) => &names.general_names,
        Some(_) => return Err(CertificateError::Malformed),
    };
    let text = |text: &str| Some(text.to_owned()).filter(|text| text.is_ascii() && is_clean(text));
    let found = names.iter().filter_map(|name| match (field, name) {
        (Field::SanUri, GeneralName::URI(name))
        | (Field::SanDns, GeneralName::DNSName(name))
        | (Field::SanEmail, GeneralName::RFC822Name(name)) => Some(text(name)),
        (Field::SanIp, GeneralName::IPAddress(bytes)) => Some(address(bytes).map(|address| address.to_string())),
        // What the parser could not read counts by its tag.
        (_, GeneralName::Invalid(tag, _)) => match (field, tag.0) {
            (Field::SanEmail, 1) | (Field::SanDns, 2) | (Field::SanUri, 6) | (Field::SanIp, 7) => Some(None),
            _ => None,
        },
        _ => None,
    });
    Ok(found.collect())
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

/// Whether this can be an identity.
fn is_clean(text: &str) -> bool {
    !text.is_empty() && text.len() <= 65_535 && !text.contains(char::is_control)
}

fn only_common_name(subject: &Name) -> Option<&str> {
    let mut names = subject.common_names();
    match (names.next(), names.next()) {
        (Some(name), None) => name.filter(|name| is_clean(name)),
        _ => None,
    }
}

fn fingerprint(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(64);
    hex::push(&mut text, &Sha256::digest(bytes));
    text
}

#[cfg(test)]
#[path = "certificate_tests.rs"]
mod tests;
