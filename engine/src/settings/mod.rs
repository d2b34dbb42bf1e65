//! The configuration: what defaults, files, environment and flags come to.
//!
//! [`load`] goes these steps. `layers` merges what was written into one tree of values (`node`), each with its
//! [`Origin`]: TOML by `document`, then environment and flags, then `secret` puts secrets in place. `reader` reads the
//! tree into the shape of the `file`, whose types (`units`) read themselves. `resolve`, with `sources`, `routes` and
//! `plan`, checks what must hold between keys and makes [`Settings`]. No step stops at the first problem.
//!
//! No configuration library does the layers: those that were looked at forget line and column, cannot address
//! elements of lists, or stop at the first mistake.

mod address;
mod document;
mod facts;
mod file;
mod host;
mod layers;
mod node;
mod origin;
mod plan;
mod problem;
mod property;
mod reader;
mod resolve;
mod routes;
mod secret;
mod sources;
#[cfg(test)]
mod tests;
mod units;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

pub use host::Host;
pub use layers::{ENVIRONMENT_PREFIX, Layers};
pub use origin::Origin;
pub use problem::{MAX_PROBLEMS, Problem};
pub use secret::Secrets;

use crate::{
    message::Qos,
    route::{Filter, Template},
};

/// A commented configuration with every key and default.
pub const SAMPLE: &str = include_str!("sample.toml");

/// A configuration that was read: the settings, or what is wrong, and where each value comes from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings; `None` where there are problems.
    pub settings: Option<Settings>,
    /// Everything that is wrong, in the order of the text; at most [`MAX_PROBLEMS`] and a line that counts the rest.
    pub problems: Vec<Problem>,
    /// What is worth knowing and not wrong; only where there are no problems.
    pub notes: Vec<Problem>,
    /// Every value, secrets hidden.
    pub values: Vec<Shown>,
    /// What must not be printed; for texts made of [`Loaded::settings`].
    pub secrets: Secrets,
}

/// One value of the configuration, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The key, as `--set` addresses it.
    pub key: String,
    /// The value as TOML writes it; a secret is `***`.
    pub value: String,
    /// Where it was written.
    pub origin: Origin,
}

/// Reads a configuration. Files and secret files are read, nothing is connected.
#[must_use]
pub fn load(layers: &Layers, host: &Host) -> Loaded {
    let mut log = problem::Log::default();
    let places = reader::Places::default();
    let root = layers.read(&mut log);
    let file = reader::read(&root, &places, &log);
    let resolver = resolve::Resolver { host, places: &places, log: &log, root: root.origin.clone() };
    let settings = resolve::settings(&file, &resolver);
    if let (Some(settings), Some(file)) = (&settings, file.get()) {
        facts::note(settings, file, &resolver);
    }
    let mut values = Vec::new();
    root.leaves("", &mut |key, node| {
        let (key, value) = (problem::printable(key), problem::printable(&node.shown()));
        values.push(Shown { key, value: log.secrets.redact(&value), origin: node.origin.clone() });
    });
    let (problems, notes, secrets) = log.into_parts();
    Loaded { settings, problems, notes, values, secrets }
}

/// Everything the bridge needs to run. All limits are already checked against each other.
#[derive(Clone, Debug)]
pub struct Settings {
    /// MQTT sources; at least one.
    pub sources: Vec<Source>,
    /// Routes, in order of precedence; at least one, fewer than [`crate::message::RouteId::NONE`].
    pub routes: Vec<Route>,
    /// The Kafka side.
    pub kafka: Kafka,
    /// Shards, acknowledgement and memory.
    pub engine: Engine,
    /// The spool, where `ack` needs one.
    pub spool: Option<Spool>,
    /// Where records go that Kafka will never take.
    pub dead_letter: DeadLetter,
    /// The admin endpoint; `None` is off.
    pub admin: Option<SocketAddr>,
}

/// One session's place in the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Index of its source.
    pub source: usize,
    /// Index in the source's sessions.
    pub session: usize,
    /// Index among all sessions.
    pub number: usize,
    /// The shard that owns it.
    pub shard: usize,
    /// Its slot in that shard.
    pub slot: usize,
}

impl Settings {
    /// Whether the packet identifiers of the source's sessions are kept in the spool.
    #[must_use]
    pub fn keeps_ids(&self, source: &Source) -> bool {
        source.qos == Qos::ExactlyOnce && self.engine.ack.spools()
    }

    /// Kafka topics that are known by name before any message comes, some of them several times.
    pub fn named_topics(&self) -> impl Iterator<Item = &str> {
        self.routes.iter().filter_map(|route| route.topic.constant()).chain(self.dead_letter.topic.as_deref())
    }

    /// Every session and its shard: in turn, so that each shard has as many as the next.
    pub fn plan(&self) -> impl Iterator<Item = Planned> {
        let shards = self.engine.cpus.len();
        let sessions = self.sources.iter().enumerate();
        sessions
            .flat_map(|(source, settings)| (0..settings.sessions.len()).map(move |session| (source, session)))
            .enumerate()
            .map(move |(number, (source, session))| Planned {
                source,
                session,
                number,
                shard: number % shards,
                slot: number / shards,
            })
    }
}

/// Which MQTT version a source speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// 5.0, and 3.1.1 where the broker refuses.
    Auto,
    /// 5.0 only.
    V5,
    /// 3.1.1 only.
    V311,
}

/// Host and port of an MQTT broker. Resolved at each connection attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Name or IP address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "mqtt://{}:{}", self.host, self.port)
    }
}

/// A secret: shown as `***`, given out by [`Secret::expose`] alone.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    #[must_use]
    pub fn new(text: String) -> Secret {
        Secret(text)
    }

    /// The secret itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// One MQTT source: a broker (or several for failover) and the sessions opened to it.
#[derive(Clone, Debug)]
pub struct Source {
    /// Name, for client ids, logs and metrics.
    pub name: String,
    /// Brokers in order of preference; at least one.
    pub urls: Vec<Address>,
    /// MQTT version.
    pub version: Version,
    /// The shared-subscription group (MQTT 5.0 §4.8.2), of which every session takes all filters; `None` is no sharing.
    pub share: Option<String>,
    /// The QoS asked for in SUBSCRIBE.
    pub qos: Qos,
    /// Clean Start (5.0) or Clean Session (3.1.1) at the first connection of the process.
    pub clean_start: bool,
    /// Session Expiry Interval (MQTT 5.0 §3.1.2.11.2), in seconds.
    pub session_expiry: u32,
    /// Largest packet that is accepted, bytes.
    pub max_packet: u32,
    /// Announce `max_packet` as Maximum Packet Size (MQTT 5.0 §3.1.2.11.4).
    pub announce_max_packet: bool,
    /// Acknowledge a packet above `max_packet` as a counted drop instead of closing the session.
    pub skip_oversized: bool,
    /// Keep Alive (MQTT 5.0 §3.1.2.10), seconds; 0 is off.
    pub keep_alive: u16,
    /// Receive Maximum (MQTT 5.0 §3.1.2.11.3); on 3.1.1 local back-pressure. At least 1.
    pub receive_maximum: u16,
    /// Watch the broker's `$SYS` topics for what it dropped, over a connection of their own.
    pub sys: bool,
    /// User name.
    pub username: Option<Secret>,
    /// Password.
    pub password: Option<Secret>,
    /// The sessions, in order: client id and what each subscribes to.
    pub sessions: Vec<SessionPlan>,
}

/// One planned MQTT session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionPlan {
    /// Client identifier, rendered.
    pub client_id: String,
    /// What it subscribes to, in the order of the routes.
    pub subscriptions: Vec<Subscription>,
    /// How it is ended at the broker; `None` where it is to stay.
    pub retire: Option<Retire>,
}

/// How a session is ended at its broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retire {
    /// Filters that it may have subscribed.
    pub filters: Vec<String>,
    /// Once nothing has come for so long, the broker holds nothing more.
    pub quiet: Duration,
}

/// One topic filter of a SUBSCRIBE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// The filter on the wire, with `$share/group/` where the source shares.
    pub filter: String,
    /// Subscription Identifier (MQTT 5.0 §3.8.2.1.2), where filters of this source overlap only partly; see
    /// [`crate::route::cover`].
    pub id: Option<u32>,
}

impl Subscription {
    /// The filter without `$share/group/`: what topics are matched against.
    #[must_use]
    pub fn bare(&self) -> &str {
        let shared = self.filter.strip_prefix("$share/").and_then(|shared| shared.split_once('/'));
        shared.map_or(self.filter.as_str(), |(_, filter)| filter)
    }
}

/// Who produces the records of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The shard that owns the partition.
    Partition,
    /// The shard that read the message.
    Session,
}

/// What an empty payload becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Empty {
    /// An empty value.
    Value,
    /// A null value: a tombstone.
    Null,
    /// Nothing: acknowledged as a counted drop.
    Skip,
}

/// Which record headers a route writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderSet {
    /// User properties, content type, response topic and correlation data.
    User,
    /// As `User`, and `mqtt.topic`, `mqtt.qos`, `mqtt.retain`, `mqtt.dup`.
    Mqtt,
}

/// One route. The first that matches wins.
#[derive(Clone, Debug)]
pub struct Route {
    /// Index of the only source it is for; `None` is every source.
    pub source: Option<usize>,
    /// Which MQTT topics it takes.
    pub from: Filter,
    /// The Kafka topic.
    pub topic: Template,
    /// The record key; a key that renders empty is no key.
    pub key: Template,
    /// Who produces.
    pub owner: Owner,
    /// What an empty payload becomes.
    pub empty: Empty,
    /// Which headers are written.
    pub headers: HeaderSet,
}

/// How a missing Kafka topic is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Create {
    /// Partitions; at least 1.
    pub partitions: u32,
    /// Replication factor; at least 1.
    pub replication: u16,
}

/// The Kafka side.
#[derive(Clone, Debug)]
pub struct Kafka {
    /// `bootstrap.servers`.
    pub brokers: String,
    /// librdkafka properties of the user; none of them is managed by Fairlead.
    pub properties: Vec<(String, Secret)>,
    /// How a missing topic is created; `None` is a hold.
    pub create: Option<Create>,
    /// How long the lane may hold a batch, at most.
    pub linger: Duration,
    /// How long a partition may be blocked, while others are not, before its records are put aside.
    pub stuck: Duration,
    /// How long such a partition may be blocked before its records become dead letters; `None` is for ever.
    pub hold_for: Option<Duration>,
}

/// When PUBACK or PUBREC leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ack {
    /// Kafka has confirmed the record, or it is synced in the spool.
    Durable,
    /// The record is synced in the spool, always; Kafka follows.
    Spool,
    /// Kafka has confirmed the record.
    Kafka,
    /// The lane has accepted the record; lost on a crash.
    Memory,
}

impl Ack {
    /// Whether there is a spool.
    #[must_use]
    pub fn spools(self) -> bool {
        matches!(self, Ack::Durable | Ack::Spool)
    }

    /// The name in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Ack::Durable => "durable",
            Ack::Spool => "spool",
            Ack::Kafka => "kafka",
            Ack::Memory => "memory",
        }
    }
}

/// The spool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spool {
    /// Its folder.
    pub dir: PathBuf,
    /// Bytes of all its files, at most.
    pub max: u64,
    /// Bytes that stay free on its file system.
    pub min_free: u64,
    /// Bytes of a segment.
    pub segment: u64,
    /// What becomes of messages at QoS 0 while Kafka is away.
    pub qos0: Qos0,
    /// Records a second that replay hands to Kafka, at most; `None` is as fast as it goes.
    pub drain_rate: Option<u64>,
}

/// Where records go that Kafka will never take.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadLetter {
    /// The Kafka topic; `None` is the spool's dead-letter log, and where there is no spool they are dropped.
    pub topic: Option<String>,
}

/// What becomes of messages at QoS 0 while Kafka is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Qos0 {
    /// They go to the spool like any other.
    Spool,
    /// They are dropped and counted.
    Drop,
}

/// Shards, acknowledgement and memory.
#[derive(Clone, Debug)]
pub struct Engine {
    /// The core of each shard; at least one, at most [`crate::message::MAX_SHARDS`].
    pub cpus: Vec<usize>,
    /// Cores for librdkafka's threads; `None` is the shard's own core.
    pub kafka_cpus: Option<Vec<usize>>,
    /// When PUBACK leaves.
    pub ack: Ack,
    /// Memory budget of one shard, bytes.
    pub memory: usize,
    /// The folder of what is remembered over a restart, which may not exist yet; `None` remembers nothing.
    pub state: Option<PathBuf>,
    /// Longest wait for what is in flight at shutdown.
    pub drain: Duration,
}

#[cfg(test)]
impl Settings {
    /// The settings of a configuration that is valid.
    pub(crate) fn of(text: &str) -> Settings {
        let texts = vec![("fairlead.toml".to_owned(), text.to_owned())];
        let host = Host { name: "quay".into(), cores: vec![0], parallelism: 1, state: "/nowhere".into() };
        let loaded = load(&Layers { texts, ..Layers::default() }, &host);
        loaded.settings.unwrap_or_else(|| panic!("{:?}", loaded.problems))
    }

    /// Settings with no source and no route, for tests of the Kafka side.
    pub(crate) fn minimal(brokers: &str) -> Settings {
        Settings {
            sources: Vec::new(),
            routes: Vec::new(),
            kafka: Kafka {
                brokers: brokers.to_owned(),
                properties: Vec::new(),
                create: None,
                linger: Duration::from_millis(5),
                stuck: Duration::from_secs(30),
                hold_for: None,
            },
            engine: Engine {
                cpus: vec![0],
                kafka_cpus: None,
                ack: Ack::Kafka,
                memory: 64 << 20,
                state: None,
                drain: Duration::from_secs(30),
            },
            spool: None,
            dead_letter: DeadLetter::default(),
            admin: None,
        }
    }
}
