//! `fairlead spool stat` and `verify`: what the folder holds, and how sound it is.

use std::path::Path;

use bytesize::ByteSize;
use clap::Args;
use fairlead_spool::{
    disk::Real,
    inspect::{self, Class, InspectError, LogReport, Report},
};
use serde::Serialize;

use super::{Failure, Place, shown, word};
use crate::{
    cli::{Exit, json, plan::table, print},
    settings::Host,
};

/// Looks at a spool whose tail is torn, before that counts: beside a running bridge a group may have been on its way.
const LOOKS: usize = 3;

#[derive(Args, Debug)]
pub(super) struct Stat {
    #[command(flatten)]
    place: Place,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
pub(super) struct Verify {
    #[command(flatten)]
    place: Place,
    /// Read every record, also of segments whose footer is good.
    #[arg(long)]
    deep: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// A spool as it lies there, for JSON.
#[derive(Debug, Serialize)]
struct State<'a> {
    dir: &'a Path,
    class: &'static str,
    /// Shards of the last run.
    shards: Option<u32>,
    logs: Vec<Log>,
    findings: &'a [String],
    quarantined: &'a [std::path::PathBuf],
}

#[derive(Debug, Serialize)]
struct Log {
    log: String,
    /// Everything up to here has a delivery report.
    delivered: Option<u64>,
    /// Everything up to here is known to be on the disk.
    durable: u64,
    /// Records that Kafka has not confirmed.
    waiting: u64,
    /// When the oldest of the segments that hold such records began.
    oldest: Option<String>,
    bytes: u64,
    spares: u64,
    segments: Vec<Segment>,
    /// First and last record of what is missing.
    gaps: Vec<(u64, u64)>,
}

#[derive(Debug, Serialize)]
struct Segment {
    id: u64,
    generation: u64,
    first: u64,
    last: u64,
    records: u64,
    bytes: u64,
    oldest: String,
    sealed: bool,
}

impl Log {
    fn of(report: &LogReport) -> Log {
        let delivered = report.delivered.unwrap_or(0);
        let waiting = report.segments.iter().filter(|segment| segment.last > delivered);
        let segment = |segment: &inspect::SegmentReport| Segment {
            id: segment.id,
            generation: segment.generation,
            first: segment.first,
            last: segment.last,
            records: segment.records,
            bytes: segment.bytes,
            oldest: shown(segment.oldest),
            sealed: segment.sealed,
        };
        Log {
            log: report.name.to_string(),
            delivered: report.delivered,
            durable: report.durable,
            waiting: report.backlog,
            oldest: waiting.map(|segment| segment.oldest).min().map(shown),
            bytes: report.bytes,
            spares: report.spares,
            segments: report.segments.iter().map(segment).collect(),
            gaps: report.gaps.iter().map(|gap| (gap.first, gap.last)).collect(),
        }
    }
}

impl<'a> State<'a> {
    fn of(dir: &'a Path, report: &'a Report) -> State<'a> {
        State {
            dir,
            class: word(report.class),
            shards: report.shards,
            logs: report.logs.iter().map(Log::of).collect(),
            findings: &report.findings,
            quarantined: &report.quarantined,
        }
    }
}

impl Stat {
    pub(super) fn run(self, host: &Host) -> Result<Exit, Failure> {
        let (dir, _) = self.place.find(host)?;
        let report = inspect::stat(&Real, &dir)?;
        let text = if self.json { json(&State::of(&dir, &report)) } else { stat_text(&dir, &report) };
        Ok(print(&text, Exit::Success))
    }
}

impl Verify {
    pub(super) fn run(self, host: &Host) -> Result<Exit, Failure> {
        let (dir, _) = self.place.find(host)?;
        let report = settled(|| inspect::verify(&Real, &dir, self.deep))?;
        let text = if self.json { json(&State::of(&dir, &report)) } else { verify_text(&report) };
        Ok(print(&text, exit(report.class)))
    }
}

/// A look in which no group was on its way to the disk, if that can be had.
fn settled(look: impl Fn() -> Result<Report, InspectError>) -> Result<Report, InspectError> {
    let mut report = look()?;
    for _ in 1..LOOKS {
        if report.class != Class::TornTail {
            break;
        }
        report = look()?;
    }
    Ok(report)
}

/// The exit codes of `verify`, which scripts rely on.
pub(super) fn exit(class: Class) -> Exit {
    match class {
        Class::Clean => Exit::Success,
        Class::TornTail => Exit::Lost,
        Class::Corrupt => Exit::Usage,
        Class::Unreadable => Exit::Inconclusive,
        Class::UnknownVersion => Exit::Config,
    }
}

pub(super) fn stat_text(dir: &Path, report: &Report) -> String {
    let mut logs = table(&["log", "waiting", "delivered to", "durable to", "segments", "spares", "bytes", "oldest"]);
    for log in report.logs.iter().map(Log::of) {
        logs.add_row([
            log.log,
            log.waiting.to_string(),
            log.delivered.map_or_else(|| "unknown".to_owned(), |delivered| delivered.to_string()),
            log.durable.to_string(),
            log.segments.len().to_string(),
            log.spares.to_string(),
            ByteSize::b(log.bytes).to_string(),
            log.oldest.unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    let shards = report.shards.map_or_else(|| "unknown".to_owned(), |shards| shards.to_string());
    format!("{}: shards of the last run: {shards}\n{logs}\n{}", dir.display(), verify_text(report))
}

/// Findings, files set aside, and the verdict.
pub(super) fn verify_text(report: &Report) -> String {
    let findings = report.findings.iter().map(|finding| format!("{finding}\n"));
    let aside = report.quarantined.iter().map(|file| format!("set aside: {}\n", file.display()));
    findings.chain(aside).chain([format!("{}\n", verdict(report.class))]).collect()
}

fn verdict(class: Class) -> &'static str {
    match class {
        Class::Clean => "clean",
        Class::TornTail => "torn tail: what is behind it was never acknowledged, and the next start cuts it",
        Class::Corrupt => {
            "corrupt: something that had been durable is damaged or missing; the next start delivers the rest in order \
             and sets damaged files aside in quarantine"
        }
        Class::Unreadable => {
            "unreadable: a file is not what its name says; the next start moves it to quarantine, as does `repair`"
        }
        Class::UnknownVersion => "written by a later version: use that one",
    }
}
