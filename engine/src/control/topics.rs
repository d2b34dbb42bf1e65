//! Finds Kafka topics for the shards.

use std::{
    collections::HashMap,
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::MissedTickBehavior;

use super::ask;
use crate::{
    kafka::{ClientError, MAX_TOPICS, Resolver, Topics},
    metrics::{CONTROL, Gauge, Metrics, TopicState},
    ring::Doorbell,
    settings::{Owner, Settings},
    shard::clock,
    spool::Placement,
};

/// First wait before a topic that cannot be used is looked up again.
const FIRST_BACKOFF: Duration = Duration::from_millis(500);
/// Longest wait before a topic that cannot be used is looked up again.
const LAST_BACKOFF: Duration = Duration::from_secs(10);
/// How often a Kafka that is away is asked for.
const PROBE: Duration = Duration::from_secs(2);

/// A topic that shards wait for.
#[derive(Debug)]
struct Waiting {
    next: Instant,
    backoff: Duration,
}

/// Finds topics for the shards.
pub(super) struct Finder<'a> {
    pub(super) metrics: &'a Metrics,
    pub(super) topics: &'a Topics,
    pub(super) resolver: &'a Arc<Resolver>,
    pub(super) placement: &'a Arc<Placement>,
}

impl Finder<'_> {
    /// Looks up every topic that a shard asks for, until it is found.
    pub(super) async fn run(&self, settings: &Settings, doorbells: &[Doorbell]) {
        let topics = self.topics;
        let mut waiting: HashMap<String, Waiting> = HashMap::new();
        for name in settings.named_topics() {
            // Kafka may be reached before the answer is here, and without it no record goes on.
            let reason = "it has not been looked up yet".to_owned();
            self.metrics.status().topic(CONTROL, name, TopicState::Hold { reason });
            waiting.entry(name.to_owned()).or_insert_with(Waiting::now);
        }
        loop {
            while let Some(name) = topics.next_wanted() {
                if !topics.contains(&name) && waiting.len() < MAX_TOPICS {
                    waiting.entry(name).or_insert_with(Waiting::now);
                }
            }
            let now = clock::now();
            let due: Vec<String> =
                waiting.iter().filter(|(_, waiting)| waiting.next <= now).map(|(name, _)| name.clone()).collect();
            for name in due {
                let found = look_up(self.resolver, &name).await;
                if let Some(reachable) = reachable(&found) {
                    if topics.is_away() == reachable.is_ok() {
                        topics.set_away(reachable.is_err());
                        doorbells.iter().for_each(Doorbell::ring);
                    }
                    tell_reachable(self.metrics, reachable.as_ref().copied().map_err(String::as_str));
                }
                if self.handle_found(&name, found).await {
                    waiting.remove(&name);
                    doorbells.iter().for_each(Doorbell::ring);
                } else if let Some(waiting) = waiting.get_mut(&name) {
                    waiting.again();
                }
            }
            let next = waiting.values().map(|waiting| waiting.next).min();
            tokio::select! {
                () = topics.wanted() => {}
                () = tokio::time::sleep_until(next.unwrap_or(now + LAST_BACKOFF).into()), if next.is_some() => {}
            }
        }
    }

    /// Publishes a topic that was found, or says why not. Returns whether the topic is settled.
    async fn handle_found(&self, name: &str, found: Result<u32, ClientError>) -> bool {
        let hold = |reason| {
            self.metrics.status().topic(CONTROL, name, TopicState::Hold { reason });
            false
        };
        let partitions = match found {
            Ok(partitions) => partitions,
            Err(error) => {
                let why = error.to_string();
                tracing::warn!(
                    topic = name,
                    why,
                    "records for this topic wait; nothing of their sessions is acknowledged"
                );
                return hold(why);
            }
        };
        let used = match self.topics.partitions(name) {
            Some(noted) => noted,
            None if self.publish(name, partitions).await => partitions,
            None => {
                let why = format!("more than {MAX_TOPICS} Kafka topics are in use; use fewer in [[route]] topic");
                tracing::error!(topic = name, why);
                return hold(why);
            }
        };
        if partitions < used {
            let why =
                format!("it has {partitions} partitions, and the spool holds records for {used}: give it as many");
            tracing::error!(topic = name, why);
            return hold(why);
        }
        tracing::info!(topic = name, partitions = used, "Kafka topic found");
        self.metrics.status().topic(CONTROL, name, TopicState::Available { partitions: used });
        true
    }

    /// Publishes a topic, whose records are dealt by partition if that can be noted. Returns whether there was room.
    async fn publish(&self, name: &str, partitions: u32) -> bool {
        let Some(mut owner) = self.topics.reserve(name) else { return false };
        if owner == Owner::Partition {
            let (placement, topic) = (self.placement.clone(), name.to_owned());
            let noted = tokio::task::spawn_blocking(move || placement.note(&topic, partitions)).await;
            match noted.unwrap_or_else(|error| Err(io::Error::other(error))) {
                Ok(true) => {}
                Ok(false) => owner = Owner::Session,
                Err(error) => {
                    tracing::warn!(topic = name, %error, "its records stay with the shards of their sessions");
                    owner = Owner::Session;
                }
            }
        }
        self.topics.publish(name, partitions, owner).is_some()
    }
}

/// Asks Kafka for a sign of life while it is said to be away: a shard with nothing in flight would not notice its return.
pub(super) async fn probe(metrics: &Metrics, resolver: &Arc<Resolver>) {
    let mut tick = tokio::time::interval(PROBE);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let kafka = metrics.status().board().kafka;
        if !idle(metrics).any(|shard| !kafka[shard].reachable) {
            continue;
        }
        let resolver = resolver.clone();
        if let Some(found) = ask(move || resolver.cluster()).await {
            let why = found.err().map(|error| error.to_string());
            tell_reachable(metrics, why.as_deref().map_or(Ok(()), Err));
        }
    }
}

/// Shards that have nothing in flight. The others know better whether Kafka confirms.
fn idle(metrics: &Metrics) -> impl Iterator<Item = usize> {
    metrics.shards().enumerate().filter(|(_, shard)| shard.gauge(Gauge::Lane) == 0).map(|(index, _)| index)
}

fn tell_reachable(metrics: &Metrics, reachable: Result<(), &str>) {
    let now = clock::now();
    idle(metrics).for_each(|shard| metrics.status().kafka(shard, reachable, now));
}

async fn look_up(resolver: &Arc<Resolver>, name: &str) -> Result<u32, ClientError> {
    let (resolver, name) = (resolver.clone(), name.to_owned());
    ask(move || resolver.resolve(&name)).await.unwrap_or(Err(ClientError::NoAnswer))
}

/// What the answer says about Kafka itself; `None` where it says nothing.
fn reachable(found: &Result<u32, ClientError>) -> Option<Result<(), String>> {
    match found {
        Err(error @ ClientError::Unreachable { .. }) => Some(Err(error.to_string())),
        Err(ClientError::Config(_) | ClientError::NoAnswer) => None,
        _ => Some(Ok(())),
    }
}

impl Waiting {
    fn now() -> Waiting {
        Waiting { next: clock::now(), backoff: FIRST_BACKOFF }
    }

    fn again(&mut self) {
        self.next = clock::now() + self.backoff;
        self.backoff = (self.backoff * 2).min(LAST_BACKOFF);
    }
}
