//! Asking an OCSP responder about one certificate (RFC 6960), and judging its answer.
//!
//! How the bytes go to and fro, and when to ask again, is not our concern. Whether the certificate of a delegated
//! responder is itself revoked is not asked (section 4.2.2.2.1): they are short-lived where that matters.

use std::time::Duration;

use sha1::{Digest, Sha1};
use x509_cert::der::asn1::{Null, ObjectIdentifier, OctetString};
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::Extension;
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::AlgorithmIdentifierOwned;
use x509_ocsp::{BasicOcspResponse, CertId, CertStatus, OcspGeneralizedTime, OcspRequest, OcspResponse};
use x509_ocsp::{OcspResponseStatus, ResponderId, SingleResponse, TbsRequest};
use x509_parser::certificate::X509Certificate;
use x509_parser::error::X509Error;
use x509_parser::extensions::{GeneralName, ParsedExtension, X509Extension};
use x509_parser::oid_registry::{OID_PKIX_ACCESS_DESCRIPTOR_OCSP, OID_PKIX_AUTHORITY_INFO_ACCESS};
use x509_parser::oid_registry::{OID_X509_EXT_EXTENDED_KEY_USAGE, OID_X509_EXT_KEY_USAGE};
use x509_parser::prelude::FromDer;
use x509_parser::verify::verify_signature;
use x509_parser::x509::{AlgorithmIdentifier, SubjectPublicKeyInfo};

use super::distinguished_name::Name;
use super::{certificate, crl, der};
use crate::policy::device::UnixSeconds;

const SHA1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.14.3.2.26");
const NONCE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.2");
const BASIC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.1");

/// How far apart the clocks of a responder and ours may be.
const SKEW: UnixSeconds = 300;

/// Why an answer, or a question, is worth nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OcspError {
    #[error("the certificate, or that of its issuer, cannot be decoded")]
    Certificate,
    #[error("the certificate is not from this issuer")]
    OtherIssuer,
    #[error("the response cannot be decoded")]
    Malformed,
    /// RFC 6960, section 2.3.
    #[error("the responder gives no answer: {0}")]
    Refused(&'static str),
    #[error("the response is about another certificate")]
    OtherCertificate,
    #[error("the response answers another question (its nonce differs)")]
    Nonce,
    #[error("the response may be an old one: it has no nonce")]
    NoNonce,
    #[error("the response has a critical extension that is not known here ({0})")]
    UnknownExtension(String),
    #[error("the response is signed neither by the issuer of the certificate nor in its name")]
    Responder,
    #[error("the signature of the response is wrong")]
    Signature,
    #[error("the response is signed in a way that is not supported ({0})")]
    Algorithm(String),
    #[error("the response is from the future")]
    Future,
    #[error("the response is too old")]
    Old,
}

/// What a responder says of a certificate (RFC 6960, section 2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Good,
    Revoked,
    Unknown,
}

/// An answer that can be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    pub status: Status,
    /// When this was known to be so.
    pub this_update: UnixSeconds,
    /// Until when there will be nothing newer.
    pub next_update: Option<UnixSeconds>,
}

/// A question about one certificate.
#[derive(Debug, Clone)]
pub struct Request {
    id: CertId,
    nonce: OctetString,
    issuer: Vec<u8>,
    der: Vec<u8>,
}

/// Where the authority says that it answers questions about this certificate (RFC 5280, section 4.2.2.1): the first
/// address that begins with `http://`.
#[must_use]
pub fn responder(leaf_der: &[u8]) -> Option<String> {
    let (leaf, _, _) = certificate::parse(leaf_der).ok()?;
    let access = certificate::extension(&leaf, &OID_PKIX_AUTHORITY_INFO_ACCESS).ok()??;
    let ParsedExtension::AuthorityInfoAccess(access) = access.parsed_extension() else { return None };
    let places = access.iter().filter(|access| access.access_method == OID_PKIX_ACCESS_DESCRIPTOR_OCSP);
    let mut addresses = places.filter_map(|place| match place.access_location {
        GeneralName::URI(address) => Some(address),
        _ => None,
    });
    let plain = |address: &&str| {
        let scheme = address.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http://"));
        scheme && address.len() > 7 && address.bytes().all(|byte| byte.is_ascii_graphic())
    };
    addresses.find(plain).map(str::to_owned)
}

impl Request {
    /// Asks about `leaf`, which `issuer` issued (RFC 6960, section 4.1). The nonce is to be random (section 4.4.1).
    pub fn new(leaf: &[u8], issuer: &[u8], nonce: [u8; 32]) -> Result<Self, OcspError> {
        let decoded = |der| certificate::parse(der).map_err(|_| OcspError::Certificate);
        let ((leaf, _, leaf_issuer), (authority, subject, _)) = (decoded(leaf)?, decoded(issuer)?);
        let key = crl::key_id(leaf.extensions()).map_err(|()| OcspError::Certificate)?;
        if leaf_issuer.canonical() != subject.canonical() || !crl::same_key(key, &authority) {
            return Err(OcspError::OtherIssuer);
        }
        Self::encode(&leaf, &authority, nonce, issuer).map_err(|_| OcspError::Certificate)
    }

    fn encode(
        leaf: &X509Certificate<'_>,
        authority: &X509Certificate<'_>,
        nonce: [u8; 32],
        issuer: &[u8],
    ) -> Result<Self, x509_cert::der::Error> {
        let hash = |bytes: &[u8]| OctetString::new(Sha1::digest(bytes).to_vec());
        let id = CertId {
            // Every responder knows SHA-1 here (RFC 5019, section 2.1.1); nothing is believed for it.
            hash_algorithm: AlgorithmIdentifierOwned { oid: SHA1, parameters: Some(Null.into()) },
            issuer_name_hash: hash(leaf.issuer().as_raw())?,
            issuer_key_hash: hash(&authority.public_key().subject_public_key.data)?,
            serial_number: serial_number(leaf.raw_serial())?,
        };
        let nonce = OctetString::new(nonce)?;
        let extension = Extension { extn_id: NONCE, critical: false, extn_value: OctetString::new(nonce.to_der()?)? };
        let request = OcspRequest {
            tbs_request: TbsRequest {
                request_list: vec![x509_ocsp::Request { req_cert: id.clone(), single_request_extensions: None }],
                request_extensions: Some(vec![extension]),
                ..TbsRequest::default()
            },
            optional_signature: None,
        };
        Ok(Self { id, nonce, issuer: issuer.to_vec(), der: request.to_der()? })
    }

    /// What to send, as `application/ocsp-request` (RFC 6960, appendix A.1).
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// What the responder says, if it can be believed (RFC 6960, section 3.2).
    ///
    /// An answer that does not say when there will be a newer one is good for `max_age`. A responder may prepare its
    /// answers and leave out the nonce; with `require_nonce` it may not.
    pub fn check(
        &self,
        response: &[u8],
        now: UnixSeconds,
        max_age: Duration,
        require_nonce: bool,
    ) -> Result<Answer, OcspError> {
        let response = OcspResponse::from_der(response).map_err(|_| OcspError::Malformed)?;
        let bytes = match response.response_status {
            OcspResponseStatus::Successful => response.response_bytes.ok_or(OcspError::Malformed)?,
            OcspResponseStatus::MalformedRequest => return Err(OcspError::Refused("malformed request")),
            OcspResponseStatus::InternalError => return Err(OcspError::Refused("internal error")),
            OcspResponseStatus::TryLater => return Err(OcspError::Refused("try later")),
            OcspResponseStatus::SigRequired => return Err(OcspError::Refused("the request must be signed")),
            OcspResponseStatus::Unauthorized => return Err(OcspError::Refused("unauthorized")),
        };
        if bytes.response_type != BASIC {
            return Err(OcspError::Malformed);
        }
        let bytes = bytes.response.as_bytes();
        let basic = BasicOcspResponse::from_der(bytes).map_err(|_| OcspError::Malformed)?;
        let signed = Signed::read(bytes).ok_or(OcspError::Malformed)?;
        self.check_signature(&signed, &basic.tbs_response_data.responder_id, now)?;
        self.check_extensions(&basic, require_nonce)?;
        let single = self.only_response(&basic)?;
        let answer = Answer {
            status: match single.cert_status {
                CertStatus::Good(_) => Status::Good,
                CertStatus::Revoked(_) => Status::Revoked,
                CertStatus::Unknown(_) => Status::Unknown,
            },
            this_update: seconds(single.this_update),
            next_update: single.next_update.map(seconds),
        };
        let max_age = i64::try_from(max_age.as_secs()).unwrap_or(i64::MAX);
        let end = answer.next_update.unwrap_or(answer.this_update.saturating_add(max_age));
        if answer.this_update > now.saturating_add(SKEW) {
            Err(OcspError::Future)
        } else if end < now {
            Err(OcspError::Old)
        } else {
            Ok(answer)
        }
    }

    /// That the issuer, or one to whom it has given that right, has signed the response (sections 3.2 and 4.2.2.2).
    fn check_signature(&self, signed: &Signed<'_>, id: &ResponderId, now: UnixSeconds) -> Result<(), OcspError> {
        let (issuer, issuer_name, _) = certificate::parse(&self.issuer).map_err(|_| OcspError::Certificate)?;
        if is_responder(id, &issuer, &issuer_name) {
            return signed.verify(issuer.public_key());
        }
        let mut why = OcspError::Responder;
        for der in &signed.certificates {
            let Ok((delegate, subject, delegated_by)) = certificate::parse(der) else { continue };
            let by_issuer = delegated_by.canonical() == issuer_name.canonical()
                && delegate.verify_signature(Some(issuer.public_key())).is_ok();
            if is_responder(id, &delegate, &subject) && by_issuer && may_answer(&delegate, now) {
                match signed.verify(delegate.public_key()) {
                    Ok(()) => return Ok(()),
                    Err(error) => why = error,
                }
            }
        }
        Err(why)
    }

    /// That the response was made for this question, where it says so, and wants nothing of us that we do not know.
    fn check_extensions(&self, basic: &BasicOcspResponse, require_nonce: bool) -> Result<(), OcspError> {
        let extensions = basic.tbs_response_data.response_extensions.iter().flatten();
        let mut nonces = extensions.clone().filter(|extension| extension.extn_id == NONCE);
        match (nonces.next(), nonces.next()) {
            (None, _) if require_nonce => return Err(OcspError::NoNonce),
            (None, _) => {}
            (Some(nonce), None) => {
                let nonce = OctetString::from_der(nonce.extn_value.as_bytes()).map_err(|_| OcspError::Nonce)?;
                if nonce != self.nonce {
                    return Err(OcspError::Nonce);
                }
            }
            (Some(_), Some(_)) => return Err(OcspError::Malformed),
        }
        let single = basic.tbs_response_data.responses.iter();
        let single = single.flat_map(|single| single.single_extensions.iter().flatten());
        match extensions.chain(single).find(|extension| extension.critical && extension.extn_id != NONCE) {
            Some(unknown) => Err(OcspError::UnknownExtension(unknown.extn_id.to_string())),
            None => Ok(()),
        }
    }

    /// The part of the response that is about our certificate.
    fn only_response<'a>(&self, basic: &'a BasicOcspResponse) -> Result<&'a SingleResponse, OcspError> {
        // Some leave out the parameters of the hash algorithm, which are NULL or nothing.
        let ours = |single: &&SingleResponse| {
            let id = &single.cert_id;
            id.hash_algorithm.oid == self.id.hash_algorithm.oid
                && id.issuer_name_hash == self.id.issuer_name_hash
                && id.issuer_key_hash == self.id.issuer_key_hash
                && id.serial_number == self.id.serial_number
        };
        let mut found = basic.tbs_response_data.responses.iter().filter(ours);
        match (found.next(), found.next()) {
            (Some(only), None) => Ok(only),
            (None, _) => Err(OcspError::OtherCertificate),
            (Some(_), Some(_)) => Err(OcspError::Malformed),
        }
    }
}

/// A response as it was signed: what is decoded and encoded again need not be the same bytes.
struct Signed<'a> {
    data: &'a [u8],
    algorithm: AlgorithmIdentifier<'a>,
    signature: &'a [u8],
    certificates: Vec<&'a [u8]>,
}

impl<'a> Signed<'a> {
    fn read(basic: &'a [u8]) -> Option<Self> {
        let parts = der::elements(der::only(basic, der::SEQUENCE)?)?;
        let (data, algorithm, signature, certificates) = match parts.as_slice() {
            [data, algorithm, signature] => (data, algorithm, signature, Vec::new()),
            [data, algorithm, signature, certificates] if certificates.tag == 0xa0 => {
                let all = der::elements(der::only(certificates.content, der::SEQUENCE)?)?;
                (data, algorithm, signature, all.iter().map(|certificate| certificate.whole).collect())
            }
            _ => return None,
        };
        let ([], algorithm) = AlgorithmIdentifier::from_der(algorithm.whole).ok()? else { return None };
        Some(Self { data: data.whole, algorithm, signature: signature.whole, certificates })
    }

    fn verify(&self, key: &SubjectPublicKeyInfo<'_>) -> Result<(), OcspError> {
        let signature = x509_parser::asn1_rs::BitString::from_der(self.signature);
        let (_, signature) = signature.map_err(|_| OcspError::Malformed)?;
        verify_signature(key, &self.algorithm, &signature, self.data).map_err(|error| match error {
            X509Error::SignatureUnsupportedAlgorithm => OcspError::Algorithm(self.algorithm.algorithm.to_id_string()),
            _ => OcspError::Signature,
        })
    }
}

/// Whether this is whom the response names as its responder (section 4.2.1).
fn is_responder(id: &ResponderId, certificate: &X509Certificate<'_>, subject: &Name) -> bool {
    match id {
        ResponderId::ByName(name) => name
            .to_der()
            .ok()
            .and_then(|name| Name::from_der(&name))
            .is_some_and(|name| name.canonical() == subject.canonical()),
        ResponderId::ByKey(hash) => {
            Sha1::digest(&certificate.public_key().subject_public_key.data).as_slice() == hash.as_bytes()
        }
    }
}

/// Whether a certificate entitles its holder to answer for the authority that issued it (section 4.2.2.2).
fn may_answer(delegate: &X509Certificate<'_>, now: UnixSeconds) -> bool {
    let extended = certificate::extension(delegate, &OID_X509_EXT_EXTENDED_KEY_USAGE);
    let for_ocsp = match extended.map(|found| found.map(X509Extension::parsed_extension)) {
        Ok(Some(ParsedExtension::ExtendedKeyUsage(usage))) => usage.ocsp_signing,
        _ => false,
    };
    let usage = certificate::extension(delegate, &OID_X509_EXT_KEY_USAGE);
    let may_sign = match usage.map(|found| found.map(X509Extension::parsed_extension)) {
        Ok(None) => true,
        Ok(Some(ParsedExtension::KeyUsage(usage))) => usage.digital_signature() || usage.non_repudiation(),
        _ => false,
    };
    let validity = delegate.validity();
    let valid = validity.not_before.timestamp() <= now.saturating_add(SKEW) && now <= validity.not_after.timestamp();
    for_ocsp && may_sign && valid
}

/// The serial number with these bytes, as they are in the certificate.
fn serial_number(content: &[u8]) -> Result<SerialNumber, x509_cert::der::Error> {
    let too_long = |_| x509_cert::der::Error::from(x509_cert::der::ErrorKind::Overlength);
    // The crate refuses more than 21 bytes, so one byte is enough for the length.
    let length = u8::try_from(content.len()).map_err(too_long)?;
    SerialNumber::from_der(&[&[der::INTEGER, length], content].concat())
}

fn seconds(time: OcspGeneralizedTime) -> UnixSeconds {
    i64::try_from(time.0.to_unix_duration().as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[path = "ocsp_tests.rs"]
mod tests;
