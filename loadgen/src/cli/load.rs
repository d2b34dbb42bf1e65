//! What `publish` and `firehose` share: how fast, under which run id, and where the result goes.

use super::{Error, Exit, parse_seconds, print_line, summary};
use fairlead_loadgen::clock::{Clock, SECOND};
use fairlead_loadgen::cpu::{NamedProcess, ProcessRef};
use fairlead_loadgen::load;
use fairlead_loadgen::output::{OutputError, check, write_json};
use fairlead_loadgen::pace::{Rate, Shape};
use serde::Serialize;
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
pub(super) struct Load {
    /// Messages a second in all, open loop: latency counts from the intended send time; `real`: as a fleet's vessels
    /// report; or `max`
    #[arg(long, default_value = "max", value_parser = parse_rate)]
    rate: Rate,
    /// How the rate is spread: steady, ramp:SECONDS, burst:MESSAGES or on-off:SECONDS,SECONDS
    #[arg(long, default_value = "steady", value_parser = parse_shape)]
    shape: Shape,
    /// Run id in the stamps; default: from the clock
    #[arg(long)]
    run_id: Option<u16>,
    /// Write the result as JSON, with what `verify --expect` needs
    #[arg(long, value_name = "FILE")]
    pub(super) result: Option<PathBuf>,
    /// Keep the log of acknowledgements here, rewritten every second
    #[arg(long, value_name = "FILE")]
    ack_log: Option<PathBuf>,
    /// The bridge, whose CPU and memory are sampled during the run; @FILE holds the id and is read at each sample
    #[arg(long, value_name = "PID|@FILE")]
    pid: Option<ProcessRef>,
    /// More processes to sample
    #[arg(long, value_name = "NAME=PID|@FILE", value_delimiter = ',')]
    sample_pids: Vec<NamedProcess>,
}

impl Load {
    /// Whether everything that is to be kept can be written, asked before the run.
    pub(super) fn check(&self) -> Result<(), OutputError> {
        self.result.iter().chain(&self.ack_log).try_for_each(|path| check(path))
    }

    pub(super) fn load(&self) -> load::Load {
        let bridge = self.pid.clone().map(|process| NamedProcess { name: "bridge".to_owned(), process });
        load::Load {
            rate: self.rate,
            shape: self.shape,
            run_id: self.run_id(),
            ack_log: self.ack_log.clone(),
            processes: bridge.into_iter().chain(self.sample_pids.clone()).collect(),
        }
    }

    /// The run id that was asked for, or one that differs from those of earlier runs.
    fn run_id(&self) -> u32 {
        self.run_id.unwrap_or_else(|| (Clock::start().now() / SECOND % (1 << 16)).try_into().unwrap_or_default()).into()
    }
}

/// Writes the summary of the report to the standard output, and then the report to the file: of a run whose file cannot
/// be written so much is left.
pub(super) fn tell(result: Option<&Path>, report: &impl Serialize, complete: bool) -> Result<Exit, Error> {
    print_line(&summary(report))?;
    if let Some(path) = result {
        write_json(path, report)?;
    }
    Ok(if complete { Exit::Ok } else { Exit::Incomplete })
}

fn parse_rate(text: &str) -> Result<Rate, String> {
    match (text, text.parse::<f64>()) {
        ("max", _) => Ok(Rate::Max),
        ("real", _) => Ok(Rate::Real),
        (_, Ok(rate)) if rate.is_finite() && rate > 0.0 => Ok(Rate::PerSecond(rate)),
        _ => Err("a number of messages a second above 0, `real` or `max`".to_owned()),
    }
}

fn parse_shape(text: &str) -> Result<Shape, String> {
    let (name, value) = text.split_once(':').unwrap_or((text, ""));
    match name {
        "steady" if value.is_empty() => Some(Shape::Steady),
        "ramp" => parse_seconds(value).ok().map(Shape::Ramp),
        "burst" => value.parse().ok().map(Shape::Burst),
        "on-off" => value
            .split_once(',')
            .and_then(|(on, off)| Some(Shape::OnOff(parse_seconds(on).ok()?, parse_seconds(off).ok()?))),
        _ => None,
    }
    .ok_or_else(|| "steady, ramp:SECONDS, burst:MESSAGES or on-off:SECONDS,SECONDS".to_owned())
}
