//! Partitions that take nothing while others do.

use std::collections::BTreeMap;

use fairlead_tests::{Connection, Record, metric, wait_until, wire};

use crate::scene::{LIMIT, Scene, TOPIC};

/// MQTT topics; enough that every partition has some.
const SENDERS: u16 = 24;
/// The partition whose leader goes.
const LOST: i32 = 1;
/// Its leader.
const LEADER: i32 = 2;

fn scene(kafka: &str) -> Scene {
    let engine = "cpus = [0]\nack = \"durable\"";
    let scene = Scene::with_brokers(LEADER, |config| config.engine(engine).kafka(&format!("stuck = \"1s\"\n{kafka}")));
    scene.create_topic();
    (0..3).for_each(|partition| scene.kafka.lead(TOPIC, partition, if partition == LOST { LEADER } else { 1 }));
    scene
}

/// One message of each sender; all are acknowledged.
#[track_caller]
fn round(session: &mut Connection, number: u32) {
    for sender in 0..SENDERS {
        session.publish(&format!("ais/{sender}"), 1, sender + 1, number.to_string().as_bytes());
    }
    for sender in 0..SENDERS {
        session.expect_id(wire::PUBACK, sender + 1);
    }
}

/// Rounds until the partition is parked: the number of the next round, and how many senders have another partition.
#[track_caller]
fn park(scene: &mut Scene, session: &mut Connection) -> (u32, u32) {
    round(session, 0);
    let others = scene.records(SENDERS.into()).iter().filter(|record| record.partition != LOST).count() as u32;
    assert!(0 < others && others < u32::from(SENDERS));
    scene.kafka.set_broker(LEADER, false);
    let mut number = 1;
    while scene.bridge.metric("fairlead_parked_partitions", &[]) < 1.0 {
        round(session, number);
        number += 1;
        assert!(number < 100_000, "the partition is not parked");
    }
    (number, others)
}

/// Each sender's numbers, in the order of its partition.
fn by_sender(records: &[Record]) -> BTreeMap<String, Vec<u32>> {
    let mut senders = BTreeMap::<String, Vec<u32>>::new();
    for record in records {
        let key = String::from_utf8(record.key.clone().expect("a key")).expect("UTF-8");
        senders.entry(key).or_default().push(record.text().parse().expect("a number"));
    }
    senders
}

#[test]
fn a_partition_without_a_leader_is_parked_and_the_others_wait_for_nothing() {
    let mut scene = scene("");
    let mut session = scene.session();
    let (mut next, others) = park(&mut scene, &mut session);
    scene.bridge.wait_degraded("take nothing while others do", LIMIT);
    scene.bridge.wait_metric_down("fairlead_lane_mode", &[], 0.0, LIMIT);
    let (end, before) = (next + 50, scene.bridge.metric(metric::DELIVERED, &[]));
    while next < end {
        round(&mut session, next);
        next += 1;
    }
    scene.bridge.wait_metric(metric::DELIVERED, &[], before + f64::from(50 * others), LIMIT);
    // The others are on the straight line.
    scene.bridge.wait_metric_down("fairlead_lane_mode", &[], 0.0, LIMIT);
    scene.kafka.set_broker(LEADER, true);
    let records = scene.records((next * u32::from(SENDERS)) as usize);
    for (sender, numbers) in by_sender(&records) {
        assert!(numbers.iter().copied().eq(0..next), "{sender} is in order, and nothing twice");
    }
    scene.bridge.wait_metric_down("fairlead_parked_partitions", &[], 0.0, LIMIT);
    scene.bridge.wait_ready(LIMIT);
    assert_eq!(scene.bridge.stop(LIMIT), 0);
}

#[test]
fn what_is_parked_survives_a_kill_and_comes_before_anything_newer() {
    let mut scene = scene("");
    let mut session = scene.session();
    let (mut next, _) = park(&mut scene, &mut session);
    scene.bridge.wait_metric_down("fairlead_lane_mode", &[], 0.0, LIMIT);
    scene.bridge.process().kill();
    scene.bridge.restart();
    let mut session = scene.resumed();
    for _ in 0..20 {
        round(&mut session, next);
        next += 1;
    }
    scene.bridge.wait_metric("fairlead_parked_partitions", &[], 1.0, LIMIT);
    scene.kafka.set_broker(LEADER, true);
    scene.bridge.wait_metric_down(metric::PARKED_RECORDS, &[], 0.0, LIMIT);
    scene.bridge.wait_metric_down(metric::SPOOL_RECORDS, &[], 0.0, LIMIT);
    assert_eq!(scene.bridge.stop(LIMIT), 0);
    let records = scene.kafka.records(TOPIC, u64::from(next * u32::from(SENDERS)), LIMIT);
    for (sender, numbers) in by_sender(&records) {
        let mut expected = 0;
        for number in numbers {
            assert!(number <= expected, "{sender}: {number} before {expected}");
            expected = expected.max(number + 1);
        }
        assert_eq!(expected, next, "{sender} is complete");
    }
}

#[test]
fn what_is_held_for_too_long_becomes_a_dead_letter() {
    let mut scene = scene("hold_for = \"3s\"");
    let mut session = scene.session();
    let (mut next, _) = park(&mut scene, &mut session);
    scene.bridge.wait_metric("fairlead_dead_letter_records", &[], 1.0, LIMIT);
    let end = next + 20;
    while next < end {
        round(&mut session, next);
        next += 1;
    }
    let sent = f64::from(next * u32::from(SENDERS));
    // All but what is inside librdkafka, which may still be delivered.
    let ended = |scene: &Scene| {
        let dead = scene.bridge.metric("fairlead_dead_lettered_messages_total", &[]);
        (dead, scene.bridge.metric(metric::DELIVERED, &[]) + dead)
    };
    scene.kafka.set_broker(LEADER, true);
    wait_until(LIMIT, "everything has ended", || ended(&scene).1 >= sent);
    let (dead, all) = ended(&scene);
    assert!((dead > 0.0, all) == (true, sent), "{dead} dead letters, {all} of {sent}");
    let listed = scene.bridge.command(&["dead-letter", "list"]);
    assert!(listed.output.contains(" held "), "it is listed");
    // What comes now goes straight again.
    scene.bridge.wait_metric_down("fairlead_parked_partitions", &[], 0.0, LIMIT);
    round(&mut session, next);
    scene.bridge.wait_metric(metric::DELIVERED, &[], sent - dead + f64::from(SENDERS), LIMIT);
    assert_eq!(scene.bridge.stop(LIMIT), 0);
}
