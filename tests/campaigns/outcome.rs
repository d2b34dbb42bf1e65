//! What a run has shown.

use std::time::Duration;

use fairlead_tests::Watched;
use serde::{Deserialize, Serialize};

/// Anonymous memory that a bridge may have: the budget of both shards (64 MiB each, the default), and as much again for
/// everything that is not messages.
const MEMORY: u64 = 2 * 2 * (64 << 20);
/// Files that a bridge may have open: two shards, their sessions and librdkafka's connections, and the admin endpoint.
const FILES: usize = 256;
/// Threads that a bridge may have: two shards with a producer each, and the control plane.
const THREADS: usize = 64;
/// A fresh message arrives within this time after the last fault. 10 s is what a quiet machine keeps, and the journal has
/// the figure; one that also starts servers for other runs may take longer, and that is no fault of the bridge.
pub(crate) const LIVENESS: Duration = Duration::from_secs(30);

/// The numbers of a run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Counts {
    /// Messages sent by the load generator.
    pub(crate) published: u64,
    /// Messages that Fairlead acknowledged: set A.
    pub(crate) acked: u64,
    /// Distinct messages in Kafka: set K.
    pub(crate) in_kafka: u64,
    /// A without K.
    pub(crate) lost: u64,
    /// What the MQTT broker took over and kept, without K.
    pub(crate) missing: u64,
    /// Further records of messages in K.
    pub(crate) duplicates: u64,
    /// Most duplicates that are no fault.
    pub(crate) bound: u64,
    /// Times that the records of an MQTT topic went back to an older message: the most of any topic.
    pub(crate) reruns: u64,
    /// First occurrences behind a later message of their MQTT topic.
    pub(crate) out_of_order: u64,
    /// Records that were changed.
    pub(crate) corrupt: u64,
    /// Messages in K that were never sent.
    pub(crate) phantoms: u64,
    /// Records with another key than they should have, or keys in another partition than before.
    pub(crate) bad_keys: u64,
    /// Times that Fairlead was killed.
    pub(crate) crashes: u64,
    /// MQTT connections that Fairlead has lost.
    pub(crate) connections_lost: u64,
    /// From the end of the last fault to a fresh message in Kafka.
    pub(crate) liveness_ms: u64,
    /// Most anonymous resident memory.
    pub(crate) rss_mib: u64,
    /// Scrapes in which the ledger was looked at.
    pub(crate) scrapes: u64,
}

/// The numbers, and everything that is not as it must be.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) counts: Counts,
    pub(crate) problems: Vec<String>,
    /// The last lines that Fairlead logged.
    pub(crate) log: String,
}

/// Lines of Fairlead's log that are shown with a problem.
const TAIL: usize = 40;

impl Outcome {
    /// Keeps the end of Fairlead's log.
    pub(crate) fn keep_log(&mut self, log: &str) {
        let lines: Vec<&str> = log.lines().collect();
        self.log = lines[lines.len().saturating_sub(TAIL)..].join("\n");
    }

    /// A number that must be zero.
    pub(crate) fn none(&mut self, what: &str, number: u64) {
        self.demand(number == 0, || format!("{what}: {number}"));
    }

    /// A number that must not be above its limit.
    pub(crate) fn at_most(&mut self, what: &str, number: u64, limit: u64) {
        self.demand(number <= limit, || format!("{what}: {number}, at most {limit}"));
    }

    /// Something that must be so.
    pub(crate) fn demand(&mut self, holds: bool, problem: impl FnOnce() -> String) {
        if !holds {
            self.problems.push(problem());
        }
    }

    /// What the process took, and its ledger.
    pub(crate) fn judge_process(&mut self, watched: &Watched) {
        self.counts.rss_mib = watched.rss_anon >> 20;
        self.counts.scrapes = watched.scrapes;
        self.problems.extend(watched.imbalances.iter().cloned());
        self.demand(watched.scrapes > 0, || "the ledger was never scraped".to_owned());
        self.at_most("MiB of anonymous memory", watched.rss_anon >> 20, MEMORY >> 20);
        self.at_most("open files", watched.files as u64, FILES as u64);
        self.at_most("threads", watched.threads as u64, THREADS as u64);
    }

    pub(crate) fn judge_liveness(&mut self, took: Duration) {
        self.counts.liveness_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        self.demand(took <= LIVENESS, || format!("a fresh message took {took:.1?} after the last fault"));
    }
}
