//! Mosquitto's `password_file` and `psk_file`: lines of a name, a colon, and a secret.
//!
//! Neither a message nor a `Debug` here holds any of the secrets.

use std::collections::HashMap;

use super::plan::{Credential, Device, Plan, Secret, StoredHash, Weight, fault_of_name};
use crate::credential::psk::{Psk, PskError};

/// What the secrets of a file are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Hashes, as `mosquitto_passwd` writes them.
    Passwords,
    /// Keys, in hexadecimal digits.
    Psks,
}

/// Makes a plan of a file. Each of its users becomes a device with these roles.
#[must_use]
pub fn plan(bytes: &[u8], kind: Kind, roles: &[String]) -> Plan {
    let mut plan = Plan::default();
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut keys: HashMap<[u8; 32], usize> = HashMap::new();
    for (line, bytes) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
        match entry(line, bytes, kind) {
            Ok(None) => {}
            Ok(Some((name, secret))) => {
                if let Some(first) = seen.insert(name.clone(), line) {
                    plan.find(Weight::Mistake, line, format!("`{name}` is there already, in line {first}"));
                    continue;
                }
                if let Secret::Psk(psk) = &secret
                    && let Some(first) = keys.insert(*blake3::hash(psk.hex().as_bytes()).as_bytes(), line)
                {
                    let words = format!("`{name}` has the same key as line {first}; every device needs its own");
                    plan.find(Weight::Mistake, line, words);
                    continue;
                }
                let credentials = vec![Credential { identity: name.clone(), secret }];
                plan.devices.push(Device { line, name, credentials, roles: roles.to_vec(), ..Device::default() });
            }
            Err(words) => plan.find(Weight::Mistake, line, words),
        }
    }
    if kind == Kind::Passwords && !plan.devices.is_empty() {
        plan.find(Weight::Note, None, "passwords stay hashed as they are");
    }
    plan
}

/// A line's name and secret; `None` where it holds none.
fn entry(line: usize, bytes: &[u8], kind: Kind) -> Result<Option<(String, Secret)>, String> {
    let text = str::from_utf8(bytes).map_err(|_| "the line is not UTF-8")?;
    if text.contains('\0') {
        return Err("the line holds a NUL character".to_owned());
    }
    if text.starts_with('#') || text.trim().is_empty() {
        return Ok(None);
    }
    let (name, secret) = text.split_once(':').ok_or("there is no colon behind the name")?;
    let name = name.trim();
    if let Some(fault) = fault_of_name(name) {
        return Err(format!("`{name}`: {fault}"));
    }
    // What stands behind a second colon, neither the broker nor we read.
    let (secret, rest) = secret.split_once(':').unwrap_or((secret, ""));
    if !rest.trim().is_empty() {
        return Err(format!("`{name}`: something stands behind a second colon in line {line}"));
    }
    let named = |error: String| format!("`{name}`: {error}");
    let secret = match kind {
        Kind::Passwords => Secret::Password(StoredHash::parse(secret.trim()).map_err(named)?),
        Kind::Psks => Secret::Psk(psk(secret.trim()).map_err(|error| named(error.to_string()))?),
    };
    Ok(Some((name.to_owned(), secret)))
}

/// The broker takes an odd number of digits for a number with a zero before it.
fn psk(digits: &str) -> Result<Psk, PskError> {
    if digits.len() % 2 == 1 {
        let padded = zeroize::Zeroizing::new(format!("0{digits}"));
        return Psk::from_hex(&padded);
    }
    Psk::from_hex(digits)
}
