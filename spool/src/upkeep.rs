//! Everything around the groups: preparing segments, footers, the cursor, recycling, a look at the files.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    Log,
    bug::has_bug,
    disk::Disk,
    format::{cursor::Cursor, segment::Header},
    job::{Fate, Task, Upkeep},
    options::RESERVED,
    segment::{Condition, Segment},
    spool::QUARANTINE,
};

/// The cursor is written at most this often.
const CURSOR_EVERY: Duration = Duration::from_millis(100);

/// …unless so many records were delivered since.
const CURSOR_RECORDS: u64 = 16 << 10;

/// How often the files are looked at.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// Written files that wait to become segments, beside the one that is prepared: so many are made.
const SPARES: usize = 1;

/// So many are kept. One more than is made: a segment is delivered only after the next spare was made for it, and would
/// never find room.
const KEPT: usize = SPARES + 1;

/// Segments that one job lets go of.
const FREED_AT_ONCE: usize = 16;

/// What upkeep there is, and when.
#[derive(Debug)]
pub(crate) struct Plan<D: Disk> {
    /// As it is on the disk.
    pub(crate) cursor: Cursor,
    /// `None`: made anew with the next cursor.
    pub(crate) cursor_file: Option<Arc<D::File>>,
    pub(crate) cursor_at: Option<Instant>,
    pub(crate) cursor_asked: bool,
    /// Ids of the spares.
    pub(crate) free: Vec<u64>,
    pub(crate) next_id: u64,
    /// Bytes of all files.
    pub(crate) files: u64,
    /// Bytes taken from the shared budget.
    pub(crate) occupied: u64,
    /// Whose turn it is.
    pub(crate) turn: usize,
    pub(crate) check_at: Option<Instant>,
    /// Something failed: upkeep rests, that which needs space and the rest each for itself.
    pub(crate) make_at: Option<Instant>,
    pub(crate) rest_until: Option<Instant>,
    /// Since when a piece of upkeep is under way.
    pub(crate) busy: Option<Instant>,
    /// Nothing new comes: no spare segments.
    pub(crate) retired: bool,
}

/// One kind of upkeep: the task, if it is due.
type Turn<D> = fn(&mut Log<D>, Instant) -> Option<Task<D>>;

impl<D: Disk> Log<D> {
    /// What upkeep there is takes turns: at full speed there is always a segment to make, and whatever waited behind that
    /// (footers, without which the next start scans a segment; the cursor; what is let go) would never come.
    const TURNS: [Turn<D>; 5] = [Self::make, Self::check, Self::write_cursor, Self::seal, Self::free];
    /// The first of them that needs no space and is there for whoever appends nothing.
    const RELEASE: usize = 2;

    /// The next piece of upkeep that is due, if none is under way.
    pub fn poll_upkeep(&mut self, now: Instant) -> Option<Upkeep<D>> {
        self.upkeep.check_at.get_or_insert(now + CHECK_EVERY);
        let turns = if self.rests(now) { &Self::TURNS[..Self::RELEASE] } else { &Self::TURNS[..] };
        self.next_upkeep(now, turns)
    }

    /// The next piece of upkeep that is due and needs no space, for whoever appends nothing: the cursor, footers, and
    /// what is delivered is let go.
    pub fn poll_release(&mut self, now: Instant) -> Option<Upkeep<D>> {
        let turns = if self.rests(now) { &[] } else { &Self::TURNS[Self::RELEASE..] };
        self.next_upkeep(now, turns)
    }

    fn next_upkeep(&mut self, now: Instant, turns: &[Turn<D>]) -> Option<Upkeep<D>> {
        if self.upkeep.busy.is_some() {
            return None;
        }
        let task = (0..turns.len()).find_map(|_| {
            let turn = turns[self.upkeep.turn % turns.len()];
            self.upkeep.turn += 1;
            turn(self, now)
        })?;
        Some(self.start_upkeep(now, task))
    }

    fn start_upkeep(&mut self, now: Instant, task: Task<D>) -> Upkeep<D> {
        self.upkeep.busy = Some(now);
        let (shared, folder) = (Arc::clone(&self.shared), self.folder.clone());
        let quarantine = shared.root.join(QUARANTINE).join(self.name.to_string());
        Upkeep { shared, folder, quarantine, task }
    }

    /// Whether a segment is prepared to follow, or the last attempt to prepare one met a limit or a fault.
    pub fn is_prepared(&self) -> bool {
        self.ready.is_some() || self.blocked || self.fenced || self.upkeep.make_at.is_some()
    }

    /// Whether there is no segment to follow because the disk refused one, and no group is on its way; it is tried again.
    pub fn is_refused(&self) -> bool {
        self.upkeep.make_at.is_some() && self.ready.is_none() && self.committing.is_none()
    }

    /// Whether upkeep that needs no space failed, the cursor's perhaps, and is not tried for a while.
    pub fn is_resting(&self) -> bool {
        self.upkeep.rest_until.is_some()
    }

    /// What needs space: it rests by itself, so that a full disk keeps nothing else waiting.
    fn make(&mut self, now: Instant) -> Option<Task<D>> {
        if self.upkeep.make_at.is_some_and(|at| at > now) {
            return None;
        }
        self.upkeep.make_at = None;
        self.prepare().or_else(|| self.spare())
    }

    /// Whether what needs no space rests after a fault.
    fn rests(&mut self, now: Instant) -> bool {
        self.upkeep.rest_until = self.upkeep.rest_until.filter(|&until| until > now);
        self.upkeep.rest_until.is_some()
    }

    fn prepare(&mut self) -> Option<Task<D>> {
        if self.ready.is_some() || self.fenced {
            return None;
        }
        let options = self.options();
        let spare = self.upkeep.free.pop();
        if spare.is_none() && !self.take(options.segment) {
            self.blocked = true;
            return None;
        }
        let header = Header {
            spool: self.shared.spool,
            log: self.name.number(),
            id: self.id(),
            generation: 1,
            size: options.segment,
            reach: options.reach(),
            begun: None,
        };
        Some(Task::Prepare { header, spare })
    }

    fn spare(&mut self) -> Option<Task<D>> {
        let size = self.options().segment;
        if self.upkeep.retired || self.upkeep.free.len() >= SPARES || self.fenced || self.blocked || !self.take(size) {
            return None;
        }
        Some(Task::Spare { id: self.id(), size })
    }

    fn id(&mut self) -> u64 {
        self.upkeep.next_id += 1;
        self.upkeep.next_id - 1
    }

    /// Takes bytes for another file: what is reserved for this log first, then what all share.
    fn take(&mut self, size: u64) -> bool {
        let files = self.upkeep.files + size;
        if files > self.upkeep.occupied {
            if !self.shared.budget.take(size) {
                return false;
            }
            self.upkeep.occupied += size;
        }
        self.upkeep.files = files;
        true
    }

    pub(crate) fn give(&mut self, size: u64) {
        self.upkeep.files -= size;
        let reserved = RESERVED * self.options().segment;
        let needed = self.upkeep.files.max(reserved);
        if self.upkeep.occupied > needed {
            self.shared.budget.give(self.upkeep.occupied - needed);
            self.upkeep.occupied = needed;
        }
    }

    /// Nothing new will be appended: no more spare segments are made.
    pub fn retire(&mut self) {
        self.upkeep.retired = true;
    }

    /// Whether no job is under way but reads.
    pub fn is_idle(&self) -> bool {
        self.committing.is_none() && self.upkeep.busy.is_none()
    }

    /// Asks for the cursor to be written with the next piece of upkeep, however little was delivered since.
    pub fn request_cursor(&mut self) {
        self.upkeep.cursor_asked = true;
    }

    fn write_cursor(&mut self, now: Instant) -> Option<Task<D>> {
        let news = self.delivered - self.upkeep.cursor.delivered;
        if news == 0 {
            self.upkeep.cursor_asked = false;
            return None;
        }
        let early = self.upkeep.cursor_at.is_some_and(|last| now < last + CURSOR_EVERY);
        if early && news < CURSOR_RECORDS && !std::mem::take(&mut self.upkeep.cursor_asked) {
            return None;
        }
        self.upkeep.cursor_at = Some(now);
        let (start, last) = (self.start(), self.segments.back());
        let mut cursor = Cursor {
            spool: self.shared.spool,
            log: self.name.number(),
            counter: self.upkeep.cursor.counter + 1,
            delivered: self.delivered,
            segment: start.segment,
            offset: start.offset,
            synced: self.synced,
            synced_segment: last.map_or(0, |last| last.header.id),
            synced_end: last.map_or(0, |last| last.end),
        };
        assert!(cursor.delivered <= self.delivered && cursor.delivered <= self.synced, "a cursor ahead is a loss");
        if has_bug("cursor_ahead") {
            cursor.delivered = self.synced;
        }
        Some(Task::Cursor { cursor, file: self.upkeep.cursor_file.clone() })
    }

    fn seal(&mut self, _: Instant) -> Option<Task<D>> {
        let segment = self.segments.iter().find(|segment| segment.condition == Condition::Complete)?;
        Some(Task::Seal {
            id: segment.header.id,
            seed: segment.seed(),
            footer: segment.footer(),
            size: segment.header.size,
        })
    }

    fn free(&mut self, _: Instant) -> Option<Task<D>> {
        let mut delivered = self.upkeep.cursor.delivered;
        if has_bug("unlink_before_cursor") {
            delivered = self.delivered;
        }
        let mut room = (KEPT + usize::from(self.ready.is_none())).saturating_sub(self.upkeep.free.len());
        let size = self.options().segment;
        let freed: Vec<_> = self
            .segments
            .iter()
            .filter(|segment| !matches!(segment.condition, Condition::Active | Condition::Moving))
            .filter(|segment| segment.is_empty() || segment.last <= delivered)
            .filter(|segment| Arc::strong_count(&segment.readers) == 1)
            .take(FREED_AT_ONCE)
            .map(|segment| (segment.header.id, fate(segment, size, &mut room)))
            .collect();
        (!freed.is_empty()).then_some(Task::Free(freed))
    }

    fn check(&mut self, now: Instant) -> Option<Task<D>> {
        self.upkeep.check_at.filter(|&at| at <= now)?;
        self.upkeep.check_at = Some(now + CHECK_EVERY);
        let sizes = self.segments.iter().map(|segment| &segment.header);
        let sizes = sizes.chain(self.ready.as_ref().map(|open| &open.header));
        let sizes = sizes.map(|header| (header.id, header.size)).collect();
        Some(Task::Check { sizes, cursor: self.upkeep.cursor_file.is_some() })
    }

    pub(crate) fn upkeep_timeout(&self) -> Option<Instant> {
        if self.upkeep.busy.is_some() {
            return None;
        }
        let waiting = self.delivered > self.upkeep.cursor.delivered;
        let cursor = self.upkeep.cursor_at.filter(|_| waiting).map(|last| last + CURSOR_EVERY);
        // A cursor that is due while upkeep rests waits for the end of the rest.
        let cursor = cursor.map(|at| self.upkeep.rest_until.map_or(at, |until| at.max(until)));
        [cursor, self.upkeep.check_at, self.upkeep.make_at, self.upkeep.rest_until].into_iter().flatten().min()
    }
}

fn fate(segment: &Segment, size: u64, room: &mut usize) -> Fate {
    if segment.is_damaged() {
        Fate::Quarantine
    } else if segment.condition == Condition::Fenced || segment.header.size != size || *room == 0 {
        Fate::Remove
    } else {
        *room -= 1;
        Fate::Recycle
    }
}
