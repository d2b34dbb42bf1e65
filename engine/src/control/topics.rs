//! Finds Kafka topics for the shards.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    kafka::{ClientError, MAX_TOPICS, Resolver, Topics},
    metrics::{Metrics, TopicState},
    ring::Doorbell,
    settings::Settings,
    shard::clock,
};

/// First wait before a topic that cannot be used is looked up again.
const FIRST_BACKOFF: Duration = Duration::from_millis(500);
/// Longest wait before a topic that cannot be used is looked up again.
const LAST_BACKOFF: Duration = Duration::from_secs(10);
/// The control thread's place among the shards that tell about topics.
const CONTROL: usize = usize::MAX;

/// A topic that shards wait for.
#[derive(Debug)]
struct Waiting {
    next: Instant,
    backoff: Duration,
}

/// Looks up every topic that a shard asks for, until it is found.
pub(super) async fn resolve(
    settings: &Settings,
    metrics: &Metrics,
    topics: &Topics,
    doorbells: &[Doorbell],
    resolver: &Arc<Resolver>,
) {
    let mut waiting: HashMap<String, Waiting> = HashMap::new();
    for name in settings.routes.iter().filter_map(|route| route.topic.constant()) {
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
            let found = look_up(resolver, &name).await;
            if let Some(reachable) = reachable(&found) {
                (0..doorbells.len()).for_each(|shard| {
                    metrics.status().kafka(shard, reachable.as_ref().map(|()| ()).map_err(String::as_str))
                });
            }
            if tell(metrics, topics, &name, found) {
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

async fn look_up(resolver: &Arc<Resolver>, name: &str) -> Result<u32, ClientError> {
    let (resolver, name) = (resolver.clone(), name.to_owned());
    let looked_up = tokio::task::spawn_blocking(move || resolver.resolve(&name)).await;
    looked_up.unwrap_or_else(|error| Err(ClientError::Config(error.to_string())))
}

/// Publishes a topic that was found, or says why not. Returns whether the topic is settled.
fn tell(metrics: &Metrics, topics: &Topics, name: &str, found: Result<u32, ClientError>) -> bool {
    match found {
        Ok(partitions) if topics.publish(name, partitions).is_some() => {
            tracing::info!(topic = name, partitions, "Kafka topic found");
            metrics.status().topic(CONTROL, name, TopicState::Available { partitions });
            true
        }
        Ok(_) => {
            let why = format!("more than {MAX_TOPICS} Kafka topics are in use; use fewer in [[route]] topic");
            tracing::error!(topic = name, why);
            metrics.status().topic(CONTROL, name, TopicState::Hold { reason: why });
            false
        }
        Err(error) => {
            let why = error.to_string();
            tracing::warn!(topic = name, why, "records for this topic wait; nothing of their sessions is acknowledged");
            metrics.status().topic(CONTROL, name, TopicState::Hold { reason: why });
            false
        }
    }
}

/// What the answer says about Kafka itself; `None` where it says nothing.
fn reachable(found: &Result<u32, ClientError>) -> Option<Result<(), String>> {
    match found {
        Err(error @ ClientError::Unreachable { .. }) => Some(Err(error.to_string())),
        Err(ClientError::Config(_)) => None,
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
