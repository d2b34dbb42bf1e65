//! What the pages show: metrics, logs, rates, and the endpoint's own connections.

use std::{
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tracing::error;

use super::{
    rates::{PerSecond, Rates},
    report::Report,
};
use crate::{
    logging::LogStats,
    metrics::{Counter, Imbalance, Ledger, Metrics, Reading, Scrape, Snapshot},
};

/// Attempts at a ledger that is read between two turns of each shard.
const LEDGER_ATTEMPTS: usize = 50;
/// Pause between them, in which a shard on the same core gets on.
const LEDGER_PAUSE: Duration = Duration::from_millis(1);

/// What the endpoint shows; shared with the composition root.
#[derive(Debug)]
pub struct State {
    metrics: Arc<Metrics>,
    logs: Arc<LogStats>,
    clock: fn() -> Instant,
    started: Instant,
    rates: Mutex<Rates>,
    /// The first imbalance that was seen, and logged.
    unbalanced: OnceLock<Imbalance>,
    pub(super) connections: Connections,
}

/// The endpoint's own bounded place.
#[derive(Debug, Default)]
pub(super) struct Connections {
    /// Open now.
    pub(super) open: AtomicU64,
    /// Most of them.
    pub(super) limit: AtomicU64,
    /// How often the limit was reached.
    pub(super) full: AtomicU64,
}

impl State {
    /// The state of a process that starts now, by `clock`.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>, logs: Arc<LogStats>, clock: fn() -> Instant) -> Arc<State> {
        Arc::new(State {
            metrics,
            logs,
            clock,
            started: clock(),
            rates: Mutex::default(),
            unbalanced: OnceLock::new(),
            connections: Connections::default(),
        })
    }

    /// Looks at heartbeats and ledger. [`super::serve`] calls it every second; a process without the endpoint does
    /// it itself, because an imbalance is logged here.
    pub fn sample(&self) {
        let now = self.now();
        let ledger = Ledger::of(&self.metrics);
        let drained = self.metrics.total(Counter::SpoolDrained);
        self.rates.lock().unwrap_or_else(PoisonError::into_inner).handle_sample(&ledger.total, drained, now);
        // What stands still is told by `live`; here only the look counts.
        let _ = self.metrics.live(now);
        if let Some(imbalance) = ledger.imbalance()
            && self.unbalanced.get().is_none()
        {
            error!("{imbalance}");
            // Only the control thread samples.
            let _ = self.unbalanced.set(imbalance);
        }
    }

    /// The first imbalance of the ledger that a sample found: a bug, and a reason for an exit code that is not 0.
    #[must_use]
    pub fn unbalanced(&self) -> Option<&Imbalance> {
        self.unbalanced.get()
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    pub(super) fn now(&self) -> Instant {
        (self.clock)()
    }

    pub(super) fn uptime(&self) -> Duration {
        self.now().saturating_duration_since(self.started)
    }

    pub(super) fn per_second(&self) -> PerSecond {
        self.rates.lock().unwrap_or_else(PoisonError::into_inner).per_second()
    }

    /// The page of `/metrics`.
    pub(super) async fn scrape(&self) -> String {
        let ledger = self.ledger().await;
        let connections = &self.connections;
        let reading = |name, help, rises, value| Reading { name, help, rises, value };
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let process = vec![
            reading("uptime_seconds", "Time since the start.", false, self.uptime().as_secs()),
            reading("log_lines_lost", "Log lines that were not taken in time.", true, self.logs.lost()),
            reading("log_lines_suppressed", "Log lines that said the same again.", true, self.logs.suppressed()),
            reading("admin_connections", "Open connections to this endpoint.", false, count(&connections.open)),
            reading("admin_connections_limit", "Most connections to this endpoint.", false, count(&connections.limit)),
            reading("admin_connections_full", "Times that limit was reached.", true, count(&connections.full)),
        ];
        let health = self.metrics.health(self.now());
        Scrape { metrics: Arc::clone(&self.metrics), ledger, health, process }.render()
    }

    /// The page of `/status`.
    pub(super) async fn report(&self) -> Report {
        let ledger = self.ledger().await;
        Report::new(self, ledger)
    }

    /// The counts of log lines that were not written: lost and suppressed.
    pub(super) fn log_lines(&self) -> (u64, u64) {
        (self.logs.lost(), self.logs.suppressed())
    }

    /// The ledger, between two turns of each shard if that can be had soon.
    async fn ledger(&self) -> Ledger {
        let mut snapshot = Snapshot::new(&self.metrics);
        for _ in 0..LEDGER_ATTEMPTS {
            if snapshot.attempt() {
                break;
            }
            tokio::time::sleep(LEDGER_PAUSE).await;
        }
        snapshot.finish()
    }
}
