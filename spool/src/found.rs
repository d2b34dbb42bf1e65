//! What lies in a log's folder, looked at without changing anything.

use std::{io, path::Path, thread};

use crate::{
    Name, Sequence,
    disk::{Disk, File},
    format::{
        BLOCK, SECTOR,
        cursor::{self, Cursor},
        meta::Unusable,
        segment::{BEGUN, Footer, Header, data_end},
    },
    segment::file_name,
    survey::{self, Survey},
};

/// Threads that look at the segments of one log, so that a disk that has to be waited for is asked for several at once.
const READERS: usize = 8;

/// Fewer segments than this are not worth a thread.
const SHARE: usize = 16;

/// A segment's file, looked at.
#[derive(Debug)]
pub(crate) struct Found<D: Disk> {
    pub(crate) file: D::File,
    pub(crate) header: Header,
    /// One of the copies of the header is not what it was.
    pub(crate) damaged: bool,
    /// The file is as long as its header says.
    pub(crate) whole: bool,
    pub(crate) footer: Option<Footer>,
    pub(crate) survey: Survey,
}

/// Why a file is not one of the log's segments.
#[derive(Debug)]
pub(crate) enum Refused {
    /// Neither copy of its header is valid and of this segment.
    Foreign,
    /// Of a later format version.
    Version(u16),
    /// Cannot be opened.
    Io(io::Error),
}

impl<D: Disk> Found<D> {
    /// A segment's header and footer, from its file if that could be opened.
    pub(crate) fn read(file: io::Result<D::File>, spool: &[u8; 16], log: Name, id: u64) -> Result<Self, Refused> {
        let file = file.map_err(Refused::Io)?;
        let mut sectors = [[0; SECTOR]; 2];
        for (sector, at) in sectors.iter_mut().zip([0, BEGUN]) {
            // What cannot be read is damaged.
            let _ = file.read_at(sector, at);
        }
        let blank = sectors[1].iter().all(|&byte| byte == 0);
        let mut headers = [None; 2];
        for (header, sector) in headers.iter_mut().zip(&sectors) {
            match Header::decode(sector) {
                Ok(read) => *header = Some(read),
                Err(Unusable::Unknown(version)) => return Err(Refused::Version(version)),
                Err(Unusable::Damaged) => {}
            }
        }
        let ours = |header: &Header| header.spool == *spool && header.log == log.number() && header.id == id;
        let [prepared, begun] = headers.map(|header| header.filter(ours));
        let header = begun.or(prepared).ok_or(Refused::Foreign)?;
        let whole = file.status().map_err(Refused::Io)?.size >= header.size;
        let mut footer = [0; SECTOR];
        let _ = file.read_at(&mut footer, data_end(header.size));
        let footer = Footer::decode(&footer, header.seed()).filter(|_| whole);
        let damaged = prepared.is_none() || (begun.is_none() && !blank);
        Ok(Self { file, header, damaged, whole, footer, survey: Survey::default() })
    }

    /// The first sequence that belongs here, if anything does.
    pub(crate) fn base(&self) -> Option<Sequence> {
        self.header.begun.map(|begun| begun.base).or(self.survey.first())
    }
}

/// Looks at segments' files, in the order of `ids`.
pub(crate) fn segments<D: Disk>(
    disk: &D,
    folder: &Path,
    spool: &[u8; 16],
    log: Name,
    ids: &[u64],
) -> Vec<Result<Found<D>, Refused>> {
    let read = |id: &u64| Found::read(disk.open(&folder.join(file_name(*id))), spool, log, *id);
    let share = |ids: &[u64]| ids.iter().map(read).collect::<Vec<_>>();
    let readers = (ids.len() / SHARE).clamp(1, READERS);
    if readers == 1 {
        return share(ids);
    }
    let share = &share;
    thread::scope(|scope| {
        let reader = || thread::Builder::new().name("recover".to_owned());
        let start = |ids| reader().spawn_scoped(scope, move || share(ids)).map_err(|_| ids);
        let readers: Vec<_> = ids.chunks(ids.len().div_ceil(readers)).map(start).collect();
        let join = |reader| match reader {
            Ok(reader) => thread::ScopedJoinHandle::join(reader).expect("reading does not panic"),
            Err(ids) => share(ids),
        };
        readers.into_iter().flat_map(join).collect()
    })
}

/// The valid slot with the higher counter, else none at all (counter 0), and the file, if there is one.
pub(crate) fn cursor<F: File>(file: io::Result<F>, spool: &[u8; 16], log: Name) -> io::Result<(Cursor, Option<F>)> {
    let file = match file {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Cursor::default(), None)),
        Err(error) => return Err(error),
    };
    let mut bytes = vec![0; usize::try_from(cursor::SIZE).expect("two blocks")];
    file.read_at(&mut bytes, 0)?;
    let (first, second) = bytes.split_at(usize::try_from(BLOCK).expect("a block"));
    let ours = |slot: &Cursor| slot.spool == *spool && slot.log == log.number();
    let slots = [first, second].into_iter().filter_map(Cursor::decode).filter(ours);
    Ok((slots.max_by_key(|slot| slot.counter).unwrap_or_default(), Some(file)))
}

/// Scans what has no footer, the newest first; returns the highest sequence that some witness calls durable.
pub(crate) fn survey<D: Disk>(found: &mut [Found<D>], witnessed: Sequence) -> io::Result<Sequence> {
    let mut durable = witnessed;
    let mut upper = Sequence::MAX;
    for found in found.iter_mut().rev() {
        found.survey = match found.footer {
            Some(footer) => Survey::of_footer(&footer),
            None => survey::survey(&found.file, &found.header, upper, None)?,
        };
        let begun = found.header.begun.map_or(1, |begun| begun.base);
        durable = durable.max(found.survey.durable).max(begun - 1);
        found.survey.upper = upper;
        upper = found.base().map_or(upper, |base| base - 1);
    }
    Ok(durable)
}

/// The spool that a segment's file says it belongs to, if it is one of this log.
pub(crate) fn owner<D: Disk>(disk: &D, path: &Path, log: Name) -> Option<[u8; 16]> {
    let mut sector = [0; SECTOR];
    disk.open_read(path).ok()?.read_at(&mut sector, 0).ok()?;
    Header::decode(&sector).ok().filter(|header| header.log == log.number()).map(|header| header.spool)
}
