//! Where the messages of a run went, and what came of them there.

use fairlead_loadgen::subscribe;
use fairlead_loadgen::verify::{Report, Verdict};
use serde::Serialize;

/// Every message is accounted for in Kafka; without Kafka they are counted.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Arrival {
    Kafka(Report),
    Subscriber(subscribe::Report),
}

impl Arrival {
    /// Messages a second from the first to the last.
    #[expect(clippy::cast_precision_loss, reason = "counts of messages are far below 2^53")]
    pub(crate) fn per_second(&self) -> Option<f64> {
        let (found, seconds) = match self {
            Self::Kafka(report) => (report.found, report.seconds),
            Self::Subscriber(report) => (report.received, report.seconds),
        };
        (seconds > 0.0).then(|| found as f64 / seconds)
    }

    /// From sending to the record's timestamp, in milliseconds.
    pub(crate) fn p99_ms(&self) -> Option<f64> {
        self.in_kafka().map(|report| report.latency.p99_ms)
    }

    /// Messages of the `sent` that did not arrive; at least so many where messages are only counted, and came twice.
    pub(crate) fn lost(&self, sent: u64) -> u64 {
        match self {
            Self::Kafka(report) => report.lost,
            Self::Subscriber(report) => sent.saturating_sub(report.received),
        }
    }

    pub(crate) fn duplicates(&self, sent: u64) -> u64 {
        match self {
            Self::Kafka(report) => report.duplicates,
            Self::Subscriber(report) => report.redelivered.max(report.received.saturating_sub(sent)),
        }
    }

    pub(crate) fn acknowledged_lost(&self) -> u64 {
        self.in_kafka().map_or(0, |report| report.acknowledged_lost)
    }

    pub(crate) fn out_of_order(&self) -> u64 {
        self.in_kafka().map_or(0, |report| report.out_of_order)
    }

    /// The verifier's. Duplicates are what at-least-once allows: counted, and no fault.
    pub(crate) fn verdict(&self) -> Option<Verdict> {
        self.in_kafka().map(|report| report.verdict(u64::MAX))
    }

    fn in_kafka(&self) -> Option<&Report> {
        match self {
            Self::Kafka(report) => Some(report),
            Self::Subscriber(_) => None,
        }
    }
}
