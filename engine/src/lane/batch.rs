//! The batch that a lane holds: when it goes, and how it is handed over.

use std::time::Instant;

use super::{Lane, Ready, mode::LOOK};
use crate::message::TopicId;

/// Records that make a batch due at once.
pub const BATCH: usize = 8192;
/// So many new records for each of its partitions, on average, do as well: librdkafka sends a request for each partition,
/// which costs it and Kafka about as much as a hundred records. With more, a session that may have 8,192 in flight for nine
/// partitions stands still meanwhile; with many partitions such a session, or [`BATCH`], comes first.
pub(super) const WORTH: usize = 300;

impl Lane {
    /// All that a session may have in flight is here: the batch must not wait for more.
    pub fn handle_saturated(&mut self, now: Instant) {
        self.urgent = true;
        self.full_since.get_or_insert(now);
    }

    /// Whether the batch should go now.
    #[must_use]
    pub fn is_due(&self, now: Instant) -> bool {
        let waited = self.first_held.is_some_and(|first| now >= first + self.linger);
        let is_worth_it = self.fresh >= WORTH * self.list.len();
        self.held > 0 && self.is_sending() && (self.urgent || self.held >= BATCH || is_worth_it || waited)
    }

    /// The next partition of a due batch, until `None` ends the flush. What a partition may not send now stays.
    pub fn poll_ready(&mut self, now: Instant) -> Option<Ready<'_>> {
        let most = |lane: &Lane, (topic, partition): (TopicId, u32)| {
            lane.topics[usize::from(topic.0)][partition as usize].most(now)
        };
        let next = (self.cursor..self.list.len()).find(|cursor| most(self, self.list[*cursor]) > 0);
        let Some(next) = next else {
            self.end_flush(now);
            return None;
        };
        // The caller takes all that may go now, or the rest comes back as a report.
        self.cursor = next + 1;
        let (topic, partition) = self.list[next];
        let most = most(self, (topic, partition));
        let records = &mut self.topics[usize::from(topic.0)][partition as usize].held;
        Some(Ready { topic, partition, records, most })
    }

    /// Tells that the producer took `count` records of the last [`Ready`]. A report follows for each, also for what
    /// librdkafka refused.
    pub fn handle_produced(&mut self, now: Instant, topic: TopicId, partition: u32, count: usize) {
        self.partition(topic, partition).handed_over(now, count);
        if self.in_flight == self.shadows {
            self.sent_at = Some(now);
        }
        self.in_flight += count;
        self.held -= count;
        self.look_at.get_or_insert(now + LOOK);
    }

    fn end_flush(&mut self, now: Instant) {
        self.hold_time = self.hold_time.max(self.first_held.map(|first| now - first));
        self.cursor = 0;
        self.fresh = 0;
        self.urgent = false;
        let topics = &mut self.topics;
        let mut waits = false;
        self.list.retain(|(topic, partition)| {
            let place = &mut topics[usize::from(topic.0)][*partition as usize];
            place.listed = !place.held.is_empty();
            place.due = place.listed;
            waits |= place.most(now) > 0;
            place.listed
        });
        self.first_held = waits.then_some(now);
    }
}
