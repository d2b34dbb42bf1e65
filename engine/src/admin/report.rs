//! The page of `/status`: one look tells whether all is well, the rest tells why.

use std::{collections::BTreeMap, time::Instant};

use fairlead_spool::State as Fullness;
use serde::Serialize;

use super::{rates::PerSecond, state::State};
use crate::metrics::{
    BOUNDS, Board, Counter, Gauge, Health, KafkaStatus, Ledger, Metrics, Quantiles, SessionLabel, SessionStatus,
    ShardMetrics, SpoolStatus, Stage,
};

/// Everything, in the order of reading.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// Nothing is degraded.
    well: bool,
    /// Messages are taken.
    ready: bool,
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
    /// The loss of one Kafka broker can lose what was confirmed.
    fragile: bool,
}

#[derive(Debug, Serialize)]
struct Shard {
    shard: usize,
    core: Option<usize>,
    turns: u64,
    kafka_reachable: bool,
    kafka_since_seconds: Option<u64>,
    kafka_reason: Option<String>,
    spool: Option<Spool>,
}

/// A shard's spool.
#[derive(Debug, Serialize)]
struct Spool {
    /// The lane: straight to Kafka, to the spool, or to the spool while that drains.
    lane: &'static str,
    state: &'static str,
    records: u64,
    bytes: u64,
    segments: u64,
    oldest_seconds: u64,
    corrupt_records: u64,
    quarantined_segments: u64,
    /// Records in the dead-letter log.
    dead_letters: u64,
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
        let Board { sessions, topics, topics_omitted, kafka, spools, cores } = metrics.status().board();
        let health = metrics.health(now);
        let ready = health.is_ready();
        let degraded = degraded(metrics, health, &ledger, now);
        let labels = metrics.layout().sessions.iter();
        let (lost, suppressed) = state.log_lines();
        Report {
            well: degraded.is_empty(),
            ready,
            degraded,
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: state.uptime().as_secs(),
            rates: state.per_second(),
            sessions: labels.zip(sessions).map(|(label, session)| Session::new(label, session, now)).collect(),
            topics: topics
                .into_iter()
                .map(|(name, topic)| Topic {
                    name,
                    partitions: topic.partitions,
                    holds: topic.holds,
                    fragile: topic.fragile,
                })
                .collect(),
            topics_omitted,
            shards: shards(metrics, kafka, &spools, &cores, now),
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

/// Every reason why not all is well: executors, readiness, what is degraded, ledger.
fn degraded(metrics: &Metrics, health: Health, ledger: &Ledger, now: Instant) -> Vec<String> {
    let still = metrics.live(now).err().unwrap_or_default();
    let imbalance = ledger.imbalance().map(|imbalance| imbalance.to_string());
    still.into_iter().chain(health.unready).chain(health.degraded).chain(imbalance).collect()
}

fn shards(
    metrics: &Metrics,
    kafka: Vec<KafkaStatus>,
    spools: &[Option<SpoolStatus>],
    cores: &[Option<usize>],
    now: Instant,
) -> Vec<Shard> {
    let cells = metrics.shards().zip(kafka).zip(spools.iter().zip(cores)).enumerate();
    cells
        .map(|(shard, ((cells, kafka), (spool, core)))| Shard {
            shard,
            core: *core,
            turns: cells.counter(Counter::Turns),
            kafka_reachable: kafka.reachable,
            kafka_since_seconds: kafka.since.map(|since| now.saturating_duration_since(since).as_secs()),
            kafka_reason: kafka.reason,
            spool: spool.as_ref().map(|spool| Spool::new(cells, spool)),
        })
        .collect()
}

impl Spool {
    fn new(cells: &ShardMetrics, spool: &SpoolStatus) -> Spool {
        Spool {
            lane: match cells.gauge(Gauge::LaneMode) {
                0 => "direct",
                1 => "spilling",
                _ => "draining",
            },
            state: match spool.state {
                _ if spool.fenced => "fenced",
                Fullness::Ok => "ok",
                Fullness::High => "high",
                Fullness::Full => "full",
            },
            records: cells.gauge(Gauge::SpoolRecords),
            bytes: cells.gauge(Gauge::SpoolBytes),
            segments: cells.gauge(Gauge::SpoolSegments),
            oldest_seconds: cells.gauge(Gauge::SpoolOldest),
            corrupt_records: spool.corrupt,
            quarantined_segments: spool.quarantined,
            dead_letters: cells.gauge(Gauge::DeadLetterRecords),
        }
    }
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
