//! `fairlead check`: the plan, the origin of each value, and everything that is wrong.

use std::fmt::Write as _;

use clap::Args;
use serde::Serialize;

use super::{
    Configuration, Exit,
    connect::Connections,
    plan::{self, Plan},
    print,
};
use crate::{
    probe::probe,
    settings::{Host, Loaded, Problem},
};

#[derive(Args, Debug)]
pub(super) struct Check {
    #[command(flatten)]
    configuration: Configuration,
    /// Connect to both sides too, and say what can be expected of them.
    #[arg(long)]
    connect: bool,
    /// Messages a second that are expected, for what --connect computes; default: what the sessions can carry.
    #[arg(long, value_name = "N", requires = "connect", value_parser = clap::value_parser!(u64).range(1..))]
    rate: Option<u64>,
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
        let exit = match &connections {
            _ if loaded.settings.is_none() => Exit::Config,
            Some(connections) if !connections.reachable => Exit::Unavailable,
            _ => Exit::Success,
        };
        let text = if self.json { json(&loaded, connections, exit) } else { text(&loaded, connections.as_ref()) };
        print(&text, exit)
    }
}

fn text(loaded: &Loaded, connections: Option<&Connections>) -> String {
    let mut text = format!("{}\n", plan::values(loaded));
    if let Some(settings) = &loaded.settings {
        let _ = write!(text, "{}", Plan::new(settings, loaded));
    }
    for note in &loaded.notes {
        let _ = writeln!(text, "note: {note}");
    }
    for line in connections.iter().flat_map(|connections| &connections.lines) {
        let _ = writeln!(text, "{line}");
    }
    for problem in &loaded.problems {
        let _ = writeln!(text, "error: {problem}");
    }
    let reachable = connections.is_none_or(|connections| connections.reachable);
    match loaded.problems.len() {
        0 if !reachable => text.push_str("not reachable\n"),
        0 => text.push_str("ok\n"),
        1 => text.push_str("1 problem\n"),
        count => drop(writeln!(text, "{count} problems")),
    }
    text
}

fn json(loaded: &Loaded, connections: Option<Connections>, exit: Exit) -> String {
    let value = |shown: &crate::settings::Shown| Value {
        key: shown.key.clone(),
        value: shown.value.clone(),
        origin: shown.origin.to_string(),
    };
    let report = Report {
        ok: exit == Exit::Success,
        values: loaded.values.iter().map(value).collect(),
        plan: loaded.settings.as_ref().map(|settings| Plan::new(settings, loaded)),
        notes: loaded.notes.iter().map(Said::from).collect(),
        problems: loaded.problems.iter().map(Said::from).collect(),
        connections,
    };
    match serde_json::to_string_pretty(&report) {
        Ok(json) => json + "\n",
        Err(error) => format!("{{\"ok\": false, \"error\": \"{error}\"}}\n"),
    }
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
