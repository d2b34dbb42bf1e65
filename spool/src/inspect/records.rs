//! The records of a log, for whoever dumps, follows, replays or exports them.

use std::{
    io,
    ops::Range,
    path::{Path, PathBuf},
};

use super::{InspectError, LookedAt, Report};
use crate::{
    Batch, Kind, Name, Sequence, Stored,
    disk::Disk,
    format::segment::{DATA, data_end},
    found::Found,
    scan::{Met, Scanner},
};

/// One record, on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
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
    /// What the engine needs to produce it again.
    pub meta: &'a [u8],
    /// The Kafka key.
    pub key: Option<&'a [u8]>,
    /// The payload.
    pub payload: Option<&'a [u8]>,
}

/// The valid records of one log from `from` on, delivered ones too while they are there, segment by segment.
#[derive(Debug)]
pub struct Records<D: Disk> {
    found: std::vec::IntoIter<Found<D>>,
    from: Sequence,
    folder: PathBuf,
}

/// Opens one log to read its records.
pub fn records<D: Disk>(disk: &D, path: &Path, name: Name, from: Sequence) -> Result<Records<D>, InspectError> {
    let mut report = Report::default();
    let spool = report.meta(disk, path)?;
    let mut log = LookedAt::open(disk, path, name, spool, &mut report)?;
    log.survey(false)?;
    Ok(Records { found: log.found.into_iter(), from, folder: log.folder })
}

impl<D: Disk> Iterator for Records<D> {
    type Item = Result<Batch, InspectError>;

    /// The records of the next segment that has some.
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let found = self.found.next()?;
            match self.segment(&found) {
                Ok(batch) if batch.records.is_empty() => {}
                batch => return Some(batch.map_err(|source| InspectError { path: self.folder.clone(), source })),
            }
        }
    }
}

impl<D: Disk> Records<D> {
    fn segment(&mut self, found: &Found<D>) -> io::Result<Batch> {
        let mut batch = Batch::default();
        if found.footer.is_some_and(|footer| footer.last < self.from) {
            return Ok(batch);
        }
        let end = found.footer.map_or(data_end(found.header.size), |footer| footer.end);
        let mut scanner = Scanner::of_all(&found.file, found.header.seed(), DATA, end);
        loop {
            let record = match scanner.next()? {
                Met::End => break,
                Met::Record(_, record) => record,
                Met::Nothing(_) | Met::Bad(_) => match scanner.resync()? {
                    Some((_, record)) => record,
                    None => break,
                },
            };
            if record.kind.is_some() && (self.from..=found.survey.upper).contains(&record.sequence) {
                self.from = record.sequence + 1;
                batch.push(&record, scanner.parts());
            }
        }
        Ok(batch)
    }
}

impl Batch {
    /// The records with their bytes.
    pub fn iter(&self) -> impl Iterator<Item = Record<'_>> {
        self.records.iter().map(|stored| stored.in_buffer(&self.buffer))
    }
}

impl Stored {
    /// The record with its bytes, which lie in its batch's `buffer`.
    pub fn in_buffer<'a>(&self, buffer: &'a [u8]) -> Record<'a> {
        let bytes = |range: &Range<usize>| &buffer[range.clone()];
        Record {
            sequence: self.sequence,
            kind: self.kind,
            session: self.session,
            packet_id: self.packet_id,
            time: self.time,
            meta: bytes(&self.meta),
            key: self.key.as_ref().map(bytes),
            payload: self.payload.as_ref().map(bytes),
        }
    }
}
