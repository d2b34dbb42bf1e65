//! A wall clock that is wrong, for one process, and that can be set while it runs.

use std::{fs::File, os::unix::fs::FileExt};

use crate::{
    mount::{text, tool},
    scratch::Scratch,
};

/// Sets the clock of those who are started with it.
#[derive(Debug)]
pub struct WallClock {
    shift: File,
    folder: Scratch,
}

impl WallClock {
    /// A clock that is so many seconds ahead.
    ///
    /// # Panics
    ///
    /// When there is no C compiler.
    #[must_use]
    pub fn new(ahead: i64) -> WallClock {
        let folder = Scratch::new("clock");
        let path = |name| folder.path().join(name);
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/harness/wall_clock.c");
        tool("cc", &["-O2", "-shared", "-fPIC", "-o", text(&path("clock.so")), source], &path("log"));
        let shift = File::create(path("shift")).expect("a new file");
        let clock = WallClock { shift, folder };
        clock.set(ahead);
        clock
    }

    /// Sets it, also for who runs already.
    ///
    /// # Panics
    ///
    /// When the file cannot be written.
    pub fn set(&self, ahead: i64) {
        // In place: the file is mapped.
        self.shift.write_all_at(&ahead.to_ne_bytes(), 0).expect("eight bytes");
    }

    /// The program, with its arguments, that starts another one with this clock.
    #[must_use]
    pub fn wrapper(&self) -> [String; 3] {
        let file = |name| self.folder.path().join(name).display().to_string();
        ["env".to_owned(), format!("LD_PRELOAD={}", file("clock.so")), format!("WALL_CLOCK={}", file("shift"))]
    }
}
