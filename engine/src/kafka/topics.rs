//! The Kafka topics that are known: an append-only table that the control plane fills and shards read without a lock.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
    },
};

use crossbeam::queue::ArrayQueue;
use tokio::sync::Notify;

use crate::{message::TopicId, settings::Owner};

/// Most Kafka topics of one process. A record for one more is held, and `/readyz` says so.
pub const MAX_TOPICS: usize = 4096;
/// Most names that wait for the control plane; a shard asks again later when the queue is full.
const MAX_WANTED: usize = 1024;

/// One topic. The partition count is that of its first use and stays for the life of the process, because a
/// key must not change its partition while records of it are in flight.
#[derive(Debug)]
struct Topic {
    name: String,
    /// 0 where Kafka has not been asked yet, because it is away.
    partitions: AtomicU32,
    /// Its records stay with the shard of their session.
    of_session: AtomicBool,
}

/// The table, and the names that shards ask for.
#[derive(Debug)]
pub struct Topics {
    slots: Box<[OnceLock<Topic>]>,
    len: AtomicUsize,
    found: AtomicUsize,
    away: AtomicBool,
    /// Held while a topic is added, which is seldom.
    adding: Mutex<()>,
    wanted: ArrayQueue<String>,
    asked: Notify,
}

impl Topic {
    fn owner(&self) -> Owner {
        if self.of_session.load(Ordering::Relaxed) { Owner::Session } else { Owner::Partition }
    }
}

impl Default for Topics {
    fn default() -> Topics {
        Topics {
            slots: (0..MAX_TOPICS).map(|_| OnceLock::new()).collect(),
            len: AtomicUsize::new(0),
            found: AtomicUsize::new(0),
            away: AtomicBool::new(false),
            adding: Mutex::new(()),
            wanted: ArrayQueue::new(MAX_WANTED),
            asked: Notify::new(),
        }
    }
}

impl Topics {
    /// A topic was found, and `owner` has its records; only the control plane calls this, and only once for each name.
    /// `None` when the table is full.
    pub fn publish(&self, name: &str, partitions: u32, owner: Owner) -> Option<TopicId> {
        let (id, topic) = self.add(name, owner)?;
        topic.of_session.store(owner == Owner::Session, Ordering::Relaxed);
        topic.partitions.store(partitions, Ordering::Release);
        self.found.fetch_add(1, Ordering::AcqRel);
        Some(id)
    }

    /// The topic of that name is about to be published. Who has its records: their sessions, where some came already.
    /// `None` when the table is full.
    pub fn reserve(&self, name: &str) -> Option<Owner> {
        self.add(name, Owner::Partition).map(|(_, topic)| topic.owner())
    }

    /// The topic of that name, added without its partitions where it is not known. `None` when the table is full, and
    /// while the topic is about to be published.
    pub fn expect(&self, name: &str) -> Option<TopicId> {
        let (id, topic) = self.add(name, Owner::Session)?;
        let reserved = topic.partitions.load(Ordering::Acquire) == 0 && topic.owner() == Owner::Partition;
        (!reserved).then_some(id)
    }

    /// The topic of that name, added for `owner` where it is not known.
    fn add(&self, name: &str, owner: Owner) -> Option<(TopicId, &Topic)> {
        let _adding = self.adding.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.slots.iter().map_while(OnceLock::get).zip(0..).find(|(topic, _)| topic.name == name);
        if let Some((topic, index)) = known {
            return Some((TopicId(index), topic));
        }
        let index = self.len.load(Ordering::Relaxed);
        let slot = self.slots.get(index)?;
        let of_session = AtomicBool::new(owner == Owner::Session);
        slot.set(Topic { name: name.to_owned(), partitions: AtomicU32::new(0), of_session }).ok()?;
        self.len.store(index + 1, Ordering::Release);
        Some((TopicId(index as u16), slot.get()?))
    }

    /// Who has the records of a topic, where the route does not say that it is the session.
    #[must_use]
    pub fn owner(&self, id: TopicId) -> Owner {
        self.slots.get(usize::from(id.0)).and_then(OnceLock::get).map_or(Owner::Session, Topic::owner)
    }

    /// Name and partition count of a topic; 0 where it was not found yet.
    #[must_use]
    pub fn get(&self, id: TopicId) -> Option<(&str, u32)> {
        let topic = self.slots.get(usize::from(id.0))?.get()?;
        Some((&topic.name, topic.partitions.load(Ordering::Acquire)))
    }

    /// Whether a topic of that name was found.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.partitions(name).is_some()
    }

    /// The partition count of the topic of that name, where it was found.
    #[must_use]
    pub fn partitions(&self, name: &str) -> Option<u32> {
        let topic = self.slots.iter().map_while(OnceLock::get).find(|topic| topic.name == name)?;
        Some(topic.partitions.load(Ordering::Acquire)).filter(|partitions| *partitions > 0)
    }

    /// Number of topics that were found.
    #[must_use]
    pub fn found(&self) -> usize {
        self.found.load(Ordering::Acquire)
    }

    /// Whether Kafka could not be asked when it was last tried, or was not asked yet and need not be.
    #[must_use]
    pub fn is_away(&self) -> bool {
        self.away.load(Ordering::Acquire)
    }

    /// Kafka answered, or did not.
    pub fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::Release);
    }

    /// Asks the control plane for a topic. `false` when too many names wait already.
    pub fn want(&self, name: &str) -> bool {
        let queued = self.wanted.push(name.to_owned()).is_ok();
        self.asked.notify_one();
        queued
    }

    /// The next name that a shard asks for.
    pub fn next_wanted(&self) -> Option<String> {
        self.wanted.pop()
    }

    /// Waits until a shard has asked since the last call.
    pub async fn wanted(&self) {
        self.asked.notified().await;
    }

    /// Number of topics, found or not.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    /// Whether there is no topic.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One shard's view of the table: by name, without sharing anything.
#[derive(Debug)]
pub struct Directory {
    topics: Arc<Topics>,
    /// Whether a topic that was not found is given out while Kafka is away, with 0 partitions.
    expects: bool,
    seen: usize,
    known: HashMap<String, (TopicId, u32)>,
    asked: HashSet<String>,
}

impl Directory {
    /// A view of the table. `expects` says whether [`Directory::find`] gives out topics with 0 partitions while Kafka is
    /// away, so that their records can go to the spool.
    #[must_use]
    pub fn new(topics: Arc<Topics>, expects: bool) -> Directory {
        Directory { topics, expects, seen: 0, known: HashMap::new(), asked: HashSet::new() }
    }

    /// The topic of that name. When it is not known, the control plane is asked for it once and `None` comes back.
    pub fn find(&mut self, name: &str) -> Option<(TopicId, u32)> {
        if let Some(found) = self.known.get(name) {
            return Some(*found);
        }
        self.learn();
        if let Some(found) = self.known.get(name) {
            return Some(*found);
        }
        if !self.asked.contains(name) && self.asked.len() < MAX_TOPICS && self.topics.want(name) {
            self.asked.insert(name.to_owned());
        }
        let expected = self.expects && self.topics.is_away();
        expected.then(|| self.topics.expect(name)).flatten().map(|id| (id, 0))
    }

    fn learn(&mut self) {
        let found = self.topics.found();
        if self.seen == found {
            return;
        }
        self.seen = found;
        for id in (0..self.topics.len()).map(|index| TopicId(index as u16)) {
            if let Some((name, partitions)) = self.topics.get(id).filter(|(_, partitions)| *partitions > 0) {
                self.asked.remove(name);
                self.known.insert(name.to_owned(), (id, partitions));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_asks_once_and_finds_what_the_control_plane_published() {
        let topics = Arc::new(Topics::default());
        let mut directory = Directory::new(topics.clone(), false);
        assert_eq!((directory.find("ais"), directory.find("ais")), (None, None));
        assert_eq!((topics.next_wanted(), topics.next_wanted()), (Some("ais".to_owned()), None));
        let id = topics.publish("ais", 9, Owner::Partition).unwrap();
        assert_eq!(directory.find("ais"), Some((id, 9)));
        assert_eq!(topics.get(id), Some(("ais", 9)));
    }

    #[test]
    fn while_kafka_is_away_a_topic_is_expected_by_who_can_wait_for_it() {
        let topics = Arc::new(Topics::default());
        let (mut spools, mut waits) = (Directory::new(topics.clone(), true), Directory::new(topics.clone(), false));
        assert_eq!((spools.find("ais"), waits.find("ais")), (None, None), "Kafka was not asked yet");
        topics.set_away(true);
        let expected = spools.find("ais").unwrap();
        assert_eq!((expected.1, waits.find("ais"), topics.contains("ais")), (0, None, false));
        topics.set_away(false);
        assert_eq!(topics.publish("ais", 9, Owner::Partition), Some(expected.0));
        assert_eq!((spools.find("ais"), waits.find("ais")), (Some((expected.0, 9)), Some((expected.0, 9))));
        assert!(topics.contains("ais"));
    }

    #[test]
    fn a_full_table_takes_no_more() {
        let topics = Topics::default();
        for index in 0..MAX_TOPICS {
            assert!(topics.publish(&index.to_string(), 1, Owner::Partition).is_some());
        }
        assert!(topics.publish("one more", 1, Owner::Partition).is_none());
    }
}
