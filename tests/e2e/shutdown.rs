//! SIGTERM and SIGINT: stop reading, let what is in flight arrive, acknowledge it, say the ledger, go.

use std::time::Duration;

use fairlead_tests::{Fairlead, Kafka, Loadgen, Process, metric, now, unique, wire};
use rustix::process::Signal;

use crate::{
    load::config,
    scene::{LIMIT, Scene},
};

#[test]
fn idle_bridge_says_goodbye() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut scene = Scene::new("version = \"5\"");
        let mut session = scene.session();
        session.publish("ais/1", 1, 1, b"last");
        session.expect_id(wire::PUBACK, 1);
        scene.bridge.process().signal(signal);
        assert_eq!(session.expect_close(), Some(0), "DISCONNECT with reason 0");
        assert_eq!(scene.bridge.process().wait(LIMIT), 0);
        let log = scene.bridge.log();
        assert!(log.contains("ledger") && log.contains("received"), "the ledger is printed:\n{log}");
    }
}

#[test]
fn drain_has_an_end_and_what_is_left_is_no_error() {
    let mut scene = Scene::without_topic(|config| config.engine("drain = \"1s\""));
    let mut session = scene.session();
    for id in 1..=10 {
        session.publish("ais/1", 1, id, b"held");
    }
    scene.bridge.wait_metric(metric::RECEIVED, &[], 10.0, LIMIT);
    let start = now();
    let code = scene.bridge.stop(LIMIT);
    let took = now() - start;
    assert_eq!(code, 0, "nothing of it was acknowledged");
    assert!(took >= Duration::from_millis(900) && took < Duration::from_secs(10), "the drain took {took:?}");
    assert!(scene.bridge.log().contains("10"), "what is left is said");
}

#[test]
fn second_signal_ends_at_once() {
    let mut scene = Scene::without_topic(|config| config.engine("drain = \"60s\""));
    let mut session = scene.session();
    session.publish("ais/1", 1, 1, b"held");
    scene.bridge.wait_metric(metric::RECEIVED, &[], 1.0, LIMIT);
    scene.bridge.process().terminate();
    session.expect_silence(Duration::from_millis(500));
    assert!(scene.bridge.process().ended().is_none(), "it waits for what is in flight");
    let start = now();
    scene.bridge.process().terminate();
    assert_eq!(scene.bridge.process().wait(LIMIT), 130);
    assert!(now() - start < Duration::from_secs(2), "at once");
}

#[test]
fn memory_acknowledgement_that_is_lost_at_exit_is_an_error() {
    let mut scene = Scene::without_topic(|config| config.engine("ack = \"memory\"\ndrain = \"1s\""));
    let mut session = scene.session();
    session.publish("ais/1", 1, 1, b"lost");
    session.expect_id(wire::PUBACK, 1);
    assert_eq!(scene.bridge.stop(LIMIT), 1);
    assert!(scene.bridge.log().contains("shutdown"), "the reason of the drop is said");
}

#[test]
#[ignore = "real brokers: tests/run"]
fn stop_under_load_loses_and_doubles_nothing() {
    let kafka = Kafka::shared();
    let topic = unique("shutdown");
    kafka.create_topic(&topic, 9, &[]);
    let mut firehose = Loadgen::firehose(&["--messages", "300000", "--rate", "50000"]);
    let mut bridge = Fairlead::start(&config(firehose.url(), kafka, &topic));
    for part in 1..=3 {
        bridge.wait_metric(metric::DELIVERED, &[], 50_000.0, LIMIT);
        assert_eq!(bridge.stop(Duration::from_secs(40)), 0, "stop {part}");
        bridge.restart();
    }
    let result = firehose.succeed(Duration::from_secs(60));
    assert_eq!(bridge.stop(LIMIT), 0);
    assert_eq!(result["acks_unknown"], 0);
    firehose.verify(kafka, &topic, 0);
    // What was read is acknowledged before the end, so nothing comes again.
    assert_eq!(kafka.count(&topic), 300_000, "duplicates after an orderly stop");
}

#[test]
fn signals_of_other_kinds_do_no_harm() {
    let mut scene = Scene::new("");
    let mut session = scene.session();
    scene.bridge.wait_ready(LIMIT);
    scene.bridge.process().signal(Signal::PIPE);
    Process::freeze(scene.bridge.process());
    session.publish("ais/1", 1, 1, b"while frozen");
    Process::thaw(scene.bridge.process());
    session.expect_id(wire::PUBACK, 1);
    assert_eq!(scene.values(1), ["while frozen"]);
}
