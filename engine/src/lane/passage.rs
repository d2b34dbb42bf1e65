//! Replay of the log of parked partitions: which of its records may go to the lane. A partition that is blocked is passed
//! over, so that it never stands in the way of another; when it is free again, replay goes back for what it passed.

use std::{
    collections::{HashMap, HashSet, VecDeque, hash_map::Entry},
    time::{Duration, Instant},
};

use super::{Inside, Lane, mode::OLDEST, partition::Partition};
use crate::message::{LogName, TopicId};

/// Records of one partition that the lane of parked partitions holds at most.
const MOST: usize = 1024;

/// A partition of a topic.
pub(super) type Key = (TopicId, u32);

/// What to do with a record that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It goes to the lane.
    Take,
    /// The lane had it before, or it is read again later.
    Pass,
    /// It goes to the lane, or to the dead letters, when there is room.
    Wait,
    /// Its partition was blocked for too long: it becomes a dead letter.
    Expire,
}

/// What is known of one partition.
#[derive(Debug, Default)]
struct Place {
    /// Its records that have not ended.
    records: u64,
    /// The lane had its records below this.
    next: u64,
    /// Its records are passed over.
    passed: bool,
    /// It was blocked for too long: all but these, of which librdkafka has not reported the last, become dead letters.
    expired: Option<HashSet<u64>>,
}

/// The partitions that are parked; at most as many as there are.
#[derive(Debug)]
pub(super) struct Passage {
    places: HashMap<Key, Place>,
    /// Whether what could be read of the log was read through once. The last records of an earlier process may have to wait
    /// for a segment, which is to be had when something before them has ended.
    opened: bool,
    /// Whether the whole log was, so that every parked partition is known.
    pub(super) complete: bool,
    /// Whether more dead letters may be made now.
    pub(super) expires: bool,
}

impl Passage {
    /// `complete` says that the log is empty.
    pub(super) fn new(complete: bool) -> Passage {
        Passage { places: HashMap::new(), opened: complete, complete, expires: true }
    }

    /// Whether the partition is parked.
    pub(super) fn contains(&self, key: Key) -> bool {
        self.places.contains_key(&key)
    }

    /// The parked partitions, and how many of their records have not ended.
    pub(super) fn partitions(&self) -> impl Iterator<Item = (Key, u64)> {
        self.places.iter().map(|(key, place)| (*key, place.records))
    }

    /// Records of a partition came.
    pub(super) fn begin(&mut self, key: Key, records: usize) {
        self.places.entry(key).or_default().records += records as u64;
    }

    /// A record has ended. With the last one the partition is parked no longer; whether it was that.
    pub(super) fn end(&mut self, key: Key) -> bool {
        let Entry::Occupied(mut entry) = self.places.entry(key) else { return false };
        entry.get_mut().records -= 1;
        let last = entry.get().records == 0 && self.complete;
        if last {
            entry.remove();
        }
        last
    }

    /// What could be read of the log was read, or `all` of it. Whether replay has to go back to the beginning.
    pub(super) fn handle_read(&mut self, all: bool) -> bool {
        if all && !std::mem::replace(&mut self.complete, true) {
            self.places.retain(|_, place| place.records > 0);
        }
        !std::mem::replace(&mut self.opened, true)
    }

    /// The log and the lane are empty: what could not be read any more has ended as well.
    pub(super) fn clear(&mut self) {
        self.places.clear();
    }

    /// What to do with a record that was read.
    pub(super) fn step(&mut self, now: Instant, lane: &Lane, key: Key, sequence: u64) -> Step {
        let place = self.places.entry(key).or_default();
        if !self.opened {
            return Step::Pass;
        }
        if sequence < place.next {
            return Step::Pass;
        }
        if let Some(inside) = &place.expired {
            return match inside.contains(&sequence) {
                true => Step::Pass,
                false if self.expires => Step::Expire,
                false => Step::Wait,
            };
        }
        if place.passed {
            return Step::Pass;
        }
        if lane.is_blocked(now, key) {
            place.passed = true;
            return Step::Pass;
        }
        if lane.has_held(key, MOST) { Step::Wait } else { Step::Take }
    }

    /// The lane has the record.
    pub(super) fn taken(&mut self, key: Key, sequence: u64) {
        self.places.entry(key).or_default().next = sequence + 1;
    }

    /// The record became a dead letter.
    pub(super) fn expired(&mut self, key: Key, sequence: u64) {
        self.taken(key, sequence);
        self.end(key);
    }

    /// Gives up partitions that have been blocked for so long, but for what is inside librdkafka. Whether replay has to
    /// go back for one.
    pub(super) fn expire(&mut self, now: Instant, hold_for: Duration, lane: &Lane, inside: &impl Inside) -> bool {
        let mut back = false;
        for (&(topic, partition), place) in &mut self.places {
            let in_lane = lane.place((topic, partition));
            let since = in_lane.and_then(Partition::blocked_since);
            let over = since.is_some_and(|since| now >= since + hold_for);
            match &mut place.expired {
                _ if !over => place.expired = None,
                None => {
                    let orders = inside.orders(topic, partition);
                    let inside = orders.filter_map(|order| inside.record(topic, partition, order));
                    place.expired = Some(inside.filter_map(|record| record.ticket.sequence(LogName::Parked)).collect());
                    back = true;
                }
                // Every report of what was inside is in, and some of it was refused.
                Some(inside) if !inside.is_empty() && in_lane.is_none_or(|lane| lane.in_flight == 0) => {
                    place.next = inside.drain().fold(place.next, u64::min);
                    back = true;
                }
                Some(_) => {}
            }
        }
        back
    }

    /// Lets the lane forget what it holds of partitions that are blocked. Whether replay has to go back for one that is
    /// not any more.
    pub(super) fn poll(&mut self, now: Instant, lane: &mut Lane) -> bool {
        let mut back = false;
        for (&key, place) in &mut self.places {
            lane.end_wait(now, key);
            let blocked = lane.is_blocked(now, key);
            if blocked && let Some(first) = lane.forget_held(key) {
                place.next = place.next.min(first);
                place.passed = true;
            }
            back |= place.passed && !blocked;
            place.passed &= blocked;
        }
        back
    }

    /// When a partition is to be tried again.
    pub(super) fn poll_timeout(&self, lane: &Lane) -> Option<Instant> {
        self.places.keys().filter_map(|key| lane.waits_until(*key)).min()
    }
}

impl Lane {
    /// Whether the partition can take nothing now.
    fn is_blocked(&self, now: Instant, key: Key) -> bool {
        let Some(place) = self.place(key) else { return false };
        let silent = place.oldest().is_some_and(|oldest| now >= oldest + OLDEST);
        place.shadows > 0 || silent || place.retry.until().is_some_and(|until| now < until)
    }

    /// The log takes nothing, and replay has read all of it: what waits for it goes to the partitions that are not blocked
    /// and have nothing before it. Whether anything went.
    pub(super) fn leave_log(&mut self, now: Instant) -> bool {
        self.sweep_incoming();
        let has_more = |place: &Partition| place.in_flight + place.held.len() > 0;
        let waits = |key: &Key| self.is_blocked(now, *key) || self.place(*key).is_some_and(has_more);
        let (waiting, free): (VecDeque<Key>, VecDeque<Key>) = self.sweep.iter().copied().partition(waits);
        self.sweep = waiting;
        let goes = !free.is_empty();
        self.hold_unswept(now, free);
        goes
    }

    fn has_held(&self, key: Key, most: usize) -> bool {
        self.place(key).is_some_and(|place| place.held.len() >= most)
    }

    /// When a partition is tried again that refused.
    fn waits_until(&self, key: Key) -> Option<Instant> {
        self.place(key)?.retry.until()
    }

    fn end_wait(&mut self, now: Instant, (topic, partition): Key) {
        self.partition(topic, partition).retry.handle_timeout(now);
    }

    /// Forgets what is held of a partition and lies in the log; what the log does not take any more is behind that, and waits
    /// for it again. The sequence number of the first record that was forgotten.
    fn forget_held(&mut self, (topic, partition): Key) -> Option<u64> {
        let log = self.log;
        let place = self.partition(topic, partition);
        let count = place.held.len();
        let gone: usize = place.held.iter().map(super::partition::bytes).sum();
        let mut forgotten = std::mem::take(&mut place.held);
        let mut unswept = forgotten.split_off(forgotten.partition_point(|record| record.ticket.is_read_by(log)));
        let behind = unswept.len();
        unswept.append(&mut place.unswept);
        place.unswept = unswept;
        if behind > 0 {
            self.begin_sweep(topic, partition);
        }
        self.unswept += behind;
        self.held -= count;
        self.bytes -= gone;
        forgotten.front()?.ticket.sequence(log)
    }
}
