//! What a client certificate (RFC 5280) says of who its holder is. That it can be believed, TLS has checked.

use x509_parser::prelude::{FromDer, X509Certificate};

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
