//! `fairlead check`: the plan, the origin of each value, and everything that is wrong.

use std::fmt::Write as _;

use clap::Args;
use serde::Serialize;

use super::{
    Configuration, Exit,
    connect::Connections,
    disk::{Disk, Load},
    json,
    plan::{self, Plan},
    print,
};
use crate::{
    probe::probe,
    settings::{Host, Loaded, Problem},
};

/// Messages a second for which the spool's time is computed.
const RATE: u64 = 10_000;
/// Most messages a second, and most bytes of one, that anybody can mean.
const MOST: u64 = 1_000_000_000;

#[derive(Args, Debug)]
pub(super) struct Check {
    #[command(flatten)]
    configuration: Configuration,
    /// Connect to both sides too, and say what can be expected of them.
    #[arg(long)]
    connect: bool,
    /// Messages a second that are expected; default: 10000 for how long the spool lasts, and for what --connect computes
    /// what the sessions can carry.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MOST))]
    rate: Option<u64>,
    /// Bytes of a message that are expected, for how long the spool lasts.
    #[arg(long, value_name = "BYTES", default_value_t = 100, value_parser = clap::value_parser!(u64).range(..=MOST))]
    size: u64,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// All that a check finds.
#[derive(Debug, Serialize)]
struct Report {
    ok: bool,
    values: Vec<Value>,
    plan: Option<Plan>,
    notes: Vec<Said>,
    problems: Vec<Said>,
    /// The spool's folder and its disk.
    spool: Option<Disk>,
    connections: Option<Connections>,
}

#[derive(Debug, Serialize)]
struct Value {
    key: String,
    value: String,
    origin: String,
}

/// A problem or a note.
#[derive(Debug, Serialize)]
struct Said {
    origin: String,
    key: String,
    text: String,
}

impl From<&Problem> for Said {
    fn from(problem: &Problem) -> Said {
        Said { origin: problem.origin.to_string(), key: problem.key.clone(), text: problem.text.clone() }
    }
}

impl Check {
    pub(super) fn run(self, host: &Host) -> Exit {
        let loaded = self.configuration.load(host);
        let connections = match &loaded.settings {
            Some(settings) if self.connect => {
                Some(Connections::new(settings, &probe(settings), self.rate, &loaded.secrets))
            }
            _ => None,
        };
        let load = Load { rate: self.rate.unwrap_or(RATE), size: self.size };
        let disk = loaded.settings.as_ref().and_then(|settings| {
            let spool = settings.spool.as_ref()?;
            Some(Disk::look(spool, settings.engine.cpus.len(), load, &loaded.secrets))
        });
        let found = Findings { loaded, disk, connections };
        let exit = found.exit();
        print(&if self.json { found.json() } else { found.text() }, exit)
    }
}

/// Everything that was looked at.
struct Findings {
    loaded: Loaded,
    disk: Option<Disk>,
    connections: Option<Connections>,
}

impl Findings {
    fn exit(&self) -> Exit {
        let reachable = self.connections.as_ref().is_none_or(|connections| connections.reachable);
        match self.disk.as_ref().map_or(Exit::Success, |disk| disk.exit) {
            _ if self.loaded.settings.is_none() => Exit::Config,
            Exit::Success if !reachable => Exit::Unavailable,
            disk => disk,
        }
    }

    fn text(&self) -> String {
        let Findings { loaded, disk, connections } = self;
        let mut text = format!("{}\n", plan::values(loaded));
        if let Some(settings) = &loaded.settings {
            let _ = write!(text, "{}", Plan::new(settings, loaded));
        }
        for note in &loaded.notes {
            let _ = writeln!(text, "note: {note}");
        }
        let found = disk.iter().flat_map(Disk::lines);
        let told = connections.iter().flat_map(|connections| connections.lines.iter().cloned());
        found.chain(told).for_each(|line| writeln!(text, "{line}").expect("a string takes everything"));
        for problem in &loaded.problems {
            let _ = writeln!(text, "error: {problem}");
        }
        let problems = loaded.problems.len() + disk.as_ref().map_or(0, |disk| disk.problems.len());
        match problems {
            0 if self.exit() == Exit::Unavailable => text.push_str("not reachable\n"),
            0 => text.push_str("ok\n"),
            1 => text.push_str("1 problem\n"),
            count => drop(writeln!(text, "{count} problems")),
        }
        text
    }

    fn json(self) -> String {
        let ok = self.exit() == Exit::Success;
        let Findings { loaded, disk, connections } = self;
        let value = |shown: &crate::settings::Shown| Value {
            key: shown.key.clone(),
            value: shown.value.clone(),
            origin: shown.origin.to_string(),
        };
        json(&Report {
            ok,
            values: loaded.values.iter().map(value).collect(),
            plan: loaded.settings.as_ref().map(|settings| Plan::new(settings, &loaded)),
            notes: loaded.notes.iter().map(Said::from).collect(),
            problems: loaded.problems.iter().map(Said::from).collect(),
            spool: disk,
            connections,
        })
    }
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
