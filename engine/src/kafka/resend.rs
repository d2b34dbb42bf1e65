//! Sends records beside the line: for commands, which have time, through rdkafka's own producer.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rdkafka::{
    ClientConfig, ClientContext,
    error::{KafkaError, RDKafkaErrorCode},
    message::{Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext},
};

use super::{ClientError, Resolver, config};
use crate::{
    mqtt::{Payload, Text},
    route::partition::partition,
    settings::Settings,
};

/// Longest wait for the confirmation of a record. A command must not wait for ever.
const CONFIRM: Duration = Duration::from_secs(60);
/// Wait for room in the full queue before it is tried again.
const ROOM: Duration = Duration::from_millis(100);
/// Most KiB that wait inside librdkafka.
const QUEUE_KIB: &str = "65536";

/// A record that is sent again.
#[derive(Clone, Copy, Debug)]
pub struct Again<'a> {
    /// The key.
    pub key: Option<&'a [u8]>,
    /// What decides the partition where there is no key.
    pub mqtt_topic: &'a [u8],
    /// The value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// The headers.
    pub headers: &'a [(Text, Payload)],
    /// When the message was received: milliseconds since 1970.
    pub time: u64,
}

/// What became of the records that were sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Confirmed by Kafka.
    pub confirmed: u64,
    /// Refused, or not confirmed in time.
    pub failed: u64,
    /// Kafka's words about the first of these.
    pub why: Option<String>,
}

/// Sends records to Kafka topics, in order, acks=all, idempotent.
pub struct Resend {
    producer: BaseProducer<Reports>,
    resolver: Resolver,
}

/// A Kafka topic that takes them.
#[derive(Debug)]
pub struct Target {
    topic: String,
    partitions: u32,
}

impl Resend {
    /// A producer of its own.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn new(settings: &Settings) -> Result<Resend, ClientError> {
        Resend::with(settings, config::client(settings))
    }

    /// A producer that sends each record alone: Kafka refuses a batch that is too large, whichever record makes it so.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn one_by_one(settings: &Settings) -> Result<Resend, ClientError> {
        let mut client = config::client(settings);
        client.set("batch.num.messages", "1");
        Resend::with(settings, client)
    }

    fn with(settings: &Settings, mut client: ClientConfig) -> Result<Resend, ClientError> {
        client
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("message.timeout.ms", CONFIRM.as_millis().to_string())
            .set("queue.buffering.max.kbytes", QUEUE_KIB)
            .set("message.max.bytes", config::largest_message(settings).to_string());
        let producer = client.create_with_context(Reports::default());
        let producer = producer.map_err(|error| ClientError::Config(error.to_string()))?;
        Ok(Resend { producer, resolver: Resolver::new(settings)? })
    }

    /// Finds a topic, or creates it where the settings say so. Blocks for seconds at most.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn target(&self, topic: &str) -> Result<Target, ClientError> {
        Ok(Target { topic: topic.to_owned(), partitions: self.resolver.resolve(topic)? })
    }

    /// Hands a record over; waits while the queue is full.
    pub fn send(&self, target: &Target, again: Again<'_>) {
        let hashed = again.key.unwrap_or(again.mqtt_topic);
        let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(&target.topic)
            .partition(partition(hashed, target.partitions) as i32)
            .timestamp(i64::try_from(again.time).unwrap_or(i64::MAX));
        (record.key, record.payload) = (again.key, again.value);
        if !again.headers.is_empty() {
            record.headers = Some(
                again
                    .headers
                    .iter()
                    .fold(OwnedHeaders::new_with_capacity(again.headers.len()), |headers, (name, value)| {
                        headers.insert(Header { key: name, value: Some(&value[..]) })
                    }),
            );
        }
        while let Err((error, back)) = self.producer.send(record) {
            if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
                return self.producer.context().fail(&error);
            }
            self.producer.poll(ROOM);
            record = back;
        }
        self.producer.poll(Duration::ZERO);
    }

    /// Waits until the fate of every record is known.
    #[must_use]
    pub fn finish(self) -> Sent {
        while self.producer.in_flight_count() > 0 {
            // Each record has its own deadline inside librdkafka, so that this ends.
            self.producer.poll(ROOM);
        }
        let Reports { confirmed, failed, why } = &**self.producer.context();
        Sent {
            confirmed: confirmed.load(Ordering::Relaxed),
            failed: failed.load(Ordering::Relaxed),
            why: why.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

/// Counts delivery reports.
#[derive(Debug, Default)]
struct Reports {
    confirmed: AtomicU64,
    failed: AtomicU64,
    why: Mutex<Option<String>>,
}

impl Reports {
    fn fail(&self, error: &KafkaError) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        let words = error.rdkafka_error_code().map_or_else(|| error.to_string(), |code| code.to_string());
        self.why.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(words);
    }
}

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(_) => drop(self.confirmed.fetch_add(1, Ordering::Relaxed)),
            Err((error, _)) => self.fail(error),
        }
    }
}
