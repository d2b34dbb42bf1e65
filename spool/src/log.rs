//! One log: appending, group commit, what is delivered. Decisions only; all blocking I/O is in the jobs it hands out.

use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use crate::{
    AppendError, Commit, CommitError, Committed, Entry, Name, Options, Position, Sequence, State, Usage,
    budget::count,
    bug::has_bug,
    disk::Disk,
    format::{
        BLOCK, record,
        segment::{Begun, data_end},
    },
    group::Group,
    options::RESERVED,
    segment::{Condition, Open, Segment, remember},
    spool::{Ledger, Shared},
};

/// After this long without a group, a mark says how far everything is durable.
const MARK_AFTER: Duration = Duration::from_millis(10);

/// Failed syncs in a row after which the log takes nothing more.
pub(crate) const FAILURES: u32 = 3;

/// A log: one writer, which owns it.
#[derive(Debug)]
pub struct Log<D: Disk> {
    pub(crate) shared: Arc<Shared<D>>,
    pub(crate) name: Name,
    pub(crate) folder: PathBuf,
    pub(crate) ledger: Arc<Ledger>,
    /// Takes what is appended.
    pub(crate) filling: Group,
    /// Was not made durable and is written again, before anything else.
    pub(crate) retry: Option<Group>,
    /// The buffer of the group that was durable last.
    idle: Group,
    appended: Sequence,
    pub(crate) synced: Sequence,
    /// What a witness on the disk says of `synced`.
    pub(crate) witnessed: Sequence,
    pub(crate) delivered: Sequence,
    /// Those that hold records, the oldest first; the last one may be active.
    pub(crate) segments: VecDeque<Segment>,
    /// The active segment's file, unless it travels in a commit.
    pub(crate) open: Option<Open<D>>,
    /// Prepared to follow.
    pub(crate) ready: Option<Open<D>>,
    /// Where the active segment's next group starts, also while its file travels; `None` without an active segment.
    tail: Option<u64>,
    /// Since when a commit is on its way.
    pub(crate) committing: Option<Instant>,
    pub(crate) failures: u32,
    pub(crate) fenced: bool,
    /// The last attempt to prepare a segment met a limit.
    pub(crate) blocked: bool,
    full: bool,
    /// A record was refused since no segment has room for it, and none was made since.
    pub(crate) starved: bool,
    mark_at: Option<Instant>,
    pub(crate) upkeep: crate::upkeep::Plan<D>,
    /// Bytes of live segments that the shared budget knows of.
    live: u64,
}

/// What a log starts from.
#[derive(Debug)]
pub(crate) struct Start<D: Disk> {
    pub(crate) shared: Arc<Shared<D>>,
    pub(crate) name: Name,
    pub(crate) folder: PathBuf,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) synced: Sequence,
    pub(crate) witnessed: Sequence,
    pub(crate) delivered: Sequence,
    pub(crate) segments: VecDeque<Segment>,
    pub(crate) open: Option<Open<D>>,
    /// Records that are not surely durable.
    pub(crate) tail: Group,
    pub(crate) upkeep: crate::upkeep::Plan<D>,
}

impl<D: Disk> Log<D> {
    pub(crate) fn new(start: Start<D>) -> Self {
        let tail = start.open.as_ref().map(|open| open.next);
        let retry = Some(start.tail).filter(|tail| !tail.is_empty());
        let mut log = Self {
            shared: start.shared,
            name: start.name,
            folder: start.folder,
            ledger: start.ledger,
            filling: Group::default(),
            appended: retry.as_ref().map_or(start.synced, |tail| tail.last),
            retry,
            idle: Group::default(),
            synced: start.synced,
            witnessed: start.witnessed,
            delivered: start.delivered,
            segments: start.segments,
            open: start.open,
            ready: None,
            tail,
            committing: None,
            failures: 0,
            fenced: false,
            blocked: false,
            full: false,
            starved: false,
            mark_at: None,
            upkeep: start.upkeep,
            live: 0,
        };
        log.account();
        log
    }

    pub(crate) fn options(&self) -> Options {
        self.shared.options(self.name)
    }

    /// Copies `entry` into the group that is being filled.
    pub fn append(&mut self, entry: &Entry<'_>) -> Result<Sequence, AppendError> {
        if self.fenced {
            return Err(AppendError::Fenced);
        }
        let options = self.options();
        let limit = options.record + record::HEADER;
        let size =
            record::size(entry).filter(|&size| size <= limit.next_multiple_of(8)).ok_or(AppendError::TooLarge)?;
        if self.filling.len() >= options.group {
            return Err(AppendError::Busy);
        }
        let has_place = self.has_place(self.filling.len() + size);
        if !has_place {
            self.full |= self.blocked;
            self.starved = true;
            self.account();
        }
        if has_bug("drop_on_full") && self.full {
            self.appended += 1;
            return Ok(self.appended);
        }
        if self.full {
            return Err(AppendError::Full);
        }
        if !has_place {
            return Err(AppendError::Busy);
        }
        self.appended += 1;
        self.filling.push(self.appended, entry);
        Ok(self.appended)
    }

    /// Whether a group of `bytes` fits the active segment, with a mark behind it, or a segment is ready to follow.
    fn has_place(&self, bytes: usize) -> bool {
        self.ready.is_some() || self.has_room(Group::padded(bytes) + BLOCK)
    }

    fn has_room(&self, bytes: u64) -> bool {
        let active = self.tail.zip(self.segments.back());
        active.is_some_and(|(tail, segment)| tail + bytes <= data_end(segment.header.size))
    }

    /// The last record that was appended.
    pub fn appended(&self) -> Sequence {
        self.appended
    }

    /// The last record that is durable.
    pub fn synced(&self) -> Sequence {
        self.synced
    }

    /// Everything up to here is said to be delivered by the durable cursor.
    pub fn delivered(&self) -> Sequence {
        self.upkeep.cursor.delivered
    }

    /// Closes the group, if there is one and none is on its way; or makes a mark that is due.
    pub fn poll_commit(&mut self, now: Instant) -> Option<Commit<D>> {
        if self.committing.is_some() || self.fenced {
            return None;
        }
        if self.retry.is_none() && self.filling.is_empty() {
            return self.mark(now);
        }
        let bytes = self.retry.as_ref().unwrap_or(&self.filling).len();
        let begins = !self.has_room(Group::padded(bytes) + BLOCK);
        if begins && self.ready.is_none() {
            return None;
        }
        let group = self.retry.take().unwrap_or_else(|| {
            let idle = std::mem::take(&mut self.idle);
            std::mem::replace(&mut self.filling, idle)
        });
        if begins {
            self.begin(&group);
        }
        self.mark_at = None;
        if has_bug("receipt_before_sync") {
            self.synced = group.last;
        }
        Some(self.commit(now, group, begins))
    }

    /// The segment that is ready becomes the active one.
    fn begin(&mut self, group: &Group) {
        let mut open = self.ready.take().expect("asked before");
        let mut begun = Begun { base: group.first, previous: 0, previous_chain: 0 };
        if let Some(before) = self.segments.back_mut() {
            begun.previous = before.header.id;
            begun.previous_chain = before.chain;
            if before.condition == Condition::Active {
                before.condition = Condition::Complete;
            }
        }
        open.header.begun = Some(begun);
        self.segments.push_back(Segment::new(open.header, group.first));
        self.tail = Some(open.next);
        self.open = Some(open);
        self.account();
    }

    fn commit(&mut self, now: Instant, group: Group, begins: bool) -> Commit<D> {
        let open = self.open.take().expect("no commit is on its way and the segment is active");
        let segment = self.segments.back().expect("the active segment");
        self.tail = Some(open.next + Group::padded(group.len()));
        self.committing = Some(now);
        let durable = self.synced.min(group.first.wrapping_sub(1));
        Commit { open, group, durable, chain: segment.chain, begins }
    }

    fn mark(&mut self, now: Instant) -> Option<Commit<D>> {
        self.mark_at.filter(|&at| at <= now)?;
        self.mark_at = None;
        if self.witnessed >= self.synced || !self.has_room(BLOCK) {
            return None;
        }
        let group = std::mem::take(&mut self.idle).mark(self.synced);
        Some(self.commit(now, group, false))
    }

    /// Takes a commit back: the last durable record, or why the group is not durable.
    pub fn handle_committed(&mut self, now: Instant, done: Committed<D>) -> Result<Sequence, CommitError> {
        assert!(self.committing.take().is_some(), "a commit is handed back once");
        if let Err(source) = done.result {
            return Err(self.failed(done.group, source));
        }
        self.failures = 0;
        self.witnessed = self.witnessed.max(done.durable);
        let segment = self.segments.back_mut().expect("the active segment");
        if done.group.records() > 0 {
            if segment.records == 0 {
                segment.oldest = done.group.oldest;
            }
            remember(&mut segment.index, done.group.first, done.at);
            segment.records += done.group.records();
            segment.last = done.group.last;
            segment.end = done.end;
            segment.chain = done.chain;
            self.synced = done.group.last;
            self.moved();
            self.mark_at = Some(now + MARK_AFTER);
            count(&self.ledger.counters.groups, 1);
            count(&self.ledger.counters.appended, done.group.records());
        } else {
            count(&self.ledger.counters.marks, 1);
        }
        self.idle = done.group.emptied();
        self.open = Some(done.open);
        assert!(self.synced <= self.appended, "more is durable than was appended");
        self.account();
        Ok(self.synced)
    }

    /// What was written again is durable in its new place.
    fn moved(&mut self) {
        let moving = self.segments.iter_mut().filter(|segment| segment.condition == Condition::Moving);
        moving.for_each(|segment| segment.condition = Condition::Complete);
    }

    /// The file is never written or synced again; the group goes into the next segment.
    fn failed(&mut self, group: Group, source: std::io::Error) -> CommitError {
        let segment = self.segments.back_mut().expect("the active segment");
        segment.condition = Condition::Fenced;
        let id = segment.header.id;
        self.tail = None;
        if group.records() > 0 {
            self.retry = Some(group);
        }
        count(&self.ledger.counters.failed_syncs, 1);
        self.failures += 1;
        let gone = matches!(source.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::UnexpectedEof);
        self.fenced = gone || self.failures >= FAILURES;
        self.account();
        match self.fenced {
            true => CommitError::Fenced { segment: id, failures: self.failures, source },
            false => CommitError::Sync { segment: id, failures: self.failures, source },
        }
    }

    /// When to poll again although nothing was appended, released or handed back.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let idle = !self.fenced && self.retry.is_none() && self.filling.is_empty();
        let mark = self.mark_at.filter(|_| idle);
        mark.into_iter().chain(self.upkeep_timeout()).min()
    }

    /// Where the first record lies that is not yet delivered.
    pub fn start(&self) -> Position {
        let sequence = self.delivered + 1;
        let found = self.segments.partition_point(|segment| segment.last < sequence);
        self.segments.get(found).map_or(Position::before_all(sequence), |segment| segment.position(sequence))
    }

    /// Whether nothing is taken, or written, until there is room: enough was delivered, or the disk has space.
    pub fn is_full(&self) -> bool {
        let waiting = self.retry.as_ref().unwrap_or(&self.filling).len();
        self.full || (self.blocked && !self.has_place(waiting))
    }

    /// Whether nothing more is taken until the next start, because the disk failed.
    pub fn is_fenced(&self) -> bool {
        self.fenced
    }

    /// Whether there is a segment to append to, or one that is ready to follow.
    pub fn has_segment(&self) -> bool {
        !self.fenced && (self.open.is_some() || self.ready.is_some())
    }

    /// Everything up to here has a delivery report.
    pub fn release(&mut self, up_to: Sequence) {
        assert!(up_to <= self.synced, "delivered before it was durable: {up_to} of {}", self.synced);
        self.delivered = self.delivered.max(up_to);
    }

    /// What the log holds and has met.
    pub fn usage(&self) -> Usage {
        let segments = self.segments.iter().filter(|segment| !segment.is_empty());
        let degraded = self.segments.iter().any(Segment::is_damaged) || self.ledger.degraded.load(Relaxed);
        Usage {
            bytes: self.segments.iter().map(|segment| segment.header.size).sum(),
            records: self.synced - self.delivered,
            segments: self.segments.len() as u64,
            oldest: segments.clone().next().filter(|_| self.delivered < self.synced).map(|segment| segment.oldest),
            state: if self.full {
                State::Full
            } else if self.shared.budget.is_high() {
                State::High
            } else {
                State::Ok
            },
            degraded,
            fenced: self.fenced,
            waits_since: self.committing.into_iter().chain(self.upkeep.busy).min(),
            counters: self.ledger.counters.counts(),
        }
    }

    /// Tells the shared budget, and whoever asks the spool, how things stand.
    pub(crate) fn account(&mut self) {
        let live = self.segments.iter().map(|segment| segment.header.size).sum();
        self.shared.budget.moved(std::mem::replace(&mut self.live, live), live);
        // What is reserved for a log is to be had however full the others are: they may wait for what it takes.
        let reserve = live < RESERVED * self.options().segment;
        if self.ready.is_some() && (reserve || self.shared.budget.has_drained()) {
            self.full = false;
        }
        *self.ledger.usage.lock().expect("no holder of this lock panics") = self.usage();
    }
}

impl<D: Disk> Drop for Log<D> {
    fn drop(&mut self) {
        self.shared.budget.moved(self.live, 0);
        self.shared.budget.give(self.upkeep.occupied);
        self.shared.close(self.name);
    }
}
