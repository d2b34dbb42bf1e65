//! The spool beside the line: an outage of Kafka is not an outage of Fairlead.

use std::{fs, time::Duration};

use fairlead_tests::{
    Client, Config, Fairlead, Kafka, Loadgen, Mosquitto, Record, during, metric, now, pause, wait_until,
};
use rand::{Rng, SeedableRng, rngs::SmallRng};

use crate::{
    load::{asked, config_with},
    scene::{LIMIT, Scene},
};

/// Longest flood of a test.
const FLOOD: Duration = Duration::from_secs(120);
/// How often the bridge is killed.
const KILLS: usize = 8;

fn values(records: &[Record]) -> Vec<String> {
    records.iter().map(Record::text).collect()
}

/// Waits until Kafka has everything that lies in the spool.
fn wait_drained(bridge: &Fairlead) {
    wait_until(FLOOD, "the spool is drained", || bridge.metric(metric::SPOOL_RECORDS, &[]) == 0.0);
}

/// A broker sends at line rate once it is subscribed to, and a slow disk needs seconds for a segment.
#[test]
fn segments_are_ready_before_the_first_connection() {
    let scene = Scene::with(|config| config.source("qos = 2").engine("ack = \"durable\"\ncpus = [0]"));
    let _connection = scene.broker.accept(LIMIT);
    for log in ["shard-00", "ids-00"] {
        let folder = scene.bridge.folder().join("fairlead/spool").join(log);
        let files = fs::read_dir(&folder).unwrap().map(|file| file.unwrap().file_name());
        let segments = files.filter(|name| name.to_string_lossy().starts_with("seg-")).count();
        assert_eq!(segments, 1, "in {}", folder.display());
    }
}

/// Freezes Kafka, and counts what the bridge takes from the broker for so many seconds.
fn flowed_while_frozen(kafka: &Kafka, bridge: &mut Fairlead, seconds: u64) -> f64 {
    let before = bridge.process().rss_anon();
    kafka.freeze();
    let (mut most, received) = (0, bridge.metric(metric::RECEIVED, &[]));
    during(Duration::from_secs(seconds), || most = most.max(bridge.process().rss_anon()));
    let flowed = bridge.metric(metric::RECEIVED, &[]) - received;
    println!("while frozen: {flowed} messages, memory {} MiB before, {} MiB at most", before >> 20, most >> 20);
    flowed
}

/// The flood goes on at its rate while Kafka is frozen for `FAIRLEAD_FREEZE` seconds and restarted once.
fn outage(ack: &str) {
    let (frozen, rate) = (asked("FAIRLEAD_FREEZE", 8), asked("FAIRLEAD_RATE", 30_000));
    let limit = FLOOD + Duration::from_secs(frozen);
    let mut kafka = Kafka::start();
    kafka.create_topic("ais", 9, &[]);
    let (seconds, rate_text) = ((frozen + frozen / 2 + 15).to_string(), rate.to_string());
    let flood = ["--seconds", &seconds, "--drain", "60", "--rate", &rate_text, "--window", "8192"];
    let mut firehose = Loadgen::firehose(&flood);
    let mut bridge = Fairlead::start(&config_with(firehose.url(), &kafka, "ais", ack));
    bridge.wait_metric(metric::DELIVERED, &[], 60_000.0, LIMIT);
    let flowed = flowed_while_frozen(&kafka, &mut bridge, frozen);
    assert!(flowed > 0.4 * (rate * frozen) as f64, "the broker is drained while Kafka is frozen");
    let (records, bytes) = (bridge.metric(metric::SPOOL_RECORDS, &[]), bridge.metric("fairlead_spool_bytes", &[]));
    println!("in the spool: {records} records, {:.0} bytes each", bytes / records);
    kafka.thaw();
    let (start, delivered) = (now(), bridge.metric(metric::DELIVERED, &[]));
    wait_until(limit, "the lane is direct again", || bridge.metric("fairlead_lane_mode", &[]) == 0.0);
    let drained = bridge.metric(metric::DELIVERED, &[]) - delivered;
    println!("drained {drained} messages at {:.0} a second", drained / (now() - start).as_secs_f64());
    kafka.kill();
    kafka.restart();
    let result = firehose.succeed(limit);
    assert_eq!((&result["connections"], &result["keep_alive_timeouts"]), (&1.into(), &0.into()), "no reconnect");
    bridge.wait_metric(metric::DELIVERED, &[], result["sent"].as_f64().unwrap(), limit);
    assert_eq!(bridge.stop(LIMIT), 0);
    firehose.verify(&kafka, "ais", 0);
    assert_eq!(kafka.count("ais"), result["sent"].as_u64().unwrap(), "no duplicate without a crash");
}

/// Stock mosquitto queues 1,000 messages beyond the window and drops what comes then.
fn outage_behind_stock_mosquitto(source: &str, rate: u64) {
    let (frozen, rate) = (asked("FAIRLEAD_FREEZE", 6), asked("FAIRLEAD_RATE", rate));
    let limit = FLOOD + Duration::from_secs(frozen);
    let kafka = Kafka::start();
    kafka.create_topic("ais", 9, &[]);
    let mosquitto = Mosquitto::start_with(
        "allow_anonymous true\nmax_inflight_messages 20\nmax_queued_messages 1000\nautosave_interval 1800\nsys_interval 1\n",
    );
    let config = Config::new(&mosquitto.url(), kafka.brokers(), "ais").source(&format!("sys = true\n{source}"));
    let mut bridge = Fairlead::ready(&config.engine("ack = \"durable\""));
    let (messages, rate_text) = ((rate * (frozen + 8)).to_string(), rate.to_string());
    // mosquitto 2.0 reads one packet of each connection in a turn. At its limit it thus takes four PUBLISH from four
    // publishers for each PUBACK, and drops; a single publisher is slowed to what it can take.
    let load =
        ["--clients", "1", "--fleet", "500", "--in-flight", "1000", "--rate", &rate_text, "--messages", &messages];
    let mut fleet = Loadgen::publish(&mosquitto.url(), &load);
    bridge.wait_metric(metric::DELIVERED, &[], 2.0 * rate as f64, LIMIT);
    let (start, before) = (now(), bridge.metric(metric::RECEIVED, &[]));
    bridge.wait_metric(metric::RECEIVED, &[], before + 2.0 * rate as f64, LIMIT);
    // What the generator and the broker can do on this machine, which need not be what was asked for.
    let pace = (2.0 * rate as f64 / (now() - start).as_secs_f64()).min(rate as f64);
    let flowed = flowed_while_frozen(&kafka, &mut bridge, frozen);
    assert!(flowed > 0.7 * pace * frozen as f64, "{flowed} messages while Kafka was frozen, {pace} a second before");
    kafka.thaw();
    let result = fleet.succeed(limit);
    bridge.wait_metric(metric::DELIVERED, &[], result["sent"].as_f64().expect("a number"), limit);
    // The broker tells it every second.
    let dropped = || bridge.metrics().sum(metric::BROKER_DROPPED, &[("source", "harbour")]);
    wait_until(LIMIT, "the broker tells what it dropped", || dropped().is_some());
    during(Duration::from_secs(2), || assert_eq!(dropped(), Some(0.0)));
    assert_eq!(bridge.stop(LIMIT), 0);
    fleet.verify(&kafka, "ais", 0);
}

#[test]
#[ignore = "real brokers: tests/run"]
fn stock_mosquitto_drops_nothing_in_an_outage() {
    outage_behind_stock_mosquitto("receive_maximum = 8192", 4_000);
}

#[test]
#[ignore = "real brokers: tests/run"]
fn stock_mosquitto_drops_nothing_in_an_outage_with_a_window_of_twenty() {
    outage_behind_stock_mosquitto("version = \"3.1.1\"", 500);
}

#[test]
#[ignore = "real brokers: tests/run"]
fn outage_is_absorbed_when_kafka_or_the_spool_acknowledges() {
    outage("durable");
}

#[test]
#[ignore = "real brokers: tests/run"]
fn outage_is_absorbed_when_the_spool_acknowledges() {
    outage("spool");
}

#[test]
#[ignore = "real brokers: tests/run"]
fn what_the_spool_acknowledged_survives_kills_and_an_outage() {
    let seed = std::env::var("FAIRLEAD_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(rand::random);
    println!("FAIRLEAD_SEED={seed}");
    let mut random = SmallRng::seed_from_u64(seed);
    let kafka = Kafka::start();
    kafka.create_topic("ais", 9, &[]);
    let mut firehose = Loadgen::firehose(&["--seconds", "600", "--rate", "30000"]);
    let mut bridge = Fairlead::start(&config_with(firehose.url(), &kafka, "ais", "durable"));
    bridge.wait_metric(metric::DELIVERED, &[], 1.0, LIMIT);
    for kill in 0..KILLS {
        if kill % 2 == 0 {
            kafka.freeze();
        }
        // A random moment of the life under load: the span is the fault itself, no fact is waited for.
        pause(random.random_range(Duration::ZERO..Duration::from_millis(1500)));
        bridge.process().kill();
        kafka.thaw();
        bridge.restart();
        bridge.wait_metric(metric::DELIVERED, &[], 1.0, LIMIT);
    }
    let result = firehose.stop(LIMIT);
    assert_eq!(bridge.stop(Duration::from_secs(60)), 0);
    assert_eq!((&result["acks_out_of_order"], &result["acks_unknown"]), (&0.into(), &0.into()));
    // What lies in the spool at the end is sent by the next process.
    bridge.restart();
    wait_drained(&bridge);
    assert_eq!(bridge.stop(Duration::from_secs(60)), 0);
    let report = firehose.verify_acknowledged(&kafka, "ais");
    println!("acknowledged {}, duplicates {}", report["acknowledged"], report["duplicates"]);
}

/// Each process has another number of shards, and finds a backlog of the one before.
#[test]
#[ignore = "real brokers: tests/run"]
fn another_number_of_shards_drains_what_the_old_ones_left_before_anything_new() {
    let kafka = Kafka::start();
    kafka.create_topic("ais", 9, &[]);
    let mut firehose = Loadgen::firehose(&["--seconds", "600", "--rate", "20000"]);
    let config = |cpus: &str| {
        let config = config_with(firehose.url(), &kafka, "ais", "durable");
        config.engine(&format!("cpus = {cpus}\nack = \"durable\""))
    };
    let (two, one) = (config("[0, 1]"), config("[0]"));
    let mut bridge = Fairlead::start(&two);
    bridge.wait_metric(metric::DELIVERED, &[], 1.0, LIMIT);
    for next in [&one, &two, &two, &one] {
        kafka.freeze();
        let before = bridge.metric("fairlead_spool_appended_records_total", &[]);
        bridge.wait_metric("fairlead_spool_appended_records_total", &[], before + 20_000.0, LIMIT);
        bridge.process().kill();
        bridge.restart_with(next);
        // What is new is taken although nothing drains.
        bridge.wait_metric("fairlead_spool_appended_records_total", &[], 10_000.0, LIMIT);
        kafka.thaw();
        bridge.wait_metric(metric::DELIVERED, &[], 1.0, LIMIT);
    }
    let result = firehose.stop(LIMIT);
    assert_eq!((&result["acks_out_of_order"], &result["acks_unknown"]), (&0.into(), &0.into()));
    wait_drained(&bridge);
    bridge.wait_metric_down("fairlead_lane_mode", &[], 0.0, LIMIT);
    assert_eq!(bridge.stop(Duration::from_secs(60)), 0);
    let report = firehose.verify_acknowledged(&kafka, "ais");
    println!("acknowledged {}, duplicates {}", report["acknowledged"], report["duplicates"]);
    // The next process with the same number finds nothing of the older ones.
    bridge.restart();
    bridge.wait_metric("fairlead_lane_mode", &[], 0.0, LIMIT);
    assert_eq!(bridge.stop(LIMIT), 0);
    let logs = std::fs::read_dir(bridge.folder().join("fairlead/spool")).expect("the spool's folder");
    let shards = logs.filter(|log| log.as_ref().unwrap().file_name().to_string_lossy().starts_with("shard-"));
    assert_eq!(shards.count(), 1);
}

/// What comes after a restart must lie where the older records of its key lie, although Kafka cannot say its partitions:
/// shards drain independently of each other. `known` is whether an earlier process knew them.
fn restarts_while_kafka_is_away(known: bool) {
    let mut kafka = Kafka::start();
    kafka.create_topic("ais", 9, &[]);
    let mut firehose = Loadgen::firehose(&["--seconds", "600", "--rate", "20000"]);
    let config = config_with(firehose.url(), &kafka, "ais", "durable");
    let config = config.engine("cpus = [0, 1]\nack = \"durable\"");
    if !known {
        kafka.kill();
    }
    let mut bridge = Fairlead::start(&config);
    if known {
        bridge.wait_metric(metric::DELIVERED, &[], 1.0, LIMIT);
        kafka.kill();
    }
    for _ in 0..3 {
        let before = bridge.metric("fairlead_spool_appended_records_total", &[]);
        bridge.wait_metric("fairlead_spool_appended_records_total", &[], before + 20_000.0, LIMIT);
        bridge.process().kill();
        bridge.restart();
    }
    bridge.wait_metric("fairlead_spool_appended_records_total", &[], 20_000.0, LIMIT);
    kafka.restart();
    for _ in 0..3 {
        bridge.wait_metric(metric::DELIVERED, &[], 1.0, LIMIT);
        bridge.process().kill();
        bridge.restart();
    }
    bridge.wait_metric(metric::DELIVERED, &[], 1.0, LIMIT);
    let result = firehose.stop(LIMIT);
    assert_eq!((&result["acks_out_of_order"], &result["acks_unknown"]), (&0.into(), &0.into()));
    wait_drained(&bridge);
    assert_eq!(bridge.stop(Duration::from_secs(60)), 0);
    let report = firehose.verify_acknowledged(&kafka, "ais");
    println!("acknowledged {}, duplicates {}", report["acknowledged"], report["duplicates"]);
}

#[test]
#[ignore = "real brokers: tests/run"]
fn restarts_while_kafka_is_away_keep_the_order() {
    restarts_while_kafka_is_away(true);
}

#[test]
#[ignore = "real brokers: tests/run"]
fn restarts_before_kafka_was_ever_reached_keep_the_order() {
    restarts_while_kafka_is_away(false);
}

/// What is new lies behind the backlog, wherever it goes.
#[test]
#[ignore = "real brokers: tests/run"]
fn a_process_with_a_backlog_takes_messages_before_kafka_was_asked() {
    const APPENDED: &str = "fairlead_spool_appended_records_total";
    // How long the control thread waits for an answer of Kafka.
    const ANSWER: Duration = Duration::from_secs(5);
    let kafka = Kafka::start();
    kafka.create_topic("ais", 9, &[]);
    let mut firehose = Loadgen::firehose(&["--seconds", "600", "--rate", "5000"]);
    let mut bridge = Fairlead::start(&config_with(firehose.url(), &kafka, "ais", "durable"));
    bridge.wait_metric(metric::DELIVERED, &[], 1.0, LIMIT);
    kafka.freeze();
    bridge.wait_metric(APPENDED, &[], 1000.0, LIMIT);
    bridge.process().kill();
    let (lines, start) = (bridge.log().len(), now());
    bridge.restart();
    bridge.wait_metric(APPENDED, &[], 1000.0, LIMIT);
    // A start that takes longer than Kafka's answer may take hears that there is none.
    let asked = now() - start < ANSWER && bridge.log()[lines..].contains("records for this topic wait");
    assert!(!asked, "Kafka was asked in vain first:\n{}", bridge.log());
    kafka.thaw();
    firehose.stop(LIMIT);
    wait_drained(&bridge);
    assert_eq!(bridge.stop(LIMIT), 0);
    firehose.verify_acknowledged(&kafka, "ais");
}

/// What is new is taken and acknowledged at once, before and while what an earlier process has left goes to Kafka.
#[test]
#[ignore = "real brokers: tests/run"]
fn a_large_backlog_drains_in_order_while_new_messages_are_acknowledged() {
    const BACKLOG: f64 = (512 << 20) as f64;
    const APPENDED: &str = "fairlead_spool_appended_records_total";
    let mut kafka = Kafka::start();
    kafka.create_topic("ais", 9, &[]);
    let mut flood = Loadgen::firehose(&["--seconds", "600", "--rate", "60000", "--size", "1000", "--run-id", "1"]);
    let mut bridge = Fairlead::start(&config_with(flood.url(), &kafka, "ais", "durable"));
    bridge.wait_metric(metric::DELIVERED, &[], 1.0, LIMIT);
    kafka.kill();
    bridge.wait_metric("fairlead_spool_bytes", &[], BACKLOG, FLOOD);
    bridge.process().kill();
    flood.stop(LIMIT);

    let mut trickle = Loadgen::firehose(&["--seconds", "600", "--rate", "5000", "--run-id", "2"]);
    let config = config_with(trickle.url(), &kafka, "ais", "durable").source("receive_maximum = 1000");
    bridge.restart_with(&config.spool("drain_rate = 10000"));
    // Many windows: all but the last are acknowledged.
    bridge.wait_metric(APPENDED, &[], 10_000.0, LIMIT);
    kafka.restart();
    bridge.wait_metric("fairlead_spool_drained_records_total", &[], 10_000.0, LIMIT);
    let appended = bridge.metric(APPENDED, &[]);
    bridge.wait_metric(APPENDED, &[], appended + 3_000.0, LIMIT);
    assert!(bridge.metric("fairlead_lane_mode", &[]) > 0.0, "the backlog is not drained yet");
    wait_drained(&bridge);
    bridge.wait_metric_down("fairlead_lane_mode", &[], 0.0, LIMIT);
    let result = trickle.stop(LIMIT);
    bridge.wait_metric_down(metric::PENDING, &[], 0.0, LIMIT);
    assert_eq!((&result["connections"], &result["keep_alive_timeouts"]), (&1.into(), &0.into()), "no reconnect");
    assert_eq!(bridge.stop(LIMIT), 0);
    flood.verify_acknowledged(&kafka, "ais");
    trickle.verify(&kafka, "ais", 0);
}

#[test]
#[ignore = "real brokers: tests/run"]
fn stop_while_kafka_is_away_leaves_everything_in_the_spool_acknowledged() {
    let (kafka, mosquitto) = (Kafka::start(), Mosquitto::start());
    kafka.create_topic("ais", 3, &[]);
    let mut bridge = Fairlead::ready(&Config::new(&mosquitto.url(), kafka.brokers(), "ais"));
    let mut client = Client::connect(mosquitto.port(), "vessel");
    client.publish("ais/1", 1, b"0000");
    bridge.wait_metric(metric::DELIVERED, &[], 1.0, LIMIT);
    kafka.freeze();
    let sent: Vec<String> = (1..500).map(|n| format!("{n:04}")).collect();
    for text in &sent {
        client.publish("ais/1", 1, text.as_bytes());
    }
    bridge.wait_metric(metric::RECEIVED, &[], 500.0, LIMIT);
    assert_eq!(bridge.stop(LIMIT), 0, "a clean end although Kafka is away");
    let log = bridge.log();
    assert!(log.contains("messages lie in the spool") && !log.contains("not acknowledged"), "{log}");
    kafka.thaw();
    bridge.restart();
    wait_drained(&bridge);
    assert_eq!(bridge.stop(LIMIT), 0);
    let mut found = values(&kafka.consume("ais"));
    // What was inside librdkafka at the end may have arrived as well.
    let mut seen = std::collections::HashSet::new();
    found.retain(|text| seen.insert(text.clone()));
    assert_eq!(found[1..], sent, "in order");
}

#[test]
#[ignore = "real brokers: tests/run"]
fn kafka_that_is_not_there_at_start_is_no_reason_to_leave_messages_with_the_broker() {
    let mut kafka = Kafka::prepared();
    let mosquitto = Mosquitto::start();
    let config = Config::new(&mosquitto.url(), kafka.brokers(), "ais").engine("cpus = [0, 1]");
    let mut bridge = Fairlead::start(&config);
    bridge.wait_log("subscribed", LIMIT);
    let mut client = Client::connect(mosquitto.port(), "vessel");
    let sent: Vec<String> = (0..1000).map(|n| format!("{n:04}")).collect();
    for text in &sent[..500] {
        client.publish("ais/1", 1, text.as_bytes());
    }
    bridge.wait_metric(metric::SPOOL_RECORDS, &[], 500.0, LIMIT);
    kafka.restart();
    kafka.create_topic("ais", 3, &[]);
    for text in &sent[500..] {
        client.publish("ais/1", 1, text.as_bytes());
    }
    assert_eq!(values(&kafka.records("ais", 1000, LIMIT)), sent, "in order");
    wait_drained(&bridge);
    assert_eq!(bridge.stop(LIMIT), 0);
}

#[test]
#[ignore = "real brokers: tests/run"]
fn a_second_process_on_one_folder_ends_at_once() {
    let (kafka, mosquitto) = (Kafka::shared(), Mosquitto::start());
    let folder = fairlead_tests::Scratch::new("spool");
    let engine = format!("[spool]\ndir = {:?}", folder.path());
    let config = Config::new(&mosquitto.url(), kafka.brokers(), "ais").engine(&engine);
    let mut bridge = Fairlead::start(&config);
    bridge.wait_log("subscribed", LIMIT);
    let mut second = Fairlead::start(&config);
    second.wait_log("in use by another process", LIMIT);
    assert_eq!(second.process().wait(LIMIT), 75);
    assert_eq!(bridge.stop(LIMIT), 0);
}
