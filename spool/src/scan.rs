//! Walks the records of a segment, reading ahead; finds its way again behind damage.

use std::io;

use crate::{
    disk::File,
    format::{
        BLOCK, Seed, block_up,
        record::{self, Look, Record},
    },
};

/// Read at once.
const WINDOW: usize = 1 << 18;

/// So much further is what the disk may begin to read, where all of a segment is going to be read.
const AHEAD: u64 = 1 << 21;

/// Reads that a bad medium gets before the block counts as lost.
const READ_TRIES: u32 = 3;

/// What the walk met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Met {
    /// A valid record at this offset; [`Scanner::parts`] has its bytes.
    Record(u64, Record),
    /// No group begins at this block; nothing of this life of the file stands here.
    Nothing(u64),
    /// A record that is damaged or not all there.
    Bad(u64),
    /// The end of the range.
    End,
}

/// Walks from one offset to another.
#[derive(Debug)]
pub(crate) struct Scanner<'f, F> {
    file: &'f F,
    seed: Seed,
    at: u64,
    end: u64,
    /// The last thing met was a record, so that a zero length ends its group.
    within: bool,
    window: Vec<u8>,
    window_at: u64,
    /// Up to here the disk was told what is going to be read; `None`: it is not told.
    announced: Option<u64>,
    current: Option<(u64, Record)>,
    /// Bytes the medium could not give.
    pub(crate) unreadable: u64,
}

impl<'f, F: File> Scanner<'f, F> {
    /// A walk over the groups in `from..end`; `from` is the start of a group or of a record.
    pub(crate) fn new(file: &'f F, seed: Seed, from: u64, end: u64) -> Self {
        Self {
            file,
            seed,
            at: from,
            end,
            within: false,
            window: Vec::new(),
            window_at: 0,
            announced: None,
            current: None,
            unreadable: 0,
        }
    }

    /// The same for a walk that will not end before the range does.
    pub(crate) fn of_all(file: &'f F, seed: Seed, from: u64, end: u64) -> Self {
        Self { announced: Some(from), ..Self::new(file, seed, from, end) }
    }

    pub(crate) fn next(&mut self) -> io::Result<Met> {
        loop {
            if self.at >= self.end {
                return Ok(Met::End);
            }
            match self.look()? {
                Look::Record(record) => return Ok(self.found(record)),
                Look::Zero if self.within => {
                    self.at = block_up(self.at + 1);
                    self.within = false;
                }
                Look::Zero | Look::Foreign if !self.within => return Ok(Met::Nothing(self.at)),
                _ => return Ok(Met::Bad(self.at)),
            }
        }
    }

    /// Looks for the next valid record behind the bad place, wherever it may begin.
    pub(crate) fn resync(&mut self) -> io::Result<Option<(u64, Record)>> {
        self.at += 8;
        while self.at < self.end {
            let seed = self.seed;
            let bytes = self.view(record::HEADER)?;
            if bytes.is_empty() {
                // The file is shorter than it should be.
                return Ok(None);
            }
            match record::find(bytes, seed) {
                Some(0) => {}
                Some(skip) => {
                    self.at += skip as u64;
                    continue;
                }
                None => {
                    let seen = bytes.len().saturating_sub(record::HEADER - 8) / 8 * 8;
                    self.at += seen.max(8) as u64;
                    continue;
                }
            }
            if let Look::Record(record) = self.look()? {
                self.found(record);
                return Ok(self.current);
            }
            self.at += 8;
        }
        Ok(None)
    }

    /// Metadata, key and payload of the record that was met last.
    pub(crate) fn parts(&self) -> [&[u8]; 3] {
        let (at, record) = self.current.expect("asked only after a record was met");
        let start = usize::try_from(at - self.window_at).expect("inside the window") + record::HEADER;
        let (meta, rest) = self.window[start..].split_at(record.meta);
        let (key, rest) = rest.split_at(record.key.unwrap_or_default());
        [meta, key, &rest[..record.payload.unwrap_or_default()]]
    }

    fn found(&mut self, record: Record) -> Met {
        let at = self.at;
        self.current = Some((at, record));
        self.within = true;
        self.at += record.size as u64;
        Met::Record(at, record)
    }

    fn look(&mut self) -> io::Result<Look> {
        let (seed, at, room) = (self.seed, self.at, self.end - self.at);
        let mut need = record::HEADER;
        loop {
            match record::look(self.view(need)?, room, seed, at) {
                // The file may be shorter than it should be.
                Look::Short(more) if more <= need => return Ok(Look::Bad),
                Look::Short(more) => need = more,
                look => return Ok(look),
            }
        }
    }

    /// What lies at the walk's place: at least `need` bytes, unless the range or the file ends before.
    fn view(&mut self, need: usize) -> io::Result<&[u8]> {
        let need = need.min(usize::try_from(self.end - self.at).unwrap_or(need));
        let have = (self.window_at + self.window.len() as u64).saturating_sub(self.at);
        if self.at < self.window_at || have < need as u64 {
            self.fill(need.max(WINDOW))?;
        }
        let from = usize::try_from(self.at - self.window_at).expect("inside the window");
        Ok(self.window.get(from..).unwrap_or_default())
    }

    fn fill(&mut self, length: usize) -> io::Result<()> {
        let length = length.min(usize::try_from(self.end - self.at).unwrap_or(length));
        self.window.resize(length, 0);
        self.window_at = self.at;
        self.announce();
        for _ in 0..READ_TRIES {
            if let Ok(count) = self.file.read_at(&mut self.window, self.at) {
                self.window.truncate(count);
                return Ok(());
            }
        }
        self.fill_by_blocks()
    }

    /// Window by window, since the kernel takes such advice for no more than about that much at once.
    fn announce(&mut self) {
        let Some(announced) = &mut self.announced else { return };
        while *announced < self.end.min(self.at + AHEAD) {
            self.file.read_ahead(*announced, WINDOW);
            *announced += WINDOW as u64;
        }
    }

    /// The medium cannot give all of it: what it gives, and zeros for the rest, which no record passes for.
    fn fill_by_blocks(&mut self) -> io::Result<()> {
        let mut lost = 0;
        let mut error = None;
        let mut at = self.at;
        let mut rest = &mut self.window[..];
        while !rest.is_empty() {
            let length = usize::try_from(BLOCK - at % BLOCK).expect("a block").min(rest.len());
            let (block, after) = rest.split_at_mut(length);
            match self.file.read_at(block, at) {
                Ok(count) => block[count..].fill(0),
                Err(failed) => {
                    block.fill(0);
                    lost += length as u64;
                    error = Some(failed);
                }
            }
            at += length as u64;
            rest = after;
        }
        self.unreadable += lost;
        // Not one block: the disk is gone rather than damaged.
        error.filter(|_| lost == self.window.len() as u64 && lost > BLOCK).map_or(Ok(()), Err)
    }
}
