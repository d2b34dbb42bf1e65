//! Fairlead's spool: a crash-safe segment log.
//!
//! # Promise
//!
//! A record at or below [`Log::synced`] survives the end of the process, a crash of the operating system, power loss (on
//! a disk that honours flush), a full disk and a torn write. Nothing above it may be acknowledged.
//!
//! # Use
//!
//! A [`Spool`] is a folder with a lock; it hands out [`Log`]s, each with one owner. A log is plain `&mut self` and has no
//! clock and no threads: it decides, and whatever blocks is a job ([`Commit`], [`Upkeep`], [`Read`]) that it makes, that
//! is run anywhere and handed back. So an executor never touches a mapped page and never waits for a sync.
//!
//! ```
//! use fairlead_spool::{Entry, Kind, Name, Options, Spool, disk::Memory};
//!
//! # let now = std::time::Instant::now();
//! let (spool, _warnings) = Spool::open(Memory::new(), "/spool", Options::default())?;
//! let (mut log, recovery) = spool.log(Name::Shard(0))?;
//! while let Some(upkeep) = log.poll_upkeep(now) {
//!     log.handle_upkeep(now, upkeep.run())?;
//! }
//! let entry = Entry { kind: Kind::Data, session: 1, packet_id: 2, time: 3, meta: b"t", key: None, payload: Some(b"p") };
//! let sequence = log.append(&entry)?;
//! let commit = log.poll_commit(now).expect("a group");
//! assert_eq!(log.handle_committed(now, commit.run())?, sequence);
//! let batch = log.read(recovery.start, 1 << 20).expect("a record").run()?;
//! assert_eq!(batch.iter().next().expect("a record").payload, Some(&b"p"[..]));
//! log.release(sequence);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Format, version 1
//!
//! All numbers are little-endian. `tests/golden` holds files of this version.
//!
//! ```text
//! LOCK                    flock: one process
//! META                    which spool this is; written aside, synced, renamed, folder synced
//! NOTE                    `FLSPNOTE`, length u32, CRC32C u32 and so many bytes of whoever uses the spool; like META
//! shard-NN/               one log each; ids-NN/ (packet ids), parked-NN/ and dead-letter-NN/ too
//!   seg-<id>.log          a segment, of fixed size; ids are never used again
//!   free-<id>.log         a written file that waits to become a segment
//!   cursor                two slots of 4 KiB, written in turn; made anew at every start
//! quarantine/<log>/       damaged files; never deleted
//! ```
//!
//! META, headers, footers and cursor slots are sectors of 512 bytes: magic (8), version u16, fields, zeros, masked
//! CRC32C over the 508 bytes before (4). The mask is that of LevelDB: rotated right by 15, plus `0xa282ead8`.
//!
//! | sector | magic | fields after the version |
//! |---|---|---|
//! | META | `FLSPMETA` | shards u32 · spool uuid 16 |
//! | segment header, at 0 and at 2048 | `FLSPSEGM` | features u32 × 3 (incompatible, compatible for reading, compatible) · spool uuid 16 · log u32 · id u64 · generation u64 · size u64 · reach u64 · base u64 · previous segment u64 · its chain u32 |
//! | segment footer, in the last 4 KiB | `FLSPFOOT` | seed u32 · first, last, records, end, time of the first (u64 each) · chain u32 |
//! | cursor slot | `FLSPCURS` | spool uuid 16 · log u32 · counter, delivered, its segment and offset, synced, its segment and end (u64 each) |
//!
//! The header at 0 is written when the file is prepared, with base 0; the one at 2048 together with the first group. So
//! either tells which life of the file this is, and the second that everything before `base` was durable. *Reach* is the
//! longest a group can be. The *chain* is a CRC32C over the checksums of the records.
//!
//! Groups lie between 4096 and the footer's block. A group starts on a fresh block, so that a block with acknowledged
//! records is never written again, and ends with eight zero bytes, so that its end is seen in a recycled file. A record
//! starts on a multiple of eight and is filled up with zeros to one:
//!
//! | at | field |
//! |---|---|
//! | 0 | masked CRC32C of everything from 4 on, filling included |
//! | 4 | length u32, without filling; 0: nothing here. At most 1 GiB, and never across the segment's end |
//! | 8 | sequence u64; +1 each |
//! | 16 | durable u64: everything up to here was durable when this was written |
//! | 24 | time of receipt u64, ms since 1970 |
//! | 32 | session u64 |
//! | 40 | packet id u16 |
//! | 42 | kind u8: 1 data, 2 packet id opens, 3 packet id closed, 255 mark |
//! | 43 | flags u8: 1 has a key, 2 has a payload |
//! | 44 | length of the metadata u32 |
//! | 48 | length of the key u32 |
//! | 52 | tag u32: the masked seed |
//! | 56 | metadata, key, payload |
//!
//! The CRC starts from *seed* xor *offset in the file*, the seed being the CRC32C of spool uuid, log, segment id and
//! generation: a record of another place, another log, or an earlier life of the file does not pass. The tag stands in
//! clear, so that what was never written in this life (a clean end) is told from what was and is damaged (a torn end).
//!
//! A *mark* is a record without a sequence of its own. It follows 10 ms after a group that no other group follows, and
//! carries nothing but its `durable`.
//!
//! # Recovery
//!
//! Segments with a footer are not scanned. Of the others the valid records are found, also behind damage. D is the
//! highest sequence that a record's `durable`, a cursor slot, a footer or a header's `base` vouches for, and h the first
//! sequence that is not where it should be:
//!
//! - **h > D**: a torn tail. It is cut: before anything is appended, zeros are written from the next block on, as far as a
//!   group can reach. The block where the durable records end is left alone, here too.
//! - **h ≤ D**: corruption. The gap is reported, the valid rest is delivered in order, and the segment is moved to
//!   `quarantine` instead of being recycled when everything in it is delivered. Nothing is appended to it.
//!
//! Valid records above D are not surely on the disk: after a sync that failed, the kernel keeps such pages in memory as
//! if they were clean, and a process that is started anew and syncs gets a yes for nothing. They are written again into
//! the next segment by the first [`Log::poll_commit`], and count as durable only then; the segment they come from keeps
//! its copies until that. Where a later segment begins with sequence b, records from b on in an earlier one are ignored.
//!
//! The limit of this: until a mark, a cursor or another group has followed the last group, damage in that group cannot
//! be told from a torn write, and is taken for one.
//!
//! # Failures
//!
//! After a failed sync a segment is *fenced*: never written, synced or recycled again; its group is written into the next
//! one. Three failures in a row, of syncs or of a segment to write into, or files that are gone, fence the log. A segment is
//! freed in this order: delivered → cursor durable → renamed to a spare → folder synced → new header with generation + 1
//! durable → renamed → folder synced.
//! Space is asked for only when a file is made; without any the log is full, and everything else goes on.
//!
//! The map of the active segment is the only one. A commit looks at the file's length before it stores; a file that is
//! cut in that very moment ends the process with SIGBUS and a message, and nothing acknowledged is lost by that. SIGXFSZ is
//! ignored from the opening of a spool on, unless the program has a handler of its own: a file that would pass the limit
//! of the process is a full disk.

mod budget;
mod bug;
mod commit;
pub mod disk;
mod error;
mod format;
mod found;
mod group;
pub mod inspect;
mod job;
mod kept;
mod log;
mod map;
mod note;
mod options;
mod read;
mod recover;
mod scan;
mod segment;
mod spool;
mod survey;
mod upkeep;

pub use budget::{Counts, State, Usage};
pub use commit::{Commit, Committed};
pub use error::{AppendError, CommitError, OpenError, ReadError, UpkeepError, Warning};
pub use format::VERSION;
pub use job::{Kept, Upkeep};
pub use log::Log;
pub use note::MAX_NOTE;
pub use options::Options;
pub use read::{Batch, Gap, Read, Stored};
pub use recover::Recovery;
pub use spool::{Name, Spool};

/// Numbers the records of one log: +1 each, from 1. 0 is before the first.
pub type Sequence = u64;

/// What is appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// What it is.
    pub kind: Kind,
    /// The MQTT session it came from.
    pub session: u64,
    /// Its packet id there.
    pub packet_id: u16,
    /// When it was received: milliseconds since 1970.
    pub time: u64,
    /// What the engine needs to produce it again.
    pub meta: &'a [u8],
    /// The Kafka key.
    pub key: Option<&'a [u8]>,
    /// The payload.
    pub payload: Option<&'a [u8]>,
}

/// Kinds of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// A message.
    Data = 1,
    /// A QoS 2 packet id opens.
    Open = 2,
    /// A QoS 2 packet id is closed.
    Closed = 3,
}

impl Kind {
    fn decode(kind: u8) -> Option<Self> {
        [Self::Data, Self::Open, Self::Closed].into_iter().find(|known| *known as u8 == kind)
    }
}

/// Where a record lies, or one before it: the sequence decides, the place only makes finding it quick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The record that is meant.
    pub sequence: Sequence,
    /// The segment that was the record's when this was made; 0 when it had none yet.
    pub(crate) segment: u64,
    /// A record's start in that segment, at or before the one that is meant.
    pub(crate) offset: u64,
}

impl Position {
    /// A position whose place has to be looked up.
    pub(crate) fn before_all(sequence: Sequence) -> Self {
        Self { sequence, segment: 0, offset: 0 }
    }
}
