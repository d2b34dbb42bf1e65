//! The verifier: reads what arrived in Kafka and says what was lost, doubled, reordered, changed or invented.

mod reader;
mod report;
mod wrap;

pub use reader::{Config, KafkaError, read};
pub use report::{KeyRule, Report, Verdict};
pub use wrap::Wrap;

use crate::latency::Latency;
use crate::ledger::{AckLog, Expectation};
use crate::progress::Progress;
use crate::sequences::Sequences;
use crate::stamp::{Stamp, StampError};
use foldhash::HashMap;

/// Keys for which the partition is remembered, at most; what comes beyond is counted and not checked.
pub const MAX_KEYS: usize = 4_000_000;

/// Publisher numbers from this on are not believed: the firehose has a million topics at most.
pub const MAX_PUBLISHERS: u32 = 64_000_000;

/// A record of Kafka.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// Name of the Kafka topic.
    pub topic: &'a str,
    /// Its partition.
    pub partition: i32,
    /// Offset within the partition.
    pub offset: i64,
    /// The key, if there is one.
    pub key: Option<&'a [u8]>,
    /// The value.
    pub payload: &'a [u8],
    /// When it arrived, in nanoseconds since the Unix epoch: the record's own timestamp, or when it was read where the
    /// reader follows the run.
    pub arrived_ns: i64,
}

/// Index of a partition among those seen.
type Place = u16;

/// What is known of the messages of one MQTT topic.
#[derive(Debug, Default)]
struct Publisher {
    seen: Sequences,
    /// One more than the greatest sequence seen in `place`.
    next: u64,
    place: Option<Place>,
    /// The same for further partitions; a publisher with one key has none.
    elsewhere: Vec<(Place, u64)>,
    key: Option<Box<[u8]>>,
}

/// One partition of one Kafka topic.
#[derive(Debug)]
struct Partition {
    topic: String,
    number: i32,
    next_offset: i64,
}

/// What was counted, beside the sets.
#[derive(Debug, Default, Clone)]
struct Counts {
    records: u64,
    unstamped: u64,
    other_runs: u64,
    corrupt: u64,
    duplicates: u64,
    out_of_order: u64,
    offset_gaps: u64,
    unique: u64,
    unique_bytes: u64,
    keys_moved: u64,
    keys_unchecked: u64,
    publishers_spread: u64,
    bad_keys: u64,
}

/// Takes records in the order of their partitions, as a consumer delivers them, while the run goes on or afterwards.
///
/// Memory is a few dozen bytes for each MQTT topic, and 16 more for each hole in its sequences.
#[derive(Debug)]
pub struct Verifier {
    run_id: Option<u32>,
    publishers: Vec<Publisher>,
    partitions: Vec<Partition>,
    last_place: Place,
    keys: HashMap<Box<[u8]>, Place>,
    key_rule: Option<KeyRule>,
    /// The key that each publisher's records should have.
    expected_keys: Vec<Box<[u8]>>,
    stamp_hint: usize,
    counts: Counts,
    latency: Latency,
    /// First and last arrival.
    span_ns: Option<(i64, i64)>,
}

impl Verifier {
    /// For the records of one run; without a run id, the run of the first stamped record.
    pub fn new(run_id: Option<u32>) -> Self {
        Self {
            run_id,
            publishers: Vec::new(),
            partitions: Vec::new(),
            last_place: 0,
            keys: HashMap::default(),
            key_rule: None,
            expected_keys: Vec::new(),
            stamp_hint: 0,
            counts: Counts::default(),
            latency: Latency::new(),
            span_ns: None,
        }
    }

    /// Also checks every record's key, for which the MQTT topics of the run must be known.
    pub fn expect_keys(&mut self, rule: KeyRule, topics: &[String]) {
        self.key_rule = Some(rule);
        self.expected_keys = topics.iter().map(|topic| rule.key(topic).as_bytes().into()).collect();
    }

    /// Says where reading of a partition begins; without it, at offset 0. What lies before was trimmed, and a message
    /// that is missing may have been there: see [`Verdict::Inconclusive`].
    ///
    /// # Panics
    /// If there are more than 65,535 partitions.
    pub fn start_at(&mut self, topic: &str, partition: i32, offset: i64) {
        let place = self.place(topic, partition);
        self.partitions[usize::from(place)].next_offset = 0;
        self.note_offset(place, offset);
        self.partitions[usize::from(place)].next_offset = offset;
    }

    /// Takes one record; returns true if it is the first occurrence of a message of the run.
    pub fn observe(&mut self, record: &Record<'_>) -> bool {
        self.counts.records += 1;
        let place = self.place(record.topic, record.partition);
        self.note_offset(place, record.offset);
        let stamp = match Stamp::find(record.payload, self.stamp_hint) {
            Ok((stamp, at)) => {
                self.stamp_hint = at;
                stamp
            }
            Err(StampError::Absent) => {
                self.counts.unstamped += 1;
                return false;
            }
            Err(StampError::Corrupt) => {
                self.counts.corrupt += 1;
                return false;
            }
        };
        if stamp.run != *self.run_id.get_or_insert(stamp.run) {
            self.counts.other_runs += 1;
            return false;
        }
        if stamp.publisher >= MAX_PUBLISHERS {
            self.counts.corrupt += 1;
            return false;
        }
        self.observe_stamped(record, place, &stamp)
    }

    fn observe_stamped(&mut self, record: &Record<'_>, place: Place, stamp: &Stamp) -> bool {
        let number = stamp.publisher as usize;
        if number >= self.publishers.len() {
            self.publishers.resize_with(number + 1, Publisher::default);
        }
        self.check_key(number, record.key, place);
        let publisher = &mut self.publishers[number];
        if !publisher.seen.insert(stamp.sequence) {
            self.counts.duplicates += 1;
            return false;
        }
        let next = publisher.next_in(place, &mut self.counts.publishers_spread);
        if stamp.sequence < *next {
            self.counts.out_of_order += 1;
        } else {
            *next = stamp.sequence + 1;
        }
        self.counts.unique += 1;
        self.counts.unique_bytes += record.payload.len() as u64;
        self.latency.record(stamp.age(record.arrived_ns));
        let first = self.span_ns.map_or(record.arrived_ns, |span| span.0.min(record.arrived_ns));
        let last = self.span_ns.map_or(record.arrived_ns, |span| span.1.max(record.arrived_ns));
        self.span_ns = Some((first, last));
        true
    }

    /// A partition keeps the order, so what has one key must stay in one partition.
    fn check_key(&mut self, number: usize, key: Option<&[u8]>, place: Place) {
        if self.key_rule.is_some() {
            let expected = self.expected_keys.get(number).map(AsRef::as_ref);
            self.counts.bad_keys += u64::from(key != expected);
        }
        let Some(key) = key else { return };
        let publisher = &mut self.publishers[number];
        // Nearly always the same key in the same place as last time.
        if publisher.key.as_deref() == Some(key) && publisher.place == Some(place) && publisher.elsewhere.is_empty() {
            return;
        }
        publisher.key = Some(key.into());
        if let Some(known) = self.keys.get_mut(key) {
            if *known != place {
                *known = place;
                self.counts.keys_moved += 1;
            }
        } else if self.keys.len() < MAX_KEYS {
            self.keys.insert(key.into(), place);
        } else {
            self.counts.keys_unchecked += 1;
        }
    }

    fn place(&mut self, topic: &str, number: i32) -> Place {
        let is_it = |partition: &Partition| partition.number == number && partition.topic == topic;
        if self.partitions.get(usize::from(self.last_place)).is_some_and(is_it) {
            return self.last_place;
        }
        let place = self.partitions.iter().position(is_it).unwrap_or_else(|| {
            self.partitions.push(Partition { topic: topic.to_owned(), number, next_offset: 0 });
            self.partitions.len() - 1
        });
        self.last_place = Place::try_from(place).expect("no more than 65,535 partitions are read");
        self.last_place
    }

    fn note_offset(&mut self, place: Place, offset: i64) {
        let partition = &mut self.partitions[usize::from(place)];
        let skipped = offset.saturating_sub(partition.next_offset);
        self.counts.offset_gaps += u64::try_from(skipped).unwrap_or(0);
        partition.next_offset = offset.saturating_add(1);
    }

    /// Distinct messages of the run that were found.
    pub fn found(&self) -> u64 {
        self.counts.unique
    }

    /// Tells `progress` what was found; cheap enough for every batch.
    pub fn note(&self, progress: &Progress) {
        progress.note_verified(self.found(), self.counts.unique_bytes);
    }

    /// Tells `progress` the latencies, too; a few times a second.
    pub fn note_latency(&self, progress: &Progress) {
        self.note(progress);
        progress.note_end_to_end(self.latency.percentiles());
    }

    /// Holds what was found against what was sent and what was acknowledged, where these are known.
    pub fn report(&self, expected: Option<&Expectation>, acknowledged: Option<&AckLog>) -> Report {
        report::build(self, expected, acknowledged)
    }
}

impl Publisher {
    /// The next sequence that keeps the order in this partition.
    fn next_in(&mut self, place: Place, spread: &mut u64) -> &mut u64 {
        if *self.place.get_or_insert(place) == place {
            return &mut self.next;
        }
        let known = self.elsewhere.iter().position(|entry| entry.0 == place);
        let index = known.unwrap_or_else(|| {
            *spread += u64::from(self.elsewhere.is_empty());
            self.elsewhere.push((place, 0));
            self.elsewhere.len() - 1
        });
        &mut self.elsewhere[index].1
    }
}

#[cfg(test)]
mod tests;
