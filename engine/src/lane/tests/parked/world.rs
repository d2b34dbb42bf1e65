//! The lane, its spool and what is parked, on a disk in memory, against a Kafka of which partitions stop and go.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::Range,
    sync::Arc,
    time::{Duration, Instant, UNIX_EPOCH},
};

use fairlead_spool::{
    Commit, Name, Options, Read, Spool, Upkeep,
    disk::{
        Memory,
        Operation::{Allocate, Create, Rename, Sync, SyncFolder, Write},
    },
};

use crate::lane::{side::Side, *};
use crate::{
    dead_letter::Origin,
    kafka::{HoldReason, Report, Topics, Verdict},
    message::{DropReason, LogName, Outcome, Record, RouteId, Ticket, TopicId},
    mqtt::Payload,
    route::partition::partition,
    settings::{Ack, Owner, Settings},
    spool::{Done, Generations, Jobs, Logs, Movement, Older, Synced},
};

pub(super) const TOPIC: TopicId = TopicId(0);
pub(super) const PARTITIONS: u32 = 3;
pub(super) const TICK: Duration = Duration::from_millis(4);
pub(super) const STUCK: Duration = Duration::from_secs(2);
/// EROFS
const READ_ONLY: i32 = 30;

/// Runs every job at once.
#[derive(Default)]
pub(super) struct Inline(VecDeque<Done<Memory>>);

impl Jobs<Memory> for Inline {
    fn commit(&mut self, commit: Commit<Memory>) {
        self.0.push_back(Done::Commit(commit.run(), Synced::default()));
    }

    fn upkeep(&mut self, upkeep: Upkeep<Memory>) {
        self.0.push_back(Done::Upkeep(upkeep.run()));
    }

    fn read(&mut self, read: Read<Memory>) {
        self.0.push_back(Done::Read(read.run()));
    }

    fn poll(&mut self) -> Option<Done<Memory>> {
        self.0.pop_front()
    }
}

/// One partition of the model of Kafka, with what is inside librdkafka for it.
#[derive(Default)]
pub(super) struct Queue {
    pub(super) inside: VecDeque<Record>,
    first: u64,
    /// What was written, in order.
    pub(super) written: Vec<u32>,
    pub(super) state: State,
}

/// What a partition does.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) enum State {
    /// It confirms.
    #[default]
    Well,
    /// It says nothing.
    Silent,
    /// It refuses for now.
    Refuses,
    /// It refuses each record for good.
    TooLarge,
}

impl Inside for Vec<Queue> {
    fn orders(&self, _: TopicId, partition: u32) -> Range<u64> {
        let queue = &self[partition as usize];
        queue.first..queue.first + queue.inside.len() as u64
    }

    fn record(&self, _: TopicId, partition: u32, order: u64) -> Option<&Record> {
        let queue = &self[partition as usize];
        queue.inside.get(order.checked_sub(queue.first)? as usize)
    }

    fn set_ticket(&mut self, _: TopicId, partition: u32, order: u64, ticket: Ticket) {
        let queue = &mut self[partition as usize];
        let place = (order - queue.first) as usize;
        queue.inside[place].ticket = ticket;
    }
}

pub(super) struct World {
    pub(super) lane: Lane,
    pub(super) side: Side<Memory, Inline>,
    pub(super) now: Instant,
    pub(super) kafka: Vec<Queue>,
    /// Keys by their partition, and how often each was used.
    keys: BTreeMap<u32, String>,
    pub(super) sent: Vec<u32>,
    pub(super) next: u32,
    pub(super) acknowledged: BTreeSet<u32>,
    /// What was refused and is safe as a dead letter.
    pub(super) dead: Vec<u32>,
    /// Records that the spool answers for.
    pending: i64,
    pub(super) disk: Memory,
    pub(super) settings: Settings,
    pub(super) topics: Arc<Topics>,
}

fn open(disk: &Memory) -> Logs<Memory> {
    let options = Options { max: 16 << 20, min_free: 0, segment: 64 << 10, group: 8 << 10, record: 8 << 10, shards: 1 };
    let (spool, _) = Spool::open(disk.clone(), "/spool", options).unwrap();
    let older = Older { logs: VecDeque::new(), generations: Arc::new(Generations::new([])) };
    Logs { spool: spool.log(Name::Shard(0)).unwrap(), parked: spool.log(Name::Parked(0)).unwrap(), older }
}

impl World {
    pub(super) fn new() -> World {
        World::with(None)
    }

    #[expect(clippy::disallowed_methods, reason = "an Instant to start from; virtual time from here on")]
    pub(super) fn with(hold_for: Option<Duration>) -> World {
        let mut settings = Settings::minimal("127.0.0.1:1");
        settings.engine.ack = Ack::Durable;
        (settings.kafka.stuck, settings.kafka.hold_for) = (STUCK, hold_for);
        let topics = Arc::new(Topics::default());
        topics.publish("ais", PARTITIONS, Owner::Partition).unwrap();
        let (now, disk) = (Instant::now(), Memory::new());
        let keys = (0..100).map(|key: u32| (partition(key.to_string().as_bytes(), PARTITIONS), key.to_string()));
        let (lane, side) = World::start(&settings, &topics, &disk, now);
        World {
            lane,
            side,
            now,
            kafka: (0..PARTITIONS).map(|_| Queue::default()).collect(),
            keys: keys.collect(),
            sent: vec![0; PARTITIONS as usize],
            next: 0,
            acknowledged: BTreeSet::new(),
            dead: Vec::new(),
            pending: 0,
            disk,
            settings,
            topics,
        }
    }

    pub(super) fn start(
        settings: &Settings,
        topics: &Arc<Topics>,
        disk: &Memory,
        now: Instant,
    ) -> (Lane, Side<Memory, Inline>) {
        let mut lane = Lane::new(settings.kafka.linger, Spooling::Outage, settings.engine.memory);
        let jobs = (Inline::default(), Inline::default(), None);
        let clock = (now, UNIX_EPOCH + Duration::from_secs(1_700_000_000));
        let side = Side::new(settings, topics, open(disk), jobs, clock);
        if side.backlog() > 0 {
            lane.drain(now);
        }
        (lane, side)
    }

    /// The process ends between two turns and another begins.
    pub(super) fn restart(&mut self) {
        let (settings, topics, now) = (&self.settings, &self.topics, self.now);
        // The lock and the files are free once the old one is gone.
        drop(std::mem::replace(&mut self.side, World::start(settings, topics, &Memory::new(), now).1));
        (self.lane, self.side) = World::start(settings, topics, &self.disk, now);
        self.kafka.iter_mut().for_each(|queue| queue.inside.clear());
        self.pending = 0;
    }

    /// A message for a partition. Its value is its number there.
    pub(super) fn publish(&mut self, partition: u32, count: u32) {
        for _ in 0..count {
            let number = &mut self.sent[partition as usize];
            let ticket = Ticket::new(0, 0, 0, self.next);
            self.next += 1;
            let key = Some(Payload::from(self.keys[&partition].clone()));
            let value = Some(Payload::from(number.to_string()));
            *number += 1;
            let route = RouteId(0);
            let record = Record { ticket, topic: TOPIC, route, partition, key, value, mqtt_topic: None, extra: None };
            self.lane.handle_record(self.now, record);
        }
        self.lane.handle_saturated(self.now);
    }

    /// One turn, as the driver has it.
    pub(super) fn turn(&mut self) {
        self.receive();
        self.send();
    }

    /// A turn without a producer.
    pub(super) fn receive(&mut self) {
        self.now += TICK;
        if self.lane.handle_timeout(self.now).is_some() {
            self.side.rewind();
        }
        self.report();
        let mut turn = Turn::default();
        let acknowledged = &mut self.acknowledged;
        self.side.poll(self.now, &mut self.lane, &mut self.kafka, &mut turn, |receipt, _| {
            assert!(acknowledged.insert(receipt.ticket.position()), "two receipts for one message");
        });
        for record in std::mem::take(&mut turn.expired) {
            self.dead_letter(record);
        }
        for (_, movement) in turn.ledger {
            self.pending += match movement {
                Movement::Taken | Movement::Recovered => 1,
                Movement::Ended(_) => -1,
                Movement::Gone(..) => unreachable!("nothing is damaged"),
            };
        }
    }

    pub(super) fn send(&mut self) {
        if self.lane.is_due(self.now) {
            while let Some(ready) = self.lane.poll_ready(self.now) {
                let (topic, partition, most) = (ready.topic, ready.partition, ready.most);
                if self.side.parked.contains(topic, partition) {
                    let (count, bytes) = self.side.take_records(self.now, ready);
                    self.lane.handle_parked(count, bytes);
                } else {
                    self.kafka[partition as usize].inside.extend(ready.records.drain(..most));
                    self.lane.handle_produced(self.now, topic, partition, most);
                }
            }
        }
        if self.side.parked.is_due(self.now) {
            while let Some(ready) = self.side.parked.poll_ready(self.now) {
                let (topic, partition, most) = (ready.topic, ready.partition, ready.most);
                self.kafka[partition as usize].inside.extend(ready.records.drain(..most));
                self.side.parked.handle_produced(self.now, topic, partition, most);
            }
        }
    }

    /// Kafka does what each partition does now.
    pub(super) fn report(&mut self) {
        for partition in 0..PARTITIONS as usize {
            let verdict = match self.kafka[partition].state {
                State::Silent => continue,
                State::Well => Verdict::Delivered,
                State::Refuses => Verdict::Hold(HoldReason::Unavailable),
                State::TooLarge => Verdict::Final(DropReason::TooLarge),
            };
            while self.report_next(partition, verdict) {}
        }
    }

    /// Kafka confirms the oldest of what is inside of a partition, so many at most.
    pub(super) fn confirm(&mut self, partition: u32, count: usize) {
        for _ in 0..count {
            self.report_next(partition as usize, Verdict::Delivered);
        }
    }

    /// Reports the oldest record inside of a partition. Whether there is one.
    pub(super) fn report_next(&mut self, partition: usize, verdict: Verdict) -> bool {
        let queue = &mut self.kafka[partition];
        let Some(record) = queue.inside.pop_front() else { return false };
        let order = queue.first;
        queue.first += 1;
        if verdict == Verdict::Delivered {
            let number = String::from_utf8(record.value.as_ref().unwrap().to_vec()).unwrap().parse().unwrap();
            if record.dead().is_some() { self.dead.push(number) } else { queue.written.push(number) }
        }
        match self.side.handle_report(self.now, &mut self.lane, Report { record, order, verdict }) {
            Some(Settlement::Receipt(receipt)) => {
                if let Some(receipt) = self.side.end(receipt) {
                    assert_eq!(receipt.outcome, Outcome::Delivered);
                    assert!(self.acknowledged.insert(receipt.ticket.position()));
                }
            }
            Some(Settlement::Refused(refused)) => self.dead_letter(refused.0),
            None => {}
        }
        true
    }

    /// What the driver does, with a partition for the dead-letter topic.
    pub(super) fn dead_letter(&mut self, mut record: Record) {
        assert!(record.ticket.sequence(LogName::Parked).is_some() && !self.side.has_ended(record.ticket));
        self.side.move_away(record.ticket);
        let (reason, topic, mqtt_topic) = (DropReason::TooLarge, "ais", &b"ais/1"[..]);
        let extra = record.extra.get_or_insert_default();
        extra.dead = Some(reason);
        Origin { reason, route: None, source: None, topic, mqtt_topic, time: UNIX_EPOCH }.write(&mut extra.headers);
        record.partition = 2;
        record.key = Some(Payload::from(self.keys[&2].clone()));
        self.lane.handle_record(self.now, record);
    }

    /// The disk takes nothing any more.
    pub(super) fn break_disk(&mut self) {
        for operation in [Create, Allocate, Write, Sync, SyncFolder, Rename] {
            self.disk.fail(operation, 0, u64::MAX, READ_ONLY);
        }
    }

    /// So many messages for each partition in each of so many turns.
    pub(super) fn flow(&mut self, turns: u32, count: u32) {
        for _ in 0..turns {
            (0..PARTITIONS).for_each(|partition| self.publish(partition, count));
            self.turn();
        }
    }

    /// What flows meanwhile waits for nothing where it is not for partition 1.
    pub(super) fn flow_past_the_second(&mut self, turns: u32) {
        for _ in 0..turns {
            self.flow(1, 5);
            for healthy in [0, 2] {
                let behind = self.sent[healthy] as usize - self.kafka[healthy].written.len();
                assert!(behind <= 15, "partition {healthy} waits: {behind} behind");
            }
        }
    }

    pub(super) fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.turn();
        }
    }

    pub(super) fn is_parked(&self, partition: u32) -> bool {
        self.side.parked.contains(TOPIC, partition)
    }

    /// All is well from now on: everything drains, and the line is straight.
    pub(super) fn settle(&mut self) {
        self.kafka.iter_mut().for_each(|queue| queue.state = State::Well);
        for _ in 0..20_000 {
            self.turn();
            let empty = self.lane.is_empty() && self.side.parked.lane().is_empty() && self.side.backlog() == 0;
            if empty && self.lane.mode() == Mode::Direct && self.side.parked.partitions().next().is_none() {
                assert_eq!((self.lane.bytes, self.lane.held, self.lane.in_flight, self.lane.shadows), (0, 0, 0, 0));
                assert_eq!(self.pending, 0, "the ledger");
                return;
            }
        }
        let parked: Vec<_> = self.side.parked.partitions().collect();
        panic!(
            "no rest: {:?}, {} in the lane, {} parked in the lane, backlog {}, parked {parked:?}",
            self.lane.mode(),
            self.lane.len(),
            self.side.parked.lane().len(),
            self.side.backlog(),
        );
    }

    /// The process ends once every message is acknowledged; what is not would come again from its broker.
    pub(super) fn end_and_restart(&mut self) {
        for _ in 0..2_500 {
            if self.acknowledged.len() == self.next as usize {
                return self.restart();
            }
            self.turn();
        }
        panic!("{} of {} messages are acknowledged", self.acknowledged.len(), self.next);
    }

    pub(super) fn assert_written_once_in_order(&self) {
        for (partition, queue) in self.kafka.iter().enumerate() {
            let wrong = queue.written.iter().zip(0..).find(|(number, expected)| *number != expected);
            assert_eq!((wrong, queue.written.len()), (None, self.sent[partition] as usize), "partition {partition}");
        }
        assert_eq!(self.acknowledged.len(), self.next as usize);
    }

    /// First occurrences are in order, and nothing is missing.
    pub(super) fn assert_first_written_in_order(&self) {
        for (partition, queue) in self.kafka.iter().enumerate() {
            let mut next = 0;
            for number in &queue.written {
                assert!(*number <= next, "partition {partition}: {number} before {next}");
                next = next.max(number + 1);
            }
            assert_eq!(next, self.sent[partition], "partition {partition}");
        }
    }
}
