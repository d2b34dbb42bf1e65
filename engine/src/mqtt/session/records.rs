//! What is to be kept of a session's packet identifiers at QoS 2, in order, and how far it is durable.
//!
//! PUBREC waits for the record that opens its identifier, PUBCOMP for the one that closes it: otherwise a crash would
//! let a new message under that identifier pass for a repetition. An identifier is opened only once its message is safe:
//! the other way round, a crash between the two would let the message, sent again, pass for one that is stored.

use std::collections::VecDeque;

/// What a message is known again by when it is sent again: a checksum of its topic and payload.
///
/// Packet identifier and DUP flag are not enough. mosquitto 2.0 forgets PUBRELs and gives their identifiers to new
/// messages; one of these that was in flight when a connection or this process ended comes with DUP, and under an identifier
/// that is open here.
pub type Content = u32;

/// Something to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdRecord {
    /// The message under this identifier is safe, and this is what it is known again by.
    Open(u16, Content),
    /// The identifier is free.
    Closed(u16),
    /// No identifier is open: the session begins.
    Cleared,
}

/// Counts what was asked for, up to a record and with it; 0 is before the first.
pub(super) type Number = u64;

/// Records that wait to be taken before no further message is: two for each identifier, one that closes it and one that
/// opens it again. Those messages that were taken add two more for each at most.
const RECORDS: usize = 2 * u16::MAX as usize;

/// The records of a session that are not durable.
#[derive(Debug, Default)]
pub(super) struct Records {
    /// Whether anything is kept.
    kept: bool,
    /// Not taken yet.
    queue: VecDeque<IdRecord>,
    asked: Number,
    durable: Number,
}

impl Records {
    /// From now on records are kept.
    pub(super) fn keep(&mut self) {
        self.kept = true;
    }

    /// Whether records are kept.
    pub(super) fn are_kept(&self) -> bool {
        self.kept
    }

    /// Asks for a record; where none is kept, nothing has to be waited for.
    pub(super) fn ask(&mut self, record: IdRecord) -> Number {
        if self.kept {
            self.queue.push_back(record);
            self.asked += 1;
        }
        self.asked
    }

    /// Asks for what makes an end of everything before; what was not taken yet is not needed any more.
    pub(super) fn clear(&mut self) -> Number {
        self.asked -= self.queue.len() as u64;
        self.queue.clear();
        self.ask(IdRecord::Cleared)
    }

    /// Whether so many wait to be taken that there should be no more.
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.queue.len() >= RECORDS
    }

    /// The number of the last record.
    pub(super) fn last(&self) -> Number {
        self.asked
    }

    /// Whether a record and all before it are durable.
    pub(super) fn are_durable(&self, up_to: Number) -> bool {
        up_to <= self.durable
    }

    /// The next record to be taken.
    pub(super) fn next(&self) -> Option<IdRecord> {
        self.queue.front().copied()
    }

    /// It was taken.
    pub(super) fn taken(&mut self) {
        self.queue.pop_front();
    }

    /// The oldest record of those taken is durable.
    pub(super) fn handle_durable(&mut self) {
        self.durable += 1;
        assert!(self.durable + self.queue.len() as u64 <= self.asked, "only what was taken becomes durable");
    }
}
