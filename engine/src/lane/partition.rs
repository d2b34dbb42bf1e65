//! One partition's records in the lane.

use std::{collections::VecDeque, time::Instant};

use super::retry::Retry;
use crate::{
    kafka::HoldReason,
    message::{LogName, Record, TopicId},
};

/// Most batches of one partition inside librdkafka. With idempotence it has one request of a partition in flight, and
/// its thread spins while another waits behind that; here the next batch grows instead.
pub const BATCHES: usize = 1;

/// Memory counted for each record besides its bytes: ours, and librdkafka's message.
pub const OVERHEAD: usize = 512;

/// Records that may go to librdkafka now.
#[derive(Debug)]
pub struct Ready<'a> {
    /// Their topic.
    pub topic: TopicId,
    /// Their partition.
    pub partition: u32,
    /// The records, oldest first; the producer takes them from the front.
    pub records: &'a mut VecDeque<Record>,
    /// Most that may be taken now.
    pub most: usize,
}

/// A partition that cannot be written to for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Its topic.
    pub topic: TopicId,
    /// Its number.
    pub partition: u32,
    /// Why.
    pub reason: HoldReason,
}

/// What went from the failed records to those that wait.
#[derive(Debug, Default)]
pub(super) struct Requeued {
    pub(super) held: usize,
    /// Of those held.
    pub(super) bytes: usize,
    pub(super) unswept: usize,
}

/// Records of one partition.
#[derive(Debug, Default)]
pub(super) struct Partition {
    /// Not handed to librdkafka yet, oldest first.
    pub(super) held: VecDeque<Record>,
    /// What was held or failed when the lane began to spill, and is not appended yet.
    pub(super) unswept: VecDeque<Record>,
    /// Whether it has to be appended before anything new.
    pub(super) sweeping: bool,
    /// Handed over and not reported.
    pub(super) in_flight: usize,
    /// Those of them that replay reads again: nothing is handed over until they are reported.
    pub(super) shadows: usize,
    /// What was handed over in one go: how many of it are not reported, and when.
    batches: VecDeque<(usize, Instant)>,
    pub(super) retry: Retry,
    /// Whether it is in the lane's list of partitions to look at.
    pub(super) listed: bool,
    /// Records of it were due when the last batch went, and had to stay: they go as soon as they may.
    pub(super) due: bool,
    /// Orders of production below this are in the spool.
    pub(super) swept: u64,
}

impl Partition {
    /// How many of the records held may go to librdkafka now.
    pub(super) fn most(&self, now: Instant) -> usize {
        if self.is_busy() || self.shadows > 0 {
            return 0;
        }
        self.retry.allowance(now, self.in_flight).min(self.held.len())
    }

    /// Whether as many batches are inside librdkafka as may be.
    pub(super) fn is_busy(&self) -> bool {
        self.batches.len() >= BATCHES
    }

    /// `count` records were handed over.
    pub(super) fn handed_over(&mut self, now: Instant, count: usize) {
        self.due = false;
        self.in_flight += count;
        if count > 0 {
            self.batches.push_back((count, now));
        }
    }

    /// A report came. When the oldest batch was handed over, if this was its last.
    pub(super) fn reported(&mut self) -> Option<Instant> {
        self.in_flight -= 1;
        self.shadows = self.shadows.saturating_sub(1);
        let (left, at) = self.batches.front_mut()?;
        *left -= 1;
        let at = (*left == 0).then_some(*at);
        if at.is_some() {
            self.batches.pop_front();
        }
        at
    }

    /// When the oldest batch was handed over of which something is not reported.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.batches.front().map(|(_, at)| *at)
    }

    /// Since when it has had something to confirm and confirmed nothing, or refused.
    pub(super) fn blocked_since(&self) -> Option<Instant> {
        self.oldest().into_iter().chain(self.retry.held_since()).min()
    }

    /// Puts what failed in front of what waits, once every report is in: for Kafka, or for the spool.
    pub(super) fn requeue(&mut self, now: Instant, log: LogName) -> Requeued {
        let mut requeued = Requeued::default();
        if self.in_flight > 0 {
            return requeued;
        }
        self.retry.end_batch();
        if self.retry.failed() == 0 {
            return requeued;
        }
        // What the log did not take of what was inside is behind what replay has read, and before what left the log too.
        let stored = self.held.iter().take_while(|record| record.ticket.is_read_by(log)).count();
        let mut behind = self.held.split_off(stored);
        for record in self.retry.take_failed(now).rev() {
            let is_stored = record.ticket.is_read_by(log);
            if self.sweeping && !is_stored && behind.is_empty() {
                requeued.unswept += 1;
                self.unswept.push_front(record);
                continue;
            }
            self.due = true;
            requeued.held += 1;
            requeued.bytes += bytes(&record);
            if is_stored { self.held.push_front(record) } else { behind.push_front(record) }
        }
        self.held.append(&mut behind);
        requeued
    }

    /// The lane begins to spill: what lies in the spool is let go, and the rest is to be appended. What is inside
    /// librdkafka is a shadow from now on.
    pub(super) fn spill(&mut self, log: LogName) {
        // A producer that was replaced counts from the beginning; what lies in the spool is told by its ticket.
        self.swept = 0;
        self.shadows = self.in_flight;
        self.retry.forget_stored(log);
        self.unswept.extend(self.held.drain(..).filter(|record| !record.ticket.is_read_by(log)));
        self.sweeping = !self.is_empty();
    }

    /// Records of it in the lane that are not inside librdkafka.
    pub(super) fn records(&self) -> impl Iterator<Item = &Record> {
        self.unswept.iter().chain(&self.held).chain(self.retry.records())
    }

    /// Records of it in the lane.
    pub(super) fn len(&self) -> usize {
        self.held.len() + self.unswept.len() + self.in_flight + self.retry.failed()
    }

    /// Whether the lane has anything of it.
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What a record counts against the memory: its bytes, ours, and librdkafka's message.
pub(super) fn bytes(record: &Record) -> usize {
    OVERHEAD + record.key.as_ref().map_or(0, |key| key.len()) + record.value.as_ref().map_or(0, |value| value.len())
}
