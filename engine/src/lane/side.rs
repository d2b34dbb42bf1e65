//! What a shard has beside its line: the spool, and the parked partitions.

use std::{
    sync::Arc,
    time::{Instant, SystemTime},
};

use fairlead_spool::disk::Disk;

use super::{Inside, Lane, Parked, Ready, Siding, driver::Turn, siding::Movements};
use crate::{
    kafka::{Report, Topics},
    message::{LogName, Receipt},
    settings::Settings,
    spool::{Jobs, Logs},
};

/// Whoever runs a log's jobs, and what the log has to say.
#[derive(Debug)]
struct Desk<J> {
    jobs: J,
    movements: Movements,
}

/// One shard's spool and parked partitions.
#[derive(Debug)]
pub(super) struct Side<D: Disk, J> {
    // Those who run the jobs before the logs, because their end waits for what is under way.
    desk: Desk<J>,
    parked_desk: Desk<J>,
    pub(super) siding: Siding<D>,
    pub(super) parked: Parked<D>,
}

impl<D: Disk, J: Jobs<D>> Side<D, J> {
    /// The logs of one shard, just opened, and who runs their jobs; `clock` is this moment by both clocks.
    pub(super) fn new(
        settings: &Settings,
        topics: &Arc<Topics>,
        logs: Logs<D>,
        [jobs, parked_jobs]: [J; 2],
        clock: (Instant, SystemTime),
    ) -> Side<D, J> {
        Side {
            desk: Desk { jobs, movements: Movements::default() },
            parked_desk: Desk { jobs: parked_jobs, movements: Movements::default() },
            siding: Siding::new(settings, topics, LogName::Spool, logs.spool, clock),
            parked: Parked::new(settings, topics, logs.parked, clock),
        }
    }

    /// Records in the logs that wait for Kafka. One that is on its way from one log to the other counts once.
    pub(super) fn backlog(&self) -> u64 {
        self.siding.backlog() + self.parked.siding().backlog() - self.parked.siding().arriving()
    }

    /// Takes a delivery report for the lane or for a parked partition. The receipt, where a session waits for it.
    pub(super) fn handle_report(&mut self, now: Instant, lane: &mut Lane, report: Report) -> Option<Receipt> {
        if self.parked.contains(report.record.topic, report.record.partition) {
            self.parked.handle_report(now, report)
        } else {
            lane.handle_report(now, report)
        }
    }

    /// Takes records of a parked partition from the lane. Returns how many, and what they counted there.
    pub(super) fn take_records(&mut self, now: Instant, ready: Ready<'_>) -> (usize, usize) {
        self.parked.take_records(now, ready, |ticket| self.siding.move_away(ticket))
    }

    /// A record has ended: the word goes to the log where it lies. The receipt comes back where it lies in none.
    pub(super) fn end(&mut self, receipt: Receipt) -> Option<Receipt> {
        if let Some(sequence) = receipt.ticket.sequence(LogName::Spool) {
            self.siding.handle_ended(sequence, receipt, &mut self.desk.movements);
        } else if let Some(sequence) = receipt.ticket.sequence(LogName::Parked) {
            self.parked.handle_ended(sequence, receipt, &mut self.parked_desk.movements);
        } else {
            return Some(receipt);
        }
        None
    }

    /// One turn. What `deliver` gets goes to sessions.
    pub(super) fn poll(
        &mut self,
        now: Instant,
        lane: &mut Lane,
        inside: &mut impl Inside,
        turn: &mut Turn,
        mut deliver: impl FnMut(Receipt, &mut Vec<Receipt>),
    ) {
        let Desk { jobs, movements } = &mut self.parked_desk;
        while let Some(done) = jobs.poll() {
            self.parked.handle_done(now, done, movements);
        }
        self.parked.take_stuck(now, lane, inside, |ticket| self.siding.move_away(ticket));
        self.parked.poll(now, inside, jobs, movements);
        turn.ledger.append(&mut movements.ledger);
        turn.synced.append(&mut movements.synced);
        let mut receipts = std::mem::take(&mut movements.receipts);
        for receipt in receipts.drain(..).filter_map(|receipt| self.end(receipt)) {
            deliver(receipt, &mut turn.receipts);
        }
        self.parked_desk.movements.receipts = receipts;
        lane.set_waiting(!self.parked.is_complete());

        let Desk { jobs, movements } = &mut self.desk;
        while let Some(done) = jobs.poll() {
            self.siding.handle_done(now, done, movements);
        }
        self.siding.poll(now, lane, inside, jobs, movements);
        turn.ledger.append(&mut movements.ledger);
        turn.synced.append(&mut movements.synced);
        movements.receipts.drain(..).for_each(|receipt| deliver(receipt, &mut turn.receipts));
    }

    /// When to poll again although nothing came; `busy` says that the lane has records.
    pub(super) fn poll_timeout(&self, busy: bool) -> Option<Instant> {
        self.siding.poll_timeout().into_iter().chain(self.parked.poll_timeout(busy)).min()
    }

    /// Whether nothing here would be lost.
    pub(super) fn is_settled(&self) -> bool {
        self.siding.is_settled() && self.parked.is_settled()
    }

    /// Records whose sessions wait for a receipt.
    pub(super) fn unreceipted(&self) -> usize {
        let waiting = self.parked.lane().records().filter(|record| !record.ticket.is_stored());
        self.siding.unreceipted() + self.parked.siding().unreceipted() + waiting.count()
    }

    /// The process ends: what lies here stays.
    pub(super) fn stop(&mut self) {
        self.siding.stop();
        self.parked.stop();
    }

    /// Brings the clock of the records up to date.
    pub(super) fn set_clock(&mut self, now: Instant, wall: SystemTime) {
        self.siding.set_clock(now, wall);
        self.parked.set_clock(now, wall);
    }
}
