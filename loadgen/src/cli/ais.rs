//! `fairlead-loadgen ais`: the published benchmark as one command.

use super::bar::Bar;
use super::load::Load;
use super::payload::Payload;
use super::verify::exit;
use super::{Error, Exit, print_line, stop_on_signal};
use comfy_table::{CellAlignment, Table, presets};
use fairlead_loadgen::ais::payload::Format;
use fairlead_loadgen::output::write_json;
use fairlead_loadgen::progress::Progress;
use fairlead_loadgen::publish::{self, Publisher};
use fairlead_loadgen::traffic::{Fleet, Traffic};
use fairlead_loadgen::verify::{self, KafkaError, Verdict, Verifier, Wrap};
use fairlead_loadgen::{BrokerUrl, Qos, Version};
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// What the authors of the benchmark published, in messages a second.
const PUBLISHED: [(&str, f64); 3] = [
    ("published: a laptop", 30_000.0),
    ("published: three Kafka nodes, one MQTT broker", 65_000.0),
    ("published: straight into Kafka, without MQTT", 600_000.0),
];

/// How long the end of the run may be silent in Kafka.
const IDLE: Duration = Duration::from_secs(10);

const MEBIBYTE: f64 = 1_048_576.0;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The broker: mqtt://[user:password@]host[:port]
    #[arg(long, default_value = "mqtt://127.0.0.1:1883")]
    url: BrokerUrl,
    /// Messages in all
    #[arg(long, default_value_t = 100_000)]
    messages: u64,
    /// Connections; each publishes to a topic of its own, with one message in flight
    #[arg(long, default_value_t = 64)]
    workers: u32,
    /// Vessels whose positions are reported
    #[arg(long, default_value_t = 5_000)]
    vessels: u32,
    /// The same seed gives the same messages
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Unacknowledged messages of a worker at most
    #[arg(long, default_value_t = 1)]
    in_flight: u16,
    /// Where a bridge writes to: every message is verified there while the run goes on
    #[arg(long, value_name = "KAFKA TOPIC")]
    topic: Option<String>,
    /// Kafka's bootstrap servers, with commas
    #[arg(long, default_value = "127.0.0.1:9092")]
    brokers: String,
    #[command(flatten)]
    payload: Payload,
    #[command(flatten)]
    load: Load,
}

/// What happened, as it is written to the result file.
#[derive(Debug, Serialize)]
struct Report {
    #[serde(flatten)]
    published: publish::Report,
    /// Payload bytes a second until the last PUBACK, in MiB.
    mebibytes_per_second: f64,
    /// What the bridge brought to Kafka.
    kafka: Option<verify::Report>,
}

impl Args {
    pub(super) fn run(self) -> Result<Exit, Error> {
        self.load.check()?;
        let stop = stop_on_signal()?;
        let result = self.load.result.clone();
        let progress = Arc::new(Progress::default());
        let config = self.config();
        let start = |topic| Checker::start(self.brokers.clone(), topic, config.load.run_id, &progress);
        let checker = self.topic.clone().map(start).transpose()?;
        let bar = Bar::show(&progress, Some(self.messages));
        let publisher = Publisher::spawn(config, Arc::clone(&progress))?;
        while !publisher.is_finished() && !stop.load(Ordering::Relaxed) {
            thread::park_timeout(Duration::from_millis(20));
        }
        publisher.stop();
        let published = publisher.join()?;
        drop(bar);
        progress.set_target(published.sent);
        let kafka = checker.map(|checker| checker.finish(&published)).transpose()?;
        let mebibytes = progress.snapshot().sent_bytes as f64 / MEBIBYTE;
        let mebibytes_per_second = if published.seconds > 0.0 { mebibytes / published.seconds } else { 0.0 };
        let report = Report { published, mebibytes_per_second, kafka };
        print_line(&report.table())?;
        if let Some(path) = result {
            write_json(&path, &report)?;
        }
        Ok(report.exit())
    }

    fn config(&self) -> publish::Config {
        publish::Config {
            url: self.url.clone(),
            version: Version::V5,
            traffic: Traffic::Workers(Fleet { vessels: self.vessels, seed: self.seed }),
            format: self.payload.clone().format(Format::Avro { schema: None, id: None }),
            qos: Qos::AtLeastOnce,
            clients: self.workers,
            in_flight: self.in_flight,
            messages: Some(self.messages),
            storm: None,
            ahead: None,
            persistent: false,
            patience: Duration::from_secs(60),
            load: self.load.load(),
        }
    }
}

impl Report {
    fn exit(&self) -> Exit {
        let verdict = self.kafka.as_ref().map_or(Verdict::Clean, |kafka| kafka.verdict(self.published.resent));
        if verdict == Verdict::Clean && !self.published.complete { Exit::Incomplete } else { exit(verdict) }
    }

    /// Our figures beside those that were published.
    #[expect(clippy::cast_precision_loss, reason = "counts of messages are far below 2^53")]
    fn table(&self) -> String {
        let mut table = Table::new();
        table.load_preset(presets::UTF8_BORDERS_ONLY).set_header(["", "msg/s", "MiB/s", "p50 ms", "p99 ms"]);
        let published = &self.published;
        let row = |name: &str, rate: f64, mebibytes: Option<f64>, latency: Option<(f64, f64)>| {
            let number = |value: f64, digits: usize| format!("{value:.digits$}");
            [
                name.to_owned(),
                number(rate, 0),
                mebibytes.map_or_else(String::new, |value| number(value, 1)),
                latency.map_or_else(String::new, |latency| number(latency.0, 2)),
                latency.map_or_else(String::new, |latency| number(latency.1, 2)),
            ]
        };
        let to_ack = (published.latency.p50_ms, published.latency.p99_ms);
        let rate = published.messages_per_second;
        table.add_row(row("this run, to the PUBACK", rate, Some(self.mebibytes_per_second), Some(to_ack)));
        if let Some(kafka) = &self.kafka {
            let rate = if kafka.seconds > 0.0 { kafka.found as f64 / kafka.seconds } else { 0.0 };
            let latency = (kafka.latency.p50_ms, kafka.latency.p99_ms);
            let verdict = kafka.verdict(published.resent);
            table.add_row(row(&format!("this run, into Kafka ({verdict:?})"), rate, None, Some(latency)));
        }
        for (name, rate) in PUBLISHED {
            table.add_row(row(name, rate, None, None));
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table.to_string()
    }
}

/// Reads Kafka while the run goes on.
struct Checker {
    thread: JoinHandle<Result<Verifier, KafkaError>>,
}

impl Checker {
    fn start(brokers: String, topic: String, run_id: u32, progress: &Arc<Progress>) -> Result<Self, Error> {
        let config = verify::Config {
            brokers,
            topics: vec![topic],
            idle: IDLE,
            follow: true,
            properties: Vec::new(),
            wrap: Wrap::None,
        };
        let progress = Arc::clone(progress);
        let thread = thread::Builder::new().name("verifier".to_owned()).spawn(move || {
            let mut verifier = Verifier::new(Some(run_id));
            // The publisher's end sets the target, which ends the reading.
            verify::read(&config, &mut verifier, &progress, &AtomicBool::new(false))?;
            Ok(verifier)
        });
        Ok(Self { thread: thread.map_err(Error::Thread)? })
    }

    /// Waits until all is found, or nothing more comes.
    fn finish(self, published: &publish::Report) -> Result<verify::Report, KafkaError> {
        match self.thread.join() {
            Ok(outcome) => Ok(outcome?.report(Some(&published.expected), Some(&published.ack_log))),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}
