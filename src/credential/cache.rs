//! Caches of the policy: sealed in pieces, so that a long one is never in memory as a whole.
//!
//! STREAM over XChaCha20-Poly1305 (Hoang, Reyhanitabar, Rogaway, Vizár: "Online Authenticated-Encryption and its
//! Nonce-Reuse Misuse-Resistance", 2015): a piece opens in its place only, and only the last one as the last. What the
//! pieces say, and where they are kept, is not our concern.

use std::fmt;

use chacha20poly1305::aead::stream::{DecryptorBE32, EncryptorBE32};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use thiserror::Error;
use zeroize::Zeroizing;

/// What a cache begins with is sealed under this number, which no other cache has.
pub type CacheId = [u8; 19];

/// How much longer a piece is when it is sealed.
pub const OVERHEAD: usize = 16;

const NONCE_BYTES: usize = 24;

/// The key that caches are sealed with.
pub struct CacheKey {
    key: Zeroizing<[u8; 32]>,
    id: String,
}

/// A piece could not be sealed, or does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CacheSealError {
    #[error("the operating system gave no random bytes")]
    NoRandomness,
    #[error("it could not be sealed")]
    Refused,
    #[error("it was altered, cut off or damaged")]
    Altered,
}

impl CacheKey {
    pub(super) fn new(key: Zeroizing<[u8; 32]>, id: &str) -> Self {
        Self { key, id: id.to_owned() }
    }

    /// The name of the sealing key that it comes from, which tells nothing about it.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// A number for a new cache.
    pub fn new_cache(&self) -> Result<CacheId, CacheSealError> {
        let mut id = CacheId::default();
        getrandom::fill(&mut id).map_err(|_| CacheSealError::NoRandomness)?;
        Ok(id)
    }

    /// Seals the pieces of the cache with this number, one after the other. Every piece also covers `head`.
    #[must_use]
    pub fn sealer<'h>(&self, id: &CacheId, head: &'h [u8]) -> Sealer<'h> {
        Sealer { stream: EncryptorBE32::from_aead(self.aead(), id.into()), head }
    }

    /// Opens what [`Self::sealer`] has sealed.
    #[must_use]
    pub fn opener<'h>(&self, id: &CacheId, head: &'h [u8]) -> Opener<'h> {
        Opener { stream: DecryptorBE32::from_aead(self.aead(), id.into()), head }
    }

    /// Seals something short that stands by itself and also covers `head`, which no cache may begin with.
    pub fn seal(&self, head: &[u8], text: &[u8]) -> Result<Vec<u8>, CacheSealError> {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(|_| CacheSealError::NoRandomness)?;
        let sealed = self.aead().encrypt(XNonce::from_slice(&nonce), Payload { msg: text, aad: head });
        Ok([nonce.to_vec(), sealed.map_err(|_| CacheSealError::Refused)?].concat())
    }

    /// Opens what [`Self::seal`] has sealed.
    pub fn open(&self, head: &[u8], sealed: &[u8]) -> Result<Vec<u8>, CacheSealError> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_BYTES>().ok_or(CacheSealError::Altered)?;
        let opened = self.aead().decrypt(XNonce::from_slice(nonce), Payload { msg: sealed, aad: head });
        opened.map_err(|_| CacheSealError::Altered)
    }

    fn aead(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new((&*self.key).into())
    }
}

impl fmt::Debug for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Seals the pieces of one cache.
pub struct Sealer<'h> {
    stream: EncryptorBE32<XChaCha20Poly1305>,
    head: &'h [u8],
}

impl Sealer<'_> {
    /// Seals the next piece, and puts the result in its place.
    pub fn next(&mut self, piece: &mut Vec<u8>) -> Result<(), CacheSealError> {
        self.stream.encrypt_next_in_place(self.head, piece).map_err(|_| CacheSealError::Refused)
    }

    /// Seals the last piece, and puts the result in its place.
    pub fn last(self, piece: &mut Vec<u8>) -> Result<(), CacheSealError> {
        self.stream.encrypt_last_in_place(self.head, piece).map_err(|_| CacheSealError::Refused)
    }
}

impl fmt::Debug for Sealer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer(..)")
    }
}

/// Opens the pieces of one cache.
pub struct Opener<'h> {
    stream: DecryptorBE32<XChaCha20Poly1305>,
    head: &'h [u8],
}

impl Opener<'_> {
    /// Opens the next piece, and puts the result in its place.
    pub fn next(&mut self, piece: &mut Vec<u8>) -> Result<(), CacheSealError> {
        self.stream.decrypt_next_in_place(self.head, piece).map_err(|_| CacheSealError::Altered)
    }

    /// Opens the last piece, and puts the result in its place.
    pub fn last(self, piece: &mut Vec<u8>) -> Result<(), CacheSealError> {
        self.stream.decrypt_last_in_place(self.head, piece).map_err(|_| CacheSealError::Altered)
    }
}

impl fmt::Debug for Opener<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Opener(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::psk::{Psk, SealingKey};

    fn key(digit: &str) -> SealingKey {
        SealingKey::from_text(&digit.repeat(64)).unwrap()
    }

    fn sealed(pieces: &[&[u8]], id: &CacheId) -> Vec<Vec<u8>> {
        let mut sealer = key("5").for_caches().sealer(id, b"head");
        let (last, others) = pieces.split_last().unwrap();
        let mut all = Vec::new();
        for piece in others {
            let mut piece = piece.to_vec();
            sealer.next(&mut piece).unwrap();
            all.push(piece);
        }
        let mut last = last.to_vec();
        sealer.last(&mut last).unwrap();
        all.push(last);
        all
    }

    fn opened(pieces: &[Vec<u8>], key: &SealingKey, id: &CacheId, head: &[u8]) -> Result<Vec<Vec<u8>>, CacheSealError> {
        let mut opener = key.for_caches().opener(id, head);
        let (last, others) = pieces.split_last().unwrap();
        let mut all = Vec::new();
        for piece in others {
            let mut piece = piece.clone();
            opener.next(&mut piece)?;
            all.push(piece);
        }
        let mut last = last.clone();
        opener.last(&mut last)?;
        all.push(last);
        Ok(all)
    }

    #[test]
    fn pieces_open_in_their_order_all_of_them_and_under_their_own_head_number_and_key() {
        let id = key("5").for_caches().new_cache().unwrap();
        let all = sealed(&[b"one", b"two", b"three"], &id);
        assert!(all.iter().zip(["one", "two", "three"]).all(|(piece, text)| piece.len() == text.len() + OVERHEAD));
        assert_eq!(opened(&all, &key("5"), &id, b"head").unwrap(), [&b"one"[..], b"two", b"three"]);
        let swapped = [all[1].clone(), all[0].clone(), all[2].clone()];
        let refused = Err(CacheSealError::Altered);
        assert_eq!(opened(&swapped, &key("5"), &id, b"head"), refused);
        assert_eq!(opened(&all[..2], &key("5"), &id, b"head"), refused);
        assert_eq!(opened(&all[1..], &key("5"), &id, b"head"), refused);
        assert_eq!(opened(&[all.clone(), all.clone()].concat(), &key("5"), &id, b"head"), refused);
        assert_eq!(opened(&all, &key("5"), &id, b"Head"), refused);
        assert_eq!(opened(&all, &key("6"), &id, b"head"), refused);
        let other = key("5").for_caches().new_cache().unwrap();
        assert_eq!(opened(&all, &key("5"), &other, b"head"), refused);
    }

    #[test]
    fn what_is_sealed_for_one_purpose_opens_for_no_other() {
        let key = key("5");
        let psk = Psk::generate(32).unwrap();
        let stored = key.seal("identity", &psk).unwrap();
        let (_, digits) = stored.rsplit_once('.').unwrap();
        let mut bytes = vec![0; digits.len() / 2];
        super::super::hex::decode_into(digits.as_bytes(), &mut bytes).unwrap();
        assert_eq!(key.for_caches().open(b"psk\0identity", &bytes), Err(CacheSealError::Altered));
        let short = key.for_caches().seal(b"head", b"text").unwrap();
        assert_eq!(key.for_caches().open(b"head", &short).unwrap(), b"text");
        assert_eq!(key.for_caches().open(b"", &short), Err(CacheSealError::Altered));
        assert_eq!(key.for_caches().open(b"head", &short[..30]), Err(CacheSealError::Altered));
        assert_eq!(key.for_caches().open(b"head", &[]), Err(CacheSealError::Altered));
    }
}
