//! `fairlead dead-letter purge`: removes dead letters, the oldest first.

use std::{
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use clap::Args;
use fairlead_spool::{
    Log, Name,
    disk::Real,
    inspect::{self, LogReport},
};
use serde::Serialize;

use super::Choice;
use crate::{
    cli::{
        Exit, json, print,
        spool::{Failure, Place, repair::limits, since},
    },
    dead_letter::Marks,
    settings::{Host, Settings},
    shard::clock,
    spool::{Filed, filed},
};

#[derive(Args, Debug)]
pub(super) struct Purge {
    #[command(flatten)]
    place: Place,
    /// Only this log, such as dead-letter-00.
    #[arg(long, value_name = "LOG")]
    log: Option<String>,
    /// Only what was given up before: a time (2026-01-31T12:00:00Z) or how long ago (2h). Default: everything.
    #[arg(long, value_name = "TIME", value_parser = since)]
    before: Option<SystemTime>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What became of it.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Purged {
    pub(super) removed: u64,
    pub(super) left: u64,
}

impl Purge {
    pub(super) fn run(self, host: &Host) -> Result<Exit, Failure> {
        let (dir, settings) = self.place.find(host)?;
        let purged = purge(&dir, settings.as_ref(), self.log, self.before)?;
        let text = format!("{} dead letters are removed, {} are left\n", purged.removed, purged.left);
        Ok(print(&if self.json { json(&purged) } else { text }, Exit::Success))
    }
}

/// Moves the cursors.
pub(super) fn purge(
    dir: &Path,
    settings: Option<&Settings>,
    log: Option<String>,
    before: Option<SystemTime>,
) -> Result<Purged, Failure> {
    let report = inspect::stat(&Real, dir)?;
    let selection = Choice { log, since: None }.selection();
    let names: Vec<Name> = selection.logs(&report)?.into_iter().map(|log: &LogReport| log.name).collect();
    let (spool, warnings) = fairlead_spool::Spool::open(Real, dir, limits(dir, settings, &report))?;
    warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
    let mut purged = Purged::default();
    for name in names {
        let (mut log, recovery) = spool.log(name)?;
        inspect::settle(&mut log, clock::now());
        let first = recovery.start.sequence;
        let last = match before {
            None => log.synced(),
            Some(before) => last_before(dir, name, first, before)?.min(log.synced()),
        };
        release(&mut log, last)?;
        purged.removed += (last + 1).saturating_sub(first);
        purged.left += log.appended() - last.max(first - 1);
    }
    Ok(purged)
}

/// The last of the dead letters at the front that were all given up before then.
fn last_before(dir: &Path, name: Name, first: u64, before: SystemTime) -> Result<u64, Failure> {
    let mut last = first - 1;
    for filed in filed(&Real, dir, name, first)? {
        let filed = filed?;
        if given_up(&filed) >= before {
            break;
        }
        last = filed.sequence;
    }
    Ok(last)
}

fn given_up(filed: &Filed) -> SystemTime {
    let marks = filed.record.as_ref().and_then(|record| Marks::split(&record.headers));
    let told = marks.and_then(|(_, marks)| humantime::parse_rfc3339(&marks.time()?).ok());
    told.unwrap_or_else(|| UNIX_EPOCH + std::time::Duration::from_millis(filed.time))
}

/// Lets go of everything up to `last`, durably.
fn release(log: &mut Log<Real>, last: u64) -> Result<(), Failure> {
    log.release(last);
    log.request_cursor();
    let now = clock::now();
    while let Some(upkeep) = log.poll_release(now) {
        log.handle_upkeep(now, upkeep.run())?;
    }
    Ok(())
}
