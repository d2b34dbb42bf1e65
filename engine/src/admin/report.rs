//! The page of `/status`: one look tells whether all is well, the rest tells why.

use std::{collections::BTreeMap, time::Instant};

use serde::Serialize;

use super::{rates::PerSecond, state::State};
use crate::metrics::{
    BOUNDS, Board, Counter, KafkaStatus, Ledger, Metrics, Quantiles, SessionLabel, SessionStatus, Stage,
};

/// Everything, in the order of reading.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// Nothing is degraded.
    well: bool,
    /// What is not as it should be, one reason each.
    degraded: Vec<String>,
    version: &'static str,
    uptime_seconds: u64,
    rates: PerSecond,
    sessions: Vec<Session>,
    topics: Vec<Topic>,
    topics_omitted: u64,
    shards: Vec<Shard>,
    limits: Vec<Limit>,
    latency: BTreeMap<&'static str, Quantiles>,
    ledger: Ledger,
    logs: Logs,
}

#[derive(Debug, Serialize)]
struct Session {
    source: String,
    client_id: String,
    shard: usize,
    state: &'static str,
    since_seconds: Option<u64>,
    url: String,
    version: Option<&'static str>,
    reason: Option<String>,
    in_flight: u32,
    window: u32,
    broker_dropped: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Topic {
    name: String,
    partitions: Option<u32>,
    /// The reason of each shard that holds it.
    holds: BTreeMap<usize, String>,
}

#[derive(Debug, Serialize)]
struct Shard {
    shard: usize,
    core: Option<usize>,
    turns: u64,
    kafka_reachable: bool,
    kafka_reason: Option<String>,
}

/// A bounded place, summed over shards.
#[derive(Debug, Serialize)]
struct Limit {
    name: &'static str,
    used: u64,
    limit: u64,
    /// How often it was full.
    full: u64,
}

#[derive(Debug, Serialize)]
struct Logs {
    lost: u64,
    suppressed: u64,
}

impl Report {
    pub(super) fn new(state: &State, ledger: Ledger) -> Report {
        let (metrics, now) = (state.metrics(), state.now());
        let Board { sessions, topics, topics_omitted, kafka, cores } = metrics.status().board();
        let degraded = degraded(metrics, &ledger, now);
        let labels = metrics.layout().sessions.iter();
        let (lost, suppressed) = state.log_lines();
        Report {
            well: degraded.is_empty(),
            degraded,
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: state.uptime().as_secs(),
            rates: state.per_second(),
            sessions: labels.zip(sessions).map(|(label, session)| Session::new(label, session, now)).collect(),
            topics: topics
                .into_iter()
                .map(|(name, topic)| Topic { name, partitions: topic.partitions, holds: topic.holds })
                .collect(),
            topics_omitted,
            shards: shards(metrics, kafka, &cores),
            limits: limits(metrics),
            latency: Stage::ALL.iter().map(|stage| (stage.label(), metrics.quantiles(*stage))).collect(),
            ledger,
            logs: Logs { lost, suppressed },
        }
    }
}

impl Session {
    fn new(label: &SessionLabel, session: SessionStatus, now: Instant) -> Session {
        Session {
            source: label.source.clone(),
            client_id: label.client_id.clone(),
            shard: label.shard,
            state: session.state.label(),
            since_seconds: session.since.map(|since| now.saturating_duration_since(since).as_secs()),
            url: session.url,
            version: session.version,
            reason: session.reason,
            in_flight: session.in_flight,
            window: session.window,
            broker_dropped: session.broker_dropped,
        }
    }
}

/// Every reason why not all is well: executors, readiness, ledger.
fn degraded(metrics: &Metrics, ledger: &Ledger, now: Instant) -> Vec<String> {
    let still = metrics.live(now).err().unwrap_or_default();
    let held_up = metrics.ready().err().unwrap_or_default();
    still.into_iter().chain(held_up).chain(ledger.imbalance().map(|imbalance| imbalance.to_string())).collect()
}

fn shards(metrics: &Metrics, kafka: Vec<KafkaStatus>, cores: &[Option<usize>]) -> Vec<Shard> {
    let cells = metrics.shards().zip(kafka).zip(cores).enumerate();
    cells
        .map(|(shard, ((cells, kafka), core))| Shard {
            shard,
            core: *core,
            turns: cells.counter(Counter::Turns),
            kafka_reachable: kafka.reachable,
            kafka_reason: kafka.reason,
        })
        .collect()
}

fn limits(metrics: &Metrics) -> Vec<Limit> {
    let bounds = BOUNDS.iter();
    bounds
        .map(|bound| Limit {
            name: bound.name,
            used: metrics.level(bound.used),
            limit: metrics.level(bound.limit),
            full: metrics.total(bound.full),
        })
        .collect()
}
