//! A few short runs of each campaign, with a new seed each time. A red run prints the command that repeats it.

use std::time::Duration;

use fairlead_tests::{Process, Scratch};

/// Longest campaign: a minute on an idle machine; each step of a run has a limit of its own.
const LIMIT: Duration = Duration::from_secs(1200);

/// Runs a campaign; the scenarios that it begins with follow from the seed.
#[track_caller]
fn campaign(name: &str, runs: &str) {
    let seed = std::env::var("FAIRLEAD_SEED").unwrap_or_else(|_| rand::random::<u64>().to_string());
    let folder = Scratch::new("campaign");
    let mut command = Process::command(env!("CARGO_BIN_EXE_fairlead-campaign"));
    command.args([name, "--runs", runs, "--seed", &seed, "--ack", "durable", "--short", "--no-journal"]);
    let mut process = Process::spawn(name, command, &folder.path().join("log"));
    let code = process.wait(LIMIT);
    let log = process.log();
    let telling =
        log.lines().filter(|line| ["FAIRLEAD_SEED", " green", " RED", "     - "].iter().any(|t| line.contains(t)));
    println!("{}", telling.collect::<Vec<_>>().join("\n"));
    assert_eq!(code, 0, "the campaign {name} at seed {seed}");
}

#[test]
#[ignore = "real brokers: tests/run"]
fn campaign_kill_is_green() {
    campaign("kill", "3");
}

#[test]
#[ignore = "real brokers: tests/run"]
fn campaign_kafka_is_green() {
    campaign("kafka", "5");
}

#[test]
#[ignore = "real brokers: tests/run"]
fn campaign_mqtt_is_green() {
    campaign("mqtt", "7");
}

/// Mounts file systems: fails without root.
#[test]
#[ignore = "real brokers: tests/run"]
fn campaign_power_is_green() {
    campaign("power", "3");
}

/// Mounts file systems: fails without root.
#[test]
#[ignore = "real brokers: tests/run"]
fn campaign_disk_is_green() {
    campaign("disk", "4");
}
