//! What Kafka will never take: to a Kafka topic, or to the spool; never lost, and never in the way.

use fairlead_tests::{Client, Config, Fairlead, Kafka, Mosquitto, Record, metric, unique, wait_until, wire};

use crate::scene::{LIMIT, Scene};

/// Messages that Kafka takes, and those between that it does not.
const SMALL: usize = 100;
const LARGE: usize = 10;
/// Exit codes that belong to the interface.
const TAKEN: i32 = 75;

/// A payload beyond the topic's limit that no other is like.
fn large(number: usize) -> String {
    format!("{number}").repeat(10_000)
}

fn topic_of_small_messages(kafka: &Kafka) -> String {
    let topic = unique("small");
    kafka.create_topic(&topic, 1, &[("max.message.bytes", "1000")]);
    topic
}

/// Everything is published without a pause, so that large and small ones share batches.
fn publish(mosquitto: &Mosquitto) {
    let mut client = Client::connect(mosquitto.port(), "vessel");
    for number in 0..SMALL {
        client.publish("ais/1", 1, format!("{number:02}").as_bytes());
        if number % (SMALL / LARGE) == 5 {
            client.publish("ais/1", 1, large(number / (SMALL / LARGE)).as_bytes());
        }
    }
}

fn small() -> Vec<String> {
    (0..SMALL).map(|number| format!("{number:02}")).collect()
}

fn header<'a>(record: &'a Record, name: &str) -> &'a str {
    let value = record.headers.iter().find(|(header, _)| header == name);
    std::str::from_utf8(&value.unwrap_or_else(|| panic!("{name}: {:?}", record.headers)).1).expect("text")
}

fn dead_letters(bridge: &Fairlead, more: &[&str]) -> Vec<serde_json::Value> {
    let listed = bridge.command(&[&["dead-letter", "list", "--json"], more].concat());
    assert_eq!(listed.code, 0, "{}", listed.output);
    listed.output.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn payloads(bridge: &Fairlead) -> Vec<String> {
    let letters = dead_letters(bridge, &["--payload"]);
    let mut payloads: Vec<String> =
        letters.iter().map(|letter| letter["payload"]["text"].as_str().expect("text").to_owned()).collect();
    payloads.sort_unstable();
    payloads.dedup();
    payloads
}

#[track_caller]
fn wait_dead_lettered(bridge: &Fairlead, count: usize) {
    bridge.wait_metric(metric::DEAD_LETTERED, &[("route", "ais/#")], count as f64, LIMIT);
    // Small ones that followed the last dead letter may be on their way yet.
    bridge.wait_metric_down(metric::PENDING, &[], 0.0, LIMIT);
    let metrics = bridge.metrics();
    let sum = |name| metrics.sum(name, &[]).unwrap_or_default();
    assert_eq!((sum(metric::DEAD_LETTERED), sum(metric::DROPPED)), (count as f64, 0.0));
    assert_eq!(sum(metric::BALANCED), 1.0, "what is safe is acknowledged");
}

#[test]
#[ignore = "real brokers: tests/run"]
fn too_large_goes_to_the_topic_whole_and_the_rest_goes_on_in_order() {
    let (kafka, mosquitto) = (Kafka::shared(), Mosquitto::start());
    let (topic, dead) = (topic_of_small_messages(kafka), unique("dead"));
    // `create` holds for the dead-letter topic as for any other.
    let config = Config::new(&mosquitto.url(), kafka.brokers(), &topic)
        .kafka("create = { partitions = 3, replication = 1 }")
        .engine(&format!("[dead_letter]\ntopic = \"{dead}\""));
    let mut bridge = Fairlead::ready(&config);
    publish(&mosquitto);
    let records = kafka.records(&topic, SMALL as u64, LIMIT);
    assert_eq!(records.iter().map(Record::text).collect::<Vec<_>>(), small());
    wait_dead_lettered(&bridge, LARGE);
    let letters = kafka.records(&dead, LARGE as u64, LIMIT);
    assert_eq!(kafka.partitions(&dead), Some(3));
    let got: Vec<String> = letters.iter().map(Record::text).collect();
    assert_eq!(got, (0..LARGE).map(large).collect::<Vec<_>>(), "whole, each once");
    for letter in &letters {
        assert_eq!(letter.key_text(), "ais/1");
        let names = ["reason", "source", "route", "topic", "mqtt.topic"];
        let values = names.map(|name| header(letter, &format!("fairlead.{name}")));
        assert_eq!(values, ["too_large", "harbour", "ais/#", topic.as_str(), "ais/1"]);
        assert!(header(letter, "fairlead.time").ends_with('Z') && header(letter, "fairlead.error").contains("size"));
    }
    assert_eq!(bridge.metric("fairlead_dead_letter_records", &[]), 0.0);
    assert_eq!(bridge.stop(LIMIT), 0);
}

#[test]
#[ignore = "real brokers: tests/run"]
fn without_a_topic_the_spool_keeps_them_until_they_are_purged() {
    let (kafka, mosquitto) = (Kafka::shared(), Mosquitto::start());
    let (topic, again) = (topic_of_small_messages(kafka), unique("again"));
    kafka.create_topic(&again, 1, &[]);
    let mut bridge = Fairlead::ready(&Config::new(&mosquitto.url(), kafka.brokers(), &topic));
    publish(&mosquitto);
    let records = kafka.records(&topic, SMALL as u64, LIMIT);
    assert_eq!(records.iter().map(Record::text).collect::<Vec<_>>(), small());
    wait_dead_lettered(&bridge, LARGE);
    bridge.wait_metric("fairlead_dead_letter_records", &[], LARGE as f64, LIMIT);
    bridge.wait_ready(LIMIT);
    assert_eq!(bridge.get("/readyz").body, "ready\n", "dead letters alone are no degradation");

    let hidden = bridge.command(&["dead-letter", "list"]);
    assert_eq!((hidden.code, hidden.output.lines().count()), (0, LARGE), "{}", hidden.output);
    assert!(hidden.output.contains("too_large") && !hidden.output.contains("000000"), "{}", hidden.output);
    assert_eq!(payloads(&bridge), (0..LARGE).map(large).collect::<Vec<_>>(), "whole");
    let number = dead_letters(&bridge, &[])[0]["sequence"].to_string();
    let shown = bridge.command(&["dead-letter", "show", &number]);
    assert!(shown.code == 0 && shown.output.contains("Kafka takes no record of this size"), "{}", shown.output);
    let dry = bridge.command(&["dead-letter", "replay", "--dry-run"]);
    assert_eq!((dry.code, dry.output), (0, format!("{LARGE} records would be sent to {topic}\n")));
    let purge = bridge.command(&["dead-letter", "purge"]);
    assert!(purge.code == TAKEN && purge.output.contains("in use"), "{}", purge.output);

    let refused = bridge.command(&["dead-letter", "replay"]);
    assert!(refused.code == 69 && refused.output.contains("were not confirmed"), "{}", refused.output);
    let sent = bridge.command(&["dead-letter", "replay", "--to", &again]);
    assert_eq!((sent.code, sent.output), (0, format!("{LARGE} records are in {again}\n")));
    let records = kafka.records(&again, LARGE as u64, LIMIT);
    assert!(records.iter().all(|record| record.headers.is_empty() && record.key_text() == "ais/1"));
    kafka.alter_topic(&topic, "max.message.bytes", "100000");
    wait_until(LIMIT, "the topic takes them now", || bridge.command(&["dead-letter", "replay"]).code == 0);
    let have = kafka.consume(&topic);
    assert!((0..LARGE).all(|number| have.iter().any(|record| record.text() == large(number))));

    assert_eq!(bridge.stop(LIMIT), 0);
    bridge.restart();
    bridge.wait_ready(LIMIT);
    bridge.wait_metric("fairlead_dead_letter_records", &[], LARGE as f64, LIMIT);
    assert_eq!(bridge.metric(metric::RECOVERED, &[]), 0.0, "they have ended");
    assert_eq!(bridge.stop(LIMIT), 0);
    let purge = bridge.command(&["dead-letter", "purge"]);
    assert_eq!((purge.code, purge.output), (0, format!("{LARGE} dead letters are removed, 0 are left\n")));
    assert!(dead_letters(&bridge, &[]).is_empty());
}

#[test]
#[ignore = "real brokers: tests/run"]
fn what_the_dead_letter_topic_refuses_too_goes_to_the_spool() {
    let (kafka, mosquitto) = (Kafka::shared(), Mosquitto::start());
    let (topic, dead) = (topic_of_small_messages(kafka), unique("dead"));
    kafka.create_topic(&dead, 1, &[("max.message.bytes", "2000")]);
    for ack in ["durable", "spool"] {
        let engine = format!("ack = \"{ack}\"\n[dead_letter]\ntopic = \"{dead}\"");
        let mut bridge = Fairlead::ready(&Config::new(&mosquitto.url(), kafka.brokers(), &topic).engine(&engine));
        publish(&mosquitto);
        wait_dead_lettered(&bridge, LARGE);
        assert_eq!(payloads(&bridge), (0..LARGE).map(large).collect::<Vec<_>>());
        assert_eq!(kafka.count(&dead), 0);
        assert_eq!(bridge.stop(LIMIT), 0);
    }
}

/// Between Kafka's refusal and the sync in the dead-letter log nothing is acknowledged: the broker sends it again.
#[test]
#[ignore = "real brokers: tests/run"]
fn killed_between_refusal_and_sync_loses_nothing() {
    // More than a log of the least size takes.
    const COUNT: usize = 60;
    let huge = |number: usize| format!("{number:02}").repeat(50_000);
    let (kafka, mosquitto) = (Kafka::shared(), Mosquitto::start());
    let topic = topic_of_small_messages(kafka);
    let config = Config::new(&mosquitto.url(), kafka.brokers(), &topic)
        .source("max_packet = \"256KiB\"")
        .engine("cpus = [0]")
        .spool("segment = \"1MiB\"\nmin_free = \"1MiB\"\nmax = \"6MiB\"");
    let mut bridge = Fairlead::ready(&config);
    let mut client = Client::connect(mosquitto.port(), "vessel");
    client.publish("ais/1", 1, b"small");
    bridge.wait_metric(metric::DELIVERED, &[], 1.0, LIMIT);
    for number in 0..COUNT {
        client.publish("ais/1", 1, huge(number).as_bytes());
    }
    bridge.wait_degraded("dead letters wait and are not acknowledged", LIMIT);
    assert!(bridge.metric("fairlead_spool_full_total", &[]) > 0.0);
    let safe = payloads(&bridge).len();
    assert!(safe > 0 && safe < COUNT, "{safe} found room");
    bridge.process().kill();
    assert!(payloads(&bridge).len() < COUNT);
    bridge.restart_with(&config.clone().spool("segment = \"1MiB\"\nmin_free = \"1MiB\"\nmax = \"64MiB\""));
    wait_until(LIMIT, "the others are dead letters too", || payloads(&bridge).len() == COUNT);
    assert_eq!(payloads(&bridge), (0..COUNT).map(huge).collect::<Vec<_>>(), "whole");
    bridge.wait_metric_down(metric::PENDING, &[], 0.0, LIMIT);
    assert_eq!(bridge.stop(LIMIT), 0);
    assert_eq!(kafka.count(&topic), 1);
}

#[test]
fn a_topic_of_an_illegal_name_is_a_dead_letter() {
    let rendered = |mut config: Config| {
        config.from = "ais/{kind...}".to_owned();
        config.topic = "{kind}".to_owned();
        config
    };
    // To the log.
    let mut scene = Scene::without_topic(|config| rendered(config).engine("cpus = [0]\nack = \"durable\""));
    let mut session = scene.session();
    session.publish("ais/a/b", 1, 1, b"there");
    session.expect_id(wire::PUBACK, 1);
    let letters = dead_letters(&scene.bridge, &["--payload"]);
    assert_eq!((letters.len(), &letters[0]["topic"]), (1, &"a/b".into()), "{letters:?}");
    assert_eq!(letters[0]["dead_letter"]["reason"], "illegal_topic");
    assert_eq!((&letters[0]["key"]["text"], &letters[0]["payload"]["text"]), (&"ais/a/b".into(), &"there".into()));
    let replay = scene.bridge.command(&["dead-letter", "replay"]);
    assert!(replay.code == 69 && replay.output.contains("--to"), "{}", replay.output);
    assert_eq!(scene.bridge.stop(LIMIT), 0);
    // To the topic, with no disk at all; it is there only later.
    let mut scene =
        Scene::without_topic(|config| rendered(config).engine("ack = \"kafka\"\n[dead_letter]\ntopic = \"dead\""));
    scene.kafka.create("ok", 1);
    let mut session = scene.session();
    session.publish("ais/a/b", 1, 1, b"there");
    session.publish("ais/ok", 1, 2, b"here");
    assert_eq!(scene.kafka.records("ok", 1, LIMIT)[0].text(), "here", "others go on");
    scene.bridge.wait_unready("topic dead is on hold", LIMIT);
    scene.bridge.wait_metric(metric::DELIVERED, &[], 1.0, LIMIT);
    assert_eq!(scene.bridge.metric(metric::PENDING, &[]), 1.0);
    scene.kafka.create("dead", 1);
    session.expect_id(wire::PUBACK, 1);
    session.expect_id(wire::PUBACK, 2);
    let records = scene.kafka.records("dead", 1, LIMIT);
    assert_eq!((header(&records[0], "fairlead.topic"), records[0].text().as_str()), ("a/b", "there"));
    assert_eq!(scene.bridge.stop(LIMIT), 0);
}
