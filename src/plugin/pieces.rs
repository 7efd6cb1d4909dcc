//! A hash table in many pieces. One that grows is copied as a whole, and everybody waits whom the broker's thread serves;
//! of a million entries, a piece has four thousand.

use std::hash::{BuildHasher, Hash};

use equivalent::Equivalent;
use foldhash::quality::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

const PIECES: usize = 256;
/// Where in a hash the bits are that choose the piece: a piece itself goes by the lowest and the highest.
const SHIFT: u32 = 40;

/// What tells an entry from all others of its table. It is a part of the entry.
pub(super) trait Keyed {
    type Key: Hash + Eq;

    fn key(&self) -> &Self::Key;
}

impl<K: Hash + Eq, V> Keyed for (K, V) {
    type Key = K;

    fn key(&self) -> &K {
        &self.0
    }
}

/// The table.
#[derive(Debug)]
pub(super) struct Pieces<T> {
    tables: Box<[HashTable<T>; PIECES]>,
    length: usize,
    hasher: RandomState,
}

impl<T> Default for Pieces<T> {
    fn default() -> Self {
        Self { tables: Box::new([const { HashTable::new() }; PIECES]), length: 0, hasher: RandomState::default() }
    }
}

impl<T: Keyed> Pieces<T> {
    /// How many entries there are.
    pub(super) const fn len(&self) -> usize {
        self.length
    }

    /// The entry with this key.
    pub(super) fn get<Q: Hash + Equivalent<T::Key> + ?Sized>(&self, key: &Q) -> Option<&T> {
        let hash = self.hasher.hash_one(key);
        self.tables.get(piece(hash))?.find(hash, |entry| key.equivalent(entry.key()))
    }

    /// The same, to change what is not its key.
    pub(super) fn get_mut<Q: Hash + Equivalent<T::Key> + ?Sized>(&mut self, key: &Q) -> Option<&mut T> {
        let hash = self.hasher.hash_one(key);
        self.tables.get_mut(piece(hash))?.find_mut(hash, |entry| key.equivalent(entry.key()))
    }

    /// Puts an entry in, in the place of any other with its key.
    pub(super) fn insert(&mut self, entry: T) {
        let hash_of = |entry: &T| self.hasher.hash_one(entry.key());
        let hash = hash_of(&entry);
        let Some(piece) = self.tables.get_mut(piece(hash)) else { return };
        match piece.entry(hash, |other| other.key() == entry.key(), hash_of) {
            Entry::Occupied(mut place) => *place.get_mut() = entry,
            Entry::Vacant(place) => {
                place.insert(entry);
                self.length += 1;
            }
        }
    }

    /// Takes the entry with this key out.
    pub(super) fn remove<Q: Hash + Equivalent<T::Key> + ?Sized>(&mut self, key: &Q) -> Option<T> {
        let hash = self.hasher.hash_one(key);
        let found = self.tables.get_mut(piece(hash))?.find_entry(hash, |entry| key.equivalent(entry.key())).ok()?;
        self.length -= 1;
        Some(found.remove().0)
    }
}

/// Which piece an entry with this hash is in.
fn piece(hash: u64) -> usize {
    usize::try_from(hash >> SHIFT).unwrap_or_default() % PIECES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_found_by_its_key_until_it_is_taken_out() {
        let mut table = Pieces::default();
        for number in 0..10_000_u32 {
            table.insert((number.to_string(), number));
        }
        assert_eq!(table.len(), 10_000);
        assert_eq!((table.get("4711"), table.get("10000")), (Some(&("4711".to_owned(), 4711)), None));
        table.get_mut("4711").unwrap().1 = 1;
        assert_eq!(table.remove("4711"), Some(("4711".to_owned(), 1)));
        assert_eq!(table.remove("4711"), None);
        assert_eq!((table.get("4711"), table.len()), (None, 9_999));
    }

    #[test]
    fn of_two_entries_with_one_key_the_later_stays() {
        let mut table = Pieces::default();
        table.insert((1, 'a'));
        table.insert((1, 'b'));
        assert_eq!((table.get(&1), table.len()), (Some(&(1, 'b')), 1));
    }

    #[test]
    fn no_piece_has_much_more_than_its_part() {
        let mut table = Pieces::default();
        // As the broker's records lie in memory.
        for number in 0..100_000_usize {
            table.insert((0x5555_0000_0000 + number * 0x4f0, ()));
        }
        let largest = table.tables.iter().map(HashTable::len).max();
        assert!(largest < Some(2 * 100_000 / PIECES), "{largest:?}");
    }
}
