//! Parked partitions: the lane, its spool and what is parked, on a disk in memory, against a Kafka of which partitions
//! stop and go.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::Range,
    sync::Arc,
    time::{Duration, Instant, UNIX_EPOCH},
};

use fairlead_spool::{Commit, Name, Options, Read, Spool, Upkeep, disk::Memory};
use proptest::prelude::*;

use super::super::{side::Side, *};
use crate::{
    dead_letter::Origin,
    kafka::{HoldReason, Report, Topics, Verdict},
    message::{DropReason, LogName, Outcome, Record, RouteId, Ticket, TopicId},
    mqtt::Payload,
    route::partition::partition,
    settings::{Ack, Owner, Settings},
    spool::{Done, Generations, Jobs, Logs, Movement, Older, Synced},
};

const TOPIC: TopicId = TopicId(0);
const PARTITIONS: u32 = 3;
const TICK: Duration = Duration::from_millis(4);
const STUCK: Duration = Duration::from_secs(2);

/// Runs every job at once.
#[derive(Default)]
struct Inline(VecDeque<Done<Memory>>);

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
struct Queue {
    inside: VecDeque<Record>,
    first: u64,
    /// What was written, in order.
    written: Vec<u32>,
    state: State,
}

/// What a partition does.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum State {
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

struct World {
    lane: Lane,
    side: Side<Memory, Inline>,
    now: Instant,
    kafka: Vec<Queue>,
    /// Keys by their partition, and how often each was used.
    keys: BTreeMap<u32, String>,
    sent: Vec<u32>,
    next: u32,
    acknowledged: BTreeSet<u32>,
    /// What was refused and is safe as a dead letter.
    dead: Vec<u32>,
    /// Records that the spool answers for.
    pending: i64,
    disk: Memory,
    settings: Settings,
    topics: Arc<Topics>,
}

fn open(disk: &Memory) -> Logs<Memory> {
    let options = Options { max: 64 << 20, min_free: 0, segment: 1 << 20, group: 64 << 10, record: 1 << 16, shards: 1 };
    let (spool, _) = Spool::open(disk.clone(), "/spool", options).unwrap();
    let older = Older { logs: VecDeque::new(), generations: Arc::new(Generations::new([])) };
    Logs { spool: spool.log(Name::Shard(0)).unwrap(), parked: spool.log(Name::Parked(0)).unwrap(), older }
}

impl World {
    fn new() -> World {
        World::with(None)
    }

    #[expect(clippy::disallowed_methods, reason = "an Instant to start from; virtual time from here on")]
    fn with(hold_for: Option<Duration>) -> World {
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

    fn start(settings: &Settings, topics: &Arc<Topics>, disk: &Memory, now: Instant) -> (Lane, Side<Memory, Inline>) {
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
    fn restart(&mut self) {
        let (settings, topics, now) = (&self.settings, &self.topics, self.now);
        // The lock and the files are free once the old one is gone.
        drop(std::mem::replace(&mut self.side, World::start(settings, topics, &Memory::new(), now).1));
        (self.lane, self.side) = World::start(settings, topics, &self.disk, now);
        self.kafka.iter_mut().for_each(|queue| queue.inside.clear());
        self.pending = 0;
    }

    /// A message for a partition. Its value is its number there.
    fn publish(&mut self, partition: u32, count: u32) {
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
    fn turn(&mut self) {
        self.receive();
        self.send();
    }

    /// A turn without a producer.
    fn receive(&mut self) {
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

    fn send(&mut self) {
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
    fn report(&mut self) {
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
    fn confirm(&mut self, partition: u32, count: usize) {
        for _ in 0..count {
            self.report_next(partition as usize, Verdict::Delivered);
        }
    }

    /// Reports the oldest record inside of a partition. Whether there is one.
    fn report_next(&mut self, partition: usize, verdict: Verdict) -> bool {
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
    fn dead_letter(&mut self, mut record: Record) {
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

    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.turn();
        }
    }

    fn is_parked(&self, partition: u32) -> bool {
        self.side.parked.contains(TOPIC, partition)
    }

    /// All is well from now on: everything drains, and the line is straight.
    fn settle(&mut self) {
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
    fn end_and_restart(&mut self) {
        for _ in 0..2_500 {
            if self.acknowledged.len() == self.next as usize {
                return self.restart();
            }
            self.turn();
        }
        panic!("{} of {} messages are acknowledged", self.acknowledged.len(), self.next);
    }

    fn assert_written_once_in_order(&self) {
        for (partition, queue) in self.kafka.iter().enumerate() {
            let wrong = queue.written.iter().zip(0..).find(|(number, expected)| *number != expected);
            assert_eq!((wrong, queue.written.len()), (None, self.sent[partition] as usize), "partition {partition}");
        }
        assert_eq!(self.acknowledged.len(), self.next as usize);
    }

    /// First occurrences are in order, and nothing is missing.
    fn assert_first_written_in_order(&self) {
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

/// A partition without a leader: after `stuck` its neighbours are on the straight line again and wait for nothing.
fn a_stuck_partition_is_parked(state: State) -> World {
    let mut world = World::new();
    world.kafka[1].state = state;
    for _ in 0..2 * STUCK.as_millis() / TICK.as_millis() + 100 {
        (0..PARTITIONS).for_each(|partition| world.publish(partition, 5));
        world.turn();
    }
    assert!(world.is_parked(1) && !world.is_parked(0) && !world.is_parked(2));
    assert_eq!(world.lane.mode(), Mode::Direct, "the others are on the straight line");
    for _ in 0..200 {
        (0..PARTITIONS).for_each(|partition| world.publish(partition, 5));
        world.turn();
        for healthy in [0, 2] {
            let behind = world.sent[healthy] as usize - world.kafka[healthy].written.len();
            assert!(behind <= 15, "partition {healthy} waits: {behind} behind");
        }
    }
    assert_eq!(world.lane.mode(), Mode::Direct);
    assert_eq!(world.side.siding.backlog(), 0, "it does not pin the spool");
    assert!(world.kafka[1].written.is_empty());
    world
}

#[test]
fn a_silent_partition_is_parked_and_comes_back_in_order() {
    let mut world = a_stuck_partition_is_parked(State::Silent);
    world.settle();
    world.assert_written_once_in_order();
}

#[test]
fn a_partition_that_refuses_is_parked_and_comes_back_in_order() {
    let mut world = a_stuck_partition_is_parked(State::Refuses);
    world.settle();
    world.assert_written_once_in_order();
}

#[test]
fn a_restart_knows_what_is_parked_before_anything_new_goes() {
    let mut world = a_stuck_partition_is_parked(State::Refuses);
    world.end_and_restart();
    for _ in 0..100 {
        (0..PARTITIONS).for_each(|partition| world.publish(partition, 5));
        world.turn();
    }
    assert!(world.is_parked(1));
    world.settle();
    world.assert_first_written_in_order();
}

#[test]
fn of_two_parked_partitions_each_comes_back_by_itself() {
    let mut world = a_stuck_partition_is_parked(State::Silent);
    world.kafka[2].state = State::Refuses;
    for _ in 0..1_500 {
        (0..PARTITIONS).for_each(|partition| world.publish(partition, 20));
        world.turn();
    }
    assert!(world.is_parked(1) && world.is_parked(2));
    world.kafka[2].state = State::Well;
    world.pass(Duration::from_secs(20));
    assert!(world.is_parked(1) && !world.is_parked(2), "{:?}", world.side.parked.partitions().collect::<Vec<_>>());
    assert_eq!(world.kafka[2].written.len(), world.sent[2] as usize);
    world.settle();
    world.assert_written_once_in_order();
}

/// Replay has read again what was inside librdkafka, and then Kafka confirms some of that: it has ended, and must not be
/// parked with the rest, where it would be sent a second time and end a second time.
#[test]
fn what_was_confirmed_after_replay_has_read_it_is_not_parked() {
    let mut world = World::new();
    world.publish(1, 10);
    world.kafka[1].state = State::Silent;
    while !world.lane.topics[0].get(1).is_some_and(|place| place.shadows == 10 && place.held.len() == 10) {
        world.publish(0, 1);
        world.turn();
    }
    world.confirm(1, 4);
    while !world.is_parked(1) {
        world.publish(0, 1);
        world.turn();
    }
    world.settle();
    world.assert_written_once_in_order();
}

/// What is inside librdkafka while the rest of its partition expires may still be written. Refused, it follows the rest.
#[test]
fn what_was_inside_when_its_partition_expired_and_is_refused_expires_too() {
    const HOLD_FOR: Duration = Duration::from_secs(30);
    let mut world = World::with(Some(HOLD_FOR));
    world.kafka[1].state = State::Refuses;
    world.publish(1, 10);
    let since = world.now;
    let steps = |world: &mut World, until: &dyn Fn(&World) -> bool| {
        while !until(world) {
            assert!(world.now < since + 4 * HOLD_FOR, "{:?}", world.side.parked.partitions().collect::<Vec<_>>());
            world.publish(0, 1);
            world.turn();
        }
    };
    steps(&mut world, &|world| world.is_parked(1) && world.now >= since + HOLD_FOR / 2);
    // The next attempt is not answered before the others have expired.
    world.kafka[1].state = State::Silent;
    steps(&mut world, &|world| !world.kafka[1].inside.is_empty());
    world.publish(1, 10);
    steps(&mut world, &|world| !world.dead.is_empty());
    assert!(!world.kafka[1].inside.is_empty());
    world.kafka[1].state = State::Refuses;
    steps(&mut world, &|world| world.dead.len() == 20);
    assert!(!world.is_parked(1));
    world.dead.sort_unstable();
    assert_eq!(world.dead, (0..20).collect::<Vec<_>>());
}

/// What is parked is not known while its topic is not: that may be as long as Kafka is away.
#[test]
fn a_lane_that_waits_for_what_is_parked_does_not_spin() {
    let mut world = a_stuck_partition_is_parked(State::Refuses);
    world.topics = Arc::default();
    world.end_and_restart();
    world.publish(0, 1);
    (0..100).for_each(|_| world.turn());
    assert!(!world.side.parked.is_complete());
    assert!(world.side.poll_timeout(true, true).is_none_or(|at| at > world.now));
}

/// A producer that failed for good has to give everything back before another takes its place.
#[test]
fn what_is_parked_and_due_does_not_spin_while_there_is_no_producer() {
    let mut world = a_stuck_partition_is_parked(State::Refuses);
    world.kafka[1].state = State::Well;
    while !world.side.parked.is_due(world.now) {
        world.receive();
    }
    assert!(world.side.poll_timeout(false, true).is_some_and(|at| at <= world.now));
    assert!(world.side.poll_timeout(false, false).is_none_or(|at| at > world.now));
}

/// What came for a parked partition on the straight line is in the log of these; what comes behind it when the lane spills
/// goes to the spool, and must not be durable alone: after a crash it would be first.
#[test]
fn nothing_is_appended_before_what_was_parked_before_it_is_safe() {
    let mut world = a_stuck_partition_is_parked(State::Silent);
    world.pass(4 * TICK);
    world.publish(1, 5);
    world.send();
    world.lane.spill(world.now);
    world.publish(1, 1);
    world.receive();
    assert_eq!((world.side.parked.siding().unreceipted(), world.side.siding.backlog()), (5, 0));
    world.receive();
    assert_eq!((world.side.parked.siding().unreceipted(), world.side.siding.backlog()), (0, 1));
    world.settle();
    world.assert_written_once_in_order();
}

/// After an outage of the whole of Kafka nobody is stuck, however long it was and whoever confirms first.
#[test]
fn the_end_of_an_outage_parks_nothing() {
    let mut world = World::new();
    (0..PARTITIONS).for_each(|partition| world.publish(partition, 50_000));
    world.kafka.iter_mut().for_each(|queue| queue.state = State::Silent);
    world.pass(3 * STUCK);
    world.kafka[0].state = State::Well;
    world.pass(STUCK / 4);
    world.settle();
    assert_eq!(world.side.parked.siding().usage().counters.appended, 0);
    world.assert_written_once_in_order();
}

#[derive(Clone, Debug)]
enum Operation {
    Publish(u32, u32),
    Pass(u64),
    Turn(u32, State),
    Confirm(u32, usize),
    Restart,
}

fn operation() -> impl Strategy<Value = Operation> {
    let state = prop_oneof![Just(State::Well), Just(State::Well), Just(State::Silent), Just(State::Refuses)];
    prop_oneof![
        8 => (0..PARTITIONS, 1_u32..40).prop_map(|(partition, count)| Operation::Publish(partition, count)),
        4 => prop_oneof![20_u64..100, Just(300), Just(1_000), Just(3_000)].prop_map(Operation::Pass),
        4 => (0..PARTITIONS, state).prop_map(|(partition, state)| Operation::Turn(partition, state)),
        2 => (0..PARTITIONS, 1_usize..10).prop_map(|(partition, count)| Operation::Confirm(partition, count)),
        1 => Just(Operation::Restart),
    ]
}

proptest! {
    #[test]
    fn order_is_kept_and_nothing_is_lost(operations in prop::collection::vec(operation(), 1..80)) {
        let (mut world, mut restarted) = (World::new(), false);
        for operation in operations {
            match operation {
                Operation::Publish(partition, count) => world.publish(partition, count),
                Operation::Pass(time) => world.pass(Duration::from_millis(time)),
                Operation::Turn(partition, state) => world.kafka[partition as usize].state = state,
                Operation::Confirm(partition, count) => world.confirm(partition, count),
                Operation::Restart => {
                    world.end_and_restart();
                    restarted = true;
                }
            }
        }
        world.settle();
        if restarted { world.assert_first_written_in_order() } else { world.assert_written_once_in_order() }
    }
}

/// Dead letters of a parked partition are in the lane of the others, and go through its spool when their topic is silent;
/// what they were made of ends in the log of parked partitions, once.
#[test]
fn what_is_refused_of_a_parked_partition_ends_there_when_its_dead_letter_is_safe() {
    let mut world = a_stuck_partition_is_parked(State::Refuses);
    let before = world.side.parked.siding().backlog();
    world.kafka[2].state = State::Silent;
    world.kafka[1].state = State::TooLarge;
    // The partition is tried again after a while.
    for _ in 0..5_000 {
        if world.side.parked.siding().backlog() < before {
            break;
        }
        world.turn();
    }
    assert!(world.side.parked.siding().backlog() < before && world.side.siding.backlog() > 0, "the spool has them");
    assert!(world.dead.is_empty());
    world.settle();
    assert!(!world.dead.is_empty());
    let written = &world.kafka[1].written;
    assert!((0..world.sent[1]).all(|number| written.contains(&number) != world.dead.contains(&number)), "each once");
    assert_eq!(world.dead.len() + written.len(), world.sent[1] as usize);
    assert_eq!(world.acknowledged.len(), world.next as usize);
}
