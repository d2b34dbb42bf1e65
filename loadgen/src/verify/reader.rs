//! Reads Kafka topics from their beginning to their end, without a consumer group.

use super::{Record, Verifier, Wrap};
use crate::clock::{Clock, MILLISECOND, SECOND, nanoseconds};
use crate::progress::Progress;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError as ClientError;
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, TopicPartitionList};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// For questions to the cluster; a broker that restarts needs a few seconds.
const ASK_TIMEOUT: Duration = Duration::from_secs(15);

/// How long one poll waits, so that a stop is noticed.
const POLL_TIMEOUT: Duration = Duration::from_millis(50);

/// How often the clock is read while records come.
const RECORDS_PER_LOOK: u64 = 256;

/// What is read.
#[derive(Debug, Clone)]
pub struct Config {
    /// Bootstrap servers, with commas.
    pub brokers: String,
    /// Kafka topics; a name that ends in `*` stands for all that start with it.
    pub topics: Vec<String>,
    /// Ends when nothing new came for this long.
    pub idle: Duration,
    /// Reads while the run goes on: the arrival is when the record was read, not its own timestamp.
    pub follow: bool,
    /// Further librdkafka settings.
    pub properties: Vec<(String, String)>,
    /// Where the payload is in a record.
    pub wrap: Wrap,
}

/// Why the topics could not be read.
#[derive(Debug, thiserror::Error)]
pub enum KafkaError {
    /// The settings are refused by librdkafka.
    #[error("the Kafka settings are not usable: {0}")]
    Settings(ClientError),
    /// The cluster does not answer.
    #[error("no answer from Kafka at {brokers}: {cause}; is it running, and does it listen there?")]
    Unreachable {
        /// The bootstrap servers.
        brokers: String,
        /// What librdkafka said.
        cause: ClientError,
    },
    /// There is no such topic.
    #[error("Kafka at {brokers} has no topic {topics}")]
    NoTopic {
        /// The bootstrap servers.
        brokers: String,
        /// What was asked for.
        topics: String,
    },
    /// Reading failed for good.
    #[error("reading from Kafka failed: {0}")]
    Read(ClientError),
}

/// Feeds everything to `verifier` until the end: as many messages as `progress` has for its target, all of the partitions' records
/// where there is no target, nothing new for [`Config::idle`], or `stop`.
///
/// # Errors
/// [`KafkaError`].
pub fn read(
    config: &Config,
    verifier: &mut Verifier,
    progress: &Progress,
    stop: &AtomicBool,
) -> Result<(), KafkaError> {
    let consumer: BaseConsumer = client_config(config).create().map_err(KafkaError::Settings)?;
    let mut ends = assign(config, &consumer, verifier)?;
    let clock = Clock::start();
    let mut last_news = clock.now();
    let mut next_note = last_news;
    let (mut now, mut since_look) = (last_news, 0);
    let idle = nanoseconds(config.idle);
    while !stop.load(Ordering::Relaxed) {
        let message = consumer.poll(POLL_TIMEOUT).transpose();
        let is_quiet = matches!(message, Ok(None));
        since_look += 1;
        if is_quiet || config.follow || since_look >= RECORDS_PER_LOOK {
            now = clock.now();
            since_look = 0;
        }
        match message {
            Ok(Some(message)) => {
                last_news = now;
                observe(verifier, &config.wrap, &message, config.follow.then_some(now));
                ends.note(&message);
            }
            Ok(None) => {}
            // The client goes on by itself once the brokers are back.
            Err(error) if is_passing(&error) => {}
            Err(error) => return Err(KafkaError::Read(error)),
        }
        if now >= next_note {
            next_note = now + 100 * MILLISECOND;
            verifier.note_latency(progress);
        }
        if is_quiet || since_look == 0 {
            verifier.note(progress);
            let is_all = match progress.target() {
                Some(target) => verifier.found() >= target && ends.are_reached(),
                None => !config.follow && ends.are_reached(),
            };
            if is_all && ends.refresh(config, &consumer)? {
                break;
            }
            if now - last_news > idle && (progress.target().is_some() || !config.follow) {
                break;
            }
        }
    }
    verifier.note_latency(progress);
    Ok(())
}

fn client_config(config: &Config) -> ClientConfig {
    let mut client = ClientConfig::new();
    client
        .set("bootstrap.servers", &config.brokers)
        // Needed by librdkafka, never joined.
        .set("group.id", "fairlead-loadgen-verify")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "earliest")
        .set("allow.auto.create.topics", "false")
        .set("check.crcs", "true")
        .set("fetch.wait.max.ms", "20")
        .set("queued.min.messages", "200000")
        .set("queued.max.messages.kbytes", "131072")
        .set("fetch.message.max.bytes", "4194304")
        .set_log_level(RDKafkaLogLevel::Critical);
    for (key, value) in &config.properties {
        client.set(key, value);
    }
    client
}

/// The end of each partition, and how far it was read.
#[derive(Debug, Default)]
struct Ends {
    /// Topic, partition, high watermark, next offset.
    of: Vec<(String, i32, i64, i64)>,
    last: usize,
}

impl Ends {
    fn note(&mut self, message: &BorrowedMessage<'_>) {
        let (topic, partition) = (message.topic(), message.partition());
        let is_it = |entry: &(String, i32, i64, i64)| entry.1 == partition && entry.0 == topic;
        if !self.of.get(self.last).is_some_and(is_it) {
            let Some(place) = self.of.iter().position(is_it) else {
                return;
            };
            self.last = place;
        }
        self.of[self.last].3 = message.offset() + 1;
    }

    fn are_reached(&self) -> bool {
        self.of.iter().all(|entry| entry.3 >= entry.2)
    }

    /// Asks for the ends again; true if they have not moved.
    fn refresh(&mut self, config: &Config, consumer: &BaseConsumer) -> Result<bool, KafkaError> {
        for entry in &mut self.of {
            entry.2 = watermarks(config, consumer, &entry.0, entry.1)?.1;
        }
        Ok(self.are_reached())
    }
}

fn watermarks(config: &Config, consumer: &BaseConsumer, topic: &str, partition: i32) -> Result<(i64, i64), KafkaError> {
    let asked = consumer.fetch_watermarks(topic, partition, ASK_TIMEOUT);
    asked.map_err(|cause| KafkaError::Unreachable { brokers: config.brokers.clone(), cause })
}

fn assign(config: &Config, consumer: &BaseConsumer, verifier: &mut Verifier) -> Result<Ends, KafkaError> {
    let asked = consumer.fetch_metadata(None, ASK_TIMEOUT);
    let metadata = asked.map_err(|cause| KafkaError::Unreachable { brokers: config.brokers.clone(), cause })?;
    let is_wanted = |name: &str| {
        let mut wanted = config.topics.iter();
        wanted.any(|topic| topic.strip_suffix('*').map_or(topic == name, |prefix| name.starts_with(prefix)))
    };
    let (mut ends, mut list) = (Ends::default(), TopicPartitionList::new());
    for topic in metadata.topics().iter().filter(|topic| is_wanted(topic.name())) {
        for partition in topic.partitions() {
            let (low, high) = watermarks(config, consumer, topic.name(), partition.id())?;
            verifier.start_at(topic.name(), partition.id(), low);
            list.add_partition_offset(topic.name(), partition.id(), Offset::Offset(low))
                .map_err(KafkaError::Settings)?;
            ends.of.push((topic.name().to_owned(), partition.id(), high, low));
        }
    }
    if ends.of.is_empty() {
        return Err(KafkaError::NoTopic { brokers: config.brokers.clone(), topics: config.topics.join(", ") });
    }
    consumer.assign(&list).map_err(KafkaError::Settings)?;
    Ok(ends)
}

fn observe(verifier: &mut Verifier, wrap: &Wrap, message: &BorrowedMessage<'_>, read_ns: Option<i64>) {
    let own = || message.timestamp().to_millis().unwrap_or(0).saturating_mul(SECOND / 1_000);
    verifier.observe(&Record {
        topic: message.topic(),
        partition: message.partition(),
        offset: message.offset(),
        key: message.key(),
        payload: &wrap.payload(message).unwrap_or_default(),
        arrived_ns: read_ns.unwrap_or_else(own),
    });
}

/// Errors after which librdkafka goes on by itself.
fn is_passing(error: &ClientError) -> bool {
    use rdkafka::error::RDKafkaErrorCode as Code;
    let passing = [
        Code::AllBrokersDown,
        Code::BrokerTransportFailure,
        Code::OperationTimedOut,
        Code::RequestTimedOut,
        Code::LeaderNotAvailable,
        Code::NotLeaderForPartition,
        Code::BrokerNotAvailable,
        Code::Resolve,
    ];
    error.rdkafka_error_code().is_some_and(|code| passing.contains(&code))
}
