//! The end-to-end tests: one binary, so that it is linked once. Those marked "real brokers" run in `tests/run`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod config_faults;
mod harness;
mod mapping;
mod mqtt_connections;
mod mqtt_packets;
mod scene;
mod tidy;
