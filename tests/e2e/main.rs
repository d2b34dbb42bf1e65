//! The end-to-end tests: one binary, so that it is linked once. Those marked "real brokers" run in `tests/run`.

#![allow(clippy::print_stdout, reason = "figures of a test, shown by --nocapture")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod bench;
mod campaigns;
mod config_faults;
mod crash;
mod dead_letters;
mod demo;
mod disk_faults;
mod harness;
mod kafka_cluster;
mod kafka_faults;
mod line;
mod load;
mod mapping;
mod metrics;
mod mqtt_brokers;
mod mqtt_connections;
mod mqtt_packets;
mod overlaps;
mod packet_ids;
mod parked;
mod process_faults;
mod retire;
mod scene;
mod shutdown;
mod spool;
mod spool_commands;
mod subscriptions;
mod tap;
mod tidy;
mod upgrade;
