//! Arranges fair benchmark runs of MQTT to Kafka bridges. There is no stopwatch here: `fairlead-loadgen` measures.

#![allow(clippy::print_stdout, reason = "a command-line program")]

mod arrival;
mod bridge;
mod campaign;
mod fault;
mod figures;
mod files;
mod generator;
mod noise;
mod peer;
mod placeholder;
mod record;
mod run;
mod scenario;
mod stage;
mod statistics;
mod table;
mod wait;

use crate::campaign::{Campaign, Settings};
use crate::peer::{Folders, Peer};
use crate::run::Changes;
use crate::scenario::Scenario;
use crate::stage::Stage;
use crate::wait::Stop;
use anyhow::{Result, ensure};
use clap::Parser;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// What `all` stands for.
const ALL: [&str; 3] = ["canonical", "article", "outage"];

/// The bridges where none is named: Fairlead against two peers that acknowledge after Kafka, too.
const BRIDGES: [&str; 3] = ["fairlead", "telegraf", "rust"];

const AFTER_HELP: &str = "\
A bridge is the name of a folder in perf/peers, or command:LINE for any other; in LINE stand
{mqtt} {mqtt_host} {mqtt_port} {kafka} {topic} {window} {qos} {folder}. The first is what the others are compared with.";

#[derive(Debug, Parser)]
#[command(name = "perf/run", about, after_help = AFTER_HELP, max_term_width = 110)]
struct Cli {
    /// A file in perf/scenarios, or all: canonical, article and outage
    scenario: String,
    /// Bridges, run in turn [default: fairlead telegraf rust]
    bridges: Vec<String>,
    /// Runs of each bridge in each case [default: the scenario's, mostly 5]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// Only these cases of the scenario
    #[arg(long, value_name = "NAME")]
    case: Vec<String>,
    /// Messages of a run, in place of the scenario's
    #[arg(long)]
    messages: Option<u64>,
    /// A run is repeated, at most twice, when others used more than this share of the machine
    #[arg(long, default_value_t = 5.0, value_name = "PERCENT")]
    noise: f64,
    /// Start with a Kafka that has only just started
    #[arg(long)]
    no_warm_up: bool,
    /// Longest run
    #[arg(long, default_value_t = 900, value_name = "SECONDS")]
    limit: u64,
    /// A command that the bridge is started under, such as a profiler; words are split at spaces
    #[arg(long, default_value = "", value_name = "COMMAND")]
    under: String,
}

fn main() -> ExitCode {
    // The harness panics where a test would fail: Kafka does not start, a port is taken. Here that is an error as any
    // other, and what was started dies with this process.
    std::panic::set_hook(Box::new(|panic| {
        let text = panic.payload_as_str().unwrap_or("a panic without a text");
        eprintln!("error: {text}");
        std::process::exit(1);
    }));
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    let stop = Stop::on_signal()?;
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let names = if cli.scenario == "all" { ALL.to_vec() } else { vec![cli.scenario.as_str()] };
    let load = |name: &&str| Scenario::load(&root.join("scenarios"), name)?.only(&cli.case);
    let scenarios: Vec<Scenario> = names.iter().map(load).collect::<Result<_>>()?;
    let peers = peers(&root, &cli.bridges, &scenarios)?;
    let settings = Settings {
        rounds: cli.rounds,
        noise: cli.noise / 100.0,
        warm_up: !cli.no_warm_up,
        changes: Changes {
            messages: cli.messages,
            limit: Duration::from_secs(cli.limit),
            under: cli.under.split_whitespace().map(str::to_owned).collect(),
        },
    };
    let stage = Stage::start(stop)?;
    let results = root.join("results");
    let mut campaign = Campaign { stage, settings: &settings, peers: &peers, results: &results };
    campaign.warm_up(&scenarios[0])?;
    for (name, scenario) in names.iter().zip(&scenarios) {
        println!("{}", campaign.run(name, scenario)?);
    }
    Ok(())
}

/// The bridges, checked and installed.
fn peers(root: &std::path::Path, names: &[String], scenarios: &[Scenario]) -> Result<Vec<Peer>> {
    let names: Vec<&str> = if names.is_empty() { BRIDGES.to_vec() } else { names.iter().map(String::as_str).collect() };
    for (place, name) in names.iter().enumerate() {
        ensure!(!names[..place].contains(name), "{name} is named twice");
    }
    let folders = Folders { peers: root.join("peers"), installed: root.join(".peers") };
    let peers: Vec<Peer> = names.iter().map(|name| Peer::load(&folders, name)).collect::<Result<_>>()?;
    for peer in &peers {
        scenarios.iter().try_for_each(|scenario| peer.check(scenario))?;
    }
    for peer in &peers {
        peer.install()?;
    }
    Ok(peers)
}
