//! Records that Kafka will never take: dead letters. They are sent to the dead-letter topic like any record, with the same
//! ticket, and have ended when they are there. What that refuses too, and everything where there is no such topic, goes to
//! the dead-letter log of the shard's spool, and has ended when it is synced. Without either it is dropped.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use fairlead_spool::{AppendError, State, Usage, disk::Disk};

use super::{BATCH, Lane, Mode, partition::bytes};
use crate::{
    dead_letter::Origin,
    kafka::{Directory, Topics},
    message::{DropReason, LogName, Outcome, Receipt, Record, RouteId, Ticket},
    route::partition::place,
    settings::Settings,
    spool::{Done, Jobs, Store, fingerprints},
};

/// Records that wait. They count as if they were in the lane, so that its limits are theirs.
#[derive(Debug, Default)]
struct Queue {
    records: VecDeque<Record>,
    bytes: usize,
}

/// The dead-letter topic.
#[derive(Debug)]
struct Address {
    name: String,
    directory: Directory,
    /// Until the topic is known.
    waiting: Queue,
}

/// The dead-letter log.
#[derive(Debug)]
struct File<D: Disk> {
    store: Store<D>,
    /// Of the records that are appended and not synced.
    reasons: VecDeque<DropReason>,
    /// Until the log has room.
    waiting: Queue,
    /// Turns in which it had none.
    full: u64,
}

/// What a shard does with dead letters.
#[derive(Debug)]
pub struct DeadLetters<D: Disk> {
    settings: Arc<Settings>,
    topics: Arc<Topics>,
    /// The fingerprint of each route.
    routes: Vec<u32>,
    address: Option<Address>,
    file: Option<File<D>>,
    /// What has ended here.
    ended: Vec<Receipt>,
    /// A moment by both clocks.
    clock: (Instant, SystemTime),
    /// Something has come and not been looked at.
    due: Option<Instant>,
}

impl<D: Disk> DeadLetters<D> {
    /// The dead letters of one shard, with its log where there is a spool; `clock` is this moment by both clocks.
    #[must_use]
    pub fn new(
        settings: &Arc<Settings>,
        topics: &Arc<Topics>,
        log: Option<(fairlead_spool::Log<D>, fairlead_spool::Recovery)>,
        clock: (Instant, SystemTime),
    ) -> DeadLetters<D> {
        let address = |name: &String| Address {
            name: name.clone(),
            directory: Directory::new(topics.clone(), log.is_some()),
            waiting: Queue::default(),
        };
        DeadLetters {
            routes: fingerprints(settings),
            address: settings.dead_letter.topic.as_ref().map(address),
            file: log.map(|(log, recovery)| File {
                store: Store::new(log, &recovery),
                reasons: VecDeque::new(),
                waiting: Queue::default(),
                full: 0,
            }),
            settings: settings.clone(),
            topics: topics.clone(),
            ended: Vec::new(),
            clock,
            due: None,
        }
    }

    /// Whether there is a place for them, so that nothing need be dropped.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.address.is_some() || self.file.is_some()
    }

    /// Records in the log.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.file.as_ref().map_or(0, |file| file.store.backlog())
    }

    /// Turns in which the log had no room.
    #[must_use]
    pub fn full(&self) -> u64 {
        self.file.as_ref().map_or(0, |file| file.full)
    }

    /// Records that wait for a log that takes nothing.
    #[must_use]
    pub fn stuck(&self) -> usize {
        let stuck = |usage: Usage| usage.fenced || usage.state == State::Full;
        self.file.as_ref().filter(|file| stuck(file.store.usage())).map_or(0, |file| file.waiting.records.len())
    }

    /// Records here whose sessions wait for a receipt.
    #[must_use]
    pub fn unreceipted(&self) -> usize {
        let waiting = self.queues().flat_map(|queue| &queue.records).filter(|record| !record.ticket.is_stored());
        waiting.count() + self.file.as_ref().map_or(0, |file| file.store.unreceipted())
    }

    /// Whether nothing here would be lost.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.unreceipted() == 0 && self.file.as_ref().is_none_or(|file| file.store.is_settled())
    }

    /// Whether the log has anything to do. Its segments are made only then.
    pub(super) fn is_filing(&self) -> bool {
        self.file.as_ref().is_some_and(|file| file.store.backlog() > 0 || !file.waiting.records.is_empty())
    }

    /// When to poll again although nothing came.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let file = self.file.as_ref().filter(|_| self.is_filing()).and_then(|file| file.store.poll_timeout());
        self.due.into_iter().chain(file).min()
    }

    /// The two clocks drift apart; this brings them together.
    pub fn set_clock(&mut self, now: Instant, wall: SystemTime) {
        self.clock = (now, wall);
    }

    /// Takes a record that Kafka will never take. `name` is that of its Kafka topic, where it is an illegal one.
    pub fn handle_refused(&mut self, now: Instant, mut record: Record, reason: DropReason, name: Option<&str>) {
        self.due = Some(now);
        let before = record.dead();
        if before.is_none() && self.is_kept() {
            self.label(now, &mut record, reason, name);
        }
        match (&mut self.address, &mut self.file) {
            (Some(address), _) if before.is_none() => address.waiting.push(record),
            (_, Some(file)) => file.waiting.push(record),
            _ => self.ended.push(end_of(&record, Outcome::Dropped(before.unwrap_or(reason)))),
        }
    }

    /// Makes a dead letter of a record.
    fn label(&self, now: Instant, record: &mut Record, reason: DropReason, name: Option<&str>) {
        let topic = name.or_else(|| self.topics.get(record.topic).map(|(name, _)| name)).unwrap_or_default();
        let route = self.settings.routes.get(usize::from(record.route.0)).map(|route| route.from.as_mqtt());
        let origin = Origin {
            reason,
            route: route.as_deref(),
            source: self.source(record.route, record.ticket),
            topic,
            mqtt_topic: record.mqtt_topic(),
            time: self.wall(now),
        };
        let mut headers = record.headers().to_vec();
        origin.write(&mut headers);
        tracing::warn!(reason = reason.label(), topic, "a record becomes a dead letter: {}", reason.text());
        let extra = record.extra.get_or_insert_default();
        (extra.headers, extra.dead) = (headers, Some(reason));
    }

    /// The source of a record: that of its session. What lay in the spool has no session any more.
    fn source(&self, route: RouteId, ticket: Ticket) -> Option<&str> {
        let settings = &self.settings;
        let of_session = || {
            let at =
                |planned: &crate::settings::Planned| (planned.shard, planned.slot) == (ticket.shard(), ticket.slot());
            settings.plan().find(at).map(|planned| planned.source)
        };
        let source = match settings.sources.len() {
            1 => Some(0),
            _ if !ticket.is_stored() => of_session(),
            _ => settings.routes.get(usize::from(route.0)).and_then(|route| route.source),
        };
        source.map(|source| settings.sources[source].name.as_str())
    }

    fn wall(&self, now: Instant) -> SystemTime {
        self.clock.1 + now.saturating_duration_since(self.clock.0)
    }

    /// Whether a record goes to the log, and not to the topic.
    #[must_use]
    pub fn files(&self, record: &Record) -> bool {
        self.file.is_some() && (self.address.is_none() || record.dead().is_some())
    }

    /// Forgets what waits for the topic and is made of what the lane reads again.
    pub fn forget_read(&mut self) {
        self.address.iter_mut().for_each(|address| address.waiting.forget_read());
    }

    /// Gives those to the lane that can be sent, and those to the log that it takes.
    pub fn poll(&mut self, now: Instant, lane: &mut Lane, jobs: Option<&mut impl Jobs<D>>) {
        self.due = None;
        if let Some(address) = &mut self.address {
            address.send(now, lane);
        }
        let since = self.wall(now).duration_since(UNIX_EPOCH).unwrap_or_default();
        let jobs = jobs.filter(|_| self.is_filing());
        if let (Some(file), Some(jobs)) = (&mut self.file, jobs) {
            let name = |record: &Record| self.topics.get(record.topic).map_or("", |(name, _)| name);
            file.append(since.as_millis() as u64, &self.routes, name, &mut self.ended);
            file.poll(now, jobs, &mut self.ended);
        }
        lane.set_aside(self.waiting());
    }

    /// A job of the log was run.
    pub fn handle_done(&mut self, now: Instant, done: Done<D>) {
        let Some(file) = &mut self.file else { return };
        let failed = match done {
            Done::Commit(done, _) => file.store.handle_committed(now, done).err().map(|error| error.to_string()),
            Done::Upkeep(done) => file.store.handle_upkeep(now, done).err().map(|error| error.to_string()),
            Done::Read(_) => None,
        };
        if let Some(error) = failed {
            tracing::error!("dead letters: {error}");
        }
    }

    /// What has ended since the last call.
    pub fn poll_ended(&mut self) -> Option<Receipt> {
        self.ended.pop()
    }

    /// Whether few wait, so that more may be made.
    pub(super) fn has_room(&self) -> bool {
        self.waiting().0 < BATCH
    }

    /// Records that wait, and their bytes.
    pub(super) fn waiting(&self) -> (usize, usize) {
        self.queues().fold((0, 0), |(records, bytes), queue| (records + queue.records.len(), bytes + queue.bytes))
    }

    fn queues(&self) -> impl Iterator<Item = &Queue> {
        let addressed = self.address.iter().map(|address| &address.waiting);
        addressed.chain(self.file.iter().map(|file| &file.waiting))
    }
}

impl Address {
    fn send(&mut self, now: Instant, lane: &mut Lane) {
        while let Some(record) = self.waiting.records.front() {
            // What it was made of lies where the lane reads.
            let read = record.ticket.is_read_by(LogName::Spool);
            let Some((topic, partitions)) = self.directory.find(&self.name) else { return };
            if partitions == 0 && read {
                return;
            }
            let Some(mut record) = self.waiting.pop() else { return };
            record.topic = topic;
            record.partition = place(record.hashed(), partitions);
            match (read, lane.mode()) {
                // It is read again, and refused again.
                (true, Mode::Spilling { .. }) => {}
                (true, _) => lane.handle_replayed(now, record),
                (false, _) => lane.handle_record(now, record),
            }
        }
    }
}

impl<D: Disk> File<D> {
    fn append<'a>(&mut self, time: u64, routes: &[u32], name: impl Fn(&Record) -> &'a str, ended: &mut Vec<Receipt>) {
        while let Some(record) = self.waiting.records.front() {
            let route = routes.get(usize::from(record.route.0)).copied().unwrap_or_default();
            let reason = record.dead().unwrap_or(DropReason::InvalidRecord);
            match self.store.append(record, name(record), route, time) {
                Ok(_) => self.reasons.push_back(reason),
                Err(AppendError::TooLarge) => {
                    tracing::error!("a dead letter is larger than the spool takes, and is dropped");
                    ended.push(end_of(record, Outcome::Dropped(reason)));
                }
                Err(error) => {
                    self.full += u64::from(error == AppendError::Full);
                    return;
                }
            }
            drop(self.waiting.pop());
        }
    }

    fn poll(&mut self, now: Instant, jobs: &mut impl Jobs<D>, ended: &mut Vec<Receipt>) {
        while let Some(receipt) = self.store.poll_receipt() {
            let reason = self.reasons.pop_front().expect("one for each record that is appended");
            ended.push(Receipt { outcome: Outcome::DeadLettered(reason), ..receipt });
        }
        if let Some(commit) = self.store.poll_commit(now) {
            jobs.commit(commit);
        }
        if let Some(upkeep) = self.store.poll_upkeep(now) {
            jobs.upkeep(upkeep);
        }
    }
}

impl Queue {
    fn push(&mut self, record: Record) {
        self.bytes += bytes(&record);
        self.records.push_back(record);
    }

    fn pop(&mut self) -> Option<Record> {
        let record = self.records.pop_front()?;
        self.bytes -= bytes(&record);
        Some(record)
    }

    fn forget_read(&mut self) {
        let gone = &mut self.bytes;
        self.records.retain(|record| {
            let read = record.ticket.is_read_by(LogName::Spool);
            *gone -= if read { bytes(record) } else { 0 };
            !read
        });
    }
}

fn end_of(record: &Record, outcome: Outcome) -> Receipt {
    Receipt { ticket: record.ticket, route: record.route, outcome }
}
