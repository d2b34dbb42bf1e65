//! The control plane's Kafka client: finds topics and creates missing ones. Its calls block; shards never make them.

use std::{
    fmt,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use futures_lite::future::block_on;
use rdkafka::{
    admin::{AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication},
    client::DefaultClientContext,
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
    metadata::{Metadata, MetadataTopic},
};

use super::{bootstrap, config, raw};
use crate::settings::{Create, Settings};

/// Longest wait for one answer of Kafka.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Why a topic cannot be used now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The client could not be made.
    #[error("librdkafka refuses its configuration: {0}; check [kafka] properties")]
    Config(String),
    /// No broker answers.
    #[error("no Kafka broker answers at {brokers}: {why}")]
    Unreachable {
        /// `[kafka] brokers`.
        brokers: String,
        /// librdkafka's words.
        why: String,
    },
    /// Kafka's client has not come back in time.
    #[error("Kafka's client has not answered; it is asked again")]
    NoAnswer,
    /// The topic does not exist.
    #[error(
        "Kafka topic `{0}` does not exist; create it, or set [kafka] create = {{ partitions = 9, replication = 1 }}"
    )]
    Missing(String),
    /// The topic is there but not usable.
    #[error("Kafka topic `{topic}`: {why}")]
    Unusable {
        /// The topic.
        topic: String,
        /// Kafka's words.
        why: String,
    },
}

/// What Kafka's confirmation of a record is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Durability {
    /// Replicas of the partition that has the fewest.
    pub replicas: usize,
    /// `min.insync.replicas`
    pub in_sync: u32,
    /// `unclean.leader.election.enable`
    pub unclean: bool,
}

impl Durability {
    /// Whether a confirmed record survives the loss of any one broker.
    #[must_use]
    pub fn is_safe(&self) -> bool {
        self.replicas >= 3 && self.in_sync >= 2 && !self.unclean
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Durability { replicas, in_sync, unclean } = self;
        let verdict = match self.is_safe() {
            true => "a confirmed record survives the loss of a broker",
            false => "the loss of one broker can lose confirmed records: use replication 3, min.insync.replicas 2",
        };
        write!(f, "replication {replicas}, min.insync.replicas {in_sync}, unclean leader election {unclean}: {verdict}")
    }
}

type Admin = AdminClient<DefaultClientContext>;

/// Finds topics and creates missing ones.
pub struct Resolver {
    admin: Admin,
    /// Questions in a row without an answer.
    unanswered: AtomicU32,
    brokers: String,
    create: Option<Create>,
}

impl Resolver {
    /// A client of the configured brokers. Does not connect yet.
    ///
    /// # Errors
    /// [`ClientError::Config`].
    pub fn new(settings: &Settings) -> Result<Resolver, ClientError> {
        let admin = config::client(settings).create().map_err(|error| ClientError::Config(error.to_string()))?;
        let (brokers, create) = (settings.kafka.brokers.clone(), settings.kafka.create);
        Ok(Resolver { admin, unanswered: AtomicU32::new(0), brokers, create })
    }

    /// The partition count of a topic; creates the topic where the configuration says so. Blocks for seconds at most.
    ///
    /// # Errors
    /// See [`ClientError`]; asking again later may help.
    pub fn resolve(&self, topic: &str) -> Result<u32, ClientError> {
        match (self.partitions(topic)?, self.create) {
            (Some(partitions), _) => Ok(partitions),
            (None, None) => Err(ClientError::Missing(topic.to_owned())),
            (None, Some(create)) => {
                self.create(topic, create)?;
                self.partitions(topic)?.ok_or_else(|| ClientError::Missing(topic.to_owned()))
            }
        }
    }

    /// Who answers: `host:port` of each broker.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`].
    pub fn cluster(&self) -> Result<Vec<String>, ClientError> {
        let metadata = self.metadata(None)?;
        Ok(metadata.brokers().iter().map(|broker| format!("{}:{}", broker.host(), broker.port())).collect())
    }

    /// The partition count of a topic; `None` where it does not exist.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn partitions(&self, topic: &str) -> Result<Option<u32>, ClientError> {
        let metadata = self.metadata(Some(topic))?;
        let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else { return Ok(None) };
        match found.error().map(RDKafkaErrorCode::from) {
            None if found.partitions().is_empty() => Ok(None),
            None => Ok(Some(found.partitions().len() as u32)),
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => Ok(None),
            Some(code) => Err(ClientError::Unusable { topic: topic.to_owned(), why: code.to_string() }),
        }
    }

    /// What a confirmation of this topic is worth. `None` where Kafka does not tell.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`].
    pub fn durability(&self, topic: &str) -> Result<Option<Durability>, ClientError> {
        let metadata = self.metadata(Some(topic))?;
        let found = metadata.topics().first().into_iter().flat_map(MetadataTopic::partitions);
        let replicas = found.map(|partition| partition.replicas().len()).min();
        let Some(replicas) = replicas else { return Ok(None) };
        let options = AdminOptions::new().request_timeout(Some(TIMEOUT));
        let resource = ResourceSpecifier::Topic(topic);
        let configs = self.ask(|admin| block_on(admin.describe_configs([&resource], &options)))?;
        Ok(configs.into_iter().next().and_then(Result::ok).and_then(|config| durability(&config, replicas)))
    }

    fn create(&self, topic: &str, create: Create) -> Result<(), ClientError> {
        let new =
            NewTopic::new(topic, create.partitions as i32, TopicReplication::Fixed(i32::from(create.replication)));
        // The broker answers when the topic's leaders are known everywhere.
        let options = AdminOptions::new().operation_timeout(Some(TIMEOUT)).request_timeout(Some(TIMEOUT));
        let results = self.ask(|admin| block_on(admin.create_topics([&new], &options)))?;
        match results.into_iter().next() {
            Some(Err((_, code))) if code != RDKafkaErrorCode::TopicAlreadyExists => Err(ClientError::Unusable {
                topic: topic.to_owned(),
                why: format!("it does not exist and cannot be created: {code}"),
            }),
            _ => Ok(()),
        }
    }

    fn metadata(&self, topic: Option<&str>) -> Result<Metadata, ClientError> {
        self.ask(|admin| admin.inner().fetch_metadata(topic, TIMEOUT))
    }

    /// Asks Kafka. After questions without an answer the client is told ever more rarely where Kafka is: see
    /// [`bootstrap::is_reminder_due`].
    fn ask<T>(&self, call: impl FnOnce(&Admin) -> KafkaResult<T>) -> Result<T, ClientError> {
        let error = match call(&self.admin) {
            Ok(answer) => {
                self.unanswered.store(0, Ordering::Relaxed);
                return Ok(answer);
            }
            Err(error) => error,
        };
        let unanswered = self.unanswered.fetch_add(1, Ordering::Relaxed) + 1;
        if bootstrap::is_reminder_due(unanswered * TIMEOUT.as_secs() as u32) {
            raw::bootstrap(self.admin.inner(), &self.brokers);
        }
        Err(ClientError::Unreachable { brokers: self.brokers.clone(), why: words(&error) })
    }
}

fn durability(config: &ConfigResource, replicas: usize) -> Option<Durability> {
    let value = |name: &str| config.get(name).and_then(|entry| entry.value.clone());
    let in_sync = value("min.insync.replicas")?.parse().ok()?;
    let unclean = value("unclean.leader.election.enable")? != "false";
    Some(Durability { replicas, in_sync, unclean })
}

/// What happened, without the name of the call.
fn words(error: &KafkaError) -> String {
    error.rdkafka_error_code().map_or_else(|| error.to_string(), |code| code.to_string())
}

#[cfg(test)]
mod tests {
    use rdkafka::mocking::MockCluster;

    use super::*;

    #[test]
    fn a_client_that_lost_every_broker_is_told_where_kafka_is() {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("ais", 3, 1).unwrap();
        let nowhere = Resolver::new(&Settings::minimal("127.0.0.1:9")).unwrap();
        let resolver = Resolver { brokers: cluster.bootstrap_servers(), ..nowhere };
        let mut questions = (1..=5).map(|_| resolver.resolve("ais"));
        assert!(matches!(questions.next(), Some(Err(ClientError::Unreachable { .. }))));
        assert!(questions.any(|answer| answer == Ok(3)));
        assert_eq!(resolver.unanswered.load(Ordering::Relaxed), 0);
    }
}
