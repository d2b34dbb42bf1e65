//! The lane's state machine.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::retry::{Retry, Settled};
use crate::{
    kafka::{HoldReason, Report},
    message::{Outcome, Receipt, Record, TopicId},
};

/// Records that make a batch due at once.
pub const BATCH: usize = 8192;
/// Most records in one lane, inside librdkafka and before it. At the limit the lane takes no more: local sessions
/// stall and other shards' rings fill.
pub const LIMIT: usize = 262_144;
const _: () = assert!(BATCH <= LIMIT);

/// Most batches of one partition inside librdkafka. With idempotence it has one request of a partition in flight, and
/// its thread spins while another waits behind that; here the next batch grows instead.
pub const BATCHES: usize = 1;

/// Records of one partition.
#[derive(Debug, Default)]
struct Partition {
    /// Not handed to librdkafka yet, oldest first.
    held: VecDeque<Record>,
    /// Handed over and not reported.
    in_flight: usize,
    /// What was handed over in one go: how many of it are not reported, and when.
    batches: VecDeque<(usize, Instant)>,
    retry: Retry,
    /// Whether it is in the lane's list of partitions to look at.
    listed: bool,
}

impl Partition {
    /// How many of the records held may go to librdkafka now.
    fn most(&self, now: Instant) -> usize {
        if self.batches.len() >= BATCHES {
            return 0;
        }
        self.retry.allowance(now, self.in_flight).min(self.held.len())
    }
}

/// Records that may go to librdkafka now.
#[derive(Debug)]
pub struct Ready<'a> {
    /// Their topic.
    pub topic: TopicId,
    /// Their partition.
    pub partition: u32,
    /// The records, oldest first; the producer takes them from the front.
    pub records: &'a mut VecDeque<Record>,
    /// Most that may be taken now.
    pub most: usize,
}

/// A partition that cannot be written to for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Its topic.
    pub topic: TopicId,
    /// Its number.
    pub partition: u32,
    /// Why.
    pub reason: HoldReason,
}

/// One shard's lane.
#[derive(Debug)]
pub struct Lane {
    linger: Duration,
    topics: Vec<Vec<Partition>>,
    /// Partitions with records held, in the order in which they were first touched.
    list: Vec<(TopicId, u32)>,
    /// Where [`Lane::poll_ready`] is in `list` during a flush.
    cursor: usize,
    held: usize,
    in_flight: usize,
    failed: usize,
    first_held: Option<Instant>,
    urgent: bool,
    confirm_time: Duration,
    hold_time: Option<Duration>,
    retries: u64,
}

impl Lane {
    /// A lane that holds a batch for `linger` at most.
    #[must_use]
    pub fn new(linger: Duration) -> Lane {
        Lane {
            linger,
            topics: Vec::new(),
            list: Vec::new(),
            cursor: 0,
            held: 0,
            in_flight: 0,
            failed: 0,
            first_held: None,
            urgent: false,
            confirm_time: Duration::ZERO,
            hold_time: None,
            retries: 0,
        }
    }

    /// Whether the lane is at [`LIMIT`] and takes no more.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.len() >= LIMIT
    }

    /// Records in the lane: held, inside librdkafka, or failed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.held + self.in_flight + self.failed
    }

    /// Whether nothing is in the lane.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes a record. The caller has asked [`Lane::is_full`].
    pub fn handle_record(&mut self, now: Instant, record: Record) {
        let (topic, partition) = (record.topic, record.partition);
        let place = self.partition(topic, partition);
        place.held.push_back(record);
        if !place.listed {
            place.listed = true;
            self.list.push((topic, partition));
        }
        self.held += 1;
        self.first_held.get_or_insert(now);
    }

    /// All that a session may have in flight is here: the batch must not wait for more.
    pub fn handle_saturated(&mut self) {
        self.urgent = self.held > 0;
    }

    /// Whether the batch should go now.
    #[must_use]
    pub fn is_due(&self, now: Instant) -> bool {
        self.urgent || self.held >= BATCH || self.first_held.is_some_and(|first| now >= first + self.linger)
    }

    /// The next partition of a due batch, until `None` ends the flush. What a partition may not send now stays.
    pub fn poll_ready(&mut self, now: Instant) -> Option<Ready<'_>> {
        let most = |lane: &Lane, (topic, partition): (TopicId, u32)| {
            lane.topics[usize::from(topic.0)][partition as usize].most(now)
        };
        let next = (self.cursor..self.list.len()).find(|cursor| most(self, self.list[*cursor]) > 0);
        let Some(next) = next else {
            self.end_flush(now);
            return None;
        };
        // The caller takes all that may go now, or the rest comes back as a report.
        self.cursor = next + 1;
        let (topic, partition) = self.list[next];
        let most = most(self, (topic, partition));
        let records = &mut self.topics[usize::from(topic.0)][partition as usize].held;
        Some(Ready { topic, partition, records, most })
    }

    /// Tells that the producer took `count` records of the last [`Ready`]. A report follows for each, also for what
    /// librdkafka refused.
    pub fn handle_produced(&mut self, now: Instant, topic: TopicId, partition: u32, count: usize) {
        let place = self.partition(topic, partition);
        place.in_flight += count;
        if count > 0 {
            place.batches.push_back((count, now));
        }
        self.in_flight += count;
        self.held -= count;
    }

    /// When the oldest batch of the partition was handed over, and whether this report was its last.
    fn confirmed(place: &mut Partition) -> Option<Instant> {
        let (left, at) = place.batches.front_mut()?;
        *left -= 1;
        let at = (*left == 0).then_some(*at);
        if at.is_some() {
            place.batches.pop_front();
        }
        at
    }

    fn end_flush(&mut self, now: Instant) {
        self.hold_time = self.hold_time.max(self.first_held.map(|first| now - first));
        self.cursor = 0;
        self.urgent = false;
        let topics = &mut self.topics;
        let mut waits = false;
        self.list.retain(|(topic, partition)| {
            let place = &mut topics[usize::from(topic.0)][*partition as usize];
            place.listed = !place.held.is_empty();
            waits |= place.most(now) > 0;
            place.listed
        });
        self.first_held = waits.then_some(now);
    }

    /// Takes a delivery report, or a refusal at produce. The receipt, when there is one, goes to the record's session.
    pub fn handle_report(&mut self, now: Instant, report: Report) -> Option<Receipt> {
        let (topic, partition) = (report.record.topic, report.record.partition);
        let place = self.partition(topic, partition);
        place.in_flight -= 1;
        let full = place.batches.len() >= BATCHES;
        let handed_over = Lane::confirmed(place);
        let settled = place.retry.settle(report);
        let kept = usize::from(matches!(settled, Settled::Kept));
        let requeued = if place.in_flight == 0 && place.retry.failed() > 0 { requeue(place, now) } else { 0 };
        let resumes = handed_over.is_some() && (full || place.retry.is_single()) && place.most(now) > 0;
        let unlisted = !place.held.is_empty() && !std::mem::replace(&mut place.listed, !place.held.is_empty());
        if unlisted {
            self.list.push((topic, partition));
        }
        if let Some(at) = handed_over {
            self.confirm_time = self.confirm_time.max(now - at);
        }
        self.in_flight -= 1;
        self.failed = self.failed + kept - requeued;
        self.held += requeued;
        self.retries += requeued as u64;
        self.urgent |= resumes;
        match settled {
            Settled::Delivered(record) => Some(receipt(&record, Outcome::Delivered)),
            Settled::Dropped(record, reason) => Some(receipt(&record, Outcome::Dropped(reason))),
            Settled::Kept => None,
        }
    }

    /// When [`Lane::handle_timeout`] wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let linger = self.first_held.map(|first| first + self.linger);
        let retry = self.waiting().filter_map(|place| place.retry.until()).min();
        linger.into_iter().chain(retry).min()
    }

    /// Lets partitions go on whose wait is over.
    pub fn handle_timeout(&mut self, now: Instant) {
        for &(topic, partition) in &self.list {
            if self.topics[usize::from(topic.0)][partition as usize].retry.handle_timeout(now) {
                self.first_held = Some(now);
                self.urgent = true;
            }
        }
    }

    /// Partitions on hold, for `/readyz`.
    pub fn holds(&self) -> impl Iterator<Item = Hold> {
        self.partitions()
            .filter_map(|(topic, partition, place)| place.retry.hold().map(|reason| Hold { topic, partition, reason }))
    }

    /// When the oldest batch was handed over of which something is not reported; for the heartbeat, because it looks at
    /// every partition.
    #[must_use]
    pub fn oldest_in_flight(&self) -> Option<Instant> {
        self.partitions().filter_map(|(_, _, place)| place.batches.front().map(|(_, at)| *at)).min()
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

    /// Records of the lane that are not inside librdkafka.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.partitions().flat_map(|(_, _, place)| place.held.iter().chain(place.retry.records()))
    }

    fn partitions(&self) -> impl Iterator<Item = (TopicId, u32, &Partition)> {
        self.topics.iter().enumerate().flat_map(|(topic, places)| {
            places.iter().enumerate().map(move |(partition, place)| (TopicId(topic as u16), partition as u32, place))
        })
    }

    fn waiting(&self) -> impl Iterator<Item = &Partition> {
        self.list.iter().map(|(topic, partition)| &self.topics[usize::from(topic.0)][*partition as usize])
    }

    fn partition(&mut self, topic: TopicId, partition: u32) -> &mut Partition {
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

/// Puts what failed in front of what waits. Returns how many.
fn requeue(place: &mut Partition, now: Instant) -> usize {
    let before = place.held.len();
    for record in place.retry.take_failed(now).rev() {
        place.held.push_front(record);
    }
    place.held.len() - before
}

fn receipt(record: &Record, outcome: Outcome) -> Receipt {
    Receipt { ticket: record.ticket, route: record.route, outcome }
}
