//! What is compared: figures of one run, out of the generator's result and the verification.

use crate::arrival::Arrival;
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
pub(crate) const FIGURES: [Figure; 9] = [
    Figure { title: "msg/s to the ack", digits: 0, of: |figures| Some(figures.acknowledged_per_second) },
    Figure { title: "msg/s into Kafka", digits: 0, of: |figures| figures.arrived_per_second },
    BRIDGE_CPU,
    Figure { title: "Kafka, CPU-s per million", digits: 2, of: |figures| figures.kafka_cpu },
    Figure { title: "mosquitto, of a core", digits: 2, of: |figures| figures.mosquitto_share },
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
    /// From the first record in Kafka to the last, by the records' own timestamps; without Kafka from the first message that
    /// the subscriber got to the last.
    pub(crate) arrived_per_second: Option<f64>,
    /// CPU seconds for each million messages, until the bridge's last acknowledgement; behind mosquitto until all is in
    /// Kafka.
    pub(crate) bridge_cpu: Option<f64>,
    pub(crate) kafka_cpu: Option<f64>,
    /// It has one thread: near 1 it can do no more.
    pub(crate) mosquitto_share: Option<f64>,
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
    pub(crate) fn of(outcome: &Outcome, noise: f64) -> Self {
        let (result, arrival) = (&outcome.result, &outcome.arrival);
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
            arrived_per_second: arrival.per_second(),
            bridge_cpu: outcome.bridge_cpu_seconds.or_else(|| process("bridge", "cpu_seconds")).and_then(per_million),
            kafka_cpu: process("kafka", "cpu_seconds").and_then(per_million),
            mosquitto_share: mosquitto_share(process("mosquitto", "cpu_seconds"), number("/seconds")),
            bridge_mebibytes: process("bridge", "rss_anon_peak_bytes").map(|bytes| bytes / MEBIBYTE),
            acknowledged_p50_ms: number("/latency/p50_ms"),
            acknowledged_p99_ms: number("/latency/p99_ms"),
            arrived_p99_ms: arrival.p99_ms(),
            lost: arrival.lost(sent(result)),
            acknowledged_lost: arrival.acknowledged_lost(),
            duplicates: arrival.duplicates(sent(result)),
            marks: marks(outcome, noise),
        }
    }
}

fn marks(outcome: &Outcome, noise: f64) -> Vec<String> {
    let (result, arrival) = (&outcome.result, &outcome.arrival);
    let number = |name: &str| result.get(name).and_then(Value::as_f64).unwrap_or(0.0);
    let mut marks = Vec::new();
    let mut mark = |is_so: bool, text: String| {
        if is_so {
            marks.push(text);
        }
    };
    // The other verdicts are counts that are marked anyway.
    let told = [Verdict::Corrupt, Verdict::Phantom, Verdict::Key, Verdict::Inconclusive];
    let count = |words: &str, count: u64| (count > 0, format!("{words} {count}"));
    let counts = [
        count("ACKNOWLEDGED AND LOST", arrival.acknowledged_lost()),
        count("lost", arrival.lost(sent(result))),
        count("out of order", arrival.out_of_order()),
        count("twice", arrival.duplicates(sent(result))),
    ];
    counts.into_iter().for_each(|(is_so, text)| mark(is_so, text));
    if let Some(verdict) = arrival.verdict() {
        mark(told.contains(&verdict), format!("{verdict:?}"));
    }
    // Incomplete is also a run that was over before it had sent all, and at QoS 0 nothing is acknowledged.
    let is_open = result.get("complete") != Some(&Value::Bool(true)) && number("acknowledged") < number("sent");
    mark(is_open, "not all acknowledged".to_owned());
    mark(outcome.foreign > noise, format!("noisy {:.0} %", outcome.foreign * 100.0));
    let is_bound = result.get("generator_bound") == Some(&Value::Bool(true));
    mark(is_bound, format!("generator-bound {:.0} %", number("generator_share") * 100.0));
    if let Arrival::Subscriber(report) = arrival {
        let share = report.cost.generator_share * 100.0;
        mark(report.cost.generator_bound, format!("subscriber-bound {share:.0} %"));
    }
    marks
}

fn mosquitto_share(cpu: Option<f64>, seconds: Option<f64>) -> Option<f64> {
    Some(cpu? / seconds.filter(|seconds| *seconds > 0.0)?)
}

fn sent(result: &Value) -> u64 {
    result.get("sent").and_then(Value::as_u64).unwrap_or(0)
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
        Outcome { result, arrival: Arrival::Kafka(verification), bridge_cpu_seconds: None, foreign: 0.01 }
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
    fn without_kafka_messages_are_counted() {
        let received = json!({
            "complete": true, "received": 1_999_990, "redelivered": 3, "payload_bytes": 1, "connections_lost": 0,
            "sessions_lost": 0, "seconds": 2.0, "messages_per_second": 999_995.0, "generator_cpu_seconds": 1.8,
            "generator_share": 0.9, "generator_bound": true,
        });
        let arrival = Arrival::Subscriber(serde_json::from_value(received).unwrap());
        let mut outcome = Outcome { arrival, ..outcome() };
        let mosquitto = json!({ "name": "mosquitto", "cpu_seconds": 1.9, "processes": 1 });
        outcome.result["processes"].as_array_mut().unwrap().push(mosquitto);
        let figures = Figures::of(&outcome, 0.05);
        assert_eq!((figures.arrived_per_second, figures.mosquitto_share), (Some(999_995.0), Some(0.95)));
        assert_eq!((figures.lost, figures.arrived_p99_ms), (10, None));
        assert_eq!(figures.marks.join(", "), "lost 10, twice 3, subscriber-bound 90 %");
    }

    #[test]
    fn what_is_wrong_is_marked() {
        let mut outcome = outcome();
        outcome.foreign = 0.2;
        outcome.result["complete"] = false.into();
        outcome.result["acknowledged"] = 1_999_999.into();
        (outcome.result["generator_share"], outcome.result["generator_bound"]) = (0.95.into(), true.into());
        let Arrival::Kafka(verification) = &mut outcome.arrival else { panic!("{outcome:?}") };
        (verification.lost, verification.acknowledged_lost) = (7, 5);
        let marks = Figures::of(&outcome, 0.05).marks.join(", ");
        let expected = "ACKNOWLEDGED AND LOST 5, lost 7, not all acknowledged, noisy 20 %, generator-bound 95 %";
        assert_eq!(marks, expected);
    }
}
