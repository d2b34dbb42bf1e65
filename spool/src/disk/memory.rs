//! A disk in memory that knows what is durable, forgets the rest in a crash, and fails when told to.
//!
//! Every file has two images: what a reader sees and what a power cut leaves. A crash keeps any subset of the 512-byte
//! sectors that were not synced, and of the changes of names whose folder was not synced. A failed sync behaves as
//! Linux does: the sectors count as clean afterwards although they never reached the disk.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
};

use rand::Rng;

use super::{
    Disk, Examined, File, FileSystem, Map, Status,
    image::{Change, Fault, Image, State},
};

/// What can be told to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// Creating a file.
    Create,
    /// Allocating blocks.
    Allocate,
    /// Reading.
    Read,
    /// Writing by `write_at`.
    Write,
    /// Syncing a file.
    Sync,
    /// Syncing a folder.
    SyncFolder,
    /// Renaming or removing.
    Rename,
}

/// A disk in memory. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct Memory(Arc<Mutex<State>>);

impl Memory {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets `after` operations of this kind pass, then fails `times` with this `errno`.
    pub fn fail(&self, operation: Operation, after: u64, times: u64, errno: i32) {
        self.state().faults.insert(operation, Fault { after, times, error: errno });
    }

    /// Nothing fails any more.
    pub fn heal(&self) {
        let mut state = self.state();
        state.faults.clear();
        (state.left, state.dead) = (None, false);
    }

    /// A disk that claims to have flushed and has not: the negative control of every test of durability.
    pub fn lie(&self) {
        self.state().lying = true;
    }

    /// In a crash an unsynced sector may also turn to garbage.
    pub fn garble(&self) {
        self.state().garbage = true;
    }

    /// How many bytes may still be allocated.
    pub fn limit_space(&self, bytes: Option<u64>) {
        self.state().free = bytes;
    }

    /// After `operations` more changes nothing works: the moment a process dies in the middle of a job.
    pub fn stop_after(&self, operations: u64) {
        self.state().left = Some(operations);
    }

    /// How many changes there were.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// What a power cut at this moment leaves, as a disk of its own.
    pub fn crash(&self, random: &mut impl Rng) -> Self {
        let state = self.state();
        let mut names = state.durable_names.clone();
        state.changes.iter().filter(|_| random.random()).for_each(|change| change.apply(&mut names));
        let files = state.files.iter().map(|image| image.crash(state.garbage, random)).collect();
        self.successor(&state, files, names)
    }

    /// What the end of the process alone leaves: everything that was written.
    pub fn kill(&self) -> Self {
        let state = self.state();
        let files = state.files.clone();
        let next = self.successor(&state, files, state.names.clone());
        let mut after = next.state();
        after.durable_names.clone_from(&state.durable_names);
        after.changes.clone_from(&state.changes);
        drop(after);
        next
    }

    fn successor(&self, state: &State, files: Vec<Image>, names: BTreeMap<PathBuf, usize>) -> Self {
        Self(Arc::new(Mutex::new(State {
            files,
            durable_names: names.clone(),
            names,
            folders: state.folders.clone(),
            uniques: state.uniques,
            garbage: state.garbage,
            lying: state.lying,
            ..State::default()
        })))
    }

    /// The bytes of a file.
    pub fn bytes(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state();
        state.names.get(path).map(|&file| state.files[file].now.clone())
    }

    /// Puts a file in place, durable at once: what an operator or a failing disk does behind the spool's back.
    pub fn put(&self, path: &Path, bytes: Vec<u8>) {
        let mut state = self.state();
        let image = Image { now: bytes.clone(), durable: bytes, dirty: BTreeSet::new() };
        if let Some(&file) = state.names.get(path) {
            state.files[file] = image;
            return;
        }
        let file = state.files.len();
        state.files.push(image);
        state.names.insert(path.to_owned(), file);
        state.durable_names.insert(path.to_owned(), file);
    }

    /// The paths of all files, sorted.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.state().names.keys().cloned().collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no holder of this lock panics")
    }

    fn file(&self, file: usize) -> MemoryFile {
        MemoryFile { disk: self.clone(), file }
    }
}

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl Disk for Memory {
    type File = MemoryFile;
    type Lock = MemoryLock;

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        self.state().folders.extend(path.ancestors().map(Path::to_owned));
        Ok(())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        if !state.folders.contains(folder) {
            return Err(not_found());
        }
        let mut names: Vec<String> = state
            .names
            .keys()
            .chain(&state.folders)
            .filter(|path| path.parent() == Some(folder))
            .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
            .collect();
        names.sort_unstable();
        Ok(names)
    }

    fn create(&self, path: &Path) -> io::Result<MemoryFile> {
        let mut state = self.state();
        state.attempt(Operation::Create)?;
        if state.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = state.files.len();
        state.files.push(Image::default());
        state.names.insert(path.to_owned(), file);
        state.changes.push(Change::Create(path.to_owned(), file));
        drop(state);
        Ok(self.file(file))
    }

    fn open(&self, path: &Path) -> io::Result<MemoryFile> {
        let file = *self.state().names.get(path).ok_or_else(not_found)?;
        Ok(self.file(file))
    }

    fn open_read(&self, path: &Path) -> io::Result<MemoryFile> {
        self.open(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.attempt(Operation::Rename)?;
        let file = state.names.remove(from).ok_or_else(not_found)?;
        state.names.insert(to.to_owned(), file);
        state.changes.push(Change::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.attempt(Operation::Rename)?;
        state.names.remove(path).ok_or_else(not_found)?;
        state.changes.push(Change::Remove(path.to_owned()));
        Ok(())
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        self.state().folders.remove(path).then_some(()).ok_or_else(not_found)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.attempt(Operation::SyncFolder)?;
        if state.lying {
            return Ok(());
        }
        let (synced, left) = std::mem::take(&mut state.changes).into_iter().partition(|change| change.is_in(folder));
        state.changes = left;
        let synced: Vec<Change> = synced;
        synced.iter().for_each(|change| change.apply(&mut state.durable_names));
        Ok(())
    }

    fn lock(&self, _path: &Path) -> io::Result<Option<MemoryLock>> {
        if std::mem::replace(&mut self.state().locked, true) {
            return Ok(None);
        }
        Ok(Some(MemoryLock(self.clone())))
    }

    fn free_space(&self, _folder: &Path) -> io::Result<u64> {
        Ok(self.state().free.unwrap_or(u64::MAX))
    }

    fn examine(&self, _folder: &Path) -> io::Result<Examined> {
        Ok(Examined { file_system: FileSystem::Local, open_to_others: false, foreign: false, link: false })
    }

    fn unique(&self) -> [u8; 16] {
        let mut state = self.state();
        state.uniques += 1;
        [state.uniques; 16]
    }
}

/// The lock of a [`Memory`] disk; dropping it lets go.
#[derive(Debug)]
pub struct MemoryLock(Memory);

impl Drop for MemoryLock {
    fn drop(&mut self) {
        self.0.state().locked = false;
    }
}

/// An open file of a [`Memory`] disk.
#[derive(Debug)]
pub struct MemoryFile {
    disk: Memory,
    file: usize,
}

impl File for MemoryFile {
    type Map = MemoryMap;

    fn status(&self) -> io::Result<Status> {
        let state = self.disk.state();
        let links = state.names.values().filter(|&&file| file == self.file).count() as u64;
        Ok(Status { size: state.files[self.file].now.len() as u64, links })
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.disk.state();
        state.attempt(Operation::Read)?;
        let image = &state.files[self.file].now;
        let start = usize::try_from(offset).map_or(image.len(), |offset| offset.min(image.len()));
        let count = bytes.len().min(image.len() - start);
        bytes[..count].copy_from_slice(&image[start..start + count]);
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.attempt(Operation::Write)?;
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        state.files[self.file].write(bytes, offset);
        Ok(())
    }

    fn allocate(&self, size: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.attempt(Operation::Allocate)?;
        if let Some(free) = &mut state.free {
            *free = free.checked_sub(size).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOSPC))?;
        }
        let size = usize::try_from(size).map_err(io::Error::other)?;
        let image = &mut state.files[self.file];
        if image.now.len() < size {
            image.now.resize(size, 0);
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        if let Err(error) = state.attempt(Operation::Sync) {
            if !state.dead {
                state.files[self.file].dirty.clear();
            }
            return Err(error);
        }
        if !state.lying {
            state.files[self.file].sync();
        }
        Ok(())
    }

    fn map(&self, size: u64) -> io::Result<MemoryMap> {
        if self.status()?.size < size {
            return Err(io::Error::other("the file is shorter than its map"));
        }
        Ok(MemoryMap { disk: self.disk.clone(), file: self.file })
    }
}

/// The map of a file of a [`Memory`] disk.
#[derive(Debug)]
pub struct MemoryMap {
    disk: Memory,
    file: usize,
}

impl Map for MemoryMap {
    fn store(&mut self, offset: usize, bytes: &[u8]) {
        let mut state = self.disk.state();
        if !state.dead {
            state.files[self.file].write(bytes, offset);
        }
    }
}
