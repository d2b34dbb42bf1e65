//! The side road: the lane against a list for the spool and a queue for librdkafka.

use std::{
    collections::{BTreeSet, VecDeque},
    ops::Range,
    time::{Duration, Instant},
};

use super::super::*;
use crate::{
    kafka::{HoldReason, Report, Verdict},
    message::{DropReason, LogName, Record, RouteId, Ticket, TopicId},
};

const TOPIC: TopicId = TopicId(0);
const PARTITIONS: u32 = 2;
const LINGER: Duration = Duration::from_millis(1);
const MEMORY: usize = 64 << 20;

/// What is inside librdkafka, by partition and order.
#[derive(Default)]
struct Queue {
    records: Vec<VecDeque<Option<Record>>>,
    first: Vec<u64>,
}

impl Inside for Queue {
    fn orders(&self, _: TopicId, partition: u32) -> Range<u64> {
        let (first, records) = (self.first[partition as usize], &self.records[partition as usize]);
        first..first + records.len() as u64
    }

    fn record(&self, _: TopicId, partition: u32, order: u64) -> Option<&Record> {
        let place = order.checked_sub(self.first[partition as usize])?;
        self.records[partition as usize].get(place as usize)?.as_ref()
    }

    fn set_ticket(&mut self, _: TopicId, partition: u32, order: u64, ticket: Ticket) {
        let place = (order - self.first[partition as usize]) as usize;
        self.records[partition as usize][place].as_mut().unwrap().ticket = ticket;
    }
}

struct World {
    lane: Lane,
    now: Instant,
    inside: Queue,
    /// What lies in the spool: partition and position.
    spool: Vec<(u32, u32)>,
    /// Records that the spool takes before the oldest has ended.
    most: usize,
    /// It takes nothing.
    closed: bool,
    ended: BTreeSet<u64>,
    /// Where replay reads on.
    read: usize,
    /// What Kafka has, in order, by partition.
    kafka: Vec<Vec<u32>>,
    acknowledged: BTreeSet<u32>,
}

impl World {
    #[expect(clippy::disallowed_methods, reason = "an Instant to start from; virtual time from here on")]
    fn new(spooling: Spooling) -> World {
        let records = (0..PARTITIONS).map(|_| VecDeque::new()).collect();
        World {
            lane: Lane::new(LINGER, spooling, MEMORY),
            now: Instant::now(),
            inside: Queue { records, first: vec![0; PARTITIONS as usize] },
            spool: Vec::new(),
            most: usize::MAX,
            closed: false,
            ended: BTreeSet::new(),
            read: 0,
            kafka: vec![Vec::new(); PARTITIONS as usize],
            acknowledged: BTreeSet::new(),
        }
    }

    fn record(ticket: Ticket, position: u32) -> Record {
        let partition = position % PARTITIONS;
        let key = Some(crate::mqtt::Payload::from(position.to_string()));
        Record { ticket, topic: TOPIC, route: RouteId(0), partition, key, value: None, mqtt_topic: None, extra: None }
    }

    fn publish(&mut self, positions: Range<u32>) {
        for position in positions {
            self.lane.handle_record(self.now, World::record(Ticket::new(0, 0, 0, position), position));
        }
        self.lane.handle_saturated(self.now);
    }

    /// What a driver does in a turn; every append is synced at once.
    fn turn(&mut self) {
        let World { lane, now, inside, spool, most, closed, ended, read, acknowledged, .. } = self;
        let oldest = (0..spool.len()).find(|place| !ended.contains(&(*place as u64 + 1))).unwrap_or(spool.len());
        if let Some(Mode::Draining { .. }) = lane.handle_timeout(*now) {
            *read = oldest;
        }
        let mut append = |record: &Record| {
            if *closed || spool.len() - oldest >= *most {
                return None;
            }
            let position = String::from_utf8(record.key.as_ref().unwrap().to_vec()).unwrap().parse().unwrap();
            spool.push((record.partition, position));
            acknowledged.insert(position);
            Some(spool.len() as u64)
        };
        lane.sweep(inside, &mut append);
        while let Some(record) = lane.poll_incoming() {
            let Some(sequence) = append(record) else { break };
            lane.handle_appended(*now, sequence);
        }
        while lane.wants_replay() && *read < spool.len() {
            let (sequence, (_, position)) = (*read as u64 + 1, spool[*read]);
            *read += 1;
            if !ended.contains(&sequence) {
                lane.handle_replayed(*now, World::record(Ticket::stored(LogName::Spool, sequence), position));
            }
        }
        while let Some((topic, partition)) = lane.poll_unshadowed() {
            lane.let_go(*now, topic, partition, |ticket| {
                ticket.sequence(LogName::Spool).is_some_and(|n| ended.contains(&n))
            });
        }
        lane.set_log(*closed, spool.len() - oldest >= *most);
        lane.handle_progress(*now, (spool.len() - *read) as u64, |_| unreachable!());
        self.flush();
    }

    fn flush(&mut self) {
        if !self.lane.is_due(self.now) {
            return;
        }
        while let Some(ready) = self.lane.poll_ready(self.now) {
            let (partition, most) = (ready.partition, ready.most);
            self.inside.records[partition as usize].extend(ready.records.drain(..most).map(Some));
            self.lane.handle_produced(self.now, TOPIC, partition, most);
        }
    }

    /// Kafka answers for up to `count` records of a partition.
    fn report(&mut self, partition: u32, count: usize, verdict: Verdict) {
        for _ in 0..count {
            let queue = &mut self.inside.records[partition as usize];
            let Some(Some(record)) = queue.pop_front() else { return };
            let order = self.inside.first[partition as usize];
            self.inside.first[partition as usize] += 1;
            let position: u32 = String::from_utf8(record.key.as_ref().unwrap().to_vec()).unwrap().parse().unwrap();
            if verdict == Verdict::Delivered {
                self.kafka[partition as usize].push(position);
            }
            let ticket = match self.lane.handle_report(self.now, Report { record, order, verdict }) {
                Some(Settlement::Receipt(receipt)) => receipt.ticket,
                Some(Settlement::Refused(refused)) => refused.0.ticket,
                None => continue,
            };
            match ticket.sequence(LogName::Spool) {
                Some(sequence) => assert!(self.ended.insert(sequence), "{sequence} ended twice"),
                None => assert!(self.acknowledged.insert(ticket.position())),
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.turn();
    }

    /// Kafka is well: everything is confirmed until nothing is left.
    fn settle(&mut self) {
        for _ in 0..2000 {
            self.pass(Duration::from_millis(20));
            (0..PARTITIONS).for_each(|partition| self.report(partition, usize::MAX, Verdict::Delivered));
            if self.lane.is_empty() && self.lane.mode() == Mode::Direct {
                return;
            }
        }
        panic!("the lane does not come to rest: {:?}, {} records", self.lane.mode(), self.lane.len());
    }

    fn assert_delivered_once_in_order(&self, count: u32) {
        for partition in 0..PARTITIONS {
            let expected: Vec<u32> = (0..count).filter(|position| position % PARTITIONS == partition).collect();
            assert_eq!(self.kafka[partition as usize], expected, "partition {partition}");
        }
        assert_eq!(self.acknowledged.len(), count as usize);
        assert_eq!(self.ended.len(), self.spool.len());
    }
}

fn spilling(world: &World) -> bool {
    matches!(world.lane.mode(), Mode::Spilling { .. })
}

#[test]
fn a_healthy_kafka_never_sees_the_spool() {
    let mut world = World::new(Spooling::Outage);
    for batch in 0..50 {
        world.publish(batch * 10..batch * 10 + 10);
        world.turn();
        world.pass(Duration::from_millis(15));
        (0..PARTITIONS).for_each(|partition| world.report(partition, usize::MAX, Verdict::Delivered));
    }
    world.assert_delivered_once_in_order(500);
    assert!(world.spool.is_empty());
}

#[test]
fn what_is_inside_librdkafka_is_acknowledged_from_the_spool_and_not_sent_twice() {
    let mut world = World::new(Spooling::Outage);
    world.publish(0..10);
    world.turn();
    world.publish(10..20);
    world.turn();
    assert!(world.acknowledged.is_empty());
    world.pass(SPILL_AFTER);
    assert!(spilling(&world));
    assert_eq!(world.acknowledged.len(), 20, "in flight and held");
    assert_eq!(world.lane.in_flight(), 10, "the shadows stay inside librdkafka");
    world.publish(20..30);
    world.turn();
    assert_eq!(world.acknowledged.len(), 30);
    world.settle();
    world.assert_delivered_once_in_order(30);
}

#[test]
fn a_window_that_is_not_full_waits_for_the_oldest_batch() {
    let mut world = World::new(Spooling::Outage);
    (0..4).for_each(|position| {
        world.lane.handle_record(world.now, World::record(Ticket::new(0, 0, 0, position), position));
    });
    world.pass(LINGER);
    world.pass(SPILL_AFTER * 2);
    assert_eq!(world.lane.mode(), Mode::Direct);
    world.pass(OLDEST);
    assert!(spilling(&world));
    world.settle();
    world.assert_delivered_once_in_order(4);
}

#[test]
fn a_pause_of_kafka_is_no_outage_however_full_the_window_is() {
    let mut world = World::new(Spooling::Outage);
    world.publish(0..10);
    world.turn();
    world.pass(SPILL_AFTER / 2);
    world.report(0, 1, Verdict::Delivered);
    world.lane.handle_saturated(world.now);
    world.pass(SPILL_AFTER / 2);
    assert_eq!(world.lane.mode(), Mode::Direct);
    world.pass(SPILL_AFTER / 2);
    assert!(spilling(&world), "silent for long enough");
    world.settle();
    world.assert_delivered_once_in_order(10);
}

#[test]
fn time_off_the_line_is_short_unless_kafka_comes_and_goes() {
    let mut world = World::new(Spooling::Outage);
    let mut positions = 0;
    let mut outage = |world: &mut World| {
        world.publish(positions..positions + 10);
        positions += 10;
        world.turn();
        world.pass(SPILL_AFTER);
        assert!(spilling(world));
        let off = world.now;
        while spilling(world) {
            world.pass(FIRST / 2);
        }
        let time = world.now - off;
        world.settle();
        assert_eq!(world.lane.mode(), Mode::Direct);
        time
    };
    assert_eq!(outage(&mut world), FIRST);
    assert_eq!(outage(&mut world), FIRST * 2);
    (0..9).for_each(|_| assert!(outage(&mut world) <= LEAST));
    assert_eq!(outage(&mut world), LEAST);
    world.pass(CALM);
    assert_eq!(outage(&mut world), FIRST);
    world.assert_delivered_once_in_order(130);
}

#[test]
fn a_lane_that_drains_takes_no_more_than_it_can_catch_up_with() {
    let mut world = World::new(Spooling::Outage);
    world.publish(0..10);
    world.turn();
    world.pass(SPILL_AFTER);
    assert_eq!(world.lane.room(), LIMIT, "while it spills");
    world.pass(FIRST);
    assert!(matches!(world.lane.mode(), Mode::Draining { .. }));
    let room = world.lane.room();
    assert_eq!(room as u64, INTAKE_BURST);
    world.publish(10..10 + room as u32);
    assert_eq!(world.lane.room(), 0);
    let at = world.lane.poll_timeout().expect("it says when to go on");
    assert!(at <= world.now + INTAKE_SLICE);
    world.pass(INTAKE_SLICE);
    assert!((1..=INTAKE / 100).contains(&(world.lane.room() as u64)), "{}", world.lane.room());
    world.settle();
    assert_eq!(world.lane.room(), LIMIT, "on the line again");
    world.assert_delivered_once_in_order(10 + room as u32);
}

#[test]
fn a_partition_waits_for_its_shadows_and_others_go_on() {
    let mut world = World::new(Spooling::Outage);
    world.publish(0..10);
    world.turn();
    world.pass(SPILL_AFTER);
    world.publish(10..20);
    world.report(0, usize::MAX, Verdict::Delivered);
    world.pass(LEAST);
    assert!(matches!(world.lane.mode(), Mode::Draining { .. }));
    world.pass(LINGER);
    assert_eq!(world.inside.records[0].len(), 5, "partition 0 has no shadow and is replayed");
    assert_eq!(world.inside.records[1].len(), 5, "partition 1 has its shadows and nothing more");
    assert!(world.inside.records[1].iter().flatten().all(|record| record.ticket.is_stored()));
    world.settle();
    world.assert_delivered_once_in_order(20);
}

/// Of what Kafka refuses as a shadow replay finds the cause; what the log had no room for is not taken for it.
#[test]
fn shadows_that_are_refused_go_one_at_a_time() {
    for room in [usize::MAX, 1] {
        let mut world = World::new(Spooling::Outage);
        world.most = room;
        world.publish(0..6);
        world.turn();
        world.pass(SPILL_AFTER);
        assert!(spilling(&world));
        let refused = Verdict::Suspect(DropReason::TooLarge);
        world.report(0, 3, refused);
        world.report(1, 3, Verdict::Delivered);
        assert_eq!(world.kafka[1], [1, 3, 5]);
        assert!(world.ended.is_empty() || room > 1 && world.ended.len() == 3, "nothing is dropped: {:?}", world.ended);
        world.most = usize::MAX;
        world.pass(LEAST);
        world.pass(LINGER);
        assert_eq!(world.inside.records[0].len(), 1, "the first of three, alone");
        world.report(0, 1, refused);
        world.settle();
        assert_eq!(world.kafka[0], [2, 4], "only the cause is dropped");
        assert_eq!((world.acknowledged.len(), world.ended.len()), (6, world.spool.len()));
    }
}

/// Everything that replay has read was delivered as a shadow meanwhile: nothing is left to send.
#[test]
fn a_batch_that_was_let_go_is_not_waited_for() {
    let mut world = World::new(Spooling::Always);
    world.publish(0..10);
    world.turn();
    world.pass(OLDEST);
    assert!(spilling(&world));
    world.pass(LEAST);
    assert_eq!(world.lane.len(), 20, "the shadows, and what replay has read of them");
    (0..PARTITIONS).for_each(|partition| world.report(partition, usize::MAX, Verdict::Delivered));
    world.pass(LINGER);
    assert!(world.lane.is_empty());
    world.pass(LINGER * 2);
    assert!(world.lane.poll_timeout().is_none_or(|at| at > world.now));
    world.pass(LEAST);
    assert_eq!(world.lane.mode(), Mode::Direct);
    world.lane.take_hold_time();
    world.publish(10..12);
    world.turn();
    assert!(world.lane.take_hold_time().is_some_and(|time| time <= LINGER), "a new batch begins");
    world.settle();
    world.assert_delivered_once_in_order(12);
}

/// Shadows of one partition may keep replay from handing over for long: its time runs from then.
#[test]
fn what_replay_has_just_handed_over_is_not_late() {
    let mut world = World::new(Spooling::Outage);
    world.publish(0..2);
    world.turn();
    world.pass(SPILL_AFTER);
    assert!(spilling(&world));
    world.pass(LEAST);
    world.pass(OLDEST * 2);
    world.report(0, 1, Verdict::Hold(HoldReason::Unavailable));
    world.turn();
    assert_eq!(world.lane.in_flight(), 2, "a shadow, and what replay has handed over");
    world.turn();
    assert!(matches!(world.lane.mode(), Mode::Draining { .. }), "Kafka has had no time to confirm it");
    world.pass(OLDEST);
    assert!(spilling(&world));
    world.settle();
    world.assert_delivered_once_in_order(2);
}

#[test]
fn a_shadow_that_fails_is_sent_from_the_spool() {
    let mut world = World::new(Spooling::Outage);
    world.publish(0..10);
    world.turn();
    world.pass(SPILL_AFTER);
    world.report(0, 2, Verdict::Delivered);
    world.report(0, 3, Verdict::Hold(HoldReason::Purged));
    world.report(1, 5, Verdict::Hold(HoldReason::Purged));
    assert_eq!(world.lane.in_flight(), 0);
    world.publish(10..14);
    world.settle();
    world.assert_delivered_once_in_order(14);
}

/// Replay may have read it by then: one of the two is refused in the end.
#[test]
fn a_shadow_that_is_refused_is_read_again_and_refused_once() {
    let mut world = World::new(Spooling::Outage);
    world.publish(0..4);
    world.turn();
    world.pass(SPILL_AFTER);
    world.report(0, 1, Verdict::Final(DropReason::TooLarge));
    assert!(world.ended.is_empty(), "the spool has it");
    world.report(0, 1, Verdict::Delivered);
    world.pass(LEAST);
    world.report(1, 1, Verdict::Final(DropReason::TooLarge));
    assert_eq!(world.ended.len(), 1);
    world.report(1, 1, Verdict::Delivered);
    world.pass(LINGER);
    world.report(0, 1, Verdict::Final(DropReason::TooLarge));
    world.report(1, 1, Verdict::Final(DropReason::TooLarge));
    assert_eq!(world.ended.len(), 4);
    world.settle();
    assert_eq!(world.kafka, [[2], [3]]);
}

#[test]
fn a_replay_that_is_not_confirmed_goes_back_to_spilling_and_appends_nothing_twice() {
    let mut world = World::new(Spooling::Outage);
    world.publish(0..10);
    world.turn();
    world.pass(SPILL_AFTER);
    for _ in 0..3 {
        (0..PARTITIONS)
            .for_each(|partition| world.report(partition, usize::MAX, Verdict::Hold(HoldReason::Unavailable)));
        world.pass(LEAST);
        world.pass(LINGER);
        assert!(world.lane.in_flight() > 0);
        world.pass(OLDEST);
        assert!(spilling(&world), "{:?}", world.lane.mode());
    }
    assert_eq!(world.spool.len(), 10);
    world.publish(10..20);
    world.settle();
    world.assert_delivered_once_in_order(20);
}

/// The spool is full in the middle of the sweep: what Kafka confirms makes room for the rest.
#[test]
fn a_sweep_that_finds_no_room_ends_while_the_lane_drains() {
    let mut world = World::new(Spooling::Outage);
    world.most = 4;
    world.publish(0..10);
    world.turn();
    world.publish(10..30);
    world.pass(SPILL_AFTER);
    assert!(spilling(&world));
    assert_eq!(world.spool.len(), 4);
    (0..PARTITIONS).for_each(|partition| world.report(partition, usize::MAX, Verdict::Hold(HoldReason::Purged)));
    world.publish(30..40);
    world.settle();
    world.assert_delivered_once_in_order(40);
    assert_eq!(world.lane.bytes, 0);
}

#[test]
fn with_ack_spool_everything_is_appended_first_and_sent_at_once() {
    let mut world = World::new(Spooling::Always);
    world.publish(0..10);
    world.turn();
    assert_eq!((world.acknowledged.len(), world.lane.in_flight(), world.lane.mode()), (10, 10, Mode::Direct));
    world.report(0, usize::MAX, Verdict::Hold(HoldReason::Unavailable));
    world.settle();
    world.assert_delivered_once_in_order(10);
}

/// The log had room for a part of what was inside librdkafka, and all of that fails.
#[test]
fn what_the_log_has_of_a_batch_comes_before_the_rest_of_it() {
    for closed in [false, true] {
        let mut world = World::new(Spooling::Outage);
        world.most = 2;
        world.publish(0..8);
        world.turn();
        world.pass(SPILL_AFTER);
        assert!(spilling(&world));
        world.closed = closed;
        while world.lane.mode() != Mode::Direct {
            world.pass(LINGER);
        }
        world.report(0, usize::MAX, Verdict::Hold(HoldReason::Unavailable));
        world.most = usize::MAX;
        world.settle();
        world.assert_delivered_once_in_order(8);
    }
}

/// Whatever Kafka does and whenever, each record arrives once, in order, and is acknowledged once.
mod chaos {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Operation {
        Publish(u32),
        Pass(u64),
        Report(u32, usize, bool),
    }

    fn operation() -> impl Strategy<Value = Operation> {
        prop_oneof![
            (1_u32..30).prop_map(Operation::Publish),
            prop_oneof![0_u64..40, Just(250), Just(1000)].prop_map(Operation::Pass),
            (0..PARTITIONS, 1_usize..40, prop::bool::weighted(0.8)).prop_map(|(p, n, ok)| Operation::Report(p, n, ok)),
        ]
    }

    proptest! {
        #[test]
        fn order_is_kept_and_nothing_is_lost(
            always in any::<bool>(),
            most in prop_oneof![Just(usize::MAX), 1_usize..60],
            operations in prop::collection::vec(operation(), 1..120),
        ) {
            let mut world = World::new(if always { Spooling::Always } else { Spooling::Outage });
            world.most = most;
            let mut next = 0;
            for operation in operations {
                match operation {
                    Operation::Publish(count) => {
                        world.publish(next..next + count);
                        next += count;
                        world.turn();
                    }
                    Operation::Pass(time) => world.pass(Duration::from_millis(time)),
                    // A partition fails as a whole: after an error nothing newer succeeds before what failed.
                    Operation::Report(partition, count, true) => world.report(partition, count, Verdict::Delivered),
                    Operation::Report(partition, ..) => {
                        world.report(partition, usize::MAX, Verdict::Hold(HoldReason::Unavailable));
                    }
                }
            }
            world.settle();
            world.assert_delivered_once_in_order(next);
        }
    }
}
