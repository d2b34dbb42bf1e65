//! What is compared: figures of one run, out of the generator's result and the verification.

use crate::run::Outcome;
use fairlead_loadgen::verify::Verdict;
use serde::Serialize;
use serde_json::Value;

const MEBIBYTE: f64 = 1_048_576.0;

/// A column of the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figure {
    pub(crate) title: &'static str,
    pub(crate) digits: usize,
    of: fn(&Figures) -> Option<f64>,
}

/// All columns, from left to right.
pub(crate) const FIGURES: [Figure; 8] = [
    Figure { title: "msg/s to the ack", digits: 0, of: |figures| Some(figures.acknowledged_per_second) },
    Figure { title: "msg/s into Kafka", digits: 0, of: |figures| figures.arrived_per_second },
    BRIDGE_CPU,
    Figure { title: "Kafka, CPU-s per million", digits: 2, of: |figures| figures.kafka_cpu },
    Figure { title: "RssAnon, MiB", digits: 0, of: |figures| figures.bridge_mebibytes },
    Figure { title: "to the ack, p50 ms", digits: 2, of: |figures| figures.acknowledged_p50_ms },
    Figure { title: "to the ack, p99 ms", digits: 2, of: |figures| figures.acknowledged_p99_ms },
    Figure { title: "to Kafka, p99 ms", digits: 2, of: |figures| figures.arrived_p99_ms },
];

/// What bridges are compared by, run for run.
pub(crate) const BRIDGE_CPU: Figure =
    Figure { title: "bridge, CPU-s per million", digits: 3, of: |figures| figures.bridge_cpu };

impl Figure {
    pub(crate) fn value(self, figures: &Figures) -> Option<f64> {
        (self.of)(figures)
    }
}

/// The figures of one run.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Figures {
    /// Until the last acknowledgement: the bridge's, or through mosquitto the broker's.
    pub(crate) acknowledged_per_second: f64,
    /// From the first record in Kafka to the last, by the records' own timestamps.
    pub(crate) arrived_per_second: Option<f64>,
    /// CPU seconds for each million messages, until the bridge's last acknowledgement; behind mosquitto until all is in
    /// Kafka.
    pub(crate) bridge_cpu: Option<f64>,
    pub(crate) kafka_cpu: Option<f64>,
    pub(crate) bridge_mebibytes: Option<f64>,
    pub(crate) acknowledged_p50_ms: Option<f64>,
    pub(crate) acknowledged_p99_ms: Option<f64>,
    /// From sending to the record's timestamp.
    pub(crate) arrived_p99_ms: Option<f64>,
    pub(crate) lost: u64,
    pub(crate) acknowledged_lost: u64,
    pub(crate) duplicates: u64,
    /// What else is to be known of the run.
    pub(crate) marks: Vec<String>,
}

impl Figures {
    /// `noise`: the share of the machine above which others have disturbed the run.
    #[expect(clippy::cast_precision_loss, reason = "counts of messages are far below 2^53")]
    pub(crate) fn of(outcome: &Outcome, noise: f64) -> Self {
        let (result, verification) = (&outcome.result, &outcome.verification);
        let number = |path: &str| result.pointer(path).and_then(Value::as_f64);
        // At QoS 0 nothing is acknowledged.
        let messages = number("/acknowledged").filter(|count| *count > 0.0).or_else(|| number("/sent")).unwrap_or(0.0);
        let process = |name: &str, field: &str| {
            let processes = result.get("processes")?.as_array()?;
            let found = processes.iter().find(|process| process["name"] == name && process["processes"] != 0)?;
            found.get(field)?.as_f64()
        };
        let per_million = |cpu: f64| (messages > 0.0).then(|| cpu / messages * 1e6);
        Self {
            acknowledged_per_second: number("/messages_per_second").unwrap_or(0.0),
            arrived_per_second: (verification.seconds > 0.0).then(|| verification.found as f64 / verification.seconds),
            bridge_cpu: outcome.bridge_cpu_seconds.or_else(|| process("bridge", "cpu_seconds")).and_then(per_million),
            kafka_cpu: process("kafka", "cpu_seconds").and_then(per_million),
            bridge_mebibytes: process("bridge", "rss_anon_peak_bytes").map(|bytes| bytes / MEBIBYTE),
            acknowledged_p50_ms: number("/latency/p50_ms"),
            acknowledged_p99_ms: number("/latency/p99_ms"),
            arrived_p99_ms: Some(verification.latency.p99_ms),
            lost: verification.lost,
            acknowledged_lost: verification.acknowledged_lost,
            duplicates: verification.duplicates,
            marks: marks(outcome, noise),
        }
    }
}

fn marks(outcome: &Outcome, noise: f64) -> Vec<String> {
    let (result, verification) = (&outcome.result, &outcome.verification);
    let number = |name: &str| result.get(name).and_then(Value::as_f64).unwrap_or(0.0);
    let mut marks = Vec::new();
    let mut mark = |is_so: bool, text: String| {
        if is_so {
            marks.push(text);
        }
    };
    // The other verdicts are counts that are marked anyway.
    let told = [Verdict::Corrupt, Verdict::Phantom, Verdict::Key, Verdict::Inconclusive];
    mark(verification.acknowledged_lost > 0, format!("ACKNOWLEDGED AND LOST {}", verification.acknowledged_lost));
    mark(verification.lost > 0, format!("lost {}", verification.lost));
    mark(told.contains(&outcome.verdict), format!("{:?}", outcome.verdict));
    mark(verification.out_of_order > 0, format!("out of order {}", verification.out_of_order));
    mark(verification.duplicates > 0, format!("twice {}", verification.duplicates));
    // Incomplete is also a run that was over before it had sent all, and at QoS 0 nothing is acknowledged.
    let is_open = result.get("complete") != Some(&Value::Bool(true)) && number("acknowledged") < number("sent");
    mark(is_open, "not all acknowledged".to_owned());
    mark(outcome.foreign > noise, format!("noisy {:.0} %", outcome.foreign * 100.0));
    let is_bound = result.get("generator_bound") == Some(&Value::Bool(true));
    mark(is_bound, format!("generator-bound {:.0} %", number("generator_share") * 100.0));
    marks
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use fairlead_loadgen::verify::Verifier;
    use serde_json::json;

    pub(crate) fn outcome() -> Outcome {
        let result = json!({
            "complete": true, "sent": 2_000_000, "acknowledged": 2_000_000, "seconds": 2.0,
            "messages_per_second": 1_000_000.0, "generator_cpu_seconds": 1.0,
            "latency": { "p50_ms": 1.5, "p99_ms": 4.0 },
            "processes": [
                { "name": "bridge", "cpu_seconds": 1.0, "rss_anon_peak_bytes": 41_943_040, "processes": 1 },
                { "name": "kafka", "cpu_seconds": 0.0, "rss_anon_peak_bytes": 0, "processes": 0 },
            ],
        });
        let mut verification = Verifier::new(Some(1)).report(None, None);
        (verification.found, verification.seconds) = (2_000_000, 4.0);
        Outcome { result, verification, verdict: Verdict::Clean, bridge_cpu_seconds: None, foreign: 0.01 }
    }

    #[test]
    fn figures_are_for_each_million() {
        let figures = Figures::of(&outcome(), 0.05);
        assert_eq!(figures.bridge_cpu, Some(0.5));
        assert_eq!(figures.bridge_mebibytes, Some(40.0));
        assert_eq!(figures.arrived_per_second, Some(500_000.0));
        let behind_broker = Outcome { bridge_cpu_seconds: Some(3.0), ..outcome() };
        assert_eq!(Figures::of(&behind_broker, 0.05).bridge_cpu, Some(1.5));
        // A process that was never found used nothing that is known.
        assert_eq!(figures.kafka_cpu, None);
        assert!(figures.marks.is_empty(), "{:?}", figures.marks);
    }

    #[test]
    fn what_is_wrong_is_marked() {
        let mut outcome = outcome();
        outcome.foreign = 0.2;
        outcome.result["complete"] = false.into();
        outcome.result["acknowledged"] = 1_999_999.into();
        (outcome.result["generator_share"], outcome.result["generator_bound"]) = (0.95.into(), true.into());
        outcome.verification.lost = 7;
        outcome.verification.acknowledged_lost = 5;
        outcome.verdict = outcome.verification.verdict(u64::MAX);
        let marks = Figures::of(&outcome, 0.05).marks.join(", ");
        let expected = "ACKNOWLEDGED AND LOST 5, lost 7, not all acknowledged, noisy 20 %, generator-bound 95 %";
        assert_eq!(marks, expected);
    }
}
