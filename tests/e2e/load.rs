//! Load for the tests that need it: the most that the bridge takes on this machine now.

use std::time::Duration;

use fairlead_tests::{Config, Fairlead, KafkaClient, Loadgen, metric};
use serde_json::Value;

use crate::scene::LIMIT;

/// Anonymous memory that a bridge may have: the budget of both shards (64 MiB each, the default), and as much again
/// for everything that is not messages (code's data, librdkafka's buffers, metrics).
pub(crate) const MEMORY: u64 = 2 * 2 * (64 << 20);

/// A number from the environment, for a longer or faster run than the usual one.
pub(crate) fn asked(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).map_or(usual, |text| text.parse().expect("a number"))
}

/// The configuration for a flood without a disk.
pub(crate) fn config(url: &str, kafka: &KafkaClient, topic: &str) -> Config {
    config_with(url, kafka, topic, "kafka")
}

/// The configuration for a flood.
pub(crate) fn config_with(url: &str, kafka: &KafkaClient, topic: &str, ack: &str) -> Config {
    let config = Config::new(url, kafka.brokers(), topic).source("receive_maximum = 20000");
    config.engine(&format!("cpus = [0, 1]\nack = \"{ack}\""))
}

/// Ends a load on one connection and the bridge: what came is in Kafka, each message once. What was still on its way to the
/// bridge when the load ended never came.
#[track_caller]
pub(crate) fn finish(firehose: &mut Loadgen, bridge: &mut Fairlead, kafka: &KafkaClient, topic: &str, limit: Duration) {
    let result: Value = firehose.stop(LIMIT);
    assert_eq!((&result["connections"], &result["keep_alive_timeouts"]), (&1.into(), &0.into()), "no reconnect");
    bridge.wait_unready("harbour", LIMIT);
    let received = bridge.metric(metric::RECEIVED, &[]);
    bridge.wait_metric(metric::DELIVERED, &[], received, limit);
    assert_eq!(bridge.metric(metric::DEAD_LETTERED, &[]) + bridge.metric(metric::DROPPED, &[]), 0.0);
    assert_eq!(bridge.stop(LIMIT), 0);
    firehose.verify_acknowledged(kafka, topic);
    assert_eq!(kafka.count(topic) as f64, received, "no duplicate");
}

/// Messages a second that the bridge moves when flooded for five seconds, as 80 % for `--rate`.
pub(crate) fn four_fifths_of_maximum(kafka: &KafkaClient, topic: &str) -> String {
    let mut firehose = Loadgen::firehose(&["--seconds", "5"]);
    let mut bridge = Fairlead::start(&config(firehose.url(), kafka, topic));
    let result = firehose.succeed(Duration::from_secs(60));
    assert_eq!(bridge.stop(LIMIT), 0);
    let rate = result["messages_per_second"].as_f64().expect("a rate");
    println!("maximum: {rate:.0} msg/s");
    format!("{:.0}", rate * 0.8)
}
