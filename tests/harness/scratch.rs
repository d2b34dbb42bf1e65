//! Temporary folders that are gone afterwards, however the test process ends.

use std::{
    path::Path,
    process::{Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use tempfile::TempDir;

/// A temporary folder, removed when dropped.
#[derive(Debug)]
pub struct Scratch(TempDir);

impl Scratch {
    /// A new folder whose name starts with `name`.
    ///
    /// # Panics
    ///
    /// When the folder cannot be made.
    #[must_use]
    pub fn new(name: &str) -> Scratch {
        Scratch(tempfile::Builder::new().prefix(&format!("{name}-")).tempdir_in(root()).expect("a temporary folder"))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file into it and returns its path.
    ///
    /// # Panics
    ///
    /// When the file cannot be written.
    pub fn write(&self, name: &str, content: &str) -> std::path::PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, content).expect("a file in the temporary folder");
        path
    }
}

/// A name that no other call of this process returns: for topics, client ids and the like.
#[must_use]
pub fn unique(name: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("{name}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The folder of this process. Servers that tests share live until the process ends, and statics are not dropped, so
/// a shell waits for the end of its input, which is the end of this process, and removes the folder.
fn root() -> &'static Path {
    static ROOT: OnceLock<TempDir> = OnceLock::new();
    ROOT.get_or_init(|| {
        let root = tempfile::Builder::new().prefix("fairlead-tests-").tempdir().expect("a temporary folder");
        let mut sweeper = Command::new("sh");
        // What an interrupted campaign has mounted goes first.
        let sweep = "read -r _; umount -l \"$1\"/*/mount 2>/dev/null; until rm -rf -- \"$1\"; do :; done";
        sweeper.args(["-c", sweep, "sweeper"]).arg(root.path());
        sweeper.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        // Its own process group: Ctrl-C must not stop it.
        std::os::unix::process::CommandExt::process_group(&mut sweeper, 0);
        // Neither the process nor its pipe is ever given up before the end.
        std::mem::forget(sweeper.spawn().expect("sh starts"));
        root
    })
    .path()
}
