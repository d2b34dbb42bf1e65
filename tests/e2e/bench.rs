//! The load generator as a product: the published benchmark, the ceiling, the page.

use std::{fs, time::Duration};

use fairlead_loadgen::output::read_json;
use fairlead_tests::{Config, Fairlead, Kafka, Loadgen, Mosquitto, Scratch, free_port, unique, wait_until};
use serde_json::Value;

use crate::scene::LIMIT;

/// Longest run.
const RUN: Duration = Duration::from_secs(120);

#[test]
#[ignore = "real brokers: tests/run"]
fn the_published_benchmark_is_one_command_and_is_verified() {
    let kafka = Kafka::shared();
    let topic = unique("ais");
    kafka.create_topic(&topic, 9, &[]);
    let mosquitto = Mosquitto::start();
    let mut bridge = Fairlead::ready(&Config::new(&mosquitto.url(), kafka.brokers(), &topic));
    let args = ["--url", &mosquitto.url(), "--brokers", kafka.brokers(), "--topic", &topic, "--messages", "20000"];
    let mut run = Loadgen::run("ais", &[&args[..], &["--schema-id", "7"]].concat());
    let result = run.succeed(RUN);
    assert_eq!((&result["acknowledged"], &result["kafka"]["found"]), (&20_000.into(), &20_000.into()));
    assert_eq!(result["topics"].as_array().map(Vec::len), Some(64), "a topic for each worker");
    for figure in ["this run, to the PUBACK", "this run, into Kafka (Clean)", "65000", "600000"] {
        assert!(run.log().contains(figure), "{figure} is missing in:\n{}", run.log());
    }
    let records = kafka.records(&topic, 1, LIMIT);
    assert_eq!(records[0].value.as_deref().map(|value| value[..5].to_vec()), Some(vec![0, 0, 0, 0, 7]));
    assert_eq!(bridge.stop(LIMIT), 0);
}

#[test]
#[ignore = "real brokers: tests/run"]
fn straight_into_kafka_is_measured_and_verified() {
    let kafka = Kafka::shared();
    let topic = unique("ceiling");
    kafka.create_topic(&topic, 9, &[]);
    let args = ["--brokers", kafka.brokers(), "--topic", &topic, "--size", "100", "--messages", "200000"];
    let mut run = Loadgen::run("kafka", &args);
    let result = run.succeed(RUN);
    assert_eq!((&result["sent"], &result["acknowledged"]), (&200_000.into(), &200_000.into()));
    run.verify(kafka, &topic, 0);
}

#[test]
#[ignore = "real brokers: tests/run"]
fn a_subscriber_counts_what_a_broker_delivers() {
    let mosquitto = Mosquitto::start_with("allow_anonymous true\nlog_type subscribe\n");
    let folder = Scratch::new("subscriber");
    let result = folder.path().join("received.json");
    for (place, qos) in ["0", "1", "2"].into_iter().enumerate() {
        let args = ["--url", &mosquitto.url(), "--filter", "fire/#", "--qos", qos, "--in-flight", "100"];
        let ends = ["--messages", "5000", "--result", &result.display().to_string()];
        let mut subscriber = Loadgen::bare("subscribe", &[&args[..], &ends].concat());
        wait_until(LIMIT, "the subscription", || {
            mosquitto.log().lines().filter(|line| line.ends_with(" fire/#")).count() > place
        });
        let traffic = ["--size", "100", "--messages", "5000", "--clients", "1", "--qos", qos];
        Loadgen::publish(&mosquitto.url(), &traffic).succeed(RUN);
        assert_eq!(subscriber.process().wait(RUN), 0, "{}", subscriber.log());
        let report: Value = read_json(&result, "result").expect("a result");
        assert_eq!((&report["complete"], &report["received"]), (&true.into(), &5_000.into()), "{report}");
        assert_eq!((&report["redelivered"], &report["payload_bytes"]), (&0.into(), &500_000.into()), "{report}");
    }
}

#[test]
fn what_is_not_there_is_said_and_nothing_is_left_running() {
    let folder = Scratch::new("bench");
    let nowhere = format!("127.0.0.1:{}", free_port());
    let broken = folder.write("broken.avsc", "{");
    let page = folder.path().join("page.html").display().to_string();
    let url = format!("mqtt://{nowhere}");
    let broken = broken.display().to_string();
    for (command, args, told) in [
        ("ais", vec!["--url", &url, "--messages", "10"], "no connection to the MQTT broker"),
        ("ais", vec!["--url", &url, "--topic", "t", "--brokers", &nowhere, "--messages", "10"], "no connection"),
        ("ais", vec!["--schema", &broken], "is not an Avro schema"),
        ("ais", vec!["--schema", "/nowhere.avsc"], "cannot read the schema"),
        (
            "kafka",
            vec!["--brokers", &nowhere, "--topic", "t", "--size", "100", "--messages", "9"],
            "no answer from Kafka",
        ),
        ("publish", vec!["--fleet", "0"], "a fleet of 0"),
        ("publish", vec!["--fleet", "9", "--shape", "burst:5"], "a shape needs a rate"),
        ("firehose", vec!["--messages", "9", "--rate", "real"], "the real rate is that of a fleet"),
    ] {
        let mut run = Loadgen::run(command, &args);
        assert_eq!(run.process().wait(LIMIT), 1, "{command} {args:?}:\n{}", run.log());
        assert!(run.log().contains(told), "{command} {args:?} should say `{told}`:\n{}", run.log());
    }
    for (command, args, told) in [
        ("report", ["/nowhere.json", "--output", &page], "cannot read /nowhere.json"),
        ("firehose", ["--messages=9", "--result", "/nowhere/a.json"], "cannot write /nowhere/a.json"),
        ("subscribe", ["--url", &url, "--patience=0"], "no connection to the MQTT broker"),
        ("subscribe", ["--qos=0", "--result", "/nowhere/a.json"], "cannot write /nowhere/a.json"),
        ("subscribe", ["--patience=0", "--in-flight", "0"], "nothing in flight"),
        ("publish", ["--size=100", "--ack-log", "/nowhere/a.json"], "cannot write /nowhere/a.json"),
    ] {
        let mut run = Loadgen::bare(command, &args);
        assert_eq!(run.process().wait(LIMIT), 1);
        assert!(run.log().contains(told), "{}", run.log());
    }
}

#[test]
fn results_become_a_page() {
    let folder = Scratch::new("page");
    let result = r#"{"complete": true, "sent": 5, "acknowledged": 5, "seconds": 1.0, "messages_per_second": 5.0,
        "latency": {"count": 5, "p50_ms": 1.0, "p90_ms": 1.0, "p99_ms": 1.0, "p99_9_ms": 1.0, "max_ms": 1.0},
        "acknowledged_each_second": [2, 3], "generator_cpu_seconds": 0.1}"#;
    let paths = ["one.json", "two.json"].map(|name| folder.write(name, result).display().to_string());
    let page = folder.path().join("page.html").display().to_string();
    let mut run = Loadgen::bare("report", &[&paths[0], &paths[1], "--output", &page]);
    assert_eq!(run.process().wait(LIMIT), 0, "{}", run.log());
    let html = fs::read_to_string(&page).expect("the page");
    assert!(html.contains("<svg") && html.contains("one") && html.contains("two"));
}
