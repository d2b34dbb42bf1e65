//! A bounded cache from MQTT topics to what the routes make of them.
//!
//! It is set-associative: the topic's hash names a set, and any of the set's ways may hold the topic. A full set
//! overwrites one of its ways; nothing is ordered by use. A set of 16 ways is seldom full before the whole cache is,
//! so 100,000 topics live in it without pushing each other out. Memory comes with use, a few ways of one set at a
//! time, so nothing is ever moved to grow.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;

use crate::{
    message::TopicId,
    mqtt::{Payload, Text},
};

/// Topics that one set holds. The tags of a set fill half a cache line.
const WAYS: usize = 16;
/// Sets; a power of two.
const SETS: usize = 8_192;
/// Most topics in the cache.
const MAX_TOPICS: usize = SETS * WAYS;
/// Longest topic and key, together, that are kept, bytes; longer ones are rendered each time. With [`MAX_TOPICS`] it
/// bounds the cache to less than 40 MiB; with topics and keys of up to 23 bytes a full cache takes 8 MiB.
const MAX_BYTES: usize = 128;
const _: () = assert!(SETS.is_power_of_two() && MAX_TOPICS == 131_072);

/// What the routes make of an MQTT topic.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    /// The MQTT topic: a copy, because the PUBLISH's own would pin its read buffer.
    pub(super) topic: Text,
    /// The key, if it had to be put together.
    pub(super) key: Option<Payload>,
    /// Index of the route among those that the cache serves.
    pub(super) route: u16,
    /// The Kafka topic.
    pub(super) kafka: TopicId,
    /// The partition of it.
    pub(super) partition: u32,
}

/// One cache line, and the slots that it leads to.
#[derive(Clone, Debug, Default)]
#[repr(align(64))]
struct Set {
    /// Some bits of the hash of each slot's topic, so that hardly any topic is compared in vain.
    tags: [u16; WAYS],
    /// At most [`WAYS`].
    slots: Vec<Slot>,
}

/// The cache.
#[derive(Debug, Default)]
pub(super) struct Cache {
    /// [`SETS`], or none before the first insertion.
    sets: Vec<Set>,
    /// Which way the next full set overwrites.
    hand: usize,
    /// The last slot that is not kept.
    long: Option<Slot>,
    counts: CacheCounts,
}

/// How a cache fares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheCounts {
    /// Topics in it.
    pub topics: u64,
    /// Messages whose topic was not in it; it only rises.
    pub misses: u64,
    /// Topics that took the place of another; it only rises.
    pub displaced: u64,
}

impl CacheCounts {
    /// Most topics in one cache.
    pub const LIMIT: u64 = MAX_TOPICS as u64;

    /// The counts of two caches together.
    #[must_use]
    pub fn plus(self, other: CacheCounts) -> CacheCounts {
        CacheCounts {
            topics: self.topics + other.topics,
            misses: self.misses + other.misses,
            displaced: self.displaced + other.displaced,
        }
    }
}

/// Where a slot is, until the next insertion.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    /// In this way of this set.
    Kept(usize, usize),
    /// Nowhere to be found again.
    Long,
}

impl Cache {
    /// The hash of a topic. Its seed is fixed: topics that are made to collide cost no more than topics that are not
    /// in the cache.
    pub(super) fn hash(topic: &str) -> u64 {
        FixedState::default().hash_one(topic.as_bytes())
    }

    /// Finds a topic. Equal hashes do not suffice, the topics are compared.
    pub(super) fn find(&self, hash: u64, topic: &str) -> Option<Place> {
        let index = set_of(hash);
        let set = self.sets.get(index)?;
        let tag = tag_of(hash);
        for (way, slot) in set.slots.iter().enumerate() {
            if set.tags[way] == tag && slot.topic.as_slice() == topic.as_bytes() {
                return Some(Place::Kept(index, way));
            }
        }
        None
    }

    /// The slot at a place that [`Cache::find`] or [`Cache::insert`] gave.
    pub(super) fn slot(&self, place: Place) -> &Slot {
        match place {
            Place::Kept(set, way) => &self.sets[set].slots[way],
            Place::Long => self.long.as_ref().expect("only an insertion gives this place"),
        }
    }

    /// Counts a topic that was not found.
    pub(super) fn missed(&mut self) {
        self.counts.misses += 1;
    }

    /// How it fares.
    pub(super) fn counts(&self) -> CacheCounts {
        self.counts
    }

    /// Keeps a slot for its one use.
    pub(super) fn pass(&mut self, slot: Slot) -> Place {
        self.long = Some(slot);
        Place::Long
    }

    /// Takes in a slot whose topic has this hash and was not found.
    pub(super) fn insert(&mut self, hash: u64, slot: Slot) -> Place {
        if slot.topic.len() + slot.key.as_ref().map_or(0, Payload::len) > MAX_BYTES {
            return self.pass(slot);
        }
        if self.sets.is_empty() {
            self.sets = vec![Set::default(); SETS];
        }
        let index = set_of(hash);
        let set = &mut self.sets[index];
        let way = if set.slots.len() < WAYS {
            set.slots.push(slot);
            self.counts.topics += 1;
            set.slots.len() - 1
        } else {
            self.counts.displaced += 1;
            self.hand = (self.hand + 1) % WAYS;
            set.slots[self.hand] = slot;
            self.hand
        };
        set.tags[way] = tag_of(hash);
        Place::Kept(index, way)
    }
}

fn set_of(hash: u64) -> usize {
    hash as usize % SETS
}

fn tag_of(hash: u64) -> u16 {
    (hash >> 48) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(topic: &str) -> Slot {
        Slot { topic: Text::from(topic), key: None, route: 1, kafka: TopicId(2), partition: 3 }
    }

    fn insert(cache: &mut Cache, topic: &str) {
        let hash = Cache::hash(topic);
        assert!(cache.find(hash, topic).is_none());
        let place = cache.insert(hash, slot(topic));
        assert_eq!(cache.slot(place).topic.as_str(), topic);
    }

    fn holds(cache: &Cache, topic: &str) -> bool {
        let place = cache.find(Cache::hash(topic), topic);
        place.is_some_and(|place| cache.slot(place).topic.as_str() == topic)
    }

    fn topics(count: usize) -> impl Iterator<Item = String> {
        (0..count).map(|n| format!("ais/{}/position", 211_000_000 + n))
    }

    #[test]
    fn an_empty_cache_takes_no_memory_and_finds_nothing() {
        let cache = Cache::default();
        assert!(!holds(&cache, "a"));
        assert_eq!(cache.sets.capacity(), 0);
    }

    #[test]
    fn a_set_is_a_cache_line() {
        assert_eq!((size_of::<Set>(), align_of::<Set>()), (64, 64));
        assert!(size_of::<Slot>() <= 56);
    }

    #[test]
    fn a_hundred_thousand_topics_live_side_by_side() {
        let mut cache = Cache::default();
        topics(100_000).for_each(|topic| insert(&mut cache, &topic));
        let held = topics(100_000).filter(|topic| holds(&cache, topic)).count();
        assert!(held > 97_000, "{held} are held");
    }

    #[test]
    fn more_topics_than_fit_overwrite_others() {
        let mut cache = Cache::default();
        topics(2 * MAX_TOPICS).for_each(|topic| insert(&mut cache, &topic));
        assert!(cache.sets.iter().all(|set| set.slots.len() <= WAYS && set.slots.capacity() <= WAYS));
        let held = topics(2 * MAX_TOPICS).filter(|topic| holds(&cache, topic)).count();
        assert_eq!(held, cache.sets.iter().map(|set| set.slots.len()).sum::<usize>());
        assert!(held > MAX_TOPICS * 9 / 10 && held <= MAX_TOPICS, "{held} are held");
        let counts = cache.counts();
        assert_eq!((counts.topics, counts.displaced), (held as u64, (2 * MAX_TOPICS - held) as u64));
    }

    #[test]
    fn equal_hashes_are_told_apart() {
        let mut cache = Cache::default();
        let hash = 0xfeed_0000_0000_0042;
        let names: Vec<String> = topics(WAYS + 3).collect();
        for name in &names {
            assert!(cache.find(hash, name).is_none(), "{name}");
            cache.insert(hash, slot(name));
            let place = cache.find(hash, name).unwrap();
            assert_eq!(cache.slot(place).topic.as_str(), name);
        }
        let held = names.iter().filter(|name| cache.find(hash, name).is_some()).count();
        assert_eq!(held, WAYS);
    }

    #[test]
    fn what_is_too_long_is_not_kept() {
        let mut cache = Cache::default();
        let (fits, long) = ("a".repeat(MAX_BYTES), "b".repeat(MAX_BYTES + 1));
        insert(&mut cache, &fits);
        insert(&mut cache, &long);
        assert!(holds(&cache, &fits) && !holds(&cache, &long));
        let with_key = Slot { key: Some(Payload::from_static(&[b'k'; MAX_BYTES])), ..slot("c") };
        let place = cache.insert(Cache::hash("c"), with_key);
        assert_eq!(cache.slot(place).topic.as_str(), "c");
        assert!(!holds(&cache, "c"));
    }
}
