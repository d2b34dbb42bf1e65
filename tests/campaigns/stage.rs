//! What the runs of a campaign share: a real Kafka behind a proxy, and what this machine can do with it.

use std::{path::Path, time::Duration};

use clap::ValueEnum;
use fairlead_tests::{Config, Fairlead, Kafka, Loadgen, unique};
use serde::{Deserialize, Serialize};

/// Longest wait for anything that should happen soon; generous, because the machine is busy.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);
/// Partitions of a Kafka topic.
pub(crate) const PARTITIONS: i32 = 9;

/// Shards of a bridge: the campaigns are judged for a machine with two cores. Each has a log.
const SHARDS: u64 = 2;

/// Records of a log that the cursor on the disk may not have yet, although they were delivered.
const CURSOR_LAG: u64 = 16 * 1024;

/// Records that replay sends ahead of the oldest one that was not delivered: 16 MiB with their overhead, and what one read
/// brings.
const SENT_AHEAD: u64 = 32 * 1024;

/// `[engine] ack`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Ack {
    Kafka,
    Durable,
    Spool,
}

impl Ack {
    /// As Fairlead and the campaign's command line name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Ack::Kafka => "kafka",
            Ack::Durable => "durable",
            Ack::Spool => "spool",
        }
    }

    /// Whether the spool is in use.
    pub(crate) fn spools(self) -> bool {
        self != Ack::Kafka
    }

    /// Duplicates that a crash may bring beyond what the MQTT broker sends again.
    pub(crate) fn replayed(self) -> u64 {
        if self.spools() { SHARDS * (CURSOR_LAG + SENT_AHEAD) } else { 0 }
    }

    /// Ordered re-runs that a crash or a lost connection may bring: the broker's, and the log's.
    pub(crate) fn reruns(self) -> u64 {
        if self.spools() { 2 } else { 1 }
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) kafka: Kafka,
    pub(crate) ack: Ack,
    maximum: Option<f64>,
}

impl Stage {
    pub(crate) fn new(ack: Ack) -> Stage {
        Stage { kafka: Kafka::start_behind_proxy(), ack, maximum: None }
    }

    /// The bootstrap server for Fairlead: the proxy before Kafka.
    pub(crate) fn brokers(&self) -> String {
        format!("127.0.0.1:{}", self.kafka.proxy().port())
    }

    /// A new Kafka topic.
    pub(crate) fn topic(&self, partitions: i32, properties: &[(&str, &str)]) -> String {
        let topic = unique("run");
        self.kafka.create_topic(&topic, partitions, properties);
        topic
    }

    /// The configuration of a run. Where the spool is in use it lies in `spool`, or beside the bridge's state.
    pub(crate) fn config(&self, url: &str, topic: &str, spool: Option<&Path>, engine: &str) -> Config {
        let engine = format!("cpus = [0, 1]\nack = \"{}\"\n{engine}", self.ack.name());
        let config = Config::new(url, &self.brokers(), topic).engine(&engine);
        match spool {
            Some(folder) => config.spool(&format!("dir = {folder:?}\nsegment = \"8MiB\"\nmin_free = \"1MiB\"")),
            None => config,
        }
    }

    /// Messages a second that the bridge moves when flooded, measured once.
    pub(crate) fn maximum(&mut self) -> f64 {
        if let Some(known) = self.maximum {
            return known;
        }
        let topic = self.topic(PARTITIONS, &[]);
        let mut rate = 0.0;
        // Kafka compiles itself during the first flood; the second is what the runs will meet.
        for _ in 0..2 {
            let mut firehose = Loadgen::firehose(&["--seconds", "4"]);
            let config = self.config(firehose.url(), &topic, None, "").source("receive_maximum = 20000");
            let mut bridge = Fairlead::start(&config);
            let result = firehose.succeed(LIMIT);
            assert_eq!(bridge.stop(LIMIT), 0, "the bridge ends in good order");
            rate = result["messages_per_second"].as_f64().expect("a rate");
        }
        self.kafka.delete_topic(&topic);
        println!("maximum: {rate:.0} msg/s");
        *self.maximum.insert(rate)
    }
}
