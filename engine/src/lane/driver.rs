//! Drives one shard's lane: carries records and receipts between the rings, the lane and the producer. It decides
//! nothing.

mod dead_letters;
mod replacement;

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use fairlead_spool::disk::Real;

use replacement::start_producer;

use super::{
    BATCH, DeadLetters, Lane, Mode, Parked, Ready, Settlement, Siding, set_back::SetBack, side::Side, siding::spooling,
};
use crate::{
    kafka::{Event, Producer, ProducerError, Report, Topics},
    message::{DropReason, Receipt, Record, RouteId},
    ring::Port,
    settings::Settings,
    spool::{Movement, ShardLogs, Synced, Worker},
};

/// What one turn of [`Driver::poll`] brought.
#[derive(Debug, Default)]
pub struct Turn {
    /// Receipts for sessions of this shard.
    pub receipts: Vec<Receipt>,
    /// Records that Kafka confirmed, for sessions of any shard.
    pub confirmed: u64,
    /// What librdkafka said.
    pub events: Vec<Event>,
    /// Whether a new producer took the place of one that failed.
    pub replaced: bool,
    /// What the ledger has to know of the spool.
    pub ledger: Vec<(RouteId, Movement)>,
    /// Groups that the spool made durable.
    pub synced: Vec<Synced>,
    /// Records of partitions that were blocked for too long; the driver makes dead letters of them.
    pub(super) expired: Vec<Record>,
    /// The lane's new mode, if it changed.
    pub mode: Option<Mode>,
}

/// One shard's lane, its producer and its ends of the rings.
#[derive(Debug)]
pub struct Driver {
    pub(super) lane: Lane,
    producer: Producer,
    pub(super) port: Port,
    pub(super) side: Option<Side<Real, Worker<Real>>>,
    // Before the log, because its end waits for the jobs under way.
    pub(super) dead_letter_worker: Option<Worker<Real>>,
    pub(super) dead_letters: DeadLetters<Real>,
    topics: Arc<Topics>,
    settings: Arc<Settings>,
    fatal: bool,
    set_back: SetBack,
    /// When a replacement that could not be started is tried again.
    replace_at: Option<Instant>,
    handed_over: u64,
    batches: u64,
    full: u64,
}

impl Driver {
    /// Starts the shard's producer, and its spool where there is one; `clock` is this moment by both clocks.
    ///
    /// # Errors
    /// See [`ProducerError`].
    pub fn new(
        settings: Arc<Settings>,
        topics: Arc<Topics>,
        port: Port,
        logs: Option<ShardLogs<Real>>,
        clock: (Instant, SystemTime),
    ) -> Result<Driver, ProducerError> {
        let producer = start_producer(&settings, &topics, &port)?;
        let mut lane = Lane::new(settings.kafka.linger, spooling(settings.engine.ack), settings.engine.memory);
        let start = |log| Worker::start(log, port.shard(), port.doorbells());
        let (logs, dead_letters) = logs.map(|logs| (logs.side, logs.dead_letters)).unzip();
        let side = match logs {
            Some(logs) => {
                let jobs = start("spool").and_then(|spool| {
                    let older = (!logs.older.logs.is_empty()).then(|| start("older")).transpose()?;
                    Ok((spool, start("parked")?, older))
                });
                let jobs = jobs.map_err(|error| ProducerError::Start(error.to_string()))?;
                Some(Side::new(&settings, &topics, logs, jobs, clock))
            }
            None => None,
        };
        if side.as_ref().is_some_and(|side| side.backlog() > 0) {
            lane.drain(clock.0);
        }
        Ok(Driver {
            dead_letter_worker: None,
            dead_letters: DeadLetters::new(&settings, &topics, dead_letters, clock),
            lane,
            producer,
            port,
            side,
            topics,
            settings,
            fatal: false,
            set_back: SetBack::new(clock),
            replace_at: None,
            handed_over: 0,
            batches: 0,
            full: 0,
        })
    }

    /// The state machine.
    #[must_use]
    pub fn lane(&self) -> &Lane {
        &self.lane
    }

    /// The shard's ends of the rings.
    #[must_use]
    pub fn port(&self) -> &Port {
        &self.port
    }

    /// Records handed to librdkafka so far, and in how many calls.
    #[must_use]
    pub fn handed_over(&self) -> (u64, u64) {
        (self.handed_over, self.batches)
    }

    /// How often the lane took no record because it was at [`LIMIT`](crate::lane::LIMIT).
    #[must_use]
    pub fn full(&self) -> u64 {
        self.full
    }

    /// The spool, where there is one.
    #[must_use]
    pub fn siding(&self) -> Option<&Siding<Real>> {
        self.side.as_ref().map(|side| &side.siding)
    }

    /// Records in the shard's logs that wait for Kafka.
    #[must_use]
    pub fn backlog(&self) -> u64 {
        self.side.as_ref().map_or(0, Side::backlog)
    }

    /// The parked partitions, where there is a spool.
    #[must_use]
    pub fn parked(&self) -> Option<&Parked<Real>> {
        self.side.as_ref().map(|side| &side.parked)
    }

    /// Records of this lane whose sessions wait for a receipt.
    #[must_use]
    pub fn unreceipted(&self) -> usize {
        let records = self.lane.records().chain(self.producer.records());
        records.filter(|record| !record.ticket.is_stored()).count()
            + self.side.as_ref().map_or(0, Side::unreceipted)
            + self.dead_letters.unreceipted()
    }

    /// Whether nothing here would be lost: each record is confirmed, or synced in the spool while Kafka is away.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        let idle = self.port.outstanding() == 0 && self.port.waiting_records() == 0;
        let settled = self.side.as_ref().is_none_or(Side::is_settled) && self.dead_letters.is_settled();
        idle && settled && (self.lane.is_empty() || self.lane.is_spooled())
    }

    /// The shard comes to its end: what lies in the spool stays there.
    pub fn stop(&mut self) {
        self.lane.stop();
        if let Some(side) = &mut self.side {
            side.stop();
        }
    }

    /// Brings the clock of the spool's records up to date.
    pub fn set_clock(&mut self, now: Instant, wall: SystemTime) {
        self.dead_letters.set_clock(now, wall);
        let lane = &self.lane;
        if self.set_back.handle_clock(now, wall, lane.confirmed_at, || lane.oldest_in_flight()) && !self.fatal {
            tracing::warn!(
                "the wall clock was set back, and librdkafka waits for the time that it had: beginning anew"
            );
            self.give_up_producer();
        }
        if let Some(side) = &mut self.side {
            side.set_clock(now, wall);
        }
    }

    /// Gives a record to the lane of shard `to`.
    ///
    /// # Errors
    /// Gives the record back when that lane, or the ring to it, is full.
    #[inline(always)]
    pub fn offer(&mut self, now: Instant, to: usize, record: Record) -> Result<(), Record> {
        if to != self.port.shard() {
            return self.port.send(to, record);
        }
        if !self.has_room() {
            return Err(record);
        }
        self.lane.handle_record(now, record);
        Ok(())
    }

    /// Whether the lane takes a record.
    pub fn has_room(&mut self) -> bool {
        let room = self.lane.room() > 0;
        self.full += u64::from(!room);
        room
    }

    /// A session has all in flight that it may: what it sent must not wait for more.
    pub fn saturated(&mut self, now: Instant) {
        self.lane.handle_saturated(now);
        self.port.send_saturated();
    }

    /// A session has sent nothing for a while, and may have all in flight that it may: what it sent earlier must not wait
    /// for more either, in whatever shard it is.
    pub fn silent(&mut self, now: Instant, turn: &mut Turn) {
        if !self.lane.is_empty() {
            self.lane.handle_saturated(now);
        }
        self.port.send_silent();
        self.flush(now, turn);
    }

    /// Ends a turn that offered records: sends the batch if it is due, and rings for other shards.
    pub fn flush(&mut self, now: Instant, turn: &mut Turn) {
        if self.lane.is_due(now) && !self.fatal {
            self.send(now, turn);
        }
        if !self.fatal && self.parked().is_some_and(|parked| parked.is_due(now)) {
            self.send_parked(now, turn);
        }
        self.port.ring();
    }

    /// Takes everything that waits: records from other shards, delivery reports, receipts from other shards.
    pub fn poll(&mut self, now: Instant, turn: &mut Turn) {
        let room = BATCH.min(self.lane.room());
        self.full += u64::from(room == 0 && self.port.waiting_records() > 0);
        let lane = &mut self.lane;
        self.port.take_records(room, |record| lane.handle_record(now, record));
        turn.mode = self.lane.handle_timeout(now);
        // What replay has read and not handed to the lane is read again.
        if let (Some(_), Some(side)) = (turn.mode, &mut self.side) {
            side.rewind();
            self.dead_letters.forget_read();
        }
        self.take_reports(now, turn);
        // Behind the reports: what Kafka confirmed while this thread had no processor counts first.
        if self.port.take_saturated() {
            self.lane.handle_saturated(now);
        }
        self.poll_dead_letters(now, turn);
        self.poll_side(now, turn);
        if self.fatal && self.producer.in_flight() == 0 && self.replace_at.is_none_or(|at| now >= at) {
            turn.replaced = self.replace(now);
        }
        self.flush(now, turn);
        self.port.take_receipts(|receipt| turn.receipts.push(receipt));
    }

    /// When the lane wants to be polled again although nothing came.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        // A failed producer is waited for by its reports, which ring; after them its replacement is tried.
        let lane = if self.fatal { self.replace_at } else { self.lane.poll_timeout() };
        let side = self.side.as_ref().and_then(|side| side.poll_timeout(!self.lane.is_empty(), !self.fatal));
        lane.into_iter().chain(side).chain(self.dead_letters.poll_timeout()).min()
    }

    fn poll_side(&mut self, now: Instant, turn: &mut Turn) {
        let (Some(side), port) = (&mut self.side, &mut self.port) else { return };
        side.parked.set_expiring(self.dead_letters.has_room());
        side.poll(now, &mut self.lane, &mut self.producer, turn, |receipt, local| deliver(port, receipt, local));
        for record in std::mem::take(&mut turn.expired) {
            self.dead_letter(now, (record, DropReason::Held));
        }
    }

    /// See [`Producer::bootstrap`].
    pub fn bootstrap(&self) {
        self.producer.bootstrap(&self.settings.kafka.brokers);
    }

    /// See [`Lane::take_hold_time`].
    pub fn take_hold_time(&mut self) -> Option<Duration> {
        self.lane.take_hold_time()
    }

    /// See [`Lane::take_confirm_time`].
    pub fn take_confirm_time(&mut self) -> Duration {
        self.lane.take_confirm_time()
    }

    fn send(&mut self, now: Instant, turn: &mut Turn) {
        let mut refused = Vec::new();
        while let Some(ready) = self.lane.poll_ready(now) {
            let (topic, partition) = (ready.topic, ready.partition);
            if let Some(side) = self.side.as_mut().filter(|side| side.parked.contains(topic, partition)) {
                let (count, bytes) = side.take_records(now, ready);
                self.lane.handle_parked(count, bytes);
                continue;
            }
            let count = hand_over(&mut self.producer, ready, &mut refused);
            self.lane.handle_produced(now, topic, partition, count);
            self.handed_over += count as u64;
            self.batches += 1;
        }
        refused.into_iter().for_each(|report| self.settle(now, report, turn));
    }

    fn send_parked(&mut self, now: Instant, turn: &mut Turn) {
        let Some(side) = &mut self.side else { return };
        let mut refused = Vec::new();
        while let Some(ready) = side.parked.poll_ready(now) {
            let (topic, partition) = (ready.topic, ready.partition);
            let count = hand_over(&mut self.producer, ready, &mut refused);
            side.parked.handle_produced(now, topic, partition, count);
            self.handed_over += count as u64;
            self.batches += 1;
        }
        refused.into_iter().for_each(|report| self.settle(now, report, turn));
    }

    fn take_reports(&mut self, now: Instant, turn: &mut Turn) {
        let (lane, port, side, mut refused) = (&mut self.lane, &mut self.port, &mut self.side, Vec::new());
        self.producer.poll(
            |report| match settle(now, lane, side, report) {
                Some(Settlement::Receipt(receipt)) => {
                    turn.confirmed += 1;
                    end(side, port, receipt, &mut turn.receipts);
                }
                Some(Settlement::Refused(record)) => refused.push(record),
                None => {}
            },
            |event| turn.events.push(event),
        );
        refused.into_iter().for_each(|refused| self.dead_letter(now, *refused));
        if !self.fatal && turn.events.iter().any(|event| matches!(event, Event::Fatal(_))) {
            self.give_up_producer();
        }
    }

    fn settle(&mut self, now: Instant, report: Report, turn: &mut Turn) {
        match settle(now, &mut self.lane, &mut self.side, report) {
            Some(Settlement::Receipt(receipt)) => end(&mut self.side, &mut self.port, receipt, &mut turn.receipts),
            Some(Settlement::Refused(refused)) => self.dead_letter(now, *refused),
            None => {}
        }
    }
}

type Beside = Option<Side<Real, Worker<Real>>>;

/// Gives the producer what is ready. Returns how many records it took.
fn hand_over(producer: &mut Producer, ready: Ready<'_>, refused: &mut Vec<Report>) -> usize {
    let Ready { topic, partition, records, most } = ready;
    let before = records.len();
    producer.produce(topic, partition, records, most, |report| refused.push(report));
    before - records.len()
}

/// A delivery report.
fn settle(now: Instant, lane: &mut Lane, side: &mut Beside, report: Report) -> Option<Settlement> {
    match side {
        Some(side) => side.handle_report(now, lane, report),
        None => lane.handle_report(now, report),
    }
}

/// A record has ended: the word goes to its session, or to the log where it lies.
pub(super) fn end(side: &mut Beside, port: &mut Port, receipt: Receipt, local: &mut Vec<Receipt>) {
    let receipt = match side {
        Some(side) => side.end(receipt),
        None => Some(receipt),
    };
    receipt.into_iter().for_each(|receipt| deliver(port, receipt, local));
}

fn deliver(port: &mut Port, receipt: Receipt, local: &mut Vec<Receipt>) {
    if receipt.ticket.shard() == port.shard() {
        local.push(receipt);
    } else {
        port.send_receipt(receipt);
    }
}
