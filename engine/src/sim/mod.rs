//! The simulation: one Fairlead process in virtual time between a model of the MQTT broker and a model of Kafka, on a
//! disk in memory, with faults in every layer.
//!
//! ```text
//!  broker ◀── bytes ──▶ process: Session · Lane · Side · Store · Spool ──── records ──▶ kafka
//!     ▲                     │ jobs                                             ▲
//!     └─ fault ─────────────┴── disk::Memory ───────────────── fault ──────────┘
//! ```
//!
//! Real are the session with its codec, the lane and what is beside it (the spool and the parked partitions, each with its
//! siding, store and log), the tally and the ledger; modelled
//! are the broker, the network, librdkafka and Kafka, the disk, and the few lines of the drivers that carry one to the
//! other (`slot`, `line`). A seed decides everything: the configuration, what is published, the latencies and the faults
//! (`plan`); so one seed gives one run. The `checker` holds the promises of the design against what happens, at every
//! step where it can, and at the end.
//!
//! Every `cargo test` runs new seeds for 30 s. `FAIRLEAD_SEED=… cargo test … sim::` replays one seed and prints what
//! happened; `FAIRLEAD_SEEDS=1000000` runs so many new ones and appends a line to `tests/simulation.jsonl`. A seed that
//! breaks a promise is printed, and the end of its trace with the first.

mod broker;
mod checker;
mod context;
mod disk;
mod kafka;
mod line;
mod packets;
mod plan;
mod process;
mod slot;
mod tests;
mod world;
