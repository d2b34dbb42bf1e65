//! The folder of all logs: who may use it, and which spool it is.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, atomic::AtomicBool},
};

use crate::{
    Log, OpenError, Options, Recovery, Usage, Warning,
    budget::{Budget, Counters},
    bug::has_bug,
    disk::{Disk, File, FileSystem},
    format::{
        SECTOR,
        meta::{Meta, Unusable},
    },
    found,
    note::{NOTE, NOTE_NEW},
    recover::recover,
    segment::{Named, named},
};

pub(crate) const META: &str = "META";
const META_NEW: &str = "META.new";
const LOCK: &str = "LOCK";
pub(crate) const QUARANTINE: &str = "quarantine";

/// Bits of a log's number that say what it is for; the others are its shard.
const PARKED: u32 = 1 << 16;
const DEAD_LETTER: u32 = 2 << 16;
const IDS: u32 = 3 << 16;

/// Which log of a spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Name {
    /// A shard's.
    Shard(u16),
    /// A shard's records of partitions that have been blocked for long.
    Parked(u16),
    /// A shard's records that Kafka will never take.
    DeadLetter(u16),
    /// The packet ids that are open in a shard's sessions: small, so that a start reads it whole.
    Ids(u16),
}

impl Name {
    pub(crate) fn number(self) -> u32 {
        match self {
            Self::Shard(shard) => shard.into(),
            Self::Parked(shard) => u32::from(shard) | PARKED,
            Self::DeadLetter(shard) => u32::from(shard) | DEAD_LETTER,
            Self::Ids(shard) => u32::from(shard) | IDS,
        }
    }

    pub(crate) fn from_folder(folder: &str) -> Option<Self> {
        let (kind, shard) = folder.rsplit_once('-')?;
        let shard = shard.parse().ok()?;
        let name = match kind {
            "shard" => Self::Shard(shard),
            "parked" => Self::Parked(shard),
            "dead-letter" => Self::DeadLetter(shard),
            "ids" => Self::Ids(shard),
            _ => return None,
        };
        (name.to_string() == folder).then_some(name)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shard(shard) => write!(f, "shard-{shard:02}"),
            Self::Parked(shard) => write!(f, "parked-{shard:02}"),
            Self::DeadLetter(shard) => write!(f, "dead-letter-{shard:02}"),
            Self::Ids(shard) => write!(f, "ids-{shard:02}"),
        }
    }
}

/// What the logs of one spool have in common.
#[derive(Debug)]
pub(crate) struct Shared<D: Disk> {
    pub(crate) disk: D,
    pub(crate) root: PathBuf,
    pub(crate) options: Options,
    pub(crate) spool: [u8; 16],
    pub(crate) budget: Budget,
    usages: Mutex<Vec<(Name, Arc<Ledger>)>>,
    /// Held as long as any log is open.
    _lock: D::Lock,
}

/// What one log tells the others.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) usage: Mutex<Usage>,
    pub(crate) counters: Counters,
    /// A job found damage.
    pub(crate) degraded: AtomicBool,
}

impl<D: Disk> Shared<D> {
    /// The limits of one log.
    pub(crate) fn options(&self, name: Name) -> Options {
        match name {
            Name::Ids(_) => self.options.of_ids(),
            Name::Shard(_) | Name::Parked(_) | Name::DeadLetter(_) => self.options,
        }
    }

    pub(crate) fn folder(&self, name: Name) -> PathBuf {
        self.root.join(name.to_string())
    }

    pub(crate) fn close(&self, name: Name) {
        self.usages.lock().expect("no holder of this lock panics").retain(|(open, _)| *open != name);
    }
}

/// An open spool: the folder, its lock, and the budget its logs share.
#[derive(Debug)]
pub struct Spool<D: Disk> {
    shared: Arc<Shared<D>>,
    names: Vec<Name>,
    shards_before: Option<u32>,
}

impl<D: Disk> Spool<D> {
    /// Opens the spool in `path`, which is made when missing, and takes its lock.
    pub fn open(disk: D, path: impl Into<PathBuf>, options: Options) -> Result<(Self, Vec<Warning>), OpenError> {
        let root: PathBuf = path.into();
        if let Some(problem) = options.problem() {
            return Err(OpenError::Options(problem));
        }
        disk.create_folder(&root).map_err(io_error("make the folder", &root))?;
        let parent = root.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        sync_folder(&disk, parent).map_err(io_error("sync the folder", parent))?;
        let mut warnings = examine(&disk, &root)?;
        let lock = disk.lock(&root.join(LOCK)).map_err(io_error("lock", &root))?;
        let lock = lock.ok_or_else(|| OpenError::Locked(root.clone()))?;
        disk.create_folder(&root.join(QUARANTINE)).map_err(io_error("make the folder quarantine in", &root))?;
        let mut names = Vec::new();
        for file in disk.list(&root).map_err(io_error("list", &root))? {
            match Name::from_folder(&file) {
                Some(name) => names.push(name),
                None if [META, META_NEW, NOTE, NOTE_NEW, LOCK, QUARANTINE].contains(&file.as_str()) => {}
                None => warnings.push(Warning::Unknown(root.join(file))),
            }
        }
        names.sort_unstable();
        let before = read_meta(&disk, &root, &names, &mut warnings)?;
        let meta = Meta { spool: before.map_or_else(|| disk.unique(), |meta| meta.spool), shards: options.shards };
        if before != Some(meta) || !warnings.is_empty() {
            write_meta(&disk, &root, &meta).map_err(io_error("write META in", &root))?;
        }
        let budget = Budget::new(options.max);
        let shared = Shared { disk, root, options, spool: meta.spool, budget, usages: Mutex::default(), _lock: lock };
        Ok((Self { shared: Arc::new(shared), names, shards_before: before.map(|meta| meta.shards) }, warnings))
    }

    /// Opens one log, which is made when missing: finds out what survived, cuts a torn tail.
    pub fn log(&self, name: Name) -> Result<(Log<D>, Recovery), OpenError> {
        let ledger = Arc::new(Ledger::default());
        {
            let mut usages = self.shared.usages.lock().expect("no holder of this lock panics");
            assert!(usages.iter().all(|(open, _)| *open != name), "{name} is open already: a log has one owner");
            usages.push((name, Arc::clone(&ledger)));
        }
        recover(Arc::clone(&self.shared), name, ledger)
    }

    /// Removes a log that holds nothing, with its folder. It must not be open.
    ///
    /// # Errors
    /// See [`OpenError::Io`]. What is left of it holds nothing either.
    pub fn discard(&self, name: Name) -> Result<(), OpenError> {
        let Shared { disk, root, usages, .. } = &*self.shared;
        let usages = usages.lock().expect("no holder of this lock panics");
        assert!(usages.iter().all(|(open, _)| *open != name), "{name} is open");
        let folder = self.shared.folder(name);
        let mut files = disk.list(&folder).map_err(io_error("list", &folder))?;
        // The cursor goes last: without it what is left would count as not delivered.
        files.sort_by_key(|file| named(file) == Named::Cursor);
        for file in files.iter().map(|file| folder.join(file)) {
            disk.remove(&file).map_err(io_error("remove", &file))?;
            disk.sync_folder(&folder).map_err(io_error("sync the folder", &folder))?;
        }
        disk.remove_folder(&folder).map_err(io_error("remove", &folder))?;
        disk.sync_folder(root).map_err(io_error("sync the folder", root))
    }

    pub(crate) fn disk(&self) -> &D {
        &self.shared.disk
    }

    pub(crate) fn root(&self) -> &Path {
        &self.shared.root
    }

    /// The logs that existed when the spool was opened; a former run may have had more shards.
    pub fn names(&self) -> &[Name] {
        &self.names
    }

    /// How many shards the former run had; `None` for a new spool.
    pub fn shards_before(&self) -> Option<u32> {
        self.shards_before
    }

    /// All open logs together, as of their last change.
    pub fn usage(&self) -> Usage {
        let mut sum = Usage::default();
        for (_, ledger) in self.shared.usages.lock().expect("no holder of this lock panics").iter() {
            sum.add(&ledger.usage.lock().expect("no holder of this lock panics"));
        }
        sum
    }
}

pub(crate) fn io_error<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> OpenError + use<'a> {
    move |source| OpenError::Io { what, path: path.to_owned(), source }
}

fn examine<D: Disk>(disk: &D, root: &Path) -> Result<Vec<Warning>, OpenError> {
    let found = disk.examine(root).map_err(io_error("examine", root))?;
    let untrusted = |what| OpenError::Untrusted { path: root.to_owned(), what };
    if found.link {
        return Err(untrusted("a symbolic link"));
    }
    if found.foreign {
        return Err(untrusted("another user's"));
    }
    let mut warnings = Vec::new();
    match found.file_system {
        FileSystem::Network => return Err(OpenError::Network(root.to_owned())),
        FileSystem::Memory => warnings.push(Warning::InMemory(root.to_owned())),
        FileSystem::Layer => warnings.push(Warning::InContainer(root.to_owned())),
        FileSystem::Local => {}
    }
    if found.open_to_others {
        warnings.push(Warning::OpenToOthers(root.to_owned()));
    }
    Ok(warnings)
}

/// META as the former run left it, or made again from a segment's header; `None` for a new spool.
fn read_meta<D: Disk>(
    disk: &D,
    root: &Path,
    names: &[Name],
    warnings: &mut Vec<Warning>,
) -> Result<Option<Meta>, OpenError> {
    let path = root.join(META);
    let bytes = read_start(disk, &path).map_err(io_error("read", &path))?;
    match Meta::decode(&bytes) {
        Ok(meta) => return Ok(Some(meta)),
        Err(Unusable::Unknown(version)) => return Err(OpenError::Version { path, version }),
        Err(Unusable::Damaged) => {}
    }
    for &name in names {
        let folder = root.join(name.to_string());
        for file in disk.list(&folder).map_err(io_error("list", &folder))? {
            let owner = match named(&file) {
                Named::Segment(_) => found::owner(disk, &folder.join(&file), name),
                _ => None,
            };
            if let Some(spool) = owner {
                warnings.push(Warning::Meta(path));
                return Ok(Some(Meta { spool, shards: 0 }));
            }
        }
    }
    if !bytes.is_empty() {
        warnings.push(Warning::Meta(path));
    }
    Ok(None)
}

/// The first sector of a file, shorter if the file is, empty if there is none.
fn read_start<D: Disk>(disk: &D, path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; SECTOR];
    match disk.open_read(path) {
        Ok(file) => {
            let count = file.read_at(&mut bytes, 0)?;
            bytes.truncate(count);
            Ok(bytes)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn write_meta<D: Disk>(disk: &D, root: &Path, meta: &Meta) -> io::Result<()> {
    let new = root.join(META_NEW);
    replace(disk, &new, &root.join(META), &meta.encode())
}

/// Puts a file with these bytes in the place of another: whole and durable, or not at all.
pub(crate) fn replace<D: Disk>(disk: &D, new: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    match disk.remove(new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = disk.create(new)?;
    file.write_at(bytes, 0)?;
    file.sync()?;
    disk.rename(new, path)?;
    sync_folder(disk, path.parent().expect("a file in a folder"))
}

/// Makes names durable; the one place, so that the control that leaves it out leaves it out everywhere.
pub(crate) fn sync_folder<D: Disk>(disk: &D, folder: &Path) -> io::Result<()> {
    if has_bug("no_folder_sync") { Ok(()) } else { disk.sync_folder(folder) }
}
