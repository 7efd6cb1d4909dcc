//! Certificates in the TLS handshake: judged before one byte of MQTT, and remembered for the gates that come after.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lru::LruCache;

use super::Plugin;
use super::refusal::Refused;
use crate::config::{Handshake, Resumption, Unknown};
use crate::credential::certificate::{CertificateError, not_before, read, sha256, spki_sha256};
use crate::live::responders::Shown;
use crate::live::unix_now;
use crate::policy::certificate::{Certificate, Sha256};
use crate::policy::decision::Reason;
use crate::policy::device::UnixSeconds;
use crate::policy::snapshot::Proof;

/// How many certificates are remembered; who has not shown up for as long as it takes to see so many others has to make
/// another handshake.
const MOST_SEEN: usize = 1_000_000;

/// The chain of authorities by which TLS has verified a certificate.
pub trait Chain {
    /// The public keys of the authorities, each a DER `SubjectPublicKeyInfo`.
    fn authority_keys(&self) -> Vec<Vec<u8>>;
    /// The certificate (DER) of the authority that issued it.
    fn issuer(&self) -> Option<Vec<u8>>;
}

/// The certificates whose handshakes were seen.
#[derive(Debug)]
pub(super) struct Handshakes {
    /// By the digest of the whole certificate. The broker's thread is the only one that makes handshakes; the mutex is
    /// for the HTTP API of 2.1, which asks from another.
    seen: Mutex<LruCache<Sha256, Arc<Certificate>, foldhash::quality::RandomState>>,
    /// Whether every handshake is seen.
    complete: AtomicBool,
}

impl Default for Handshakes {
    fn default() -> Self {
        let seen = LruCache::unbounded_with_hasher(foldhash::quality::RandomState::default());
        Self { seen: Mutex::new(seen), complete: AtomicBool::new(false) }
    }
}

impl Handshakes {
    fn seen(&self) -> MutexGuard<'_, LruCache<Sha256, Arc<Certificate>, foldhash::quality::RandomState>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether every handshake with a certificate is seen.
    pub(super) fn are_seen(&self) -> bool {
        self.complete.load(Ordering::Acquire)
    }

    fn find(&self, digest: &Sha256) -> Option<Arc<Certificate>> {
        self.seen().get(digest).map(Arc::clone)
    }

    fn remember(&self, digest: Sha256, certificate: Arc<Certificate>) {
        let mut seen = self.seen();
        seen.put(digest, certificate);
        if seen.len() > MOST_SEEN {
            seen.pop_lru();
        }
    }
}

impl Plugin {
    /// Whether certificates are to be judged in the handshake.
    pub fn wants_handshakes(&self) -> bool {
        self.config.handshake == Handshake::Enforce
    }

    /// Whether TLS sessions may be resumed at all.
    pub fn wants_resumption(&self) -> bool {
        self.config.resumption == Resumption::Good
    }

    /// From now on [`Self::handshake`] is asked in every handshake with a certificate.
    pub fn sees_handshakes(&self) {
        self.handshakes.complete.store(true, Ordering::Release);
    }

    /// Whether a client that shows this certificate (DER), which TLS has verified by `chain`, may come in.
    pub fn handshake(&self, der: &[u8], chain: &impl Chain) -> Result<(), Reason> {
        let digest = sha256(der);
        let authorities = chain.authority_keys().iter().map(|key| spki_sha256(key)).collect();
        let certificate = match read(der, &self.config.certificate, authorities) {
            Ok(certificate) => Arc::new(certificate),
            Err(error) => return self.refuse_certificate(Reason::UnusableCertificate, None, None, Some(error)),
        };
        let verdict = self.judge_certificate("handshake", &certificate);
        if matches!(verdict, Ok(()) | Err(Reason::RevocationUnknown)) && self.live.asks_responders() {
            // Without an issuer it is an authority itself, about which nobody can be asked.
            if let Some(issuer) = chain.issuer() {
                self.live.shown(Shown { certificate: Arc::clone(&certificate), leaf: der.to_vec(), issuer });
            }
        }
        verdict?;
        self.handshakes.remember(digest, certificate);
        Ok(())
    }

    /// Whether a client may go on with the TLS session that it made with this certificate (DER). If not, it has to make a
    /// full handshake, in which it is told why it may not.
    pub fn resume(&self, der: &[u8]) -> bool {
        // By which chain it was verified, the session does not tell.
        let seen = self.handshakes.find(&sha256(der));
        seen.is_some_and(|certificate| self.judge_certificate("resumption", &certificate).is_ok())
    }

    /// The time at which TLS is to check the dates of this certificate (DER), if not now: it is not valid yet, but
    /// will be within the tolerance for clocks.
    pub fn verification_time(&self, der: &[u8]) -> Option<UnixSeconds> {
        let (start, now) = (not_before(der).ok()?, unix_now());
        let skew = UnixSeconds::try_from(self.config.certificate.clock_skew.as_secs()).unwrap_or(0);
        (now < start && start <= now.saturating_add(skew)).then_some(start)
    }

    fn judge_certificate(&self, action: &'static str, certificate: &Certificate) -> Result<(), Reason> {
        let user_name = Some(&*certificate.identity);
        if let Err(reason) = self.fresh() {
            return self.refuse_certificate(reason, user_name, None, None);
        }
        let snapshot = self.live.snapshot();
        match self.present(&snapshot, Proof::Certificate(certificate), unix_now()) {
            Ok(_) => Ok(()),
            Err(refusal) if refusal.reason == Reason::UnknownIdentity && self.config.unknown == Unknown::Defer => {
                Ok(())
            }
            Err(refusal) if action == "resumption" => Err(refusal.reason),
            Err(refusal) => {
                let device = refusal.device.map(|device| &*device.name);
                self.refuse_certificate(refusal.reason, user_name, device, None)
            }
        }
    }

    fn refuse_certificate(
        &self,
        reason: Reason,
        user_name: Option<&str>,
        device: Option<&str>,
        error: Option<CertificateError>,
    ) -> Result<(), Reason> {
        if let Some(error) = error {
            tracing::debug!(%error, "certificate cannot be used");
        }
        self.refusals.report(&Refused { action: "handshake", user_name, device, ..Refused::by(reason) });
        Err(reason)
    }

    /// What this certificate (DER) of a connected client says.
    pub(super) fn certificate(&self, der: &[u8]) -> Result<Arc<Certificate>, Reason> {
        if let Some(certificate) = self.handshakes.find(&sha256(der)) {
            return Ok(certificate);
        }
        if self.handshakes.are_seen() {
            self.refusals.hint(
                "a client is connected by a TLS handshake that the plugin was not asked about: \
                 if this broker's OpenSSL cannot be hooked, set `handshake = \"off\"`",
            );
            return Err(Reason::HandshakeNotSeen);
        }
        read(der, &self.config.certificate, Box::default()).map(Arc::new).map_err(|_| Reason::UnusableCertificate)
    }
}
