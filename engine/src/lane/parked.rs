//! Parked partitions: one that takes nothing for long while others do leaves the lane with everything that the lane has
//! of it, and has a lane and a log beside, so that it pins neither the spool nor its neighbours. What comes for it queues
//! there, and goes to Kafka from there in order; when nothing is left it goes back.
//!
//! For the lane that it left this one is what librdkafka is for others: records are handed over, receipts come back.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use fairlead_spool::{Log, Recovery, disk::Disk};

use super::{
    Inside, Lane, Mode, Ready, Settlement, Siding, Spooling,
    mode::LEAST,
    partition::{Partition, bytes},
    passage::Key,
    siding::Movements,
};
use crate::{
    kafka::{Report, Topics},
    message::{LogName, Receipt, Record, Ticket, TopicId},
    settings::Settings,
    spool::{Done, Jobs},
};

/// One shard's parked partitions.
#[derive(Debug)]
pub struct Parked<D: Disk> {
    lane: Lane,
    siding: Siding<D>,
    topics: Arc<Topics>,
    stuck: Duration,
    /// Whether anything is parked, or was, or waits for a segment: the log has none before.
    used: bool,
    /// When the lane is to be looked at for a partition that is stuck.
    look_at: Instant,
}

impl<D: Disk> Parked<D> {
    /// The parked partitions of a log that was just opened; `clock` is this moment by both clocks.
    #[must_use]
    pub fn new(
        settings: &Settings,
        topics: &Arc<Topics>,
        log: (Log<D>, Recovery),
        clock: (Instant, SystemTime),
    ) -> Parked<D> {
        let mut lane = Lane::new(settings.kafka.linger, Spooling::Parked, settings.engine.memory);
        lane.drain(clock.0);
        let siding = Siding::new(settings, topics, LogName::Parked, log, clock);
        // The last process may have ended before the cursor said what had.
        let used = siding.backlog() > 0 || !siding.is_settled();
        Parked { lane, siding, topics: topics.clone(), stuck: settings.kafka.stuck, used, look_at: clock.0 }
    }

    /// The lane of the parked partitions.
    #[must_use]
    pub fn lane(&self) -> &Lane {
        &self.lane
    }

    /// Their log.
    #[must_use]
    pub fn siding(&self) -> &Siding<D> {
        &self.siding
    }

    /// Whether every parked partition is known. Until then no record may go past this one.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.siding.passage().is_some_and(|passage| passage.complete)
    }

    /// Whether a partition is parked.
    #[must_use]
    pub fn contains(&self, topic: TopicId, partition: u32) -> bool {
        self.siding.passage().is_some_and(|passage| passage.contains((topic, partition)))
    }

    /// The parked partitions, and how many of their records have not ended.
    pub fn partitions(&self) -> impl Iterator<Item = (TopicId, u32, u64)> {
        let passages = self.siding.passage().into_iter();
        passages
            .flat_map(|passage| passage.partitions().map(|((topic, partition), records)| (topic, partition, records)))
    }

    /// Takes the partitions of `from` that are stuck. `spool` is its log, where their records end when they are safe here.
    pub fn take_stuck(&mut self, now: Instant, from: &mut Lane, inside: &impl Inside, spool: &mut Siding<D>) {
        if now < self.look_at {
            return;
        }
        self.look_at = now + super::mode::LOOK;
        if from.waits {
            return;
        }
        while let Some((topic, partition)) = from.poll_stuck(now, self.stuck) {
            // On a full disk it stays where it is: what is there already need not be written again.
            self.used = true;
            if !self.siding.has_segment() || self.is_closed() {
                return;
            }
            // Replay has read its shadows too, and some of them may have been confirmed since.
            from.let_go(now, topic, partition, |ticket| spool.has_ended(ticket));
            let place = from.give_up(topic, partition, inside);
            let orders = inside.orders(topic, partition);
            let inside = orders.filter_map(|order| inside.record(topic, partition, order));
            inside.chain(place.records()).for_each(|record| spool.move_away(record.ticket));
            let records = place.len();
            let name = self.name(topic);
            tracing::warn!(
                topic = name,
                partition,
                records,
                "the partition takes nothing while others do: it is parked"
            );
            self.siding.begin((topic, partition), records);
            self.lane.adopt(topic, partition, place);
        }
    }

    /// Whether a record is not safe here yet that came straight from a session: what comes behind it must not be first.
    pub(super) fn is_behind(&self) -> bool {
        let fresh = |record: &Record| !record.ticket.is_stored();
        !self.lane.sweep.is_empty() || self.lane.incoming.iter().any(fresh) || self.siding.unreceipted() > 0
    }

    /// Whether nothing is appended here, because the disk has failed or was full when something had to go on.
    pub(super) fn is_closed(&self) -> bool {
        self.lane.closed
    }

    fn name(&self, topic: TopicId) -> &str {
        self.topics.get(topic).map_or("", |(name, _)| name)
    }

    /// Takes records of a parked partition from the lane that it left. `moved` gets the ticket of each. Returns how many,
    /// and what they counted there.
    pub fn take_records(&mut self, now: Instant, ready: Ready<'_>, mut moved: impl FnMut(Ticket)) -> (usize, usize) {
        let count = ready.most.min(self.lane.room());
        let mut size = 0;
        for record in ready.records.drain(..count) {
            size += bytes(&record);
            moved(record.ticket);
            self.lane.handle_record(now, record);
        }
        self.siding.begin((ready.topic, ready.partition), count);
        (count, size)
    }

    /// Takes a delivery report for a parked partition.
    pub fn handle_report(&mut self, now: Instant, report: Report) -> Option<Settlement> {
        let key = (report.record.topic, report.record.partition);
        let settlement = self.lane.handle_report(now, report)?;
        if self.siding.end(key) {
            tracing::info!(topic = self.name(key.0), partition = key.1, "the partition takes its messages again");
        }
        Some(settlement)
    }

    /// Whether dead letters may be made of records of partitions that were blocked for too long.
    pub(super) fn set_expiring(&mut self, expires: bool) {
        self.siding.set_expiring(expires);
    }

    /// A record goes elsewhere: [`Siding::move_away`].
    pub(super) fn move_away(&mut self, ticket: Ticket) {
        self.siding.move_away(ticket);
    }

    /// A record that lies in the log has ended.
    pub fn handle_ended(&mut self, sequence: u64, receipt: Receipt, moves: &mut Movements) {
        self.siding.handle_ended(sequence, receipt, moves);
    }

    /// A job was run.
    pub fn handle_done(&mut self, now: Instant, done: Done<D>, moves: &mut Movements) {
        self.siding.handle_done(now, done, moves);
    }

    /// One turn.
    pub fn poll(&mut self, now: Instant, inside: &mut impl Inside, jobs: &mut impl Jobs<D>, moves: &mut Movements) {
        if self.used {
            self.lane.handle_timeout(now);
            self.siding.poll(now, &mut self.lane, inside, jobs, moves);
        }
    }

    /// When to poll again although nothing came; `watched` says that a partition may be stuck, and `sends` that there is a
    /// producer for what is due.
    #[must_use]
    pub fn poll_timeout(&self, watched: bool, sends: bool) -> Option<Instant> {
        let batch = sends.then(|| self.lane.poll_timeout()).flatten();
        let used = self.used.then(|| batch.into_iter().chain(self.siding.timeout(&self.lane)));
        used.into_iter().flatten().chain(watched.then_some(self.look_at)).min()
    }

    /// Whether a batch should go now.
    #[must_use]
    pub fn is_due(&self, now: Instant) -> bool {
        self.lane.is_due(now)
    }

    /// The next partition of a due batch: [`Lane::poll_ready`].
    pub fn poll_ready(&mut self, now: Instant) -> Option<Ready<'_>> {
        self.lane.poll_ready(now)
    }

    /// The producer took so many: [`Lane::handle_produced`].
    pub fn handle_produced(&mut self, now: Instant, topic: TopicId, partition: u32, count: usize) {
        self.lane.handle_produced(now, topic, partition, count);
    }

    /// The process ends: what lies here stays.
    pub fn stop(&mut self) {
        self.lane.stop();
        self.siding.stop();
    }

    /// Brings the clock of the records up to date.
    pub fn set_clock(&mut self, now: Instant, wall: SystemTime) {
        self.siding.set_clock(now, wall);
    }

    /// Whether nothing here would be lost.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        (self.lane.is_empty() || (self.lane.is_spooled() && !self.is_closed())) && self.siding.is_settled()
    }
}

impl Lane {
    /// Replay has to wait until every parked partition is known.
    pub fn set_waiting(&mut self, waits: bool) {
        self.waits = waits;
    }

    /// Nothing may be appended until what was parked before it is safe.
    pub(super) fn set_behind(&mut self, behind: bool) {
        self.behind = behind;
    }

    /// A partition that takes nothing although Kafka confirms others: for `stuck`, or for so long that replay can bring
    /// no more because of it.
    #[must_use]
    pub fn poll_stuck(&self, now: Instant, stuck: Duration) -> Option<(TopicId, u32)> {
        let confirmed_at = self.confirmed_at.filter(|at| now < *at + LEAST)?;
        let confirming_since = self.confirming_since?;
        let patience = match self.mode {
            Mode::Spilling { .. } => return None,
            Mode::Draining { .. } if !self.stopping && !self.wants_replay() => LEAST.min(stuck),
            Mode::Draining { .. } | Mode::Direct => stuck,
        };
        let mut stuck = self.partitions().filter(|(_, _, place)| {
            let since = place.blocked_since().filter(|since| !place.sweeping && *since < confirmed_at);
            since.is_some_and(|since| now >= since.max(confirming_since) + patience)
        });
        stuck.next().map(|(topic, partition, _)| (topic, partition))
    }

    /// Everything that the lane has of a partition leaves it.
    fn give_up(&mut self, topic: TopicId, partition: u32, inside: &impl Inside) -> Partition {
        let mut place = std::mem::take(self.partition(topic, partition));
        let inside: Vec<&Record> =
            inside.orders(topic, partition).filter_map(|order| inside.record(topic, partition, order)).collect();
        self.held -= place.held.len();
        self.bytes -= place.held.iter().map(bytes).sum::<usize>();
        if place.shadows > 0 {
            // Replay has read them too.
            let shadows: HashSet<Ticket> = inside.iter().map(|record| record.ticket).collect();
            place.held.retain(|record| !shadows.contains(&record.ticket));
        } else {
            self.bytes -= inside.into_iter().map(bytes).sum::<usize>();
        }
        self.unswept -= place.unswept.len();
        self.failed -= place.retry.failed();
        self.in_flight -= place.in_flight;
        self.shadows -= place.shadows;
        self.list.retain(|listed| *listed != (topic, partition));
        place
    }

    /// Takes a partition with everything that another lane had of it. It is appended first.
    fn adopt(&mut self, topic: TopicId, partition: u32, place: Partition) {
        let log = self.log;
        let mine = self.partition(topic, partition);
        *mine = place;
        mine.listed = false;
        mine.spill(log);
        let (unswept, failed, in_flight) = (mine.unswept.len(), mine.retry.failed(), mine.in_flight);
        if mine.sweeping {
            self.sweep.push_back((topic, partition));
        }
        self.unswept += unswept;
        self.failed += failed;
        self.in_flight += in_flight;
        self.shadows += in_flight;
    }

    /// Records of a parked partition were handed over to its lane.
    pub(crate) fn handle_parked(&mut self, count: usize, bytes: usize) {
        self.held -= count;
        self.bytes -= bytes;
    }

    /// What the lane has of a partition, if it ever had anything.
    pub(super) fn place(&self, (topic, partition): Key) -> Option<&Partition> {
        self.topics.get(usize::from(topic.0))?.get(partition as usize)
    }
}
