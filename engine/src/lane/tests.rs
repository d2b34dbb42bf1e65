//! The lane against a producer made of a queue: no Kafka, no clock.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{batch::WORTH, *};
use crate::{
    kafka::{HoldReason, Report, Verdict},
    message::{DropReason, Extra, Outcome, Receipt, Record, RouteId, Ticket, TopicId},
};

mod dead_letter;
mod parked;
mod siding;

const TOPIC: TopicId = TopicId(0);
const LINGER: Duration = Duration::from_millis(1);
const MEMORY: usize = 64 << 20;

/// What is "inside librdkafka": per partition, with the order of production.
struct World {
    lane: Lane,
    now: Instant,
    inside: Vec<VecDeque<(u64, Record)>>,
    produced: Vec<Vec<u32>>,
    order: u64,
}

impl World {
    #[expect(clippy::disallowed_methods, reason = "an Instant to start from; virtual time from here on")]
    fn new() -> World {
        let inside = (0..4).map(|_| VecDeque::new()).collect();
        World {
            lane: Lane::new(LINGER, Spooling::Never, MEMORY),
            now: Instant::now(),
            inside,
            produced: vec![Vec::new(); 4],
            order: 0,
        }
    }

    fn record(&mut self, partition: u32, position: u32) {
        let ticket = Ticket::new(0, 0, 0, position);
        let record = Record {
            ticket,
            topic: TOPIC,
            route: RouteId(0),
            partition,
            key: None,
            value: None,
            mqtt_topic: None,
            extra: None,
        };
        self.lane.handle_record(self.now, record);
    }

    fn flush(&mut self) -> usize {
        let mut sent = 0;
        while let Some(ready) = self.lane.poll_ready(self.now) {
            let (partition, most) = (ready.partition, ready.most);
            let taken: Vec<Record> = ready.records.drain(..most).collect();
            for record in taken {
                self.produced[partition as usize].push(record.ticket.position());
                self.inside[partition as usize].push_back((self.order, record));
                self.order += 1;
            }
            self.lane.handle_produced(self.now, TOPIC, partition, most);
            sent += most;
        }
        sent
    }

    /// The receipt, or that of a drop where the lane lets go of a record that was refused.
    fn report(&mut self, partition: u32, verdict: Verdict) -> Option<Receipt> {
        let (order, record) = self.inside[partition as usize].pop_front().expect("something is in flight");
        Some(match self.lane.handle_report(self.now, Report { record, order, verdict })? {
            Settlement::Receipt(receipt) => receipt,
            Settlement::Refused(refused) => {
                let (Record { ticket, route, .. }, reason) = *refused;
                Receipt { ticket, route, outcome: Outcome::Dropped(reason) }
            }
        })
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.lane.handle_timeout(self.now);
    }
}

#[test]
fn a_batch_is_due_after_linger_when_full_or_when_a_session_is_saturated() {
    let mut world = World::new();
    world.record(0, 0);
    assert!(!world.lane.is_due(world.now));
    assert_eq!(world.lane.poll_timeout(), Some(world.now + LINGER));
    assert!(world.lane.is_due(world.now + LINGER));
    world.lane.handle_saturated(world.now);
    assert!(world.lane.is_due(world.now));
    assert_eq!(world.flush(), 1);
    assert!(!world.lane.is_due(world.now + LINGER), "nothing is held any more");
    // Among so many partitions none has enough.
    (1..BATCH as u32).for_each(|position| world.record(position % 128, position));
    assert!(!world.lane.is_due(world.now));
    world.record(0, 0);
    assert!(world.lane.is_due(world.now));
}

#[test]
fn a_batch_is_due_when_it_is_worth_its_requests() {
    let mut world = World::new();
    let offer = |world: &mut World, partitions: u32, records: u32| {
        (0..records).for_each(|number| world.record(number % partitions, number));
    };
    offer(&mut world, 3, 3 * WORTH as u32 - 1);
    assert!(!world.lane.is_due(world.now));
    offer(&mut world, 1, 1);
    assert!(world.lane.is_due(world.now), "a hundred for each of three");
    assert_eq!(world.flush(), 3 * WORTH);
    // What waits behind them makes no batch due, however much it is, but what comes after that does.
    offer(&mut world, 1, 9 * WORTH as u32);
    assert_eq!(world.flush(), 0);
    assert!(!world.lane.is_due(world.now + LINGER), "the partition is busy");
    offer(&mut world, 4, 4 * WORTH as u32);
    assert!(world.lane.is_due(world.now));
    assert_eq!(world.flush(), WORTH, "the fourth partition is free");
}

#[test]
fn order_is_kept_in_each_partition_and_receipts_follow_reports() {
    let mut world = World::new();
    for position in 0..8 {
        world.record(position % 2, position);
    }
    assert_eq!(world.flush(), 8);
    assert_eq!((&world.produced[0], &world.produced[1]), (&vec![0, 2, 4, 6], &vec![1, 3, 5, 7]));
    let receipt = world.report(1, Verdict::Delivered).unwrap();
    assert_eq!((receipt.ticket.position(), receipt.outcome), (1, Outcome::Delivered));
    assert_eq!(world.lane.len(), 7);
}

#[test]
fn a_partition_has_one_batch_inside_and_the_next_takes_all_that_waited() {
    let mut world = World::new();
    (0..2).for_each(|position| world.record(0, position));
    assert_eq!(world.flush(), 2);
    (2..6).for_each(|position| world.record(0, position));
    world.record(1, 100);
    assert_eq!(world.flush(), 1, "another partition does not wait");
    assert!(!world.lane.is_due(world.now + LINGER), "nothing can go before the batch is confirmed");
    assert!(world.report(0, Verdict::Delivered).is_some());
    assert!(!world.lane.is_due(world.now));
    assert!(world.report(0, Verdict::Delivered).is_some());
    assert!(world.lane.is_due(world.now), "what waited goes at once");
    assert_eq!(world.flush(), 4);
    assert_eq!(world.produced[0], [0, 1, 2, 3, 4, 5]);
}

#[test]
fn what_comes_while_a_batch_is_inside_waits_for_the_linger_as_well() {
    let mut world = World::new();
    world.record(0, 0);
    assert_eq!(world.flush(), 1);
    world.pass(LINGER / 2);
    world.record(0, 1);
    assert!(world.report(0, Verdict::Delivered).is_some());
    assert!(!world.lane.is_due(world.now), "more can come");
    assert_eq!(world.lane.poll_timeout(), Some(world.now + LINGER));
    assert!(world.lane.is_due(world.now + LINGER));
    world.pass(LINGER);
    assert_eq!(world.flush(), 1);
    // What was due and found the partition busy goes with the report.
    world.record(0, 2);
    world.lane.handle_saturated(world.now);
    assert_eq!(world.flush(), 0);
    assert!(world.report(0, Verdict::Delivered).is_some());
    assert!(world.lane.is_due(world.now));
}

#[test]
fn what_failed_goes_again_in_order_before_anything_newer_and_only_when_all_reports_are_in() {
    let mut world = World::new();
    (0..4).for_each(|position| world.record(0, position));
    world.flush();
    assert!(world.report(0, Verdict::Delivered).is_some());
    assert!(world.report(0, Verdict::Hold(HoldReason::Unavailable)).is_none());
    world.record(0, 4);
    world.record(1, 9);
    assert_eq!(world.flush(), 1, "only the healthy partition goes on");
    assert_eq!(world.lane.holds().count(), 1);
    assert!(world.report(0, Verdict::Hold(HoldReason::Unavailable)).is_none());
    assert!(world.report(0, Verdict::Hold(HoldReason::Unavailable)).is_none());
    assert_eq!(world.flush(), 0, "the first backoff runs");
    world.pass(Duration::from_millis(100));
    assert!(world.lane.is_due(world.now));
    assert_eq!(world.flush(), 4);
    assert_eq!(world.produced[0], [0, 1, 2, 3, 1, 2, 3, 4]);
    (0..4).for_each(|_| assert!(world.report(0, Verdict::Delivered).is_some()));
    assert_eq!((world.lane.holds().count(), world.lane.retries(), world.lane.len()), (0, 3, 1));
}

#[test]
fn the_backoff_doubles_to_its_limit_and_starts_again_after_a_success() {
    let mut world = World::new();
    world.record(0, 0);
    world.flush();
    let mut waits = Vec::new();
    for _ in 0..9 {
        world.report(0, Verdict::Hold(HoldReason::UnknownTopic));
        let until = world.lane.poll_timeout().unwrap();
        let _ = world.flush();
        let until = world.lane.poll_timeout().unwrap_or(until).max(until);
        waits.push((until - world.now).as_millis());
        world.pass(until - world.now);
        assert_eq!(world.flush(), 1);
    }
    assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
    assert!(world.report(0, Verdict::Delivered).is_some());
    assert!(world.lane.is_empty());
}

#[test]
fn of_a_refused_batch_only_the_record_that_fails_alone_is_dropped() {
    let mut world = World::new();
    (0..3).for_each(|position| world.record(0, position));
    world.flush();
    (0..3).for_each(|_| assert!(world.report(0, Verdict::Suspect(DropReason::TooLarge)).is_none()));
    world.record(0, 3);
    let mut outcomes = Vec::new();
    for position in 0..4 {
        assert!(world.lane.is_due(world.now) || position == 3);
        assert_eq!(world.flush(), 1, "one at a time while the cause is not found, then the rest");
        let verdict = if position == 1 { Verdict::Suspect(DropReason::TooLarge) } else { Verdict::Delivered };
        outcomes.push(world.report(0, verdict).unwrap().outcome);
    }
    let dropped = Outcome::Dropped(DropReason::TooLarge);
    assert_eq!(outcomes, [Outcome::Delivered, dropped, Outcome::Delivered, Outcome::Delivered]);
    assert_eq!(world.produced[0], [0, 1, 2, 0, 1, 2, 3]);
}

/// The clock may be set meanwhile; and where it is the topic that wants no old records, the time of sending is all there is.
#[test]
fn a_record_whose_time_is_refused_is_sent_again_without_it() {
    let mut world = World::new();
    world.record(0, 0);
    world.flush();
    let record = &mut world.inside[0].front_mut().unwrap().1;
    record.extra = Some(Box::new(Extra { time: Some(4_000_000_000_000), ..Extra::default() }));
    assert!(world.report(0, Verdict::Hold(HoldReason::Clock)).is_none());
    assert_eq!(world.lane.holds().next().unwrap().reason, HoldReason::Clock);
    world.pass(Duration::from_millis(100));
    assert_eq!(world.flush(), 1);
    assert_eq!(world.inside[0].front().unwrap().1.extra.as_ref().unwrap().time, None);
    assert_eq!(world.report(0, Verdict::Delivered).unwrap().outcome, Outcome::Delivered);
    assert_eq!(world.lane.holds().count(), 0);
}

/// What the batch met before has nothing to do with what is in it: it must not be sent whole for ever.
#[test]
fn a_batch_that_is_refused_after_a_hold_is_sent_one_at_a_time() {
    let mut world = World::new();
    (0..2).for_each(|position| world.record(0, position));
    world.flush();
    (0..2).for_each(|_| assert!(world.report(0, Verdict::Hold(HoldReason::Unauthorized)).is_none()));
    world.pass(Duration::from_millis(100));
    assert_eq!(world.flush(), 2);
    (0..2).for_each(|_| assert!(world.report(0, Verdict::Suspect(DropReason::TooLarge)).is_none()));
    assert_eq!(world.lane.holds().count(), 0, "Kafka has looked at the batch");
    assert_eq!(world.flush(), 1);
    assert_eq!(world.report(0, Verdict::Delivered).unwrap().outcome, Outcome::Delivered);
    assert_eq!(world.flush(), 1);
    assert!(world.report(0, Verdict::Hold(HoldReason::Unavailable)).is_none());
    world.pass(Duration::from_millis(100));
    assert_eq!((world.lane.holds().count(), world.flush()), (1, 1));
    let dropped = world.report(0, Verdict::Suspect(DropReason::TooLarge)).unwrap();
    assert_eq!(dropped.outcome, Outcome::Dropped(DropReason::TooLarge));
    assert!(world.lane.is_empty());
    assert_eq!(world.lane.holds().count(), 0, "nothing is left that waits");
}

#[test]
fn a_final_record_is_dropped_and_the_rest_goes_on() {
    let mut world = World::new();
    (0..2).for_each(|position| world.record(0, position));
    world.flush();
    let receipt = world.report(0, Verdict::Final(DropReason::IllegalTopic)).unwrap();
    assert_eq!(receipt.outcome, Outcome::Dropped(DropReason::IllegalTopic));
    assert!(world.report(0, Verdict::Delivered).is_some());
    assert!(world.lane.is_empty());
}

#[test]
fn the_lane_is_full_at_its_limit() {
    let mut world = World::new();
    (0..LIMIT as u32).for_each(|position| world.record(position % 4, position));
    assert!(world.lane.room() == 0);
    world.flush();
    assert!(world.lane.room() == 0, "records inside librdkafka count");
    world.report(0, Verdict::Delivered);
    assert!(world.lane.room() > 0);
}

#[test]
fn the_oldest_batch_in_flight_is_known() {
    let mut world = World::new();
    let start = world.now;
    assert_eq!(world.lane.oldest_in_flight(), None);
    for partition in [2, 1] {
        world.record(partition, partition);
        world.record(partition, partition);
        world.flush();
        world.pass(Duration::from_secs(1));
    }
    assert_eq!(world.lane.oldest_in_flight(), Some(start));
    world.report(2, Verdict::Delivered);
    assert_eq!(world.lane.oldest_in_flight(), Some(start), "half of it is not confirmed");
    world.report(2, Verdict::Delivered);
    assert_eq!(world.lane.oldest_in_flight(), Some(start + Duration::from_secs(1)));
    (0..2).for_each(|_| assert!(world.report(1, Verdict::Delivered).is_some()));
    assert_eq!(world.lane.oldest_in_flight(), None);
}
