//! Fault campaigns: many runs, each a scenario of the failure list with everything random from a seed, each judged by
//! the same checker. `tests/campaign` builds and starts it; `tests/README.md` says which fault is covered where.

#![allow(clippy::print_stdout, reason = "a command-line program")]

mod check;
mod dice;
mod disk;
mod flap;
mod fleet;
mod flood;
mod journal;
mod kafka;
mod kill;
mod mqtt;
mod outcome;
mod power;
mod scenario;
mod stage;
mod table;

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use clap::Parser;
use fairlead_tests::now;

use crate::{
    dice::Dice,
    journal::{Entry, Journal, Verdict, commit},
    outcome::{Counts, Outcome},
    scenario::{Campaign, Scenario},
    stage::{Ack, Stage},
};

/// Longest span of a fault with `--short`.
const SHORT: Duration = Duration::from_millis(2500);

/// Runs fault campaigns. Exits with 0 only if every run is green.
#[derive(Debug, Parser)]
#[command(name = "tests/campaign", max_term_width = 110)]
struct Cli {
    /// What goes wrong
    #[arg(required_unless_present_any = ["summary", "list"])]
    campaign: Option<Campaign>,
    /// Runs 0 to N-1 of the seed; those in the journal are not run again
    #[arg(long, default_value_t = 20, value_name = "N")]
    runs: u64,
    /// Decides everything that is random; a new one is taken and printed where it is left out
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// `[engine] ack` of Fairlead
    #[arg(long, default_value = "durable")]
    ack: Ack,
    /// Only this run, whether or not it is in the journal
    #[arg(long, value_name = "R")]
    run: Option<u64>,
    /// Every run is of this scenario
    #[arg(long, value_name = "NAME")]
    scenario: Option<String>,
    /// No fault lasts longer than 2.5 s, and no scenario takes long
    #[arg(long)]
    short: bool,
    /// Where runs are appended to
    #[arg(long, value_name = "FILE", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/campaigns.jsonl"))]
    journal: PathBuf,
    /// Appends nothing and skips nothing
    #[arg(long)]
    no_journal: bool,
    /// Prints what the journal holds
    #[arg(long)]
    summary: bool,
    /// Prints every scenario and the rows of the failure list that it covers
    #[arg(long)]
    list: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::from(2)
        }
    }
}

/// Whether everything is green.
fn run(cli: &Cli) -> Result<bool, String> {
    let journal = Journal::at(&cli.journal);
    if cli.summary {
        println!("{}", table::summary(&journal.entries()?));
        return Ok(true);
    }
    let Some(campaign) = cli.campaign.filter(|_| !cli.list) else {
        list();
        return Ok(true);
    };
    if campaign.needs_spool() && !cli.ack.spools() {
        return Err(format!("the campaign {} is about the spool: --ack durable or spool", campaign.name()));
    }
    let seed = cli.seed.unwrap_or_else(rand::random);
    let (name, ack, short) = (campaign.name(), cli.ack.name(), if cli.short { " --short" } else { "" });
    println!("FAIRLEAD_SEED={seed} (one run again: tests/campaign {name} --ack {ack} --seed {seed}{short} --run N)");
    let known = if cli.no_journal { Vec::new() } else { journal.entries()? };
    let runner = Runner { cli, campaign, seed, commit: commit()? };
    let mut stage = None;
    let (mut green, mut red) = (0, 0);
    let runs = cli.run.map_or(0..cli.runs, |run| run..run + 1);
    for run in runs {
        let blank = runner.blank(run, runner.scenario(run)?);
        let before = known.iter().find(|entry| entry.is_same_run(&blank)).filter(|_| cli.run.is_none());
        let entry = match before {
            Some(entry) => entry.clone(),
            None => {
                let entry = runner.perform(&mut stage, blank)?;
                if !cli.no_journal {
                    journal.append(&entry)?;
                }
                print_run(&entry);
                entry
            }
        };
        *if entry.verdict == Verdict::Green { &mut green } else { &mut red } += 1;
    }
    println!("{green} green, {red} red");
    Ok(red == 0)
}

/// What the runs of this call have in common.
#[derive(Debug)]
struct Runner<'a> {
    cli: &'a Cli,
    campaign: Campaign,
    seed: u64,
    commit: String,
}

impl Runner<'_> {
    fn scenario(&self, run: u64) -> Result<Scenario, String> {
        let Some(name) = &self.cli.scenario else { return Ok(self.campaign.scenario(self.seed, run, self.cli.short)) };
        let mut scenarios = self.campaign.scenarios().iter();
        scenarios.find(|s| s.name == name).copied().ok_or_else(|| format!("no scenario {name}; --list names them"))
    }

    fn blank(&self, run: u64, scenario: Scenario) -> Entry {
        Entry {
            campaign: self.campaign,
            scenario: scenario.name.to_owned(),
            seed: self.seed,
            run,
            commit: self.commit.clone(),
            ack: self.cli.ack,
            short: self.cli.short,
            verdict: Verdict::Red,
            problems: Vec::new(),
            counts: Counts::default(),
            seconds: 0.0,
        }
    }

    /// A run that panics is red; the servers may be in any state then, so the next one gets new ones.
    fn perform(&self, stage: &mut Option<Stage>, blank: Entry) -> Result<Entry, String> {
        let scenario = self.scenario(blank.run)?;
        let longest = if self.cli.short { SHORT } else { Duration::MAX };
        let mut dice = Dice::new(self.seed, blank.run, longest);
        let start = now();
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let stage = stage.get_or_insert_with(|| Stage::new(self.cli.ack));
            (scenario.run)(stage, &mut dice)
        }));
        let outcome = outcome.unwrap_or_else(|panic| {
            *stage = None;
            Outcome { problems: vec![message(&*panic)], ..Outcome::default() }
        });
        let verdict = if outcome.problems.is_empty() { Verdict::Green } else { Verdict::Red };
        if verdict == Verdict::Red && !outcome.log.is_empty() {
            eprintln!("-- last lines of fairlead:\n{}", outcome.log);
        }
        let seconds = ((now() - start).as_secs_f64() * 10.0).round() / 10.0;
        Ok(Entry { verdict, problems: outcome.problems, counts: outcome.counts, seconds, ..blank })
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without a message").to_owned()
}

fn print_run(entry: &Entry) {
    let Entry { run, scenario, counts, seconds, .. } = entry;
    println!(
        "{:4} {scenario:16} {:5} {seconds:5.1} s  acknowledged {}, duplicates {} of {}, crashes {}, lost connections {}, \
         liveness {} ms",
        run,
        if entry.verdict == Verdict::Green { "green" } else { "RED" },
        counts.acked,
        counts.duplicates,
        counts.bound,
        counts.crashes,
        counts.connections_lost,
        counts.liveness_ms,
    );
    for problem in &entry.problems {
        println!("     - {problem}");
    }
}

fn list() {
    for campaign in [Campaign::Kill, Campaign::Power, Campaign::Disk, Campaign::Kafka, Campaign::Mqtt] {
        let mut named = Vec::new();
        for scenario in campaign.scenarios() {
            if !named.contains(&scenario.name) {
                named.push(scenario.name);
                println!("{:6} {:18} {}", campaign.name(), scenario.name, scenario.rows);
            }
        }
    }
}
