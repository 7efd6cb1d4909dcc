//! What is sealed with the key file, as a whole: for whoever replaces that key.

use super::connection::{Ask, sql};
use super::credential::SealedPsk;
use super::{Store, StoreError, read};

impl Store {
    /// Every pre-shared key: the number of its row, its identity, and its stored form.
    pub async fn sealed_psks(&mut self) -> Result<Vec<(i64, String, String)>, StoreError> {
        let mut tx = self.begin_read().await?;
        Ok(tx.all(sql("SELECT id, identity, secret FROM credentials WHERE kind = 'psk' ORDER BY id")).await?)
    }

    /// The identity of a pre-shared key that is sealed with another key than the one of this name, if there is one.
    pub async fn sealed_with_another(&mut self, key: &str) -> Result<Option<String>, StoreError> {
        let mine = format!(".{key}.");
        let others = self.sealed_psks().await?.into_iter().find(|(_, _, sealed)| !sealed.contains(&mine));
        Ok(others.map(|(_, identity, _)| identity))
    }

    /// Puts new stored forms in the place of these, each with the number of its row and what is there now, and notes the
    /// name of the new key: all of it, or nothing where anything has changed meanwhile. Says how many there were.
    pub async fn reseal(
        &mut self,
        old_key: &str,
        new_key: &str,
        resealed: &[(i64, String, SealedPsk)],
    ) -> Result<usize, StoreError> {
        let changed =
            || StoreError::Conflict("pre-shared keys were changed meanwhile; nothing was sealed anew".to_owned());
        let mut tx = self.begin().await?;
        if read::key_id(&mut tx).await?.as_deref() != Some(old_key) {
            return Err(changed());
        }
        for (id, before, SealedPsk { sealed, digest }) in resealed {
            let query = sql("UPDATE credentials SET secret = ?, secret_digest = ? WHERE id = ? AND secret = ?");
            if tx.execute(query.bind(sealed).bind(digest).bind(*id).bind(before)).await? != 1 {
                return Err(changed());
            }
        }
        let query = sql("SELECT count(*) FROM credentials WHERE kind = 'psk'");
        let (count,): (i64,) = tx.one(query).await?;
        if usize::try_from(count) != Ok(resealed.len()) {
            return Err(changed());
        }
        // Behind the dot, `key` is no keyword in any of the databases.
        let query = sql("UPDATE warden_meta SET value = ? WHERE warden_meta.key = 'key_id'");
        tx.execute(query.bind(new_key)).await?;
        tx.commit().await?;
        Ok(resealed.len())
    }
}
