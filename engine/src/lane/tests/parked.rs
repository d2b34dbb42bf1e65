//! Parked partitions.

mod world;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use proptest::prelude::*;
use world::{PARTITIONS, STUCK, State, TICK, World};

use crate::lane::Mode;

/// A partition without a leader: after `stuck` its neighbours are on the straight line again and wait for nothing.
fn a_stuck_partition_is_parked(state: State) -> World {
    let mut world = World::new();
    world.kafka[1].state = state;
    world.flow((2 * STUCK.as_millis() / TICK.as_millis()) as u32 + 100, 5);
    assert!(world.is_parked(1) && !world.is_parked(0) && !world.is_parked(2));
    assert_eq!(world.lane.mode(), Mode::Direct, "the others are on the straight line");
    world.flow_past_the_second(200);
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
    world.flow(100, 5);
    assert!(world.is_parked(1));
    world.settle();
    world.assert_first_written_in_order();
}

#[test]
fn of_two_parked_partitions_each_comes_back_by_itself() {
    let mut world = a_stuck_partition_is_parked(State::Silent);
    world.kafka[2].state = State::Refuses;
    world.flow(1_500, 20);
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
    // The linger has a timer; what is due before needs none, because every turn looks.
    world.now += world.settings.kafka.linger;
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

/// What the log of the parked partitions does not take any more waits in memory, behind what it has.
#[test]
fn a_partition_that_is_parked_on_a_disk_that_fails_comes_back_in_order() {
    for state in [State::Silent, State::Refuses] {
        let mut world = a_stuck_partition_is_parked(state);
        world.break_disk();
        world.flow(100, 5);
        assert!(world.side.parked.siding().usage().fenced && world.is_parked(1));
        world.settle();
        world.assert_written_once_in_order();
    }
}

/// The disk fails while what a partition had in the lane goes to the log of the parked ones.
#[test]
fn a_partition_of_which_a_part_is_parked_when_the_disk_fails_comes_back_in_order() {
    let mut world = World::new();
    world.publish(1, 5_000);
    world.kafka[1].state = State::Refuses;
    while !world.is_parked(1) {
        world.publish(0, 1);
        world.turn();
    }
    world.break_disk();
    world.pass(STUCK);
    let usage = world.side.parked.siding().usage();
    assert!(usage.fenced && usage.counters.appended < 5_000, "{usage:?}");
    // In and out again: what is in memory only must not be forgotten meanwhile.
    world.kafka[1].state = State::Well;
    world.confirm(1, 10);
    world.kafka[1].state = State::Silent;
    world.pass(STUCK);
    world.settle();
    world.assert_written_once_in_order();
}

/// A disk that others have filled before the line had a segment.
#[test]
fn on_a_full_disk_a_silent_partition_holds_no_other_up() {
    let mut world = World::new();
    world.disk.limit_space(Some(0));
    world.kafka[1].state = State::Silent;
    world.flow_past_the_second(500);
    world.settle();
    assert_eq!(world.side.siding.usage().counters.appended, 0);
    world.assert_written_once_in_order();
}

/// What is parked was never written, or all of it has ended: nothing makes room any more.
#[test]
fn what_is_parked_on_a_full_disk_comes_back_in_order() {
    for segments in 1..8 {
        let mut world = World::new();
        world.disk.limit_space(Some(segments << 16));
        world.kafka[1].state = State::Silent;
        for _ in 0..1_000 {
            world.publish(0, 1);
            world.publish(1, 5);
            world.turn();
        }
        world.settle();
        world.assert_written_once_in_order();
    }
}

/// A partition that stays silent on a disk that has failed: what comes behind an outage of the others must not wait for it,
/// and not be safer than what came before.
#[test]
fn a_parked_partition_on_a_disk_that_failed_holds_no_other_up() {
    let mut world = a_stuck_partition_is_parked(State::Silent);
    world.break_disk();
    world.flow(300, 5);
    let fenced = world.side.parked.siding().usage().fenced && !world.side.siding.usage().fenced;
    assert!(fenced, "the spool was not in use meanwhile");
    let appended = world.side.siding.usage().counters.appended;
    [0, 2].iter().for_each(|healthy| world.kafka[*healthy].state = State::Silent);
    world.flow(100, 5);
    [0, 2].iter().for_each(|healthy| world.kafka[*healthy].state = State::Well);
    world.pass(STUCK);
    for healthy in [0, 2] {
        assert_eq!(world.kafka[healthy].written.len(), world.sent[healthy] as usize, "partition {healthy}");
    }
    assert_eq!(world.side.siding.usage().counters.appended, appended);
    world.settle();
    world.assert_written_once_in_order();
}

/// Kafka confirms what is inside librdkafka before replay comes to it, and what comes behind that is in memory only.
#[test]
fn replay_on_a_disk_that_has_failed_goes_on_behind_what_was_confirmed_meanwhile() {
    let mut world = World::new();
    world.kafka[1].state = State::Silent;
    world.publish(1, 5);
    while !matches!(world.lane.mode(), Mode::Spilling { .. }) {
        world.turn();
    }
    world.break_disk();
    world.publish(0, 1);
    world.settle();
    world.assert_written_once_in_order();
}

#[derive(Clone, Debug)]
enum Operation {
    Publish(u32, u32),
    Pass(u64),
    Turn(u32, State),
    Confirm(u32, usize),
    Restart,
    /// So many bytes are free on the disk.
    FillDisk(u64),
    FreeDisk,
    BreakDisk,
}

fn operation() -> impl Strategy<Value = Operation> {
    let state = prop_oneof![Just(State::Well), Just(State::Well), Just(State::Silent), Just(State::Refuses)];
    prop_oneof![
        8 => (0..PARTITIONS, 1_u32..40).prop_map(|(partition, count)| Operation::Publish(partition, count)),
        4 => prop_oneof![20_u64..100, Just(300), Just(1_000), Just(3_000)].prop_map(Operation::Pass),
        4 => (0..PARTITIONS, state).prop_map(|(partition, state)| Operation::Turn(partition, state)),
        2 => (0..PARTITIONS, 1_usize..10).prop_map(|(partition, count)| Operation::Confirm(partition, count)),
        1 => Just(Operation::Restart),
        1 => prop_oneof![Just(0_u64), Just(64 << 10), Just(200 << 10)].prop_map(Operation::FillDisk),
        1 => Just(Operation::FreeDisk),
        1 => Just(Operation::BreakDisk),
    ]
}

proptest! {
    #[test]
    fn order_is_kept_and_nothing_is_lost(
        operations in prop::collection::vec(operation(), 1..80),
        stays in prop::option::of(0..PARTITIONS as usize),
    ) {
        let (mut world, mut restarted, mut full, mut broken) = (World::new(), false, false, false);
        for operation in operations {
            match operation {
                Operation::Publish(partition, count) => world.publish(partition, count),
                Operation::Pass(time) => world.pass(Duration::from_millis(time)),
                Operation::Turn(partition, state) => world.kafka[partition as usize].state = state,
                Operation::Confirm(partition, count) => world.confirm(partition, count),
                // It may wait for Kafka then, which this cannot.
                Operation::Restart if broken || full => {}
                Operation::Restart => {
                    world.end_and_restart();
                    restarted = true;
                }
                Operation::FillDisk(free) => {
                    world.disk.limit_space(Some(free));
                    full = true;
                }
                Operation::FreeDisk => {
                    world.disk.limit_space(None);
                    full = false;
                }
                Operation::BreakDisk => {
                    world.break_disk();
                    broken = true;
                }
            }
        }
        // One of them stays as it is for a while: the others must not wait for it.
        let healthy = (0..PARTITIONS as usize).filter(|partition| Some(*partition) != stays).collect::<Vec<_>>();
        if stays.is_some() {
            healthy.iter().for_each(|partition| world.kafka[*partition].state = State::Well);
            world.pass(20 * STUCK);
            for partition in healthy {
                let written: BTreeSet<_> = world.kafka[partition].written.iter().collect();
                prop_assert_eq!(written.len(), world.sent[partition] as usize, "partition {} waits", partition);
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
