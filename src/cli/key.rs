//! Pre-shared keys on their way from a person into the database, and the one time that they are shown.

use std::io::{BufRead, Read};

use anyhow::Context;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::error::CliError;
use super::output::{Output, shell_word};
use super::place::Place;
use crate::credential::psk::{Psk, PskError, SealingKey};
use crate::key_file;
use crate::store::Store;
use crate::store::credential::{Proof, SealedPsk};

/// The key that the secrets of this database are sealed with now.
pub(super) async fn sealing_key(place: &Place, store: &mut Store) -> anyhow::Result<SealingKey> {
    let key = key_file::read(&place.key_file)?;
    match store.key_id().await? {
        None => Err(CliError::NoKeyYet.into()),
        Some(id) => {
            if let Some(key) = key.named(&id) {
                return Ok(key);
            }
            let path = place.key_file.clone();
            Err(CliError::OtherKey { database: id, file: key.id().to_owned(), path }.into())
        }
    }
}

/// An identity that tells nothing of whose it is: it goes over the wire in the clear.
pub(super) fn opaque_identity() -> anyhow::Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|_| CliError::Psk(PskError::NoRandomness))?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}

/// A pre-shared key and the identity that it is for.
#[derive(Debug)]
pub(super) struct FreshKey {
    pub(super) identity: String,
    psk: Psk,
}

impl FreshKey {
    pub(super) fn generate(identity: &str, bytes: usize) -> Result<Self, CliError> {
        Ok(Self { identity: identity.to_owned(), psk: Psk::generate(bytes)? })
    }

    /// One line of hexadecimal digits from standard input.
    pub(super) fn from_stdin(identity: &str) -> anyhow::Result<Self> {
        // Room for the longest key from the start: a string that grows leaves copies behind.
        let most = 2 * Psk::MAX_BYTES + 64;
        let mut line = Zeroizing::new(String::with_capacity(most));
        std::io::stdin().lock().take(most as u64).read_line(&mut line).context("cannot read standard input")?;
        if line.trim().is_empty() {
            return Err(CliError::NoKeyOnStdin.into());
        }
        let psk = Psk::from_hex(line.trim()).map_err(CliError::Psk)?;
        Ok(Self { identity: identity.to_owned(), psk })
    }

    pub(super) fn sealed(&self, key: &SealingKey) -> anyhow::Result<Proof> {
        Ok(Proof::Psk(SealedPsk { sealed: key.seal(&self.identity, &self.psk)?, digest: key.digest(&self.psk) }))
    }

    pub(super) fn to_json(&self) -> Value {
        json!({ "identity": self.identity, "key": &**self.psk.hex() })
    }

    /// Shows the key, once and for all.
    pub(super) fn show(&self, output: &mut Output) -> anyhow::Result<()> {
        output.line(&format!("psk identity  {}", self.identity))?;
        output.line(&format!("psk key       {}", &**self.psk.hex()))?;
        let identity = shell_word(&self.identity);
        output.note(&format!(
            "the key is shown this once; a client uses it like this:\n  \
             mosquitto_pub -h BROKER -p 8884 --psk-identity {identity} --psk KEY -t TOPIC -m MESSAGE"
        ))
    }
}
