//! The disk of this machine.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io,
    num::NonZeroU64,
    os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt},
    path::Path,
};

use rustix::fs::{Advice, FallocateFlags, FlockOperation, OFlags};

use super::{Disk, Examined, File, FileSystem, Map, Status};
use crate::map::{self, FileMap};

/// File systems in memory, by the magic number of statfs.
const IN_MEMORY: [u64; 2] = [0x0102_1994 /* tmpfs */, 0x8584_58f6 /* ramfs */];

/// overlayfs, by the same.
const LAYER: u64 = 0x794c_7630;

/// File systems on another machine: NFS, SMB1, CIFS, SMB2, 9p, Ceph, AFS, OCFS2, Lustre.
const NETWORK: [u64; 9] =
    [0x6969, 0x517b, 0xff53_4d42, 0xfe53_4d42, 0x0102_1997, 0x00c3_6400, 0x5346_414f, 0x7461_636f, 0x0bd0_0bd0];

/// The kernel keeps a file in pages as large as the writes that made it, and a store into a map dirties a whole one: of a
/// file that was written by the mebibyte each group, however small, would write a mebibyte to the disk.
const PAGE: usize = 4096;

/// The disk of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Real;

/// An open file on it.
#[derive(Debug)]
pub struct RealFile(fs::File);

impl Disk for Real {
    type File = RealFile;
    type Lock = fs::File;

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        if fs::symlink_metadata(path).is_ok_and(|found| !found.file_type().is_file()) {
            return Ok(());
        }
        DirBuilder::new().recursive(true).mode(0o700).create(path)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let mut names: Vec<String> = fs::read_dir(folder)?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<io::Result<_>>()?;
        names.sort_unstable();
        Ok(names)
    }

    fn create(&self, path: &Path) -> io::Result<RealFile> {
        options(true).create_new(true).mode(0o600).open(path).map(RealFile)
    }

    fn open(&self, path: &Path) -> io::Result<RealFile> {
        options(true).open(path).map(RealFile)
    }

    fn open_read(&self, path: &Path) -> io::Result<RealFile> {
        options(false).open(path).map(RealFile)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        fs::File::open(folder)?.sync_all()
    }

    fn lock(&self, path: &Path) -> io::Result<Option<fs::File>> {
        // Whoever takes the lock is going to write.
        map::handle_signals();
        let file = options(true).create(true).truncate(false).mode(0o600).open(path)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn free_space(&self, folder: &Path) -> io::Result<u64> {
        let space = rustix::fs::statvfs(folder)?;
        Ok(space.f_bavail.saturating_mul(space.f_frsize))
    }

    fn examine(&self, folder: &Path) -> io::Result<Examined> {
        let magic = u64::try_from(rustix::fs::statfs(folder)?.f_type).unwrap_or_default();
        let file_system = match magic {
            magic if IN_MEMORY.contains(&magic) => FileSystem::Memory,
            LAYER => FileSystem::Layer,
            magic if NETWORK.contains(&magic) => FileSystem::Network,
            _ => FileSystem::Local,
        };
        let found = fs::metadata(folder)?;
        Ok(Examined {
            file_system,
            open_to_others: found.mode() & 0o077 != 0,
            foreign: found.uid() != rustix::process::geteuid().as_raw(),
            link: fs::symlink_metadata(folder)?.file_type().is_symlink(),
        })
    }

    fn unique(&self) -> [u8; 16] {
        uuid::Uuid::new_v4().into_bytes()
    }
}

fn options(write: bool) -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(write).custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    options
}

impl File for RealFile {
    type Map = FileMap;

    fn status(&self) -> io::Result<Status> {
        self.0.metadata().map(|found| Status { size: found.len(), links: found.nlink() })
    }

    fn read_ahead(&self, offset: u64, length: usize) {
        // Advice: a read says better what is wrong.
        let _ = rustix::fs::fadvise(&self.0, offset, NonZeroU64::new(length as u64), Advice::WillNeed);
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < bytes.len() {
            match self.0.read_at(&mut bytes[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let offsets = (offset..).step_by(PAGE);
        bytes.chunks(PAGE).zip(offsets).try_for_each(|(piece, offset)| self.0.write_all_at(piece, offset))
    }

    fn allocate(&self, size: u64) -> io::Result<()> {
        Ok(rustix::fs::fallocate(&self.0, FallocateFlags::empty(), 0, size)?)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn map(&self, size: u64) -> io::Result<FileMap> {
        FileMap::new(&self.0, size)
    }
}

impl Map for FileMap {
    fn store(&mut self, offset: usize, bytes: &[u8]) {
        FileMap::store(self, offset, bytes);
    }
}
