//! The firehose: plays the MQTT broker itself and floods its subscribers through their acknowledgement window, so that a
//! bridge, and not a broker, is measured.
//!
//! Persistent sessions, `$share` groups and Receive Maximum are honoured; a subscriber that comes back gets what it
//! had not acknowledged again, in order, with DUP set, before anything new. What a broker would keep in memory is
//! arithmetic here (`queue`), so the cost of a message is a copy, a checksum and a slot in a ring.

mod broker;
mod in_flight;
mod packets;
mod queue;
mod server;
mod session;

pub use server::Firehose;

use crate::cpu::{NamedProcess, ProcessUsage};
use crate::latency::Percentiles;
use crate::ledger::Expectation;
use crate::mqtt::{LAST_PACKET_ID, Qos};
use crate::output::OutputError;
use crate::stamp::STAMP_LEN;
use serde::{Deserialize, Serialize};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The most topics of a run; each costs about two payloads of memory.
pub const MAX_TOPICS: u32 = 1_000_000;

/// The largest payload, in bytes.
pub const MAX_SIZE: usize = 1 << 20;

/// What a firehose shall do.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Messages in all, dealt to the topics in turn; none: until `seconds` are over.
    pub messages: Option<u64>,
    /// Sends nothing new after this time from the start of the flood.
    pub seconds: Option<Duration>,
    /// How long acknowledgements are waited for after `seconds`.
    pub drain: Duration,
    /// Bytes of a payload: [`STAMP_LEN`] to [`MAX_SIZE`].
    pub size: usize,
    /// How many topics: 1 to [`MAX_TOPICS`].
    pub topics: u32,
    /// The topic names; `{n}` is replaced by 0, 1, 2 and so on.
    pub topic_pattern: String,
    /// The most unacknowledged messages of a session (1 to 65,535); a smaller Receive Maximum of the client rules.
    pub window: u16,
    /// The QoS at which is delivered, if the subscriber does not ask for a lower one.
    pub qos: Qos,
    /// Messages a second in all (open loop); none: as fast as the windows allow.
    pub rate: Option<f64>,
    /// How many sessions must have subscribed before the flood starts.
    pub sessions: usize,
    /// The run id of the stamps.
    pub run_id: u32,
    /// Where to keep the log of acknowledgements, rewritten every second.
    pub ack_log: Option<PathBuf>,
    /// Processes whose CPU and memory are sampled during the flood.
    pub processes: Vec<NamedProcess>,
}

/// Why a firehose ended without a report.
#[derive(Debug, thiserror::Error)]
pub enum FirehoseError {
    /// A setting is out of its range.
    #[error("{0}")]
    Config(String),
    /// The address is taken or not ours.
    #[error("cannot listen on {address}: {cause}; choose another address, or port 0 for a free one")]
    Listen {
        /// The address that was asked for.
        address: SocketAddr,
        /// What the system said.
        cause: io::Error,
    },
    /// The system refused something else.
    #[error("the firehose cannot go on: {0}")]
    System(#[from] io::Error),
    /// The log of acknowledgements could not be written.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// Nobody subscribed to what would be sent.
    #[error("none of the subscribed filters ({filters}) matches a topic of the run (the first is `{first}`)")]
    NothingSubscribed {
        /// The filters, with commas.
        filters: String,
        /// The first topic of the run.
        first: String,
    },
}

/// What happened, as it is written to the result file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// What was sent to each topic.
    #[serde(flatten)]
    pub expected: Expectation,
    /// Whether all messages that should be sent were sent and acknowledged.
    pub complete: bool,
    /// Messages sent, each counted once.
    pub sent: u64,
    /// Messages acknowledged (QoS 1: PUBACK, QoS 2: PUBREC), each counted once.
    pub acknowledged: u64,
    /// Messages sent again after a reconnect.
    pub redelivered: u64,
    /// Messages that the subscriber refused with a reason code of 0x80 or more.
    pub refused: u64,
    /// Unacknowledged messages of sessions that the subscriber gave up (clean start, no expiry).
    pub discarded: u64,
    /// Acknowledgements that overtook an older message's (MQTT 5.0 §4.6 forbids that).
    pub acks_out_of_order: u64,
    /// Acknowledgements of packet identifiers that were not in use.
    pub acks_unknown: u64,
    /// Connections accepted.
    pub connections: u64,
    /// Connections closed for a violation of the protocol.
    pub violations: u64,
    /// Connections closed because nothing came for one and a half times the keep-alive time.
    pub keep_alive_timeouts: u64,
    /// Topics of the run that nobody subscribed to.
    pub topics_without_subscriber: u64,
    /// Seconds from the first to the last acknowledgement (QoS 0: from the first to the last write).
    pub seconds: f64,
    /// Messages a second over that time.
    pub messages_per_second: f64,
    /// From the stamp (open loop: the intended send time) to the acknowledgement.
    pub latency: Percentiles,
    /// CPU seconds of the generator itself during the flood.
    pub generator_cpu_seconds: f64,
    /// Messages sent for each CPU second of the generator.
    pub generator_messages_per_cpu_second: f64,
    /// What the sampled processes used during the flood.
    pub processes: Vec<ProcessUsage>,
    /// Messages acknowledged in each second of the flood.
    pub acknowledged_each_second: Vec<u64>,
}

impl Config {
    fn check(&self) -> Result<(), FirehoseError> {
        let fail = |text: String| Err(FirehoseError::Config(text));
        if self.messages.is_none() && self.seconds.is_none() {
            return fail("give --messages, --seconds or both: a flood must end".to_owned());
        }
        if !(STAMP_LEN..=MAX_SIZE).contains(&self.size) {
            return fail(format!("a payload of {} bytes is not possible: {STAMP_LEN} to {MAX_SIZE}", self.size));
        }
        if !(1..=MAX_TOPICS).contains(&self.topics) {
            return fail(format!("{} topics are not possible: 1 to {MAX_TOPICS}", self.topics));
        }
        if self.topics > 1 && !self.topic_pattern.contains("{n}") {
            return fail(format!(
                "the topic pattern `{}` needs {{n}} to name {} topics",
                self.topic_pattern, self.topics
            ));
        }
        if self.topic_pattern.is_empty() || self.topic_pattern.contains(['#', '+', '\0']) {
            return fail(format!("`{}` is not a topic: wildcards are for filters", self.topic_pattern));
        }
        if self.topic_pattern.len() > usize::from(LAST_PACKET_ID) - 8 {
            return fail("the topic pattern is longer than a topic may be".to_owned());
        }
        if self.window == 0 {
            return fail("a window of 0 would send nothing: 1 to 65535".to_owned());
        }
        if self.rate.is_some_and(|rate| !rate.is_finite() || rate <= 0.0) {
            return fail("the rate must be above 0; leave it out for as fast as possible".to_owned());
        }
        Ok(())
    }

    fn topic_names(&self) -> Vec<String> {
        (0..self.topics).map(|number| self.topic_pattern.replace("{n}", &number.to_string())).collect()
    }
}

#[cfg(test)]
mod tests;
