//! The lane with its producer and what is beside it: what `lane::Driver` is, in the model. It decides nothing.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant, UNIX_EPOCH},
};

use fairlead_spool::{Usage, disk::Memory};

use super::{
    checker::Checker,
    context::Context,
    disk::{Desk, Desks},
    kafka::{Cluster, Producer, REPLACEMENT},
    plan::{Bug, Plan},
    slot::Outside,
};
use crate::{
    kafka::{Directory, HoldReason, Report, Topics, Verdict},
    lane::{Lane, Mode, Ready, Settlement, Side, Turn, spooling},
    message::{LogName, Outcome, Publish, Receipt, Record, RouteId, Ticket, TopicId},
    metrics::{Layout, Ledger, Metrics},
    route::partition::place,
    settings::{Ack, Owner, Settings},
    shard::Tally,
    spool::Logs,
};

/// The Kafka topic.
pub(super) const TOPIC: &str = "sim";

#[derive(Debug)]
pub(super) struct Line {
    pub(super) lane: Lane,
    side: Option<Side<Memory, Desk>>,
    pub(super) producer: Producer,
    pub(super) desks: Desks,
    /// What came of the turn so far.
    came: Turn,
    topics: Arc<Topics>,
    directory: Directory,
    tally: Tally,
    metrics: Arc<Metrics>,
    /// The producer has failed for good; its successor comes then.
    fatal: Option<Duration>,
    partitions: u32,
    keyed: bool,
    ack: Ack,
    bug: Option<Bug>,
    /// What has ended too early, for [`Bug::CursorAhead`].
    ahead: HashSet<u64>,
    pub(super) spills: u64,
    pub(super) parkings: u64,
}

impl Line {
    pub(super) fn new(
        cx: &Context,
        plan: &Plan,
        settings: &Settings,
        logs: Option<Logs<Memory>>,
        producer: Producer,
    ) -> Line {
        let topics = Arc::new(Topics::default());
        let clock = (cx.instant(), UNIX_EPOCH + Duration::from_secs(1_700_000_000) + cx.now);
        let mut lane = Lane::new(settings.kafka.linger, spooling(plan.ack), settings.engine.memory);
        let desks = Desks::default();
        let (spool, parked) = desks.of_logs();
        let side = logs.map(|logs| Side::new(settings, &topics, logs, (spool, parked, None), clock));
        if side.as_ref().is_some_and(|side| side.backlog() > 0) {
            lane.drain(clock.0);
        }
        Line {
            lane,
            side,
            producer,
            desks,
            came: Turn::default(),
            directory: Directory::new(topics.clone(), plan.ack.spools()),
            topics,
            tally: Tally::new(1),
            metrics: Metrics::new(Layout { shards: 1, routes: vec!["#".to_owned()], sessions: Vec::new() }),
            fatal: None,
            partitions: plan.partitions,
            keyed: plan.keyed,
            ack: plan.ack,
            bug: plan.bug,
            ahead: HashSet::new(),
            spills: 0,
            parkings: 0,
        }
    }

    /// The control plane could not ask Kafka for the topic.
    pub(super) fn miss_topic(&self) {
        self.topics.set_away(true);
    }

    /// The control plane has found the Kafka topic; `shifted` gives it another index than before.
    pub(super) fn publish_topic(&self, shifted: bool) {
        self.topics.set_away(false);
        if shifted {
            self.topics.publish("other", 1, Owner::Partition);
        }
        self.topics.publish(TOPIC, self.partitions, Owner::Partition);
    }

    /// The Kafka topic and its partitions, once it is known; none of them where Kafka is away and there is a spool.
    pub(super) fn topic(&mut self) -> Option<(TopicId, u32)> {
        self.directory.find(TOPIC)
    }

    /// Makes the record of a message and gives it to the lane. Whether its receipt waits for a sync.
    pub(super) fn offer(
        &mut self,
        now: Instant,
        ticket: Ticket,
        publish: Publish,
        (topic, partitions): (TopicId, u32),
    ) -> bool {
        let partition = place(&publish.topic.as_bytes()[..], partitions);
        let value = Some(publish.payload);
        let (key, mqtt_topic) =
            if self.keyed { (Some(publish.topic.into_bytes()), None) } else { (None, Some(publish.topic)) };
        let record = Record { ticket, topic, route: RouteId(0), partition, key, value, mqtt_topic, extra: None };
        self.lane.handle_record(now, record);
        self.tally.sent(RouteId(0));
        self.ack == Ack::Spool || self.ack == Ack::Durable && self.lane.mode() != Mode::Direct
    }

    pub(super) fn saturated(&mut self, now: Instant) {
        self.lane.handle_saturated(now);
    }

    /// When it wants a turn although nothing came.
    pub(super) fn poll_timeout(&self, cx: &Context) -> Option<Duration> {
        let side = self.side.as_ref().and_then(|side| side.poll_timeout(!self.lane.is_empty(), self.fatal.is_none()));
        let lane = match self.fatal {
            Some(at) => Some(at).filter(|_| self.producer.in_flight() == 0),
            None => self.lane.poll_timeout().map(|at| cx.since_origin(at)),
        };
        lane.into_iter().chain(side.map(|at| cx.since_origin(at))).min()
    }

    /// One turn: reports, results of jobs, what is due. Returns the receipts for the sessions.
    pub(super) fn turn(&mut self, cx: &mut Context, out: &mut Outside<'_>) -> Vec<Receipt> {
        let now = cx.instant();
        if let Some(mode) = self.lane.handle_timeout(now) {
            self.changed(cx, mode);
        }
        while let Some(report) = self.producer.poll(out.checker, out.life) {
            self.report(now, report);
        }
        self.poll_side(cx);
        if self.fatal.is_some_and(|at| cx.now >= at) && self.producer.in_flight() == 0 {
            self.fatal = None;
            self.producer = Producer::new(self.producer.id() + 1, self.partitions);
            cx.tell(|| "kafka: a new producer".to_owned());
        }
        self.flush(cx, out.cluster);
        let came = std::mem::take(&mut self.came);
        for receipt in &came.receipts {
            self.tally.settled(receipt.route, receipt.outcome);
        }
        came.ledger.into_iter().for_each(|(route, movement)| self.tally.moved(route, movement));
        came.receipts
    }

    fn changed(&mut self, cx: &mut Context, mode: Mode) {
        cx.tell(|| format!("lane: {}", label(mode)));
        if let Some(side) = &mut self.side {
            side.rewind();
        }
        match mode {
            Mode::Spilling { .. } => self.spills += 1,
            Mode::Draining { .. } if self.bug == Some(Bug::ReplayOverShadows) => self.forget_shadows(cx),
            _ => {}
        }
    }

    /// The shard comes to its end: what lies in the spool stays there.
    pub(super) fn stop(&mut self) {
        self.lane.stop();
        if let Some(side) = &mut self.side {
            side.stop();
        }
    }

    /// The lane hears that its shadows failed, and they stay where they are.
    fn forget_shadows(&mut self, cx: &Context) {
        for (order, record) in self.producer.shadows() {
            let verdict = Verdict::Hold(HoldReason::Unavailable);
            let _ = self.settle(cx.instant(), Report { record, order, verdict });
        }
    }

    fn report(&mut self, now: Instant, report: Report) {
        if self.bug == Some(Bug::ReplayOverShadows) && self.producer.is_forgotten(&report) {
            return;
        }
        let spilling = matches!(self.lane.mode(), Mode::Spilling { .. });
        let receipt = match self.settle(now, report) {
            None => return,
            Some(Settlement::Receipt(receipt)) => receipt,
            // Without a place for dead letters it is dropped.
            Some(Settlement::Refused(refused)) => {
                let (Record { ticket, route, .. }, reason) = *refused;
                Receipt { ticket, route, outcome: Outcome::Dropped(reason) }
            }
        };
        match receipt.ticket.sequence(LogName::Spool) {
            Some(sequence) if self.ahead.contains(&sequence) => {}
            Some(_) if self.bug == Some(Bug::ShadowTwice) && spilling => {}
            _ => self.end(receipt),
        }
    }

    fn settle(&mut self, now: Instant, report: Report) -> Option<Settlement> {
        match &mut self.side {
            Some(side) => side.handle_report(now, &mut self.lane, report),
            None => self.lane.handle_report(now, report),
        }
    }

    fn end(&mut self, receipt: Receipt) {
        let left = match &mut self.side {
            Some(side) => side.end(receipt),
            None => Some(receipt),
        };
        self.came.receipts.extend(left);
    }

    fn poll_side(&mut self, cx: &mut Context) {
        let Some(side) = &mut self.side else { return };
        let before = side.parked.partitions().count();
        let deliver = |receipt, receipts: &mut Vec<Receipt>| receipts.push(receipt);
        side.poll(cx.instant(), &mut self.lane, &mut self.producer, &mut self.came, deliver);
        let mut parked: Vec<_> = side.parked.partitions().map(|(_, partition, records)| (partition, records)).collect();
        parked.sort_unstable();
        if parked.len() > before {
            self.parkings += 1;
            cx.tell(|| format!("lane: parks, now {parked:?}"));
        }
    }

    /// Hands the batches over that are due.
    pub(super) fn flush(&mut self, cx: &mut Context, cluster: &Cluster) {
        let now = cx.instant();
        if self.lane.is_due(now) && self.fatal.is_none() {
            self.send(cx, cluster);
        }
        if self.side.as_ref().is_some_and(|side| side.parked.is_due(now)) && self.fatal.is_none() {
            self.send_parked(cx, cluster);
        }
    }

    fn send(&mut self, cx: &mut Context, cluster: &Cluster) {
        let (now, mut refused, mut ahead) = (cx.instant(), Vec::new(), Vec::new());
        while let Some(ready) = self.lane.poll_ready(now) {
            let (topic, partition) = (ready.topic, ready.partition);
            if let Some(side) = self.side.as_mut().filter(|side| side.parked.contains(topic, partition)) {
                let (count, bytes) = side.take_records(now, ready);
                self.lane.handle_parked(count, bytes);
                continue;
            }
            if self.bug == Some(Bug::CursorAhead) {
                let taken = ready.records.iter().take(ready.most);
                let spooled = taken.filter_map(|record| Some((record, record.ticket.sequence(LogName::Spool)?)));
                for (record, _) in spooled.filter(|(_, sequence)| self.ahead.insert(*sequence)) {
                    let (ticket, route, outcome) = (record.ticket, record.route, Outcome::Delivered);
                    ahead.push(Receipt { ticket, route, outcome });
                }
            }
            let count = hand_over(cx, cluster, &mut self.producer, ready, &mut refused);
            self.lane.handle_produced(now, topic, partition, count);
        }
        ahead.into_iter().for_each(|receipt| self.end(receipt));
        refused.into_iter().for_each(|report| self.report(now, report));
    }

    fn send_parked(&mut self, cx: &mut Context, cluster: &Cluster) {
        let Some(side) = &mut self.side else { return };
        let (now, mut refused) = (cx.instant(), Vec::new());
        while let Some(ready) = side.parked.poll_ready(now) {
            let (topic, partition) = (ready.topic, ready.partition);
            let count = hand_over(cx, cluster, &mut self.producer, ready, &mut refused);
            side.parked.handle_produced(now, topic, partition, count);
        }
        refused.into_iter().for_each(|report| self.report(now, report));
    }

    /// The producer fails for good.
    pub(super) fn fail(&mut self, cx: &mut Context, cluster: &Cluster, checker: &mut Checker) {
        if self.fatal.is_none() {
            self.producer.purge(cx, cluster, checker);
            self.fatal = Some(cx.now + REPLACEMENT);
            cx.wake();
        }
    }

    /// Whether nothing here would be lost, as the driver sees it.
    pub(super) fn is_settled(&self) -> bool {
        (self.lane.is_empty() || self.lane.is_spooled()) && self.side.as_ref().is_none_or(Side::is_settled)
    }

    /// Whether there is nothing left to do.
    pub(super) fn is_idle(&self) -> bool {
        let drained = |side: &Side<Memory, Desk>| side.backlog() == 0 && side.parked.partitions().next().is_none();
        let drained = self.side.as_ref().is_none_or(drained);
        self.lane.is_empty() && self.lane.mode() == Mode::Direct && drained && self.is_settled()
    }

    /// What the logs hold.
    pub(super) fn usages(&self) -> impl Iterator<Item = Usage> {
        self.side.iter().flat_map(|side| [side.siding.usage(), side.parked.siding().usage()])
    }

    /// Whether a log takes nothing more until the next start.
    pub(super) fn is_fenced(&self) -> bool {
        self.usages().any(|usage| usage.fenced)
    }

    /// What the ledger says that is wrong.
    pub(super) fn imbalance(&mut self) -> Option<String> {
        self.tally.publish(self.metrics.shard(0));
        Ledger::of(&self.metrics).imbalance().map(|imbalance| imbalance.to_string())
    }

    /// What is where, for the trace.
    pub(super) fn describe(&self) -> String {
        let parked =
            self.side.as_ref().map(|side| (side.parked.lane().len(), side.parked.partitions().collect::<Vec<_>>()));
        let settled = self.side.as_ref().map(|side| (side.backlog(), side.is_settled()));
        format!(
            "{}, {} in the lane, {} in flight, holds {:?}, backlog {settled:?}, parked {parked:?}, logs {:?}",
            label(self.lane.mode()),
            self.lane.len(),
            self.lane.in_flight(),
            self.lane.holds().collect::<Vec<_>>(),
            self.usages().collect::<Vec<_>>(),
        )
    }
}

/// Gives the producer what is ready. Returns how many records it took.
fn hand_over(
    cx: &mut Context,
    cluster: &Cluster,
    producer: &mut Producer,
    ready: Ready<'_>,
    refused: &mut Vec<Report>,
) -> usize {
    let (partition, before) = (ready.partition, ready.records.len());
    refused.extend(producer.produce(cx, cluster, partition as usize, ready.records, ready.most));
    let count = before - ready.records.len();
    cx.tell(|| format!("lane: hands {count} records of partition {partition} over"));
    count
}

fn label(mode: Mode) -> &'static str {
    match mode {
        Mode::Direct => "Direct",
        Mode::Spilling { .. } => "Spilling",
        Mode::Draining { .. } => "Draining",
    }
}
