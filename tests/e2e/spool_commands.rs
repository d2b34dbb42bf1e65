//! The spool of a running bridge as its operator sees it: readiness, metrics, commands.

use fairlead_tests::{Connection, get, metric, wait_until, wire};

use crate::scene::{LIMIT, Scene, TOPIC};

/// Messages that go to the spool; identifier 1 was used before.
const SPOOLED: u16 = 50;
/// Exit codes that belong to the interface.
const TAKEN: i32 = 75;

/// Kafka is down, and [`SPOOLED`] messages are acknowledged all the same.
fn outage() -> (Scene, Connection) {
    let (scene, mut session) = Scene::with_kafka_down(|config| config.engine("cpus = [0]\nack = \"durable\""));
    for id in 2..2 + SPOOLED {
        session.publish(&format!("ais/{}", id % 7), 1, id, b"payload-canary");
    }
    for id in 2..2 + SPOOLED {
        session.expect_id(wire::PUBACK, id);
    }
    (scene, session)
}

fn lines(output: &str) -> Vec<serde_json::Value> {
    output.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

#[test]
fn an_outage_of_kafka_is_degraded_and_not_an_outage() {
    let (mut scene, _session) = outage();
    scene.bridge.wait_degraded("Kafka is not reachable for ", LIMIT);
    scene.bridge.wait_degraded("messages go to the spool", LIMIT);
    scene.bridge.wait_metric(metric::SPOOL_RECORDS, &[], f64::from(SPOOLED), LIMIT);
    let metrics = scene.bridge.metrics();
    assert_eq!(metrics.sum(metric::PENDING, &[]), Some(f64::from(SPOOLED)), "the ledger covers the spool");
    assert_eq!((metrics.sum(metric::BALANCED, &[]), metrics.sum("fairlead_ready", &[])), (Some(1.0), Some(1.0)));
    assert_eq!(metrics.sum("fairlead_degraded", &[]), Some(1.0));
    assert_eq!(metrics.sum("fairlead_lane_mode", &[]), Some(1.0));
    let groups = metrics.sum("fairlead_spool_group_bytes_count", &[]);
    assert!(groups > Some(0.0) && metrics.sum("fairlead_spool_sync_duration_seconds_count", &[]) >= groups);
    let status: serde_json::Value = serde_json::from_str(&scene.bridge.get("/status").body).expect("JSON");
    assert_eq!((&status["well"], &status["ready"]), (&false.into(), &true.into()), "{status}");
    let spool = &status["shards"][0]["spool"];
    assert_eq!((&spool["lane"], &spool["records"]), (&"spilling".into(), &SPOOLED.into()), "{status}");
    assert_eq!(status["ledger"]["total"]["pending"], SPOOLED, "{status}");

    scene.kafka.come_up();
    scene.records(1 + usize::from(SPOOLED));
    scene.bridge.wait_metric("fairlead_spool_drained_records_total", &[], f64::from(SPOOLED), LIMIT);
    wait_until(LIMIT, "all is well again", || {
        get(scene.bridge.admin(), "/readyz").is_some_and(|answer| answer.body == "ready\n")
    });
    assert_eq!(scene.bridge.metric(metric::PENDING, &[]), 0.0);
    assert_eq!(scene.bridge.stop(LIMIT), 0);
    let ledger = scene.bridge.log();
    assert!(ledger.contains("recovered") && !ledger.contains("lie in the spool"), "{ledger}");
}

#[test]
fn a_full_spool_is_not_ready_until_kafka_is_back() {
    let (mut scene, mut session) = Scene::with_kafka_down(|config| {
        let config = config.source("max_packet = \"256KiB\"").engine("cpus = [0]\nack = \"durable\"");
        config.spool("segment = \"1MiB\"\nmax = \"6MiB\"\nmin_free = \"1MiB\"")
    });
    for id in 2..80 {
        session.publish("ais/1", 1, id, &[b'x'; 100_000]);
    }
    scene.bridge.wait_unready("the spool is full", LIMIT);
    assert!(scene.bridge.metric("fairlead_spool_full_total", &[]) > 0.0);
    scene.kafka.come_up();
    for id in 2..80 {
        session.expect_id(wire::PUBACK, id);
    }
    scene.bridge.wait_metric(metric::DELIVERED, &[], 79.0, LIMIT);
    scene.bridge.wait_ready(LIMIT);
    assert_eq!(scene.bridge.stop(LIMIT), 0);
}

#[test]
fn qos_0_is_dropped_while_kafka_is_away_if_the_configuration_says_so() {
    let (mut scene, mut session) =
        Scene::with_kafka_down(|config| config.engine("cpus = [0]\nack = \"durable\"").spool("qos0 = \"drop\""));
    session.publish("ais/1", 1, 2, b"kept");
    scene.bridge.wait_metric("fairlead_lane_mode", &[], 1.0, LIMIT);
    for _ in 0..10 {
        session.publish("ais/1", 0, 0, b"dropped");
    }
    session.publish("ais/1", 1, 3, b"kept too");
    session.expect_id(wire::PUBACK, 2);
    session.expect_id(wire::PUBACK, 3);
    let dropped = [("reason", "qos0")];
    scene.bridge.wait_metric(metric::DROPPED, &dropped, 10.0, LIMIT);
    scene.kafka.come_up();
    scene.bridge.wait_metric_down("fairlead_lane_mode", &[], 0.0, LIMIT);
    session.publish("ais/1", 0, 0, b"at qos 0");
    assert_eq!(scene.values(4), ["at qos 0", "first", "kept", "kept too"]);
    assert_eq!(scene.bridge.stop(LIMIT), 0);
}

#[test]
fn commands_look_at_the_spool_of_a_running_bridge() {
    let (mut scene, _session) = outage();
    let stat = scene.bridge.command(&["spool", "stat", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&stat.output).expect("JSON");
    assert_eq!((stat.code, &report["class"], &report["shards"].is_u64()), (0, &"clean".into(), &true), "{report}");
    let waiting: u64 = report["logs"].as_array().unwrap().iter().map(|log| log["waiting"].as_u64().unwrap()).sum();
    assert_eq!(waiting, u64::from(SPOOLED), "{report}");
    for deep in [&["spool", "verify"][..], &["spool", "verify", "--deep"]] {
        let verified = scene.bridge.command(deep);
        assert_eq!((verified.code, verified.output.as_str()), (0, "clean\n"));
    }
    let dump = scene.bridge.command(&["spool", "dump", "--waiting"]);
    assert_eq!((dump.code, dump.output.lines().count()), (0, SPOOLED.into()), "{}", dump.output);
    assert!(!dump.output.contains("canary") && dump.output.contains("\"ais/3\" -> ais"), "{}", dump.output);
    let shown = scene.bridge.command(&["spool", "dump", "--payload", "--limit", "1"]);
    assert!(shown.output.contains("payload-canary") && shown.output.lines().count() == 1, "{}", shown.output);
    let exported = lines(&scene.bridge.command(&["spool", "export"]).output);
    assert_eq!(exported.len(), usize::from(SPOOLED));
    assert!(exported.iter().all(|line| line["payload"]["text"] == "payload-canary" && line["topic"] == TOPIC));
    let repair = scene.bridge.command(&["spool", "repair"]);
    assert!(repair.code == TAKEN && repair.output.contains("in use"), "{}", repair.output);
    let check = scene.bridge.command(&["check"]);
    assert!(check.code == TAKEN && check.output.contains("fdatasync take"), "{}", check.output);

    scene.kafka.come_up();
    let first = scene.records(1 + usize::from(SPOOLED));
    scene.kafka.create("again", 3);
    let replay = scene.bridge.command(&["spool", "replay", "--to", "again"]);
    assert_eq!((replay.code, replay.output.as_str()), (0, "50 records are in again\n"));
    let again = scene.kafka.records("again", SPOOLED.into(), LIMIT);
    let kept = |record: &fairlead_tests::Record| {
        (record.partition, record.key.clone(), record.value.clone(), record.headers.clone())
    };
    let spooled = first.iter().filter(|record| record.text() != "first");
    assert_eq!(again.iter().map(kept).collect::<Vec<_>>(), spooled.map(kept).collect::<Vec<_>>());
    assert_eq!(scene.bridge.stop(LIMIT), 0);
    let waiting = scene.bridge.command(&["spool", "dump", "--waiting"]);
    assert_eq!((waiting.code, waiting.output.as_str()), (0, ""), "the cursor has passed them");
    assert_eq!(scene.bridge.command(&["spool", "repair"]).code, 0);
}
