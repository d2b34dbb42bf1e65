//! Kafka down, restarted, frozen, without the topic, or refusing a record.

use std::time::Duration;

use fairlead_tests::{
    Client, Config, Fairlead, Kafka, Loadgen, Mosquitto, Mount, Record, during, metric, pause, unique, wait_until,
};

use crate::{
    load::{MEMORY, config, config_with, finish, four_fifths_of_maximum},
    scene::LIMIT,
};

/// Longest flood of a test.
const FLOOD: Duration = Duration::from_secs(120);

/// After so long Kafka has forgotten a producer, where it is told to do so after a second.
const FORGOTTEN: Duration = Duration::from_secs(5);

/// Nothing goes to the spool: an outage of Kafka stops the flow.
const STRAIGHT: &str = "ack = \"kafka\"";

fn values(records: &[Record]) -> Vec<String> {
    let mut values: Vec<String> = records.iter().map(Record::text).collect();
    values.sort_unstable();
    values
}

#[test]
#[ignore = "real brokers: tests/run"]
fn down_at_start_is_said_and_waited_for() {
    let mut kafka = Kafka::prepared();
    let mosquitto = Mosquitto::start();
    let mut bridge = Fairlead::start(&Config::new(&mosquitto.url(), kafka.brokers(), "ais").engine(STRAIGHT));
    bridge.wait_unready("Kafka", LIMIT);
    bridge.wait_log(kafka.brokers(), LIMIT);
    kafka.restart();
    kafka.create_topic("ais", 3, &[]);
    bridge.wait_ready(LIMIT);
    let mut client = Client::connect(mosquitto.port(), "vessel");
    let sent: Vec<String> = (0..1000).map(|n| format!("{n:04}")).collect();
    for text in &sent {
        client.publish("ais/1", 1, text.as_bytes());
    }
    assert_eq!(values(&kafka.records("ais", 1000, LIMIT)), sent);
    assert_eq!(bridge.stop(LIMIT), 0);
}

#[test]
#[ignore = "real brokers: tests/run"]
fn restarts_under_load_lose_and_double_nothing() {
    const MESSAGES: u64 = 1_200_000;
    let mut kafka = Kafka::start();
    kafka.create_topic("ais", 9, &[]);
    let mut firehose = Loadgen::firehose(&["--messages", &MESSAGES.to_string(), "--rate", "30000"]);
    let mut bridge = Fairlead::start(&config(firehose.url(), &kafka, "ais"));
    bridge.wait_metric(metric::DELIVERED, &[], 100_000.0, FLOOD);
    kafka.stop();
    bridge.wait_unready("Kafka", LIMIT);
    kafka.restart();
    bridge.wait_ready(LIMIT);
    bridge.wait_metric(metric::DELIVERED, &[], 700_000.0, FLOOD);
    kafka.kill();
    kafka.restart();
    let result = firehose.succeed(FLOOD);
    assert_eq!(result["connections"], 1, "the MQTT session is not touched");
    assert_eq!(bridge.stop(LIMIT), 0);
    firehose.verify(&kafka, "ais", 0);
    assert_eq!(kafka.count("ais"), MESSAGES, "a duplicate without a crash of the bridge or a lost MQTT connection");
}

#[test]
#[ignore = "real brokers: tests/run"]
fn frozen_kafka_stops_the_flow_and_nothing_else() {
    let kafka = Kafka::start();
    let warm_up = unique("warm-up");
    kafka.create_topic(&warm_up, 9, &[]);
    let rate = four_fifths_of_maximum(&kafka, &warm_up);
    kafka.create_topic("ais", 9, &[]);
    let frozen = std::env::var("FAIRLEAD_FREEZE").map_or(15, |text| text.parse().expect("seconds"));
    let seconds = (frozen + 10).to_string();
    let mut firehose = Loadgen::firehose(&["--seconds", &seconds, "--drain", "60", "--rate", &rate]);
    let mut bridge =
        Fairlead::start(&config(firehose.url(), &kafka, "ais").source("receive_maximum = 20000\nkeep_alive = \"4s\""));
    bridge.wait_metric(metric::DELIVERED, &[], 100_000.0, LIMIT);
    kafka.freeze();
    let mut most = 0;
    during(Duration::from_secs(frozen), || most = most.max(bridge.process().rss_anon()));
    assert_eq!(bridge.get("/livez").status, 200, "the executors turn");
    kafka.thaw();
    let result = firehose.succeed(FLOOD);
    println!("most memory while frozen: {} MiB", most >> 20);
    assert!(most < MEMORY, "{} MiB of anonymous memory", most >> 20);
    assert_eq!(result["connections"], 1, "no reconnect");
    assert_eq!(result["keep_alive_timeouts"], 0, "pings go on");
    assert_eq!(bridge.stop(LIMIT), 0);
    firehose.verify(&kafka, "ais", 0);
    assert_eq!(kafka.count("ais"), result["sent"].as_u64().unwrap(), "no duplicate");
}

/// While its only broker is fenced Kafka names none, and librdkafka forgets the one it had. Its own way back can miss that;
/// without it there is ours alone.
#[test]
#[ignore = "real brokers: tests/run"]
fn a_kafka_that_named_no_broker_is_found_again() {
    let kafka = Kafka::start();
    kafka.create_topic("ais", 9, &[]);
    let mut firehose = Loadgen::firehose(&["--seconds", "12", "--drain", "60", "--rate", "10000"]);
    let config = config(firehose.url(), &kafka, "ais");
    let mut bridge = Fairlead::start(&config.kafka("properties = { \"metadata.recovery.strategy\" = \"none\" }"));
    bridge.wait_metric(metric::DELIVERED, &[], 10_000.0, LIMIT);
    kafka.freeze();
    // Twice the time after which the controller fences a broker.
    during(Duration::from_secs(6), || ());
    kafka.thaw();
    let result = firehose.succeed(FLOOD);
    bridge.wait_metric(metric::DELIVERED, &[], result["sent"].as_f64().expect("a number"), FLOOD);
    assert_eq!(bridge.stop(LIMIT), 0);
    firehose.verify(&kafka, "ais", 0);
}

#[test]
#[ignore = "real brokers: tests/run"]
fn kafka_that_hangs_or_returns_while_nothing_flows_is_told() {
    let (mut kafka, mosquitto) = (Kafka::start(), Mosquitto::start());
    kafka.create_topic("ais", 9, &[]);
    let mut bridge = Fairlead::ready(&Config::new(&mosquitto.url(), kafka.brokers(), "ais").engine(STRAIGHT));
    let mut client = Client::connect(mosquitto.port(), "vessel");
    client.publish("ais/1", 1, b"one");
    bridge.wait_metric(metric::DELIVERED, &[], 1.0, LIMIT);
    kafka.freeze();
    client.publish("ais/1", 1, b"two");
    bridge.wait_unready("nothing is confirmed", LIMIT);
    kafka.thaw();
    bridge.wait_ready(LIMIT);
    bridge.wait_metric(metric::DELIVERED, &[], 2.0, LIMIT);
    kafka.stop();
    bridge.wait_unready("Kafka is not reachable", LIMIT);
    kafka.restart();
    bridge.wait_ready(LIMIT);
    assert_eq!(bridge.metric(metric::RECEIVED, &[]), 2.0, "nothing flowed meanwhile");
    assert_eq!(bridge.stop(LIMIT), 0);
}

#[test]
#[ignore = "real brokers: tests/run"]
fn frozen_kafka_costs_no_cpu_time() {
    let kafka = Kafka::start();
    kafka.create_topic("ais", 9, &[]);
    let mut firehose = Loadgen::firehose(&["--messages", "1000000"]);
    let mut bridge = Fairlead::start(&config(firehose.url(), &kafka, "ais"));
    bridge.wait_metric(metric::DELIVERED, &[], 100_000.0, LIMIT);
    kafka.freeze();
    // What was on its way when Kafka froze settles first.
    pause(Duration::from_secs(1));
    // librdkafka's threads may spin while a request has no answer and more waits behind it: not ours to mend.
    let before = bridge.process().cpu_without("rdk:");
    pause(Duration::from_secs(4));
    let used = bridge.process().cpu_without("rdk:") - before;
    kafka.thaw();
    assert!(used < Duration::from_millis(400), "{used:?} of CPU time in 4 s of waiting");
    firehose.succeed(FLOOD);
    assert_eq!(bridge.stop(LIMIT), 0);
}

#[test]
#[ignore = "real brokers: tests/run"]
fn missing_topic_is_a_hold_until_it_is_there() {
    let kafka = Kafka::shared();
    let topic = unique("missing");
    let mosquitto = Mosquitto::start();
    let mut bridge = Fairlead::start(&Config::new(&mosquitto.url(), kafka.brokers(), &topic));
    bridge.wait_metric(metric::SUBSCRIBED, &[], 1.0, LIMIT);
    let mut client = Client::connect(mosquitto.port(), "vessel");
    for n in 0..100 {
        client.publish("ais/1", 1, format!("{n:02}").as_bytes());
    }
    bridge.wait_unready(&topic, LIMIT);
    bridge.wait_log(&topic, LIMIT);
    during(Duration::from_secs(2), || assert_eq!(bridge.metric(metric::DELIVERED, &[]), 0.0));
    assert_eq!(kafka.partitions(&topic), None, "Fairlead creates nothing unasked");
    kafka.create_topic(&topic, 3, &[]);
    let sent: Vec<String> = (0..100).map(|n| format!("{n:02}")).collect();
    let records = kafka.records(&topic, 100, LIMIT);
    let in_order: Vec<String> = records.iter().map(Record::text).collect();
    assert_eq!(in_order, sent, "one key, one partition, in order");
    bridge.wait_ready(LIMIT);
    assert_eq!(bridge.stop(LIMIT), 0);
}

#[test]
#[ignore = "real brokers: tests/run"]
fn missing_topic_is_created_where_that_is_asked_for() {
    let kafka = Kafka::shared();
    let topic = unique("created");
    let mosquitto = Mosquitto::start();
    let create =
        Config::new(&mosquitto.url(), kafka.brokers(), &topic).kafka("create = { partitions = 7, replication = 1 }");
    let mut bridge = Fairlead::start(&create);
    bridge.wait_ready(LIMIT);
    Client::connect(mosquitto.port(), "vessel").publish("ais/1", 1, b"first");
    wait_until(LIMIT, "the topic is created", || kafka.partitions(&topic) == Some(7));
    assert_eq!(values(&kafka.records(&topic, 1, LIMIT)), ["first"]);
    assert_eq!(bridge.stop(LIMIT), 0);
}

#[test]
#[ignore = "real brokers: tests/run"]
fn without_a_place_for_dead_letters_what_kafka_refuses_is_a_counted_drop_and_others_flow() {
    let kafka = Kafka::shared();
    let topic = unique("small");
    kafka.create_topic(&topic, 1, &[("max.message.bytes", "2000")]);
    let mosquitto = Mosquitto::start();
    let mut bridge = Fairlead::ready(&Config::new(&mosquitto.url(), kafka.brokers(), &topic).engine(STRAIGHT));
    let mut client = Client::connect(mosquitto.port(), "vessel");
    for n in 0..100 {
        client.publish("ais/1", 1, format!("{n:02}").as_bytes());
        if n % 10 == 5 {
            client.publish("ais/1", 1, &[b'x'; 10_000]);
        }
    }
    let records = kafka.records(&topic, 100, LIMIT);
    let got: Vec<String> = records.iter().map(Record::text).collect();
    let sent: Vec<String> = (0..100).map(|n| format!("{n:02}")).collect();
    assert_eq!(got, sent);
    bridge.wait_metric(metric::DROPPED, &[("reason", "too_large")], 10.0, LIMIT);
    // What was dropped is acknowledged; of what is in Kafka the last may still be to come.
    bridge.wait_metric_down(metric::PENDING, &[], 0.0, LIMIT);
    assert_eq!(bridge.stop(LIMIT), 0);
}

#[test]
#[ignore = "real brokers: tests/run"]
fn topic_deleted_under_way_is_a_hold_until_it_is_back() {
    let kafka = Kafka::shared();
    let topic = unique("deleted");
    kafka.create_topic(&topic, 1, &[]);
    let mosquitto = Mosquitto::start();
    let mut bridge = Fairlead::ready(&Config::new(&mosquitto.url(), kafka.brokers(), &topic).engine(STRAIGHT));
    let mut client = Client::connect(mosquitto.port(), "vessel");
    client.publish("ais/1", 1, b"before");
    assert_eq!(values(&kafka.records(&topic, 1, LIMIT)), ["before"]);
    kafka.delete_topic(&topic);
    for n in 0..10 {
        client.publish("ais/1", 1, format!("{n}").as_bytes());
    }
    // librdkafka believes in a topic that is suddenly unknown for 30 s (`topic.metadata.propagation.max.ms`).
    bridge.wait_unready(&topic, LIMIT * 3);
    kafka.create_topic(&topic, 1, &[]);
    let records = kafka.records(&topic, 10, LIMIT * 3);
    let got: Vec<String> = records.iter().map(Record::text).collect();
    let sent: Vec<String> = (0..10).map(|n| n.to_string()).collect();
    assert_eq!(got, sent);
    bridge.wait_ready(LIMIT);
    assert_eq!(bridge.stop(LIMIT), 0);
}

/// Kafka forgets a producer that is idle (`producer.id.expiration.ms`), and one of which no record is left.
#[test]
#[ignore = "real brokers: tests/run"]
fn a_producer_that_kafka_has_forgotten_goes_on() {
    let mut kafka = Kafka::start_with(
        "producer.id.expiration.ms=1000\nproducer.id.expiration.check.interval.ms=200\n\
         transactional.id.expiration.ms=1000\n",
    );
    kafka.create_topic("ais", 1, &[]);
    let mosquitto = Mosquitto::start();
    let mut bridge = Fairlead::ready(&Config::new(&mosquitto.url(), kafka.brokers(), "ais").engine(STRAIGHT));
    let mut client = Client::connect(mosquitto.port(), "vessel");
    let mut publish = |numbers: std::ops::Range<u32>| {
        numbers.for_each(|n| client.publish("ais/1", 1, format!("{n:03}").as_bytes()));
    };
    publish(0..100);
    bridge.wait_metric(metric::DELIVERED, &[], 100.0, LIMIT);
    // Nothing but time makes it forget. What it writes down at its end says whom it knows.
    pause(FORGOTTEN);
    kafka.stop();
    let snapshots = std::fs::read_dir(kafka.data().join("ais-0")).unwrap().map(|file| file.unwrap().path());
    let last = snapshots.filter(|path| path.extension().is_some_and(|e| e == "snapshot")).max().expect("a snapshot");
    assert_eq!(std::fs::metadata(last).unwrap().len(), 10, "version, checksum, and a list of no producers");
    kafka.restart();
    publish(100..200);
    bridge.wait_metric(metric::DELIVERED, &[], 200.0, LIMIT);
    // And now there is not a record left of this producer.
    let mut found = kafka.consume("ais");
    kafka.trim("ais", &[200]);
    pause(FORGOTTEN);
    publish(200..300);
    found.extend(kafka.records("ais", 300, LIMIT));
    let sent: Vec<String> = (0..300).map(|n| format!("{n:03}")).collect();
    assert_eq!(found.iter().map(Record::text).collect::<Vec<_>>(), sent, "in order, nothing lost or doubled");
    assert_eq!(bridge.stop(LIMIT), 0);
}

/// Kafka ends itself when its disk is full. Mounts a file system: fails without root.
#[test]
#[ignore = "real brokers: tests/run"]
fn a_full_disk_of_kafka_is_an_outage() {
    let disk = Mount::tmpfs(32);
    let mut kafka = Kafka::start_with(&format!("log.dirs={}\n", disk.path().join("data").display()));
    kafka.create_topic("ais", 9, &[]);
    let mut firehose = Loadgen::firehose(&["--seconds", "600", "--rate", "5000", "--size", "1500"]);
    let mut bridge = Fairlead::start(&config_with(firehose.url(), &kafka, "ais", "durable"));
    bridge.wait_metric(metric::DELIVERED, &[], 1.0, LIMIT);
    kafka.wait_ended(FLOOD);
    let spooled = bridge.metric("fairlead_spool_appended_records_total", &[]);
    bridge.wait_metric("fairlead_spool_appended_records_total", &[], spooled + 20_000.0, FLOOD);
    disk.resize(4096);
    kafka.restart();
    bridge.wait_metric_down("fairlead_lane_mode", &[], 0.0, FLOOD);
    finish(&mut firehose, &mut bridge, &kafka, "ais", FLOOD);
}

#[test]
#[ignore = "real brokers: tests/run"]
fn java_clients_find_the_same_partition() {
    // What `toPositive(murmur2(key)) % 9` of Kafka's Java client says.
    const KNOWN: [(&str, i32); 3] = [("ais/1", 2), ("ais/2", 1), ("ais/244660920", 2)];
    let kafka = Kafka::shared();
    let topic = unique("murmur2");
    kafka.create_topic(&topic, 9, &[]);
    let mosquitto = Mosquitto::start();
    let _bridge = Fairlead::ready(&Config::new(&mosquitto.url(), kafka.brokers(), &topic));
    let mut client = Client::connect(mosquitto.port(), "vessel");
    for (key, _) in KNOWN {
        client.publish(key, 1, b"keyed");
    }
    for record in kafka.records(&topic, 3, LIMIT) {
        let (_, partition) = KNOWN.iter().find(|(key, _)| *key == record.key_text()).unwrap();
        assert_eq!(record.partition, *partition, "partition of {}", record.key_text());
    }
}
