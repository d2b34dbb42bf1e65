//! `fairlead spool repair`: does to a spool what the next start would do, and nothing else.

use std::{fs, path::Path};

use clap::Args;
use fairlead_spool::{
    Options,
    disk::Real,
    inspect::{self, Class, Report},
};

use super::{
    Failure, Place, is_shard,
    state::{exit, verify_text},
};
use crate::{
    cli::{Exit, print},
    settings::{Host, Settings},
    shard::clock,
    spool,
};

#[derive(Args, Debug)]
pub(super) struct Repair {
    #[command(flatten)]
    place: Place,
    /// Only say what is wrong; change nothing.
    #[arg(long)]
    dry_run: bool,
}

impl Repair {
    pub(super) fn run(self, host: &Host) -> Result<Exit, Failure> {
        let (dir, settings) = self.place.find(host)?;
        let before = inspect::stat(&Real, &dir)?;
        if before.class == Class::UnknownVersion {
            return Ok(print(&verify_text(&before), exit(before.class)));
        }
        let limits = limits(&dir, settings.as_ref(), &before);
        let found = inspect::repair(&Real, &dir, limits, clock::now(), self.dry_run)?;
        if self.dry_run {
            return Ok(print(&format!("nothing is changed; found:\n{}", verify_text(&found)), exit(found.class)));
        }
        let after = inspect::verify(&Real, &dir, false)?;
        let text = format!("found:\n{}now:\n{}", verify_text(&found), verify_text(&after));
        Ok(print(&text, exit(after.class)))
    }
}

/// The limits under which a spool is opened that was looked at before.
pub(in crate::cli) fn limits(dir: &Path, settings: Option<&Settings>, report: &Report) -> Options {
    let limits = settings.and_then(spool::options).unwrap_or_else(|| any_limits(dir, report));
    // The shard count is that of the last run, whatever the configuration says by now: the next start needs it.
    Options { shards: report.shards.unwrap_or(limits.shards), ..limits }
}

/// Limits under which any spool can be opened, made of what lies there.
fn any_limits(dir: &Path, report: &Report) -> Options {
    let logs = report.logs.iter();
    let files = logs.filter_map(|log| fs::read_dir(dir.join(log.name.to_string())).ok()).flatten().flatten();
    let sizes = files.filter_map(|file| file.metadata().ok()).map(|metadata| metadata.len());
    let shards = report.logs.iter().filter(|log| is_shard(log.name)).count().max(1);
    let limits = Options::default();
    let segment = sizes.max().unwrap_or(0).max(limits.segment);
    Options { max: u64::MAX, min_free: 0, segment, shards: shards as u32, ..limits }
}
