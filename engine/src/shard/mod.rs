//! One shard: one core, one executor, its sessions and its lane. Only this folder and the control plane name the
//! executor's crate.
//!
//! `executor` starts the shards, `connection` drives one session's socket, `intake` takes a PUBLISH to its lane,
//! `receipts` takes what the lane says back to the sessions, `events` tells people.

mod alarm;
mod bell;
pub mod clock;
mod connection;
mod dial;
mod events;
mod executor;
mod ids;
mod intake;
mod pump;
mod reach;
mod receipts;
mod said;
mod spooling;
mod state;
mod tally;

pub(crate) use dial::dial;
pub use executor::{Remains, ShardError, Shards};
#[cfg(test)]
pub(crate) use tally::Tally;
