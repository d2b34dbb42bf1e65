//! The load generator and verifier, as the binary that users run.

use std::{path::PathBuf, time::Duration};

use crate::{fairlead::binary, process::Process, scratch::Scratch, wait::wait_for};

/// A run of `fairlead-loadgen`. Dropping it kills it.
#[derive(Debug)]
pub struct Loadgen {
    folder: Scratch,
    process: Process,
}

/// Starts `fairlead-loadgen` with these arguments; `FOLDER` in an argument is a temporary folder of the run.
///
/// # Panics
///
/// When there is no binary.
#[must_use]
pub fn loadgen(args: &[&str]) -> Loadgen {
    let folder = Scratch::new("loadgen");
    let path = folder.path().display().to_string();
    let mut command = Process::command(binary("FAIRLEAD_LOADGEN_BIN", "fairlead-loadgen"));
    command.args(args.iter().map(|arg| arg.replace("FOLDER", &path))).env("NO_COLOR", "1");
    let process = Process::spawn("fairlead-loadgen", command, &folder.path().join("log"));
    Loadgen { folder, process }
}

impl Loadgen {
    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// The path of a file in its folder.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A JSON file of its folder, as soon as it is there.
    ///
    /// # Panics
    ///
    /// When it is not there within `limit`, or is no JSON.
    #[track_caller]
    #[must_use]
    pub fn json(&self, name: &str, limit: Duration) -> serde_json::Value {
        let path = self.file(name);
        let text = wait_for(limit, &format!("{name} of the load generator"), || std::fs::read_to_string(&path).ok());
        serde_json::from_str(&text).expect("JSON")
    }

    /// Waits for its end, which must be a success.
    ///
    /// # Panics
    ///
    /// When it fails or does not end within `limit`.
    #[track_caller]
    pub fn succeed(&mut self, limit: Duration) {
        let code = self.process.wait(limit);
        assert_eq!(code, 0, "fairlead-loadgen:\n{}", self.process.log());
    }
}
