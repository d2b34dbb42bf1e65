//! When the lane leaves the straight line, and when it comes back.
//!
//! ```text
//!            nothing is confirmed                1 s, and Kafka confirms again
//!   Direct ──────────────────────▶ Spilling ────────────────────────────────▶ Draining
//!      ▲                              ▲          nothing is confirmed            │  │
//!      │                              └──────────────────────────────────────────┘  │
//!      └────────────────────────────────────────────────────────────────────────────┘
//!                       replay has handed over the last record appended
//! ```
//!
//! - *Direct*: what comes is handed to librdkafka. With `ack = "spool"` it is appended first.
//! - *Spilling*: what comes is appended. What is inside librdkafka or before it is appended first, once, in order (the
//!   sweep); inside librdkafka it becomes a *shadow*: its report still counts.
//! - *Draining*: what comes is appended, and replay reads the spool from the oldest record that has not ended. What
//!   ended meanwhile is skipped; a partition whose shadows are not reported waits.

use std::time::{Duration, Instant};

/// Nothing was confirmed for so long while a session may not send more: Kafka is away.
pub const SPILL_AFTER: Duration = Duration::from_millis(25);
/// The oldest batch was not confirmed for so long: Kafka is away.
pub const OLDEST: Duration = Duration::from_millis(250);
/// Shortest time off the straight line.
pub const LEAST: Duration = Duration::from_secs(1);
/// Records that replay may be behind when the lane stops appending to let it catch up.
pub const CLOSE: u64 = 8192;
/// How long it stops appending at most.
pub const CLOSING: Duration = Duration::from_millis(25);
/// How often the oldest batch is looked for.
pub(super) const LOOK: Duration = Duration::from_millis(50);

/// What the lane does with what comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It goes straight to Kafka.
    Direct,
    /// It goes to the spool.
    Spilling {
        /// Since when.
        since: Instant,
    },
    /// It goes to the spool, and what lies there goes to Kafka.
    Draining {
        /// Since when.
        since: Instant,
        /// Since when nothing is appended, so that replay catches up.
        closing: Option<Instant>,
    },
}

/// What goes into the spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spooling {
    /// Nothing: there is no spool.
    Never,
    /// What Kafka does not confirm in time.
    Outage,
    /// Everything, before it goes to Kafka.
    Always,
}
