//! The packet identifiers that are open in the sessions of one shard, kept in a log of their own: small, so that a start
//! reads it whole, however much waits for Kafka.
//!
//! ```text
//! kind     packet id   payload            says of its session
//! open     1..65535    content, u32       this identifier is open, with a message of this content
//! closed   1..65535    none               this identifier is free
//! open     0           (u16, u32) each    exactly these are open; the metadata is the process' number, u64
//! ```
//!
//! Integers are little-endian.
//!
//! Each process has a number, one more than any that is found. It begins with a record of the third kind for every
//! session it finds, and a session that it finds nowhere begins with one that says that none is open. So of two logs that
//! know a session (another number of shards moves it) the one with the higher number is right. When the log has grown, the
//! same is done again, and what lies before is released: an identifier that stays open for long pins nothing.
//!
//! Where a log has a gap nothing of any session is believed: an identifier that only looks open costs a message.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    time::Instant,
};

use fairlead_spool::{
    AppendError, Batch, Commit, CommitError, Committed, Entry, Kept, Kind, Log, ReadError, Recovery, Sequence, Upkeep,
    UpkeepError, Usage, disk::Disk,
};

use crate::mqtt::{Content, IdRecord};

/// Names a session in the log: by client identifier and broker, as the broker knows it.
pub(crate) type SessionKey = u64;

/// The open identifiers of a session.
pub(super) type OpenIds = BTreeMap<u16, Content>;

/// Bytes of an open identifier in the list of all: the identifier and its content.
const LISTED: usize = 6;
/// Records of sessions after which all may be written anew, where the log has more than one segment.
const ROUND: u64 = 512;
/// Bytes that one read of the start asks for.
const READ: usize = 1 << 20;

/// The key of a session: FNV-1a, 64 bits, because it must be the same for every build.
pub(crate) fn session_key(client_id: &str, url: &str) -> SessionKey {
    let bytes = client_id.bytes().chain([0]).chain(url.bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Why a log cannot be read at the start.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Commit(#[from] CommitError),
    #[error(transparent)]
    Upkeep(#[from] UpkeepError),
    #[error("its last records cannot be written anew for want of space")]
    Stuck,
}

/// What was found in logs: the open identifiers of each session, and the number of the process that wrote them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    sessions: HashMap<SessionKey, (u64, OpenIds)>,
    /// The highest number of a process.
    process: u64,
    /// Something that was durable cannot be read.
    damaged: bool,
}

impl Found {
    /// Reads a log that was just opened, from its start to its end. The last records may be written anew before they can
    /// be read; it waits for the disk.
    ///
    /// # Errors
    /// See [`Unreadable`].
    pub(super) fn read<D: Disk>(log: &mut Log<D>, recovery: &Recovery, now: Instant) -> Result<Found, Unreadable> {
        while log.synced() < recovery.appended {
            let upkeep = log.poll_upkeep(now);
            let stuck = upkeep.is_none();
            upkeep.map(|upkeep| log.handle_upkeep(now, upkeep.run())).transpose()?;
            match log.poll_commit(now) {
                Some(commit) => match log.handle_committed(now, commit.run()) {
                    // It is written again.
                    Ok(_) | Err(CommitError::Sync { .. }) => {}
                    Err(error) => return Err(error.into()),
                },
                None if stuck => return Err(Unreadable::Stuck),
                None => {}
            }
        }
        let mut found = Found { damaged: !recovery.gaps.is_empty(), ..Found::default() };
        let mut next = recovery.start;
        while let Some(read) = log.read(next, READ) {
            let batch = read.run()?;
            found.damaged |= !batch.gaps.is_empty();
            found.take(&batch);
            next = batch.next;
        }
        Ok(found)
    }

    fn take(&mut self, batch: &Batch) {
        for record in &batch.records {
            let part = |range: &std::ops::Range<usize>| &batch.buffer[range.clone()];
            match (record.kind, record.packet_id) {
                (Kind::Open, 0) => {
                    let process = part(&record.meta).try_into().map_or(0, u64::from_le_bytes);
                    let ids = record.payload.as_ref().map_or(&[][..], part).chunks_exact(LISTED);
                    let ids = ids.map(|id| (u16::from_le_bytes([id[0], id[1]]), content(&id[2..]))).collect();
                    self.process = self.process.max(process);
                    self.sessions.insert(record.session, (process, ids));
                }
                (kind, id) => {
                    // Without a beginning it is of a session that another log knows better.
                    let Some((_, ids)) = self.sessions.get_mut(&record.session) else { continue };
                    match kind {
                        Kind::Open => ids.insert(id, content(record.payload.as_ref().map_or(&[], part))),
                        Kind::Closed => ids.remove(&id),
                        Kind::Data => None,
                    };
                }
            }
        }
    }

    /// What two logs tell.
    pub(super) fn and(mut self, other: Found) -> Found {
        for (key, (process, ids)) in other.sessions {
            if self.sessions.get(&key).is_none_or(|(ours, _)| *ours < process) {
                self.sessions.insert(key, (process, ids));
            }
        }
        self.process = self.process.max(other.process);
        self.damaged |= other.damaged;
        self
    }

    /// Whether `all`, which knows this too, has something newer of every session, so that this is not needed any more.
    pub(super) fn is_superseded_by(&self, all: &Found) -> bool {
        let newer = |(key, (process, _)): (&SessionKey, &(u64, OpenIds))| {
            all.sessions.get(key).is_some_and(|(other, _)| other > process)
        };
        !self.damaged && self.sessions.iter().all(newer)
    }

    /// Whether something that was durable cannot be read, so that nothing is believed.
    pub(super) fn is_damaged(&self) -> bool {
        self.damaged
    }

    /// The sessions that are found.
    pub(super) fn keys(&self) -> impl Iterator<Item = SessionKey> {
        self.sessions.keys().copied().filter(|_| !self.damaged)
    }

    /// Takes out what is open in a session; `None` where nothing is known of it.
    pub(super) fn remove(&mut self, key: SessionKey) -> Option<OpenIds> {
        self.sessions.remove(&key).map(|(_, ids)| ids).filter(|_| !self.damaged)
    }

    /// The number of the process that reads this.
    pub(super) fn next_process(&self) -> u64 {
        self.process + 1
    }
}

/// All sessions are written anew.
#[derive(Debug)]
enum Round {
    /// These are left; what is before `base` is needed until the last one is durable.
    Writing { base: Sequence, left: VecDeque<SessionKey> },
    /// Everything is written, up to `last`.
    Syncing { base: Sequence, last: Sequence },
}

/// One shard's log of packet identifiers, sans-IO.
#[derive(Debug)]
pub struct Ids<D: Disk> {
    log: Log<D>,
    process: u64,
    sessions: HashMap<SessionKey, OpenIds>,
    round: Option<Round>,
    /// Records of sessions since the last round began.
    fresh: u64,
    /// Consecutive, from the first record that is not durable: the slot of the session that waits for it.
    waiting: VecDeque<Option<usize>>,
    first_waiting: Sequence,
    payload: Vec<u8>,
}

impl<D: Disk> Ids<D> {
    /// On a log that was just opened and read. `sessions` are those that this process keeps here, with what is open.
    #[must_use]
    pub fn new(log: Log<D>, process: u64, sessions: HashMap<SessionKey, OpenIds>) -> Ids<D> {
        let first_waiting = log.appended() + 1;
        let mut ids = Ids {
            log,
            process,
            sessions,
            round: None,
            fresh: 0,
            waiting: VecDeque::new(),
            first_waiting,
            payload: Vec::new(),
        };
        ids.begin_round();
        ids
    }

    /// What is open in a session; `None` where nothing is known of it.
    #[must_use]
    pub fn open(&self, key: SessionKey) -> Option<&OpenIds> {
        self.sessions.get(&key)
    }

    /// Takes a record of a session, for which the one in `slot` waits.
    ///
    /// # Errors
    /// See [`AppendError`]; it is offered again.
    pub fn append(&mut self, slot: usize, key: SessionKey, record: IdRecord, time: u64) -> Result<(), AppendError> {
        // Of a session whose beginning is not written, nothing would be believed.
        if matches!(self.round, Some(Round::Writing { .. })) {
            return Err(AppendError::Busy);
        }
        match record {
            IdRecord::Cleared => self.write_all(Some(slot), key, &OpenIds::new(), time)?,
            IdRecord::Open(id, content) => {
                let payload = Some(&content.to_le_bytes()[..]);
                self.write(Some(slot), &Entry { payload, ..entry(Kind::Open, key, id, time) })?;
            }
            IdRecord::Closed(id) => self.write(Some(slot), &entry(Kind::Closed, key, id, time))?,
        }
        let open = self.sessions.entry(key).or_default();
        match record {
            IdRecord::Cleared => open.clear(),
            IdRecord::Open(id, content) => {
                open.insert(id, content);
            }
            IdRecord::Closed(id) => {
                open.remove(&id);
            }
        }
        self.fresh += 1;
        Ok(())
    }

    /// What the log needs for itself; before the records of a turn are offered.
    pub fn poll(&mut self, time: u64) {
        if self.round.is_none() && self.fresh >= ROUND && self.log.usage().segments > 1 {
            self.begin_round();
        }
        while let Some(Round::Writing { base, left }) = &mut self.round {
            let base = *base;
            let Some(key) = left.pop_front() else {
                self.round = Some(Round::Syncing { base, last: self.log.appended() });
                break;
            };
            let Some(open) = self.sessions.remove(&key) else { continue };
            let written = self.write_all(None, key, &open, time);
            self.sessions.insert(key, open);
            if written.is_err() {
                if let Some(Round::Writing { left, .. }) = &mut self.round {
                    left.push_front(key);
                }
                return;
            }
        }
        self.end_round();
    }

    fn begin_round(&mut self) {
        self.fresh = 0;
        let left = self.sessions.keys().copied().collect();
        self.round = Some(Round::Writing { base: self.log.appended() + 1, left });
    }

    fn end_round(&mut self) {
        if let Some(Round::Syncing { base, last }) = self.round
            && last <= self.log.synced()
        {
            self.round = None;
            self.log.release(base - 1);
        }
    }

    fn write_all(
        &mut self,
        slot: Option<usize>,
        key: SessionKey,
        open: &OpenIds,
        time: u64,
    ) -> Result<(), AppendError> {
        let mut payload = std::mem::take(&mut self.payload);
        payload.clear();
        for (id, content) in open {
            payload.extend(id.to_le_bytes());
            payload.extend(content.to_le_bytes());
        }
        let meta = self.process.to_le_bytes();
        let written =
            self.write(slot, &Entry { meta: &meta, payload: Some(&payload), ..entry(Kind::Open, key, 0, time) });
        self.payload = payload;
        written
    }

    fn write(&mut self, slot: Option<usize>, entry: &Entry<'_>) -> Result<(), AppendError> {
        self.log.append(entry)?;
        self.waiting.push_back(slot);
        Ok(())
    }

    /// The slot of the session whose oldest record is durable.
    pub fn poll_durable(&mut self) -> Option<usize> {
        while self.first_waiting <= self.log.synced() {
            self.first_waiting += 1;
            if let Some(slot) = self.waiting.pop_front()? {
                return Some(slot);
            }
        }
        None
    }

    /// The next group to be made durable.
    pub fn poll_commit(&mut self, now: Instant) -> Option<Commit<D>> {
        self.log.poll_commit(now)
    }

    /// Takes a group back.
    ///
    /// # Errors
    /// See [`CommitError`]; the records stay and are written again.
    pub fn handle_committed(&mut self, now: Instant, done: Committed<D>) -> Result<(), CommitError> {
        self.log.handle_committed(now, done).map(drop)
    }

    /// Whether a segment is ready for what comes, as far as the disk allows.
    #[must_use]
    pub fn is_prepared(&self) -> bool {
        self.log.is_prepared()
    }

    /// The next piece of upkeep.
    pub fn poll_upkeep(&mut self, now: Instant) -> Option<Upkeep<D>> {
        self.log.poll_upkeep(now)
    }

    /// Takes upkeep back.
    ///
    /// # Errors
    /// See [`UpkeepError`].
    pub fn handle_upkeep(&mut self, now: Instant, done: Kept<D>) -> Result<(), UpkeepError> {
        self.log.handle_upkeep(now, done)
    }

    /// When to poll again although nothing came.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.log.poll_timeout()
    }

    /// What the log holds and has met.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.log.usage()
    }
}

fn content(bytes: &[u8]) -> Content {
    bytes.try_into().map_or(0, Content::from_le_bytes)
}

fn entry(kind: Kind, session: SessionKey, packet_id: u16, time: u64) -> Entry<'static> {
    Entry { kind, session, packet_id, time, meta: &[], key: None, payload: None }
}

#[cfg(test)]
#[path = "ids_tests.rs"]
mod tests;
