//! `fairlead-loadgen verify`.

use super::{Error, Exit, parse_seconds, print_line, stop_on_signal};
use clap::ValueEnum;
use comfy_table::{Table, presets};
use fairlead_loadgen::ledger::{AckLog, Expectation};
use fairlead_loadgen::output::{read_json, write_json};
use fairlead_loadgen::progress::Progress;
use fairlead_loadgen::verify::{Config, KeyRule, Report, Verdict, Verifier, Wrap, read};
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Kafka's bootstrap servers, with commas
    #[arg(long, default_value = "127.0.0.1:9092")]
    brokers: String,
    /// Kafka topics; NAME* stands for all that start with NAME
    #[arg(long, required = true, num_args = 1..)]
    topic: Vec<String>,
    /// The run to verify; default: that of --expect, of --ack-log, or of the first record with a stamp
    #[arg(long)]
    run_id: Option<u32>,
    /// What was sent: the result file of `publish` or `firehose`. Without it the holes in the sequences are taken for losses
    #[arg(long, value_name = "FILE")]
    expect: Option<PathBuf>,
    /// What was acknowledged: the --ack-log of `publish` or `firehose`
    #[arg(long, value_name = "FILE")]
    ack_log: Option<PathBuf>,
    /// Also check the keys: the MQTT topic, or its second level (needs --expect)
    #[arg(long, requires = "expect")]
    key: Option<Key>,
    /// Duplicates that are no fault
    #[arg(long, default_value_t = 0, value_name = "N")]
    allow_duplicates: u64,
    /// End when nothing new came for this many seconds
    #[arg(long, default_value = "5", value_parser = parse_seconds)]
    idle: Duration,
    /// Read while the run goes on: latency counts to the reading, not to the record's timestamp. Ends when --expect is met, or on
    /// a signal
    #[arg(long)]
    follow: bool,
    /// Where the bridge puts the payload: none, base64, json:FIELD, json-base64:FIELD or header:NAME
    #[arg(long, default_value = "none")]
    wrap: Wrap,
    /// A librdkafka setting
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_property)]
    set: Vec<(String, String)>,
    /// Write the result as JSON
    #[arg(long, value_name = "FILE")]
    result: Option<PathBuf>,
    /// Print JSON instead of the table
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Key {
    Topic,
    Mmsi,
}

pub(super) fn parse_property(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("not KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

impl Args {
    pub(super) fn run(self) -> Result<Exit, Error> {
        let stop = stop_on_signal()?;
        let expected: Option<Expectation> = match &self.expect {
            Some(path) => Some(read_json(path, "result of publish or firehose")?),
            None => None,
        };
        let acknowledged = self.ack_log.as_deref().map(AckLog::load).transpose()?;
        let run_of_files = expected.as_ref().map(|expected| expected.run_id);
        let run_of_files = run_of_files.or(acknowledged.as_ref().map(|log| log.run_id));
        let mut verifier = Verifier::new(self.run_id.or(run_of_files));
        let progress = Progress::default();
        if let Some(expected) = &expected {
            progress.set_target(expected.total());
            if let Some(key) = self.key {
                verifier.expect_keys(key.rule(), &expected.topics);
            }
        }
        read(&self.config(), &mut verifier, &progress, &stop)?;
        let report = verifier.report(expected.as_ref(), acknowledged.as_ref());
        let verdict = report.verdict(self.allow_duplicates);
        if let Some(path) = &self.result {
            write_json(path, &report)?;
        }
        let text = if self.json {
            serde_json::to_string(&report).expect("a report is plain data")
        } else {
            table(&report, verdict)
        };
        print_line(&text)?;
        Ok(exit(verdict))
    }

    fn config(&self) -> Config {
        Config {
            brokers: self.brokers.clone(),
            topics: self.topic.clone(),
            idle: self.idle,
            follow: self.follow,
            properties: self.set.clone(),
            wrap: self.wrap.clone(),
        }
    }
}

impl Key {
    fn rule(self) -> KeyRule {
        match self {
            Self::Topic => KeyRule::Topic,
            Self::Mmsi => KeyRule::Mmsi,
        }
    }
}

pub(super) fn exit(verdict: Verdict) -> Exit {
    match verdict {
        Verdict::Clean => Exit::Ok,
        Verdict::Inconclusive => Exit::Incomplete,
        Verdict::Lost => Exit::Lost,
        Verdict::AcknowledgedLost => Exit::AcknowledgedLost,
        Verdict::Corrupt => Exit::Corrupt,
        Verdict::OutOfOrder => Exit::OutOfOrder,
        Verdict::Duplicates => Exit::Duplicates,
        Verdict::Phantom => Exit::Phantom,
        Verdict::Key => Exit::Key,
    }
}

fn table(report: &Report, verdict: Verdict) -> String {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_BORDERS_ONLY);
    let known = |count: Option<u64>| count.map_or_else(|| "not known".to_owned(), |count| count.to_string());
    let latency = &report.latency;
    for (name, value) in [
        ("verdict", format!("{verdict:?}")),
        ("run", known(report.run_id.map(u64::from))),
        ("records read", report.records.to_string()),
        ("messages found", report.found.to_string()),
        ("sent", known(report.sent)),
        ("acknowledged", known(report.acknowledged)),
        ("lost", report.lost.to_string()),
        ("acknowledged and lost", report.acknowledged_lost.to_string()),
        ("duplicates", report.duplicates.to_string()),
        ("out of order", report.out_of_order.to_string()),
        ("corrupt", report.corrupt.to_string()),
        ("never sent", report.phantoms.to_string()),
        ("wrong keys / keys moved", format!("{} / {}", report.bad_keys, report.keys_moved)),
        ("topics in several partitions", report.publishers_spread.to_string()),
        ("without stamp / of other runs", format!("{} / {}", report.unstamped, report.other_runs)),
        ("offsets skipped", report.offset_gaps.to_string()),
        (
            "latency p50 / p99 / p99.9 / max",
            format!(
                "{:.1} / {:.1} / {:.1} / {:.1} ms",
                latency.p50_ms, latency.p99_ms, latency.p99_9_ms, latency.max_ms
            ),
        ),
    ] {
        table.add_row([name, value.as_str()]);
    }
    for missing in &report.missing {
        let range = format!("publisher {}: {} to {}", missing.publisher, missing.from, missing.to - 1);
        table.add_row(["missing", range.as_str()]);
    }
    table.to_string()
}
