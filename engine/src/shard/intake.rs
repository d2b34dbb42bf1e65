//! From a PUBLISH to the lane of its partition: route, record, owner.

use std::{sync::Arc, time::Instant};

use super::spooling::SPILLING;
use crate::{
    kafka::{Directory, Topics},
    lane::Driver,
    message::{DropReason, Publish, Qos, Record, RouteId, Ticket, TopicId, UNPLACED},
    metrics::{Gauge, Metrics},
    mqtt::Session,
    route::{CacheCounts, Decision, Entry, Filter, Table, TopicDirectory, cover::Copies, partition::owner, record},
    settings::{Owner, Qos0, Settings, Source},
};

/// What became of a PUBLISH.
#[derive(Debug)]
pub(super) enum Offered {
    /// It is on its way; a receipt follows.
    Sent(RouteId),
    /// It ends here, as a counted drop.
    Dropped(RouteId, DropReason),
    /// It ends here: another copy of the same message counts.
    Suppressed,
    /// It cannot go on now; the session stops reading and offers it again.
    Stalled(Stalled),
}

/// A PUBLISH that cannot go on now.
#[derive(Debug)]
pub(super) enum Stalled {
    /// Its Kafka topic is not known (yet), or has an illegal name and the lane is full.
    Topic(Ticket, Publish),
    /// The lane, or the ring to it, is full.
    Full(usize, Record),
}

/// One shard's routes and its view of Kafka's topics.
#[derive(Debug)]
pub(super) struct Intake {
    settings: Arc<Settings>,
    topics: Arc<Topics>,
    metrics: Arc<Metrics>,
    /// What comes at QoS 0 while Kafka is away does not go to the spool.
    drops_qos0: bool,
    directory: Directory,
    /// One for each source.
    tables: Vec<Table>,
    /// One for each source whose filters overlap only partly.
    copies: Vec<Option<Copies>>,
}

impl Intake {
    /// The routes of every source.
    pub(super) fn new(settings: Arc<Settings>, topics: Arc<Topics>, metrics: Arc<Metrics>) -> Intake {
        let tables = (0..settings.sources.len()).map(|source| Table::new(source, &settings.routes)).collect();
        let copies = settings.sources.iter().map(copies).collect();
        let directory = Directory::new(topics.clone(), settings.engine.ack.spools());
        let drops_qos0 = settings.spool.as_ref().is_some_and(|spool| spool.qos0 == Qos0::Drop);
        Intake { directory, settings, topics, metrics, drops_qos0, tables, copies }
    }

    /// Number of Kafka topics that were found by now, and whether Kafka could not be asked.
    pub(super) fn known_topics(&self) -> (usize, bool) {
        (self.topics.found(), self.topics.is_away())
    }

    /// How the caches of MQTT topics fare, all sources together, and how many topics they may hold.
    pub(super) fn caches(&self) -> (CacheCounts, u64) {
        let counts = self.tables.iter().map(Table::cache).fold(CacheCounts::default(), CacheCounts::plus);
        (counts, CacheCounts::LIMIT * self.tables.len() as u64)
    }

    /// Takes a PUBLISH of `session` as far as it goes.
    // From here to the queue of its partition everything is inlined, so that a record is made where it stays: to move one
    // that was just written stalls, because the processor cannot forward its many small stores to the few wide loads.
    #[inline(always)]
    pub(super) fn offer(
        &mut self,
        now: Instant,
        source: usize,
        session: &Session,
        (ticket, publish): (Ticket, Publish),
        driver: &mut Driver,
    ) -> Offered {
        if let (Some(copies), Some(properties)) = (&self.copies[source], &publish.properties)
            && !session.is_refused()
            && !copies.counts(&publish.topic, &properties.subscription_ids)
        {
            return Offered::Suppressed;
        }
        let entry = match self.tables[source].lookup(&publish.topic, &mut self.directory) {
            Decision::Route(entry) => entry,
            Decision::NoRoute => return Offered::Dropped(RouteId::NONE, DropReason::NoRoute),
            Decision::Illegal { route, topic, key } => {
                let entry = Entry { route, topic: TopicId::NONE, partition: UNPLACED, key };
                return Intake::offer_illegal(now, &self.settings, (ticket, publish), (&entry, topic), driver);
            }
            Decision::Unknown { .. } => return Offered::Stalled(Stalled::Topic(ticket, publish)),
        };
        let route = &self.settings.routes[usize::from(entry.route.0)];
        let (route_id, topic, partition) = (entry.route, entry.topic, entry.partition);
        let droppable = self.drops_qos0 && publish.qos == Qos::AtMostOnce;
        let record = match record(ticket, publish, &entry, route) {
            Ok(record) => record,
            Err(reason) => return Offered::Dropped(route_id, reason),
        };
        let shards = driver.port().shards();
        let to = match route.owner {
            Owner::Partition if shards > 1 && partition != UNPLACED && self.topics.owner(topic) == Owner::Partition => {
                let partitions = self.topics.get(topic).map_or(1, |(_, partitions)| partitions);
                owner(partition, partitions, shards)
            }
            _ => driver.port().shard(),
        };
        if droppable && self.is_away(to, driver) {
            return Offered::Dropped(route_id, DropReason::Qos0);
        }
        Intake::push(now, to, record, driver)
    }

    /// Whether Kafka is away for a shard: another one's word may be as old as its heartbeat.
    fn is_away(&self, shard: usize, driver: &Driver) -> bool {
        if shard == driver.port().shard() {
            driver.lane().is_away()
        } else {
            self.metrics.shard(shard).gauge(Gauge::LaneMode) == SPILLING
        }
    }

    /// Offers again what stalled.
    #[cold]
    #[inline(never)]
    pub(super) fn again(
        &mut self,
        now: Instant,
        source: usize,
        session: &Session,
        stalled: Stalled,
        driver: &mut Driver,
    ) -> Offered {
        match stalled {
            Stalled::Topic(ticket, publish) => self.offer(now, source, session, (ticket, publish), driver),
            Stalled::Full(to, record) => Intake::push(now, to, record, driver),
        }
    }

    /// Takes a PUBLISH whose route renders no legal name of a Kafka topic: a dead letter, where these are kept.
    fn offer_illegal(
        now: Instant,
        settings: &Settings,
        (ticket, publish): (Ticket, Publish),
        (entry, name): (&Entry<'_>, &str),
        driver: &mut Driver,
    ) -> Offered {
        let route = entry.route;
        if !driver.dead_letters().is_kept() {
            return Offered::Dropped(route, DropReason::IllegalTopic);
        }
        if !driver.has_room() {
            return Offered::Stalled(Stalled::Topic(ticket, publish));
        }
        match record(ticket, publish, entry, &settings.routes[usize::from(route.0)]) {
            Ok(record) => {
                driver.take_illegal(now, record, name);
                Offered::Sent(route)
            }
            Err(reason) => Offered::Dropped(route, reason),
        }
    }

    #[inline(always)]
    fn push(now: Instant, to: usize, record: Record, driver: &mut Driver) -> Offered {
        let route = record.route;
        match driver.offer(now, to, record) {
            Ok(()) => Offered::Sent(route),
            Err(record) => Offered::Stalled(Stalled::Full(to, record)),
        }
    }
}

/// The rule which copy of a message counts; `None` where no two filters of the source overlap.
fn copies(source: &Source) -> Option<Copies> {
    let subscriptions: Vec<(u32, Filter)> = source
        .sessions
        .iter()
        .flat_map(|session| &session.subscriptions)
        .filter_map(|subscription| Some((subscription.id?, Filter::parse(subscription.bare()).ok()?)))
        .collect();
    (!subscriptions.is_empty()).then(|| Copies::new(subscriptions))
}

impl TopicDirectory for Directory {
    fn find(&mut self, name: &str) -> Option<(TopicId, u32)> {
        Directory::find(self, name)
    }
}
