use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

/// A key whose hash has so many different values: with few, leaves become as deep and as full as they can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Key {
    number: u16,
    hashes: u16,
}

impl Hash for Key {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (self.number % self.hashes).hash(state);
    }
}

fn content(map: &Map<Key, u32>) -> HashMap<u16, u32> {
    let content: HashMap<u16, u32> = map.iter().map(|(key, value)| (key.number, *value)).collect();
    assert_eq!(content.len(), map.len());
    assert_eq!((map.keys().count(), map.values().count()), (map.len(), map.len()));
    assert_eq!(map.is_empty(), content.is_empty());
    content
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_version_stays_what_it_was(
        hashes in prop_oneof![1..4u16, Just(u16::MAX)],
        steps in prop::collection::vec((0..600u16, any::<u32>(), prop::bool::weighted(0.7)), 0..2_000),
    ) {
        let (mut map, mut model) = (Map::default(), HashMap::new());
        let mut versions = Vec::new();
        for (index, (number, value, put)) in steps.into_iter().enumerate() {
            if index % 97 == 0 {
                versions.push((map.clone(), model.clone()));
            }
            let key = Key { number, hashes };
            if put {
                prop_assert_eq!(map.insert(key, value), model.insert(number, value));
            } else {
                prop_assert_eq!(map.remove(&key), model.remove(&number));
            }
            prop_assert_eq!(map.get(&key), model.get(&number));
        }
        versions.push((map, model));
        for (map, model) in versions {
            prop_assert_eq!(content(&map), model.clone());
            for number in 0..600 {
                let key = Key { number, hashes };
                prop_assert_eq!(map.get(&key), model.get(&number));
                prop_assert_eq!(map.contains_key(&key), model.contains_key(&number));
            }
        }
    }
}

#[test]
fn a_map_that_was_emptied_has_nothing_left() {
    let mut map = Map::default();
    for number in 0..10_000 {
        assert_eq!(map.insert(number, ()), None);
    }
    for number in 0..10_000 {
        assert_eq!(map.remove(&number), Some(()));
    }
    assert!(map.is_empty() && map.iter().next().is_none() && matches!(map.root, Slot::Empty));
}

#[test]
fn a_byte_is_found_wherever_it_is() {
    for byte in [0, 1, 127, 128, 255] {
        for place in 0..8 {
            let mut word = [byte ^ 1; 8];
            word[place] = byte;
            assert!(places(u64::from_le_bytes(word), byte).any(|found| found == place), "{byte} at {place}");
        }
        assert_eq!(places(u64::from_le_bytes([byte ^ 0x55; 8]), byte).next(), None);
    }
}
