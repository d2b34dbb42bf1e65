//! Fairlead's spool: a crash-safe segment log.

mod budget;
mod commit;
pub mod disk;
mod error;
mod format;
mod found;
mod group;
pub mod inspect;
mod job;
mod log;
mod map;
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
