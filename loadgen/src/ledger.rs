//! What a run sent and what was acknowledged: the two sides against which `verify` holds Kafka.

use crate::output::{self, OutputError};
use crate::sequences::Sequences;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The topics of a run and how many messages each was sent; part of a result file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expectation {
    /// The run id of the stamps.
    pub run_id: u32,
    /// The MQTT topic of each publisher; the index is the publisher's number.
    pub topics: Vec<String>,
    /// The messages sent by each publisher: its sequences 0 to this, exclusive.
    #[serde(rename = "sent_by_topic")]
    pub sent: Vec<u64>,
}

impl Expectation {
    /// All messages of the run.
    pub fn total(&self) -> u64 {
        self.sent.iter().sum()
    }
}

/// Which messages the receiver has acknowledged, for each publisher.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AckLog {
    /// The run id of the stamps.
    pub run_id: u32,
    /// The acknowledged sequences; the index is the publisher's number.
    pub acknowledged: Vec<Sequences>,
}

impl AckLog {
    /// An empty log for `publishers` publishers.
    pub fn new(run_id: u32, publishers: usize) -> Self {
        Self { run_id, acknowledged: vec![Sequences::default(); publishers] }
    }

    /// Notes an acknowledgement; false if it was noted before.
    #[inline]
    pub fn record(&mut self, publisher: u32, sequence: u64) -> bool {
        self.acknowledged[publisher as usize].insert(sequence)
    }

    /// Writes the log; a reader finds the former one or this one, never a part.
    ///
    /// # Errors
    /// [`OutputError::Write`].
    pub fn save(&self, path: &Path) -> Result<(), OutputError> {
        output::write_json(path, self)
    }

    /// Reads a log that [`AckLog::save`] wrote.
    ///
    /// # Errors
    /// [`OutputError::Read`] or [`OutputError::Format`].
    pub fn load(path: &Path) -> Result<Self, OutputError> {
        output::read_json(path, "log of acknowledgements")
    }
}
