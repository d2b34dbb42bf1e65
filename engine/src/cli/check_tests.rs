//! What `check` prints.

use std::{ffi::OsString, fs, time::Duration};

use super::*;
use crate::{
    cli::connect::{Broker, Cluster, Found},
    settings::{self, Address, Layers, Version},
};

const TEXT: &str = r#"
[[source]]
name = "${env:NAME}"
url = "mqtt://${env:NAME}:1883"
username = "captain"
password = "${env:PASSWORD}"
sessions = 2
qos = 2
[kafka]
brokers = "${env:NAME}:9092"
create = { partitions = 9, replication = 1 }
properties = { "client.id" = "${env:PASSWORD}" }
[[route]]
from = "ais/{x}/position"
topic = "ais"
[[route]]
from = "ais/1/+"
topic = "${env:NAME}"
[[route]]
from = "lighthouse"
topic = "light"
"#;

fn loaded(text: &str) -> Loaded {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("fairlead.toml");
    fs::write(&file, text).unwrap();
    let environment = [("NAME", "s3cret-name"), ("PASSWORD", "hunter2")];
    let environment = environment.map(|(name, value)| (OsString::from(name), OsString::from(value))).into();
    let host = Host { name: "quay".to_owned(), cores: vec![0, 1], parallelism: 2, state: "/state/fairlead".into() };
    settings::load(&Layers { files: vec![file], environment, ..Layers::default() }, &host)
}

fn found(loaded: &Loaded) -> Found {
    let settings = loaded.settings.as_ref().unwrap();
    let broker = Broker {
        url: settings.sources[0].urls[0].clone(),
        version: Version::V5,
        round_trip: Duration::from_micros(400),
    };
    let cluster = Cluster {
        brokers: vec!["s3cret-name:9092".to_owned()],
        round_trip: Duration::from_micros(600),
        topics: vec![("s3cret-name".to_owned(), Ok(9)), ("ais".to_owned(), Err("it does not exist".to_owned()))],
        durability: vec![("s3cret-name".to_owned(), "replication 1".to_owned())],
    };
    Found { brokers: vec![Ok(broker)], kafka: Ok(cluster) }
}

fn connections(loaded: &Loaded, found: &Found, rate: Option<u64>) -> Connections {
    Connections::new(loaded.settings.as_ref().unwrap(), found, rate, &loaded.secrets)
}

/// The spool's disk is not looked at.
fn text(loaded: &Loaded, connections: Option<Connections>) -> String {
    Findings { loaded: loaded.clone(), disk: None, connections }.text()
}

fn json(loaded: &Loaded, connections: Option<Connections>) -> String {
    Findings { loaded: loaded.clone(), disk: None, connections }.json()
}

#[test]
fn no_output_shows_a_secret() {
    let good = loaded(TEXT);
    assert!(good.problems.is_empty(), "{:?}", good.problems);
    let connect = || Some(connections(&good, &found(&good), None));
    let bad = loaded(&TEXT.replace("\"ais\"", "\"${env:PASSWORD} \""));
    assert_eq!(bad.problems.len(), 1);
    let outputs = [text(&good, connect()), json(&good, connect()), text(&bad, None), json(&bad, None)];
    for output in outputs {
        for secret in ["s3cret-name", "hunter2", "captain"] {
            assert!(!output.contains(secret), "{secret} in {output}");
        }
        assert!(output.contains("***"));
    }
}

#[test]
fn the_plan_says_who_reads_what_where() {
    let text = text(&loaded(TEXT), None);
    for part in [
        "fairlead-***-0",
        "fairlead-***-1",
        "ais/+/position (identifier ",
        "ais/1/+ (identifier ",
        "0 to 4 of a created topic",
        "5 to 8 of a created topic",
        "5, QoS 2",
        "8192 in flight, packets to 16.0 MiB",
        "a missing topic is created with 9 partitions, replication 1",
        "which needs the subscription identifiers of MQTT 5.0",
        "At most 128.0 MiB in all shards",
        "Drain: at most 30s",
        "State over a restart: /state/fairlead",
        "Spool: /state/fairlead/spool, at most 20.0 GiB in segments of 64.0 MiB, 1.0 GiB stay free",
        "fairlead.toml:7:12",
    ] {
        assert!(text.to_lowercase().contains(&part.to_lowercase()), "{part} in {text}");
    }
    assert!(text.ends_with("\nok\n"));
}

#[test]
fn the_disk_of_the_spool_is_part_of_the_answer() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("s3cret-name");
    let good = loaded(&format!("{TEXT}[spool]\ndir = {dir:?}\nmin_free = \"1MiB\"\n"));
    let spool = good.settings.as_ref().unwrap().spool.clone().unwrap();
    let look = |spool: &crate::settings::Spool| {
        let disk = Disk::look(spool, 1, Load { rate: RATE, size: 100 }, &good.secrets);
        Findings { loaded: good.clone(), disk: Some(disk), connections: None }
    };
    let found = look(&spool);
    assert!(found.text().contains("/*** on ") && found.text().ends_with("\nok\n"), "{}", found.text());
    let json: serde_json::Value = serde_json::from_str(&found.json()).unwrap();
    assert!(json["spool"]["fdatasync"]["median_ms"].as_f64() > Some(0.0), "{json}");
    assert_eq!((&json["ok"], &json["spool"]["problems"]), (&true.into(), &serde_json::json!([])));
    let found = look(&crate::settings::Spool { min_free: u64::MAX, ..spool });
    assert_eq!(found.exit(), Exit::Config);
    assert!(found.text().ends_with("\n1 problem\n") && !found.text().contains("s3cret"), "{}", found.text());
    let json: serde_json::Value = serde_json::from_str(&found.json()).unwrap();
    assert_eq!(json["ok"], false);
}

#[test]
fn problems_end_the_text_and_are_counted() {
    let text = text(&loaded("[engine]\nack = 1\n"), None);
    assert!(text.contains("fairlead.toml:2:7: engine.ack: found 1 without quotes; write \"1\"\n"), "{text}");
    assert!(text.ends_with("\n4 problems\n"));
}

#[test]
fn json_has_values_plan_and_problems() {
    let good: serde_json::Value = serde_json::from_str(&json(&loaded(TEXT), None)).unwrap();
    assert_eq!(good["ok"], true);
    assert_eq!(good["plan"]["sessions"][0]["filters"][1]["filter"], "ais/1/+");
    assert_eq!(good["plan"]["sessions"][1]["filters"][0]["filter"], "lighthouse");
    assert_eq!(good["plan"]["shards"][1]["partitions"], serde_json::json!([5, 8]));
    let qos = good["values"].as_array().unwrap().iter().find(|value| value["key"] == "source.0.qos").unwrap();
    assert_eq!(qos["value"], "2");
    let bad: serde_json::Value = serde_json::from_str(&json(&loaded("a = 1"), None)).unwrap();
    assert_eq!((&bad["ok"], &bad["plan"]), (&false.into(), &serde_json::Value::Null));
    assert_eq!(bad["problems"][0]["key"], "a");
}

#[test]
fn what_can_be_expected_is_window_over_round_trip() {
    let good = loaded(TEXT);
    let lines = connections(&good, &found(&good), Some(50_000)).lines;
    let expected = [
        "source ***: mqtt://***:1883 answers in 0.400 ms as MQTT 5",
        "kafka: ***:9092 answer in 0.600 ms",
        "kafka: topic *** has 9 partitions",
        "kafka: topic ais: it does not exist",
        "kafka: topic ***: replication 1",
        "source ***: window 8192 ÷ round trip 1.000 ms = at most 8192000 msg/s for each session; at 50000 msg/s a broker's queue of 1000 messages for each session lasts 40 ms",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn mqtt_3_1_1_has_the_window_of_the_broker_and_memory_does_not_wait_for_kafka() {
    let good = loaded(&format!("{TEXT}[engine]\nack = \"memory\"\n"));
    let mut found = found(&good);
    let broker = found.brokers[0].as_mut().unwrap();
    (broker.version, broker.url) = (Version::V311, Address { host: "b".to_owned(), port: 1 });
    found.kafka = Err("refused".to_owned());
    let connections = connections(&good, &found, None);
    assert!(!connections.reachable);
    let expected = [
        "source ***: mqtt://b:1 answers in 0.400 ms as MQTT 3.1.1",
        "kafka: refused",
        "source ***: window 20 ÷ round trip 0.400 ms = at most 50000 msg/s for each session; at 100000 msg/s a broker's queue of 1000 messages for each session lasts 20 ms",
    ];
    assert_eq!(connections.lines, expected);
    assert!(text(&good, Some(connections)).ends_with("\nnot reachable\n"));
}
