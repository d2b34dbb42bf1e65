//! What `publish` and `firehose` share: how fast, under which run id, and where the result goes.

use super::{Error, Exit, print_line, summary};
use fairlead_loadgen::output::write_json;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// A rate, or none for as fast as possible.
type Rate = Option<f64>;

#[derive(Debug, clap::Args)]
pub(super) struct Load {
    /// Messages a second in all, open loop: latency counts from the intended send time; or `max`
    #[arg(long, default_value = "max", value_parser = parse_rate)]
    pub(super) rate: Rate,
    /// Run id in the stamps
    #[arg(long, default_value_t = 1)]
    pub(super) run_id: u32,
    /// Write the result as JSON, with what `verify --expect` needs
    #[arg(long, value_name = "FILE")]
    pub(super) result: Option<PathBuf>,
    /// Keep the log of acknowledgements here, rewritten every second
    #[arg(long, value_name = "FILE")]
    pub(super) ack_log: Option<PathBuf>,
}

/// Writes the report to the file and its summary to the standard output.
pub(super) fn tell(result: Option<&Path>, report: &impl Serialize, complete: bool) -> Result<Exit, Error> {
    if let Some(path) = result {
        write_json(path, report)?;
    }
    print_line(&summary(report))?;
    Ok(if complete { Exit::Ok } else { Exit::Incomplete })
}

fn parse_rate(text: &str) -> Result<Rate, String> {
    if text == "max" {
        return Ok(None);
    }
    match text.parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate > 0.0 => Ok(Some(rate)),
        _ => Err("a number of messages a second above 0, or `max`".to_owned()),
    }
}
