//! What a shard tells of its spool.

use std::time::{Duration, UNIX_EPOCH};

use super::{clock, state::Shard};
use crate::{
    lane::{Driver, Mode, Siding},
    message::RouteId,
    metrics::{Counter, Gauge, Size, SpoolStatus, Stage},
    settings::Ack,
    spool::{Movement, Synced},
};

/// The values of the gauge of the lane's mode.
const STRAIGHT: u64 = 0;
pub(super) const SPILLING: u64 = 1;
const DRAINING: u64 = 2;
/// A disk that has not answered for so long is told as one that hangs; making a segment takes seconds on a slow one.
const SILENCE: Duration = Duration::from_secs(10);
/// Behind the states of a spool that works.
const FENCED: u64 = 3;

impl Shard {
    /// The lane has left the straight line, if this is its new mode.
    pub(super) fn count_mode(&self, mode: Option<Mode>) {
        self.metrics().add(Counter::SpoolSpills, u64::from(matches!(mode, Some(Mode::Spilling { .. }))));
    }

    /// What people are told of the lane's mode: it tries to drain while Kafka is away, too, and that is not draining.
    fn tell_mode(&self, driver: &Driver) {
        let mode = match driver.lane().mode() {
            _ if driver.lane().is_away() => SPILLING,
            Mode::Direct => STRAIGHT,
            Mode::Spilling { .. } | Mode::Draining { .. } => DRAINING,
        };
        let (shard, backlog) = (self.index, driver.siding().map_or(0, Siding::backlog));
        match mode {
            _ if self.metrics().gauge(Gauge::LaneMode) == mode => return,
            STRAIGHT => tracing::info!(shard, "messages go straight to Kafka"),
            DRAINING => tracing::info!(shard, backlog, "the spool drains into Kafka"),
            _ => tracing::warn!(shard, backlog, "Kafka does not confirm: messages go to the spool"),
        }
        self.metrics().set(Gauge::LaneMode, mode);
    }

    /// Groups became durable.
    pub(super) fn tell_synced(&self, groups: &mut Vec<Synced>) {
        for Synced { bytes, took } in groups.drain(..) {
            self.metrics().record(Stage::SpoolSync, took.as_micros() as u64, 1);
            // A mark is no group.
            if bytes > 0 {
                self.metrics().record_size(Size::SpoolGroup, bytes as u64);
            }
        }
    }

    /// Records for which the spool answered have ended.
    pub(super) fn tell_drained(&self, movements: &[(RouteId, Movement)]) {
        let drained = movements.iter().filter(|(_, movement)| matches!(movement, Movement::Ended(_))).count();
        self.metrics().add(Counter::SpoolDrained, drained as u64);
    }

    /// Seconds for which the disk has not answered, if that is longer than disks take.
    fn silent(&self, driver: &Driver) -> u64 {
        let keeper = self.keeper.as_ref().map(|keeper| keeper.borrow().usage());
        let usages =
            [driver.siding().map(Siding::usage), driver.parked().map(|parked| parked.siding().usage()), keeper];
        let since = usages.into_iter().flatten().filter_map(|usage| usage.waits_since).min();
        let silent = since.map_or(Duration::ZERO, |since| clock::now().saturating_duration_since(since));
        if silent >= SILENCE { silent.as_secs() } else { 0 }
    }

    /// Where the lane is and what the spool holds.
    pub(super) fn publish_spooling(&self, driver: &Driver) {
        self.tell_mode(driver);
        let metrics = self.metrics();
        let Some(siding) = driver.siding() else { return };
        let usage = siding.usage();
        let counts = usage.counters;
        metrics.raise(Counter::SpoolAppended, counts.appended);
        metrics.raise(Counter::SpoolGroups, counts.groups);
        metrics.raise(Counter::SpoolFailedSyncs, counts.failed_syncs);
        metrics.raise(Counter::SpoolTornTails, counts.torn_tails);
        metrics.raise(Counter::SpoolCorrupt, counts.corrupt_records);
        metrics.raise(Counter::SpoolQuarantined, counts.quarantined);
        metrics.raise(Counter::SpoolFull, siding.full() + driver.dead_letters().full());
        metrics.set(Gauge::DeadLetterRecords, driver.dead_letters().records());
        metrics.set(Gauge::SpoolRecords, siding.backlog());
        metrics.set(Gauge::SpoolBytes, usage.bytes);
        metrics.set(Gauge::SpoolLimit, self.settings.spool.as_ref().map_or(0, |spool| spool.max));
        metrics.set(Gauge::SpoolSegments, usage.segments);
        let now = clock::wall().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        metrics.set(Gauge::SpoolOldest, usage.oldest.map_or(0, |oldest| now.saturating_sub(oldest) / 1000));
        metrics.set(Gauge::SpoolState, if usage.fenced { FENCED } else { usage.state as u64 });
        let parked = driver.parked().map_or((0, 0), |parked| (parked.partitions().count(), parked.siding().backlog()));
        metrics.set(Gauge::ParkedPartitions, parked.0 as u64);
        metrics.set(Gauge::ParkedRecords, parked.1);
        let status = SpoolStatus {
            parked: parked.0 as u64,
            parked_records: parked.1,
            state: usage.state,
            fenced: usage.fenced,
            silent: self.silent(driver),
            always: self.settings.engine.ack == Ack::Spool,
            damaged: usage.degraded,
            corrupt: counts.corrupt_records,
            quarantined: counts.quarantined,
            stuck_dead_letters: driver.dead_letters().stuck() as u64,
        };
        self.metrics.status().spool(self.index, status);
    }
}
