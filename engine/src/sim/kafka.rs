//! A model of Kafka and of librdkafka.
//!
//! What it holds to: the records of a partition are appended in the order in which they were handed over; what was
//! refused was not appended, and then everything behind it that is inside librdkafka is refused too; what was purged
//! may have been appended; a report may come long after the append, and those of two partitions in any order.

use std::{
    collections::{HashSet, VecDeque},
    ops::Range,
    time::Duration,
};

use super::{
    checker::{Checker, identify},
    context::{Context, Event},
};
use crate::{
    kafka::{HoldReason, Report, Verdict},
    lane::Inside,
    message::{DropReason, LogName, Record, Ticket, TopicId},
};

/// How Kafka is.
#[derive(Debug, Default)]
pub(super) struct Cluster {
    /// How many faults keep all of it silent, and each partition.
    pub(super) frozen: u32,
    pub(super) blocked: Vec<u32>,
    /// How many faults make a partition slow.
    pub(super) slow: Vec<u32>,
    /// Why a partition refuses, and how many faults make it.
    pub(super) refusing: Vec<(u32, Option<HoldReason>)>,
    pub(super) full: u32,
    /// Messages that it never takes.
    pub(super) poison: HashSet<u32>,
    /// Time of a request, microseconds.
    pub(super) latency: u64,
}

impl Cluster {
    pub(super) fn new(partitions: u32, latency: u64) -> Cluster {
        let partitions = partitions as usize;
        Cluster {
            blocked: vec![0; partitions],
            slow: vec![0; partitions],
            refusing: vec![(0, None); partitions],
            latency,
            ..Cluster::default()
        }
    }

    fn is_silent(&self, partition: usize) -> bool {
        self.frozen > 0 || self.blocked[partition] > 0
    }

    /// Time of a request to a partition, microseconds.
    fn latency(&self, partition: usize) -> u64 {
        if self.slow[partition] > 0 { self.latency * SLOW } else { self.latency }
    }

    fn takes(&self, record: &Record) -> bool {
        record.value.as_deref().and_then(identify).is_none_or(|id| !self.poison.contains(&id))
    }

    /// A partition, or all, begins to refuse.
    pub(super) fn refuse(&mut self, partition: Option<usize>, reason: HoldReason) {
        self.each(partition, |(count, why)| (*count, *why) = (*count + 1, Some(reason)));
    }

    /// One reason less to refuse.
    pub(super) fn relent(&mut self, partition: Option<usize>) {
        self.each(partition, |(count, _)| *count -= 1);
    }

    fn each(&mut self, partition: Option<usize>, change: impl Fn(&mut (u32, Option<HoldReason>))) {
        let places = self.refusing.iter_mut().enumerate();
        places.filter(|(at, _)| partition.is_none_or(|one| one == *at)).for_each(|(_, place)| change(place));
    }

    /// All is well.
    pub(super) fn heal(&mut self) {
        (self.frozen, self.full) = (0, 0);
        self.blocked.fill(0);
        self.slow.fill(0);
        self.refusing.fill((0, None));
    }
}

/// The records of one partition inside librdkafka.
#[derive(Debug, Default)]
struct Place {
    records: VecDeque<Option<Record>>,
    /// The order of the first of them.
    first: u64,
    /// Below this they are in Kafka or refused, and reported.
    appended: u64,
    answered: u64,
    scheduled: bool,
}

/// A producer: librdkafka's side of a partition, and the reports that wait to be polled.
#[derive(Debug)]
pub(super) struct Producer {
    id: u32,
    places: Vec<Place>,
    reports: VecDeque<(usize, u64, Verdict)>,
    in_flight: usize,
    /// Partition and order of what the lane was told to be gone.
    forgotten: HashSet<(u32, u64)>,
}

impl Producer {
    pub(super) fn new(id: u32, partitions: u32) -> Producer {
        let places = (0..partitions).map(|_| Place::default()).collect();
        Producer { id, places, reports: VecDeque::new(), in_flight: 0, forgotten: HashSet::new() }
    }

    pub(super) fn id(&self) -> u32 {
        self.id
    }

    /// Records whose report was not polled.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Hands records over, oldest first; the first that is refused ends it.
    pub(super) fn produce(
        &mut self,
        cx: &mut Context,
        cluster: &Cluster,
        partition: usize,
        records: &mut VecDeque<Record>,
        most: usize,
    ) -> Option<Report> {
        let place = &mut self.places[partition];
        let mut refused = None;
        for _ in 0..most.min(records.len()) {
            let Some(record) = records.pop_front() else { break };
            let order = place.end();
            if cluster.full > 0 && cx.chance(0.2) {
                place.records.push_back(None);
                let verdict = Verdict::Hold(HoldReason::Unavailable);
                refused = Some(Report { record, order, verdict });
                break;
            }
            place.records.push_back(Some(record));
            self.in_flight += 1;
        }
        place.trim();
        self.schedule(cx, cluster, partition);
        refused
    }

    /// Kafka can go on with a partition.
    pub(super) fn schedule(&mut self, cx: &mut Context, cluster: &Cluster, partition: usize) {
        let place = &mut self.places[partition];
        if place.scheduled || place.answered >= place.end() {
            return;
        }
        place.scheduled = true;
        let latency = cluster.latency(partition);
        let pause = cx.micros(latency / 2, latency * 2);
        cx.after(pause, Event::Serve { producer: self.id, partition });
    }

    pub(super) fn schedule_all(&mut self, cx: &mut Context, cluster: &Cluster) {
        (0..self.places.len()).for_each(|partition| self.schedule(cx, cluster, partition));
    }

    /// One step of a partition: an answer goes out, or a request comes in.
    pub(super) fn serve(&mut self, cx: &mut Context, cluster: &Cluster, checker: &mut Checker, partition: usize) {
        let place = &mut self.places[partition];
        place.scheduled = false;
        let end = place.end();
        if cluster.is_silent(partition) || place.answered >= end {
            return;
        }
        if place.appended > place.answered {
            let answered = std::mem::replace(&mut place.answered, place.appended);
            self.answer(cx, partition, answered..self.places[partition].appended, Verdict::Delivered);
        } else if let (1.., Some(reason)) = cluster.refusing[partition] {
            let from = place.answered;
            (place.appended, place.answered) = (end, end);
            self.answer(cx, partition, from..end, Verdict::Hold(reason));
        } else if place.range(place.appended..end).any(|record| !cluster.takes(record)) {
            let from = place.answered;
            (place.appended, place.answered) = (end, end);
            self.answer(cx, partition, from..end, Verdict::Suspect(DropReason::TooLarge));
        } else {
            let whole = (end - place.appended) as usize;
            let count = if cx.chance(0.5) { whole } else { cx.number(1, whole) };
            place.append(cx, checker, partition, count as u64);
        }
        self.schedule(cx, cluster, partition);
    }

    fn answer(&mut self, cx: &mut Context, partition: usize, orders: Range<u64>, verdict: Verdict) {
        cx.tell(|| format!("kafka {partition}: {verdict:?} for orders {orders:?}"));
        self.reports.extend(orders.map(|order| (partition, order, verdict)));
        cx.wake();
    }

    /// The next report to the process of this life.
    pub(super) fn poll(&mut self, checker: &mut Checker, life: u32) -> Option<Report> {
        while let Some((partition, order, verdict)) = self.reports.pop_front() {
            let place = &mut self.places[partition];
            let at = order.checked_sub(place.first).map(|at| at as usize);
            let taken = at.and_then(|at| place.records.get_mut(at)).and_then(Option::take);
            place.trim();
            if let Some(record) = taken {
                self.in_flight -= 1;
                if let (Verdict::Delivered, Some(id)) = (verdict, record.value.as_deref().and_then(identify)) {
                    checker.messages[id as usize].confirmed = life;
                }
                return Some(Report { record, order, verdict });
            }
        }
        None
    }

    /// A fatal error: everything comes back. What is on the wire may be appended or not, as far as a gap allows.
    pub(super) fn purge(&mut self, cx: &mut Context, cluster: &Cluster, checker: &mut Checker) {
        checker.allow_reruns(None, 1);
        for partition in 0..self.places.len() {
            self.strand(cx, cluster, checker, partition);
            let place = &mut self.places[partition];
            let (from, end) = (place.answered, place.end());
            let purged = place.range(from..end).filter_map(|record| record.value.as_deref().and_then(identify));
            let purged: Vec<u32> = purged.collect();
            checker.allow_all(&purged);
            (place.appended, place.answered) = (end, end);
            self.answer(cx, partition, from..end, Verdict::Hold(HoldReason::Purged));
        }
    }

    /// The process is gone. What is on the wire may be appended or not.
    pub(super) fn abandon(&mut self, cx: &mut Context, cluster: &Cluster, checker: &mut Checker) {
        (0..self.places.len()).for_each(|partition| self.strand(cx, cluster, checker, partition));
    }

    fn strand(&mut self, cx: &mut Context, cluster: &Cluster, checker: &mut Checker, partition: usize) {
        let place = &mut self.places[partition];
        let waiting = place.range(place.appended..place.end());
        let most = waiting.take_while(|record| cluster.takes(record)).count();
        let refused = cluster.refusing[partition].0 > 0;
        if most > 0 && !refused {
            let count = cx.number(0, most);
            place.append(cx, checker, partition, count as u64);
        }
    }

    /// Copies of the shadows inside; their reports will not count ([`super::plan::Bug::ReplayOverShadows`]).
    pub(super) fn shadows(&mut self) -> Vec<(u64, Record)> {
        let mut shadows = Vec::new();
        for (partition, place) in self.places.iter().enumerate() {
            let inside =
                (place.first..).zip(&place.records).filter_map(|(order, record)| Some((order, record.as_ref()?)));
            for (order, record) in inside.filter(|(_, record)| record.ticket.sequence(LogName::Spool).is_some()) {
                if self.forgotten.insert((partition as u32, order)) {
                    shadows.push((order, record.clone()));
                }
            }
        }
        shadows
    }

    /// Whether it is the report of a shadow that was forgotten.
    pub(super) fn is_forgotten(&mut self, report: &Report) -> bool {
        self.forgotten.remove(&(report.record.partition, report.order))
    }

    /// The messages inside librdkafka.
    pub(super) fn messages(&self) -> impl Iterator<Item = u32> {
        let records = self.places.iter().flat_map(|place| place.records.iter().flatten());
        records.filter_map(|record| record.value.as_deref().and_then(identify))
    }
}

impl Place {
    fn end(&self) -> u64 {
        self.first + self.records.len() as u64
    }

    fn range(&self, orders: Range<u64>) -> impl Iterator<Item = &Record> {
        let at = |order: u64| (order.max(self.first) - self.first) as usize;
        self.records.range(at(orders.start)..at(orders.end)).flatten()
    }

    fn append(&mut self, cx: &mut Context, checker: &mut Checker, partition: usize, count: u64) {
        let orders = self.appended.max(self.first)..self.appended.max(self.first) + count;
        cx.tell(|| {
            let ids = self.range(orders.clone()).filter_map(|record| record.value.as_deref().and_then(identify));
            format!("kafka {partition}: appends orders {orders:?}: {:?}", ids.collect::<Vec<_>>())
        });
        for record in self.range(orders.clone()) {
            checker.appended(cx, partition, record);
        }
        self.appended = orders.end;
    }

    fn trim(&mut self) {
        while let Some(None) = self.records.front() {
            self.records.pop_front();
            self.first += 1;
        }
        self.appended = self.appended.max(self.first);
        self.answered = self.answered.max(self.first);
    }
}

impl Inside for Producer {
    fn orders(&self, _: TopicId, partition: u32) -> Range<u64> {
        let place = &self.places[partition as usize];
        place.first..place.end()
    }

    fn record(&self, _: TopicId, partition: u32, order: u64) -> Option<&Record> {
        let place = &self.places[partition as usize];
        place.records.get(order.checked_sub(place.first)? as usize)?.as_ref()
    }

    fn set_ticket(&mut self, _: TopicId, partition: u32, order: u64, ticket: Ticket) {
        let place = &mut self.places[partition as usize];
        if let Some(Some(record)) = place.records.get_mut((order - place.first) as usize) {
            record.ticket = ticket;
        }
    }
}

/// How many times as long a slow partition takes.
const SLOW: u64 = 100;

/// Pause before a failed producer's successor is there.
pub(super) const REPLACEMENT: Duration = Duration::from_millis(5);
