//! What a shard has beside its line: the spool, the parked partitions, and what earlier processes with another number of
//! shards have left.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Instant, SystemTime},
};

use fairlead_spool::disk::Disk;

use super::{Inside, Lane, Mode, Parked, Ready, Settlement, Siding, driver::Turn, mode::LOOK, siding::Movements};
use crate::{
    kafka::{Report, Topics},
    message::{LogName, Receipt, Ticket},
    settings::Settings,
    spool::{Generations, Jobs, Logs, Older},
};

/// Whoever runs a log's jobs, and what the log has to say.
#[derive(Debug)]
struct Desk<J> {
    jobs: J,
    movements: Movements,
}

impl Movements {
    /// Tells the turn all but the receipts.
    fn tell(&mut self, turn: &mut Turn) {
        turn.expired.append(&mut self.expired);
        turn.ledger.append(&mut self.ledger);
        turn.synced.append(&mut self.synced);
    }
}

/// One shard's spool and parked partitions.
#[derive(Debug)]
pub(crate) struct Side<D: Disk, J> {
    // Those who run the jobs before the logs, because their end waits for what is under way.
    desk: Desk<J>,
    parked_desk: Desk<J>,
    /// Where there is an older log.
    older_desk: Option<Desk<J>>,
    pub(crate) siding: Siding<D>,
    pub(crate) parked: Parked<D>,
    /// Logs of older generations, with their number.
    older: VecDeque<(usize, Siding<D>)>,
    generations: Arc<Generations>,
    /// When to look whether the other shards have drained theirs.
    look_at: Option<Instant>,
}

impl<D: Disk, J: Jobs<D>> Side<D, J> {
    /// The logs of one shard, just opened, and who runs their jobs; `clock` is this moment by both clocks.
    pub(crate) fn new(
        settings: &Settings,
        topics: &Arc<Topics>,
        logs: Logs<D>,
        (jobs, parked_jobs, older_jobs): (J, J, Option<J>),
        clock: (Instant, SystemTime),
    ) -> Side<D, J> {
        let Older { logs: older, generations } = logs.older;
        let older = older
            .into_iter()
            .map(|(generation, log)| (generation, Siding::new(settings, topics, LogName::Older, log, clock)));
        let desk = |jobs| Desk { jobs, movements: Movements::default() };
        Side {
            desk: desk(jobs),
            parked_desk: desk(parked_jobs),
            older_desk: older_jobs.map(desk),
            older: older.collect(),
            generations,
            look_at: None,
            siding: Siding::new(settings, topics, LogName::Spool, logs.spool, clock),
            parked: Parked::new(settings, topics, logs.parked, clock),
        }
    }

    /// Records in the logs that wait for Kafka. One that is on its way from one log to the other counts once.
    pub(crate) fn backlog(&self) -> u64 {
        let older: u64 = self.older.iter().map(|(_, siding)| siding.backlog()).sum();
        older + self.siding.backlog() + self.parked.siding().backlog()
            - self.parked.siding().arriving()
            - self.siding.arriving()
    }

    /// Takes a delivery report for the lane or for a parked partition.
    pub(crate) fn handle_report(&mut self, now: Instant, lane: &mut Lane, report: Report) -> Option<Settlement> {
        if self.parked.contains(report.record.topic, report.record.partition) {
            self.parked.handle_report(now, report)
        } else {
            lane.handle_report(now, report)
        }
    }

    /// Takes records of a parked partition from the lane. Returns how many, and what they counted there.
    pub(crate) fn take_records(&mut self, now: Instant, ready: Ready<'_>) -> (usize, usize) {
        self.parked.take_records(now, ready, |ticket| {
            self.siding.move_away(ticket);
            self.older.iter_mut().take(1).for_each(|(_, siding)| siding.move_away(ticket));
        })
    }

    /// A record has ended: the word goes to the log where it lies. The receipt comes back where it lies in none.
    pub(crate) fn end(&mut self, receipt: Receipt) -> Option<Receipt> {
        if let Some(sequence) = receipt.ticket.sequence(LogName::Spool) {
            self.siding.handle_ended(sequence, receipt, &mut self.desk.movements);
        } else if let Some(sequence) = receipt.ticket.sequence(LogName::Parked) {
            self.parked.handle_ended(sequence, receipt, &mut self.parked_desk.movements);
        } else if let Some(sequence) = receipt.ticket.sequence(LogName::Older) {
            if let (Some((_, siding)), Some(desk)) = (self.older.front_mut(), &mut self.older_desk) {
                siding.handle_ended(sequence, receipt, &mut desk.movements);
            }
        } else {
            return Some(receipt);
        }
        None
    }

    /// Whether a record lies in a log and has ended there.
    pub(crate) fn has_ended(&self, ticket: Ticket) -> bool {
        let older = self.older.front().is_some_and(|(_, siding)| siding.has_ended(ticket));
        older || self.siding.has_ended(ticket) || self.parked.siding().has_ended(ticket)
    }

    /// A record goes elsewhere: replay passes it over, and it ends when it is safe there.
    pub(crate) fn move_away(&mut self, ticket: Ticket) {
        self.siding.move_away(ticket);
        self.parked.move_away(ticket);
        self.older.iter_mut().take(1).for_each(|(_, siding)| siding.move_away(ticket));
    }

    /// One turn. What `deliver` gets goes to sessions.
    pub(crate) fn poll(
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
        self.parked.take_stuck(now, lane, inside, &mut self.siding);
        self.parked.poll(now, inside, jobs, movements);
        movements.tell(turn);
        let receipts = std::mem::take(&mut movements.receipts);
        self.parked_desk.movements.receipts = self.pass_on(receipts, turn, &mut deliver);
        self.poll_older(now, lane, inside, turn);
        let older = self.generations.current().is_some();
        self.look_at = older.then_some(now + LOOK);
        lane.set_waiting(older || !self.parked.is_complete());
        // Nor may the spool have what comes behind something that is in memory only.
        let closed = self.parked.is_closed();
        let behind = lane.mode() != Mode::Direct && !closed && self.parked.is_behind();
        let full = self.siding.is_full() || (behind && self.parked.siding().is_full());
        lane.set_log(self.siding.is_fenced() || closed, full);
        lane.set_behind(behind);

        let Desk { jobs, movements } = &mut self.desk;
        while let Some(done) = jobs.poll() {
            self.siding.handle_done(now, done, movements);
        }
        self.siding.poll(now, lane, inside, jobs, movements);
        movements.tell(turn);
        let receipts = std::mem::take(&mut movements.receipts);
        // A dead letter of a parked partition comes from the log of these.
        self.desk.movements.receipts = self.pass_on(receipts, turn, &mut deliver);
    }

    /// Ends the records of these receipts where they lie, and delivers the receipts of those that lie nowhere. The empty
    /// buffer comes back.
    fn pass_on(
        &mut self,
        mut receipts: Vec<Receipt>,
        turn: &mut Turn,
        deliver: &mut impl FnMut(Receipt, &mut Vec<Receipt>),
    ) -> Vec<Receipt> {
        for receipt in receipts.drain(..).filter_map(|receipt| self.end(receipt)) {
            deliver(receipt, &mut turn.receipts);
        }
        receipts
    }

    /// Drains the oldest log of the oldest generation; the next generation waits until every shard has drained this one.
    fn poll_older(&mut self, now: Instant, lane: &mut Lane, inside: &mut impl Inside, turn: &mut Turn) {
        let Some((generation, siding)) = self.older.front_mut() else { return };
        if self.generations.current() != Some(*generation) || !self.parked.is_complete() {
            return;
        }
        let Some(Desk { jobs, movements }) = &mut self.older_desk else { return };
        while let Some(done) = jobs.poll() {
            siding.handle_done(now, done, movements);
        }
        siding.poll(now, lane, inside, jobs, movements);
        movements.tell(turn);
        if siding.backlog() == 0 && siding.is_settled() && siding.is_idle() {
            self.generations.drained(*generation);
            self.older.pop_front();
        }
    }

    /// Replay begins again at the oldest record that has not ended.
    pub(crate) fn rewind(&mut self) {
        self.siding.rewind();
        self.older.iter_mut().for_each(|(_, siding)| siding.rewind());
    }

    /// When to poll again although nothing came; `busy` says that the lane has records, and `sends` that there is a producer
    /// for what is due.
    pub(crate) fn poll_timeout(&self, busy: bool, sends: bool) -> Option<Instant> {
        let older = self.older.front().and_then(|(_, siding)| siding.poll_timeout());
        let waits = self.look_at.into_iter().chain(older);
        self.siding.poll_timeout().into_iter().chain(self.parked.poll_timeout(busy, sends)).chain(waits).min()
    }

    /// Whether nothing here would be lost.
    pub(crate) fn is_settled(&self) -> bool {
        let older = self.older.front().is_none_or(|(_, siding)| siding.is_settled());
        older && self.siding.is_settled() && self.parked.is_settled()
    }

    /// Records whose sessions wait for a receipt.
    pub(crate) fn unreceipted(&self) -> usize {
        let waiting = self.parked.lane().records().filter(|record| !record.ticket.is_stored());
        self.siding.unreceipted() + self.parked.siding().unreceipted() + waiting.count()
    }

    /// The process ends: what lies here stays.
    pub(crate) fn stop(&mut self) {
        self.siding.stop();
        self.parked.stop();
        self.older.iter_mut().for_each(|(_, siding)| siding.stop());
    }

    /// Brings the clock of the records up to date.
    pub(crate) fn set_clock(&mut self, now: Instant, wall: SystemTime) {
        self.siding.set_clock(now, wall);
        self.parked.set_clock(now, wall);
        self.older.iter_mut().for_each(|(_, siding)| siding.set_clock(now, wall));
    }
}
