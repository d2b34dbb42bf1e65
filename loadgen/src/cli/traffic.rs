//! What `publish` and `kafka` send, and the topics of `firehose`.

use clap::ArgGroup;
use fairlead_loadgen::traffic::{self, Fleet};
use std::path::PathBuf;

#[derive(Debug, Clone, clap::Args)]
#[command(group = ArgGroup::new("traffic").required(true))]
pub(super) struct Traffic {
    /// The AIS sentences recorded in these files, over and over
    #[arg(long, value_name = "FILE", num_args = 1.., group = "traffic")]
    nmea: Vec<PathBuf>,
    /// The reports of this many synthetic vessels: the first 100,000, over and over
    #[arg(long, value_name = "VESSELS", group = "traffic")]
    fleet: Option<u32>,
    /// The same seed gives the same fleet
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Payloads of so many bytes, at least 16
    #[arg(long, group = "traffic")]
    size: Option<usize>,
    #[command(flatten)]
    topics: Topics,
}

#[derive(Debug, Clone, clap::Args)]
pub(super) struct Topics {
    /// Number of topics
    #[arg(long, default_value_t = 1_000)]
    topics: u32,
    /// Topic names, with n in braces where the number of the topic stands
    #[arg(long, default_value = "fire/{n}")]
    topic_pattern: String,
}

impl Traffic {
    pub(super) fn traffic(&self) -> traffic::Traffic {
        match (self.fleet, self.size) {
            (Some(vessels), _) => traffic::Traffic::Fleet(Fleet { vessels, seed: self.seed }),
            (None, Some(size)) => traffic::Traffic::Plain(self.topics.plain(size)),
            (None, None) => traffic::Traffic::Recorded(self.nmea.clone()),
        }
    }
}

impl Topics {
    /// Payloads of one size to them.
    pub(super) fn plain(&self, size: usize) -> traffic::Plain {
        traffic::Plain { size, topics: self.topics, pattern: self.topic_pattern.clone() }
    }
}
