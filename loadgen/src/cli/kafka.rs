//! `fairlead-loadgen kafka`.

use super::bar::Bar;
use super::load::{Load, tell};
use super::payload::Payload;
use super::traffic::Traffic;
use super::verify::parse_property;
use super::{Error, Exit, parse_seconds, stop_on_signal};
use fairlead_loadgen::ais::payload::Format;
use fairlead_loadgen::produce::{Config, run};
use fairlead_loadgen::progress::Progress;
use std::sync::Arc;
use std::time::Duration;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Kafka's bootstrap servers, with commas
    #[arg(long, default_value = "127.0.0.1:9092")]
    brokers: String,
    /// The Kafka topic; it must exist
    #[arg(long)]
    topic: String,
    #[command(flatten)]
    traffic: Traffic,
    /// Messages in all
    #[arg(long, required_unless_present = "seconds")]
    messages: Option<u64>,
    /// Send nothing new after this many seconds
    #[arg(long, value_parser = parse_seconds)]
    seconds: Option<Duration>,
    /// Records without a key; otherwise it is the MQTT topic
    #[arg(long)]
    no_key: bool,
    /// A librdkafka setting
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_property)]
    set: Vec<(String, String)>,
    #[command(flatten)]
    payload: Payload,
    #[command(flatten)]
    load: Load,
}

impl Args {
    pub(super) fn run(self) -> Result<Exit, Error> {
        self.load.check()?;
        let stop = stop_on_signal()?;
        let result = self.load.result.clone();
        let progress = Arc::new(Progress::default());
        let bar = Bar::show(&progress, self.messages);
        let report = run(&self.config(), &progress, &stop)?;
        drop(bar);
        tell(result.as_deref(), &report, report.complete)
    }

    fn config(self) -> Config {
        Config {
            brokers: self.brokers,
            topic: self.topic,
            traffic: self.traffic.traffic(),
            format: self.payload.format(Format::Json),
            keyed: !self.no_key,
            messages: self.messages,
            seconds: self.seconds,
            properties: self.set,
            load: self.load.load(),
        }
    }
}
