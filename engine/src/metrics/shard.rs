//! The cells of one shard: one thread writes them, the control thread reads them.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering, fence},
};

use super::{
    names::{Counter, Entry, Gauge, Size, Stage},
    stage::StageHistogram,
};
use crate::message::RouteId;

/// The ledger of one route: whole cache lines (two, because the prefetcher fetches pairs), so that no other
/// thread's cells share them.
#[repr(align(128))]
#[derive(Debug)]
struct Row([AtomicU64; Entry::CELLS]);

/// What a snapshot holds for one route.
pub(super) type Cells = [u64; Entry::CELLS];

/// Counters, gauges, histograms and ledger of one shard.
///
/// Only the shard's own thread may write: an increment is a load and a store, no locked instruction, so a second
/// writer would lose counts (and nothing worse). A reader of the ledger tries again while a shard is between
/// [`begin_turn`](Self::begin_turn) and [`end_turn`](Self::end_turn); outside of them the sums belong together.
#[repr(align(128))]
#[derive(Debug)]
pub struct ShardMetrics {
    epoch: AtomicU64,
    counters: [AtomicU64; Counter::ALL.len()],
    gauges: [AtomicU64; Gauge::ALL.len()],
    ledger: Box<[Row]>,
    stages: [Mutex<StageHistogram>; Stage::ALL.len()],
    sizes: [Mutex<StageHistogram>; Size::ALL.len()],
}

impl ShardMetrics {
    /// Cells for `routes` routes and for [`RouteId::NONE`].
    pub(super) fn new(routes: usize) -> ShardMetrics {
        ShardMetrics {
            epoch: AtomicU64::new(0),
            counters: [const { AtomicU64::new(0) }; Counter::ALL.len()],
            gauges: [const { AtomicU64::new(0) }; Gauge::ALL.len()],
            ledger: (0..=routes).map(|_| Row([const { AtomicU64::new(0) }; Entry::CELLS])).collect(),
            stages: std::array::from_fn(|_| Mutex::new(StageHistogram::times())),
            sizes: std::array::from_fn(|_| Mutex::new(StageHistogram::sizes())),
        }
    }

    /// What the turn came to is published from here to [`end_turn`](Self::end_turn); in between the ledger may be out
    /// of balance. The shorter this is, the sooner a reader finds its moment: sum up first, then publish.
    pub fn begin_turn(&self) {
        let epoch = self.epoch.load(Ordering::Relaxed);
        debug_assert!(epoch.is_multiple_of(2), "begin_turn twice");
        self.epoch.store(epoch.wrapping_add(1), Ordering::Relaxed);
        // No write of the turn may be seen before the odd epoch. On x86-64 this is no instruction.
        fence(Ordering::Release);
    }

    /// The ledger balances. A shard calls it before it waits, and last of all before it stops.
    pub fn end_turn(&self) {
        let epoch = self.epoch.load(Ordering::Relaxed);
        debug_assert!(!epoch.is_multiple_of(2), "end_turn without begin_turn");
        self.epoch.store(epoch.wrapping_add(1), Ordering::Release);
    }

    /// The executor turns: to be called once a turn, and at least every [`super::HEARTBEAT`] when there is nothing
    /// to do.
    pub fn heartbeat(&self) {
        self.add(Counter::Turns, 1);
    }

    /// Adds `n` to a counter.
    pub fn add(&self, counter: Counter, n: u64) {
        bump(&self.counters[counter as usize], n);
    }

    /// Brings a counter to a total that is kept elsewhere and only rises.
    pub fn raise(&self, counter: Counter, total: u64) {
        self.counters[counter as usize].store(total, Ordering::Relaxed);
    }

    /// Sets a gauge.
    pub fn set(&self, gauge: Gauge, value: u64) {
        self.gauges[gauge as usize].store(value, Ordering::Relaxed);
    }

    /// Enters `n` messages of `route` in the ledger.
    pub fn ledger(&self, route: RouteId, entry: Entry, n: u64) {
        bump(&self.row(route).0[entry.cell()], n);
    }

    /// Says how many messages of `route` are pending: counted from slab and spool, never by subtraction.
    pub fn set_pending(&self, route: RouteId, n: u64) {
        self.row(route).0[Entry::PENDING].store(n, Ordering::Relaxed);
    }

    /// Records that `n` messages took `micros` microseconds each: once a batch. Below 1 µs and above 60 s counts as
    /// the bound.
    pub fn record(&self, stage: Stage, micros: u64, n: u64) {
        self.stage(stage, |histogram| histogram.record(micros, n));
    }

    /// Records that something had this size.
    pub fn record_size(&self, size: Size, bytes: u64) {
        self.size(size, |histogram| histogram.record(bytes, 1));
    }

    /// The value of a counter.
    #[must_use]
    pub fn counter(&self, counter: Counter) -> u64 {
        self.counters[counter as usize].load(Ordering::Relaxed)
    }

    /// The value of a gauge.
    #[must_use]
    pub fn gauge(&self, gauge: Gauge) -> u64 {
        self.gauges[gauge as usize].load(Ordering::Relaxed)
    }

    /// Runs `f` on a stage's histogram. The reader holds the lock for a few microseconds at most.
    pub(super) fn stage<T>(&self, stage: Stage, f: impl FnOnce(&mut StageHistogram) -> T) -> T {
        f(&mut self.stages[stage as usize].lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Runs `f` on the histogram of a size, in the same way.
    pub(super) fn size<T>(&self, size: Size, f: impl FnOnce(&mut StageHistogram) -> T) -> T {
        f(&mut self.sizes[size as usize].lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The ledger, one for each route and the last for [`RouteId::NONE`], and whether no turn was under way meanwhile.
    pub(super) fn read_ledger(&self) -> (Vec<Cells>, bool) {
        let before = self.epoch.load(Ordering::Acquire);
        let read = |row: &Row| std::array::from_fn(|cell| row.0[cell].load(Ordering::Relaxed));
        let cells = self.ledger.iter().map(read).collect();
        // The loads above must not move behind the second look at the epoch.
        fence(Ordering::Acquire);
        (cells, before.is_multiple_of(2) && self.epoch.load(Ordering::Relaxed) == before)
    }

    /// The row of `route`; [`RouteId::NONE`] is the last.
    fn row(&self, route: RouteId) -> &Row {
        debug_assert!(route == RouteId::NONE || usize::from(route.0) < self.ledger.len() - 1, "{route:?}");
        &self.ledger[usize::from(route.0).min(self.ledger.len() - 1)]
    }
}

/// Adds without a locked instruction: there is one writer.
fn bump(cell: &AtomicU64, n: u64) {
    cell.store(cell.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
}
