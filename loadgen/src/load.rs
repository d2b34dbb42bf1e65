//! What every generator is told besides what it sends: how fast, under which run id, and what is kept of the run.

use crate::cpu::NamedProcess;
use crate::pace::{Rate, Shape};
use std::path::PathBuf;

/// How a run goes.
#[derive(Debug, Clone)]
pub struct Load {
    /// How fast messages are sent.
    pub rate: Rate,
    /// How that rate is spread over the time.
    pub shape: Shape,
    /// The run id of the stamps.
    pub run_id: u32,
    /// Where to keep the log of acknowledgements, rewritten every second; by a producer written at the end.
    pub ack_log: Option<PathBuf>,
    /// Processes whose CPU and memory are sampled during the run.
    pub processes: Vec<NamedProcess>,
}

impl Load {
    /// As fast as it goes, and nothing is kept or sampled.
    #[must_use]
    pub fn new(run_id: u32) -> Self {
        Self { rate: Rate::Max, shape: Shape::Steady, run_id, ack_log: None, processes: Vec::new() }
    }
}
