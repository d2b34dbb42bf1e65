//! The job that reads records back.

use std::{
    io,
    ops::Range,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use crate::{
    Kind, Log, Position, ReadError, Sequence,
    budget::count,
    disk::Disk,
    format::{
        Seed,
        record::{HEADER, Record},
        segment::DATA,
    },
    scan::{Met, Scanner},
    segment::Segment,
    spool::{Ledger, Shared},
};

/// Reads some records. Run it where blocking is allowed; any number may be under way.
#[derive(Debug)]
#[must_use = "nothing is read before it is run"]
pub struct Read<D: Disk> {
    shared: Arc<Shared<D>>,
    ledger: Arc<Ledger>,
    readers: Arc<AtomicBool>,
    path: PathBuf,
    seed: Seed,
    segment: u64,
    from: Sequence,
    offset: u64,
    end: u64,
    first: Sequence,
    last: Sequence,
    after: Position,
    known_damaged: bool,
    bytes: usize,
}

/// Records that were read, their checksums right.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Metadata, keys and payloads.
    pub buffer: Vec<u8>,
    /// The records, in order.
    pub records: Vec<Stored>,
    /// Where to read on.
    pub next: Position,
    /// What was durable and cannot be read.
    pub gaps: Vec<Gap>,
}

/// A record that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its number.
    pub sequence: Sequence,
    /// What it is.
    pub kind: Kind,
    /// The MQTT session it came from.
    pub session: u64,
    /// Its packet id there.
    pub packet_id: u16,
    /// When it was received: milliseconds since 1970.
    pub time: u64,
    /// In the batch's buffer.
    pub meta: Range<usize>,
    /// In the batch's buffer.
    pub key: Option<Range<usize>>,
    /// In the batch's buffer.
    pub payload: Option<Range<usize>>,
}

/// Records that were durable and cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The first one.
    pub first: Sequence,
    /// The last one.
    pub last: Sequence,
}

impl Gap {
    /// How many records.
    pub fn records(&self) -> u64 {
        self.last - self.first + 1
    }
}

impl Default for Position {
    fn default() -> Self {
        Self::before_all(0)
    }
}

impl<D: Disk> Read<D> {
    pub(crate) fn new(log: &Log<D>, segment: &Segment, next: Option<&Segment>, from: Position, bytes: usize) -> Self {
        let hinted = (from.segment == segment.header.id).then_some(from.offset).filter(|&offset| offset >= DATA);
        let after = next.map_or(Position::before_all(segment.last + 1), |next| Position {
            sequence: segment.last + 1,
            segment: next.header.id,
            offset: DATA,
        });
        Self {
            shared: Arc::clone(&log.shared),
            ledger: Arc::clone(&log.ledger),
            readers: Arc::clone(&segment.readers),
            path: log.folder.join(segment.file_name()),
            seed: segment.seed(),
            segment: segment.header.id,
            from: from.sequence,
            offset: hinted.unwrap_or_else(|| segment.position(from.sequence).offset),
            end: segment.end,
            first: segment.first,
            last: segment.last,
            after,
            known_damaged: segment.is_damaged(),
            bytes,
        }
    }

    /// Reads with `pread`, checks every record on the copy.
    pub fn run(self) -> Result<Batch, ReadError> {
        let error = |source| ReadError { path: self.path.clone(), from: self.from, source };
        let mut batch = Batch { next: self.after, ..Batch::default() };
        let file = match self.shared.disk.open_read(&self.path) {
            // Somebody has removed it; it does not come back.
            Err(source) if source.kind() == io::ErrorKind::NotFound => {
                self.gap(&mut batch, self.from, self.last);
                return Ok(batch);
            }
            opened => opened.map_err(error)?,
        };
        let mut scanner = Scanner::new(&file, self.seed, self.offset, self.end);
        let mut expected = self.from;
        let mut left = self.bytes;
        loop {
            let (at, record) = match scanner.next().map_err(error)? {
                Met::Record(at, record) => (at, record),
                Met::Nothing(_) | Met::Bad(_) => match scanner.resync().map_err(error)? {
                    Some(found) => found,
                    None => break,
                },
                Met::End => break,
            };
            if record.kind.is_none() || record.sequence < expected || record.sequence > self.last {
                continue;
            }
            self.gap(&mut batch, expected, record.sequence - 1);
            expected = record.sequence + 1;
            batch.push(&record, scanner.parts());
            left = left.saturating_sub(record.size.max(HEADER));
            if left == 0 && expected <= self.last {
                // The record just read again: an offset that is a record's start whatever follows.
                batch.next = Position { sequence: expected, segment: self.segment, offset: at };
                return Ok(batch);
            }
        }
        self.gap(&mut batch, expected, self.last);
        Ok(batch)
    }

    fn gap(&self, batch: &mut Batch, first: Sequence, last: Sequence) {
        if first > last {
            return;
        }
        batch.gaps.push(Gap { first, last });
        // What lies before the segment was counted when the log was opened, as was what was damaged then.
        if last >= self.first && !self.known_damaged {
            self.readers.store(true, Relaxed);
            self.ledger.degraded.store(true, Relaxed);
            count(&self.ledger.counters.corrupt_records, last - first.max(self.first) + 1);
        }
    }
}

impl Batch {
    pub(crate) fn push(&mut self, record: &Record, [meta, key, payload]: [&[u8]; 3]) {
        let mut place = |bytes: &[u8]| {
            let start = self.buffer.len();
            self.buffer.extend_from_slice(bytes);
            start..self.buffer.len()
        };
        self.records.push(Stored {
            sequence: record.sequence,
            kind: record.kind.expect("marks are not handed out"),
            session: record.session,
            packet_id: record.packet_id,
            time: record.time,
            meta: place(meta),
            key: record.key.map(|_| place(key)),
            payload: record.payload.map(|_| place(payload)),
        });
    }
}

impl<D: Disk> Log<D> {
    /// The next records from `from` on, about `bytes` of them; `None` when everything durable was read.
    pub fn read(&self, from: Position, bytes: usize) -> Option<Read<D>> {
        let from = if from.sequence <= self.delivered { self.start() } else { from };
        let found = self.segments.partition_point(|segment| segment.last < from.sequence);
        let segment = self.segments.get(found).filter(|segment| !segment.is_empty())?;
        let next = self.segments.range(found + 1..).find(|next| !next.is_empty());
        Some(Read::new(self, segment, next, from, bytes))
    }

    /// The records from `from` on that were appended and are not durable, of a log that is fenced or full: they are still
    /// in memory, and nobody was told that they are safe.
    pub fn unsynced(&self, from: Sequence) -> Option<Batch> {
        let writes = self.committing.is_some() || !(self.fenced || self.is_full());
        if writes || from <= self.synced || from > self.appended() {
            return None;
        }
        let mut batch = Batch { next: Position::before_all(self.appended() + 1), ..Batch::default() };
        self.retry.iter().chain([&self.filling]).for_each(|group| group.read(from, &mut batch));
        Some(batch)
    }
}
