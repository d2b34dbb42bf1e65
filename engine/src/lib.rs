//! Fairlead moves MQTT messages into Apache Kafka.
//!
//! A message travels `shard` (socket) → `mqtt` → `route` → `ring` (if another shard owns the partition) → `lane` →
//! `kafka`; its receipt travels back and becomes the PUBACK.

pub mod admin;
pub mod bridge;
pub mod cli;
mod control;
mod dead_letter;
#[cfg(feature = "demo")]
mod demo;
pub mod kafka;
pub mod lane;
pub mod logging;
pub mod message;
pub mod metrics;
pub mod mqtt;
mod probe;
pub mod ring;
pub mod route;
pub mod settings;
pub mod shard;
#[cfg(test)]
mod sim;
mod slice;
pub mod spool;
pub mod subscriptions;
