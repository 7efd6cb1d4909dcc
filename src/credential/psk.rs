//! Pre-shared keys: made, judged, and sealed for keeping.
//!
//! A TLS stack needs the key itself, so it cannot be hashed like a password. At rest it is sealed with a
//! [`SealingKey`] instead, and only the working form, [`Psk`], holds it in clear. Where the sealing key is kept is not
//! our concern.

use std::fmt;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use thiserror::Error;
use zeroize::Zeroizing;

use super::cache::CacheKey;
use super::hex;

/// A pre-shared key in clear. It is wiped when dropped and never shown by `Debug`.
#[derive(Clone)]
pub struct Psk(Zeroizing<Vec<u8>>);

/// Why bytes are not accepted as a pre-shared key. None of the messages holds any of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PskError {
    #[error(
        "the key has {found} bytes; a pre-shared key has at least {} and at most {}",
        Psk::MIN_BYTES,
        Psk::MAX_BYTES
    )]
    Length { found: usize },
    #[error("the key is not written in pairs of hexadecimal digits")]
    NotHex,
    #[error("the key is easy to guess: its bytes repeat or follow a pattern; let `warden` make one at random")]
    Weak,
    #[error("the operating system gave no random bytes")]
    NoRandomness,
}

impl Psk {
    /// 128 bits, the least that a key may have.
    pub const MIN_BYTES: usize = 16;
    /// What a key has if nobody says otherwise.
    pub const DEFAULT_BYTES: usize = 32;
    /// OpenSSL takes no longer ones (`PSK_MAX_PSK_LEN`, before 3.2).
    pub const MAX_BYTES: usize = 256;
    /// Of 16 random bytes, fewer than 8 distinct ones come once in 10^12.
    const MIN_DISTINCT_BYTES: usize = 8;

    /// A new random key.
    pub fn generate(len: usize) -> Result<Self, PskError> {
        loop {
            check_length(len)?;
            let mut bytes = Zeroizing::new(vec![0; len]);
            getrandom::fill(&mut bytes).map_err(|_| PskError::NoRandomness)?;
            // Some clients read the digits as one big number and lose leading zeros.
            if bytes.first() != Some(&0) && !is_weak(&bytes) {
                return Ok(Self(bytes));
            }
        }
    }

    /// A key that somebody else has made.
    pub fn from_bytes(bytes: Zeroizing<Vec<u8>>) -> Result<Self, PskError> {
        check_length(bytes.len())?;
        if is_weak(&bytes) {
            return Err(PskError::Weak);
        }
        Ok(Self(bytes))
    }

    /// A key that somebody else has made, as `mosquitto_pub --psk` takes it.
    pub fn from_hex(text: &str) -> Result<Self, PskError> {
        let mut bytes = Zeroizing::new(vec![0; text.len() / 2]);
        hex::decode_into(text.as_bytes(), &mut bytes).ok_or(PskError::NotHex)?;
        Self::from_bytes(bytes)
    }

    /// The key in hexadecimal digits. For the moment in which it is made, and for nowhere else.
    pub fn hex(&self) -> Zeroizing<String> {
        // With room for all of it from the start: a string that grows leaves copies behind.
        let mut text = Zeroizing::new(String::with_capacity(self.0.len() * 2));
        hex::push(&mut text, &self.0);
        text
    }

    /// Writes the key into a C buffer, in hexadecimal digits with a NUL behind them, and says how many digits.
    ///
    /// `None` where it does not fit; the buffer is then untouched.
    #[must_use]
    pub fn write_hex_nul(&self, buffer: &mut [u8]) -> Option<usize> {
        let digits = self.0.len() * 2;
        let (text, rest) = buffer.split_at_mut_checked(digits)?;
        *rest.first_mut()? = 0;
        let (pairs, _) = text.as_chunks_mut::<2>();
        for (pair, byte) in pairs.iter_mut().zip(self.0.iter()) {
            *pair = hex::digits(*byte);
        }
        Some(digits)
    }
}

impl fmt::Debug for Psk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Psk(..)")
    }
}

impl PartialEq for Psk {
    /// In constant time: BLAKE3 compares its hashes so.
    fn eq(&self, other: &Self) -> bool {
        blake3::hash(&self.0) == blake3::hash(&other.0)
    }
}

impl Eq for Psk {}

fn check_length(found: usize) -> Result<(), PskError> {
    if (Psk::MIN_BYTES..=Psk::MAX_BYTES).contains(&found) { Ok(()) } else { Err(PskError::Length { found }) }
}

/// Whether the bytes are what people type when they want to be done: one byte over and over, a count, a short word
/// repeated. No promise that what passes is random.
fn is_weak(bytes: &[u8]) -> bool {
    let mut sorted = Zeroizing::new(bytes.to_vec());
    sorted.sort_unstable();
    sorted.dedup();
    let distinct = sorted.len();
    let mut steps = bytes.windows(2).map(|pair| match pair {
        [one, next] => next.wrapping_sub(*one),
        _ => 0,
    });
    let first_step = steps.next();
    distinct < Psk::MIN_DISTINCT_BYTES || steps.all(|step| Some(step) == first_step)
}

/// The key that seals the pre-shared keys of one database.
///
/// What is done with it is done with keys derived from it, one for each purpose. While it is replaced by another there is
/// a second one beside it, with which secrets are opened and none are sealed.
#[derive(Clone)]
pub struct SealingKey {
    key: Zeroizing<[u8; 32]>,
    sealing: Zeroizing<[u8; 32]>,
    digesting: Zeroizing<[u8; 32]>,
    id: String,
    beside: Option<Box<SealingKey>>,
}

/// Why a text is not a sealing key. The messages hold none of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum KeyError {
    #[error("expected one line of 64 hexadecimal digits, or two, found {found} characters")]
    Length { found: usize },
    #[error("expected 64 hexadecimal digits, found something else among them")]
    NotHex,
    #[error("the operating system gave no random bytes")]
    NoRandomness,
}

/// A secret could not be sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SealError {
    #[error("the operating system gave no random bytes")]
    NoRandomness,
    #[error("the key could not be sealed")]
    Refused,
}

/// Why a sealed secret does not open.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OpenError {
    #[error("the secret is not in a form that this version of mosquitto-warden writes")]
    Form,
    #[error("the secret is sealed with the key `{found}`, and the key file holds `{expected}`")]
    OtherKey { expected: String, found: String },
    #[error("the secret was altered, or moved here from another identity")]
    Altered,
    #[error("the secret opens, but is no acceptable key")]
    Unacceptable(#[from] PskError),
}

const FORM: &str = "warden1";
const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;
/// Distinct purposes have distinct keys. Never change these: what was sealed would not open again.
const SEALING: &str = "mosquitto-warden 2026 sealing of pre-shared keys";
const DIGESTING: &str = "mosquitto-warden 2026 digests of pre-shared keys";
const NAMING: &str = "mosquitto-warden 2026 names of sealing keys";
const CACHING: &str = "mosquitto-warden 2026 sealing of cached policies";

impl SealingKey {
    /// A new random key.
    pub fn generate() -> Result<Self, KeyError> {
        let mut key = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *key).map_err(|_| KeyError::NoRandomness)?;
        Ok(Self::from_bytes(key))
    }

    /// Reads what [`to_text`](Self::to_text) wrote.
    pub fn from_text(text: &str) -> Result<Self, KeyError> {
        let text = text.strip_suffix('\n').unwrap_or(text);
        match text.split_once('\n') {
            Some((first, second)) => {
                let read = |line| {
                    Self::from_line(line).map_err(|error| match error {
                        KeyError::Length { .. } => KeyError::Length { found: text.chars().count() },
                        error => error,
                    })
                };
                Ok(read(first)?.beside(&read(second)?))
            }
            None => Self::from_line(text),
        }
    }

    fn from_line(line: &str) -> Result<Self, KeyError> {
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.len() != 64 {
            return Err(KeyError::Length { found: line.chars().count() });
        }
        let mut key = Zeroizing::new([0; 32]);
        hex::decode_into(line.as_bytes(), &mut *key).ok_or(KeyError::NotHex)?;
        Ok(Self::from_bytes(key))
    }

    fn from_bytes(key: Zeroizing<[u8; 32]>) -> Self {
        let sealing = Zeroizing::new(blake3::derive_key(SEALING, &*key));
        let digesting = Zeroizing::new(blake3::derive_key(DIGESTING, &*key));
        let mut id = String::with_capacity(16);
        hex::push(&mut id, blake3::derive_key(NAMING, &*key).first_chunk::<8>().unwrap_or(&[0; 8]));
        Self { key, sealing, digesting, id, beside: None }
    }

    /// The key as one line of 64 hexadecimal digits, with its line end; the one beside it in another line.
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(2 * 65));
        for key in self.keys() {
            hex::push(&mut text, &*key.key);
            text.push('\n');
        }
        text
    }

    /// This key, and the one beside it.
    pub fn keys(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(self.beside.as_deref())
    }

    /// This key, with nothing beside it.
    #[must_use]
    pub fn alone(&self) -> Self {
        Self { beside: None, ..self.clone() }
    }

    /// This key, with another one beside it.
    #[must_use]
    pub fn beside(self, other: &Self) -> Self {
        Self { beside: Some(Box::new(other.alone())), ..self }
    }

    /// The one of its keys that has this name, alone.
    #[must_use]
    pub fn named(&self, id: &str) -> Option<Self> {
        self.keys().find(|key| key.id == id).map(Self::alone)
    }

    /// A name for this key that tells nothing about it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The key that caches of the policy are sealed with. It opens no pre-shared key, nor the other way round.
    #[must_use]
    pub fn for_caches(&self) -> CacheKey {
        CacheKey::new(Zeroizing::new(blake3::derive_key(CACHING, &*self.key)), &self.id)
    }

    /// The stored form of a key. It opens again under this identity only.
    pub fn seal(&self, identity: &str, psk: &Psk) -> Result<String, SealError> {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(|_| SealError::NoRandomness)?;
        let aad = bound_to(identity);
        let sealed = XChaCha20Poly1305::new((&*self.sealing).into())
            .encrypt(XNonce::from_slice(&nonce), Payload { msg: &psk.0, aad: &aad })
            .map_err(|_| SealError::Refused)?;
        let mut text = format!("{FORM}.{}.", self.id);
        hex::push(&mut text, &nonce);
        hex::push(&mut text, &sealed);
        Ok(text)
    }

    /// The key in clear, if it was sealed with this key for this identity and nobody touched it since.
    pub fn open(&self, identity: &str, sealed: &str) -> Result<Psk, OpenError> {
        let mut parts = sealed.split('.');
        let (Some(FORM), Some(id), Some(digits), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(OpenError::Form);
        };
        if id.len() != self.id.len() || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(OpenError::Form);
        }
        let Some(key) = self.keys().find(|key| key.id == id) else {
            return Err(OpenError::OtherKey { expected: self.id.clone(), found: id.to_owned() });
        };
        if digits.len() > 2 * (NONCE_BYTES + Psk::MAX_BYTES + TAG_BYTES) {
            return Err(OpenError::Form);
        }
        let mut bytes = vec![0; digits.len() / 2];
        hex::decode_into(digits.as_bytes(), &mut bytes).ok_or(OpenError::Form)?;
        let (nonce, ciphertext) = bytes.split_first_chunk::<NONCE_BYTES>().ok_or(OpenError::Form)?;
        let aad = bound_to(identity);
        let psk = XChaCha20Poly1305::new((&*key.sealing).into())
            .decrypt(XNonce::from_slice(nonce), Payload { msg: ciphertext, aad: &aad })
            .map_err(|_| OpenError::Altered)?;
        Ok(Psk::from_bytes(Zeroizing::new(psk))?)
    }

    /// A digest by which the database can tell that two credentials would share a key, and nobody what it is.
    pub fn digest(&self, psk: &Psk) -> String {
        blake3::keyed_hash(&self.digesting, &psk.0).to_hex().to_string()
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealingKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// What the seal also covers: a secret that is copied to another row does not open there.
fn bound_to(identity: &str) -> Vec<u8> {
    [b"psk\0".as_slice(), identity.as_bytes()].concat()
}

#[cfg(test)]
#[path = "psk_tests.rs"]
mod tests;
