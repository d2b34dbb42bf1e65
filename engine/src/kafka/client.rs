//! The control plane's Kafka client: finds topics and creates missing ones. Its calls block; shards never make them.

use std::time::Duration;

use futures_lite::future::block_on;
use rdkafka::{
    admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication},
    client::DefaultClientContext,
    error::{KafkaError, RDKafkaErrorCode},
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

    /// What a confirmation of this topic is worth: replicas, `min.insync.replicas`, unclean leader election. `None`
    /// where Kafka does not tell.
    #[must_use]
    pub fn durability(&self, topic: &str) -> Option<String> {
        let metadata = self.admin.inner().fetch_metadata(Some(topic), TIMEOUT).ok()?;
        let replicas = metadata.topics().first()?.partitions().iter().map(|part| part.replicas().len()).min()?;
        let options = AdminOptions::new().request_timeout(Some(TIMEOUT));
        let configs = block_on(self.admin.describe_configs([&ResourceSpecifier::Topic(topic)], &options)).ok()?;
        let config = configs.into_iter().next()?.ok()?;
        let value = |name: &str| config.get(name).and_then(|entry| entry.value.clone());
        let (in_sync, unclean) = (value("min.insync.replicas")?, value("unclean.leader.election.enable")?);
        let safe = replicas >= 3 && in_sync.parse().is_ok_and(|least: u32| least >= 2) && unclean == "false";
        let verdict = if safe {
            "a confirmed record survives the loss of a broker"
        } else {
            "the loss of one broker can lose confirmed records: use replication 3, min.insync.replicas 2"
        };
        Some(format!(
            "replication {replicas}, min.insync.replicas {in_sync}, unclean leader election {unclean}: {verdict}"
        ))
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
