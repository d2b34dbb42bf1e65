//! `fairlead dead-letter`: the dead-letter log of a spool. Looks at it and sends its records again, also beside the bridge
//! that writes it; removes them.

mod purge;
mod replay;
#[cfg(test)]
mod tests;

use std::{
    io::{self, BufWriter, Write},
    time::SystemTime,
};

use clap::{Args, Subcommand};

use super::{
    Exit,
    spool::{Failure, Place, Selection, records::Format, since, visit},
};
use crate::settings::Host;

#[derive(Args, Debug)]
pub(super) struct DeadLetter {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the dead letters, one a line.
    List(List),
    /// Print the dead letter of this number; one of each log that has it.
    Show(Show),
    /// Send dead letters again to the Kafka topics that they were for, without the headers that Fairlead added. They stay
    /// in the log.
    Replay(replay::Replay),
    /// Remove dead letters. The bridge must not run.
    Purge(purge::Purge),
}

/// Which dead letters.
#[derive(Args, Debug)]
struct Choice {
    /// Only this log, such as dead-letter-00.
    #[arg(long, value_name = "LOG")]
    log: Option<String>,
    /// Only records received since: a time (2026-01-31T12:00:00Z) or how long ago (2h).
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<SystemTime>,
}

#[derive(Args, Debug)]
struct List {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    choice: Choice,
    #[command(flatten)]
    format: Format,
}

#[derive(Args, Debug)]
struct Show {
    /// Its number, as `list` shows it.
    number: u64,
    #[command(flatten)]
    place: Place,
    /// Only in this log, such as dead-letter-00.
    #[arg(long, value_name = "LOG")]
    log: Option<String>,
    #[command(flatten)]
    format: Format,
}

impl Choice {
    /// What is in the log: removed ones lie there until their segment is used again.
    fn selection(self) -> Selection {
        Selection { log: self.log, since: self.since, waiting: true, dead_letters: true }
    }
}

impl DeadLetter {
    pub(super) fn run(self, host: &Host) -> Exit {
        let done = match self.command {
            Command::List(list) => list.run(host),
            Command::Show(show) => show.run(host),
            Command::Replay(replay) => replay.run(host),
            Command::Purge(purge) => purge.run(host),
        };
        done.unwrap_or_else(|failure| failure.tell())
    }
}

impl List {
    fn run(self, host: &Host) -> Result<Exit, Failure> {
        let (dir, _) = self.place.find(host)?;
        let mut out = BufWriter::new(io::stdout().lock());
        visit(&dir, &self.choice.selection(), |log, filed| self.format.write(&mut out, log, filed).map(|()| true))?;
        out.flush()?;
        Ok(Exit::Success)
    }
}

impl Show {
    fn run(self, host: &Host) -> Result<Exit, Failure> {
        let (dir, _) = self.place.find(host)?;
        let mut out = BufWriter::new(io::stdout().lock());
        let mut found = false;
        visit(&dir, &Choice { log: self.log, since: None }.selection(), |log, filed| {
            if filed.sequence == self.number {
                found = true;
                self.format.write_whole(&mut out, log, filed)?;
            }
            Ok(true)
        })?;
        out.flush()?;
        if found { Ok(Exit::Success) } else { Err(Failure::NoDeadLetter(self.number)) }
    }
}
