//! Three brokers of Kafka, of which some go.

use std::time::Duration;

use fairlead_tests::{
    Client, Config, Fairlead, Kafka, KafkaCluster, Loadgen, Mosquitto, during, metric, now, unique, wait_until,
};

use crate::{
    load::{asked, config_with, finish},
    scene::LIMIT,
};

/// Longest wait for a broker that starts on a busy machine.
const START: Duration = Duration::from_secs(120);
/// How often a leader goes.
const CHANGES: usize = 3;
/// Partitions, and messages a second.
const PARTITIONS: i32 = 9;
const RATE: &str = "5000";
/// What a confirmed record is to survive the loss of a broker with.
const SAFE: &[(&str, &str)] = &[("min.insync.replicas", "2")];

fn in_sync(cluster: &KafkaCluster, replicas: usize) -> bool {
    cluster.leaders("ais").is_some_and(|leaders| leaders.iter().all(|(leader, isr)| *leader > 0 && *isr == replicas))
}

/// Waits until so many more messages were delivered.
#[track_caller]
fn more(bridge: &Fairlead, messages: f64) {
    let before = bridge.metric(metric::DELIVERED, &[]);
    bridge.wait_metric(metric::DELIVERED, &[], before + messages, START);
}

/// Leaders stop in good order under load, and at last two of three brokers are killed, so that too few replicas are left:
/// that is an outage.
#[test]
#[ignore = "real brokers: tests/run"]
fn leaders_that_go_under_load_lose_and_double_nothing() {
    let mut cluster = KafkaCluster::start();
    cluster.create_replicated("ais", PARTITIONS, 3, SAFE);
    let mut firehose = Loadgen::firehose(&["--seconds", "600", "--rate", RATE]);
    let mut bridge = Fairlead::start(&config_with(firehose.url(), &cluster, "ais", "durable"));
    more(&bridge, 10_000.0);
    for change in 1..=CHANGES {
        let (leader, _) = cluster.leaders("ais").expect("Kafka answers")[0];
        let start = now();
        cluster.stop(leader);
        let stopped = now();
        more(&bridge, 10_000.0);
        cluster.restart(leader);
        wait_until(START, "all replicas are in sync", || in_sync(&cluster, 3));
        println!("change {change}: broker {leader} stopped in {:?}, back {:?} later", stopped - start, now() - stopped);
    }
    let (leader, _) = cluster.leaders("ais").expect("Kafka answers")[0];
    let others: Vec<i32> = (1..=3).filter(|broker| *broker != leader).collect();
    others.iter().for_each(|broker| cluster.kill(*broker));
    let before = bridge.metric("fairlead_spool_appended_records_total", &[]);
    bridge.wait_metric("fairlead_spool_appended_records_total", &[], before + 10_000.0, START);
    others.iter().for_each(|broker| cluster.restart(*broker));
    wait_until(START, "all replicas are in sync", || in_sync(&cluster, 3));
    bridge.wait_metric_down("fairlead_lane_mode", &[], 0.0, START);
    finish(&mut firehose, &mut bridge, &cluster, "ais", START);
}

/// One of nine partitions has no leader for `FAIRLEAD_LEADERLESS` seconds.
#[test]
#[ignore = "real brokers: tests/run"]
fn a_partition_without_a_leader_holds_up_no_other() {
    const RATE: f64 = 5_000.0;
    const PAUSE: Duration = Duration::from_secs(10);
    let seconds = asked("FAIRLEAD_LEADERLESS", 15);
    let mut cluster = KafkaCluster::start();
    cluster.create_assigned("ais", &[3, 1, 2, 1, 2, 1, 2, 1, 2]);
    let mut firehose = Loadgen::firehose(&["--seconds", "3600", "--rate", &RATE.to_string()]);
    let config = config_with(firehose.url(), &cluster, "ais", "durable").kafka("stuck = \"2s\"");
    let mut bridge = Fairlead::start(&config);
    more(&bridge, 10_000.0);
    cluster.kill(3);
    bridge.wait_metric("fairlead_parked_partitions", &[], 1.0, START);
    bridge.wait_metric_down("fairlead_lane_mode", &[], 0.0, START);
    let (start, before) = (now(), bridge.metric(metric::DELIVERED, &[]));
    let (mut last, mut longest) = ((start, before), Duration::ZERO);
    during(Duration::from_secs(seconds), || {
        let delivered = bridge.metric(metric::DELIVERED, &[]);
        longest = longest.max(now() - last.0);
        if delivered > last.1 {
            last = (now(), delivered);
        }
    });
    let each_second = (last.1 - before) / (now() - start).as_secs_f64();
    println!("{each_second:.0} msg/s to eight of nine partitions, {longest:?} at most without one");
    assert!(longest < PAUSE, "{longest:?} without a message for the others");
    // They lag behind by no more than the time that this leaves them.
    bridge.wait_metric(metric::DELIVERED, &[], before + 0.75 * RATE * seconds as f64, LIMIT / 3);
    cluster.restart(3);
    bridge.wait_metric_down("fairlead_parked_partitions", &[], 0.0, START + Duration::from_secs(seconds));
    finish(&mut firehose, &mut bridge, &cluster, "ais", START);
}

/// A topic whose confirmation is worth little is told at the start; nothing else is wrong with it.
#[test]
#[ignore = "real brokers: tests/run"]
fn a_confirmation_that_one_broker_can_undo_is_warned_about() {
    let (kafka, mosquitto) = (Kafka::shared(), Mosquitto::start());
    let topic = unique("fragile");
    kafka.create_topic(&topic, 1, &[]);
    let mut bridge = Fairlead::ready(&Config::new(&mosquitto.url(), kafka.brokers(), &topic));
    bridge.wait_metric("fairlead_durability_degraded", &[], 1.0, LIMIT);
    bridge.wait_log("the loss of one broker can lose confirmed records", LIMIT);
    let status: serde_json::Value = serde_json::from_str(&bridge.get("/status").body).expect("JSON");
    assert_eq!((&status["topics"][0]["fragile"], &status["well"]), (&true.into(), &true.into()), "{status}");
    Client::connect(mosquitto.port(), "vessel").publish("ais/1", 1, b"delivered all the same");
    bridge.wait_metric(metric::DELIVERED, &[], 1.0, LIMIT);
    assert_eq!(bridge.stop(LIMIT), 0);
}
