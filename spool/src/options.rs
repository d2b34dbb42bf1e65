//! The limits of a spool.

use crate::format::{BLOCK, block_up, record, segment};

/// The limits of a spool; each is a bound, none a hint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Bytes of all files of all logs together. Each log may have two segments whatever the others take.
    pub max: u64,
    /// Bytes that must stay free on the file system.
    pub min_free: u64,
    /// Bytes of a segment.
    pub segment: u64,
    /// A group takes records until it has this many bytes.
    pub group: usize,
    /// The largest record: metadata, key and payload together.
    pub record: usize,
    /// How many shards write; kept for the next start.
    pub shards: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { max: 20 << 30, min_free: 1 << 30, segment: 64 << 20, group: 1 << 20, record: 16 << 20, shards: 1 }
    }
}

/// Bytes of a segment of packet ids. They are appended anew before they pin more than one of these.
const IDS_SEGMENT: u64 = 4 << 20;

/// A group of packet ids.
const IDS_GROUP: usize = 256 << 10;

/// The largest record of packet ids: all 65,535 of a session, six bytes each.
const IDS_RECORD: usize = 448 << 10;

/// Logs that a shard may have: its records, those of parked partitions, and dead letters. Those of packet ids have a size
/// of their own.
const LOGS: u64 = 3;

/// Segments that each log may have whatever the others take: one to write, one to follow.
pub(crate) const RESERVED: u64 = 2;

/// The largest segment: offsets are 32 bits in the checksums.
const LARGEST_SEGMENT: u64 = 1 << 31;

/// The least segment, bytes.
const LEAST_SEGMENT: u64 = 1 << 20;

impl Options {
    /// The least `segment` for records of so many bytes.
    #[must_use]
    pub fn least_segment(record: u64) -> u64 {
        (2 * record).max(LEAST_SEGMENT)
    }

    /// The least `max` for so many shards: every log may have two segments.
    #[must_use]
    pub fn least_max(segment: u64, shards: u32) -> u64 {
        u64::from(shards) * LOGS * RESERVED * segment
    }

    /// The longest group in bytes: just below the limit, then the largest record, then the word that ends it.
    pub(crate) fn reach(&self) -> u64 {
        block_up((self.group + record::HEADER + self.record + 16) as u64)
    }

    /// The limits of a log of packet ids: its records are small, whatever messages are.
    pub(crate) fn of_ids(&self) -> Self {
        Self { segment: IDS_SEGMENT, group: IDS_GROUP, record: IDS_RECORD, ..*self }
    }

    /// Bytes that the logs of packet ids reserve, where every shard has one.
    #[must_use]
    pub const fn reserved_for_ids(shards: u32) -> u64 {
        shards as u64 * RESERVED * IDS_SEGMENT
    }

    /// What is wrong with these limits, if anything.
    pub(crate) fn problem(&self) -> Option<String> {
        let least = segment::DATA + self.reach() + 2 * BLOCK;
        let floor = Options::least_max(self.segment, self.shards);
        if self.shards == 0 || self.group == 0 {
            Some("shards and group must not be 0".to_owned())
        } else if !self.segment.is_multiple_of(BLOCK) || self.segment > LARGEST_SEGMENT {
            Some(format!("segment must be a multiple of {BLOCK} bytes and at most {LARGEST_SEGMENT}"))
        } else if self.segment < least || self.segment < 2 * self.record as u64 {
            let least = least.max(2 * self.record as u64);
            Some(format!("segment is too small for its largest group: it must be at least {least} bytes"))
        } else if self.max < floor {
            Some(format!("max must be at least {floor} bytes: {RESERVED} segments for each of the logs"))
        } else {
            None
        }
    }
}
