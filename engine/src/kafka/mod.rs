//! The Kafka side: only this folder names rdkafka.
//!
//! [`Producer`] carries a shard's records, [`Resolver`] is the control plane's client that finds and creates topics,
//! [`Topics`] is what it found. [`Resend`] sends records again for a command.

mod bootstrap;
mod client;
mod config;
mod delivery;
mod in_flight;
#[expect(unsafe_code, reason = "librdkafka's C interface; each block says why it is sound")]
mod raw;
mod resend;
mod topics;

pub use bootstrap::is_reminder_due;
pub use client::{ClientError, Durability, Resolver};
pub use config::{ConfigError, ProducerError, check_property};
pub use delivery::{Event, HoldReason, Report, Verdict};
pub use raw::Producer;
pub use resend::{Again, Resend, Sent, Target};
pub use topics::{Directory, MAX_TOPICS, Topics};
