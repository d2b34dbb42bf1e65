//! The file of a campaign: every run as it was measured, rewritten after each, so that an end in the middle keeps them.

use crate::campaign::Attempt;
use crate::figures::Figures;
use crate::peer::Peer;
use anyhow::{Context, Result};
use fairlead_loadgen::clock::Clock;
use fairlead_loadgen::output::write_json;
use serde::Serialize;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

/// What is written.
#[derive(Debug, Serialize)]
pub(crate) struct Record {
    #[serde(skip)]
    path: PathBuf,
    scenario: String,
    commit: String,
    runs: Vec<Value>,
}

impl Record {
    /// `FOLDER/SCENARIO-TIME.json`.
    pub(crate) fn create(folder: &Path, scenario: &str) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let since = Duration::from_nanos(u64::try_from(Clock::start().now()).unwrap_or(0));
        let time = humantime::format_rfc3339_seconds(UNIX_EPOCH + since).to_string().replace(':', "");
        let path = folder.join(format!("{scenario}-{time}.json"));
        Ok(Self { path, scenario: scenario.to_owned(), commit: commit(), runs: Vec::new() })
    }

    pub(crate) fn add(
        &mut self,
        case: &str,
        round: u32,
        peer: &Peer,
        attempt: &Attempt,
        figures: &Figures,
    ) -> Result<()> {
        let outcome = &attempt.outcome;
        self.runs.push(json!({
            "case": case,
            "round": round,
            "bridge": peer.name,
            "title": peer.title,
            "acknowledges": peer.acknowledges,
            "attempts": attempt.number,
            "foreign_share": outcome.foreign,
            "bridge_cpu_seconds_until_in_kafka": outcome.bridge_cpu_seconds,
            "verdict": outcome.arrival.verdict(),
            "figures": figures,
            "result": outcome.result,
            "arrival": outcome.arrival,
        }));
        write_json(&self.path, self)?;
        Ok(())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// The commit that was built, and whether more was.
fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(["-C", env!("CARGO_MANIFEST_DIR")]).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else { return "not known".to_owned() };
    let is_changed = git(&["status", "--porcelain"]).is_none_or(|changes| !changes.is_empty());
    if is_changed { format!("{commit}, changed") } else { commit }
}
