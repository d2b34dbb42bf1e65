//! The resolved configuration: what the file, the environment and the flags come to. `file` is the shape of the
//! file, `resolve` turns it into [`Settings`] or into every problem at once.

use std::{net::SocketAddr, time::Duration};

use crate::{
    message::Qos,
    route::{Filter, Template},
};

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
    /// The admin endpoint; `None` is off.
    pub admin: Option<SocketAddr>,
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
    /// Whether the TCP connection is a shared-subscription member: the group's name.
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
    /// User name.
    pub username: Option<String>,
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
    /// What it subscribes to.
    pub subscriptions: Vec<Subscription>,
}

/// One topic filter of a SUBSCRIBE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// The filter on the wire, with `$share/group/` where the source shares.
    pub filter: String,
    /// Subscription Identifier (MQTT 5.0 §3.8.2.1.2), where filters of this source overlap only partly. Identifiers
    /// rise in the order of the routes, so that of the copies of one message the lowest counts.
    pub id: Option<u32>,
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
}

/// When PUBACK or PUBREC leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ack {
    /// Kafka has confirmed the record.
    Kafka,
    /// The lane has accepted the record; lost on a crash.
    Memory,
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
    /// Longest wait for what is in flight at shutdown.
    pub drain: Duration,
}

#[cfg(test)]
impl Settings {
    /// Settings with no source and no route, for tests of the Kafka side.
    pub(crate) fn minimal(brokers: &str) -> Settings {
        Settings {
            sources: Vec::new(),
            routes: Vec::new(),
            kafka: Kafka {
                brokers: brokers.to_owned(),
                properties: Vec::new(),
                create: None,
                linger: Duration::from_millis(1),
            },
            engine: Engine {
                cpus: vec![0],
                kafka_cpus: None,
                ack: Ack::Kafka,
                memory: 64 << 20,
                drain: Duration::from_secs(30),
            },
            admin: None,
        }
    }
}
