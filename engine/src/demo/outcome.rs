//! What came of it, and the verdict.

use fairlead_loadgen::{publish, verify};

use super::{
    broker::WINDOW,
    progress::{grouped, rate},
};
use crate::bridge::Summary;

/// The numbers at the end.
pub(crate) struct Outcome {
    /// What the fleet sent, and what the MQTT broker acknowledged to it.
    pub(super) published: publish::Report,
    /// What the consumer found in Kafka, held against it.
    pub(super) found: verify::Report,
    /// The bridge's own ledger.
    pub(super) bridge: Summary,
    /// How often the bridge connected again.
    pub(super) reconnects: u64,
    /// How often the MQTT broker discarded what the bridge had not read.
    pub(super) discards: u64,
    /// CPU seconds of the process.
    pub(super) cpu_seconds: f64,
    /// Those of the bridge's shards and of their librdkafka threads.
    pub(super) bridge_cpu_seconds: f64,
}

/// What follows from the numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Everything arrived once, unchanged and in order.
    Clean,
    /// It cannot be told, for this reason.
    Inconclusive(String),
    /// This is wrong.
    Failed(String),
}

impl Outcome {
    /// A gap that an embedded broker has made by discarding is neither success nor loss.
    pub(crate) fn verdict(&self) -> Verdict {
        let found = &self.found;
        // After a reconnect what was in flight is sent again; that is allowed at QoS 1.
        let again = self.published.resent + self.reconnects * u64::from(WINDOW);
        let failed = |why: &str| Verdict::Failed(why.to_owned());
        match found.verdict(again) {
            _ if !self.bridge.imbalance.is_empty() => {
                Verdict::Failed(format!("the bridge's ledger does not balance: {}", self.bridge.imbalance.join("; ")))
            }
            verify::Verdict::Corrupt => failed("messages were changed on their way"),
            verify::Verdict::Phantom => failed("there are messages that were never sent"),
            verify::Verdict::Inconclusive => Verdict::Inconclusive(format!(
                "{} messages are missing, but the embedded Kafka has trimmed {} records that were not read",
                grouped(found.lost),
                grouped(found.offset_gaps)
            )),
            verify::Verdict::AcknowledgedLost | verify::Verdict::Lost if self.discards > 0 => {
                Verdict::Inconclusive(format!(
                    "{} messages are missing, but the embedded MQTT broker has discarded messages before they were read",
                    grouped(found.lost)
                ))
            }
            verify::Verdict::AcknowledgedLost | verify::Verdict::Lost => {
                Verdict::Failed(format!("{} messages were lost", grouped(found.lost)))
            }
            verify::Verdict::OutOfOrder => failed("messages are out of order"),
            verify::Verdict::Key => failed("keys have changed their partition"),
            verify::Verdict::Duplicates => failed("there are duplicates, and no reconnect that would explain them"),
            verify::Verdict::Clean if found.found == 0 => Verdict::Inconclusive("nothing was sent".to_owned()),
            verify::Verdict::Clean => Verdict::Clean,
        }
    }

    /// All of it for people.
    #[expect(clippy::cast_precision_loss, reason = "counts of messages are far below 2^53")]
    pub(crate) fn table(&self) -> String {
        let found = &self.found;
        let (latency, seconds) = (&found.latency, found.seconds);
        let throughput = if seconds > 0.0 { found.found as f64 / seconds } else { 0.0 };
        let per_million = |cpu: f64| if found.found == 0 { 0.0 } else { cpu * 1e6 / found.found as f64 };
        let verdict = match self.verdict() {
            Verdict::Clean => "nothing was lost".to_owned(),
            Verdict::Inconclusive(why) => format!("inconclusive: {why}"),
            Verdict::Failed(why) => format!("failed: {why}"),
        };
        let mut rows = vec![
            ("verdict", verdict),
            ("sent", grouped(self.published.sent)),
            ("acknowledged", format!("{} by the MQTT broker to the fleet", grouped(self.published.acknowledged))),
            ("in Kafka", grouped(found.found)),
            ("lost", grouped(found.lost)),
            ("duplicated", grouped(found.duplicates)),
            ("out of order", format!("{} within a vessel's topic", grouped(found.out_of_order))),
            ("throughput", format!("{} msg/s", rate(throughput))),
            (
                "latency",
                format!(
                    "p50 {:.1} ms, p99 {:.1} ms, p99.9 {:.1} ms from the fleet to the consumer",
                    latency.p50_ms, latency.p99_ms, latency.p99_9_ms
                ),
            ),
            (
                "CPU",
                format!(
                    "{:.2} s per million messages for the whole process: fleet, brokers, bridge and consumer",
                    per_million(self.cpu_seconds)
                ),
            ),
            (
                "",
                format!(
                    "{:.2} s per million messages for the bridge's shards and their librdkafka threads",
                    per_million(self.bridge_cpu_seconds)
                ),
            ),
        ];
        let foreign = found.unstamped + found.other_runs;
        if foreign > 0 {
            rows.push(("foreign", format!("{} records of other clients", grouped(foreign))));
        }
        let lines = rows.iter().map(|(name, value)| format!("  {name:<13}{value}\n"));
        format!("\n{}", lines.collect::<String>())
    }
}
