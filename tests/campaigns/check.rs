//! Holds what is in Kafka against what was sent and what was acknowledged. The sets are ranges of sequence numbers, so
//! that millions of messages cost a few kilobytes.

use fairlead_loadgen::{
    ledger::{AckLog, Expectation},
    stamp::Stamp,
    verify::{KeyRule, Record, Report, Verifier},
};
use fairlead_tests::KafkaClient;
use rdkafka::Message;

use crate::outcome::Outcome;

/// What is known beside Kafka.
#[derive(Debug)]
pub(crate) struct Evidence {
    /// What was sent.
    pub(crate) sent: Expectation,
    /// What Fairlead acknowledged: must be in Kafka.
    pub(crate) acknowledged: AckLog,
    /// What the MQTT broker had taken over and not lost: must be in Kafka when everything has come to rest.
    pub(crate) taken_over: Option<AckLog>,
    /// Most duplicates.
    pub(crate) bound: u64,
    /// Most re-runs of a topic, where they can be told apart.
    pub(crate) reruns: Option<u64>,
    /// Messages that the broker sent behind newer ones of their topic.
    pub(crate) disordered: u64,
    /// Records that are not the load generator's.
    pub(crate) unstamped: u64,
    /// A damage to the disk was reported: what it took may be missing.
    pub(crate) damage_reported: bool,
}

/// Reads Kafka.
#[derive(Debug)]
pub(crate) struct Checker {
    verifier: Verifier,
    /// By publisher: the last sequence, and how often it was not above the one before.
    runs: Vec<(Option<u64>, u64)>,
    stamp_at: usize,
}

impl Checker {
    /// `topics` are the MQTT topics of the run by publisher; each record's key must be its topic.
    pub(crate) fn new(run_id: u32, topics: &[String]) -> Checker {
        let mut verifier = Verifier::new(Some(run_id));
        verifier.expect_keys(KeyRule::Topic, topics);
        Checker { verifier, runs: vec![(None, 0); topics.len()], stamp_at: 0 }
    }

    /// Reads a Kafka topic to its end. More than once only where it is another of the same name.
    pub(crate) fn read(&mut self, kafka: &KafkaClient, topic: &str) {
        kafka.visit(topic, |message| {
            let payload = message.payload().unwrap_or_default();
            self.note_order(payload);
            self.verifier.observe(&Record {
                topic,
                partition: message.partition(),
                offset: message.offset(),
                key: message.key(),
                payload,
                arrived_ns: message.timestamp().to_millis().unwrap_or(0).saturating_mul(1_000_000),
            });
        });
    }

    fn note_order(&mut self, payload: &[u8]) {
        let Ok((stamp, at)) = Stamp::find(payload, self.stamp_at) else { return };
        self.stamp_at = at;
        let Some((last, reruns)) = self.runs.get_mut(stamp.publisher as usize) else { return };
        *reruns += u64::from(last.is_some_and(|last| stamp.sequence <= last));
        *last = Some(stamp.sequence);
    }

    /// The verdict on the messages; what concerns the process is added by others.
    pub(crate) fn judge(&self, evidence: &Evidence) -> Outcome {
        let report = self.verifier.report(Some(&evidence.sent), Some(&evidence.acknowledged));
        let taken_over = evidence.taken_over.as_ref().map(|log| self.verifier.report(Some(&evidence.sent), Some(log)));
        let mut outcome = Outcome::default();
        let counts = &mut outcome.counts;
        counts.published = evidence.sent.total();
        counts.acked = report.acknowledged.unwrap_or(0);
        counts.in_kafka = report.found;
        counts.lost = report.acknowledged_lost;
        counts.missing = taken_over.map_or(0, |report| report.acknowledged_lost);
        counts.duplicates = report.duplicates;
        counts.bound = evidence.bound;
        counts.reruns = self.runs.iter().map(|(_, reruns)| *reruns).max().unwrap_or(0);
        counts.out_of_order = report.out_of_order;
        counts.corrupt = report.corrupt;
        counts.phantoms = report.phantoms;
        counts.bad_keys = report.bad_keys + report.keys_moved;
        judge_messages(&mut outcome, &report, evidence);
        outcome
    }
}

fn judge_messages(outcome: &mut Outcome, report: &Report, evidence: &Evidence) {
    let counts = outcome.counts.clone();
    outcome.demand(counts.acked > 0, || "nothing was acknowledged".to_owned());
    if !evidence.damage_reported {
        outcome.demand(counts.lost == 0, || {
            let examples = report.missing.iter().take(5).map(|m| format!("{}: {} to {}", m.publisher, m.from, m.to));
            format!("acknowledged and lost: {} (of publisher {})", counts.lost, examples.collect::<Vec<_>>().join(", "))
        });
        outcome.none("taken over by the broker and missing", counts.missing);
    }
    outcome.at_most("duplicates", counts.duplicates, counts.bound);
    if let Some(limit) = evidence.reruns {
        outcome.at_most("re-runs of a topic", counts.reruns, limit);
    }
    outcome.at_most("out of order", counts.out_of_order, evidence.disordered);
    outcome.none("corrupt", counts.corrupt);
    outcome.none("never sent", counts.phantoms);
    outcome.none("bad keys", counts.bad_keys);
    outcome.none("of other runs", report.other_runs);
    let expected = evidence.unstamped;
    outcome.demand(report.unstamped == expected, || format!("without stamp: {} for {expected}", report.unstamped));
}
