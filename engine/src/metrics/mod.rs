//! Counters, gauges, histograms and the ledger: closed enums, cells of one writer for each shard, read by the
//! control thread; and the status board of sessions, topics and shards.
//!
//! A shard sums up what the batches of a turn came to, and once a turn calls [`ShardMetrics::begin_turn`], publishes
//! the sums, and calls [`ShardMetrics::end_turn`] and [`ShardMetrics::heartbeat`]. Nothing here is called for each
//! message.

mod export;
mod health;
mod labels;
mod ledger;
mod names;
mod shard;
mod stage;
mod status;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

pub use export::{CONTENT_TYPE, Reading, Scrape};
pub use health::Health;
pub(crate) use labels::shorten;
pub use ledger::{Account, Imbalance, Ledger, Snapshot};
pub use names::{BOUNDS, Bound, Counter, Described, Entry, Gauge, Size, Stage};
pub use shard::ShardMetrics;
pub use stage::Quantiles;
pub use status::{
    Board, CONTROL, KafkaStatus, MAX_TOPICS, SessionState, SessionStatus, SpoolStatus, Status, TopicState, TopicStatus,
};

/// Longest time between two heartbeats of a shard, also of an idle one.
pub const HEARTBEAT: Duration = Duration::from_secs(2);
/// A shard whose heartbeat has not moved for this long is not live.
pub const LIVE_WITHIN: Duration = Duration::from_secs(10);
const _: () = assert!(LIVE_WITHIN.as_secs() >= 4 * HEARTBEAT.as_secs());

/// The label of messages of no route.
pub const NO_ROUTE: &str = "none";

/// What there is to be measured; all label values come from here.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Number of shards.
    pub shards: usize,
    /// Labels of the routes, in order: their filters' text. Cut at 64 bytes and made unique.
    pub routes: Vec<String>,
    /// The sessions; their position here is their index in the status board.
    pub sessions: Vec<SessionLabel>,
}

/// The labels of one MQTT session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionLabel {
    /// Name of the source.
    pub source: String,
    /// Client identifier.
    pub client_id: String,
    /// The shard that owns the session.
    pub shard: usize,
}

/// All that is measured. Shards write, each its own [`ShardMetrics`]; the control thread reads.
#[derive(Debug)]
pub struct Metrics {
    /// With bounded, unique labels.
    layout: Layout,
    shards: Box<[ShardMetrics]>,
    status: Status,
}

impl Metrics {
    /// Cells for everything in `layout`, all zero.
    #[must_use]
    pub fn new(layout: Layout) -> Arc<Metrics> {
        let status = Status::new(&layout);
        let routes = labels::unique(&[NO_ROUTE], layout.routes.iter().map(String::as_str));
        let sources = layout.sessions.iter().map(|session| shorten(&session.source, labels::MAX_BYTES));
        let client_ids = labels::unique(&[], layout.sessions.iter().map(|session| session.client_id.as_str()));
        let sessions = sources
            .zip(client_ids)
            .zip(&layout.sessions)
            .map(|((source, client_id), session)| SessionLabel { source, client_id, shard: session.shard })
            .collect();
        Arc::new(Metrics {
            shards: (0..layout.shards).map(|_| ShardMetrics::new(routes.len())).collect(),
            layout: Layout { shards: layout.shards, routes, sessions },
            status,
        })
    }

    /// The cells of shard `index`.
    ///
    /// # Panics
    /// If there is no such shard.
    #[must_use]
    pub fn shard(&self, index: usize) -> &ShardMetrics {
        &self.shards[index]
    }

    /// All shards' cells, in order.
    pub fn shards(&self) -> impl ExactSizeIterator<Item = &ShardMetrics> {
        self.shards.iter()
    }

    /// The layout, its labels bounded and unique.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The status board.
    #[must_use]
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// A counter, summed over shards.
    #[must_use]
    pub fn total(&self, counter: Counter) -> u64 {
        self.shards().map(|shard| shard.counter(counter)).fold(0, u64::saturating_add)
    }

    /// A gauge, summed over shards.
    #[must_use]
    pub fn level(&self, gauge: Gauge) -> u64 {
        self.shards().map(|shard| shard.gauge(gauge)).fold(0, u64::saturating_add)
    }

    /// Quantiles of a stage over all shards since the start.
    #[must_use]
    pub fn quantiles(&self, stage: Stage) -> Quantiles {
        let mut all = stage::StageHistogram::times();
        for shard in self.shards() {
            shard.stage(stage, |histogram| histogram.merge_into(&mut all));
        }
        all.quantiles()
    }
}
