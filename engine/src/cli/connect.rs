//! `fairlead check --connect`: what both sides answered, and what can be expected of them.

use std::time::Duration;

use serde::Serialize;

use crate::settings::{Ack, Address, Secrets, Settings, Source, Version};

/// Messages that mosquitto has in flight to one MQTT 3.1.1 client, whatever the client can take.
const STOCK_WINDOW: u16 = 20;
/// Messages that stock brokers queue for one client before they drop.
const STOCK_QUEUE: u32 = 1_000;

/// What `check --connect` found.
#[derive(Clone, Debug)]
pub struct Found {
    /// The answer to each source, in order, or why there is none.
    pub brokers: Vec<Result<Broker, String>>,
    /// Kafka's answer, or why there is none.
    pub kafka: Result<Cluster, String>,
}

/// An MQTT broker that answered.
#[derive(Clone, Debug)]
pub struct Broker {
    /// Which of the source's addresses.
    pub url: Address,
    /// The version that was agreed on: [`Version::V5`] or [`Version::V311`].
    pub version: Version,
    /// From a PINGREQ to its PINGRESP.
    pub round_trip: Duration,
}

/// A Kafka cluster that answered.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// `host:port` of each broker.
    pub brokers: Vec<String>,
    /// From a request to its answer.
    pub round_trip: Duration,
    /// Each Kafka topic that the configuration names, with its partitions, or why it cannot be used.
    pub topics: Vec<(String, Result<u32, String>)>,
    /// What a confirmation of each of these topics is worth, where Kafka tells.
    pub durability: Vec<(String, String)>,
}

/// What was found, for people and for `--json`.
#[derive(Debug, Serialize)]
pub(super) struct Connections {
    /// Whether everything answered.
    pub(super) reachable: bool,
    pub(super) lines: Vec<String>,
    pub(super) sessions: Vec<Expectation>,
}

/// What one source can carry.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Expectation {
    source: String,
    window: u16,
    round_trip_ms: f64,
    /// Window ÷ round trip: more does not go through one session.
    session_ceiling_per_s: u64,
    rate_per_s: u64,
    /// How long the queue of a stock broker lasts at that rate while Fairlead does not read.
    broker_queue_ms: u64,
}

impl Connections {
    /// Says what was found; `rate` is the messages a second that the user expects.
    pub(super) fn new(settings: &Settings, found: &Found, rate: Option<u64>, secrets: &Secrets) -> Connections {
        let mut lines = Vec::new();
        let mut sessions = Vec::new();
        for (source, answer) in settings.sources.iter().zip(&found.brokers) {
            match answer {
                Err(why) => lines.push(format!("source {}: no broker answers: {why}", source.name)),
                Ok(broker) => {
                    lines.push(answered(source, broker));
                    sessions.extend(expectation(settings, source, broker, found, rate));
                }
            }
        }
        match &found.kafka {
            Err(why) => lines.push(format!("kafka: {why}")),
            Ok(cluster) => lines.extend(cluster_lines(cluster)),
        }
        lines.extend(sessions.iter().map(Expectation::line));
        lines.iter_mut().for_each(|line| *line = secrets.redact(line));
        sessions.iter_mut().for_each(|session| session.source = secrets.redact(&session.source));
        let reachable = found.kafka.is_ok() && found.brokers.iter().all(Result::is_ok);
        Connections { reachable, lines, sessions }
    }
}

fn answered(source: &Source, broker: &Broker) -> String {
    let version = match broker.version {
        Version::V311 => "3.1.1",
        Version::V5 | Version::Auto => "5",
    };
    format!("source {}: {} answers in {} as MQTT {version}", source.name, broker.url, milliseconds(broker.round_trip))
}

fn cluster_lines(cluster: &Cluster) -> Vec<String> {
    let answer = format!("kafka: {} answer in {}", cluster.brokers.join(", "), milliseconds(cluster.round_trip));
    let topics = cluster.topics.iter().map(|(topic, partitions)| match partitions {
        Ok(partitions) => format!("kafka: topic {topic} has {partitions} partitions"),
        Err(why) => format!("kafka: topic {topic}: {why}"),
    });
    let durability = cluster.durability.iter().map(|(topic, worth)| format!("kafka: topic {topic}: {worth}"));
    std::iter::once(answer).chain(topics).chain(durability).collect()
}

/// What the window and the round trips come to; `None` where Kafka is waited for and did not answer.
fn expectation(
    settings: &Settings,
    source: &Source,
    broker: &Broker,
    found: &Found,
    rate: Option<u64>,
) -> Option<Expectation> {
    let round_trip = match settings.engine.ack {
        Ack::Memory | Ack::Spool => broker.round_trip,
        Ack::Durable | Ack::Kafka => broker.round_trip + found.kafka.as_ref().ok()?.round_trip,
    };
    let window = match broker.version {
        Version::V311 => source.receive_maximum.min(STOCK_WINDOW),
        Version::V5 | Version::Auto => source.receive_maximum,
    };
    let session_ceiling_per_s = per_second(u64::from(window), round_trip);
    let rate_per_s = rate.unwrap_or(session_ceiling_per_s.saturating_mul(source.sessions.len() as u64)).max(1);
    Some(Expectation {
        source: source.name.clone(),
        window,
        round_trip_ms: round_trip.as_secs_f64() * 1e3,
        session_ceiling_per_s,
        rate_per_s,
        broker_queue_ms: u64::from(STOCK_QUEUE) * source.sessions.len() as u64 * 1_000 / rate_per_s,
    })
}

/// A window's worth of messages for each round trip. A clock that saw none counts as a microsecond.
fn per_second(window: u64, round_trip: Duration) -> u64 {
    let micros = u64::try_from(round_trip.as_micros()).unwrap_or(u64::MAX).max(1);
    window * 1_000_000 / micros
}

impl Expectation {
    fn line(&self) -> String {
        format!(
            "source {}: window {} ÷ round trip {:.3} ms = at most {} msg/s for each session; at {} msg/s a broker's queue of {STOCK_QUEUE} messages for each session lasts {} ms",
            self.source,
            self.window,
            self.round_trip_ms,
            self.session_ceiling_per_s,
            self.rate_per_s,
            self.broker_queue_ms
        )
    }
}

fn milliseconds(time: Duration) -> String {
    format!("{:.3} ms", time.as_secs_f64() * 1e3)
}
