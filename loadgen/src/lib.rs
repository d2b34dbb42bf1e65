//! Fairlead's load generator: publishes real or synthetic AIS traffic, floods a bridge as if it were the broker, and verifies
//! in Kafka that every message arrived once, in order and unchanged.
//!
//! It knows nothing of the bridge that it measures. The binary `fairlead-loadgen` is a thin shell around [`publish`],
//! [`firehose`], [`verify`] and the two ceilings, [`produce`] and [`subscribe`]; what they have in common is the [`stamp`]
//! in each payload and the [`ledger`] of what was sent and acknowledged.

pub mod ais;
pub mod clock;
pub mod cpu;
pub mod firehose;
pub mod latency;
pub mod ledger;
pub mod load;
mod mqtt;
mod net;
pub mod output;
pub mod pace;
pub mod produce;
pub mod progress;
pub mod publish;
pub mod report;
pub mod sequences;
pub mod stamp;
pub mod subscribe;
pub mod traffic;
pub mod verify;

pub use mqtt::{BrokerError, BrokerUrl, Qos, Version, Violation};
