//! The producer: messages straight into Kafka, as the rdkafka crate makes it easy. It is the ceiling of what a bridge that uses
//! the crate can reach, and itself no example of speed.

use crate::ais::payload::Format;
use crate::clock::{Clock, seconds_between};
use crate::cpu::{Cost, Meter};
use crate::latency::{Latency, Percentiles};
use crate::ledger::{AckLog, Expectation};
use crate::load::Load;
use crate::output::OutputError;
use crate::pace::{Pace, PaceError};
use crate::progress::Progress;
use crate::stamp;
use crate::traffic::{Feed, Traffic, TrafficError};
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Delivery reports are taken after so many messages.
const TURN: u64 = 1_024;

/// The longest wait for a place in the queue, for the time of the next message, or for a delivery report.
const WAIT: Duration = Duration::from_millis(1);

/// How long the cluster may take to answer at the start.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);

/// What a producer shall do.
#[derive(Debug, Clone)]
pub struct Config {
    /// Kafka's bootstrap servers, with commas.
    pub brokers: String,
    /// The Kafka topic.
    pub topic: String,
    /// What is produced.
    pub traffic: Traffic,
    /// What AIS payloads are made of.
    pub format: Format,
    /// Whether records have the MQTT topic for their key.
    pub keyed: bool,
    /// Messages in all; without it until the time is over or the run is stopped.
    pub messages: Option<u64>,
    /// Nothing new is sent after this time.
    pub seconds: Option<Duration>,
    /// How the run goes.
    pub load: Load,
    /// Settings of librdkafka beyond acks=all and idempotence.
    pub properties: Vec<(String, String)>,
}

/// Why a run of the producer failed.
#[derive(Debug, thiserror::Error)]
pub enum ProduceError {
    /// There is nothing to produce.
    #[error(transparent)]
    Traffic(#[from] TrafficError),
    /// The rate or its shape makes no sense.
    #[error(transparent)]
    Pace(#[from] PaceError),
    /// librdkafka refuses the settings.
    #[error("the Kafka settings are not usable: {0}")]
    Settings(KafkaError),
    /// The cluster does not answer.
    #[error("no answer from Kafka at {brokers}: {cause}; is it running, and does it listen there?")]
    Unreachable {
        /// The bootstrap servers.
        brokers: String,
        /// What librdkafka said.
        cause: KafkaError,
    },
    /// There is no such topic.
    #[error("Kafka at {brokers} has no topic {topic}")]
    NoTopic {
        /// The bootstrap servers.
        brokers: String,
        /// What was asked for.
        topic: String,
    },
    /// A record was refused for good.
    #[error("Kafka refuses a record: {0}")]
    Refused(KafkaError),
    /// The log of acknowledgements could not be written.
    #[error(transparent)]
    Output(#[from] OutputError),
}

/// What happened, as it is written to the result file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// What was sent to each topic.
    #[serde(flatten)]
    pub expected: Expectation,
    /// Whether all messages were sent and confirmed.
    pub complete: bool,
    /// Messages sent.
    pub sent: u64,
    /// Messages that Kafka confirmed.
    pub acknowledged: u64,
    /// Messages that Kafka refused.
    pub refused: u64,
    /// Seconds from the first message to the last confirmation.
    pub seconds: f64,
    /// Messages a second over that time.
    pub messages_per_second: f64,
    /// From sending (open loop: from the intended time) to the delivery report.
    pub latency: Percentiles,
    /// The same in full: shares of the messages, and the milliseconds that these did not exceed.
    pub latency_curve: Vec<(f64, f64)>,
    /// What it cost.
    #[serde(flatten)]
    pub cost: Cost,
}

/// What delivery reports have said.
struct Deliveries {
    clock: Clock,
    told: Mutex<Told>,
}

struct Told {
    ack_log: AckLog,
    latency: Latency,
    refused: u64,
    refusal: Option<KafkaError>,
    acknowledged: u64,
    last_ns: i64,
}

/// What comes back with a delivery report.
struct Sent {
    publisher: u32,
    sequence: u64,
    intended_ns: i64,
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<Sent>;

    fn delivery(&self, result: &DeliveryResult<'_>, sent: Box<Sent>) {
        let now = self.clock.now();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err((error, _)) = result {
            told.refused += 1;
            told.refusal.get_or_insert_with(|| error.clone());
            return;
        }
        told.acknowledged += 1;
        told.last_ns = now;
        told.latency.record(now - sent.intended_ns);
        told.ack_log.record(sent.publisher, sent.sequence);
    }
}

/// Produces until all is confirmed or `stop` is set.
///
/// # Errors
/// [`ProduceError`].
pub fn run(config: &Config, progress: &Progress, stop: &AtomicBool) -> Result<Report, ProduceError> {
    config.load.rate.check(config.load.shape, config.traffic.is_fleet())?;
    let (plan, _) = config.traffic.prepare(&config.format, config.messages, config.load.run_id, 1)?;
    let producer = config.connect(plan.topics.len())?;
    let mut run = Run {
        clock: producer.context().clock,
        started_ns: producer.context().clock.now(),
        pace: Pace::new(config.load.rate, config.load.shape, 1.0),
        sent: vec![0; plan.topics.len()],
        meter: Meter::start(&config.load.processes, producer.context().clock.now()),
        config,
        producer,
        progress,
    };
    if let Some(messages) = config.messages {
        progress.set_target(messages);
    }
    let sent = run.send_all(plan.feed(0, 1), stop)?;
    let confirmed = run.drain(stop);
    run.report(plan.topics.clone(), sent && confirmed)
}

impl Config {
    /// A producer; the cluster answers and has the topic.
    fn connect(&self, publishers: usize) -> Result<BaseProducer<Deliveries>, ProduceError> {
        let mut client = ClientConfig::new();
        client
            .set("bootstrap.servers", &self.brokers)
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("allow.auto.create.topics", "false")
            .set_log_level(RDKafkaLogLevel::Critical);
        for (key, value) in &self.properties {
            client.set(key, value);
        }
        let told = Told {
            ack_log: AckLog::new(self.load.run_id, publishers),
            latency: Latency::new(),
            refused: 0,
            refusal: None,
            acknowledged: 0,
            last_ns: 0,
        };
        let context = Deliveries { clock: Clock::start(), told: Mutex::new(told) };
        let producer: BaseProducer<Deliveries> = client.create_with_context(context).map_err(ProduceError::Settings)?;
        let asked = producer.client().fetch_metadata(Some(&self.topic), ASK_TIMEOUT);
        let metadata = asked.map_err(|cause| ProduceError::Unreachable { brokers: self.brokers.clone(), cause })?;
        let has_partitions = metadata.topics().iter().any(|topic| !topic.partitions().is_empty());
        if !has_partitions {
            return Err(ProduceError::NoTopic { brokers: self.brokers.clone(), topic: self.topic.clone() });
        }
        Ok(producer)
    }
}

struct Run<'a> {
    config: &'a Config,
    clock: Clock,
    started_ns: i64,
    pace: Pace,
    sent: Vec<u64>,
    meter: Meter,
    producer: BaseProducer<Deliveries>,
    progress: &'a Progress,
}

impl Run<'_> {
    /// Whether everything was sent.
    fn send_all(&mut self, mut feed: Feed, stop: &AtomicBool) -> Result<bool, ProduceError> {
        let mut payload = Vec::new();
        while let Some(place) = feed.peek() {
            let intended_ns = match self.pace.offset_ns(place.number, place.at_ns) {
                Some(offset) => self.started_ns + offset,
                None => self.clock.now(),
            };
            while self.clock.now() < intended_ns {
                self.producer.poll(WAIT);
            }
            if place.number.is_multiple_of(TURN) {
                self.producer.poll(Duration::ZERO);
                self.note_progress();
                if stop.load(Ordering::Relaxed) {
                    return Ok(false);
                }
                let seconds = seconds_between(self.started_ns, self.clock.now());
                if self.config.seconds.is_some_and(|limit| seconds >= limit.as_secs_f64()) {
                    return Ok(self.config.messages.is_none());
                }
            }
            let next = feed.take(&mut payload);
            stamp::seal(&mut payload, next.stamp_at, next.sequence, intended_ns);
            let sent = Sent { publisher: next.publisher, sequence: next.sequence, intended_ns };
            self.produce(feed.topic(next.publisher), &payload, sent)?;
            self.sent[next.publisher as usize] += 1;
            self.progress.note_sent(payload.len() as u64);
        }
        Ok(true)
    }

    fn produce(&self, key: &str, payload: &[u8], sent: Sent) -> Result<(), ProduceError> {
        let record = BaseRecord::with_opaque_to(&self.config.topic, Box::new(sent)).payload(payload);
        let mut record = if self.config.keyed { record.key(key) } else { record };
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), refused)) => {
                    record = refused;
                    self.producer.poll(WAIT);
                }
                Err((error, _)) => return Err(ProduceError::Refused(error)),
            }
        }
    }

    /// Waits for the delivery reports; whether there are none left.
    fn drain(&mut self, stop: &AtomicBool) -> bool {
        while self.producer.in_flight_count() > 0 && !stop.load(Ordering::Relaxed) {
            self.producer.poll(WAIT);
            self.note_progress();
        }
        self.producer.in_flight_count() == 0
    }

    fn note_progress(&mut self) {
        self.meter.tick(self.clock.now());
        let told = self.producer.context().told.lock().unwrap_or_else(PoisonError::into_inner);
        self.progress.note_acknowledged(told.acknowledged, told.latency.percentiles());
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of messages are far below 2^53")]
    fn report(self, topics: Vec<String>, complete: bool) -> Result<Report, ProduceError> {
        let used = self.meter.finish();
        let told = self.producer.context().told.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(path) = &self.config.load.ack_log {
            told.ack_log.save(path)?;
        }
        if let Some(error) = told.refusal.as_ref().filter(|_| told.acknowledged == 0) {
            return Err(ProduceError::Refused(error.clone()));
        }
        let seconds = seconds_between(self.started_ns, told.last_ns);
        Ok(Report {
            sent: self.sent.iter().sum(),
            expected: Expectation { run_id: self.config.load.run_id, topics, sent: self.sent },
            complete: complete && told.refused == 0,
            acknowledged: told.acknowledged,
            refused: told.refused,
            seconds,
            messages_per_second: if seconds > 0.0 { told.acknowledged as f64 / seconds } else { 0.0 },
            latency: told.latency.percentiles(),
            latency_curve: told.latency.curve(),
            cost: Cost::new(used, seconds),
        })
    }
}
