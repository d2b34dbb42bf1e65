//! `fairlead spool`: looks at a spool, also beside the bridge that writes it; sends records again; repairs.

pub(super) mod records;
pub(super) mod repair;
pub(super) mod replay;
pub(super) mod row;
mod state;
#[cfg(test)]
pub(super) mod tests;

use std::{
    io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use clap::{Args, Subcommand};
use fairlead_spool::{
    Name, OpenError, UpkeepError,
    disk::Real,
    inspect::{self, Class, InspectError, LogReport, Report},
};

use super::{Configuration, Exit};
use crate::{
    kafka::ClientError,
    settings::{Host, Settings},
    shard::clock,
};

#[derive(Args, Debug)]
pub(super) struct Spool {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// What the spool holds.
    Stat(state::Stat),
    /// Look for damage. Exits with 0: clean, 1: a torn tail only, 2: corruption, 3: unreadable, 78: a later version.
    Verify(state::Verify),
    /// Print the records, one a line.
    Dump(records::Dump),
    /// Print the last records of each log, and with --follow those that come.
    Tail(records::Tail),
    /// Send records again, to a Kafka topic, with key, headers and time. The spool is only read.
    Replay(replay::Replay),
    /// Write the records with everything they hold, payloads too, as one JSON object a line.
    Export(records::Export),
    /// Cut torn tails, set aside what is no segment, make META and cursors again. The bridge must not run.
    Repair(repair::Repair),
}

/// Where the spool is.
#[derive(Args, Debug)]
pub(super) struct Place {
    #[command(flatten)]
    configuration: Configuration,
    /// The spool's folder; default: that of the configuration.
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
}

/// Which records. Dead letters only where their log is named: they have a command of their own.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct Selection {
    /// Only this log, such as shard-00.
    #[arg(long, value_name = "LOG")]
    pub(super) log: Option<String>,
    /// Only records received since: a time (2026-01-31T12:00:00Z) or how long ago (2h).
    #[arg(long, value_name = "TIME", value_parser = since)]
    pub(super) since: Option<SystemTime>,
    /// Only what has no delivery report of Kafka.
    #[arg(long)]
    pub(super) waiting: bool,
    /// Dead letters, and nothing else.
    #[arg(skip)]
    pub(super) dead_letters: bool,
}

/// Why a command cannot be done.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("name the spool: -c fairlead.toml, or --dir FOLDER")]
    Nowhere,
    #[error("replay needs to know Kafka: add -c fairlead.toml")]
    NoKafka,
    #[error("{0}")]
    Configuration(String),
    #[error("with engine.ack = \"{0}\" there is no spool; name one with --dir FOLDER")]
    NoSpool(&'static str),
    #[error("there is no log {name}; there is {}", .there.join(", "))]
    NoLog { name: String, there: Vec<String> },
    #[error("there is no dead letter {0}; `fairlead dead-letter list` shows all")]
    NoDeadLetter(u64),
    #[error(transparent)]
    Inspect(#[from] InspectError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Upkeep(#[from] UpkeepError),
    #[error(transparent)]
    Kafka(#[from] ClientError),
    #[error("the output cannot be written: {0}")]
    Output(#[from] io::Error),
}

impl Failure {
    fn exit(&self) -> Exit {
        match self {
            Failure::Nowhere | Failure::NoKafka | Failure::NoLog { .. } | Failure::NoDeadLetter(_) => Exit::Usage,
            Failure::Open(OpenError::Locked(_)) => Exit::Taken,
            Failure::Configuration(_) | Failure::NoSpool(_) | Failure::Open(_) => Exit::Config,
            Failure::Inspect(_) | Failure::Upkeep(_) => Exit::Inconclusive,
            Failure::Kafka(ClientError::Config(_)) => Exit::Config,
            Failure::Kafka(_) | Failure::Output(_) => Exit::Unavailable,
        }
    }

    /// Says why, and how to end.
    pub(super) fn tell(&self) -> Exit {
        // A reader that has seen enough and is gone is no failure.
        if let Failure::Output(error) = self
            && error.kind() == io::ErrorKind::BrokenPipe
        {
            return Exit::Success;
        }
        eprintln!("error: {self}");
        self.exit()
    }
}

impl Spool {
    pub(super) fn run(self, host: &Host) -> Exit {
        let done = match self.command {
            Command::Stat(stat) => stat.run(host),
            Command::Verify(verify) => verify.run(host),
            Command::Dump(dump) => dump.run(host),
            Command::Tail(tail) => tail.run(host),
            Command::Replay(replay) => replay.run(host),
            Command::Export(export) => export.run(host),
            Command::Repair(repair) => repair.run(host),
        };
        done.unwrap_or_else(|failure| failure.tell())
    }
}

impl Place {
    /// The spool's folder, and the settings where a configuration was named.
    pub(super) fn find(self, host: &Host) -> Result<(PathBuf, Option<Settings>), Failure> {
        let named = !self.configuration.config.is_empty() || !self.configuration.set.is_empty();
        let settings = if named || self.dir.is_none() { self.configuration.settings(host, named)? } else { None };
        let dir = match (self.dir, &settings) {
            (Some(dir), _) => dir,
            (None, None) => return Err(Failure::Nowhere),
            (None, Some(found)) => match &found.spool {
                Some(spool) => spool.dir.clone(),
                None => return Err(Failure::NoSpool(found.engine.ack.name())),
            },
        };
        Ok((dir, settings))
    }
}

impl Configuration {
    /// The settings; `None` where nothing was named and the environment alone is no configuration.
    fn settings(self, host: &Host, named: bool) -> Result<Option<Settings>, Failure> {
        let loaded = self.load(host);
        if loaded.settings.is_none() && named {
            let problems: Vec<String> = loaded.problems.iter().map(ToString::to_string).collect();
            return Err(Failure::Configuration(problems.join("\nerror: ")));
        }
        Ok(loaded.settings)
    }
}

impl Selection {
    /// The logs that are meant.
    pub(super) fn logs<'a>(&self, report: &'a Report) -> Result<Vec<&'a LogReport>, Failure> {
        let is_dead = |log: &&LogReport| matches!(log.name, Name::DeadLetter(_));
        let Some(name) = &self.log else {
            return Ok(report.logs.iter().filter(|log| is_dead(log) == self.dead_letters).collect());
        };
        let there: Vec<_> = report.logs.iter().filter(|log| is_dead(log) || !self.dead_letters).collect();
        match there.iter().find(|log| log.name.to_string() == *name) {
            Some(log) => Ok(vec![log]),
            None => {
                let there = there.iter().map(|log| log.name.to_string()).collect();
                Err(Failure::NoLog { name: name.clone(), there })
            }
        }
    }

    /// The first record of a log that may be meant.
    fn start(&self, log: &LogReport) -> u64 {
        if self.waiting { log.delivered.map_or(1, |delivered| delivered + 1) } else { 1 }
    }

    /// Whether a record received then is meant.
    fn takes(&self, time: u64) -> bool {
        self.since.is_none_or(|since| time >= millis(since))
    }
}

/// Visits the records that are meant, log by log in order, until `visit` says false.
pub(super) fn visit(
    folder: &Path,
    selection: &Selection,
    mut visit: impl FnMut(&LogReport, &crate::spool::Filed) -> Result<bool, Failure>,
) -> Result<(), Failure> {
    let report = inspect::stat(&Real, folder)?;
    for log in selection.logs(&report)? {
        for filed in crate::spool::filed(&Real, folder, log.name, selection.start(log))? {
            let filed = filed?;
            if selection.takes(filed.time) && !visit(log, &filed)? {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// A time, or how long ago.
pub(super) fn since(text: &str) -> Result<SystemTime, String> {
    if let Ok(ago) = humantime::parse_duration(text) {
        return Ok(clock::wall().checked_sub(ago).unwrap_or(UNIX_EPOCH));
    }
    humantime::parse_rfc3339_weak(text)
        .map_err(|_| "write a time such as 2026-01-31T12:00:00Z, or how long ago, such as 2h".to_owned())
}

fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The time of a record for people.
fn shown(millis: u64) -> String {
    // Years beyond 9999 have no such form; only a damaged clock gets there.
    const LAST: u64 = 253_402_300_799_999;
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(millis.min(LAST))).to_string()
}

/// The word for a class.
fn word(class: Class) -> &'static str {
    match class {
        Class::Clean => "clean",
        Class::TornTail => "torn tail",
        Class::Corrupt => "corrupt",
        Class::Unreadable => "unreadable",
        Class::UnknownVersion => "unknown version",
    }
}

/// Text of a message on a line of its own: escaped, so that it can neither break the line nor colour the terminal.
fn escaped(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.escape_debug().to_string(),
        Err(_) => bytes.escape_ascii().to_string(),
    }
}

/// Whether the log is of a shard, and not one that is kept beside them.
fn is_shard(name: Name) -> bool {
    matches!(name, Name::Shard(_))
}
