//! The job that makes one group durable.

use std::io;

use crate::{
    Sequence,
    bug::has_bug,
    disk::{Disk, File},
    format::segment::BEGUN,
    group::Group,
    segment::Open,
};

/// One group on its way to the disk. Run it where blocking is allowed and hand the result back to the log.
#[derive(Debug)]
#[must_use = "the log takes no second group before this one is handed back"]
pub struct Commit<D: Disk> {
    pub(crate) open: Open<D>,
    pub(crate) group: Group,
    pub(crate) durable: Sequence,
    pub(crate) chain: u32,
    /// The segment's header goes with its first group.
    pub(crate) begins: bool,
}

/// A commit that was run.
#[derive(Debug)]
#[must_use = "the log takes no second group before this one is handed back"]
pub struct Committed<D: Disk> {
    pub(crate) open: Open<D>,
    pub(crate) group: Group,
    pub(crate) at: u64,
    pub(crate) end: u64,
    /// How far everything is known to be durable to whoever finds the group.
    pub(crate) durable: Sequence,
    pub(crate) chain: u32,
    pub(crate) result: io::Result<()>,
}

impl<D: Disk> Commit<D> {
    /// Stores the group into the map of its segment and syncs the file.
    pub fn run(self) -> Committed<D> {
        let Self { mut open, mut group, durable, chain, begins } = self;
        let at = open.next;
        let records = group.len();
        let mut result = intact(&open);
        let (bytes, chain) = group.place(open.header.seed(), at, durable, chain);
        if result.is_ok() {
            if begins {
                open.store(BEGUN, &open.header.encode());
            }
            open.store(at, bytes);
            result = open.file.sync();
        }
        // The kernel may say yes the second time although the data is gone.
        if has_bug("retry_fsync") && result.is_err() {
            result = open.file.sync();
        }
        open.next = at + bytes.len() as u64;
        group.unplace(records);
        Committed { open, group, at, end: at + records as u64, durable, chain, result }
    }

    /// Bytes of the group's records.
    pub fn bytes(&self) -> usize {
        self.group.len()
    }

    /// Records of the group; 0 for a mark.
    pub fn records(&self) -> u64 {
        self.group.records()
    }
}

impl<D: Disk> Committed<D> {
    /// Whether the group is durable.
    pub fn is_ok(&self) -> bool {
        self.result.is_ok()
    }
}

/// A store into a map of a file that was cut would end the process: look first.
fn intact<D: Disk>(open: &Open<D>) -> io::Result<()> {
    let status = open.file.status()?;
    if status.links == 0 {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the file was removed"));
    }
    if status.size < open.header.size {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file was cut"));
    }
    Ok(())
}
