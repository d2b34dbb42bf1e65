//! What a disk in memory consists of: images of files, names, and changes that are not yet durable.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
};

use rand::Rng;

use super::memory::Operation;

const SECTOR: usize = 512;

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) files: Vec<Image>,
    pub(super) names: BTreeMap<PathBuf, usize>,
    pub(super) durable_names: BTreeMap<PathBuf, usize>,
    pub(super) folders: BTreeSet<PathBuf>,
    pub(super) changes: Vec<Change>,
    pub(super) faults: BTreeMap<Operation, Fault>,
    pub(super) locked: bool,
    pub(super) lying: bool,
    pub(super) garbage: bool,
    pub(super) free: Option<u64>,
    pub(super) left: Option<u64>,
    /// An operation was refused because none was left.
    pub(super) dead: bool,
    pub(super) operations: u64,
    pub(super) uniques: u8,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Image {
    pub(super) now: Vec<u8>,
    pub(super) durable: Vec<u8>,
    pub(super) dirty: BTreeSet<usize>,
}

/// A change of names that no sync of its folder has made durable.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Create(PathBuf, usize),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    pub(super) after: u64,
    pub(super) times: u64,
    pub(super) error: i32,
}

impl State {
    /// Counts one operation; fails where it was told to.
    pub(super) fn attempt(&mut self, operation: Operation) -> io::Result<()> {
        if operation != Operation::Read {
            self.operations += 1;
            match &mut self.left {
                Some(0) => {
                    self.dead = true;
                    return Err(io::Error::other("the process is gone"));
                }
                Some(left) => *left -= 1,
                None => {}
            }
        }
        let Some(fault) = self.faults.get_mut(&operation) else { return Ok(()) };
        if fault.after > 0 {
            fault.after -= 1;
            return Ok(());
        }
        if fault.times == 0 {
            return Ok(());
        }
        fault.times -= 1;
        Err(io::Error::from_raw_os_error(fault.error))
    }
}

impl Change {
    pub(super) fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Self::Create(path, file) => {
                names.insert(path.clone(), *file);
            }
            Self::Rename(from, to) => {
                if let Some(file) = names.remove(from) {
                    names.insert(to.clone(), file);
                }
            }
            Self::Remove(path) => {
                names.remove(path);
            }
        }
    }

    pub(super) fn is_in(&self, folder: &Path) -> bool {
        match self {
            Self::Create(path, _) | Self::Remove(path) => path.parent() == Some(folder),
            Self::Rename(from, to) => from.parent() == Some(folder) || to.parent() == Some(folder),
        }
    }
}

impl Image {
    pub(super) fn write(&mut self, bytes: &[u8], offset: usize) {
        let end = offset + bytes.len();
        if self.now.len() < end {
            self.now.resize(end, 0);
        }
        self.now[offset..end].copy_from_slice(bytes);
        self.dirty.extend(offset / SECTOR..end.div_ceil(SECTOR));
    }

    pub(super) fn sync(&mut self) {
        self.durable.resize(self.now.len(), 0);
        for sector in std::mem::take(&mut self.dirty) {
            let range = self.sector(sector);
            self.durable[range.clone()].copy_from_slice(&self.now[range]);
        }
    }

    pub(super) fn sector(&self, sector: usize) -> std::ops::Range<usize> {
        let start = sector * SECTOR;
        start.min(self.now.len())..(start + SECTOR).min(self.now.len())
    }

    pub(super) fn crash(&self, garbage: bool, random: &mut impl Rng) -> Self {
        let mut left = self.durable.clone();
        // Only growth can wait for a sync here: nothing in the spool makes a file shorter.
        if left.len() < self.now.len() && random.random() {
            left.resize(self.now.len(), 0);
        }
        // From nearly all to nearly nothing.
        let kept: f64 = random.random();
        for &sector in &self.dirty {
            let range = self.sector(sector);
            if range.end > left.len() {
                continue;
            }
            if random.random_bool(kept) {
                left[range.clone()].copy_from_slice(&self.now[range]);
            } else if garbage && random.random_bool(0.1) {
                random.fill(&mut left[range]);
            }
        }
        Self { durable: left.clone(), now: left, dirty: BTreeSet::new() }
    }
}
