//! Retry of one partition: after the first record that failed for a while nothing more is produced until every report
//! is in; then what failed goes back to the front, in the order in which it was produced.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::{
    kafka::{HoldReason, Report, Verdict},
    message::{DropReason, LogName, Record},
};

/// First wait before failed records are sent again.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
/// Longest wait before failed records are sent again.
const LAST_BACKOFF: Duration = Duration::from_secs(10);

/// What became of a report.
#[derive(Debug)]
pub(super) enum Settled {
    /// The record is safe.
    Delivered(Record),
    /// The record can never be delivered.
    Refused(Record, DropReason),
    /// The record stays with the lane.
    Kept,
    /// The record was not delivered; the spool has it, and replay sends it again.
    Replayed,
}

/// State of one partition.
#[derive(Debug, Default)]
pub(super) struct Retry {
    /// What failed, by its order of production.
    failed: BTreeMap<u64, Record>,
    /// Why and since when, for `/readyz`.
    hold: Option<(HoldReason, Instant)>,
    /// Some of what failed did so for a while, and not because of what it is.
    waits: bool,
    backoff: Option<Duration>,
    until: Option<Instant>,
    /// Records at the front that are sent one at a time, because their batch was refused and one of them is the cause.
    singly: usize,
    /// Records of the batch inside that were refused and that replay sends again.
    refused: usize,
}

impl Retry {
    /// Whether records are sent one at a time.
    pub(super) fn is_single(&self) -> bool {
        self.singly > 0
    }

    /// How many records may be produced now, with `in_flight` of them inside librdkafka.
    pub(super) fn allowance(&self, now: Instant, in_flight: usize) -> usize {
        let waits = !self.failed.is_empty() || self.until.is_some_and(|until| now < until);
        match (waits, self.singly) {
            (true, _) => 0,
            (false, 0) => usize::MAX,
            (false, _) => usize::from(in_flight == 0),
        }
    }

    /// When the partition may go on.
    pub(super) fn until(&self) -> Option<Instant> {
        self.until
    }

    /// Why the partition is on hold.
    pub(super) fn hold(&self) -> Option<HoldReason> {
        self.hold.map(|(reason, _)| reason)
    }

    /// Since when the partition is on hold.
    pub(super) fn held_since(&self) -> Option<Instant> {
        self.hold.map(|(_, since)| since)
    }

    /// Number of failed records that wait here.
    pub(super) fn failed(&self) -> usize {
        self.failed.len()
    }

    /// The failed records that wait here.
    pub(super) fn records(&self) -> impl Iterator<Item = &Record> {
        self.failed.values()
    }

    /// Takes one report; `replayed` says that the record need not be kept, because replay sends it again.
    pub(super) fn settle(&mut self, now: Instant, mut report: Report, replayed: bool) -> Settled {
        if let Verdict::Hold(reason) = report.verdict {
            let since = self.held_since().unwrap_or(now);
            self.hold = Some((reason, since));
            if let (HoldReason::Clock, Some(extra)) = (reason, &mut report.record.extra) {
                // Kafka will not have the time at which it came, so that it gets that at which it goes.
                extra.time = None;
            }
        }
        match report.verdict {
            Verdict::Hold(_) if replayed => Settled::Replayed,
            Verdict::Suspect(_) if replayed => {
                self.refused += 1;
                Settled::Replayed
            }
            // Refused again, it is no shadow any more, and no copy of it is on its way.
            Verdict::Final(_) if replayed => Settled::Replayed,
            Verdict::Delivered => {
                self.end();
                Settled::Delivered(report.record)
            }
            Verdict::Final(reason) => {
                self.end();
                Settled::Refused(report.record, reason)
            }
            Verdict::Suspect(reason) if self.singly > 0 => {
                self.end();
                Settled::Refused(report.record, reason)
            }
            Verdict::Suspect(_) | Verdict::Hold(_) => {
                self.waits |= matches!(report.verdict, Verdict::Hold(_));
                self.failed.insert(report.order, report.record);
                Settled::Kept
            }
        }
    }

    /// A record has ended: whatever the partition waited for is over.
    fn end(&mut self) {
        self.singly = self.singly.saturating_sub(1);
        if self.failed.is_empty() {
            self.hold = None;
            self.backoff = None;
        }
    }

    /// The oldest record that failed, and its order.
    pub(super) fn first_failed(&self) -> Option<(u64, &Record)> {
        self.failed.first_key_value().map(|(order, record)| (*order, record))
    }

    /// Lets go of the oldest record that failed: the spool has it.
    pub(super) fn let_go(&mut self) -> Option<Record> {
        self.failed.pop_first().map(|(_, record)| record)
    }

    /// Lets go of what lies in the spool: replay reads it again.
    pub(super) fn forget_stored(&mut self, log: LogName) {
        self.failed.retain(|_, record| !record.ticket.is_read_by(log));
    }

    /// The last report of a batch is in.
    pub(super) fn end_batch(&mut self) {
        self.singly += std::mem::take(&mut self.refused);
    }

    /// What failed, in order of production, to be put in front of what waits; call it when the last report is in.
    pub(super) fn take_failed(&mut self, now: Instant) -> impl DoubleEndedIterator<Item = Record> + use<> {
        let failed = std::mem::take(&mut self.failed);
        if std::mem::take(&mut self.waits) {
            let backoff = self.backoff.map_or(FIRST_BACKOFF, |backoff| (backoff * 2).min(LAST_BACKOFF));
            self.backoff = Some(backoff);
            self.until = Some(now + backoff);
        } else {
            // A batch was refused: one of these is the cause, and alone it shows. Kafka has looked at them, so that what
            // the partition waited for before is over.
            (self.hold, self.backoff) = (None, None);
            self.singly += failed.len();
        }
        failed.into_values()
    }

    /// Ends the wait when it is over.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> bool {
        let over = self.until.is_some_and(|until| now >= until);
        if over {
            self.until = None;
        }
        over
    }
}
