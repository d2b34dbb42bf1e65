//! The lane's state machine.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{
    batch::BATCH,
    mode::{CLOSING, FIRST, Mode, Spooling},
    partition::{Hold, Partition, bytes},
};
use crate::message::{LogName, Record, Ticket, TopicId, UNPLACED};

/// Most records in one lane, inside librdkafka and before it. At the limit the lane takes no more: local sessions
/// stall and other shards' rings fill.
pub const LIMIT: usize = 262_144;
const _: () = assert!(BATCH <= LIMIT);

/// One shard's lane.
#[derive(Debug)]
pub struct Lane {
    pub(super) linger: Duration,
    pub(super) spooling: Spooling,
    /// The log beside it.
    pub(super) log: LogName,
    pub(super) mode: Mode,
    pub(super) topics: Vec<Vec<Partition>>,
    /// Partitions with records held, in the order in which they were first touched.
    pub(super) list: Vec<(TopicId, u32)>,
    /// Where [`Lane::poll_ready`] is in `list` during a flush.
    pub(super) cursor: usize,
    /// What waits to be appended to the spool, oldest first.
    pub(super) incoming: VecDeque<Record>,
    /// Partitions whose records have to be appended before anything new.
    pub(super) sweep: VecDeque<(TopicId, u32)>,
    /// Nothing is appended: [`Lane::set_log`].
    pub(super) closed: bool,
    /// The log has no room.
    pub(super) full: bool,
    /// What is put aside is not known yet: replay has to wait.
    pub(super) waits: bool,
    /// What was put aside is not safe yet: what comes behind it must not be appended before.
    pub(super) behind: bool,
    /// Partitions whose last shadow was reported.
    pub(super) unshadowed: Vec<(TopicId, u32)>,
    pub(super) held: usize,
    /// Those of them that came since the last flush.
    pub(super) fresh: usize,
    pub(super) in_flight: usize,
    /// Those of them that replay reads again.
    pub(super) shadows: usize,
    pub(super) failed: usize,
    /// Dead letters that wait beside the lane, and their bytes.
    pub(super) aside: (usize, usize),
    /// Those that wait for the sweep.
    pub(super) unswept: usize,
    /// Bytes of the records held and inside librdkafka, without the shadows.
    pub(super) bytes: usize,
    pub(super) memory: usize,
    pub(super) first_held: Option<Instant>,
    pub(super) urgent: bool,
    /// The shard comes to its end.
    pub(super) stopping: bool,
    /// When Kafka last confirmed something.
    pub(super) confirmed_at: Option<Instant>,
    /// Since when it does so without a pause.
    pub(super) confirming_since: Option<Instant>,
    /// Since when something is inside librdkafka that is no shadow.
    pub(super) sent_at: Option<Instant>,
    /// Since when a session may not send more, or does not, and nothing was confirmed.
    pub(super) full_since: Option<Instant>,
    /// Shortest time in the present mode, where it is not Direct.
    pub(super) least: Duration,
    /// Since when the lane is Direct again.
    pub(super) direct_since: Option<Instant>,
    /// Records that the lane takes at once while it drains, and since when this is so.
    pub(super) intake: u64,
    pub(super) intake_at: Option<Instant>,
    /// When the oldest batch is to be looked for.
    pub(super) look_at: Option<Instant>,
    pub(super) confirm_time: Duration,
    pub(super) hold_time: Option<Duration>,
    pub(super) retries: u64,
}

impl Lane {
    /// A lane that holds a batch for `linger` at most, and `memory` bytes of what a session need not wait for.
    #[must_use]
    pub fn new(linger: Duration, spooling: Spooling, memory: usize) -> Lane {
        Lane {
            linger,
            spooling,
            log: if spooling == Spooling::Parked { LogName::Parked } else { LogName::Spool },
            mode: Mode::Direct,
            topics: Vec::new(),
            list: Vec::new(),
            cursor: 0,
            incoming: VecDeque::new(),
            sweep: VecDeque::new(),
            closed: false,
            full: false,
            waits: false,
            behind: false,
            unshadowed: Vec::new(),
            held: 0,
            fresh: 0,
            in_flight: 0,
            shadows: 0,
            failed: 0,
            aside: (0, 0),
            unswept: 0,
            bytes: 0,
            memory,
            first_held: None,
            urgent: false,
            stopping: false,
            confirmed_at: None,
            confirming_since: None,
            sent_at: None,
            full_since: None,
            least: FIRST,
            direct_since: None,
            intake: 0,
            intake_at: None,
            look_at: None,
            confirm_time: Duration::ZERO,
            hold_time: None,
            retries: 0,
        }
    }

    /// What the lane does with what comes.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// How many records the lane takes before it is at [`LIMIT`]. What lies in the spool does not count.
    #[must_use]
    pub fn room(&self) -> usize {
        let waiting = if self.is_straight() { self.len() } else { self.incoming.len() + self.unswept };
        LIMIT.saturating_sub(waiting).min(self.intake())
    }

    /// Records in the lane: waiting for the spool, held, inside librdkafka, failed, or set aside.
    #[must_use]
    pub fn len(&self) -> usize {
        self.incoming.len() + self.unswept + self.held + self.in_flight + self.failed + self.aside.0
    }

    /// Whether nothing is in the lane.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether what comes is not appended first.
    fn is_straight(&self) -> bool {
        self.mode == Mode::Direct && self.spooling != Spooling::Always
    }

    /// Takes a record. The caller has asked [`Lane::room`].
    #[inline(always)]
    pub fn handle_record(&mut self, now: Instant, record: Record) {
        if record.partition == UNPLACED && self.mode == Mode::Direct {
            self.spill(now);
        }
        self.intake = self.intake.saturating_sub(1);
        if self.is_straight() { self.hold(now, record) } else { self.incoming.push_back(record) }
    }

    /// Takes a record that replay has read; its ticket is that of the spool.
    pub fn handle_replayed(&mut self, now: Instant, record: Record) {
        debug_assert!(record.ticket.is_read_by(self.log));
        self.hold(now, record);
    }

    #[inline(always)]
    pub(super) fn hold(&mut self, now: Instant, record: Record) {
        let (topic, partition) = (record.topic, record.partition);
        self.bytes += bytes(&record);
        let place = self.partition(topic, partition);
        place.held.push_back(record);
        if !place.listed {
            place.listed = true;
            self.list.push((topic, partition));
        }
        self.held += 1;
        self.fresh += 1;
        self.first_held.get_or_insert(now);
    }

    /// So many dead letters, of so many bytes, wait beside the lane, and count as if they were in it.
    pub(super) fn set_aside(&mut self, aside: (usize, usize)) {
        self.aside = aside;
    }

    /// Replay ends: what lies in the spool stays there.
    pub fn stop(&mut self) {
        self.stopping = true;
    }

    /// The next record to be appended to the spool. `None` while the sweep is not done, and while replay catches up.
    #[must_use]
    pub fn poll_incoming(&self) -> Option<&Record> {
        let closing = matches!(self.mode, Mode::Draining { closing: Some(_), .. });
        self.incoming.front().filter(|_| self.sweep.is_empty() && !closing)
    }

    /// The record of the last [`Lane::poll_incoming`] lies in the spool.
    pub fn handle_appended(&mut self, now: Instant, sequence: u64) {
        let Some(mut record) = self.incoming.pop_front() else { return };
        if self.mode == Mode::Direct {
            record.ticket = Ticket::stored(self.log, sequence);
            self.hold(now, record);
        }
    }

    /// When [`Lane::handle_timeout`] wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let linger = self.first_held.map(|first| first + self.linger).filter(|_| self.held > 0 && self.is_sending());
        let retry = self.waiting().filter_map(|place| place.retry.until()).min();
        let mode = match self.mode {
            _ if matches!(self.spooling, Spooling::Never | Spooling::Parked) => None,
            Mode::Direct if self.is_without_log() => None,
            Mode::Direct => [self.spill_at(), self.look_at].into_iter().flatten().min(),
            Mode::Spilling { since } => Some(since + self.least),
            Mode::Draining { since, closing } => {
                let closing = closing.map(|at| at + CLOSING);
                [self.stuck_at(since), closing, self.intake_timeout()].into_iter().flatten().min()
            }
        };
        linger.into_iter().chain(retry).chain(mode).min()
    }

    /// Whether anything is handed over.
    pub(super) fn is_sending(&self) -> bool {
        match self.mode {
            Mode::Direct => true,
            Mode::Spilling { .. } => false,
            Mode::Draining { .. } => !self.stopping,
        }
    }

    /// Lets partitions go on whose wait is over, and changes the mode where it is time. The new mode, if it changed to
    /// Spilling or Draining.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Mode> {
        for &(topic, partition) in &self.list {
            let place = &mut self.topics[usize::from(topic.0)][partition as usize];
            if place.retry.handle_timeout(now) && !place.held.is_empty() {
                self.first_held = Some(now);
                self.urgent = true;
            }
        }
        if self.spooling == Spooling::Parked {
            return None;
        }
        self.renew_intake(now);
        let before = self.mode;
        let outage = before == Mode::Direct && self.spooling != Spooling::Never && self.is_outage(now);
        match self.mode {
            Mode::Direct if outage => self.spill(now),
            Mode::Spilling { since } if now >= since + self.least => self.drain(now),
            Mode::Draining { since, .. } if self.stuck_at(since).is_some_and(|at| now >= at) => self.spill(now),
            Mode::Draining { since, closing: Some(at) } if now >= at + CLOSING => {
                self.mode = Mode::Draining { since, closing: None };
                return None;
            }
            _ => {}
        }
        (self.mode != before).then_some(self.mode)
    }

    /// Partitions on hold, for `/readyz`.
    pub fn holds(&self) -> impl Iterator<Item = Hold> {
        self.partitions()
            .filter_map(|(topic, partition, place)| place.retry.hold().map(|reason| Hold { topic, partition, reason }))
    }

    /// When the oldest batch was handed over of which something is not reported; not for every turn, because it looks
    /// at every partition.
    #[must_use]
    pub fn oldest_in_flight(&self) -> Option<Instant> {
        self.partitions().filter_map(|(_, _, place)| place.oldest()).min()
    }

    /// Since when the partition that has confirmed nothing for the longest time has confirmed nothing.
    pub(super) fn blocked_since(&self) -> Option<Instant> {
        self.partitions().filter_map(|(_, _, place)| place.blocked_since()).min()
    }

    /// The longest time from hand-over to confirmation of the batches that ended since the last call.
    pub fn take_confirm_time(&mut self) -> Duration {
        std::mem::take(&mut self.confirm_time)
    }

    /// The longest time that a record was held before its batch went, since the last call; `None` if none went.
    pub fn take_hold_time(&mut self) -> Option<Duration> {
        self.hold_time.take()
    }

    /// Records that were sent again so far.
    #[must_use]
    pub fn retries(&self) -> u64 {
        self.retries
    }

    /// Records inside librdkafka.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Records of the lane that are not inside librdkafka.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        let waiting = self.partitions().flat_map(|(_, _, place)| place.records());
        self.incoming.iter().chain(waiting)
    }

    pub(super) fn partitions(&self) -> impl Iterator<Item = (TopicId, u32, &Partition)> {
        self.topics.iter().enumerate().flat_map(|(topic, places)| {
            places.iter().enumerate().map(move |(partition, place)| (TopicId(topic as u16), partition as u32, place))
        })
    }

    fn waiting(&self) -> impl Iterator<Item = &Partition> {
        self.list.iter().map(|(topic, partition)| &self.topics[usize::from(topic.0)][*partition as usize])
    }

    pub(super) fn partition(&mut self, topic: TopicId, partition: u32) -> &mut Partition {
        let (topic, partition) = (usize::from(topic.0), partition as usize);
        if self.topics.len() <= topic {
            self.topics.resize_with(topic + 1, Vec::new);
        }
        let places = &mut self.topics[topic];
        if places.len() <= partition {
            places.resize_with(partition + 1, Partition::default);
        }
        &mut places[partition]
    }
}
