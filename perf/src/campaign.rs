//! Many runs: case by case, and within a case the bridges in turn, A B A B, so that what changes slowly on the machine
//! meets all of them.

use crate::figures::{FIGURES, Figures};
use crate::peer::Peer;
use crate::record::Record;
use crate::run::{Changes, Outcome, Plan};
use crate::scenario::{Case, Scenario};
use crate::stage::Stage;
use crate::statistics::Spread;
use crate::table::{Row, table};
use anyhow::{Context, Result};
use std::path::Path;

/// How often a run is done again because others used the machine.
const ATTEMPTS: u32 = 3;

/// Messages straight into Kafka before anything is measured, while Java compiles what it runs often.
const WARM_UP: u64 = 5_000_000;

/// What the command line decides.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) rounds: Option<u32>,
    /// The share of the machine above which others have disturbed a run.
    pub(crate) noise: f64,
    pub(crate) warm_up: bool,
    pub(crate) changes: Changes,
}

/// A run and how often it took.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) outcome: Outcome,
    pub(crate) number: u32,
}

/// Several scenarios on one Kafka.
pub(crate) struct Campaign<'a> {
    pub(crate) stage: Stage,
    pub(crate) settings: &'a Settings,
    pub(crate) peers: &'a [Peer],
    pub(crate) results: &'a Path,
}

impl Campaign<'_> {
    /// Messages straight into Kafka, and every bridge once, uncounted.
    pub(crate) fn warm_up(&mut self, scenario: &Scenario) -> Result<()> {
        if !self.settings.warm_up {
            return Ok(());
        }
        eprintln!("warming up");
        self.stage.warm_up(WARM_UP)?;
        let case = Case { fault: None, ..scenario.cases[0].clone() };
        for peer in self.peers {
            Plan { scenario, case: &case, peer, rate: None }.run(&mut self.stage, &self.settings.changes)?;
        }
        Ok(())
    }

    /// All cases of a scenario; returns what is to be printed.
    pub(crate) fn run(&mut self, name: &str, scenario: &Scenario) -> Result<String> {
        let mut record = Record::create(self.results, name)?;
        let mut text = format!("# {name}: {}\n", scenario.title);
        let mut maxima: Vec<f64> = Vec::new();
        for case in &scenario.cases {
            let rows = self.run_case(name, scenario, case, &maxima, &mut record)?;
            if maxima.is_empty() {
                maxima = rows.iter().map(maximum).collect();
            }
            text += &format!("\n## {name}, {}\n\n{}\n", case.name, table(&rows));
        }
        Ok(text + &format!("\nevery run: {}\n", record.path().display()))
    }

    fn run_case(
        &mut self,
        name: &str,
        scenario: &Scenario,
        case: &Case,
        maxima: &[f64],
        record: &mut Record,
    ) -> Result<Vec<Row>> {
        let mut rows: Vec<Row> = self.peers.iter().map(empty_row).collect();
        let rounds = self.settings.rounds.unwrap_or(scenario.rounds);
        for round in 1..=rounds {
            for (place, peer) in self.peers.iter().enumerate() {
                let rate = case.share.and_then(|share| Some(share * maxima.get(place)?));
                let plan = Plan { scenario, case, peer, rate };
                let what = || format!("{name}, {}, round {round} of {rounds}, {}", case.name, peer.name);
                eprintln!("{}", what());
                let attempt = self.attempt(plan).with_context(what)?;
                let figures = Figures::of(&attempt.outcome, self.settings.noise);
                record.add(&case.name, round, peer, &attempt, &figures)?;
                eprintln!("  {}", line(&figures));
                rows[place].rounds.push(figures);
            }
        }
        Ok(rows)
    }

    /// Again where others used the machine, but not for ever.
    fn attempt(&mut self, plan: Plan<'_>) -> Result<Attempt> {
        let mut number = 1;
        loop {
            let outcome = plan.run(&mut self.stage, &self.settings.changes)?;
            if outcome.foreign <= self.settings.noise || number == ATTEMPTS {
                return Ok(Attempt { outcome, number });
            }
            eprintln!("  others used {:.0} % of the machine: again", outcome.foreign * 100.0);
            number += 1;
        }
    }
}

fn empty_row(peer: &Peer) -> Row {
    Row {
        name: peer.name.clone(),
        title: peer.title.clone(),
        acknowledges: peer.acknowledges.clone(),
        rounds: Vec::new(),
    }
}

/// What a bridge reached, in messages a second.
fn maximum(row: &Row) -> f64 {
    let rates: Vec<f64> = row.rounds.iter().map(|round| round.acknowledged_per_second).collect();
    Spread::of(&rates).map_or(0.0, |spread| spread.median)
}

/// A run in one line, for who watches.
fn line(figures: &Figures) -> String {
    let known = |figure: &crate::figures::Figure| {
        figure.value(figures).map(|value| format!("{}: {value:.*}", figure.title, figure.digits))
    };
    let mut parts: Vec<String> = FIGURES.iter().filter_map(known).collect();
    parts.extend(figures.marks.clone());
    parts.join("; ")
}
