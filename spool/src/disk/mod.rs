//! What the spool needs of a file system, with two backings: [`Real`] and [`Memory`].

mod image;
mod memory;
mod real;

use std::{fmt::Debug, io, path::Path};

pub use memory::{Memory, MemoryFile, MemoryMap, Operation};
pub use real::{Real, RealFile};

/// A file system. Paths are absolute or relative to the working folder, as the caller of the spool gave them.
pub trait Disk: Clone + Debug + Send + Sync + 'static {
    /// An open file.
    type File: File;
    /// Held as long as nobody else may open the folder.
    type Lock: Debug + Send + Sync;

    /// Makes a folder, and its parents, for the owner alone; one that exists is left as it is.
    fn create_folder(&self, path: &Path) -> io::Result<()>;
    /// The names of everything in a folder, sorted.
    fn list(&self, folder: &Path) -> io::Result<Vec<String>>;
    /// Makes a file (exclusive, 0600, symbolic links are not followed).
    fn create(&self, path: &Path) -> io::Result<Self::File>;
    /// Opens a file to read and write (symbolic links are not followed).
    fn open(&self, path: &Path) -> io::Result<Self::File>;
    /// Opens a file to read.
    fn open_read(&self, path: &Path) -> io::Result<Self::File>;
    /// Renames a file; one that has the new name already is replaced.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty folder.
    fn remove_folder(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a folder durable.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
    /// Locks a file, made when missing; `None` when another open spool holds it.
    fn lock(&self, path: &Path) -> io::Result<Option<Self::Lock>>;
    /// Bytes an ordinary user may still write.
    fn free_space(&self, folder: &Path) -> io::Result<u64>;
    /// What the folder lies on, and who may enter it.
    fn examine(&self, folder: &Path) -> io::Result<Examined>;
    /// Sixteen bytes nobody else has.
    fn unique(&self) -> [u8; 16];
}

/// An open file.
pub trait File: Debug + Send + Sync + 'static {
    /// A writable map of the whole file.
    type Map: Map;

    /// Size and number of names.
    fn status(&self) -> io::Result<Status>;
    /// Says that these bytes are going to be read, so that the disk may begin; nothing comes of it if it cannot.
    fn read_ahead(&self, _offset: u64, _length: usize) {}
    /// Reads up to `bytes.len()` bytes; fewer only at the end of the file.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of `bytes`.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Makes the file `size` bytes long and allocates every block.
    fn allocate(&self, size: u64) -> io::Result<()>;
    /// fdatasync.
    fn sync(&self) -> io::Result<()>;
    /// Maps the first `size` bytes, which are allocated and written.
    fn map(&self, size: u64) -> io::Result<Self::Map>;
}

/// A writable map of a file.
pub trait Map: Debug + Send + 'static {
    /// Stores `bytes` at `offset`.
    fn store(&mut self, offset: usize, bytes: &[u8]);
}

/// What [`File::status`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Bytes.
    pub size: u64,
    /// Names; 0 when the file was deleted.
    pub links: u64,
}

/// What [`Disk::examine`] says about a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Examined {
    /// What it lies on.
    pub file_system: FileSystem,
    /// Whether somebody else than the owner may read or write it.
    pub open_to_others: bool,
    /// Whether it belongs to another user than this process runs as.
    pub foreign: bool,
    /// Whether the folder itself is a symbolic link.
    pub link: bool,
}

/// Kinds of file systems that matter to durability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileSystem {
    /// On a disk.
    Local,
    /// In memory: gone after a restart of the machine.
    Memory,
    /// In a container's own layer: gone with the container.
    Layer,
    /// On another machine: its flush and its locks cannot be relied on.
    Network,
}
