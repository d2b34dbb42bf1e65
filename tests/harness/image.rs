//! A small disk: an ext4 file system in a file, mounted by loop device, that can be filled, frozen, made read-only, or cut
//! off from one moment to the next as a power failure does. Needs root.

use std::path::PathBuf;

use crate::{
    mount::{TOOL, text, tool, try_tool},
    scratch::Scratch,
    wait::wait_until,
};

/// `EXT4_IOC_SHUTDOWN` as its header defines it: `_IOR('X', 125, __u32)`.
const SHUT_DOWN: &str = "import fcntl, os, struct, sys\n\
                         folder = os.open(sys.argv[1], os.O_RDONLY)\n\
                         fcntl.ioctl(folder, 0x8004587d, struct.pack('I', int(sys.argv[2])))\n";

/// What becomes of the journal's last transactions at a cut (`EXT4_GOING_FLAGS_…`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// They reach the disk.
    LogFlush = 1,
    /// They are lost.
    NoLogFlush = 2,
}

/// A mounted image. Dropping it unmounts it.
#[derive(Debug)]
pub struct Image {
    folder: Scratch,
    mounted: bool,
}

impl Image {
    /// Makes and mounts a file system of so many MiB.
    ///
    /// # Panics
    ///
    /// When that is not allowed (root is needed) or fails.
    #[must_use]
    pub fn mount(mebibytes: u64) -> Image {
        assert!(rustix::process::geteuid().is_root(), "a disk image is mounted: this needs root");
        let mut image = Image { folder: Scratch::new("image"), mounted: false };
        std::fs::create_dir(image.path()).expect("a mount point");
        let file = std::fs::File::create(image.file()).expect("an image file");
        file.set_len(mebibytes << 20).expect("a sparse file");
        let file = image.file();
        // Nothing is kept for root, as whom the tests run.
        image.tool("mkfs.ext4", &["-q", "-F", "-m", "0", text(&file)]);
        image.mount_again();
        image
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("mount")
    }

    /// Cuts it off: what was not synced is lost, and every further write fails.
    ///
    /// # Panics
    ///
    /// When the kernel refuses, or there is no python3 to ask it.
    pub fn shut_down(&self, how: Shutdown) {
        let path = self.path();
        self.tool("python3", &["-c", SHUT_DOWN, text(&path), &(how as u8).to_string()]);
    }

    /// Unmounts it and mounts it again, for which nobody may use it: the journal is replayed as after a power failure.
    ///
    /// # Panics
    ///
    /// When it is in use.
    pub fn remount(&mut self) {
        self.unmount();
        self.mount_again();
    }

    /// Stops every write until [`Image::thaw`].
    ///
    /// # Panics
    ///
    /// When the kernel refuses.
    pub fn freeze(&self) {
        self.tool("fsfreeze", &["--freeze", text(&self.path())]);
    }

    /// Lets writes go on.
    ///
    /// # Panics
    ///
    /// When the kernel refuses.
    pub fn thaw(&self) {
        self.tool("fsfreeze", &["--unfreeze", text(&self.path())]);
    }

    /// Takes up all free space with a file, but so many bytes.
    ///
    /// # Panics
    ///
    /// When the file cannot be made.
    pub fn fill(&self, but: u64) {
        let path = self.path();
        let stat = rustix::fs::statvfs(&path).expect("the file system's state");
        let size = (stat.f_bavail * stat.f_frsize).saturating_sub(but);
        let ballast = std::fs::File::create(path.join("ballast")).expect("the ballast is new");
        match rustix::fs::fallocate(&ballast, rustix::fs::FallocateFlags::empty(), 0, size) {
            // What runs beside this took some of it meanwhile: the rest is allocated.
            Ok(()) | Err(rustix::io::Errno::NOSPC) => {}
            Err(error) => panic!("a ballast of {size} bytes: {error}"),
        }
    }

    /// Gives the space of [`Image::fill`] back.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub fn make_room(&self) {
        std::fs::remove_file(self.path().join("ballast")).expect("the ballast is thrown");
    }

    /// Mounts it read-only, as ext4 does after an error.
    ///
    /// # Panics
    ///
    /// When the kernel refuses.
    pub fn forbid_writes(&self) {
        self.tool("mount", &["-o", "remount,abort", text(&self.path())]);
    }

    fn mount_again(&mut self) {
        self.tool("mount", &["-o", "loop", text(&self.file()), text(&self.path())]);
        self.mounted = true;
    }

    fn unmount(&mut self) {
        // The process that used it may still be going.
        wait_until(TOOL, "the image is unmounted", || self.try_tool("umount", &[text(&self.path())]) == 0);
        self.mounted = false;
    }

    fn tool(&self, name: &str, args: &[&str]) {
        tool(name, args, &self.log());
    }

    fn try_tool(&self, name: &str, args: &[&str]) -> i32 {
        try_tool(name, args, &self.log())
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        if self.mounted {
            let _ = self.try_tool("fsfreeze", &["--unfreeze", text(&self.path())]);
            let _ = self.try_tool("umount", &["-l", text(&self.path())]);
        }
    }
}
