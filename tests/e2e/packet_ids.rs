//! Packet identifiers of QoS 2 over the end of the process: what PUBREC has said is not stored twice, and no new message
//! is taken for an old one.

use std::{fs, time::Duration};

use fairlead_tests::{
    Config, Connection, Fairlead, Kafka, Loadgen, Mosquitto, Proxy, Record, metric, pause, unique, wait_until, wire,
};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use serde_json::Value;

use crate::scene::{LIMIT, Scene, TOPIC};

/// QoS 2, and one shard for each of `cpus`.
fn exactly_once(config: Config, lines: &str, ack: &str, cpus: &str) -> Config {
    config.source(&format!("qos = 2\n{lines}")).engine(&format!("ack = \"{ack}\"\ncpus = {cpus}"))
}

fn config(scene: &Scene, lines: &str, ack: &str, cpus: &str) -> Config {
    exactly_once(Config::new(&scene.broker.url(), scene.kafka.brokers(), TOPIC), lines, ack, cpus)
}

/// Sends a message of QoS 2 again.
fn again(session: &mut Connection, id: u16, payload: &[u8]) {
    session.send(&wire::publish_with(session.level, b"ais/1", 4 | wire::DUP, id, &[], payload));
}

/// Messages that this life of the bridge took in: a repetition is none. What the spool had at a crash may be in Kafka
/// twice, so that does not tell.
fn taken_in(scene: &Scene) -> f64 {
    scene.bridge.metric(metric::RECEIVED, &[])
}

/// Waits until these are in Kafka, and nothing else.
#[track_caller]
fn wait_values(scene: &Scene, expected: &[&str]) {
    let mut values = Vec::new();
    wait_until(LIMIT, "all values are in Kafka", || {
        values = scene.kafka.consume(TOPIC).iter().map(Record::text).collect();
        values.sort_unstable();
        values.dedup();
        values.len() >= expected.len()
    });
    assert_eq!(values, expected);
}

/// SIGKILL and restart; the broker keeps the session.
#[track_caller]
fn killed(scene: &mut Scene, session: Connection) -> Connection {
    scene.bridge.process().kill();
    drop(session);
    scene.bridge.restart();
    scene.resumed()
}

/// A9, A10. That PUBREC was read by nobody, or left just before the crash, is the same to the broker: it sends again.
#[test]
fn a_message_is_stored_once_wherever_the_exchange_is_cut() {
    for (version, ack) in [("5", "durable"), ("3.1.1", "durable"), ("5", "spool")] {
        let lines = format!("version = \"{version}\"");
        let mut scene = Scene::with(|new| exactly_once(new, &lines, ack, "[0]"));
        let mut session = scene.session();
        scene.bridge.wait_ready(LIMIT);
        session.publish("ais/1", 2, 7, b"one");
        session.expect_id(wire::PUBREC, 7);
        // PUBREC did not arrive.
        let mut session = killed(&mut scene, session);
        again(&mut session, 7, b"one");
        session.expect_id(wire::PUBREC, 7);
        assert_eq!(taken_in(&scene), 0.0);
        // PUBREC did, PUBREL did not.
        let mut session = killed(&mut scene, session);
        session.send(&wire::acknowledge(wire::PUBREL, 7));
        session.expect_id(wire::PUBCOMP, 7);
        // The next message under this identifier was on its way: it is none of the old.
        let mut session = killed(&mut scene, session);
        again(&mut session, 7, b"two");
        session.expect_id(wire::PUBREC, 7);
        session.send(&wire::acknowledge(wire::PUBREL, 7));
        session.expect_id(wire::PUBCOMP, 7);
        assert_eq!(taken_in(&scene), 1.0);
        wait_values(&scene, &["one", "two"]);
        assert_eq!(scene.bridge.stop(LIMIT), 0);
    }
}

#[test]
fn a_session_finds_its_identifiers_with_another_number_of_shards() {
    let mut scene = Scene::with(|new| exactly_once(new, "", "durable", "[0, 1]"));
    let mut session = scene.session();
    scene.bridge.wait_ready(LIMIT);
    for (id, cpus) in [(3, "[0]"), (4, "[0, 1]"), (5, "[1]")] {
        session.publish("ais/1", 2, id, id.to_string().as_bytes());
        session.expect_id(wire::PUBREC, id);
        scene.bridge.process().kill();
        drop(session);
        let next = config(&scene, "", "durable", cpus);
        scene.bridge.restart_with(&next);
        session = scene.resumed();
        for open in 3..=id {
            again(&mut session, open, open.to_string().as_bytes());
            session.expect_id(wire::PUBREC, open);
        }
        assert_eq!(taken_in(&scene), 0.0);
    }
    wait_values(&scene, &["3", "4", "5"]);
    assert_eq!(scene.bridge.stop(LIMIT), 0);
}

/// A6, [3.2.2-5]: the broker has lost the session, and what was open in it says nothing of the next one.
#[test]
fn a_lost_session_takes_its_identifiers_with_it() {
    let mut scene = Scene::with(|new| exactly_once(new, "", "durable", "[0]"));
    let mut session = scene.session();
    session.publish("ais/1", 2, 7, b"one");
    session.expect_id(wire::PUBREC, 7);
    scene.bridge.process().kill();
    drop(session);
    scene.bridge.restart();
    drop(scene.session());
    let mut session = scene.resumed();
    again(&mut session, 7, b"another");
    session.expect_id(wire::PUBREC, 7);
    wait_values(&scene, &["another", "one"]);
}

/// A7, [3.2.2-4]: the spool was wiped. One run without it says that duplicates are taken.
#[test]
fn wiped_identifiers_are_an_error_until_someone_decides() {
    let mut scene = Scene::with(|new| exactly_once(new, "", "durable", "[0]"));
    let session = scene.session();
    scene.bridge.wait_ready(LIMIT);
    assert_eq!(scene.bridge.stop(LIMIT), 0);
    drop(session);
    let spool = scene.bridge.folder().join("fairlead/spool");
    fs::remove_dir_all(&spool).unwrap();
    scene.bridge.restart();
    let mut refused = scene.broker.accept(LIMIT);
    refused.send(&wire::connack(refused.level, true, 0));
    assert_eq!(refused.expect_close(), Some(0), "a DISCONNECT");
    scene.bridge.wait_unready("packet ids", LIMIT);
    scene.bridge.wait_log("run once with ack", LIMIT);
    scene.bridge.process().kill();
    // What it tried meanwhile.
    while scene.broker.try_accept().is_some() {}

    for ack in ["kafka", "durable"] {
        let next = config(&scene, "", ack, "[0]");
        scene.bridge.restart_with(&next);
        let mut session = scene.resumed();
        scene.bridge.wait_log("messages in flight then may come twice", LIMIT);
        again(&mut session, 9, ack.as_bytes());
        session.expect_id(wire::PUBREC, 9);
        session.send(&wire::acknowledge(wire::PUBREL, 9));
        session.expect_id(wire::PUBCOMP, 9);
        scene.bridge.wait_ready(LIMIT);
        assert_eq!(scene.bridge.stop(LIMIT), 0);
    }
    wait_values(&scene, &["durable", "kafka"]);
}

/// What an earlier process left in the spool is old once another has run without it.
#[test]
fn identifiers_from_before_a_run_without_the_spool_are_not_believed() {
    let mut scene = Scene::with(|new| exactly_once(new, "", "durable", "[0]"));
    let mut session = scene.session();
    scene.bridge.wait_ready(LIMIT);
    session.publish("ais/1", 2, 7, b"one");
    session.expect_id(wire::PUBREC, 7);
    scene.bridge.process().kill();
    drop(session);
    let kafka = config(&scene, "", "kafka", "[0]");
    scene.bridge.restart_with(&kafka);
    let mut session = scene.resumed();
    session.send(&wire::acknowledge(wire::PUBREL, 7));
    session.expect_id(wire::PUBCOMP, 7);
    scene.bridge.process().kill();
    drop(session);
    let durable = config(&scene, "", "durable", "[0]");
    scene.bridge.restart_with(&durable);
    let mut session = scene.resumed();
    again(&mut session, 7, b"two");
    session.expect_id(wire::PUBREC, 7);
    assert_eq!(taken_in(&scene), 1.0);
    wait_values(&scene, &["one", "two"]);
}

/// Records that each start found in the spool: what of them was delivered after the last cursor is sent again.
fn spooled(log: &str) -> u64 {
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let found = lines.filter(|line| line["message"] == "the spool holds records for Kafka");
    found.map(|line| line["fields"]["records"].as_u64().expect("a number")).sum()
}

/// Twice come only messages that were in flight without a PUBREC, and those that lay in the spool at a crash.
#[test]
#[ignore = "real brokers: tests/run"]
fn kills_under_load_at_qos_2() {
    const KILLS: u64 = 8;
    const RUN: u32 = 11;
    let seed = std::env::var("FAIRLEAD_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random);
    println!("FAIRLEAD_SEED={seed}");
    let mut random = SmallRng::seed_from_u64(seed);
    let (kafka, topic) = (Kafka::shared(), unique("packet-ids"));
    kafka.create_topic(&topic, 3, &[]);
    let mosquitto = Mosquitto::start_with("allow_anonymous true\nmax_queued_messages 0\n");
    let proxy = Proxy::tapped(mosquitto.port(), RUN);
    let new = Config::new(&proxy.url(), kafka.brokers(), &topic);
    let mut bridge = Fairlead::ready(&exactly_once(new, "receive_maximum = 50", "durable", "[0]"));
    let run = RUN.to_string();
    let load = ["--fleet", "100", "--rate", "1000", "--qos", "2", "--run-id", &run];
    let mut publisher = Loadgen::publish(&mosquitto.url(), &load);
    for _ in 0..KILLS {
        bridge.wait_metric(metric::DELIVERED, &[], 100.0, LIMIT);
        // A random moment under load: the span is the fault itself, no fact is waited for.
        pause(random.random_range(Duration::ZERO..Duration::from_millis(500)));
        bridge.process().kill();
        bridge.restart();
        bridge.wait_ready(LIMIT);
    }
    let sent = publisher.stop(LIMIT)["sent"].as_u64().unwrap();
    wait_until(LIMIT * 6, "everything is in Kafka and acknowledged", || {
        kafka.count(&topic) >= sent && proxy.tap().is_at_rest() && bridge.is_at_rest()
    });
    assert_eq!(bridge.stop(LIMIT), 0);
    let tap = proxy.tap();
    assert_eq!((tap.unknown, tap.out_of_order), (0, 0));
    assert!(tap.redelivered > 0, "the kills met messages in flight");
    let (again, spooled) = (tap.redelivered - tap.repeated, spooled(&bridge.log()));
    println!("sent {sent}, sent again {again}, and {} after PUBREC; in the spool {spooled}", tap.repeated);
    let report = publisher.verify(kafka, &topic, again + spooled);
    println!("duplicates {}", report["duplicates"]);
}
