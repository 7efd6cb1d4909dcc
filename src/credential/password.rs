//! Passwords: hashed, verified, and judged.
//!
//! New hashes are argon2id (RFC 9106) as PHC strings. Those that Mosquitto's own password file and the plugins of others
//! have written are verified as well, each known by how it begins:
//!
//! | begins with | is | written by |
//! |---|---|---|
//! | `$argon2id$` | argon2id | us, and whoever writes PHC strings |
//! | `$6$` | SHA-512 of password and salt | `mosquitto_passwd` up to 1.6 |
//! | `$7$` | PBKDF2 with HMAC-SHA-512 | `mosquitto_passwd` since 2.0 |
//! | `PBKDF2$` | PBKDF2 with HMAC-SHA-256 or HMAC-SHA-512 | plugins that read databases |
//! | `$2a$`, `$2b$`, `$2y$` | bcrypt | the same |
//!
//! What a hash costs to verify stands in the hash itself, so every number has a bound: a row must not stop a broker.

use std::fmt;
use std::str::FromStr;

use argon2::{Algorithm, Argon2, Params, Version};
use base64ct::{Base64, Base64Unpadded, Encoding};
use pbkdf2::pbkdf2_hmac;
use sha2::{Digest, Sha256, Sha512};
use thiserror::Error;
use zeroize::Zeroizing;

/// The longest password, in bytes.
pub const MOST_BYTES: usize = 1024;
/// The shortest that is accepted for keeping, in characters.
pub const LEAST_CHARACTERS: usize = 8;
/// The longest stored form that is looked at.
const MOST_HASH_BYTES: usize = 512;
/// A shorter result could be met by chance.
const LEAST_OUTPUT: usize = 16;
const MOST_OUTPUT: usize = 64;
const MOST_SALT: usize = 128;
/// Of PBKDF2, for each block of the result, and twice where the salt can be read in two ways: about a quarter of a second
/// of one processor.
const MOST_ROUNDS: usize = 500_000;
/// Of bcrypt, which doubles with each: about a quarter of a second as well.
const MOST_BCRYPT_COST: u32 = 12;
/// What people type has more different characters than this, unless they want to be done.
const LEAST_DISTINCT: usize = 5;
const SALT_BYTES: usize = 16;
const OUTPUT_BYTES: usize = 32;
/// Never change it: hashes that were upgraded would no longer be known as such.
const UPGRADING: &str = "mosquitto-warden 2026 salts of upgraded passwords";

/// What argon2id costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// KiB of memory.
    memory: u32,
    /// How often all of it is gone through.
    passes: u32,
    lanes: u32,
}

/// Why a text is no cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CostError {
    #[error("a cost is written like `m=19456,t=2,p=1`: KiB of memory, passes, lanes")]
    Form,
    #[error(
        "at least 8 KiB of memory for each lane, at most 64 MiB, 16 passes, 8 lanes, and 256 MiB gone through in all"
    )]
    Bounds,
}

impl Cost {
    const MOST_MEMORY: u32 = 64 * 1024;
    const MOST_PASSES: u32 = 16;
    const MOST_LANES: u32 = 8;
    /// Memory times passes: about a quarter of a second of one processor.
    const MOST_WORK: u32 = 256 * 1024;

    const fn new(memory: u32, passes: u32, lanes: u32) -> Result<Self, CostError> {
        let within = memory <= Self::MOST_MEMORY
            && 1 <= passes
            && passes <= Self::MOST_PASSES
            && 1 <= lanes
            && lanes <= Self::MOST_LANES
            && memory >= 8 * lanes
            && memory * passes <= Self::MOST_WORK;
        if within { Ok(Self { memory, passes, lanes }) } else { Err(CostError::Bounds) }
    }

    /// Whether whoever guesses pays no less than at this other cost.
    const fn covers(self, other: Self) -> bool {
        self.memory >= other.memory && self.passes >= other.passes
    }

    fn derive(self, password: &[u8], salt: &[u8], output: &mut [u8]) -> Result<(), HashError> {
        let params = Params::new(self.memory, self.passes, self.lanes, Some(output.len()));
        let params = params.map_err(|_| HashError::Malformed("argon2id"))?;
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(password, salt, output)
            .map_err(|_| HashError::Malformed("argon2id"))
    }
}

impl Default for Cost {
    /// The least that OWASP recommends for argon2id; also the default of the crate that does it.
    fn default() -> Self {
        Self { memory: 19 * 1024, passes: 2, lanes: 1 }
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "m={},t={},p={}", self.memory, self.passes, self.lanes)
    }
}

impl FromStr for Cost {
    type Err = CostError;

    fn from_str(text: &str) -> Result<Self, CostError> {
        let mut parts = text.split(',');
        let mut number = |name: &str| {
            let digits = parts.next()?.strip_prefix(name)?;
            // `parse` alone would take a sign as well.
            digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<u32>().ok())?
        };
        let numbers = (number("m="), number("t="), number("p="));
        match (numbers, parts.next()) {
            ((Some(memory), Some(passes), Some(lanes)), None) => Self::new(memory, passes, lanes),
            _ => Err(CostError::Form),
        }
    }
}

/// Why a text is not the hash of a password that can be verified. The messages hold none of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum HashError {
    #[error(
        "this is no hash of a known form; known are `$argon2id$…`, `$6$…`, `$7$…`, `PBKDF2$sha256$…`, \
         `PBKDF2$sha512$…`, and bcrypt's `$2a$…`, `$2b$…`, `$2y$…`"
    )]
    Unknown,
    #[error("this begins like a hash of the form {0}, and is none")]
    Malformed(&'static str),
    #[error("to verify this hash would stop the broker for too long: {0} is possible at most")]
    Expensive(&'static str),
    #[error("the operating system gave no random bytes")]
    NoRandomness,
}

/// The stored form of a password, understood.
#[derive(Clone)]
pub struct PasswordHash(Form);

/// PBKDF2 with one of its digests: password, salt, rounds, result.
type Derive = fn(&[u8], &[u8], u32, &mut [u8]);

#[derive(Clone)]
enum Form {
    Argon2id {
        cost: Cost,
        salt: Vec<u8>,
        output: Vec<u8>,
    },
    Sha512 {
        salt: Vec<u8>,
        output: Vec<u8>,
    },
    Pbkdf2 {
        digest: Derive,
        rounds: u32,
        salt: Vec<u8>,
        /// The salt as it is written: some take these bytes, and not what they stand for.
        other_salt: Option<Vec<u8>>,
        output: Vec<u8>,
    },
    Bcrypt(String),
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PasswordHash({}, ..)", self.form())
    }
}

impl PasswordHash {
    /// Reads a stored hash.
    pub fn parse(text: &str) -> Result<Self, HashError> {
        if text.len() > MOST_HASH_BYTES {
            return Err(HashError::Unknown);
        }
        let form = if let Some(rest) = text.strip_prefix("$argon2id$") {
            argon2id(rest)
        } else if let Some(rest) = text.strip_prefix("$6$") {
            sha512(rest)
        } else if let Some(rest) = text.strip_prefix("$7$") {
            pbkdf2("$7$", pbkdf2_hmac::<Sha512>, rest, false)
        } else if let Some(rest) = text.strip_prefix("PBKDF2$sha512$") {
            pbkdf2("PBKDF2$", pbkdf2_hmac::<Sha512>, rest, true)
        } else if let Some(rest) = text.strip_prefix("PBKDF2$sha256$") {
            pbkdf2("PBKDF2$", pbkdf2_hmac::<Sha256>, rest, true)
        } else if ["$2a$", "$2b$", "$2y$"].iter().any(|prefix| text.starts_with(prefix)) {
            bcrypt(text)
        } else {
            Err(HashError::Unknown)
        };
        form.map(Self)
    }

    /// Whether it is the hash of this password. Empty ones, and those with more than [`MOST_BYTES`], match nothing.
    #[must_use]
    pub fn matches(&self, password: &[u8]) -> bool {
        if password.is_empty() || password.len() > MOST_BYTES {
            return false;
        }
        match &self.0 {
            Form::Argon2id { cost, salt, output } => {
                let mut found = Zeroizing::new(vec![0; output.len()]);
                cost.derive(password, salt, &mut found).is_ok() && same(&found, output)
            }
            Form::Sha512 { salt, output } => {
                let mut found = Zeroizing::new([0; 64]);
                found.copy_from_slice(&Sha512::new().chain_update(password).chain_update(salt).finalize());
                same(&*found, output)
            }
            Form::Pbkdf2 { digest, rounds, salt, other_salt, output } => {
                let with = |salt: &[u8]| {
                    let mut found = Zeroizing::new(vec![0; output.len()]);
                    digest(password, salt, *rounds, &mut found);
                    same(&found, output)
                };
                with(salt) || other_salt.as_deref().is_some_and(with)
            }
            // bcrypt goes round what it is given with a NUL behind it: `a` and `a`, NUL, `a` would be the same.
            Form::Bcrypt(text) => !password.contains(&0) && bcrypt::verify(password, text).unwrap_or(false),
        }
    }

    /// Whether whoever guesses pays for this hash no less than for a new one at this cost.
    #[must_use]
    pub fn is_as_good_as(&self, wanted: Cost) -> bool {
        matches!(&self.0, Form::Argon2id { cost, .. } if cost.covers(wanted))
    }

    /// What it is called, in words for the operator.
    #[must_use]
    pub const fn form(&self) -> &'static str {
        match &self.0 {
            Form::Argon2id { .. } => "argon2id",
            Form::Sha512 { .. } => "sha512",
            Form::Pbkdf2 { .. } => "pbkdf2",
            Form::Bcrypt(_) => "bcrypt",
        }
    }
}

/// A new hash of this password.
pub fn hash(password: &[u8], cost: Cost) -> Result<String, HashError> {
    let mut salt = [0; SALT_BYTES];
    getrandom::fill(&mut salt).map_err(|_| HashError::NoRandomness)?;
    encode(password, cost, &salt)
}

/// A new hash of the password that `old` is a hash of.
///
/// Its salt is derived from the old hash, so that [`is_upgrade`] knows it again: whoever came by the old one has come by
/// this one. It is as good as a random one as long as the salt of the old hash was.
pub fn upgrade(password: &[u8], old: &str, cost: Cost) -> Result<String, HashError> {
    encode(password, cost, &upgraded_salt(old))
}

/// Whether `new` is what [`upgrade`] makes of `old`: another hash of the same password.
#[must_use]
pub fn is_upgrade(old: &str, new: &str) -> bool {
    let hash = PasswordHash::parse(new);
    hash.is_ok_and(|hash| matches!(&hash.0, Form::Argon2id { salt, .. } if *salt == upgraded_salt(old)))
}

fn upgraded_salt(old: &str) -> [u8; SALT_BYTES] {
    let derived = blake3::derive_key(UPGRADING, old.as_bytes());
    *derived.first_chunk().unwrap_or(&[0; SALT_BYTES])
}

fn encode(password: &[u8], cost: Cost, salt: &[u8]) -> Result<String, HashError> {
    let mut output = Zeroizing::new([0; OUTPUT_BYTES]);
    cost.derive(password, salt, &mut *output)?;
    let (salt, output) = (Base64Unpadded::encode_string(salt), Base64Unpadded::encode_string(&*output));
    Ok(format!("$argon2id$v=19${cost}${salt}${output}"))
}

/// Why a password is not accepted for keeping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Weakness {
    #[error("the password has less than {LEAST_CHARACTERS} characters")]
    Short,
    #[error("the password has more than {MOST_BYTES} bytes")]
    Long,
    #[error("the password holds a NUL, which a broker takes for its end")]
    Nul,
    #[error("the password is the name of the device, or its user name")]
    Name,
    #[error("the password is easy to guess: its characters repeat, or follow one another")]
    Pattern,
}

/// Whether a password may be kept for somebody with these names.
pub fn accept(password: &str, names: &[&str]) -> Result<(), Weakness> {
    let characters = || password.chars();
    let mut distinct: Vec<char> = characters().collect();
    distinct.sort_unstable();
    distinct.dedup();
    let mut steps = characters()
        .zip(characters().skip(1))
        .map(|(one, next)| i64::from(u32::from(next)) - i64::from(u32::from(one)));
    let first = steps.next();
    if characters().count() < LEAST_CHARACTERS {
        Err(Weakness::Short)
    } else if password.len() > MOST_BYTES {
        Err(Weakness::Long)
    } else if password.contains('\0') {
        Err(Weakness::Nul)
    } else if names.iter().any(|name| name.to_lowercase() == password.to_lowercase()) {
        Err(Weakness::Name)
    } else if distinct.len() < LEAST_DISTINCT || steps.all(|step| Some(step) == first) {
        Err(Weakness::Pattern)
    } else {
        Ok(())
    }
}

fn argon2id(rest: &str) -> Result<Form, HashError> {
    let malformed = HashError::Malformed("argon2id");
    let mut parts = rest.split('$');
    let (Some("v=19"), Some(cost), Some(salt), Some(output), None) =
        (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(malformed);
    };
    let cost = cost.parse().map_err(|error| match error {
        CostError::Form => malformed,
        CostError::Bounds => HashError::Expensive("m=65536, t=16, p=8, and m times t of 262144"),
    })?;
    let bytes = |text| Base64Unpadded::decode_vec(text).map_err(|_| malformed);
    let (salt, output) = (bytes(salt)?, bytes(output)?);
    // The least that RFC 9106 lets the salt have.
    if !(8..=MOST_SALT).contains(&salt.len()) || !(LEAST_OUTPUT..=MOST_OUTPUT).contains(&output.len()) {
        return Err(malformed);
    }
    Ok(Form::Argon2id { cost, salt, output })
}

fn sha512(rest: &str) -> Result<Form, HashError> {
    let malformed = HashError::Malformed("$6$");
    let (salt, output) = rest.split_once('$').ok_or(malformed)?;
    let bytes = |text| Base64::decode_vec(text).map_err(|_| malformed);
    let (salt, output) = (bytes(salt)?, bytes(output)?);
    if !(1..=MOST_SALT).contains(&salt.len()) || output.len() != 64 {
        return Err(malformed);
    }
    Ok(Form::Sha512 { salt, output })
}

fn pbkdf2(form: &'static str, digest: Derive, rest: &str, salt_as_written: bool) -> Result<Form, HashError> {
    let malformed = HashError::Malformed(form);
    let mut parts = rest.split('$');
    let (Some(rounds), Some(salt), Some(output), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(malformed);
    };
    if rounds.is_empty() || !rounds.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(malformed);
    }
    let expensive = HashError::Expensive("500000 rounds, for each block of the result and each way to read the salt");
    let rounds: u32 = match rounds.parse() {
        Ok(0) => return Err(malformed),
        Ok(rounds) => rounds,
        Err(_) => return Err(expensive),
    };
    let output = Base64::decode_vec(output).map_err(|_| malformed)?;
    let written = || salt.as_bytes().to_vec();
    let (salt, other_salt) = match Base64::decode_vec(salt) {
        Ok(bytes) => (bytes, salt_as_written.then(written)),
        Err(_) if salt_as_written => (written(), None),
        Err(_) => return Err(malformed),
    };
    if !(1..=MOST_SALT).contains(&salt.len()) || !(LEAST_OUTPUT..=MOST_OUTPUT).contains(&output.len()) {
        return Err(malformed);
    }
    // SHA-256 has blocks of 32 bytes; of SHA-512, which has longer ones, too many are counted.
    let passes = output.len().div_ceil(32) * (1 + usize::from(other_salt.is_some()));
    if usize::try_from(rounds).is_ok_and(|rounds| rounds.saturating_mul(passes) > MOST_ROUNDS) {
        return Err(expensive);
    }
    Ok(Form::Pbkdf2 { digest, rounds, salt, other_salt, output })
}

fn bcrypt(text: &str) -> Result<Form, HashError> {
    let malformed = HashError::Malformed("bcrypt");
    let digits = text.get(4..6).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit())).ok_or(malformed)?;
    match digits.parse() {
        Ok(4..=MOST_BCRYPT_COST) => {}
        Ok(0..4) | Err(_) => return Err(malformed),
        Ok(_) => return Err(HashError::Expensive("a cost of 12")),
    }
    // That it can be read at all, the crate says: it takes nothing apart without having looked.
    text.parse::<bcrypt::HashParts>().map_err(|_| malformed)?;
    Ok(Form::Bcrypt(text.to_owned()))
}

/// In constant time: BLAKE3 compares its hashes so.
fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && blake3::hash(one) == blake3::hash(other)
}

#[cfg(test)]
#[path = "password_tests.rs"]
mod tests;
