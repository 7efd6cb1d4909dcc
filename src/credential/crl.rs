//! Certificate revocation lists (RFC 5280, section 5): read, and believed if one of the given authorities signed them.
//!
//! Whether a list is still current depends on the time, which whoever asks has to know.

use x509_parser::certificate::X509Certificate;
use x509_parser::error::X509Error;
use x509_parser::extensions::{ParsedExtension, X509Extension};
use x509_parser::oid_registry::{OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER, OID_X509_EXT_ISSUER_ALT_NAME};
use x509_parser::oid_registry::{OID_X509_EXT_CRL_NUMBER, OID_X509_EXT_ISSUER_DISTRIBUTION_POINT};
use x509_parser::oid_registry::{OID_X509_EXT_INVALIDITY_DATE, OID_X509_EXT_REASON_CODE, Oid, asn1_rs::oid};
use x509_parser::oid_registry::{OID_X509_EXT_KEY_USAGE, OID_X509_EXT_SUBJECT_KEY_IDENTIFIER};
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::{CertificateRevocationList, RevokedCertificate};
use x509_parser::x509::{ReasonCode, X509Version};

use super::certificate::{self, Issuer};
use super::distinguished_name::Name;
use super::{der, pem};
use crate::policy::certificate::{CertificateId, Sha256};
use crate::policy::device::UnixSeconds;

/// RFC 5280, section 5.2.4.
const DELTA_CRL_INDICATOR: Oid<'static> = oid!(2.5.29.27);

/// Why a revocation list is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CrlError {
    #[error("this is no revocation list, neither in PEM nor in DER")]
    Malformed,
    #[error("the certificate of an authority cannot be decoded")]
    Authority,
    #[error("the list is from `{issuer}`, and none of the given certificates is that authority's")]
    OtherIssuer { issuer: String },
    #[error("the given certificate of `{issuer}` does not entitle its holder to sign revocation lists")]
    NotEntitled { issuer: String },
    #[error("the signature is not that of `{issuer}`: the list was altered, or another key has signed it")]
    Signature { issuer: String },
    #[error("the list is signed in a way that is not supported ({algorithm})")]
    Algorithm { algorithm: String },
    #[error("the list has a critical extension that is not known here ({oid})")]
    UnknownExtension { oid: String },
    /// RFC 5280, section 5.2.5.
    #[error("the list is an indirect one, which speaks for other authorities")]
    Indirect,
    #[error("the list covers only some certificates or some reasons, not all that its authority has to say of clients")]
    Partial,
}

/// A revocation list whose signature is good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crl {
    /// Who made it, as RFC 4514 writes names.
    pub issuer: String,
    /// The public key (`SubjectPublicKeyInfo`) with which it was signed.
    pub authority: Sha256,
    /// Its number, in lower-case hexadecimal digits without leading zeros (section 5.2.3).
    pub number: Option<String>,
    /// For a delta list: the number of the list that it completes, at least (section 5.2.4).
    pub base: Option<String>,
    /// Where the authority publishes it, if it has several lists for its certificates and this is one of them
    /// (section 5.2.5): the digits of a hash.
    pub scope: Option<String>,
    pub this_update: UnixSeconds,
    pub next_update: Option<UnixSeconds>,
    pub entries: Vec<Entry>,
}

/// One certificate of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub id: CertificateId,
    /// In lower-case hexadecimal digits without leading zeros.
    pub serial: String,
    pub revoked_at: UnixSeconds,
    /// The word that RFC 5280 has for it (section 5.3.1).
    pub reason: Option<&'static str>,
    /// In a delta list: the certificate is revoked no more.
    pub removed: bool,
}

impl Crl {
    /// Reads a list, PEM or DER, if one of these authorities (certificates in DER) signed it.
    pub fn read(der_or_pem: &[u8], authorities: &[Vec<u8>]) -> Result<Self, CrlError> {
        let der = pem::first(der_or_pem, "X509 CRL").ok_or(CrlError::Malformed)?;
        let Ok(([], list)) = CertificateRevocationList::from_der(&der) else { return Err(CrlError::Malformed) };
        if !der::is_signed(&der) {
            return Err(CrlError::Malformed);
        }
        let issuer = Name::from_der(list.issuer().as_raw()).ok_or(CrlError::Malformed)?;
        let authority = verify(&list, &issuer, authorities)?;
        let extensions = Extensions::read(&list)?;
        let mut ids = Issuer::new(&issuer);
        let entries =
            list.iter_revoked_certificates().map(|revoked| entry(revoked, &mut ids)).collect::<Result<_, _>>()?;
        Ok(Self {
            issuer: issuer.to_rfc4514(),
            authority,
            number: extensions.number,
            base: extensions.base,
            scope: extensions.scope,
            this_update: list.last_update().timestamp(),
            next_update: list.next_update().map(|time| time.timestamp()),
            entries,
        })
    }

    /// Whether its authority has promised a newer one by now (section 5.1.2.5).
    #[must_use]
    pub fn is_past(&self, now: UnixSeconds) -> bool {
        self.next_update.is_some_and(|next| next < now)
    }
}

/// The key of the authority that has signed the list and may do so (section 6.3.3, steps f and g).
fn verify(list: &CertificateRevocationList<'_>, issuer: &Name, authorities: &[Vec<u8>]) -> Result<Sha256, CrlError> {
    let named = || issuer.to_rfc4514();
    // Section 5.1.2.1, and that what is signed is read to its end.
    let tbs = &list.tbs_cert_list;
    let extended =
        !list.extensions().is_empty() || list.iter_revoked_certificates().any(|it| !it.extensions().is_empty());
    let version = match list.version() {
        None | Some(X509Version::V1) => !extended,
        Some(version) => version == X509Version::V2,
    };
    if !version || der::only(tbs.as_ref(), der::SEQUENCE).is_none() {
        return Err(CrlError::Malformed);
    }
    let key = key_id(list.extensions()).map_err(|()| CrlError::Malformed)?;
    let canonical = issuer.canonical();
    let mut why = CrlError::OtherIssuer { issuer: named() };
    for der in authorities {
        let (authority, subject, _) = certificate::parse(der).map_err(|_| CrlError::Authority)?;
        if subject.canonical() != canonical || !same_key(key, &authority) {
            continue;
        }
        if !may_sign_lists(&authority) {
            why = CrlError::NotEntitled { issuer: named() };
            continue;
        }
        // After a change of its key, an authority has two certificates with the same name.
        match list.verify_signature(authority.public_key()) {
            Ok(()) => return Ok(certificate::spki_sha256(authority.public_key().raw)),
            Err(X509Error::SignatureUnsupportedAlgorithm) => {
                why = CrlError::Algorithm { algorithm: list.signature_algorithm.algorithm.to_id_string() };
            }
            Err(_) => why = CrlError::Signature { issuer: named() },
        }
    }
    Err(why)
}

/// The key that these extensions say the signature was made with (section 5.2.1), if they do.
pub(super) fn key_id<'a>(extensions: &'a [X509Extension<'a>]) -> Result<Option<&'a [u8]>, ()> {
    let found = extensions.iter().find(|extension| extension.oid == OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER);
    match found.map(X509Extension::parsed_extension) {
        None => Ok(None),
        Some(ParsedExtension::AuthorityKeyIdentifier(key)) => Ok(key.key_identifier.as_ref().map(|id| id.0)),
        Some(_) => Err(()),
    }
}

/// Whether nothing says that an authority's key is another than the one with this identifier.
pub(super) fn same_key(key: Option<&[u8]>, authority: &X509Certificate<'_>) -> bool {
    let own = certificate::extension(authority, &OID_X509_EXT_SUBJECT_KEY_IDENTIFIER);
    match (key, own.ok().flatten().map(X509Extension::parsed_extension)) {
        (Some(key), Some(ParsedExtension::SubjectKeyIdentifier(own))) => key == own.0,
        _ => true,
    }
}

fn may_sign_lists(authority: &X509Certificate<'_>) -> bool {
    let usage = certificate::extension(authority, &OID_X509_EXT_KEY_USAGE);
    let usage = usage.map(|usage| match usage.map(X509Extension::parsed_extension) {
        None => true,
        Some(ParsedExtension::KeyUsage(usage)) => usage.crl_sign(),
        Some(_) => false,
    });
    certificate::is_authority(authority) == Ok(true) && usage == Ok(true)
}

/// What the extensions of a list say (section 5.2).
#[derive(Default)]
struct Extensions {
    number: Option<String>,
    base: Option<String>,
    scope: Option<String>,
}

impl Extensions {
    fn read(list: &CertificateRevocationList<'_>) -> Result<Self, CrlError> {
        if list.tbs_cert_list.extensions_map().is_err() {
            return Err(CrlError::Malformed);
        }
        let number = |value| der::only(value, der::INTEGER).and_then(der::unsigned).ok_or(CrlError::Malformed);
        let mut read = Self::default();
        for extension in list.extensions() {
            if extension.oid == OID_X509_EXT_CRL_NUMBER {
                read.number = Some(number(extension.value)?);
            } else if extension.oid == DELTA_CRL_INDICATOR {
                read.base = Some(number(extension.value)?);
            } else if extension.oid == OID_X509_EXT_ISSUER_DISTRIBUTION_POINT {
                read.scope = scope(extension)?;
            } else if extension.critical
                && extension.oid != OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER
                && extension.oid != OID_X509_EXT_ISSUER_ALT_NAME
            {
                return Err(CrlError::UnknownExtension { oid: extension.oid.to_id_string() });
            }
        }
        Ok(read)
    }
}

/// What an issuing distribution point says of the certificates that a list is about (section 5.2.5).
fn scope(extension: &X509Extension<'_>) -> Result<Option<String>, CrlError> {
    let content = der::only(extension.value, der::SEQUENCE).ok_or(CrlError::Malformed)?;
    let mut scope = None;
    for part in der::elements(content).ok_or(CrlError::Malformed)? {
        let is_true = part.content == [0xff];
        match part.tag {
            // distributionPoint
            0xa0 => scope = Some(der::digits(blake3::hash(part.whole).as_bytes())),
            // onlyContainsUserCerts: what the others would be about is no client.
            0x81 => {}
            // onlyContainsCACerts, onlyContainsAttributeCerts
            0x82 | 0x84 | 0x85 if !is_true => {}
            0x84 => return Err(CrlError::Indirect),
            // onlySomeReasons among them
            0x82 | 0x83 | 0x85 => return Err(CrlError::Partial),
            _ => return Err(CrlError::Malformed),
        }
    }
    Ok(scope)
}

fn entry(revoked: &RevokedCertificate<'_>, ids: &mut Issuer) -> Result<Entry, CrlError> {
    let (mut reason, mut removed) = (None, false);
    for extension in revoked.extensions() {
        if extension.oid == OID_X509_EXT_REASON_CODE {
            let ParsedExtension::ReasonCode(code) = extension.parsed_extension() else {
                return Err(CrlError::Malformed);
            };
            reason = Some(reason_word(*code).ok_or(CrlError::Malformed)?);
            removed = *code == ReasonCode::RemoveFromCRL;
        } else if extension.critical && extension.oid != OID_X509_EXT_INVALIDITY_DATE {
            // The certificate issuer (section 5.3.3), which makes a list an indirect one, among them.
            return Err(CrlError::UnknownExtension { oid: extension.oid.to_id_string() });
        }
    }
    if revoked.raw_serial().is_empty() {
        return Err(CrlError::Malformed);
    }
    let serial = der::digits(revoked.raw_serial());
    let revoked_at = revoked.revocation_date.timestamp();
    Ok(Entry { id: ids.of_digits(&serial), serial, revoked_at, reason, removed })
}

/// The word that RFC 5280 has for a reason (section 5.3.1).
const fn reason_word(code: ReasonCode) -> Option<&'static str> {
    Some(match code {
        ReasonCode::Unspecified => "unspecified",
        ReasonCode::KeyCompromise => "keyCompromise",
        ReasonCode::CACompromise => "cACompromise",
        ReasonCode::AffiliationChanged => "affiliationChanged",
        ReasonCode::Superseded => "superseded",
        ReasonCode::CessationOfOperation => "cessationOfOperation",
        ReasonCode::CertificateHold => "certificateHold",
        ReasonCode::RemoveFromCRL => "removeFromCRL",
        ReasonCode::PrivilegeWithdrawn => "privilegeWithdrawn",
        ReasonCode::AACompromise => "aACompromise",
        _ => return None,
    })
}

#[cfg(test)]
#[path = "crl_tests.rs"]
mod tests;
