//! What happens to the process: a thread that panics, no memory, a wall clock that is wrong.

use std::{process::Command, time::Duration};

use fairlead_tests::{
    Config, Connection, EvilBroker, Fairlead, Kafka, Loadgen, Process, Record, Scratch, WallClock, get, metric, now,
    pause, unique, wait_until, wall, wire,
};

use crate::{
    load::config_with,
    scene::{LIMIT, Scene},
};

/// Longest flood of a test.
const FLOOD: Duration = Duration::from_secs(120);
/// A process that ends itself (`SIGABRT`).
const ABORTED: i32 = -6;
/// Time since the start.
const UPTIME: &str = "fairlead_uptime_seconds";
const HOUR: i64 = 3600;
const YEAR: i64 = 365 * 24 * HOUR;

/// The kernel answers one thread's next wait for its sockets with an error that has no reason, and the executor panics:
/// nothing in the program is there for this test.
#[test]
#[ignore = "real brokers: tests/run"]
fn a_panic_of_one_shard_is_the_end_of_the_process() {
    let mut scene = Scene::with(|config| config.engine("cpus = [0, 1]"));
    let mut session = scene.session();
    session.publish("ais/1", 1, 1, b"before");
    session.expect_id(wire::PUBACK, 1);
    let shard = scene.bridge.process().thread("shard-1").expect("the second shard").to_string();
    let folder = Scratch::new("strace");
    let mut strace = Process::command("strace");
    strace.args(["-p", &shard, "-e", "inject=epoll_wait,epoll_pwait:error=EBADF", "-o", "/dev/null"]);
    let _strace = Process::spawn("strace", strace, &folder.path().join("log"));
    scene.bridge.wait_log("panicked", LIMIT);
    let start = now();
    assert_eq!(scene.bridge.process().wait(LIMIT), ABORTED);
    // The panic's backtrace is written first.
    assert!(now() - start < Duration::from_secs(10), "a bridge without a shard lives on");
    let log = scene.bridge.log();
    assert!(log.contains("'shard-1'") && log.matches("panicked").count() == 1, "that shard, and no other: {log}");
    // As after any crash.
    scene.bridge.restart();
    let mut session = scene.resumed();
    session.publish("ais/1", 1, 2, b"after");
    session.expect_id(wire::PUBACK, 2);
    assert_eq!(scene.values(2), ["after", "before"]);
    assert_eq!(scene.bridge.stop(LIMIT), 0);
}

/// `VmSize` of a process, bytes.
fn address_space(process: &Process) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmSize:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// Ends a bridge that may have ended already for want of memory: with words, or by aborting, and never by touching what is
/// not there.
#[track_caller]
fn end(bridge: &mut Fairlead, limit: &str) {
    let Some(status) = bridge.process().ended() else { return bridge.process().kill() };
    println!("{limit}: {status}");
    let code = bridge.process().wait(LIMIT);
    assert!(code > 0 || code == ABORTED, "{limit}: {status}\n{}", bridge.log());
}

/// Waits until it delivers, or has ended.
#[track_caller]
fn wait_lives_or_ends(bridge: &mut Fairlead) {
    let delivers = |line: &str| line.starts_with(metric::DELIVERED) && !line.ends_with(" 0");
    wait_until(LIMIT, "the bridge delivers or ends", || {
        bridge.process().ended().is_some()
            || get(bridge.admin(), "/metrics").is_some_and(|answer| answer.body.lines().any(delivers))
    });
}

#[test]
#[ignore = "real brokers: tests/run"]
fn want_of_memory_is_a_crash_like_any_other() {
    let kafka = Kafka::start();
    kafka.create_topic("ais", 9, &[]);
    let mut firehose = Loadgen::firehose(&["--seconds", "600", "--rate", "15000", "--size", "500"]);
    let config = config_with(firehose.url(), &kafka, "ais", "durable");
    // Segments that come and go quickly: each is mapped.
    let config = config.source("receive_maximum = 20000\nmax_packet = \"1MiB\"").spool("segment = \"4MiB\"");
    let mut bridge = Fairlead::start(&config);
    bridge.wait_metric(metric::DELIVERED, &[], 50_000.0, LIMIT);
    bridge.process().kill();
    // From too little to start with to enough.
    for mebibytes in [32, 64, 128, 192, 256, 288, 320, 352, 384] {
        let limit = format!("--as={}", mebibytes << 20);
        bridge.restart_under(&["prlimit", &limit]);
        wait_lives_or_ends(&mut bridge);
        end(&mut bridge, &limit);
    }
    // Nothing more than a little, from one moment to the next, while all is kept that comes.
    for mebibytes in [0, 1, 4, 16] {
        bridge.restart();
        bridge.wait_metric(metric::DELIVERED, &[], 1.0, LIMIT);
        kafka.freeze();
        let process = bridge.process();
        process.limit(&format!("--as={}", address_space(process) + (mebibytes << 20)));
        pause(Duration::from_secs(1));
        kafka.thaw();
        wait_lives_or_ends(&mut bridge);
        end(&mut bridge, "under load");
    }
    let verified = bridge.command(&["spool", "verify", "--deep"]);
    assert!(verified.code <= 1, "no more than a torn tail: {}", verified.output);
    bridge.restart();
    bridge.wait_ready(LIMIT);
    firehose.stop(LIMIT);
    wait_until(FLOOD, "everything is in Kafka", || bridge.is_at_rest());
    assert_eq!(bridge.stop(LIMIT), 0);
    firehose.verify_acknowledged(&kafka, "ais");
}

/// Messages with these identifiers come and are acknowledged.
#[track_caller]
fn acknowledged(session: &mut Connection, ids: std::ops::Range<u16>) {
    for id in ids.clone() {
        session.publish("ais/1", 1, id, format!("{id:03}").as_bytes());
    }
    ids.for_each(|id| session.expect_id(wire::PUBACK, id));
}

/// Whatever the wall clock says and does, time goes on as ever; a record carries what it said when the message came or went.
fn wall_clock(ahead: i64) {
    let clock = WallClock::new(ahead);
    let wrapper = clock.wrapper();
    let mut scene = Scene::under(&wrapper.each_ref().map(String::as_str), |config| {
        let config = config.kafka("properties = { \"reconnect.backoff.max.ms\" = \"500\" }");
        config.engine("cpus = [0]\nack = \"durable\"")
    });
    let mut session = scene.take_kafka_down();
    acknowledged(&mut session, 2..100);
    // Set right in the middle of an outage, and wrong again.
    clock.set(0);
    acknowledged(&mut session, 100..200);
    // The shards look at that clock every second.
    let uptime = scene.bridge.metric(UPTIME, &[]);
    scene.bridge.wait_metric(UPTIME, &[], uptime + 3.0, LIMIT);
    scene.kafka.come_up();
    let back = now();
    scene.records(199);
    scene.bridge.wait_metric_down("fairlead_lane_mode", &[], 0.0, LIMIT);
    println!("{ahead} s ahead: drained in {:?}", now() - back);
    clock.set(ahead);
    acknowledged(&mut session, 200..300);
    let records = scene.records(299);
    let mut values: Vec<String> = records.iter().map(Record::text).collect();
    values.sort_unstable();
    let expected: Vec<String> = (2..300).map(|id| format!("{id:03}")).chain(["first".to_owned()]).collect();
    assert_eq!(values, expected, "nothing is lost or doubled");
    for record in records {
        let time = record.timestamp.expect("a timestamp");
        let is_shown = |ahead: i64| (time - wall() - ahead * 1000).abs() < 600_000;
        assert!(is_shown(0) || is_shown(ahead), "{} has the time {time}", record.text());
    }
    assert_eq!(scene.bridge.stop(LIMIT), 0);
}

#[test]
fn a_wall_clock_that_is_behind_stops_nothing() {
    wall_clock(-HOUR);
}

#[test]
fn a_wall_clock_that_is_far_ahead_stops_nothing() {
    wall_clock(10 * YEAR);
}

#[test]
fn a_wall_clock_that_was_never_set_stops_nothing() {
    wall_clock(60 - wall() / 1000);
}

/// Kafka refuses what comes from the future (`message.timestamp.after.max.ms`, an hour by default from 4.0 on). That is no
/// fault of the messages: they wait until the clock is right.
#[test]
#[ignore = "real brokers: tests/run"]
fn a_time_that_kafka_refuses_is_a_hold_until_the_clock_is_right() {
    let kafka = Kafka::shared();
    let clock = WallClock::new(10 * YEAR);
    let wrapper = clock.wrapper();
    let start = |ack: &str| {
        let (topic, broker) = (unique("future"), EvilBroker::start());
        kafka.create_topic(&topic, 3, &[("message.timestamp.after.max.ms", "3600000")]);
        let config = Config::new(&broker.url(), kafka.brokers(), &topic);
        let config = config.engine(&format!("cpus = [0]\nack = \"{ack}\""));
        let bridge = Fairlead::start_under(&wrapper.each_ref().map(String::as_str), &config);
        let mut session = broker.accept_session(false, LIMIT);
        for id in 1..=100 {
            session.publish("ais/1", 1, id, format!("{id:03}").as_bytes());
        }
        wait_until(LIMIT, "the reason is told", || bridge.get("/readyz").body.contains("set this machine's clock"));
        (topic, bridge, session)
    };
    let bridges = ["durable", "kafka"].map(start);
    clock.set(0);
    for (topic, mut bridge, mut session) in bridges {
        (1..=100).for_each(|id| session.expect_id(wire::PUBACK, id));
        let records = kafka.records(&topic, 100, LIMIT);
        let values: Vec<String> = records.iter().map(Record::text).collect();
        assert_eq!(values, (1..=100).map(|id| format!("{id:03}")).collect::<Vec<_>>(), "once, in order");
        assert_eq!(bridge.metric(metric::DEAD_LETTERED, &[]) + bridge.metric(metric::DROPPED, &[]), 0.0);
        assert_eq!(bridge.stop(LIMIT), 0);
    }
}

/// What is measured is what the tests above rely on.
#[test]
fn the_wall_clock_of_one_process_can_be_set() {
    let clock = WallClock::new(10 * YEAR);
    let told = || {
        let [program, preload, shift] = clock.wrapper();
        let output = Command::new(program).args([&preload, &shift, "date", "+%s"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().parse::<i64>().unwrap()
    };
    assert!((told() - wall() / 1000 - 10 * YEAR).abs() < 60);
    clock.set(0);
    assert!((told() - wall() / 1000).abs() < 60);
}
