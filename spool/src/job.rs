//! The blocking half of upkeep.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    disk::{Disk, File},
    format::{
        BLOCK, SECTOR, Seed,
        cursor::{self, Cursor},
        segment::{DATA, Footer, Header, data_end},
    },
    segment::{CURSOR, CURSOR_NEW, Open, file_name, free_name},
    spool::{Shared, replace, sync_folder},
};

/// Written at once when a file is made.
const CHUNK: usize = 1 << 20;

/// A piece of upkeep. Run it where blocking is allowed and hand the result back to the log.
#[derive(Debug)]
#[must_use = "the log does no other upkeep before this one is handed back"]
pub struct Upkeep<D: Disk> {
    pub(crate) shared: Arc<Shared<D>>,
    pub(crate) folder: PathBuf,
    pub(crate) quarantine: PathBuf,
    pub(crate) task: Task<D>,
}

#[derive(Debug)]
pub(crate) enum Task<D: Disk> {
    Prepare { header: Header, spare: Option<u64> },
    Spare { id: u64, size: u64 },
    Seal { id: u64, seed: Seed, footer: Footer, size: u64 },
    Cursor { cursor: Cursor, file: Option<Arc<D::File>> },
    Free(Vec<(u64, Fate)>),
    Check { sizes: Vec<(u64, u64)>, cursor: bool },
}

/// What becomes of a delivered segment's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Recycle,
    Remove,
    Quarantine,
}

/// A piece of upkeep that was run.
#[derive(Debug)]
#[must_use = "the log does no other upkeep before this one is handed back"]
pub struct Kept<D: Disk>(pub(crate) Outcome<D>);

#[derive(Debug)]
pub(crate) enum Outcome<D: Disk> {
    Prepared { used: Option<u64>, result: io::Result<Open<D>>, size: u64 },
    Spared { id: u64, size: u64, result: io::Result<()> },
    Sealed { id: u64, result: io::Result<()> },
    Cursor { cursor: Cursor, result: io::Result<Arc<D::File>> },
    Freed { done: Vec<(u64, Fate)>, result: io::Result<()> },
    Checked(Option<PathBuf>),
}

impl<D: Disk> Upkeep<D> {
    /// Does it.
    pub fn run(self) -> Kept<D> {
        let disk = &self.shared.disk;
        Kept(match self.task {
            Task::Prepare { header, spare } => {
                let file = match spare {
                    // The name it had as a segment may only be gone in memory, left by a process that died or by a sync
                    // that failed: with another header it would pass for a foreign file under that name.
                    Some(id) => sync_folder(disk, &self.folder).map(|()| id),
                    None => create(&self.shared, &self.folder, header.id, header.size).map(|()| header.id),
                };
                let used = file.as_ref().ok().copied().or(spare);
                let result = file.and_then(|id| prepare(disk, &self.folder, header, id));
                Outcome::Prepared { used, result, size: header.size }
            }
            Task::Spare { id, size } => {
                Outcome::Spared { id, size, result: create(&self.shared, &self.folder, id, size) }
            }
            Task::Seal { id, seed, footer, size } => {
                let result = disk.open(&self.folder.join(file_name(id))).and_then(|file| {
                    file.write_at(&footer.encode(seed), data_end(size))?;
                    file.sync()
                });
                Outcome::Sealed { id, result }
            }
            Task::Cursor { cursor, file } => {
                let result = write_cursor(disk, &self.folder, &cursor, file);
                Outcome::Cursor { cursor, result }
            }
            Task::Free(freed) => {
                let (done, result) = free(disk, &self.folder, &self.quarantine, freed);
                Outcome::Freed { done, result }
            }
            Task::Check { sizes, cursor } => Outcome::Checked(check(disk, &self.folder, &sizes, cursor)),
        })
    }
}

/// Makes a written file that waits under the name of a spare. Space is missing here or nowhere.
fn create<D: Disk>(shared: &Shared<D>, folder: &Path, id: u64, size: u64) -> io::Result<()> {
    let disk = &shared.disk;
    if disk.free_space(folder)? < shared.options.min_free.saturating_add(size) {
        let text = format!("less than min_free ({} bytes) would be left", shared.options.min_free);
        return Err(io::Error::new(io::ErrorKind::StorageFull, text));
    }
    let path = folder.join(free_name(id));
    let file = disk.create(&path)?;
    let written = file.allocate(size).and_then(|()| zero(&file, 0, size)).and_then(|()| file.sync());
    written.and_then(|()| sync_folder(disk, folder)).map_err(|error| {
        // What cannot be removed is removed at the next start.
        disk.remove(&path).err().map_or(error, |_| io::Error::other("a spare that failed is in the way"))
    })
}

/// Writes zeros from one offset to another.
pub(crate) fn zero<F: File>(file: &F, from: u64, to: u64) -> io::Result<()> {
    let zeros = vec![0; usize::try_from(to.saturating_sub(from)).unwrap_or(CHUNK).min(CHUNK)];
    let mut at = from;
    while at < to {
        let length = usize::try_from(to - at).unwrap_or(CHUNK).min(CHUNK);
        file.write_at(&zeros[..length], at)?;
        at += length as u64;
    }
    Ok(())
}

/// Turns a spare into a segment: its header durable first, then its name.
fn prepare<D: Disk>(disk: &D, folder: &Path, mut header: Header, id: u64) -> io::Result<Open<D>> {
    let (path, name) = (folder.join(free_name(id)), folder.join(file_name(header.id)));
    let file = disk.open(&path)?;
    let mut block = vec![0; usize::try_from(BLOCK).expect("a block")];
    file.read_at(&mut block, 0)?;
    if let Ok(before) = Header::decode(&block[..SECTOR]) {
        header.generation = before.generation + 1;
    }
    block.fill(0);
    block[..SECTOR].copy_from_slice(&header.encode());
    file.write_at(&block, 0)?;
    zero(&file, data_end(header.size), header.size)?;
    file.sync()?;
    let map = file.map(header.size)?;
    disk.rename(&path, &name)?;
    if let Err(error) = sync_folder(disk, folder) {
        // It is no segment before its name is durable, and stays a spare.
        disk.rename(&name, &path)?;
        return Err(error);
    }
    Ok(Open { file: Arc::new(file), map, header, next: DATA })
}

pub(crate) fn write_cursor<D: Disk>(
    disk: &D,
    folder: &Path,
    cursor: &Cursor,
    file: Option<Arc<D::File>>,
) -> io::Result<Arc<D::File>> {
    if let Some(file) = file {
        file.write_at(&cursor.encode(), cursor.place())?;
        file.sync()?;
        return Ok(file);
    }
    let mut bytes = vec![0; usize::try_from(cursor::SIZE).expect("two blocks")];
    let place = usize::try_from(cursor.place()).expect("two blocks");
    bytes[place..place + SECTOR].copy_from_slice(&cursor.encode());
    replace(disk, &folder.join(CURSOR_NEW), &folder.join(CURSOR), &bytes)?;
    Ok(Arc::new(disk.open(&folder.join(CURSOR))?))
}

fn free<D: Disk>(
    disk: &D,
    folder: &Path,
    quarantine: &Path,
    freed: Vec<(u64, Fate)>,
) -> (Vec<(u64, Fate)>, io::Result<()>) {
    let mut done = Vec::with_capacity(freed.len());
    let result = freed.into_iter().try_for_each(|(id, fate)| {
        let path = folder.join(file_name(id));
        match fate {
            Fate::Recycle => disk.rename(&path, &folder.join(free_name(id)))?,
            Fate::Remove => disk.remove(&path)?,
            Fate::Quarantine => set_aside(disk, quarantine, &path)?,
        }
        done.push((id, fate));
        Ok(())
    });
    let synced = sync_folder(disk, folder);
    (done, result.and(synced))
}

/// Moves a damaged file into the log's folder in quarantine, from which nothing is ever deleted.
pub(crate) fn set_aside<D: Disk>(disk: &D, quarantine: &Path, path: &Path) -> io::Result<()> {
    disk.create_folder(quarantine)?;
    let taken = disk.list(quarantine)?;
    let name = path.file_name().expect("a file's path").to_string_lossy();
    let free =
        (0..).map(|turn| format!("{name}.{turn}")).find(|name| !taken.contains(name)).expect("numbers do not end");
    disk.rename(path, &quarantine.join(free))?;
    sync_folder(disk, quarantine)?;
    sync_folder(disk, quarantine.parent().expect("a folder in the quarantine"))
}

/// The first file that is gone or shorter than it must be.
fn check<D: Disk>(disk: &D, folder: &Path, sizes: &[(u64, u64)], cursor: bool) -> Option<PathBuf> {
    let files = sizes.iter().map(|&(id, size)| (file_name(id), size));
    let files = files.chain(cursor.then(|| (CURSOR.to_owned(), cursor::SIZE)));
    files.map(|(name, size)| (folder.join(name), size)).find_map(|(path, size)| {
        let intact = disk.open_read(&path).and_then(|file| file.status()).is_ok_and(|status| status.size >= size);
        (!intact).then_some(path)
    })
}
