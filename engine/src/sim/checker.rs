//! The promises of the design, held against what happens.
//!
//! Each message has a number of copies that may come to Kafka: one, and one more for each disturbance that may repeat
//! it. A crash repeats what the broker still holds of what the process took, and what the spool holds behind its
//! durable cursor; a lost connection what was acknowledged without the broker learning it (QoS 1); a fatal error of the
//! producer what was inside librdkafka.

use std::{
    collections::{HashMap, HashSet},
    hash::{Hash as _, Hasher as _},
};

use super::{context::Context, line::Line, plan::Plan};
use crate::message::{Qos, Record};

/// A message as it was published.
#[derive(Clone, Debug)]
pub(super) struct Message {
    /// Index of the MQTT topic among all.
    pub(super) topic: usize,
    /// Its place among the messages of its topic.
    pub(super) place: u32,
    pub(super) qos: Qos,
    /// Kafka never takes it.
    pub(super) poison: bool,
    pub(super) filling: usize,
    /// The broker has its PUBACK or PUBREC.
    pub(super) acknowledged: bool,
    /// The process of this life was handed it; 0 is none.
    pub(super) taken: u32,
    pub(super) copies: u32,
    pub(super) allowed: u32,
    /// The life of the process that wrote its acknowledgement since the broker sent it last.
    pub(super) answered: u32,
    /// The process of this life was told that it is in Kafka, the last that was.
    pub(super) confirmed: u32,
}

/// What Kafka has of one MQTT topic.
#[derive(Clone, Debug, Default)]
struct Topic {
    name: String,
    published: u32,
    /// The newest first occurrence, plus 1.
    newest: u32,
    /// The last record, plus 1.
    last: u32,
    descents: u32,
    allowed: u32,
}

/// The messages that lie in the spool at a start.
#[derive(Clone, Debug, Default)]
pub(super) struct Spooled {
    /// Those of parked partitions first.
    pub(super) messages: Vec<u32>,
    pub(super) parked: usize,
    /// Nothing is there that could not be read.
    pub(super) complete: bool,
}

/// Sums for the summary.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sums {
    pub(super) worlds: u64,
    pub(super) messages: u64,
    pub(super) records: u64,
    pub(super) duplicates: u64,
    pub(super) faults: u64,
    pub(super) crashes: u64,
    pub(super) spills: u64,
    pub(super) parkings: u64,
    pub(super) recovered: u64,
}

#[derive(Debug)]
pub(super) struct Checker {
    pub(super) messages: Vec<Message>,
    topics: Vec<Topic>,
    per_session: usize,
    partitions: u32,
    keyed: bool,
    pub(super) sums: Sums,
    /// Of everything that came to Kafka, and when.
    fingerprint: std::hash::DefaultHasher,
}

impl Checker {
    pub(super) fn new(plan: &Plan) -> Checker {
        let names =
            (0..plan.sessions).flat_map(|session| (0..plan.topics).map(move |n| format!("{session}/topic-{n}")));
        Checker {
            messages: Vec::new(),
            topics: names.map(|name| Topic { name, ..Topic::default() }).collect(),
            per_session: plan.topics,
            partitions: plan.partitions,
            keyed: plan.keyed,
            sums: Sums { worlds: 1, ..Sums::default() },
            fingerprint: std::hash::DefaultHasher::new(),
        }
    }

    pub(super) fn topics(&self) -> usize {
        self.topics.len()
    }

    pub(super) fn session_of(&self, topic: usize) -> usize {
        topic / self.per_session
    }

    pub(super) fn topic_name(&self, id: u32) -> &str {
        &self.topics[self.messages[id as usize].topic].name
    }

    /// A message that the broker took over.
    pub(super) fn publish(&mut self, topic: usize, qos: Qos, poison: bool, filling: usize) -> u32 {
        let place = self.topics[topic].published;
        self.topics[topic].published += 1;
        self.sums.messages += 1;
        self.messages.push(Message {
            topic,
            place,
            qos,
            poison,
            filling,
            acknowledged: false,
            taken: 0,
            copies: 0,
            allowed: 1,
            answered: 0,
            confirmed: 0,
        });
        self.messages.len() as u32 - 1
    }

    /// The bytes of a message.
    pub(super) fn payload(&self, id: u32) -> Vec<u8> {
        payload(id, self.messages[id as usize].filling)
    }

    /// A record has come to Kafka.
    pub(super) fn appended(&mut self, cx: &mut Context, partition: usize, record: &Record) {
        let Some(id) = self.identify(cx, partition, record) else { return };
        (cx.now, id, partition).hash(&mut self.fingerprint);
        self.sums.records += 1;
        let message = &mut self.messages[id as usize];
        let topic = &mut self.topics[message.topic];
        message.copies += 1;
        let (copies, allowed, place) = (message.copies, message.allowed, message.place);
        if copies > allowed {
            cx.fail(|| format!("duplicate: message {id} came {copies} times, {allowed} at most are no fault"));
        }
        self.sums.duplicates += u64::from(copies > 1);
        if copies == 1 && place < topic.newest {
            cx.fail(|| {
                format!("order: message {id}, number {place} of {}, after number {}", topic.name, topic.newest - 1)
            });
        }
        topic.newest = topic.newest.max(place + 1);
        topic.descents += u32::from(place < topic.last);
        topic.last = place + 1;
        if topic.descents > topic.allowed {
            let (descents, allowed) = (topic.descents, topic.allowed);
            cx.fail(|| {
                format!("re-run: message {id} is the start of re-run {descents} of {}, {allowed} at most", topic.name)
            });
        }
    }

    /// The message that a record is, unchanged.
    fn identify(&self, cx: &mut Context, partition: usize, record: &Record) -> Option<u32> {
        let id = record.value.as_deref().and_then(identify);
        let known = id.filter(|id| (*id as usize) < self.messages.len());
        let Some(id) = known else {
            cx.fail(|| format!("phantom: a record of no message in partition {partition}"));
            return None;
        };
        let message = &self.messages[id as usize];
        let name = self.topics[message.topic].name.as_bytes();
        let intact = record.value.as_deref() == Some(&payload(id, message.filling)[..])
            && record.key.as_deref() == self.keyed.then_some(name)
            && record.mqtt_topic() == name
            && record.headers().is_empty();
        if !intact {
            cx.fail(|| format!("changed: message {id}"));
        }
        if message.poison {
            cx.fail(|| format!("the harness appended message {id}, which Kafka does not take"));
        }
        let expected = crate::route::partition::partition(name, self.partitions);
        if expected as usize != partition {
            cx.fail(|| format!("message {id} in partition {partition} instead of {expected}"));
        }
        Some(id)
    }

    /// The broker has the acknowledgement of a message.
    pub(super) fn acknowledged(&mut self, id: u32) {
        self.messages[id as usize].acknowledged = true;
    }

    /// One more copy of a message is no fault.
    pub(super) fn allow(&mut self, id: u32) {
        self.messages[id as usize].allowed += 1;
    }

    /// So many more re-runs of each topic are no fault; `session` where it is about one alone.
    pub(super) fn allow_reruns(&mut self, session: Option<usize>, count: u32) {
        for (index, topic) in self.topics.iter_mut().enumerate() {
            if session.is_none_or(|session| index / self.per_session == session) {
                topic.allowed += count;
            }
        }
    }

    /// At a start: what was acknowledged must be in Kafka or among what the spool has.
    pub(super) fn recovered(&mut self, cx: &mut Context, spooled: &Spooled) {
        self.sums.recovered += spooled.messages.len() as u64;
        if spooled.complete {
            let spooled: HashSet<u32> = spooled.messages.iter().copied().collect();
            self.complete(cx, |id| spooled.contains(&id));
        }
    }

    /// What the spool holds after a crash comes again, and with what could not be read whatever that process took.
    pub(super) fn allow_rerun_of(&mut self, spooled: &Spooled, life: u32) {
        self.allow_all(&spooled.messages);
        let unread = self.messages.iter_mut().filter(|message| !spooled.complete && message.taken == life);
        unread.for_each(|message| message.allowed += 1);
    }

    /// These come again in their order, and the re-runs among them with them.
    pub(super) fn allow_all(&mut self, messages: &[u32]) {
        messages.iter().for_each(|id| self.allow(*id));
        self.allow_descents_of(messages);
    }

    /// The re-runs among messages that come again come again with them.
    fn allow_descents_of(&mut self, messages: &[u32]) {
        let mut last: HashMap<usize, u32> = HashMap::new();
        for id in messages {
            let message = &self.messages[*id as usize];
            let before = last.insert(message.topic, message.place);
            self.topics[message.topic].allowed += u32::from(before.is_some_and(|before| message.place <= before));
        }
    }

    /// A stop leaves one cursor for all partitions of a log: behind the oldest record in the spool of which the process did not
    /// know that it is in Kafka, what it knew of comes again. Of a message that may come twice the spool may hold the
    /// second copy, of which it knew nothing. And what was parked may lie behind the cursor of the spool, too.
    pub(super) fn allow_ahead(&mut self, spooled: &Spooled, life: u32) {
        let (parked, rest) = spooled.messages.split_at(spooled.parked);
        let known = |message: &Message| message.confirmed == life && message.allowed == 1;
        let ahead = [parked, rest].map(|log| {
            let oldest = log.iter().position(|id| !known(&self.messages[*id as usize]));
            &log[oldest.unwrap_or(log.len())..]
        });
        for id in ahead.concat() {
            let message = &mut self.messages[id as usize];
            message.allowed += u32::from(message.confirmed == life);
        }
        let parked: HashSet<u32> = parked.iter().copied().collect();
        for id in rest.iter().filter(|id| parked.contains(id)) {
            let message = &mut self.messages[*id as usize];
            message.allowed += u32::from(message.confirmed != life);
        }
        // The last group may wait for a segment: it is in the spool, and cannot be read yet.
        let read: HashSet<u32> = spooled.messages.iter().copied().collect();
        for (id, message) in (0..).zip(&mut self.messages) {
            let unread = !spooled.complete && message.confirmed == life && !read.contains(&id);
            message.allowed += u32::from(unread);
        }
        self.allow_descents_of(&spooled.messages);
    }

    /// At the end: what was acknowledged, and what the last process took, is in Kafka.
    pub(super) fn finished(&mut self, cx: &mut Context, life: u32) {
        self.complete(cx, |_| false);
        let taken =
            |message: &&(usize, &Message)| message.1.taken == life && message.1.copies == 0 && !message.1.poison;
        let messages: Vec<(usize, &Message)> = self.messages.iter().enumerate().collect();
        if let Some((id, _)) = messages.iter().find(taken) {
            cx.fail(|| format!("lost: message {id} was taken and is not in Kafka"));
        }
    }

    fn complete(&self, cx: &mut Context, elsewhere: impl Fn(u32) -> bool) {
        let lost = |(id, message): &(usize, &Message)| {
            let here = message.copies > 0 || message.poison || elsewhere(*id as u32);
            message.acknowledged && !here
        };
        if let Some((id, message)) = self.messages.iter().enumerate().find(lost) {
            cx.fail(|| format!("lost: message {id} was acknowledged and is nowhere: {message:?}"));
        }
    }

    /// A number for everything that came to Kafka, and when.
    pub(super) fn fingerprint(&self) -> u64 {
        self.fingerprint.finish()
    }
}

/// The message that bytes belong to.
pub(super) fn identify(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|id| u32::from_le_bytes(*id))
}

/// Number and contents follow from each other.
fn payload(id: u32, filling: usize) -> Vec<u8> {
    let mut bytes = id.to_le_bytes().to_vec();
    bytes.extend((0..filling).map(|at| (id as usize * 31 + at * 7) as u8));
    bytes
}

impl Sums {
    /// What a process did.
    pub(super) fn count(&mut self, line: &Line) {
        self.spills += line.spills;
        self.parkings += line.parkings;
    }

    pub(super) fn add(&mut self, other: &Sums) {
        self.worlds += other.worlds;
        self.messages += other.messages;
        self.records += other.records;
        self.duplicates += other.duplicates;
        self.faults += other.faults;
        self.crashes += other.crashes;
        self.spills += other.spills;
        self.parkings += other.parkings;
        self.recovered += other.recovered;
    }
}
