//! Looks at a spool without changing it, also beside the process that writes it; and repairs one that nobody writes.
//!
//! No lock is taken to look. What the writer does meanwhile shows: a segment that is recycled is left out, and a group
//! on its way to the disk looks like a torn tail until it has arrived.

mod records;

use std::{
    io,
    path::{Path, PathBuf},
    time::Instant,
};

use crate::{
    Gap, Log, Name, OpenError, Options, Sequence, Spool,
    disk::{Disk, File},
    format::{
        SECTOR,
        cursor::Cursor,
        meta::{Meta, Unusable},
    },
    found::{self, Found, Refused},
    segment::{CURSOR, Named, named},
    spool::{META, QUARANTINE},
    survey::{self, Tally},
};

pub use records::{Record, Records, records};

/// How sound a spool is; the worst of its parts counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Nothing to complain of.
    #[default]
    Clean,
    /// Ends with something that was never acknowledged; opening it cuts that.
    TornTail,
    /// Something that had been durable is damaged or missing.
    Corrupt,
    /// A file cannot be read as what it is.
    Unreadable,
    /// Written by a later version.
    UnknownVersion,
}

/// Why a spool cannot be looked at.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {path}: {source}")]
pub struct InspectError {
    /// Which file or folder.
    pub path: PathBuf,
    /// Why not.
    pub source: io::Error,
}

/// A spool as it lies there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The worst of all.
    pub class: Class,
    /// How many shards the last run had; `None` when META cannot be read.
    pub shards: Option<u32>,
    /// Each log.
    pub logs: Vec<LogReport>,
    /// What is wrong, one line each.
    pub findings: Vec<String>,
    /// Files that were set aside.
    pub quarantined: Vec<PathBuf>,
}

/// A log as it lies there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogReport {
    /// Which one.
    pub name: Name,
    /// Everything up to here has a delivery report, as the cursor says; `None` without a valid cursor.
    pub delivered: Option<Sequence>,
    /// Records behind that.
    pub backlog: u64,
    /// The highest sequence that some witness calls durable.
    pub durable: Sequence,
    /// Segments that hold records, the oldest first.
    pub segments: Vec<SegmentReport>,
    /// Files that wait to be used.
    pub spares: u64,
    /// Bytes of all its files.
    pub bytes: u64,
    /// What had been durable and is not there.
    pub gaps: Vec<Gap>,
}

/// A segment as it lies there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentReport {
    /// Its number.
    pub id: u64,
    /// Which life of its file it is.
    pub generation: u64,
    /// Its first record.
    pub first: Sequence,
    /// Its last record.
    pub last: Sequence,
    /// Valid records.
    pub records: u64,
    /// Bytes up to the end of the last record.
    pub bytes: u64,
    /// When its first record was received: milliseconds since 1970.
    pub oldest: u64,
    /// Complete, with a footer.
    pub sealed: bool,
}

/// Reads headers, footers, cursors, and the segments that have no footer yet.
pub fn stat<D: Disk>(disk: &D, path: &Path) -> Result<Report, InspectError> {
    look(disk, path, false)
}

/// The same; `deep` reads every record of every segment.
pub fn verify<D: Disk>(disk: &D, path: &Path, deep: bool) -> Result<Report, InspectError> {
    look(disk, path, deep)
}

fn look<D: Disk>(disk: &D, path: &Path, deep: bool) -> Result<Report, InspectError> {
    let mut report = Report::default();
    let spool = report.meta(disk, path)?;
    for folder in list(disk, path)? {
        match Name::from_folder(&folder) {
            Some(name) => {
                let mut log = LookedAt::open(disk, path, name, spool, &mut report)?;
                let durable = log.survey(deep)?;
                report.judge(&log, durable);
            }
            None if folder == QUARANTINE => report.quarantine(disk, &path.join(folder))?,
            None => {}
        }
    }
    Ok(report)
}

/// A log's files.
struct LookedAt<D: Disk> {
    name: Name,
    folder: PathBuf,
    found: Vec<Found<D>>,
    cursor: Cursor,
    spares: u64,
    bytes: u64,
    deep: bool,
}

impl<D: Disk> LookedAt<D> {
    /// `spool` is what META says, else whatever the first segment says.
    fn open(
        disk: &D,
        root: &Path,
        name: Name,
        mut spool: Option<[u8; 16]>,
        report: &mut Report,
    ) -> Result<Self, InspectError> {
        let folder = root.join(name.to_string());
        let (mut found, mut spares, mut bytes) = (Vec::new(), 0, 0);
        for file in list(disk, &folder)? {
            let path = folder.join(&file);
            let id = match named(&file) {
                Named::Segment(id) => id,
                Named::Free(_) => {
                    spares += 1;
                    bytes += disk.open_read(&path).and_then(|file| file.status()).map_or(0, |status| status.size);
                    continue;
                }
                Named::Cursor | Named::Unknown => continue,
            };
            if spool.is_none() {
                spool = found::owner(disk, &path, name);
            }
            match Found::read(disk.open_read(&path), &spool.unwrap_or_default(), name, id) {
                Ok(segment) => {
                    bytes += segment.header.size;
                    found.push(segment);
                }
                Err(Refused::Io(error)) if error.kind() == io::ErrorKind::NotFound => {}
                Err(Refused::Io(source)) => return Err(InspectError { path, source }),
                Err(Refused::Foreign) => {
                    report.find(Class::Unreadable, format!("{} is no segment of this log", path.display()));
                }
                Err(Refused::Version(version)) => {
                    report.find(Class::UnknownVersion, format!("{} has version {version}", path.display()));
                }
            }
        }
        let file = disk.open_read(&folder.join(CURSOR));
        let (cursor, file) = found::cursor(file, &spool.unwrap_or_default(), name)
            .map_err(|source| InspectError { path: folder.clone(), source })?;
        if cursor.counter == 0 && file.is_some() {
            report.find(Class::Corrupt, format!("{} has no valid cursor", folder.display()));
        }
        Ok(Self { name, folder, found, cursor, spares, bytes, deep: false })
    }

    /// Scans what must be scanned; with `deep` everything, compared with what the footers say.
    fn survey(&mut self, deep: bool) -> Result<Sequence, InspectError> {
        let error = |source| InspectError { path: self.folder.clone(), source };
        let durable = found::survey(&mut self.found, self.cursor.synced).map_err(error)?;
        self.deep = deep;
        for found in self.found.iter_mut().filter(|found| deep && found.footer.is_some()) {
            let upper = found.survey.upper;
            let end = found.footer.map(|footer| footer.end);
            found.survey = survey::survey(&found.file, &found.header, found.survey.last(), end).map_err(error)?;
            found.survey.upper = upper;
        }
        Ok(durable)
    }
}

impl Report {
    fn find(&mut self, class: Class, finding: String) {
        self.class = self.class.max(class);
        self.findings.push(finding);
    }

    fn meta<D: Disk>(&mut self, disk: &D, root: &Path) -> Result<Option<[u8; 16]>, InspectError> {
        let path = root.join(META);
        let mut bytes = vec![0; SECTOR];
        let read = disk.open_read(&path).and_then(|file| file.read_at(&mut bytes, 0));
        match read {
            Ok(count) => bytes.truncate(count),
            Err(error) if error.kind() == io::ErrorKind::NotFound => bytes.clear(),
            Err(source) => return Err(InspectError { path, source }),
        }
        match Meta::decode(&bytes) {
            Ok(meta) => {
                self.shards = Some(meta.shards);
                return Ok(Some(meta.spool));
            }
            Err(Unusable::Unknown(version)) => {
                self.find(Class::UnknownVersion, format!("{} has version {version}", path.display()));
            }
            Err(Unusable::Damaged) => self.find(Class::Corrupt, format!("{} is damaged or missing", path.display())),
        }
        Ok(None)
    }

    fn quarantine<D: Disk>(&mut self, disk: &D, path: &Path) -> Result<(), InspectError> {
        for log in list(disk, path)? {
            let folder = path.join(log);
            self.quarantined.extend(list(disk, &folder)?.into_iter().map(|file| folder.join(file)));
        }
        Ok(())
    }

    fn judge<D: Disk>(&mut self, log: &LookedAt<D>, durable: Sequence) {
        let delivered = (log.cursor.counter > 0).then_some(log.cursor.delivered);
        let mut judged = LogReport {
            name: log.name,
            delivered,
            backlog: 0,
            durable,
            segments: Vec::new(),
            spares: log.spares,
            bytes: log.bytes,
            gaps: Vec::new(),
        };
        let mut expected = delivered.map(|delivered| delivered + 1);
        for found in &log.found {
            let Some(base) = found.base() else { continue };
            let known = durable.min(found.survey.upper);
            let mut verdict = found.survey.judge(base, known);
            verdict.forget(log.cursor.delivered);
            let place = format!("{}, segment {}", log.name, found.header.id);
            if verdict.torn {
                self.find(Class::TornTail, format!("{place}: a torn tail after record {}", verdict.tally.last));
            }
            if !found.whole || (found.damaged && base <= known) || found.survey.unreadable > 0 {
                self.find(Class::Corrupt, format!("{place}: its file is cut, unreadable, or its header damaged"));
            } else if found.differs(&verdict.tally, log.deep) {
                self.find(Class::Corrupt, format!("{place}: its records are not those that its footer sums up"));
            }
            let missing = expected.filter(|&expected| expected < base).map(|first| Gap { first, last: base - 1 });
            judged.gaps.extend(missing.into_iter().chain(verdict.gaps.iter().copied()));
            let last = verdict.gaps.last().map_or(0, |gap| gap.last).max(verdict.tally.last).max(base - 1);
            expected = Some(expected.unwrap_or(1).max(last + 1));
            if verdict.tally.records > 0 {
                judged.segments.push(found.report(&verdict.tally));
            }
        }
        let missing = expected.filter(|&expected| expected <= durable);
        judged.gaps.extend(missing.map(|first| Gap { first, last: durable }));
        let last = judged.segments.last().map_or(0, |segment| segment.last).max(durable);
        let before = judged.segments.first().map_or(last, |segment| segment.first - 1);
        judged.backlog = last - delivered.unwrap_or(before).min(last);
        for gap in &judged.gaps {
            self.find(Class::Corrupt, format!("{}: records {} to {} are missing", log.name, gap.first, gap.last));
        }
        self.logs.push(judged);
    }
}

impl<D: Disk> Found<D> {
    /// Whether a full scan came to something else than the footer.
    fn differs(&self, tally: &Tally, deep: bool) -> bool {
        let footer = self.footer.filter(|_| deep);
        footer.is_some_and(|footer| {
            (footer.last, footer.records, footer.chain) != (tally.last, tally.records, tally.chain)
        })
    }

    fn report(&self, tally: &Tally) -> SegmentReport {
        SegmentReport {
            id: self.header.id,
            generation: self.header.generation,
            first: tally.first,
            last: tally.last,
            records: tally.records,
            bytes: tally.end,
            oldest: tally.oldest,
            sealed: self.footer.is_some(),
        }
    }
}

fn list<D: Disk>(disk: &D, folder: &Path) -> Result<Vec<String>, InspectError> {
    disk.list(folder).map_err(|source| InspectError { path: folder.to_owned(), source })
}

/// Does what opening does, for every log: cuts torn tails, sets aside what is no segment, makes META and cursors again.
/// With `dry_run` nothing is changed; what would be done is in the report's findings.
pub fn repair<D: Disk>(
    disk: &D,
    path: &Path,
    options: Options,
    now: Instant,
    dry_run: bool,
) -> Result<Report, OpenError> {
    let before =
        stat(disk, path).map_err(|error| OpenError::Io { what: "read", path: error.path, source: error.source })?;
    if dry_run {
        return Ok(before);
    }
    let (spool, _) = Spool::open(disk.clone(), path, options)?;
    for &name in spool.names() {
        let (mut log, _) = spool.log(name)?;
        settle(&mut log, now);
    }
    Ok(before)
}

/// Writes what no witness calls durable again, so that it has one; for whoever opens a log to put it in order.
pub fn settle<D: Disk>(log: &mut Log<D>, now: Instant) {
    log.request_cursor();
    while log.synced() < log.appended() {
        let upkeep = log.poll_upkeep(now).map(|upkeep| log.handle_upkeep(now, upkeep.run()));
        let commit = log.poll_commit(now).map(|commit| log.handle_committed(now, commit.run()));
        // Without space or a working disk it stays as it is: still there, and still to be written again.
        if upkeep.is_none_or(|kept| kept.is_err()) && commit.is_none_or(|done| done.is_err()) {
            break;
        }
    }
}
