//! A hash map of which each version shares with the next what did not change.
//!
//! A tree of nodes with sixteen children each, chosen by four bits of the hash, and leaves with up to [`LEAF`] entries.
//! To change an entry is to copy its leaf and the nodes above it, four in a map of a million; while nobody else has the
//! map, nothing is copied. Entries lie side by side, so that an entry costs little more than itself, and finding one
//! reaches beyond the processor's caches once for the leaf and once for the entries.

use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use equivalent::Equivalent;
use foldhash::quality::RandomState;

/// How many bits of a hash choose among the children of a node.
const BITS: u32 = 4;
const CHILDREN: usize = 1 << BITS;
/// How many entries a leaf has at most, where their hashes differ at all.
const LEAF: usize = 32;
/// How many levels the bits of a hash are enough for; the highest eight tell entries of a leaf apart.
const LEVELS: u32 = 14;

#[derive(Clone)]
pub(super) struct Map<K, V> {
    root: Slot<K, V>,
    length: usize,
    hasher: RandomState,
}

#[derive(Clone)]
enum Slot<K, V> {
    Empty,
    Leaf(Arc<Leaf<K, V>>),
    Node(Arc<[Slot<K, V>; CHILDREN]>),
}

#[derive(Clone)]
struct Leaf<K, V> {
    /// The highest byte of the hash of each of the first entries.
    tags: [u8; LEAF],
    entries: Vec<(K, V)>,
}

impl<K, V> Default for Map<K, V> {
    fn default() -> Self {
        Self { root: Slot::Empty, length: 0, hasher: RandomState::default() }
    }
}

impl<K, V> Map<K, V> {
    pub(super) fn len(&self) -> usize {
        self.length
    }

    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Every entry, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        let mut open = vec![std::slice::from_ref(&self.root).iter()];
        let leaves = std::iter::from_fn(move || {
            loop {
                match open.last_mut()?.next() {
                    None => drop(open.pop()),
                    Some(Slot::Empty) => {}
                    Some(Slot::Node(children)) => open.push(children.iter()),
                    Some(Slot::Leaf(leaf)) => return Some(&leaf.entries),
                }
            }
        });
        leaves.flatten().map(|(key, value)| (key, value))
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    pub(super) fn get<Q: Hash + Equivalent<K> + ?Sized>(&self, key: &Q) -> Option<&V> {
        self.get_key_value(key).map(|(_, value)| value)
    }

    pub(super) fn contains_key<Q: Hash + Equivalent<K> + ?Sized>(&self, key: &Q) -> bool {
        self.get_key_value(key).is_some()
    }

    pub(super) fn get_key_value<Q: Hash + Equivalent<K> + ?Sized>(&self, key: &Q) -> Option<(&K, &V)> {
        let hash = self.hasher.hash_one(key);
        let (mut slot, mut rest) = (&self.root, hash);
        loop {
            match slot {
                Slot::Empty => return None,
                Slot::Leaf(leaf) => {
                    let (key, value) = leaf.entries.get(leaf.position(tag(hash), key)?)?;
                    return Some((key, value));
                }
                Slot::Node(children) => slot = children.get(child(rest))?,
            }
            rest >>= BITS;
        }
    }
}

impl<K: Clone + Hash + Eq, V: Clone> Map<K, V> {
    /// Puts an entry in the place of one with an equal key, whose value is returned.
    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let hash = self.hasher.hash_one(&key);
        let before = self.root.insert(&self.hasher, (hash, 0), key, value);
        self.length += usize::from(before.is_none());
        before
    }

    pub(super) fn remove<Q: Hash + Equivalent<K> + ?Sized>(&mut self, key: &Q) -> Option<V> {
        // What is not there would else be looked for in copies.
        if !self.contains_key(key) {
            return None;
        }
        let removed = self.root.remove(&self.hasher, self.hasher.hash_one(key), 0, key);
        self.length -= usize::from(removed.is_some());
        removed
    }
}

impl<K: Clone + Hash + Eq, V: Clone> Slot<K, V> {
    /// `hash` is that of the key, below which this is the so many-th level.
    fn insert(&mut self, hasher: &RandomState, (hash, level): (u64, u32), key: K, value: V) -> Option<V> {
        match self {
            Self::Empty => {
                let mut leaf = Leaf { tags: [0; LEAF], entries: Vec::new() };
                leaf.push(tag(hash), key, value);
                *self = Self::Leaf(Arc::new(leaf));
                None
            }
            Self::Node(children) => {
                let children = Arc::make_mut(children);
                children.get_mut(child(hash >> (BITS * level)))?.insert(hasher, (hash, level + 1), key, value)
            }
            Self::Leaf(leaf) => {
                let at = leaf.position(tag(hash), &key);
                if at.is_none() && leaf.entries.len() >= LEAF && level < LEVELS {
                    *self = Arc::make_mut(leaf).split(hasher, level);
                    return self.insert(hasher, (hash, level), key, value);
                }
                let leaf = Arc::make_mut(leaf);
                if let Some(entry) = at.and_then(|at| leaf.entries.get_mut(at)) {
                    return Some(std::mem::replace(entry, (key, value)).1);
                }
                leaf.push(tag(hash), key, value);
                None
            }
        }
    }

    fn remove<Q: Equivalent<K> + ?Sized>(&mut self, hasher: &RandomState, hash: u64, level: u32, key: &Q) -> Option<V> {
        let (removed, empty) = match self {
            Self::Empty => return None,
            Self::Leaf(leaf) => {
                let leaf = Arc::make_mut(leaf);
                let removed = leaf.remove(hasher, tag(hash), key);
                (removed, leaf.entries.is_empty())
            }
            Self::Node(children) => {
                let children = Arc::make_mut(children);
                let below = children.get_mut(child(hash >> (BITS * level)))?;
                let removed = below.remove(hasher, hash, level + 1, key);
                let empty = matches!(below, Self::Empty) && children.iter().all(|slot| matches!(slot, Self::Empty));
                (removed, empty)
            }
        };
        if empty {
            *self = Self::Empty;
        }
        removed
    }
}

impl<K, V> Leaf<K, V> {
    fn position<Q: Equivalent<K> + ?Sized>(&self, tag: u8, key: &Q) -> Option<usize> {
        let is_at = |at: &usize| self.entries.get(*at).is_some_and(|(other, _)| key.equivalent(other));
        let (words, _) = self.tags.as_chunks::<8>();
        let tagged = words
            .iter()
            .zip((0..).step_by(8))
            .find_map(|(word, first)| places(u64::from_le_bytes(*word), tag).map(|place| first + place).find(is_at));
        // Only the deepest leaves have more entries than tags.
        tagged.or_else(|| (LEAF..self.entries.len()).find(is_at))
    }

    fn push(&mut self, tag: u8, key: K, value: V) {
        if let Some(place) = self.tags.get_mut(self.entries.len()) {
            *place = tag;
        }
        if self.entries.len() == self.entries.capacity() {
            // There are very many leaves: none has much more room than it needs.
            self.entries.reserve_exact(4);
        }
        self.entries.push((key, value));
    }
}

impl<K: Clone + Hash + Eq, V: Clone> Leaf<K, V> {
    /// The same entries, in a node.
    fn split(&mut self, hasher: &RandomState, level: u32) -> Slot<K, V> {
        let mut node = Slot::Node(Arc::new(std::array::from_fn(|_| Slot::Empty)));
        for (key, value) in std::mem::take(&mut self.entries) {
            let hash = hasher.hash_one(&key);
            node.insert(hasher, (hash, level), key, value);
        }
        node
    }

    fn remove<Q: Equivalent<K> + ?Sized>(&mut self, hasher: &RandomState, sought: u8, key: &Q) -> Option<V> {
        let at = self.position(sought, key)?;
        let (_, value) = self.entries.swap_remove(at);
        if let (Some((moved, _)), Some(place)) = (self.entries.get(at), self.tags.get_mut(at)) {
            *place = tag(hasher.hash_one(moved));
        }
        Some(value)
    }
}

fn child(bits: u64) -> usize {
    usize::try_from(bits).map_or(0, |bits| bits % CHILDREN)
}

fn tag(hash: u64) -> u8 {
    hash.to_be_bytes()[0]
}

/// The bytes of a word that may be this one: all that are, and perhaps some above the first of them.
fn places(word: u64, byte: u8) -> impl Iterator<Item = usize> {
    const EACH: u64 = u64::from_le_bytes([1; 8]);
    let differing = word ^ (EACH * u64::from(byte));
    let mut equal = differing.wrapping_sub(EACH) & !differing & (EACH << 7);
    std::iter::from_fn(move || {
        let place = (equal != 0).then(|| equal.trailing_zeros() / 8)?;
        equal &= equal - 1;
        usize::try_from(place).ok()
    })
}

#[cfg(test)]
mod tests;
