//! The sweep: when the lane begins to spill, what it has of each partition is appended in order before anything new. Where
//! the log has no room for all of it the sweep goes on while the lane drains, and makes room.

use std::{collections::VecDeque, ops::Range, time::Instant};

use super::Lane;
use crate::{
    kafka::Producer,
    message::{Record, Ticket, TopicId},
};

/// What is inside librdkafka, by its order of production.
pub trait Inside {
    /// The orders of a partition: from the oldest that is not reported to behind the newest.
    fn orders(&self, topic: TopicId, partition: u32) -> Range<u64>;

    /// The record of that order; `None` if it was reported.
    fn record(&self, topic: TopicId, partition: u32, order: u64) -> Option<&Record>;

    /// Gives the record of that order another ticket.
    fn set_ticket(&mut self, topic: TopicId, partition: u32, order: u64, ticket: Ticket);
}

impl Inside for Producer {
    fn orders(&self, topic: TopicId, partition: u32) -> Range<u64> {
        Producer::orders(self, topic, partition)
    }

    fn record(&self, topic: TopicId, partition: u32, order: u64) -> Option<&Record> {
        Producer::record(self, topic, partition, order)
    }

    fn set_ticket(&mut self, topic: TopicId, partition: u32, order: u64, ticket: Ticket) {
        Producer::set_ticket(self, topic, partition, order, ticket);
    }
}

impl Lane {
    /// Appends what was here when the lane began to spill, until `append` takes no more. What is inside librdkafka gets
    /// the ticket of the spool; what is not leaves the lane.
    pub fn sweep(&mut self, inside: &mut impl Inside, mut append: impl FnMut(&Record) -> Option<u64>) {
        while let Some(&(topic, partition)) = self.sweep.front() {
            let swept = self.sweep_inside(topic, partition, inside, &mut append)
                && self.sweep_outside(topic, partition, &mut append);
            if !swept {
                return;
            }
            self.partition(topic, partition).sweeping = false;
            self.sweep.pop_front();
        }
    }

    /// Sweeps what was inside librdkafka: what failed since lies before, between and behind what still is.
    fn sweep_inside(
        &mut self,
        topic: TopicId,
        partition: u32,
        inside: &mut impl Inside,
        append: &mut impl FnMut(&Record) -> Option<u64>,
    ) -> bool {
        let log = self.log;
        let orders = inside.orders(topic, partition);
        let mut order = orders.start.max(self.partition(topic, partition).swept);
        // Without a shadow everything inside, and what failed of it, was read by replay.
        while self.partition(topic, partition).shadows > 0 {
            let failed = self.partition(topic, partition).retry.first_failed();
            if let Some((at, record)) = failed.filter(|(at, _)| *at <= order || order >= orders.end) {
                if append(record).is_none() {
                    return false;
                }
                self.partition(topic, partition).retry.let_go();
                self.failed -= 1;
                order = order.max(at + 1);
            } else if order < orders.end {
                let fresh = inside.record(topic, partition, order).filter(|record| !record.ticket.is_read_by(log));
                if let Some(record) = fresh {
                    let Some(sequence) = append(record) else { return false };
                    inside.set_ticket(topic, partition, order, Ticket::stored(log, sequence));
                }
                order += 1;
            } else {
                break;
            }
            self.partition(topic, partition).swept = order;
        }
        true
    }

    fn sweep_outside(
        &mut self,
        topic: TopicId,
        partition: u32,
        append: &mut impl FnMut(&Record) -> Option<u64>,
    ) -> bool {
        while let Some(record) = self.partition(topic, partition).unswept.front() {
            if append(record).is_none() {
                return false;
            }
            self.partition(topic, partition).unswept.pop_front();
            self.unswept -= 1;
        }
        true
    }

    /// What waits to be appended waits with the sweep of its partition.
    pub(super) fn sweep_incoming(&mut self) {
        for record in std::mem::take(&mut self.incoming) {
            let (topic, partition) = (record.topic, record.partition);
            self.begin_sweep(topic, partition);
            self.partition(topic, partition).unswept.push_back(record);
            self.unswept += 1;
        }
    }

    /// The partition takes its turn in the sweep, unless it is there.
    pub(super) fn begin_sweep(&mut self, topic: TopicId, partition: u32) {
        if !std::mem::replace(&mut self.partition(topic, partition).sweeping, true) {
            self.sweep.push_back((topic, partition));
        }
    }

    /// What was not appended of partitions that were in the sweep goes to Kafka all the same.
    pub(super) fn hold_unswept(&mut self, now: Instant, partitions: VecDeque<(TopicId, u32)>) {
        for (topic, partition) in partitions {
            let place = self.partition(topic, partition);
            place.sweeping = false;
            let unswept = std::mem::take(&mut place.unswept);
            self.unswept -= unswept.len();
            unswept.into_iter().for_each(|record| self.hold(now, record));
        }
    }
}
