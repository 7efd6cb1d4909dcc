//! Requests for certificates (PKCS #10, RFC 2986): which key somebody has, and nothing else.
//!
//! Whoever asks could write any name and any extension. Who it is, somebody else knows.

use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::cri_attributes::ParsedCriAttribute;
use x509_parser::oid_registry::{
    OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_PKCS1_RSAENCRYPTION, OID_SIG_ED25519,
};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::pem;

/// Why a request is not granted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    #[error("it is no certificate request (PKCS #10), in PEM or DER")]
    Malformed,
    #[error("its signature is not by its own key: whoever sent it does not have that key, or it was altered")]
    Signature,
    #[error("its key is an RSA key of {0} bits; it needs 2048 to 8192")]
    ShortRsa(usize),
    #[error("its key is an RSA key with a public exponent below 65537")]
    WeakExponent,
    #[error("its key is of a kind that is not accepted; P-256, P-384, Ed25519 and RSA from 2048 bits are")]
    KeyKind,
}

/// A request that was signed with the key that it is for, which is strong enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The key (`SubjectPublicKeyInfo`, DER).
    pub public_key: Vec<u8>,
    /// The subject that was asked for, which does not count.
    pub subject: String,
    /// The extensions that were asked for, which do not count either: their object identifiers.
    pub extensions: Vec<String>,
}

/// Reads a request, in PEM or DER.
pub fn read(der_or_pem: &[u8]) -> Result<Request, RequestError> {
    let found = pem::first(der_or_pem, "CERTIFICATE REQUEST");
    // What Netscape wrote, and some still do.
    let found = found.or_else(|| pem::first(der_or_pem, "NEW CERTIFICATE REQUEST"));
    let der = found.ok_or(RequestError::Malformed)?;
    let (rest, request) = X509CertificationRequest::from_der(&der).map_err(|_| RequestError::Malformed)?;
    if !rest.is_empty() {
        return Err(RequestError::Malformed);
    }
    let info = &request.certification_request_info;
    strong(&info.subject_pki)?;
    request.verify_signature().map_err(|_| RequestError::Signature)?;
    let mut extensions = Vec::new();
    for attribute in info.iter_attributes() {
        match attribute.parsed_attribute() {
            ParsedCriAttribute::ExtensionRequest(asked) => {
                extensions.extend(asked.extensions.iter().map(|extension| extension.oid.to_id_string()));
            }
            _ => extensions.push(attribute.oid.to_id_string()),
        }
    }
    Ok(Request { public_key: info.subject_pki.raw.to_vec(), subject: info.subject.to_string(), extensions })
}

/// Whether a key is one that nobody finds out (NIST SP 800-57, part 1: 112 bits of strength and more).
fn strong(key: &SubjectPublicKeyInfo<'_>) -> Result<(), RequestError> {
    let kind = &key.algorithm.algorithm;
    if *kind == OID_SIG_ED25519 {
        return if key.subject_public_key.data.len() == 32 { Ok(()) } else { Err(RequestError::Malformed) };
    }
    if *kind == OID_KEY_TYPE_EC_PUBLIC_KEY {
        let curve = key.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
        let known = curve.is_some_and(|curve| curve == OID_EC_P256 || curve == OID_NIST_EC_P384);
        return if known { Ok(()) } else { Err(RequestError::KeyKind) };
    }
    if *kind != OID_PKCS1_RSAENCRYPTION {
        return Err(RequestError::KeyKind);
    }
    let Ok(PublicKey::RSA(rsa)) = key.parsed() else { return Err(RequestError::Malformed) };
    let leading = |bytes: &[u8]| bytes.iter().skip_while(|byte| **byte == 0).copied().collect::<Vec<u8>>();
    let modulus = leading(rsa.modulus);
    let unused = modulus.first().map_or(0, |byte| byte.leading_zeros() as usize);
    let bits = (modulus.len() * 8).saturating_sub(unused);
    if !(2048..=8192).contains(&bits) {
        return Err(RequestError::ShortRsa(bits));
    }
    let exponent = leading(rsa.exponent);
    if exponent.len() < 3 || (exponent.len() == 3 && exponent < vec![1, 0, 1]) {
        return Err(RequestError::WeakExponent);
    }
    Ok(())
}
