//! Who has proved its password already: a login like one that was right is right, as long as the stored hash is the same.
//!
//! What is kept is a keyed digest of user name, stored hash and password, under a key that this process has made up and
//! nobody else knows. The same password under another hash has another digest, so nothing outlives a change.

use lru::LruCache;
use zeroize::Zeroizing;

use super::budget::Tried;
use crate::policy::device::{CredentialKind, Device, DeviceId};

/// How many devices are remembered; the one that has not come for longest is forgotten first.
const MOST_DEVICES: usize = 100_000;
/// How many user names of one device.
const MOST_OF_ONE: usize = 4;

/// What was proved.
pub(super) struct Proofs {
    key: Zeroizing<[u8; 32]>,
    known: LruCache<DeviceId, Vec<Known>, foldhash::quality::RandomState>,
}

struct Known {
    /// Of the user name and the stored hash.
    credential: [u8; 32],
    /// Of the password too. BLAKE3 compares its hashes in constant time.
    proof: Zeroizing<blake3::Hash>,
}

impl std::fmt::Debug for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Known(..)")
    }
}

impl std::fmt::Debug for Proofs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proofs").field("known", &self.known.len()).finish_non_exhaustive()
    }
}

impl Proofs {
    /// With a new key.
    pub(super) fn new() -> Result<Self, getrandom::Error> {
        let mut key = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *key)?;
        let known = LruCache::unbounded_with_hasher(foldhash::quality::RandomState::default());
        Ok(Self { key, known })
    }

    /// Whether this password was right for this stored hash.
    pub(super) fn knows(&mut self, device: DeviceId, user_name: &str, hash: &str, password: &[u8]) -> bool {
        let proof = self.proof(user_name, hash, password);
        let known = self.known.get(&device);
        known.is_some_and(|known| known.iter().any(|known| known.proof == proof))
    }

    /// This password is right for this stored hash.
    pub(super) fn remember(&mut self, device: DeviceId, user_name: &str, hash: &str, password: &[u8]) {
        let known =
            Known { credential: self.credential(user_name, hash), proof: self.proof(user_name, hash, password) };
        let all = self.known.get_or_insert_mut(device, Vec::new);
        all.retain(|other| other.credential != known.credential);
        if all.len() >= MOST_OF_ONE {
            all.remove(0);
        }
        all.push(known);
        if self.known.len() > MOST_DEVICES {
            self.known.pop_lru();
        }
    }

    /// Forgets what is not a credential of this device any more; `None`: there is no such device.
    pub(super) fn changed(&mut self, id: DeviceId, device: Option<&Device>) {
        if !self.known.contains(&id) {
            return;
        }
        let credentials = device.into_iter().flat_map(|device| &device.credentials);
        let kept: Vec<[u8; 32]> = credentials
            .filter(|credential| credential.kind == CredentialKind::Password && !credential.revoked)
            .filter_map(|one| one.secret.as_deref().map(|hash| self.credential(&one.identity, hash)))
            .collect();
        if let Some(all) = self.known.peek_mut(&id) {
            all.retain(|known| kept.contains(&known.credential));
            if all.is_empty() {
                self.known.pop(&id);
            }
        }
    }

    /// What a user name is counted under.
    pub(super) fn tried(&self, user_name: &str) -> Tried {
        *self.digest(b"tried", &[user_name.as_bytes()]).as_bytes().first_chunk().unwrap_or(&[0; 16])
    }

    fn credential(&self, user_name: &str, hash: &str) -> [u8; 32] {
        *self.digest(b"credential", &[user_name.as_bytes(), hash.as_bytes()]).as_bytes()
    }

    fn proof(&self, user_name: &str, hash: &str, password: &[u8]) -> Zeroizing<blake3::Hash> {
        Zeroizing::new(self.digest(b"proof", &[user_name.as_bytes(), hash.as_bytes(), password]))
    }

    /// Of all parts in one piece: a hasher that takes them one by one is two kilobytes that would have to be wiped.
    fn digest(&self, purpose: &[u8], parts: &[&[u8]]) -> blake3::Hash {
        let parts = || std::iter::once(&purpose).chain(parts);
        let length = parts().map(|part| size_of::<u64>() + part.len()).sum();
        // With room for all from the start, so that no part of it is left where it was before.
        let mut text = Zeroizing::new(Vec::with_capacity(length));
        for part in parts() {
            // With its length in front, so that nothing can pass from one part to the next.
            text.extend_from_slice(&(part.len() as u64).to_le_bytes());
            text.extend_from_slice(part);
        }
        blake3::keyed_hash(&self.key, &text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::device::{Credential, DeviceStatus, Limits};
    use crate::policy::role::ClientIdBinding;

    fn device(id: DeviceId, passwords: &[(&str, &str)]) -> Device {
        let credential = |(identity, hash): &(&str, &str)| Credential {
            kind: CredentialKind::Password,
            identity: (*identity).into(),
            secret: Some((*hash).into()),
            revoked: false,
            limits: Limits::default(),
        };
        Device {
            id,
            name: "d".into(),
            status: DeviceStatus::Active,
            client_id: ClientIdBinding::Any,
            attributes: crate::policy::rule::Attributes::default(),
            credentials: passwords.iter().map(credential).collect(),
            roles: [].into(),
            unreadable: None,
        }
    }

    #[test]
    fn only_the_same_password_of_the_same_user_under_the_same_hash_is_known() {
        let mut proofs = Proofs::new().unwrap();
        proofs.remember(1, "u", "hash", b"secret");
        assert!(proofs.knows(1, "u", "hash", b"secret"));
        assert!(!proofs.knows(1, "u", "hash", b"Secret"));
        assert!(!proofs.knows(1, "u", "hash2", b"secret"));
        assert!(!proofs.knows(1, "v", "hash", b"secret"));
        assert!(!proofs.knows(2, "u", "hash", b"secret"));
        assert!(!proofs.knows(1, "uh", "ash", b"secret"), "nothing passes from one part to the next");
        assert!(!Proofs::new().unwrap().knows(1, "u", "hash", b"secret"), "another process");
    }

    #[test]
    fn what_was_changed_or_removed_is_wiped_and_the_rest_stays() {
        let mut proofs = Proofs::new().unwrap();
        proofs.remember(1, "u", "hash-u", b"secret");
        proofs.remember(1, "v", "hash-v", b"secret");
        proofs.changed(1, Some(&device(1, &[("u", "hash-u"), ("v", "new")])));
        assert!(proofs.knows(1, "u", "hash-u", b"secret"));
        assert!(!proofs.knows(1, "v", "hash-v", b"secret"));
        let mut revoked = device(1, &[("u", "hash-u")]);
        revoked.credentials[0].revoked = true;
        proofs.changed(1, Some(&revoked));
        assert!(!proofs.knows(1, "u", "hash-u", b"secret"));
        proofs.remember(1, "u", "hash-u", b"secret");
        proofs.changed(1, None);
        assert!(proofs.known.is_empty());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut proofs = Proofs::new().unwrap();
        for n in 0..100_010 {
            proofs.remember(n, "u", "hash", b"secret");
        }
        assert_eq!(proofs.known.len(), 100_000);
        for n in 0..10 {
            proofs.remember(1, &n.to_string(), "hash", b"secret");
        }
        assert_eq!(proofs.known.get(&1).unwrap().len(), 4);
        assert!(proofs.knows(1, "9", "hash", b"secret") && !proofs.knows(1, "5", "hash", b"secret"));
    }

    #[test]
    fn nothing_of_it_is_shown() {
        let mut proofs = Proofs::new().unwrap();
        proofs.remember(1, "u", "hash", b"secret");
        assert_eq!(format!("{:?} {:?}", proofs, proofs.known.peek(&1)), "Proofs { known: 1, .. } Some([Known(..)])");
    }
}
