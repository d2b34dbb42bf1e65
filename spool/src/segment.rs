//! What the log knows of each of its segments, and the names of their files.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use crate::{
    Position, Sequence,
    disk::{Disk, Map},
    format::{Seed, segment::Footer, segment::Header},
};

/// One place is kept for about this many bytes of records, so that a read need not begin at the segment's start.
const STRIDE: u64 = 1 << 18;

/// A segment that holds records.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) header: Header,
    /// Sequences of its first record and its last durable one; `last` is `first - 1` while there is none.
    pub(crate) first: Sequence,
    pub(crate) last: Sequence,
    /// Valid records, fewer than the sequences say when some are damaged.
    pub(crate) records: u64,
    /// Where the last durable record ends.
    pub(crate) end: u64,
    pub(crate) oldest: u64,
    pub(crate) chain: u32,
    pub(crate) condition: Condition,
    /// Places of some records.
    pub(crate) index: Vec<(Sequence, u64)>,
    /// Held by whoever reads the file, which is not recycled meanwhile; true once a reader met damage.
    pub(crate) readers: Arc<AtomicBool>,
}

/// What may still be done with a segment's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// Written to.
    Active,
    /// Ends with records that are not surely durable and are being written again in the next segment.
    Moving,
    /// Complete, waiting for its footer.
    Complete,
    /// With its footer, or without one that could be written.
    Sealed,
    /// A sync failed: never written again, and not used for anything else.
    Fenced,
    /// Something that was durable is damaged: kept aside in the end.
    Damaged,
}

impl Segment {
    /// An active segment that holds nothing yet.
    pub(crate) fn new(header: Header, first: Sequence) -> Self {
        Self {
            header,
            first,
            last: first - 1,
            records: 0,
            end: crate::format::segment::DATA,
            oldest: 0,
            chain: 0,
            condition: Condition::Active,
            index: Vec::new(),
            readers: Arc::default(),
        }
    }

    pub(crate) fn seed(&self) -> Seed {
        self.header.seed()
    }

    /// Where to read for `sequence`, or a little before it.
    pub(crate) fn position(&self, sequence: Sequence) -> Position {
        let after = self.index.partition_point(|&(first, _)| first <= sequence);
        let offset = after.checked_sub(1).map_or(crate::format::segment::DATA, |found| self.index[found].1);
        Position { sequence, segment: self.header.id, offset }
    }

    pub(crate) fn footer(&self) -> Footer {
        Footer {
            first: self.first,
            last: self.last,
            records: self.records,
            end: self.end,
            oldest: self.oldest,
            chain: self.chain,
        }
    }

    pub(crate) fn is_damaged(&self) -> bool {
        self.condition == Condition::Damaged || self.readers.load(Relaxed)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.last < self.first
    }

    pub(crate) fn file_name(&self) -> String {
        file_name(self.header.id)
    }
}

/// Remembers where a record starts, if the last place remembered is far enough away.
pub(crate) fn remember(index: &mut Vec<(Sequence, u64)>, sequence: Sequence, offset: u64) {
    if index.last().is_none_or(|&(_, last)| offset >= last + STRIDE) {
        index.push((sequence, offset));
    }
}

/// A prepared file with its map: it can be written at once.
#[derive(Debug)]
pub(crate) struct Open<D: Disk> {
    pub(crate) file: Arc<D::File>,
    pub(crate) map: <D::File as crate::disk::File>::Map,
    pub(crate) header: Header,
    /// Where the next group starts.
    pub(crate) next: u64,
}

impl<D: Disk> Open<D> {
    pub(crate) fn store(&mut self, offset: u64, bytes: &[u8]) {
        self.map.store(usize::try_from(offset).expect("a mapped offset"), bytes);
    }
}

/// The file of a segment.
pub(crate) fn file_name(id: u64) -> String {
    format!("seg-{id:012}.log")
}

/// The file of a spare.
pub(crate) fn free_name(id: u64) -> String {
    format!("free-{id:012}.log")
}

/// Kinds of files in a log's folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Named {
    Segment(u64),
    Free(u64),
    Cursor,
    Unknown,
}

/// The cursor's file.
pub(crate) const CURSOR: &str = "cursor";

/// What a name in a log's folder stands for.
pub(crate) fn named(name: &str) -> Named {
    let number = |prefix: &str| {
        let digits = name.strip_prefix(prefix)?.strip_suffix(".log")?;
        let number = digits.parse().ok()?;
        (digits.len() == 12 && digits.bytes().all(|digit| digit.is_ascii_digit())).then_some(number)
    };
    match (number("seg-"), number("free-")) {
        (Some(id), _) => Named::Segment(id),
        (_, Some(id)) => Named::Free(id),
        _ if name == CURSOR || name == CURSOR_NEW => Named::Cursor,
        _ => Named::Unknown,
    }
}

/// The cursor's file while it is made.
pub(crate) const CURSOR_NEW: &str = "cursor.new";
