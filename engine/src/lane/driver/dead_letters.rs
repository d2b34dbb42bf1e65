//! The driver's side of dead letters.

use std::time::Instant;

use super::{Driver, Turn, end};
use crate::{
    lane::DeadLetters,
    message::{DropReason, LogName, Record},
    spool::{Jobs, Worker},
};

impl Driver {
    /// What the shard does with dead letters.
    #[must_use]
    pub fn dead_letters(&self) -> &DeadLetters<fairlead_spool::disk::Real> {
        &self.dead_letters
    }

    /// Takes a record whose Kafka topic has an illegal name. The caller has asked [`Driver::has_room`], and whether dead
    /// letters are kept.
    pub fn take_illegal(&mut self, now: Instant, record: Record, name: &str) {
        self.dead_letters.handle_refused(now, record, DropReason::IllegalTopic, Some(name));
        self.lane.set_aside(self.dead_letters.waiting());
    }

    /// A record can never be delivered. What it was made of stays in its log until the dead letter is safe. Where the lane
    /// reads that again it may make another of it, and only one ends; where it does not, replay passes it over.
    pub(super) fn dead_letter(&mut self, now: Instant, (record, reason): (Record, DropReason)) {
        if let Some(side) = &mut self.side {
            if side.has_ended(record.ticket) {
                return;
            }
            if self.dead_letters.files(&record) || !record.ticket.is_read_by(LogName::Spool) {
                side.move_away(record.ticket);
            }
        }
        self.dead_letters.handle_refused(now, record, reason, None);
    }

    /// Sends and files dead letters, and tells what has ended.
    pub(super) fn poll_dead_letters(&mut self, now: Instant, turn: &mut Turn) {
        if self.dead_letters.is_filing() && self.dead_letter_worker.is_none() {
            match Worker::start("dead", self.port.shard(), self.port.doorbells()) {
                Ok(worker) => self.dead_letter_worker = Some(worker),
                Err(error) => tracing::error!(%error, "no threads for the dead-letter log; trying again"),
            }
        }
        while let Some(done) = self.dead_letter_worker.as_mut().and_then(Jobs::poll) {
            self.dead_letters.handle_done(now, done);
        }
        self.dead_letters.poll(now, &mut self.lane, self.dead_letter_worker.as_mut());
        while let Some(receipt) = self.dead_letters.poll_ended() {
            end(&mut self.side, &mut self.port, receipt, &mut turn.receipts);
        }
    }
}
