//! How a record leaves the lane.

use std::time::Instant;

use super::{Lane, mode::LEAST, partition::bytes, retry::Settled};
use crate::{
    kafka::{Report, Verdict},
    message::{DropReason, Outcome, Receipt, Record},
};

/// How a record left the lane.
#[derive(Debug)]
pub enum Settlement {
    /// It is safe. The receipt goes to its session, or to the log where the record lies.
    Receipt(Receipt),
    /// Kafka will never take it.
    Refused(Box<(Record, DropReason)>),
}

impl Settlement {
    /// The record is in Kafka, and ends here. Whether it has an extra is asked by its end in any case.
    pub(super) fn delivered(record: Record) -> Settlement {
        let Record { ticket, route, extra, .. } = record;
        let outcome = match extra {
            None => Outcome::Delivered,
            Some(extra) => extra.dead.map_or(Outcome::Delivered, Outcome::DeadLettered),
        };
        Settlement::Receipt(Receipt { ticket, route, outcome })
    }
}

impl Lane {
    /// Takes a delivery report, or a refusal at produce.
    pub fn handle_report(&mut self, now: Instant, report: Report) -> Option<Settlement> {
        let (topic, partition) = (report.record.topic, report.record.partition);
        let size = bytes(&report.record);
        if report.verdict == Verdict::Delivered {
            if self.confirmed_at.is_none_or(|at| now >= at + LEAST) {
                self.confirming_since = Some(now);
            }
            self.confirmed_at = Some(now);
            self.full_since = None;
        }
        let log = self.log;
        let place = self.partition(topic, partition);
        let (full, shadows) = (place.is_busy(), place.shadows);
        let handed_over = place.reported();
        // The spool has it, and replay sends it again.
        let replayed = report.record.ticket.is_read_by(log) && shadows > 0;
        let settled = place.retry.settle(now, report, replayed);
        let kept = usize::from(matches!(settled, Settled::Kept));
        let requeued = place.requeue(now, log);
        // What came since the last batch waits for the linger.
        let resumes = handed_over.is_some() && place.due && (full || place.retry.is_single()) && place.most(now) > 0;
        let unlisted = !place.held.is_empty() && !std::mem::replace(&mut place.listed, !place.held.is_empty());
        let unshadowed = shadows == 1;
        if unlisted {
            self.list.push((topic, partition));
        }
        if unshadowed {
            self.unshadowed.push((topic, partition));
        }
        if let Some(at) = handed_over {
            self.confirm_time = self.confirm_time.max(now - at);
        }
        self.in_flight -= 1;
        self.shadows -= usize::from(shadows > 0);
        self.failed = self.failed + kept - requeued.held - requeued.unswept;
        self.held += requeued.held;
        self.unswept += requeued.unswept;
        self.retries += requeued.held as u64;
        self.urgent |= resumes;
        self.bytes += requeued.bytes;
        if shadows == 0 {
            self.bytes -= size;
        }
        match settled {
            Settled::Delivered(record) => Some(Settlement::delivered(record)),
            Settled::Refused(record, reason) => Some(Settlement::Refused(Box::new((record, reason)))),
            Settled::Kept | Settled::Replayed => None,
        }
    }
}
