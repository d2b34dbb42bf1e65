//! A spool with one log, driven by hand: every job runs inline, time moves when told to.

use std::time::{Duration, Instant};

use fairlead_spool::{
    AppendError, Batch, CommitError, Entry, Gap, Kind, Log, Name, OpenError, Options, Position, Recovery, Spool,
    Stored,
    disk::{Disk, Memory},
};

/// Small enough that a test fills many segments.
pub(crate) const SMALL: Options =
    Options { max: 40 * (64 << 10), min_free: 0, segment: 64 << 10, group: 8 << 10, record: 16 << 10, shards: 1 };

/// An open spool with one log.
pub(crate) struct Rig<D: Disk> {
    pub(crate) log: Log<D>,
    pub(crate) recovery: Recovery,
    pub(crate) now: Instant,
}

/// A record as a test sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) sequence: u64,
    pub(crate) kind: Kind,
    pub(crate) meta: Vec<u8>,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) payload: Option<Vec<u8>>,
}

impl<D: Disk> Rig<D> {
    /// Opens shard 0 and prepares its first segment.
    pub(crate) fn open(disk: D, path: impl Into<std::path::PathBuf>, options: Options) -> Result<Self, OpenError> {
        let (spool, _) = Spool::open(disk, path, options)?;
        let (log, recovery) = spool.log(Name::Shard(0))?;
        Ok(Self { log, recovery, now: origin() })
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    /// Runs one commit, if there is one.
    pub(crate) fn commit(&mut self) -> Option<Result<u64, CommitError>> {
        let commit = self.log.poll_commit(self.now)?;
        Some(self.log.handle_committed(self.now, commit.run()))
    }

    /// Runs all the upkeep that is due; the errors it met.
    pub(crate) fn upkeep(&mut self) -> Vec<String> {
        let mut errors = Vec::new();
        while let Some(upkeep) = self.log.poll_upkeep(self.now) {
            errors.extend(self.log.handle_upkeep(self.now, upkeep.run()).err().map(|error| error.to_string()));
        }
        errors
    }

    /// Appends, with whatever commits and upkeep that needs.
    pub(crate) fn append(&mut self, entry: &Entry<'_>) -> Result<u64, AppendError> {
        let first = self.log.append(entry);
        if first != Err(AppendError::Busy) {
            return first;
        }
        self.commit();
        self.upkeep();
        self.log.append(entry)
    }

    /// Makes everything that was appended durable, with a witness.
    pub(crate) fn settle(&mut self) {
        while self.log.synced() < self.log.appended() {
            self.upkeep();
            self.commit().expect("a commit, since something is not durable").expect("a disk that works");
        }
        self.pass(Duration::from_millis(10));
        self.commit().transpose().expect("a disk that works");
        self.upkeep();
    }

    /// Reads everything from a position on.
    pub(crate) fn read_from(&self, from: Position, bytes: usize) -> (Vec<Seen>, Vec<Gap>) {
        let (mut seen, mut gaps, mut next) = (Vec::new(), Vec::new(), from);
        while let Some(read) = self.log.read(next, bytes) {
            let batch = read.run().expect("a disk that reads");
            seen.extend(batch.records.iter().map(|record| Seen::of(&batch, record)));
            gaps.extend(&batch.gaps);
            next = batch.next;
        }
        (seen, gaps)
    }

    pub(crate) fn read_all(&self) -> (Vec<Seen>, Vec<Gap>) {
        self.read_from(self.log.start(), 3000)
    }
}

impl Seen {
    fn of(batch: &Batch, record: &Stored) -> Self {
        let bytes = |range: &std::ops::Range<usize>| batch.buffer[range.clone()].to_vec();
        Self {
            sequence: record.sequence,
            kind: record.kind,
            meta: bytes(&record.meta),
            key: record.key.as_ref().map(bytes),
            payload: record.payload.as_ref().map(bytes),
        }
    }
}

/// A fixed moment for everything that needs one.
pub(crate) fn origin() -> Instant {
    static ORIGIN: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(clock);
    *ORIGIN
}

/// The time, for what is measured; the tests' own time only starts with it.
#[expect(clippy::disallowed_methods, reason = "the one clock of these tests")]
pub(crate) fn clock() -> Instant {
    Instant::now()
}

/// The bytes of the `number`th record of a test: length and contents follow from the number.
pub(crate) fn payload(number: u64) -> Vec<u8> {
    let length = usize::try_from(number * 7919 % 300).expect("small");
    (0..length).map(|at| (number as usize * 31 + at * 7) as u8).collect()
}

/// A message with these bytes.
pub(crate) fn data<'a>(meta: &'a [u8], payload: &'a [u8]) -> Entry<'a> {
    let time = 1_700_000_000_000;
    Entry { kind: Kind::Data, session: 7, packet_id: 9, time, meta, key: None, payload: Some(payload) }
}

/// What a test expects to read of the `number`th record.
pub(crate) fn expected(number: u64) -> Seen {
    let meta = number.to_le_bytes().to_vec();
    Seen { sequence: number, kind: Kind::Data, meta, key: None, payload: Some(payload(number)) }
}

/// Appends records numbered up to `last`.
pub(crate) fn append_up_to<D: Disk>(rig: &mut Rig<D>, last: u64) {
    for number in rig.log.appended() + 1..=last {
        let taken = rig.append(&data(&number.to_le_bytes(), &payload(number)));
        assert_eq!(taken, Ok(number));
    }
}

/// A spool in memory.
pub(crate) fn memory(disk: &Memory) -> Rig<Memory> {
    Rig::open(disk.clone(), "/spool", SMALL).expect("a disk that works")
}
