//! What a client certificate (RFC 5280) says, as far as the policy may hold it against its holder.
//!
//! How it is read, and whether its signature can be believed, is not our concern.

use super::decision::Reason;
use super::device::{CredentialKind, UnixSeconds};

/// The SHA-256 of something.
pub type Sha256 = [u8; 32];

/// One certificate among all: a digest of its issuer's name and its serial number (RFC 5280, section 4.1.2.2), with
/// differences of spelling taken out. Who reads certificates makes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CertificateId(pub [u8; 16]);

/// A client certificate that TLS has verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    pub id: CertificateId,
    /// The kind of name that it is known by, and that name.
    pub kind: CredentialKind,
    pub identity: Box<str>,
    /// The common name of its subject, where there is exactly one: what the broker may take for its user name.
    pub common_name: Option<Box<str>>,
    /// As credentials have it: in lower-case hexadecimal digits.
    pub sha256: Box<str>,
    /// Of its `SubjectPublicKeyInfo`, likewise.
    pub spki_sha256: Box<str>,
    /// The public keys (`SubjectPublicKeyInfo`) of the authorities in the chain by which TLS verified it; empty where
    /// that was not seen.
    pub authorities: Box<[Sha256]>,
    /// The first second in which it is good, a tolerance for clocks taken off.
    pub not_before: UnixSeconds,
    /// The first second in which it is good no more.
    pub not_after: UnixSeconds,
}

impl Certificate {
    /// Whether an authority with this public key is in its chain; the SHA-256 of the key in hexadecimal digits.
    #[must_use]
    pub fn issued_by(&self, authority: &str) -> bool {
        let (digits, rest) = authority.as_bytes().as_chunks::<2>();
        let matches = |key: &Sha256| {
            key.len() == digits.len()
                && key.iter().zip(digits).all(|(byte, [high, low])| {
                    let digit = |c: u8| char::from(c).to_digit(16);
                    digit(*high).zip(digit(*low)).map(|(high, low)| high << 4 | low) == Some(u32::from(*byte))
                })
        };
        rest.is_empty() && self.authorities.iter().any(matches)
    }

    /// The first second after `now` in which its own dates say something else than they do now.
    #[must_use]
    pub fn next_date(&self, now: UnixSeconds) -> UnixSeconds {
        [self.not_before, self.not_after].into_iter().filter(|date| *date > now).min().unwrap_or(UnixSeconds::MAX)
    }

    /// Whether its own dates admit it.
    pub fn good(&self, now: UnixSeconds) -> Result<(), Reason> {
        if now < self.not_before {
            Err(Reason::CertificateNotYetValid)
        } else if now >= self.not_after {
            Err(Reason::CertificateExpired)
        } else {
            Ok(())
        }
    }
}
