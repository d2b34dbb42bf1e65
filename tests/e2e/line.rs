//! The whole line on real input: recorded AIS through a real mosquitto and a real Kafka, each restarted on the way.

use std::{collections::HashSet, time::Duration};

use fairlead_tests::{Config, Fairlead, Kafka, Loadgen, Mosquitto, metric, recorded_ais, wait_until};

use crate::scene::LIMIT;

/// Messages in all; the recording is looped.
const MESSAGES: u64 = 200_000;
/// Messages a second: 40 s in all.
const RATE: &str = "5000";
/// Most duplicates: what the fleet (4 clients of 100) and the bridge (its window) may have in flight at the restart.
const DUPLICATES: u64 = 400 + 8192;
/// Longest run: the time it takes, two restarts, and a busy machine.
const RUN: Duration = Duration::from_secs(180);

#[test]
#[ignore = "real brokers: tests/run"]
fn recorded_ais_arrives_over_restarts_of_both_brokers() {
    let mut kafka = Kafka::start();
    kafka.create_topic("ais", 9, &[]);
    let mut mosquitto = Mosquitto::start();
    let mut bridge = Fairlead::ready(&Config::new(&mosquitto.url(), kafka.brokers(), "ais"));

    let messages = MESSAGES.to_string();
    let mut load = vec!["--messages", &messages, "--rate", RATE, "--qos", "1"];
    let recording = recorded_ais();
    match &recording {
        Some(files) => {
            load.push("--nmea");
            load.extend(files.iter().map(String::as_str));
        }
        None => {
            println!("the recorded AIS is not at hand: the synthetic fleet takes its place");
            load.extend(["--fleet", "500"]);
        }
    }
    let mut fleet = Loadgen::publish(&mosquitto.url(), &load);

    wait_until(RUN, "a third is in Kafka", || kafka.count("ais") >= MESSAGES / 3);
    mosquitto.stop();
    mosquitto.restart();
    wait_until(RUN, "two thirds are in Kafka", || kafka.count("ais") >= MESSAGES * 2 / 3);
    kafka.stop();
    kafka.restart();
    fleet.succeed(RUN);

    // A message may be there twice after a broker's restart, so the number of records alone says too little.
    let distinct = || {
        let records = kafka.consume("ais");
        records.into_iter().filter_map(|r| r.value).collect::<HashSet<_>>().len() as u64
    };
    wait_until(RUN, "everything is in Kafka", || kafka.count("ais") >= MESSAGES && distinct() >= MESSAGES);
    assert_eq!(distinct(), MESSAGES, "what was never published is not in Kafka");
    // As sent, and in order for each topic on first occurrence. All that was published is there, so all that the
    // bridge acknowledged is.
    fleet.verify(&kafka, "ais", DUPLICATES);
    assert!(bridge.metric(metric::RECONNECTS, &[]) >= 1.0, "mosquitto was restarted under the bridge");
    assert_eq!(bridge.stop(LIMIT), 0);
}
