//! What the broker sends: who gets which topics, when it starts, and the packets.

use super::{Broker, Link};
use crate::clock::MILLISECOND;
use crate::firehose::FirehoseError;
use crate::firehose::packets::Packets;
use crate::firehose::queue::Queue;
use crate::firehose::session::Granted;
use crate::mqtt::filter::matches;
use crate::mqtt::{Qos, Version};
use std::collections::BTreeMap;
use std::rc::Rc;

/// The flood starts when no subscription has come for this long: a client may send several SUBSCRIBEs.
const SETTLE_NS: i64 = 50 * MILLISECOND;

impl Broker {
    /// Starts the flood once the expected sessions have subscribed.
    pub(crate) fn poll_start(&mut self, now: i64) -> Result<(), FirehoseError> {
        let subscribed = self.sessions.iter().filter(|session| !session.granted.is_empty()).count();
        if self.started_ns.is_some() || subscribed < self.config.sessions || now < self.last_subscribe_ns + SETTLE_NS {
            return Ok(());
        }
        self.plan(now);
        self.counts.topics_without_subscriber = self.topics_without_subscriber();
        if self.queues.iter().all(Queue::is_finished) {
            let granted = self.sessions.iter().flat_map(|session| &session.granted);
            let filters: Vec<_> = granted.map(|granted| granted.subscription.filter.as_str()).collect();
            return Err(FirehoseError::NothingSubscribed {
                filters: filters.join(", "),
                first: self.shape.topics[0].clone(),
            });
        }
        self.started_ns = Some(now);
        Ok(())
    }

    /// One queue for each session with plain filters, and one for each group.
    fn plan(&mut self, now: i64) {
        let mut filters_of: BTreeMap<(Option<String>, usize), Vec<String>> = BTreeMap::new();
        for (index, session) in self.sessions.iter().enumerate() {
            for Granted { subscription, .. } in &session.granted {
                let owner = if subscription.group.is_some() { 0 } else { index };
                let key = (subscription.group.clone(), owner);
                filters_of.entry(key).or_default().push(subscription.filter.clone());
            }
        }
        for ((group, owner), filters) in filters_of {
            let is_wanted = |topic: &str| filters.iter().any(|filter| matches(filter, topic));
            let topics: Vec<u32> = (0..)
                .zip(&self.shape.topics)
                .filter_map(|(number, topic)| is_wanted(topic).then_some(number))
                .collect();
            if topics.is_empty() {
                continue;
            }
            let messages = self.config.messages.unwrap_or(u64::MAX);
            let pace = (self.config.load.rate, self.config.load.shape);
            let queue = Queue::new(topics, self.config.plain.topics, messages, pace, now);
            let number = self.queues.len();
            self.queues.push(queue);
            match group {
                None => self.sessions[owner].queues.push(number),
                Some(group) => {
                    let is_member = |granted: &Granted| granted.subscription.group.as_ref() == Some(&group);
                    for session in &mut self.sessions {
                        if session.granted.iter().any(is_member) {
                            session.queues.push(number);
                        }
                    }
                    self.by_group.insert(group, number);
                }
            }
        }
    }

    fn topics_without_subscriber(&self) -> u64 {
        let mut wanted = vec![false; self.shape.topics.len()];
        for (topic, _) in self.queues.iter().flat_map(Queue::sent) {
            wanted[topic as usize] = true;
        }
        wanted.iter().filter(|&&wanted| !wanted).count() as u64
    }

    /// Whether [`Broker::fill`] would write something.
    pub(crate) fn wants_to_send(&self, link: &Link, now: i64) -> bool {
        let Some(session) = link.session.map(|index| &self.sessions[index]) else {
            return false;
        };
        let is_fed = session.qos(self.config.qos).is_some();
        is_fed && session.queues.iter().any(|&queue| session.wants_to_send(&self.queues[queue], now))
    }

    /// Appends what may be sent to this connection now.
    pub(crate) fn fill(&mut self, link: &Link, out: &mut Vec<u8>, now: i64) {
        let Some(index) = link.session else { return };
        self.prepare_packets(index);
        let session = &mut self.sessions[index];
        let (Some(qos), Some(packets)) = (session.qos(self.config.qos), session.packets().cloned()) else {
            return;
        };
        for place in 0..session.queues.len() {
            let queue = &mut self.queues[session.queues[place]];
            let filled = session.fill(&packets, qos, queue, now, out);
            self.counts.sent += filled.sent;
            self.counts.redelivered += filled.redelivered;
        }
        if qos == Qos::AtMostOnce {
            self.note_time(now);
        }
    }

    /// The packets that a session needs, prepared once for all sessions of the same version and QoS.
    pub(super) fn prepare_packets(&mut self, index: usize) {
        let session = &mut self.sessions[index];
        let Some(qos) = session.qos(self.config.qos) else {
            return;
        };
        let version: Version = session.version;
        if session.packets().is_some_and(|packets| packets.fits(version, qos)) {
            return;
        }
        let prepared = self.prepared.iter().find(|packets| packets.fits(version, qos)).cloned();
        let packets = prepared.unwrap_or_else(|| {
            let packets = Rc::new(Packets::prepare(&self.shape, version, qos));
            self.prepared.push(Rc::clone(&packets));
            packets
        });
        self.sessions[index].set_packets(packets);
    }

    /// When the next message is due, where a rate is set.
    pub(crate) fn next_due_ns(&self, now: i64) -> Option<i64> {
        let waiting = self.queues.iter().filter(|queue| !queue.is_finished());
        waiting.map(|queue| queue.intended_ns(now)).min()
    }

    /// Sends nothing new from now on.
    pub(crate) fn stop_issuing(&mut self) {
        self.queues.iter_mut().for_each(Queue::stop);
    }

    /// Whether all was sent and nothing waits for an acknowledgement.
    pub(crate) fn is_done(&self) -> bool {
        self.started_ns.is_some()
            && self.queues.iter().all(Queue::is_finished)
            && self.sessions.iter().all(|session| session.in_flight.open() == 0)
    }
}
