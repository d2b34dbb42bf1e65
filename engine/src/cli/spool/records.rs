//! `fairlead spool dump`, `tail` and `export`: the records, one a line.

use std::{
    fs::OpenOptions,
    io::{self, BufWriter, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use clap::Args;
use fairlead_spool::{
    Name,
    disk::Real,
    inspect::{self, LogReport},
};

use super::{Failure, Place, Selection, row::Row, visit};
use crate::{
    cli::Exit,
    settings::Host,
    spool::{Filed, filed},
};

/// Pause between two looks for records that came.
const FOLLOW: Duration = Duration::from_secs(1);

#[derive(Args, Debug)]
pub(super) struct Dump {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    selection: Selection,
    /// Stop after so many.
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    #[command(flatten)]
    format: Format,
}

#[derive(Args, Debug)]
pub(super) struct Tail {
    #[command(flatten)]
    place: Place,
    /// Only this log, such as shard-00.
    #[arg(long, value_name = "LOG")]
    log: Option<String>,
    /// How many records of each log.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10)]
    lines: u64,
    /// Go on with the records that come, until SIGINT.
    #[arg(short, long)]
    follow: bool,
    #[command(flatten)]
    format: Format,
}

#[derive(Args, Debug)]
pub(super) struct Export {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    selection: Selection,
    /// The file, which must not exist; default: standard output.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// How records are shown.
#[derive(Args, Clone, Copy, Debug)]
pub(in crate::cli) struct Format {
    /// Show payloads and the values of headers.
    #[arg(long)]
    pub(in crate::cli) payload: bool,
    /// Print one JSON object a line.
    #[arg(long)]
    pub(in crate::cli) json: bool,
}

impl Format {
    pub(in crate::cli) fn write(self, out: &mut impl Write, log: &LogReport, filed: &Filed) -> Result<(), Failure> {
        let row = Row::new(log, filed, self.payload);
        if self.json {
            serde_json::to_writer(&mut *out, &row).map_err(io::Error::from)?;
        } else {
            write!(out, "{row}")?;
        }
        Ok(out.write_all(b"\n")?)
    }

    /// The same with a line for each part.
    pub(in crate::cli) fn write_whole(
        self,
        out: &mut impl Write,
        log: &LogReport,
        filed: &Filed,
    ) -> Result<(), Failure> {
        if self.json {
            self.write(out, log, filed)
        } else {
            Ok(out.write_all(Row::new(log, filed, self.payload).whole().as_bytes())?)
        }
    }
}

impl Dump {
    pub(super) fn run(self, host: &Host) -> Result<Exit, Failure> {
        let (dir, _) = self.place.find(host)?;
        let mut out = BufWriter::new(io::stdout().lock());
        let mut left = self.limit.unwrap_or(u64::MAX);
        visit(&dir, &self.selection, |log, filed| {
            if left == 0 {
                return Ok(false);
            }
            left -= 1;
            self.format.write(&mut out, log, filed).map(|()| true)
        })?;
        out.flush()?;
        Ok(Exit::Success)
    }
}

impl Export {
    pub(super) fn run(self, host: &Host) -> Result<Exit, Failure> {
        let (dir, _) = self.place.find(host)?;
        match &self.out {
            Some(path) => {
                // For its owner alone, as the spool is.
                let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
                let file = export(&dir, &self.selection, BufWriter::new(file))?;
                file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
            }
            None => drop(export(&dir, &self.selection, BufWriter::new(io::stdout().lock()))?),
        }
        Ok(Exit::Success)
    }
}

/// Everything that the records hold.
pub(super) fn export<W: Write>(dir: &Path, selection: &Selection, mut out: W) -> Result<W, Failure> {
    let format = Format { payload: true, json: true };
    visit(dir, selection, |log, filed| format.write(&mut out, log, filed).map(|()| true))?;
    out.flush()?;
    Ok(out)
}

impl Tail {
    pub(super) fn run(self, host: &Host) -> Result<Exit, Failure> {
        let (dir, _) = self.place.find(host)?;
        let selection = Selection { log: self.log, ..Selection::default() };
        let mut out = BufWriter::new(io::stdout().lock());
        let mut ends = Ends::new(self.lines);
        loop {
            ends.look(&dir, &selection, |log, filed| self.format.write(&mut out, log, filed))?;
            out.flush()?;
            if !self.follow {
                return Ok(Exit::Success);
            }
            thread::park_timeout(FOLLOW);
        }
    }
}

/// How far each log was read.
#[derive(Debug)]
pub(super) struct Ends {
    lines: u64,
    /// The next record of each log.
    next: Vec<(Name, u64)>,
}

impl Ends {
    pub(super) fn new(lines: u64) -> Ends {
        Ends { lines, next: Vec::new() }
    }

    /// Shows the last records, and later those that came since the last look.
    pub(super) fn look(
        &mut self,
        dir: &Path,
        selection: &Selection,
        mut show: impl FnMut(&LogReport, &Filed) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let report = inspect::stat(&Real, dir)?;
        for log in selection.logs(&report)? {
            let last = log.segments.last().map_or(0, |segment| segment.last);
            let known = self.next.iter().position(|(name, _)| *name == log.name);
            let place = known.unwrap_or_else(|| {
                self.next.push((log.name, last.saturating_sub(self.lines) + 1));
                self.next.len() - 1
            });
            let next = &mut self.next[place].1;
            if *next > last {
                continue;
            }
            for filed in filed(&Real, dir, log.name, *next)? {
                let filed = filed?;
                *next = filed.sequence + 1;
                show(log, &filed)?;
            }
        }
        Ok(())
    }
}
