//! The way between one lane and its spool: carries records to and fro, and the log's jobs to whoever runs them. It does
//! no I/O, so that the simulation drives it as the shard does.

mod replay;

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use fairlead_spool::{AppendError, Log, Recovery, Usage, disk::Disk};

use super::{
    Inside, Lane, Spooling,
    pace::Pace,
    passage::{Key, Passage},
};
use crate::{
    kafka::{Directory, Topics},
    message::{LogName, Outcome, Receipt, Record, RouteId, Ticket},
    route::partition::place,
    settings::{Ack, Settings},
    spool::{Done, Jobs, Movement, Replayed, Store, Synced, fingerprints},
};

/// What a lane puts into its spool under this `ack`.
pub(crate) fn spooling(ack: Ack) -> Spooling {
    match ack {
        Ack::Durable => Spooling::Outage,
        Ack::Spool => Spooling::Always,
        Ack::Kafka | Ack::Memory => Spooling::Never,
    }
}

/// The spool's side of a turn.
#[derive(Debug, Default)]
pub struct Movements {
    /// Receipts of records that were synced.
    pub receipts: Vec<Receipt>,
    /// What the ledger has to know.
    pub ledger: Vec<(RouteId, Movement)>,
    /// Groups that were made durable.
    pub synced: Vec<Synced>,
    /// Records of partitions that were blocked for too long.
    pub expired: Vec<Record>,
}

/// One shard's spool, and the way to it and back.
#[derive(Debug)]
pub struct Siding<D: Disk> {
    store: Store<D>,
    /// Which of the shard's logs it is.
    log: LogName,
    /// Records that go to another log and are not synced there; at most as many as its lane takes.
    moved: HashSet<u64>,
    /// Where the records are those of parked partitions.
    passage: Option<Passage>,
    topics: Arc<Topics>,
    directory: Directory,
    /// The fingerprint of each route, and of no route.
    routes: Vec<u32>,
    /// Read and not yet in the lane: its Kafka topic is not known (yet).
    replayed: VecDeque<Replayed>,
    /// The last record of an earlier process, and the last of these that the ledger knows.
    recovered: u64,
    counted: u64,
    /// A moment by both clocks.
    clock: (Instant, SystemTime),
    /// `drain_rate`, and when replay goes on that it keeps waiting.
    pace: Option<Pace>,
    resumes_at: Option<Instant>,
    /// `hold_for`
    hold_for: Option<Duration>,
    /// A read failed: when it is tried again.
    read_at: Option<Instant>,
    /// Turns in which the log had no room.
    full: u64,
}

impl<D: Disk> Siding<D> {
    /// The way to a log that was just opened; `clock` is this moment by both clocks.
    #[must_use]
    pub fn new(
        settings: &Settings,
        topics: &Arc<Topics>,
        name: LogName,
        (mut log, recovery): (Log<D>, Recovery),
        clock: (Instant, SystemTime),
    ) -> Siding<D> {
        if name == LogName::Older {
            log.retire();
        }
        let rate = settings.spool.as_ref().and_then(|spool| spool.drain_rate);
        Siding {
            store: Store::new(log, &recovery),
            log: name,
            moved: HashSet::new(),
            passage: (name == LogName::Parked).then(|| Passage::new(recovery.backlog == 0)),
            topics: topics.clone(),
            directory: Directory::new(topics.clone(), false),
            routes: fingerprints(settings),
            replayed: VecDeque::new(),
            recovered: recovery.appended,
            counted: recovery.start.sequence.saturating_sub(1),
            clock,
            pace: rate.map(|rate| Pace::new(clock.0, rate)),
            resumes_at: None,
            hold_for: settings.kafka.hold_for,
            read_at: None,
            full: 0,
        }
    }

    /// The process ends: what has ended is to be known to the next one.
    pub fn stop(&mut self) {
        self.store.stop();
    }

    /// The two clocks drift apart; this brings them together.
    pub fn set_clock(&mut self, now: Instant, wall: SystemTime) {
        self.clock = (now, wall);
    }

    /// What the log holds and has met.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.store.usage()
    }

    /// Turns in which the log had no room.
    #[must_use]
    pub fn full(&self) -> u64 {
        self.full
    }

    /// Records of the log that have not ended.
    #[must_use]
    pub fn backlog(&self) -> u64 {
        self.store.backlog()
    }

    /// Whether a record lies in this log and has ended.
    pub(super) fn has_ended(&self, ticket: Ticket) -> bool {
        ticket.sequence(self.log).is_some_and(|sequence| self.store.has_ended(sequence))
    }

    /// Records appended that another log answers for until they are synced.
    pub(super) fn arriving(&self) -> u64 {
        self.store.arriving() as u64
    }

    /// Records appended whose sessions wait for a receipt.
    #[must_use]
    pub fn unreceipted(&self) -> usize {
        self.store.unreceipted()
    }

    /// Whether everything appended is synced, and the cursor says what has ended.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.store.is_settled()
    }

    /// Whether a segment is ready for what comes, as far as the disk allows.
    #[must_use]
    pub fn is_prepared(&self) -> bool {
        self.store.is_prepared()
    }

    /// When to poll again although nothing came.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.store.poll_timeout().into_iter().chain(self.resumes_at).chain(self.read_at).min()
    }

    /// Replay begins again at the oldest record that has not ended.
    pub fn rewind(&mut self) {
        self.replayed.clear();
        self.store.rewind();
    }

    /// A record that lies in the log has ended here: for good, or because it is synced in another log. The receipt, where
    /// its session has none yet.
    ///
    /// It may have ended before: a dead letter is made of it, and meanwhile replay sends it again.
    pub fn handle_ended(&mut self, sequence: u64, receipt: Receipt, moves: &mut Movements) {
        let moved = receipt.outcome == Outcome::Spooled;
        if !self.moved.is_empty() {
            self.moved.remove(&sequence);
        }
        if self.store.has_ended(sequence) {
            return;
        }
        match self.store.handle_ended(sequence, receipt.outcome) {
            Some(first) => {
                moves.ledger.extend(moved.then_some((receipt.route, Movement::Taken)));
                moves.receipts.push(first);
            }
            None => moves.ledger.extend((!moved).then_some((receipt.route, Movement::Ended(receipt.outcome)))),
        }
    }

    /// A record goes to another log: replay passes it over, and it ends here when it is synced there.
    pub(super) fn move_away(&mut self, ticket: Ticket) {
        self.moved.extend(ticket.sequence(self.log));
    }

    /// Whether more records of partitions that were blocked for too long may be taken now.
    pub(super) fn set_expiring(&mut self, expires: bool) {
        self.passage.iter_mut().for_each(|passage| passage.expires = expires);
    }

    /// The parked partitions, where this is their log.
    pub(super) fn passage(&self) -> Option<&Passage> {
        self.passage.as_ref()
    }

    /// Records of a parked partition came to the lane.
    pub(super) fn begin(&mut self, key: Key, records: usize) {
        self.passage.iter_mut().for_each(|passage| passage.begin(key, records));
    }

    /// A record of a parked partition has ended. Whether it was the last.
    pub(super) fn end(&mut self, key: Key) -> bool {
        self.passage.as_mut().is_some_and(|passage| passage.end(key))
    }

    /// Whether nothing is appended until the next start, because the disk has failed.
    pub(super) fn is_fenced(&self) -> bool {
        self.store.is_fenced()
    }

    /// Whether the log has no room.
    pub(super) fn is_full(&self) -> bool {
        self.store.is_full()
    }

    /// Whether the log has a segment to append to.
    pub(super) fn has_segment(&self) -> bool {
        self.store.has_segment()
    }

    /// Whether no job is under way: the log may be closed.
    pub(super) fn is_idle(&self) -> bool {
        self.replayed.is_empty() && self.store.is_idle()
    }

    /// When to poll again although nothing came, with what the parked partitions wait for.
    pub(super) fn timeout(&self, lane: &Lane) -> Option<Instant> {
        let retry = self.passage.as_ref().and_then(|passage| passage.poll_timeout(lane));
        self.poll_timeout().into_iter().chain(retry).min()
    }

    /// One turn, after [`Siding::handle_done`]: appends what the lane gives, reads what it wants, and starts what is due.
    pub fn poll(
        &mut self,
        now: Instant,
        lane: &mut Lane,
        inside: &mut impl Inside,
        jobs: &mut impl Jobs<D>,
        moves: &mut Movements,
    ) {
        if self.log != LogName::Older && !lane.behind && !lane.is_without_log() {
            self.append(now, lane, inside);
        }
        while let Some(receipt) = self.store.poll_receipt() {
            // What came from another log is known to the ledger.
            if !receipt.ticket.is_stored() {
                moves.ledger.push((receipt.route, Movement::Taken));
            }
            moves.receipts.push(receipt);
        }
        self.poll_passage(now, lane, inside);
        let waits = self.log == LogName::Spool && lane.waits;
        if !waits {
            self.replay(now, lane, jobs, moves);
        }
        while let Some((topic, partition)) = lane.poll_unshadowed() {
            lane.let_go(now, topic, partition, |ticket| self.has_ended(ticket));
        }
        self.leave_log(now, lane);
        if self.log == LogName::Spool {
            let unread = self.store.unread() + self.replayed.len() as u64;
            lane.handle_progress(now, unread, |record| {
                let partitions = self.topics.get(record.topic).map_or(0, |(_, partitions)| partitions);
                place(record.hashed(), partitions)
            });
        }
        if let Some(commit) = self.store.poll_commit(now) {
            jobs.commit(commit);
        }
        if let Some(upkeep) = self.store.poll_upkeep(now) {
            jobs.upkeep(upkeep);
        }
    }

    /// A job was run.
    pub fn handle_done(&mut self, now: Instant, done: Done<D>, moves: &mut Movements) {
        match done {
            Done::Commit(committed, synced) => match self.store.handle_committed(now, committed) {
                Ok(()) => moves.synced.push(synced),
                Err(error) => tracing::error!("{error}"),
            },
            Done::Upkeep(kept) => {
                if let Err(error) = self.store.handle_upkeep(now, kept) {
                    tracing::error!("{error}");
                }
            }
            Done::Read(read) => self.handle_read(now, read, moves),
        }
    }

    /// First what the lane had when it began to spill, then what came since.
    fn append(&mut self, now: Instant, lane: &mut Lane, inside: &mut impl Inside) {
        let time = self.time(now);
        let (store, topics, routes, full) = (&mut self.store, &self.topics, &self.routes, &mut self.full);
        let mut append = |record: &Record| {
            let name = topics.get(record.topic).map_or("", |(name, _)| name);
            let route = routes.get(usize::from(record.route.0)).copied().unwrap_or_default();
            let appended = store.append(record, name, route, time);
            debug_assert_ne!(appended, Err(AppendError::TooLarge), "a packet and what is made of it fits");
            *full += u64::from(appended == Err(AppendError::Full));
            appended.ok()
        };
        lane.sweep(inside, &mut append);
        while let Some(sequence) = lane.poll_incoming().and_then(&mut append) {
            lane.handle_appended(now, sequence);
        }
    }

    fn time(&self, now: Instant) -> u64 {
        let since = self.clock.1.duration_since(UNIX_EPOCH).unwrap_or_default();
        (since + now.saturating_duration_since(self.clock.0)).as_millis() as u64
    }
}
