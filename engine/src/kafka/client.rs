//! The control plane's Kafka client: finds topics and creates missing ones. Its calls block; shards never make them.

use std::{fmt, time::Duration};

use futures_lite::future::block_on;
use rdkafka::{
    admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication},
    client::DefaultClientContext,
    error::{KafkaError, RDKafkaErrorCode},
    metadata::MetadataTopic,
};

use super::config;
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

/// Finds topics and creates missing ones.
pub struct Resolver {
    admin: AdminClient<DefaultClientContext>,
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
        Ok(Resolver { admin, brokers: settings.kafka.brokers.clone(), create: settings.kafka.create })
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
        let metadata = self.admin.inner().fetch_metadata(None, TIMEOUT).map_err(|error| self.unreachable(&error))?;
        Ok(metadata.brokers().iter().map(|broker| format!("{}:{}", broker.host(), broker.port())).collect())
    }

    /// The partition count of a topic; `None` where it does not exist.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn partitions(&self, topic: &str) -> Result<Option<u32>, ClientError> {
        let metadata =
            self.admin.inner().fetch_metadata(Some(topic), TIMEOUT).map_err(|error| self.unreachable(&error))?;
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
        let metadata =
            self.admin.inner().fetch_metadata(Some(topic), TIMEOUT).map_err(|error| self.unreachable(&error))?;
        let found = metadata.topics().first().into_iter().flat_map(MetadataTopic::partitions);
        let replicas = found.map(|partition| partition.replicas().len()).min();
        Ok(replicas.and_then(|replicas| self.described(topic, replicas)))
    }

    fn described(&self, topic: &str, replicas: usize) -> Option<Durability> {
        let options = AdminOptions::new().request_timeout(Some(TIMEOUT));
        let configs = block_on(self.admin.describe_configs([&ResourceSpecifier::Topic(topic)], &options)).ok()?;
        let config = configs.into_iter().next()?.ok()?;
        let value = |name: &str| config.get(name).and_then(|entry| entry.value.clone());
        let in_sync = value("min.insync.replicas")?.parse().ok()?;
        let unclean = value("unclean.leader.election.enable")? != "false";
        Some(Durability { replicas, in_sync, unclean })
    }

    fn create(&self, topic: &str, create: Create) -> Result<(), ClientError> {
        let new =
            NewTopic::new(topic, create.partitions as i32, TopicReplication::Fixed(i32::from(create.replication)));
        // The broker answers when the topic's leaders are known everywhere.
        let options = AdminOptions::new().operation_timeout(Some(TIMEOUT)).request_timeout(Some(TIMEOUT));
        let results = block_on(self.admin.create_topics([&new], &options)).map_err(|error| self.unreachable(&error))?;
        match results.into_iter().next() {
            Some(Err((_, code))) if code != RDKafkaErrorCode::TopicAlreadyExists => Err(ClientError::Unusable {
                topic: topic.to_owned(),
                why: format!("it does not exist and cannot be created: {code}"),
            }),
            _ => Ok(()),
        }
    }

    fn unreachable(&self, error: &KafkaError) -> ClientError {
        ClientError::Unreachable { brokers: self.brokers.clone(), why: words(error) }
    }
}

/// What happened, without the name of the call.
fn words(error: &KafkaError) -> String {
    error.rdkafka_error_code().map_or_else(|| error.to_string(), |code| code.to_string())
}
