//! The sweep: when the lane begins to spill, what it has of each partition is appended in order before anything new.

use std::ops::Range;

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
            if !self.sweep_partition(topic, partition, inside, &mut append) {
                return;
            }
            self.sweep.pop_front();
        }
    }

    fn sweep_partition(
        &mut self,
        topic: TopicId,
        partition: u32,
        inside: &mut impl Inside,
        append: &mut impl FnMut(&Record) -> Option<u64>,
    ) -> bool {
        let orders = inside.orders(topic, partition);
        let mut order = orders.start.max(self.partition(topic, partition).swept);
        loop {
            // What failed lies before, between and behind what is inside.
            let failed = self.partition(topic, partition).retry.first_failed();
            if let Some((at, record)) = failed.filter(|(at, _)| *at <= order || order >= orders.end) {
                if record.ticket.sequence().is_none() && append(record).is_none() {
                    return false;
                }
                let record = self.partition(topic, partition).retry.let_go();
                record.iter().for_each(|record| self.forget(record));
                self.failed -= 1;
                order = order.max(at + 1);
            } else if order < orders.end {
                let fresh = inside.record(topic, partition, order).filter(|record| record.ticket.sequence().is_none());
                if let Some(record) = fresh {
                    let Some(sequence) = append(record) else { return false };
                    inside.set_ticket(topic, partition, order, Ticket::spooled(sequence));
                }
                order += 1;
            } else {
                break;
            }
            self.partition(topic, partition).swept = order;
        }
        while let Some(record) = self.partition(topic, partition).held.front() {
            if record.ticket.sequence().is_none() && append(record).is_none() {
                return false;
            }
            let record = self.partition(topic, partition).held.pop_front();
            record.iter().for_each(|record| self.forget(record));
            self.held -= 1;
        }
        true
    }
}
