//! The Kafka topics that are known: an append-only table that the control plane fills and shards read without a lock.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use crossbeam::queue::ArrayQueue;
use tokio::sync::Notify;

use crate::message::TopicId;

/// Most Kafka topics of one process. A record for one more is held, and `/readyz` says so.
pub const MAX_TOPICS: usize = 4096;
/// Most names that wait for the control plane; a shard asks again later when the queue is full.
const MAX_WANTED: usize = 1024;

/// One known topic. The partition count is that of its first use and stays for the life of the process, because a
/// key must not change its partition while records of it are in flight.
#[derive(Debug)]
struct Topic {
    name: String,
    partitions: u32,
}

/// The table, and the names that shards ask for.
#[derive(Debug)]
pub struct Topics {
    slots: Box<[OnceLock<Topic>]>,
    len: AtomicUsize,
    wanted: ArrayQueue<String>,
    asked: Notify,
}

impl Default for Topics {
    fn default() -> Topics {
        Topics {
            slots: (0..MAX_TOPICS).map(|_| OnceLock::new()).collect(),
            len: AtomicUsize::new(0),
            wanted: ArrayQueue::new(MAX_WANTED),
            asked: Notify::new(),
        }
    }
}

impl Topics {
    /// Adds a topic; only the control plane calls this, and only once for each name. `None` when the table is full.
    pub fn publish(&self, name: &str, partitions: u32) -> Option<TopicId> {
        let index = self.len.load(Ordering::Relaxed);
        let slot = self.slots.get(index)?;
        slot.set(Topic { name: name.to_owned(), partitions }).ok()?;
        self.len.store(index + 1, Ordering::Release);
        Some(TopicId(index as u16))
    }

    /// Name and partition count of a topic.
    #[must_use]
    pub fn get(&self, id: TopicId) -> Option<(&str, u32)> {
        let topic = self.slots.get(usize::from(id.0))?.get()?;
        Some((&topic.name, topic.partitions))
    }

    /// Whether a topic of that name is known.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.slots.iter().map_while(OnceLock::get).any(|topic| topic.name == name)
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

    /// Number of known topics.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    /// Whether no topic is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One shard's view of the table: by name, without sharing anything.
#[derive(Debug)]
pub struct Directory {
    topics: Arc<Topics>,
    seen: usize,
    known: HashMap<String, (TopicId, u32)>,
    asked: HashSet<String>,
}

impl Directory {
    /// A view of the table.
    #[must_use]
    pub fn new(topics: Arc<Topics>) -> Directory {
        Directory { topics, seen: 0, known: HashMap::new(), asked: HashSet::new() }
    }

    /// The topic of that name. When it is not known, the control plane is asked for it once and `None` comes back.
    pub fn find(&mut self, name: &str) -> Option<(TopicId, u32)> {
        if let Some(found) = self.known.get(name) {
            return Some(*found);
        }
        self.learn();
        let found = self.known.get(name).copied();
        if found.is_none() && !self.asked.contains(name) && self.asked.len() < MAX_TOPICS && self.topics.want(name) {
            self.asked.insert(name.to_owned());
        }
        found
    }

    fn learn(&mut self) {
        while self.seen < self.topics.len() {
            let id = TopicId(self.seen as u16);
            if let Some((name, partitions)) = self.topics.get(id) {
                self.asked.remove(name);
                self.known.insert(name.to_owned(), (id, partitions));
            }
            self.seen += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_asks_once_and_finds_what_the_control_plane_published() {
        let topics = Arc::new(Topics::default());
        let mut directory = Directory::new(topics.clone());
        assert_eq!((directory.find("ais"), directory.find("ais")), (None, None));
        assert_eq!((topics.next_wanted(), topics.next_wanted()), (Some("ais".to_owned()), None));
        let id = topics.publish("ais", 9).unwrap();
        assert_eq!(directory.find("ais"), Some((id, 9)));
        assert_eq!(topics.get(id), Some(("ais", 9)));
    }

    #[test]
    fn a_full_table_takes_no_more() {
        let topics = Topics::default();
        for index in 0..MAX_TOPICS {
            assert!(topics.publish(&index.to_string(), 1).is_some());
        }
        assert!(topics.publish("one more", 1).is_none());
    }
}
