//! What a crash left: which records are durable, what is a torn tail and what is damage.

use std::{
    collections::VecDeque,
    io,
    path::PathBuf,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use crate::{
    Entry, Gap, Log, Name, OpenError, Position, Sequence, Warning,
    budget::count,
    disk::{Disk, File},
    format::{
        block_up,
        cursor::Cursor,
        record::Record,
        segment::{DATA, data_end},
    },
    found::{self, Found, Refused},
    group::Group,
    job::{set_aside, write_cursor, zero},
    log::Start,
    options::RESERVED,
    scan::{Met, Scanner},
    segment::{CURSOR, CURSOR_NEW, Condition, Named, Open, Segment, file_name, free_name, named},
    spool::{Ledger, QUARANTINE, Shared, io_error, sync_folder},
    survey::{Tally, Verdict, survey},
    upkeep::Plan,
};

/// What was found when a log was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Where the first record lies that is not yet delivered.
    pub start: Position,
    /// The last record that is durable.
    pub synced: Sequence,
    /// The last record that is here. What is above `synced` may be in the kernel's memory only, after a sync that
    /// failed: the first commit writes it again, and it can be read once that is durable.
    pub appended: Sequence,
    /// Records that are not yet delivered.
    pub backlog: u64,
    /// Whether a torn tail was cut: it had never been acknowledged.
    pub torn: bool,
    /// What had been durable and is damaged or gone.
    pub gaps: Vec<Gap>,
    /// Whether anything that had been durable is damaged, be it only a copy of a header.
    pub degraded: bool,
    /// What else is not as it should be.
    pub warnings: Vec<Warning>,
}

/// The newest segment that holds records.
struct Last<D: Disk> {
    file: D::File,
    /// It can be written on.
    usable: bool,
    torn: bool,
    /// It ends with records that no witness calls durable.
    moves: bool,
}

/// Opening one log, step by step.
struct Opening<D: Disk> {
    shared: Arc<Shared<D>>,
    name: Name,
    folder: PathBuf,
    recovery: Recovery,
    cursor: Cursor,
    free: Vec<u64>,
    next_id: u64,
    files: u64,
    rewrite_folder: bool,
}

pub(crate) fn recover<D: Disk>(
    shared: Arc<Shared<D>>,
    name: Name,
    ledger: Arc<Ledger>,
) -> Result<(Log<D>, Recovery), OpenError> {
    let folder = shared.folder(name);
    shared.disk.create_folder(&folder).map_err(io_error("make the folder", &folder))?;
    sync_folder(&shared.disk, &shared.root).map_err(io_error("sync the folder", &shared.root))?;
    let mut opening = Opening {
        shared,
        name,
        folder,
        recovery: Recovery::default(),
        cursor: Cursor::default(),
        free: Vec::new(),
        next_id: 1,
        files: 0,
        rewrite_folder: false,
    };
    let found = opening.look()?;
    opening.decide(found, ledger)
}

impl<D: Disk> Opening<D> {
    fn look(&mut self) -> Result<Vec<Found<D>>, OpenError> {
        let disk = self.shared.disk.clone();
        let names = disk.list(&self.folder).map_err(io_error("list", &self.folder))?;
        let cursor = found::cursor(disk.open(&self.folder.join(CURSOR)), &self.shared.spool, self.name);
        let (cursor, file) = cursor.map_err(io_error("read the cursor in", &self.folder))?;
        self.next_id = cursor.segment.max(cursor.synced_segment) + 1;
        self.cursor = cursor;
        let mut ids = Vec::new();
        for file in names {
            let path = self.folder.join(&file);
            match named(&file) {
                Named::Segment(id) => ids.push(id),
                Named::Free(id) => {
                    self.next_id = self.next_id.max(id + 1);
                    self.load_free(id).map_err(io_error("examine", &path))?;
                }
                Named::Cursor if file == CURSOR_NEW => {
                    disk.remove(&path).map_err(io_error("remove", &path))?;
                }
                Named::Cursor => {}
                Named::Unknown => self.recovery.warnings.push(Warning::Unknown(path)),
            }
        }
        self.next_id = self.next_id.max(ids.last().map_or(0, |last| last + 1));
        let segments = found::segments(&disk, &self.folder, &self.shared.spool, self.name, &ids);
        let mut found = Vec::new();
        for (id, read) in ids.into_iter().zip(segments) {
            found.extend(self.load(id, read)?);
        }
        let empty = found.is_empty() && self.free.is_empty();
        if self.cursor.counter == 0 && !empty && file.is_some() {
            self.recovery.warnings.push(Warning::Cursor(self.folder.join(CURSOR)));
        }
        Ok(found)
    }

    fn load_free(&mut self, id: u64) -> io::Result<()> {
        let (disk, path) = (&self.shared.disk, self.folder.join(free_name(id)));
        let status = disk.open_read(&path)?.status()?;
        if status.size == self.shared.options(self.name).segment {
            self.free.push(id);
            self.files += status.size;
            return Ok(());
        }
        disk.remove(&path)
    }

    /// A segment's file; one that is none of this log's is set aside.
    fn load(&mut self, id: u64, read: Result<Found<D>, Refused>) -> Result<Option<Found<D>>, OpenError> {
        let path = self.folder.join(file_name(id));
        match read {
            Ok(found) => {
                self.files += found.header.size;
                Ok(Some(found))
            }
            Err(Refused::Version(version)) => Err(OpenError::Version { path, version }),
            Err(Refused::Io(source)) => Err(OpenError::Io { what: "open", path, source }),
            Err(Refused::Foreign) => {
                let quarantine = self.shared.root.join(QUARANTINE).join(self.name.to_string());
                set_aside(&self.shared.disk, &quarantine, &path).map_err(io_error("quarantine", &path))?;
                self.rewrite_folder = true;
                self.recovery.degraded = true;
                self.recovery.warnings.push(Warning::Quarantined(path));
                Ok(None)
            }
        }
    }

    fn decide(mut self, mut found: Vec<Found<D>>, ledger: Arc<Ledger>) -> Result<(Log<D>, Recovery), OpenError> {
        let durable = found::survey(&mut found, self.cursor.synced).map_err(io_error("scan", &self.folder))?;
        let (segments, last) = self.classify(found, durable)?;
        let mut start = self.start(segments, ledger, durable);
        if let Some(last) = last {
            let segment = start.segments.back_mut().expect("the last segment");
            if last.usable && start.tail.is_empty() && !last.moves {
                // On a disk that fails, the next segment is used.
                start.open = reopen(last.file, segment, last.torn).ok();
                segment.condition = if start.open.is_some() { Condition::Active } else { Condition::Complete };
            } else if last.moves {
                start.tail = tail(&last.file, segment).map_err(io_error("scan", &start.folder))?;
            }
        }
        if self.rewrite_folder {
            sync_folder(&start.shared.disk, &start.folder).map_err(io_error("sync the folder", &start.folder))?;
        }
        // Always anew: a slot that was read may be in the kernel's memory only, after a sync that failed, and a disk that
        // fills up later has the file. Until one is durable nothing counts as delivered.
        start.upkeep.cursor.counter += 1;
        let cursor = start.upkeep.cursor;
        match write_cursor(&start.shared.disk, &start.folder, &cursor, None) {
            Ok(file) => start.upkeep.cursor_file = Some(file),
            Err(_) => start.upkeep.cursor.delivered = 0,
        }
        let log = Log::new(start);
        self.recovery.start = log.start();
        self.recovery.synced = log.synced;
        self.recovery.appended = log.appended();
        self.recovery.backlog = log.appended() - log.delivered;
        Ok((log, self.recovery))
    }

    /// Torn or damaged, for each segment from the oldest on.
    fn classify(
        &mut self,
        found: Vec<Found<D>>,
        durable: Sequence,
    ) -> Result<(VecDeque<Segment>, Option<Last<D>>), OpenError> {
        let mut segments: VecDeque<Segment> = VecDeque::new();
        let mut last = None;
        let mut expected = (self.cursor.counter > 0).then_some(self.cursor.delivered + 1);
        for mut found in found {
            let base = found.base();
            let known = durable.min(found.survey.upper);
            let mut verdict = found.survey.judge(base.unwrap_or(Sequence::MAX), known);
            if verdict.tally.records == 0 && verdict.gaps.is_empty() {
                self.recovery.torn |= verdict.torn;
                self.spare(&found)?;
                continue;
            }
            let (torn, moves) = (verdict.torn, verdict.tally.records > 0 && verdict.tally.last > known);
            let first = base.unwrap_or(verdict.tally.first);
            if moves {
                found.survey =
                    survey(&found.file, &found.header, known, None).map_err(io_error("scan", &self.folder))?;
                verdict = found.survey.judge(first, known);
            }
            // What was delivered is no loss, and may have been freed.
            verdict.forget(self.cursor.delivered);
            // A copy of the header that was never durable is no loss.
            found.damaged &= first <= known;
            self.note(&verdict, found.damaged, torn);
            if let Some(expected) = expected.filter(|&expected| expected < first) {
                self.recovery.gaps.push(Gap { first: expected, last: first - 1 });
            }
            let damaged = found.damaged || !verdict.gaps.is_empty();
            let condition = match (damaged, found.footer) {
                (true, _) => Condition::Damaged,
                (false, Some(_)) => Condition::Sealed,
                (false, None) if moves => Condition::Moving,
                (false, None) if found.whole => Condition::Complete,
                (false, None) => Condition::Fenced,
            };
            let end = verdict.gaps.last().map_or(0, |gap| gap.last).max(verdict.tally.last).max(first - 1);
            expected = Some(expected.unwrap_or(1).max(end + 1).max(self.cursor.delivered + 1));
            segments.push_back(segment(&found, first, end, &verdict.tally, condition));
            let usable = found.whole && found.footer.is_none() && !damaged;
            last = Some(Last { file: found.file, usable, torn, moves });
        }
        if let Some(expected) = expected.filter(|&expected| expected <= durable) {
            self.recovery.gaps.push(Gap { first: expected, last: durable });
            last = None;
        }
        self.recovery.degraded |= !self.recovery.gaps.is_empty();
        Ok((segments, last))
    }

    fn note(&mut self, verdict: &Verdict, damaged: bool, torn: bool) {
        self.recovery.gaps.extend(&verdict.gaps);
        self.recovery.torn |= torn;
        self.recovery.degraded |= damaged || !verdict.gaps.is_empty();
    }

    /// Nothing was ever durable in it: its file waits for another life.
    fn spare(&mut self, found: &Found<D>) -> Result<(), OpenError> {
        let (disk, id) = (&self.shared.disk, found.header.id);
        let path = self.folder.join(file_name(id));
        if found.whole && found.header.size == self.shared.options(self.name).segment {
            disk.rename(&path, &self.folder.join(free_name(id))).map_err(io_error("rename", &path))?;
            self.free.push(id);
        } else {
            disk.remove(&path).map_err(io_error("remove", &path))?;
            self.files -= found.header.size;
        }
        self.rewrite_folder = true;
        Ok(())
    }

    fn start(&self, segments: VecDeque<Segment>, ledger: Arc<Ledger>, durable: Sequence) -> Start<D> {
        let last = segments.back().map_or(0, |segment| segment.last);
        let synced = last.max(durable).max(self.cursor.delivered);
        let first = segments.front().map_or(synced + 1, |segment| segment.first);
        let delivered = if self.cursor.counter == 0 || segments.is_empty() { first - 1 } else { self.cursor.delivered };
        let counters = &ledger.counters;
        count(&counters.torn_tails, self.recovery.torn.into());
        count(&counters.corrupt_records, self.recovery.gaps.iter().map(Gap::records).sum());
        ledger.degraded.store(self.recovery.degraded, Relaxed);
        let occupied = self.files.max(RESERVED * self.shared.options(self.name).segment);
        self.shared.budget.occupy(occupied);
        let mut cursor = self.cursor;
        // Without a valid cursor nothing is known to be delivered, but sequences before the first are gone.
        cursor.delivered = cursor.delivered.max(delivered);
        (cursor.spool, cursor.log) = (self.shared.spool, self.name.number());
        cursor.synced = cursor.synced.max(durable.min(synced));
        Start {
            shared: Arc::clone(&self.shared),
            name: self.name,
            folder: self.folder.clone(),
            ledger,
            synced,
            witnessed: durable.min(synced),
            delivered,
            segments,
            open: None,
            tail: Group::default(),
            upkeep: Plan {
                cursor,
                cursor_file: None,
                cursor_at: None,
                cursor_asked: false,
                free: self.free.clone(),
                next_id: self.next_id,
                files: self.files,
                occupied,
                turn: 0,
                check_at: None,
                make_at: None,
                rest_until: None,
                busy: None,
                retired: false,
            },
        }
    }
}

fn segment<D: Disk>(found: &Found<D>, first: Sequence, last: Sequence, tally: &Tally, condition: Condition) -> Segment {
    let mut segment = Segment::new(found.header, first);
    segment.last = last;
    segment.records = tally.records;
    segment.end = tally.end.max(DATA);
    segment.oldest = tally.oldest;
    segment.chain = tally.chain;
    segment.condition = condition;
    segment.index = found.survey.index.iter().copied().filter(|&(_, offset)| offset < tally.end).collect();
    segment
}

/// Goes on writing the last segment, behind a torn tail that is wiped out first. The block where the durable records end
/// is left alone: a crash in the middle of the wiping may cost what is being written.
fn reopen<D: Disk>(file: D::File, segment: &Segment, torn: bool) -> io::Result<Open<D>> {
    let header = segment.header;
    let next = block_up(segment.end + 8);
    if torn {
        zero(&file, next, (next + header.reach).min(data_end(header.size)))?;
        file.sync()?;
    }
    let map = file.map(header.size)?;
    Ok(Open { file: Arc::new(file), map, header, next })
}

/// The records behind those that are surely durable. They are written again: the kernel may hold them in memory, clean,
/// although a sync failed before the process died, and then no sync of this process would ever bring them to the disk.
fn tail<F: File>(file: &F, segment: &Segment) -> io::Result<Group> {
    let from = if segment.is_empty() { DATA } else { block_up(segment.end + 8) };
    let mut scanner = Scanner::new(file, segment.seed(), from, data_end(segment.header.size));
    let mut group = Group::default();
    loop {
        let record = match scanner.next()? {
            Met::Record(_, record) => record,
            Met::End => break,
            Met::Nothing(_) | Met::Bad(_) => match scanner.resync()? {
                Some((_, record)) => record,
                None => break,
            },
        };
        let Some(kind) = record.kind else { continue };
        let next = if group.is_empty() { segment.last + 1 } else { group.last + 1 };
        if record.sequence != next {
            break;
        }
        let [meta, key, payload] = scanner.parts();
        let Record { session, packet_id, time, .. } = record;
        let (key, payload) = (record.key.map(|_| key), record.payload.map(|_| payload));
        group.push(next, &Entry { kind, session, packet_id, time, meta, key, payload });
    }
    Ok(group)
}
