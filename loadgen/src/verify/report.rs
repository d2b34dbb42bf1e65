//! What a verification has found, and the verdict.

use super::{Publisher, Verifier};
use crate::clock::seconds_between;
use crate::latency::Percentiles;
use crate::ledger::{AckLog, Expectation};
use crate::sequences::Sequences;
use serde::{Deserialize, Serialize};

/// Examples of missing messages in a report, at most.
const MAX_EXAMPLES: usize = 20;

/// What the key of a record must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyRule {
    /// The MQTT topic.
    Topic,
    /// The second level of the MQTT topic, as in `ais/<mmsi>/position`.
    Mmsi,
}

impl KeyRule {
    /// The key for messages of this MQTT topic.
    pub fn key(self, topic: &str) -> &str {
        match self {
            Self::Topic => topic,
            Self::Mmsi => topic.split('/').nth(1).unwrap_or_default(),
        }
    }
}

/// The worst that was found; duplicates are judged by [`Report::verdict`]'s allowance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Everything arrived, unchanged and in order.
    Clean,
    /// Messages are missing, and Kafka has trimmed records that may have held them: neither success nor loss.
    Inconclusive,
    /// A message that was acknowledged is missing.
    AcknowledgedLost,
    /// A message that was sent is missing.
    Lost,
    /// A payload was changed.
    Corrupt,
    /// There is a message that was never sent.
    Phantom,
    /// First occurrences of an MQTT topic are not in the order in which they were sent.
    OutOfOrder,
    /// A key is not what it should be, or has changed its partition.
    Key,
    /// There are more duplicates than allowed.
    Duplicates,
}

/// Missing messages of one MQTT topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// The publisher's number.
    pub publisher: u32,
    /// The first missing sequence of the range.
    pub from: u64,
    /// One more than the last one.
    pub to: u64,
}

/// What a verification has found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// The run that was verified; none if no record carried a stamp.
    pub run_id: Option<u32>,
    /// Records read.
    pub records: u64,
    /// Distinct messages of the run.
    pub found: u64,
    /// Messages sent, if that is known.
    pub sent: Option<u64>,
    /// Messages acknowledged, if that is known.
    pub acknowledged: Option<u64>,
    /// Sent and not found. Without knowledge of what was sent: the holes in the sequences that were found.
    pub lost: u64,
    /// Acknowledged and not found.
    pub acknowledged_lost: u64,
    /// Further occurrences of messages that were found before.
    pub duplicates: u64,
    /// First occurrences that came after a later message of their MQTT topic in the same partition.
    pub out_of_order: u64,
    /// Records whose checksum does not match.
    pub corrupt: u64,
    /// Messages that were never sent.
    pub phantoms: u64,
    /// Records whose key is not what was asked for.
    pub bad_keys: u64,
    /// How often a key was found in another partition than before.
    pub keys_moved: u64,
    /// Records whose key was not checked because there are too many keys.
    pub keys_unchecked: u64,
    /// MQTT topics that are spread over several partitions: their order between partitions cannot be judged.
    pub publishers_spread: u64,
    /// Records without a stamp: not from a load generator.
    pub unstamped: u64,
    /// Records of other runs.
    pub other_runs: u64,
    /// Offsets that were skipped: records that Kafka has trimmed or compacted away.
    pub offset_gaps: u64,
    /// From sending to arrival in Kafka, first occurrences only.
    pub latency: Percentiles,
    /// Seconds from the first arrival to the last.
    pub seconds: f64,
    /// The first of the missing messages, for the search.
    pub missing: Vec<Missing>,
}

impl Report {
    /// The worst finding, when `allowed_duplicates` duplicates are no fault.
    pub fn verdict(&self, allowed_duplicates: u64) -> Verdict {
        let is_missing = self.lost > 0 || self.acknowledged_lost > 0;
        match self {
            _ if self.corrupt > 0 => Verdict::Corrupt,
            _ if self.phantoms > 0 => Verdict::Phantom,
            _ if is_missing && self.offset_gaps > 0 => Verdict::Inconclusive,
            _ if self.acknowledged_lost > 0 => Verdict::AcknowledgedLost,
            _ if self.lost > 0 => Verdict::Lost,
            _ if self.out_of_order > 0 => Verdict::OutOfOrder,
            _ if self.bad_keys > 0 || self.keys_moved > 0 => Verdict::Key,
            _ if self.duplicates > allowed_duplicates => Verdict::Duplicates,
            _ => Verdict::Clean,
        }
    }
}

pub(super) fn build(verifier: &Verifier, expected: Option<&Expectation>, acknowledged: Option<&AckLog>) -> Report {
    let counts = verifier.counts.clone();
    let nothing = Publisher::default();
    let seen = |number: usize| &verifier.publishers.get(number).unwrap_or(&nothing).seen;
    let mut missing = Vec::new();
    let (mut lost, mut phantoms, mut acknowledged_lost) = (0, 0, 0);
    let known = expected.map_or(0, |expected| expected.sent.len());
    for number in 0..verifier.publishers.len().max(known) {
        let seen = seen(number);
        let sent = match expected {
            Some(expected) => Sequences::below(expected.sent.get(number).copied().unwrap_or(0)),
            None => Sequences::below(seen.end()),
        };
        let absent = sent.missing_in(seen);
        lost += length(&absent);
        note_examples(&mut missing, number, &absent);
        phantoms += length(&seen.missing_in(&sent));
    }
    for (number, acked) in acknowledged.iter().flat_map(|log| log.acknowledged.iter().enumerate()) {
        let absent = acked.missing_in(seen(number));
        acknowledged_lost += length(&absent);
        if expected.is_none() {
            note_examples(&mut missing, number, &absent);
        }
    }
    let (first, last) = verifier.span_ns.unwrap_or((0, 0));
    Report {
        run_id: verifier.run_id,
        records: counts.records,
        found: verifier.found(),
        sent: expected.map(Expectation::total),
        acknowledged: acknowledged.map(|log| log.acknowledged.iter().map(Sequences::len).sum()),
        lost,
        acknowledged_lost,
        duplicates: counts.duplicates,
        out_of_order: counts.out_of_order,
        corrupt: counts.corrupt,
        phantoms,
        bad_keys: counts.bad_keys,
        keys_moved: counts.keys_moved,
        keys_unchecked: counts.keys_unchecked,
        publishers_spread: counts.publishers_spread,
        unstamped: counts.unstamped,
        other_runs: counts.other_runs,
        offset_gaps: counts.offset_gaps,
        latency: verifier.latency.percentiles(),
        seconds: seconds_between(first, last),
        missing,
    }
}

fn length(ranges: &[(u64, u64)]) -> u64 {
    ranges.iter().map(|(start, end)| end - start).sum()
}

fn note_examples(missing: &mut Vec<Missing>, number: usize, ranges: &[(u64, u64)]) {
    let room = MAX_EXAMPLES.saturating_sub(missing.len());
    missing.extend(ranges.iter().take(room).map(|&(from, to)| Missing {
        publisher: u32::try_from(number).unwrap_or(u32::MAX),
        from,
        to,
    }));
}
