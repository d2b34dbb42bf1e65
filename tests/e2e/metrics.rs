//! The admin endpoint: `/metrics`, `/livez`, `/readyz`, `/status`.

use std::{net::TcpListener, time::Duration};

use fairlead_tests::{Config, EvilBroker, Fairlead, Kafka, Loadgen, Metrics, get, metric, unique, wait_until, wire};

use crate::{
    load::config,
    scene::{LIMIT, Scene},
};

/// The RETAIN flag of a PUBLISH.
const RETAIN: u8 = 1;

/// Largest scrape.
const SCRAPE: usize = 256 << 10;

#[test]
fn names_labels_and_size_are_bounded() {
    let scene = Scene::new("");
    let mut session = scene.session();
    for id in 1..=2000 {
        session.publish(&format!("ais/secret-vessel-{id}\"\\\u{1b}[0m"), 1, id, b"payload-canary");
    }
    for id in 1..=2000 {
        session.expect_id(wire::PUBACK, id);
    }
    let text = scene.bridge.get("/metrics").body;
    assert!(text.len() < SCRAPE, "{} bytes", text.len());
    let metrics = Metrics::parse(&text);
    assert_eq!(metrics.sum(metric::DELIVERED, &[]), Some(2000.0));
    for (name, labels, _) in metrics.samples() {
        assert!(name.starts_with("fairlead_"), "{name}");
        assert!(!labels.contains_key("topic"), "a topic as a label of {name}");
    }
    for path in ["/metrics", "/status", "/readyz"] {
        assert!(!scene.bridge.get(path).body.contains("secret-vessel"), "an MQTT topic in {path}");
    }
    let log = scene.bridge.log();
    assert!(!log.contains("payload-canary") && !log.contains('\u{1b}'), "{log}");
    assert_eq!(metrics.imbalance(), None);
}

#[test]
fn health_follows_the_facts() {
    let mut scene = Scene::without_topic(|config| config);
    assert_eq!(scene.bridge.get("/livez").status, 200);
    // No broker has answered, then the topic is missing, then all is well.
    scene.bridge.wait_unready("harbour", LIMIT);
    let mut session = scene.session();
    session.publish("ais/1", 1, 1, b"held");
    scene.bridge.wait_unready("ais", LIMIT);
    scene.create_topic();
    session.expect_id(wire::PUBACK, 1);
    scene.bridge.wait_ready(LIMIT);
    let status: serde_json::Value = serde_json::from_str(&scene.bridge.get("/status").body).expect("JSON");
    assert!(status.is_object() && status.to_string().contains("harbour"), "{status}");
    assert_eq!(scene.bridge.get("/nowhere").status, 404);
    drop(session);
    scene.bridge.wait_unready("harbour", LIMIT);
}

/// Kafka may answer before it tells of the topic, and without that no record goes on.
#[test]
fn nothing_is_ready_before_its_topic_is_found() {
    // It takes connections and answers nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let broker = EvilBroker::start();
    let mut bridge = Fairlead::start(&Config::new(&broker.url(), &silent.local_addr().unwrap().to_string(), "ais"));
    bridge.wait_unready("topic ais is on hold: it has not been looked up yet", LIMIT);
}

#[test]
fn stages_are_timed() {
    let scene = Scene::new("");
    let mut session = scene.session();
    for id in 1..=100 {
        session.publish("ais/1", 1, id, b"timed");
        session.expect_id(wire::PUBACK, id);
    }
    let metrics = scene.bridge.metrics();
    for stage in ["decode", "produce", "confirm", "acknowledge"] {
        let count = metrics.sum(&format!("fairlead_{stage}_duration_seconds_count"), &[]);
        assert!(count > Some(0.0), "{stage}: {count:?}");
    }
}

#[test]
fn counts_and_limits_follow_the_facts() {
    let scene = Scene::with(|mut config| {
        config.from = "ais/{qos}".to_owned();
        config.source("qos = 2").route("key = \"topic-{qos}\"")
    });
    let mut session = scene.session();
    session.send(&wire::publish_with(session.level, b"ais/0", RETAIN, 0, &[], b"kept"));
    session.publish("ais/1", 1, 1, b"once");
    session.publish("ais/2", 2, 2, b"exactly");
    session.expect_id(wire::PUBACK, 1);
    session.expect_id(wire::PUBREC, 2);
    session.send(&wire::acknowledge(wire::PUBREL, 2));
    session.expect_id(wire::PUBCOMP, 2);
    // Each shard shows its counts once a second.
    scene.bridge.wait_metric("fairlead_mqtt_pubcomps_total", &[], 1.0, LIMIT);
    scene.bridge.wait_metric("fairlead_lane_records_total", &[], 3.0, LIMIT);
    let metrics = scene.bridge.metrics();
    for (name, expected) in [
        ("mqtt_publishes_qos0", 1.0),
        ("mqtt_publishes_qos1", 1.0),
        ("mqtt_publishes_qos2", 1.0),
        ("mqtt_retained", 1.0),
        ("mqtt_pubacks", 1.0),
        ("mqtt_pubrecs", 1.0),
        ("lane_records", 3.0),
    ] {
        assert_eq!(metrics.sum(&format!("fairlead_{name}_total"), &[]), Some(expected), "{name}");
    }
    // A message whose Kafka topic is not known yet is looked up again.
    assert!(metrics.sum("fairlead_route_cache_misses_total", &[]) >= Some(3.0));
    assert_eq!(metrics.sum("fairlead_route_cache_topics", &[]), Some(3.0));
    assert!(metrics.sum("fairlead_mqtt_written_bytes_total", &[]) >= Some(12.0), "three acknowledgements at least");
    let status: serde_json::Value = serde_json::from_str(&scene.bridge.get("/status").body).expect("JSON");
    let limits = status["limits"].as_array().expect("limits");
    assert_eq!(limits.len(), 7, "{status}");
    for limit in limits.iter().filter(|limit| limit["name"] != "ring" && limit["name"] != "spool") {
        assert!(limit["limit"].as_u64() > limit["used"].as_u64() && limit["full"] == 0, "{limit}");
    }
    assert_eq!((&status["well"], &status["degraded"]), (&true.into(), &serde_json::json!([])), "{status}");
}

#[test]
#[ignore = "real brokers: tests/run"]
fn ledger_balances_at_every_scrape_under_load() {
    let kafka = Kafka::shared();
    let topic = unique("ledger");
    kafka.create_topic(&topic, 9, &[]);
    let mut firehose = Loadgen::firehose(&["--messages", "500000"]);
    let mut bridge = Fairlead::start(&config(firehose.url(), kafka, &topic));
    let mut exact = 0;
    wait_until(Duration::from_secs(180), "the flood is through", || {
        if let Some(scrape) = get(bridge.admin(), "/metrics") {
            let metrics = Metrics::parse(&scrape.body);
            assert_eq!(metrics.imbalance(), None);
            exact += usize::from(metrics.sum(metric::APPROXIMATE, &[]) == Some(0.0));
        }
        firehose.process().ended().is_some()
    });
    assert!(exact > 0, "no scrape found the shards between two turns");
    firehose.succeed(LIMIT);
    wait_until(LIMIT, "everything is accounted for", || bridge.metric(metric::DELIVERED, &[]) == 500_000.0);
    assert_eq!(bridge.metric(metric::PENDING, &[]), 0.0);
    assert_eq!(bridge.stop(LIMIT), 0);
}
