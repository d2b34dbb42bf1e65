//! The Kafka side: only this folder names rdkafka.
//!
//! [`Producer`] carries a shard's records, [`Resolver`] is the control plane's client that finds and creates topics,
//! [`Topics`] is what it found.

mod client;
mod config;
mod delivery;
#[expect(unsafe_code, reason = "librdkafka's C interface; each block says why it is sound")]
mod raw;
mod topics;

pub use client::{ClientError, Resolver};
pub use config::{ConfigError, check_property};
pub use delivery::{HoldReason, Verdict};
pub use raw::{Event, Producer, ProducerError, Report};
pub use topics::{Directory, MAX_TOPICS, Topics};
