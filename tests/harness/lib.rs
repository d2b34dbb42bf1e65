//! What the end-to-end tests stand on: real servers on free ports of 127.0.0.1, the two binaries under test, a proxy
//! and a scripted broker that do to a connection what networks and brokers do, and waiting for facts.
//!
//! Everything that is started here is stopped when it is dropped, and dies with the test process.

mod client;
mod config;
mod evil;
mod fairlead;
mod http;
mod image;
mod kafka;
mod kafka_client;
mod kafka_cluster;
mod kafka_node;
mod loadgen;
pub mod metric;
mod mosquitto;
mod mount;
mod notes;
mod port;
mod process;
mod proxy;
mod pump;
mod scan;
mod scratch;
mod tap;
mod wait;
mod wall_clock;
mod watch;

pub mod wire;

pub use client::Client;
pub use config::Config;
pub use evil::{Connection, EvilBroker, Flood};
pub use fairlead::{Fairlead, Finished, fairlead, fairlead_path};
pub use http::{Metrics, Response, get};
pub use image::{Image, Shutdown};
pub use kafka::{Kafka, MockKafka};
pub use kafka_client::{KafkaClient, Record};
pub use kafka_cluster::KafkaCluster;
pub use loadgen::{Loadgen, recorded_ais};
pub use mosquitto::Mosquitto;
pub use mount::Mount;
pub use notes::Packet;
pub use port::free_port;
pub use process::Process;
pub use proxy::{Direction, Proxy};
pub use scratch::{Scratch, unique};
pub use tap::Tapped;
pub use wait::{during, now, pause, wait_for, wait_until, wall};
pub use wall_clock::WallClock;
pub use watch::{Watch, Watched};
