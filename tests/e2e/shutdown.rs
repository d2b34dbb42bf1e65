//! SIGTERM and SIGINT: stop reading, let what is in flight arrive, acknowledge it, say the ledger, go.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    time::Duration,
};

use fairlead_tests::{Config, Fairlead, Kafka, Loadgen, Process, free_port, metric, now, unique, wait_until, wire};
use rustix::process::Signal;

use crate::{
    load::config,
    scene::{LIMIT, Scene},
};

/// The line "total" of the ledger that is printed at the end: received, recovered, delivered, dead-lettered, dropped,
/// suppressed, pending.
fn ledger_total(log: &str) -> Vec<u64> {
    let total = log.lines().rfind(|line| line.trim_start().starts_with("total")).unwrap_or_default();
    total.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

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
        assert_eq!(ledger_total(&log), [1, 0, 1, 0, 0, 0, 0], "{log}");
    }
}

/// A listening port whose queue is full, with what fills it: a further SYN is not answered.
fn deaf_port() -> (u16, TcpListener, Vec<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let address = listener.local_addr().unwrap();
    let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(200)).ok();
    let waiting: Vec<TcpStream> = std::iter::from_fn(connect).take(16).collect();
    assert!(waiting.len() < 16, "a queue that does not fill");
    (address.port(), listener, waiting)
}

#[test]
fn dialling_does_not_hold_up_the_end() {
    let (port, _listener, _waiting) = deaf_port();
    let url = format!("mqtt://127.0.0.1:{port}");
    let mut bridge = Fairlead::start(&Config::new(&url, &format!("127.0.0.1:{}", free_port()), "ais"));
    // Remote address and state SYN_SENT, as proc_net_tcp(5) writes them.
    let dialling = format!(" 0100007F:{port:04X} 02 ");
    let is_dialling = || fs::read_to_string("/proc/net/tcp").unwrap().contains(&dialling);
    wait_until(LIMIT, "the bridge dials", is_dialling);
    let start = now();
    assert_eq!(bridge.stop(LIMIT), 0);
    assert!(now() - start < Duration::from_secs(8), "the end took {:?}", now() - start);
}

#[test]
fn drain_has_an_end_and_what_is_left_is_no_error() {
    let (mut scene, mut session) = Scene::with_kafka_down(|config| config.engine("drain = \"1s\""));
    for id in 1..=10 {
        session.publish("ais/1", 1, id, b"held");
    }
    scene.bridge.wait_metric(metric::RECEIVED, &[], 11.0, LIMIT);
    let start = now();
    let code = scene.bridge.stop(LIMIT);
    let took = now() - start;
    let log = scene.bridge.log();
    assert_eq!(code, 0, "nothing of what is left was acknowledged: {log}");
    assert!(took >= Duration::from_millis(900) && took < Duration::from_secs(10), "the drain took {took:?}");
    assert_eq!(ledger_total(&log), [11, 0, 1, 0, 0, 0, 10], "{log}");
}

#[test]
fn second_signal_ends_at_once() {
    let (mut scene, mut session) = Scene::with_kafka_down(|config| config.engine("drain = \"60s\""));
    session.publish("ais/1", 1, 1, b"held");
    scene.bridge.wait_metric(metric::RECEIVED, &[], 2.0, LIMIT);
    scene.bridge.process().terminate();
    session.expect_silence(Duration::from_millis(500));
    assert!(scene.bridge.process().ended().is_none(), "it waits for what is in flight");
    let start = now();
    scene.bridge.process().terminate();
    assert_eq!(scene.bridge.process().wait(LIMIT), 130);
    assert!(now() - start < Duration::from_secs(10), "at once");
}

#[test]
fn memory_acknowledgement_that_is_lost_at_exit_is_an_error() {
    let (mut scene, mut session) = Scene::with_kafka_down(|config| config.engine("ack = \"memory\"\ndrain = \"1s\""));
    session.publish("ais/1", 1, 2, b"lost");
    session.expect_id(wire::PUBACK, 2);
    assert_eq!(scene.bridge.stop(LIMIT), 1);
    let log = scene.bridge.log();
    assert_eq!(ledger_total(&log), [2, 0, 1, 0, 1, 0, 0], "acknowledged and pending at the end is a drop: {log}");
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
