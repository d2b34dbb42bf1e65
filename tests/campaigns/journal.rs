//! `tests/campaigns.jsonl`: one line for each run, appended when it has ended.

use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use serde::{Deserialize, Serialize};

use crate::{outcome::Counts, scenario::Campaign, stage::Ack};

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    Green,
    Red,
}

/// A run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) campaign: Campaign,
    pub(crate) scenario: String,
    pub(crate) seed: u64,
    pub(crate) run: u64,
    pub(crate) commit: String,
    pub(crate) ack: Ack,
    /// Spans were cut short.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) short: bool,
    pub(crate) verdict: Verdict,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) problems: Vec<String>,
    #[serde(flatten)]
    pub(crate) counts: Counts,
    pub(crate) seconds: f64,
}

impl Entry {
    /// Whether the other is the same run of the same program.
    pub(crate) fn is_same_run(&self, other: &Entry) -> bool {
        let key = |e: &Entry| (e.campaign, e.scenario.clone(), e.seed, e.run, e.commit.clone(), e.ack.name(), e.short);
        key(self) == key(other)
    }
}

/// The file.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
}

impl Journal {
    pub(crate) fn at(path: &Path) -> Journal {
        Journal { path: path.to_owned() }
    }

    /// Every run so far.
    pub(crate) fn entries(&self) -> Result<Vec<Entry>, String> {
        let text = match std::fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(format!("cannot read {}: {e}", self.path.display())),
        };
        let entry = |(number, line): (usize, &str)| {
            serde_json::from_str(line).map_err(|e| format!("{}:{}: no run: {e}", self.path.display(), number + 1))
        };
        text.lines().enumerate().map(entry).collect()
    }

    pub(crate) fn append(&self, entry: &Entry) -> Result<(), String> {
        let mut line = serde_json::to_string(entry).expect("a run is plain data");
        line.push('\n');
        let file = File::options().create(true).append(true).open(&self.path);
        file.and_then(|mut file| file.write_all(line.as_bytes()))
            .map_err(|e| format!("cannot append to {}: {e}", self.path.display()))
    }
}

/// The last commit that changed more than the journal, with a mark where the sources have changed since.
pub(crate) fn commit() -> Result<String, String> {
    const SOURCES: [&str; 3] = ["--", ".", ":(exclude)tests/campaigns.jsonl"];
    let git = |args: &[&str]| {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
        let output = Command::new("git").arg("-C").arg(root).args(args).args(SOURCES).output();
        let output = output.map_err(|e| format!("git, which names the commit: {e}"))?;
        Ok::<String, String>(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let commit = git(&["log", "-1", "--format=%h"])?;
    let changed = !git(&["status", "--porcelain"])?.is_empty();
    Ok(if changed { format!("{commit}+") } else { commit })
}
