//! Small file systems of the kernel's that need no disk. Needs root.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{process::Process, scratch::Scratch};

/// Longest run of one of the system's tools.
pub(crate) const TOOL: Duration = Duration::from_secs(60);

/// A mounted file system. Dropping it unmounts it.
#[derive(Debug)]
pub struct Mount {
    folder: Scratch,
}

impl Mount {
    /// A file system in memory, of so many MiB.
    ///
    /// # Panics
    ///
    /// When that is not allowed (root is needed).
    #[must_use]
    pub fn tmpfs(mebibytes: u64) -> Mount {
        Mount::new("tmpfs", &size(mebibytes))
    }

    /// A layer over an empty folder, as containers have it.
    ///
    /// # Panics
    ///
    /// When that is not allowed (root is needed).
    #[must_use]
    pub fn overlay() -> Mount {
        Mount::new("overlay", "lowerdir=FOLDER/lower,upperdir=FOLDER/upper,workdir=FOLDER/work")
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("mount")
    }

    /// Gives a file system in memory another size.
    ///
    /// # Panics
    ///
    /// When the kernel refuses.
    pub fn resize(&self, mebibytes: u64) {
        let options = format!("remount,{}", size(mebibytes));
        self.tool("mount", &["-o", &options, text(&self.path())]);
    }

    fn new(kind: &str, options: &str) -> Mount {
        assert!(rustix::process::geteuid().is_root(), "a file system is mounted: this needs root");
        let mount = Mount { folder: Scratch::new("mount") };
        for name in ["lower", "upper", "work", "mount"] {
            std::fs::create_dir(mount.folder.path().join(name)).expect("a new folder");
        }
        let options = options.replace("FOLDER", text(mount.folder.path()));
        mount.tool("mount", &["-t", kind, "-o", &options, kind, text(&mount.path())]);
        mount
    }

    fn tool(&self, name: &str, args: &[&str]) {
        tool(name, args, &self.folder.path().join("log"));
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = try_tool("umount", &["-l", text(&self.path())], &self.folder.path().join("log"));
    }
}

fn size(mebibytes: u64) -> String {
    format!("size={mebibytes}m")
}

/// Runs one of the system's tools.
///
/// # Panics
///
/// When it fails.
pub(crate) fn tool(name: &str, args: &[&str], log: &Path) {
    let code = try_tool(name, args, log);
    let said = std::fs::read_to_string(log).unwrap_or_default();
    assert_eq!(code, 0, "{name} {args:?}: {said}");
}

/// Runs one of the system's tools; returns its exit code.
pub(crate) fn try_tool(name: &str, args: &[&str], log: &Path) -> i32 {
    let mut command = Process::command(name);
    command.args(args);
    Process::spawn(name, command, log).wait(TOOL)
}

/// A path as an argument.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}
