//! When the lane leaves the straight line, and when it comes back.
//!
//! ```text
//!            nothing is confirmed              0.1 to 1 s, whether Kafka confirms or not
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

use super::{Lane, batch::BATCH, lane::LIMIT, partition::bytes};
use crate::message::{Record, Ticket, TopicId, UNPLACED};

/// Nothing was confirmed for so long, and a session may not send more, or sends nothing although twenty messages wait: Kafka
/// is away. A pause of its garbage collector is shorter; a broker that queues 1,000 messages (mosquitto) holds 15,000 a
/// second meanwhile.
pub const SPILL_AFTER: Duration = Duration::from_millis(60);
/// The oldest batch was not confirmed for so long: Kafka is away.
pub const OLDEST: Duration = Duration::from_millis(250);
/// Shortest time off the straight line where the last one is long ago; it doubles to [`LEAST`] where it is not.
pub const FIRST: Duration = Duration::from_millis(100);
/// The same while Kafka comes and goes.
pub const LEAST: Duration = Duration::from_secs(1);
/// After so long on the straight line the next time off it is short again.
pub const CALM: Duration = Duration::from_secs(10);
/// Records a second that the lane takes while it drains, so that the drain catches up with a broker that sends as fast as it
/// can.
pub const INTAKE: u64 = 250_000;
/// The most of them at once.
pub const INTAKE_BURST: u64 = 32_768;
/// How often it takes more of them where it has to wait.
pub const INTAKE_SLICE: Duration = Duration::from_millis(2);
/// Records that replay may be behind when the lane stops appending to let it catch up.
pub const CLOSE: u64 = 8192;
/// How long it stops appending at most.
pub const CLOSING: Duration = Duration::from_millis(25);
/// Replay may fill one part of so many of the memory.
const REPLAY_SHARE: usize = 4;
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
    /// Everything, and Kafka gets it from there: the lane of partitions that are put aside is Draining for good.
    Parked,
}

impl Lane {
    /// When Kafka counts as away if nothing is confirmed until then.
    pub(super) fn spill_at(&self) -> Option<Instant> {
        let since = self.full_since.filter(|_| self.in_flight > 0)?;
        let silent = [self.confirmed_at, self.sent_at].into_iter().flatten().max().unwrap_or(since);
        Some(silent + SPILL_AFTER)
    }

    /// When Kafka counts as away again if nothing that replay handed over is confirmed until then.
    pub(super) fn stuck_at(&self, since: Instant) -> Option<Instant> {
        let since = [self.confirmed_at, self.sent_at].into_iter().flatten().fold(since, Instant::max);
        (self.in_flight > self.shadows).then_some(since + OLDEST)
    }

    pub(super) fn is_outage(&mut self, now: Instant) -> bool {
        if self.is_without_log() {
            return false;
        }
        if self.spill_at().is_some_and(|at| now >= at) {
            return true;
        }
        // What was appended first is acknowledged without Kafka, so that no window bounds it.
        if self.spooling == Spooling::Always && (self.bytes >= self.memory || self.len() >= LIMIT) {
            return true;
        }
        let look = self.look_at.is_some_and(|at| now >= at);
        if look {
            self.look_at = (self.in_flight + self.held > 0).then(|| now + LOOK);
        }
        // A log without room is no help against one partition that is blocked.
        let helps = !self.full || self.confirmed_at.is_none_or(|at| now >= at + OLDEST);
        look && helps && self.blocked_since().is_some_and(|since| now >= since + OLDEST)
    }

    /// Everything goes to the spool: what is here is swept, what lies there already is let go.
    pub(super) fn spill(&mut self, now: Instant) {
        let calm = self.direct_since.is_none_or(|since| now >= since + CALM) && self.mode == Mode::Direct;
        self.least = if calm { FIRST } else { (self.least * 2).min(LEAST) };
        self.mode = Mode::Spilling { since: now };
        self.full_since = None;
        self.first_held = None;
        (self.held, self.fresh, self.failed, self.unswept, self.bytes) = (0, 0, 0, 0, 0);
        self.shadows = self.in_flight;
        self.unshadowed.clear();
        self.sweep.clear();
        for (topic, places) in self.topics.iter_mut().enumerate() {
            for (partition, place) in places.iter_mut().enumerate() {
                place.spill(self.log);
                self.failed += place.retry.failed();
                self.unswept += place.unswept.len();
                if place.sweeping {
                    self.sweep.push_back((TopicId(topic as u16), partition as u32));
                }
            }
        }
    }

    /// Whether Kafka has confirmed something since replay began.
    #[must_use]
    pub fn is_confirming(&self) -> bool {
        matches!(self.mode, Mode::Draining { since, .. } if self.confirmed_at.is_some_and(|at| at > since))
    }

    /// Whether what comes goes to the spool because Kafka does not confirm. It is tried again and again meanwhile.
    #[must_use]
    pub fn is_away(&self) -> bool {
        match self.mode {
            Mode::Direct => false,
            Mode::Spilling { .. } => true,
            Mode::Draining { .. } => !self.is_confirming(),
        }
    }

    /// Starts the replay from the oldest record that has not ended; the lane of a process that finds a backlog too.
    pub fn drain(&mut self, now: Instant) {
        debug_assert_eq!((self.held, self.shadows), (0, self.in_flight), "nothing is held or handed over meanwhile");
        self.mode = Mode::Draining { since: now, closing: None };
        (self.intake, self.intake_at) = (INTAKE_BURST, Some(now));
    }

    /// How many records the lane takes while it drains.
    pub(super) fn intake(&self) -> usize {
        let limited = matches!(self.mode, Mode::Draining { .. }) && self.spooling != Spooling::Parked;
        if limited { self.intake as usize } else { usize::MAX }
    }

    /// Time brings more of [`INTAKE`].
    pub(super) fn renew_intake(&mut self, now: Instant) {
        let Some(at) = self.intake_at.filter(|at| now > *at) else { return };
        let more = (now - at).as_micros() as u64 * INTAKE / 1_000_000;
        if more > 0 {
            (self.intake, self.intake_at) = ((self.intake + more).min(INTAKE_BURST), Some(now));
        }
    }

    /// When more is taken, if nothing is now.
    pub(super) fn intake_timeout(&self) -> Option<Instant> {
        self.intake_at.filter(|_| self.intake() == 0).map(|at| at + INTAKE_SLICE)
    }

    /// Replay has `unread` records before it: the lane is Direct again when there is none, and appends nothing more
    /// when there are few. A log that is full takes nothing of what waits for it, which goes behind what it has. `place` has
    /// the partition of a record whose topic was not known when it came.
    pub fn handle_progress(&mut self, now: Instant, unread: u64, place: impl Fn(&Record) -> u32) {
        let Mode::Draining { since, closing } = self.mode else { return };
        if self.waits {
            return;
        }
        let few = unread + self.incoming.len() as u64 <= CLOSE && self.sweep.is_empty();
        // A partition that is blocked by what waits for the log cannot become healthy.
        let stuck = self.full && unread == 0 && self.spooling == Spooling::Outage;
        let ready = now >= since + self.least && (stuck || (few && self.is_healthy(now)));
        let near = self.is_without_log() || ready;
        if closing.is_none() && near {
            self.mode = Mode::Draining { since, closing: Some(now) };
        }
        if unread > 0 || !near {
            return;
        }
        for record in self.incoming.iter_mut().filter(|record| record.partition == UNPLACED) {
            record.partition = place(record);
            if record.partition == UNPLACED {
                return;
            }
        }
        self.mode = Mode::Direct;
        self.direct_since = Some(now);
        // What could not be appended goes to Kafka behind what was.
        let unswept = std::mem::take(&mut self.sweep);
        self.hold_unswept(now, unswept);
        self.look_at = Some(now + LOOK);
        if self.spooling != Spooling::Always {
            for record in std::mem::take(&mut self.incoming) {
                self.hold(now, record);
            }
        }
    }

    /// Whether the log is closed, so that nothing may be appended, and whether it is full.
    pub(super) fn set_log(&mut self, closed: bool, full: bool) {
        (self.closed, self.full) = (closed, full);
    }

    /// Whether the line goes on without its log. What has to be synced first waits instead.
    pub(super) fn is_without_log(&self) -> bool {
        self.closed && self.spooling != Spooling::Always
    }

    /// Whether every partition confirms.
    fn is_healthy(&self, now: Instant) -> bool {
        self.partitions()
            .all(|(_, _, place)| place.shadows == 0 && place.blocked_since().is_none_or(|since| now < since + OLDEST))
    }

    /// Whether replay may bring more.
    #[must_use]
    pub fn wants_replay(&self) -> bool {
        matches!(self.mode, Mode::Draining { .. })
            && !self.stopping
            && self.bytes + self.aside.1 < self.memory / REPLAY_SHARE
            && self.held < BATCH
    }

    /// A partition whose shadows are all reported since: [`Lane::let_go`] takes what ended of what replay read of it.
    pub fn poll_unshadowed(&mut self) -> Option<(TopicId, u32)> {
        self.unshadowed.pop()
    }

    /// Lets go of the records held of a partition that have ended.
    pub fn let_go(&mut self, now: Instant, topic: TopicId, partition: u32, has_ended: impl Fn(Ticket) -> bool) {
        let place = self.partition(topic, partition);
        let (before, mut gone) = (place.held.len(), 0);
        place.held.retain(|record| {
            let ended = has_ended(record.ticket);
            gone += if ended { bytes(record) } else { 0 };
            !ended
        });
        let count = before - place.held.len();
        self.held -= count;
        self.bytes -= gone;
        self.first_held = (self.held > 0).then_some(now);
        self.urgent = self.held > 0;
    }

    /// Whether everything here lies in the spool, and no word of Kafka is to be expected.
    #[must_use]
    pub fn is_spooled(&self) -> bool {
        let silent = match self.mode {
            Mode::Direct => false,
            Mode::Spilling { .. } => true,
            // A partition that is put aside may never be heard of again.
            Mode::Draining { .. } => self.in_flight == self.shadows || self.spooling == Spooling::Parked,
        };
        silent && self.sweep.is_empty() && self.incoming.is_empty()
    }
}
