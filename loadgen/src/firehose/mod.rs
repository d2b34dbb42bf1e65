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

use crate::cpu::Cost;
use crate::latency::Percentiles;
use crate::ledger::Expectation;
use crate::load::Load;
use crate::mqtt::Qos;
use crate::output::OutputError;
use crate::pace::PaceError;
use crate::traffic::{Plain, TrafficError};
use serde::{Deserialize, Serialize};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

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
    /// What is sent.
    pub plain: Plain,
    /// The most unacknowledged messages of a session (1 to 65,535); a smaller Receive Maximum of the client rules.
    pub window: u16,
    /// The QoS at which is delivered, if the subscriber does not ask for a lower one.
    pub qos: Qos,
    /// All connections are cut each time that this has passed since the start of the flood.
    pub storm: Option<Duration>,
    /// How many sessions must have subscribed before the flood starts.
    pub sessions: usize,
    /// How the run goes.
    pub load: Load,
}

/// Why a firehose ended without a report.
#[derive(Debug, thiserror::Error)]
pub enum FirehoseError {
    /// A setting is out of its range.
    #[error("{0}")]
    Config(String),
    /// What is to be sent is out of its range.
    #[error(transparent)]
    Traffic(#[from] TrafficError),
    /// The rate or its shape makes no sense.
    #[error(transparent)]
    Pace(#[from] PaceError),
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
    /// The same in full: shares of the messages, and the milliseconds that these did not exceed.
    pub latency_curve: Vec<(f64, f64)>,
    /// What the flood cost.
    #[serde(flatten)]
    pub cost: Cost,
    /// Messages sent for each CPU second of the generator.
    pub generator_messages_per_cpu_second: f64,
    /// Messages acknowledged in each second of the flood.
    pub acknowledged_each_second: Vec<u64>,
}

impl Config {
    fn check(&self) -> Result<(), FirehoseError> {
        let fail = |text: String| Err(FirehoseError::Config(text));
        if self.messages.is_none() && self.seconds.is_none() {
            return fail("give --messages, --seconds or both: a flood must end".to_owned());
        }
        self.plain.check()?;
        if self.window == 0 {
            return fail("a window of 0 would send nothing: 1 to 65535".to_owned());
        }
        if self.storm.is_some_and(|storm| storm.is_zero()) {
            return fail("a storm needs a time: connections are cut each time that it has passed".to_owned());
        }
        self.load.rate.check(self.load.shape, false)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
