//! The plan of a configuration: what runs where, with which limits. For people as tables, for programs as JSON.

use std::time::Duration;

use bytesize::ByteSize;
use comfy_table::{ContentArrangement, Table, TableComponent, presets};
use serde::Serialize;

use crate::{
    route::partition,
    settings::{Loaded, Qos0, Settings, Source, Version},
};

/// What a configuration comes to.
#[derive(Debug, Serialize)]
pub(super) struct Plan {
    sessions: Vec<Session>,
    shards: Vec<Shard>,
    kafka: Kafka,
    /// When PUBACK or PUBREC leaves.
    ack: &'static str,
    drain_ms: u64,
    /// Bytes of all shards.
    memory: usize,
    admin: Option<String>,
    /// The folder of what is remembered over a restart.
    state: Option<String>,
    spool: Option<Spool>,
    /// Where records go that Kafka will never take.
    dead_letters: DeadLetters,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum DeadLetters {
    Topic(String),
    Spool,
    Dropped,
}

#[derive(Debug, Serialize)]
struct Spool {
    dir: String,
    max: u64,
    min_free: u64,
    segment: u64,
    /// Whether messages at QoS 0 go there too.
    qos0: bool,
    drain_rate: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Session {
    source: String,
    client_id: String,
    urls: Vec<String>,
    version: &'static str,
    qos: u8,
    shard: usize,
    filters: Vec<Filter>,
    receive_maximum: u16,
    max_packet: u32,
    username: Option<&'static str>,
    password: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct Filter {
    filter: String,
    subscription_identifier: Option<u32>,
}

#[derive(Debug, Serialize)]
struct Shard {
    shard: usize,
    core: usize,
    kafka_cores: Vec<usize>,
    sessions: usize,
    memory: usize,
    /// First and last partition of a topic that Fairlead creates, where it owns some.
    partitions: Option<(u32, u32)>,
}

#[derive(Debug, Serialize)]
struct Kafka {
    brokers: String,
    create: Option<Create>,
    linger_ms: f64,
    stuck_ms: u64,
    hold_for_ms: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Create {
    partitions: u32,
    replication: u16,
}

impl Plan {
    /// The plan of settings, without secrets.
    pub(super) fn new(settings: &Settings, loaded: &Loaded) -> Plan {
        let engine = &settings.engine;
        let create = settings.kafka.create;
        Plan {
            sessions: sessions(settings, loaded),
            shards: (0..engine.cpus.len()).map(|shard| Shard::new(settings, shard)).collect(),
            kafka: Kafka {
                brokers: loaded.secrets.redact(&settings.kafka.brokers),
                create: create.map(|create| Create { partitions: create.partitions, replication: create.replication }),
                linger_ms: settings.kafka.linger.as_secs_f64() * 1e3,
                stuck_ms: u64::try_from(settings.kafka.stuck.as_millis()).unwrap_or(u64::MAX),
                hold_for_ms: settings.kafka.hold_for.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
            },
            ack: engine.ack.name(),
            drain_ms: u64::try_from(engine.drain.as_millis()).unwrap_or(u64::MAX),
            memory: engine.memory.saturating_mul(engine.cpus.len()),
            admin: settings.admin.map(|address| address.to_string()),
            state: engine.state.as_ref().map(|folder| loaded.secrets.redact(&folder.display().to_string())),
            spool: settings.spool.as_ref().map(|spool| Spool {
                dir: loaded.secrets.redact(&spool.dir.display().to_string()),
                max: spool.max,
                min_free: spool.min_free,
                segment: spool.segment,
                qos0: spool.qos0 == Qos0::Spool,
                drain_rate: spool.drain_rate,
            }),
            dead_letters: match (&settings.dead_letter.topic, &settings.spool) {
                (Some(topic), _) => DeadLetters::Topic(loaded.secrets.redact(topic)),
                (None, Some(_)) => DeadLetters::Spool,
                (None, None) => DeadLetters::Dropped,
            },
        }
    }
}

impl std::fmt::Display for Spool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [max, min_free, segment] = [self.max, self.min_free, self.segment].map(ByteSize::b);
        write!(f, "Spool: {}, at most {max} in segments of {segment}, {min_free} stay free", self.dir)?;
        if !self.qos0 {
            f.write_str(", messages at QoS 0 are dropped while Kafka is away")?;
        }
        if let Some(rate) = self.drain_rate {
            write!(f, ", drained at {rate} records a second at most")?;
        }
        Ok(())
    }
}

fn sessions(settings: &Settings, loaded: &Loaded) -> Vec<Session> {
    let redact = |text: &str| loaded.secrets.redact(text);
    let session = |planned: crate::settings::Planned| {
        let source = &settings.sources[planned.source];
        let session = &source.sessions[planned.session];
        let filters = session.subscriptions.iter();
        Session {
            source: redact(&source.name),
            client_id: redact(&session.client_id),
            urls: source.urls.iter().map(|url| redact(&url.to_string())).collect(),
            version: version(source),
            qos: source.qos as u8,
            shard: planned.shard,
            filters: filters
                .map(|one| Filter { filter: redact(&one.filter), subscription_identifier: one.id })
                .collect(),
            receive_maximum: source.receive_maximum,
            max_packet: source.max_packet,
            username: source.username.as_ref().map(|_| "***"),
            password: source.password.as_ref().map(|_| "***"),
        }
    };
    settings.plan().map(session).collect()
}

fn version(source: &Source) -> &'static str {
    match source.version {
        Version::Auto => "auto",
        Version::V5 => "5",
        Version::V311 => "3.1.1",
    }
}

impl Shard {
    fn new(settings: &Settings, shard: usize) -> Shard {
        let engine = &settings.engine;
        let owned = settings.kafka.create.and_then(|create| {
            let mut owned = (0..create.partitions)
                .filter(|&one| partition::owner(one, create.partitions, engine.cpus.len()) == shard);
            let first = owned.next()?;
            Some((first, owned.next_back().unwrap_or(first)))
        });
        Shard {
            shard,
            core: engine.cpus[shard],
            kafka_cores: engine.kafka_cpus.clone().unwrap_or_else(|| vec![engine.cpus[shard]]),
            sessions: settings.plan().filter(|planned| planned.shard == shard).count(),
            memory: engine.memory,
            partitions: owned,
        }
    }
}

/// A table with its header.
pub(super) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
    // No lines between rows.
    for line in [TableComponent::HorizontalLines, TableComponent::MiddleIntersections] {
        table.remove_style(line);
    }
    table.set_header(header);
    table
}

/// Every value and where it comes from.
pub(super) fn values(loaded: &Loaded) -> String {
    let mut table = table(&["key", "value", "origin"]);
    for shown in &loaded.values {
        table.add_row([shown.key.clone(), shown.value.clone(), shown.origin.to_string()]);
    }
    table.to_string()
}

impl std::fmt::Display for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut sessions = table(&["session", "shard", "broker", "MQTT", "filters", "limits"]);
        for session in &self.sessions {
            let filters = session.filters.iter().map(|one| match one.subscription_identifier {
                Some(id) => format!("{} (identifier {id})", one.filter),
                None => one.filter.clone(),
            });
            sessions.add_row([
                session.client_id.clone(),
                session.shard.to_string(),
                session.urls.join("\n"),
                format!("{}, QoS {}", session.version, session.qos),
                filters.collect::<Vec<_>>().join("\n"),
                format!("{} in flight, packets to {}", session.receive_maximum, ByteSize::b(session.max_packet.into())),
            ]);
        }
        let mut shards = table(&["shard", "core", "librdkafka's cores", "sessions", "memory", "partitions"]);
        for shard in &self.shards {
            let cores: Vec<String> = shard.kafka_cores.iter().map(usize::to_string).collect();
            shards.add_row([
                shard.shard.to_string(),
                shard.core.to_string(),
                cores.join(", "),
                shard.sessions.to_string(),
                ByteSize::b(shard.memory as u64).to_string(),
                match shard.partitions {
                    Some((first, last)) => format!("{first} to {last} of a created topic"),
                    None => "its share of each topic".to_owned(),
                },
            ]);
        }
        writeln!(f, "{sessions}\n{shards}")?;
        let create = match &self.kafka.create {
            Some(create) => format!(
                "a missing topic is created with {} partitions, replication {}",
                create.partitions, create.replication
            ),
            None => "a missing topic is waited for".to_owned(),
        };
        writeln!(f, "Kafka: {}, {create}, batches wait at most {} ms", self.kafka.brokers, self.kafka.linger_ms)?;
        let promise = match self.ack {
            "memory" => "as soon as it is read; what is in flight is lost on a crash",
            "kafka" => "when Kafka has confirmed it (acks=all)",
            "spool" => "when it is synced in the spool; Kafka follows",
            _ => "when Kafka has confirmed it (acks=all) or it is synced in the spool",
        };
        writeln!(f, "Acknowledgement ({}): a message is acknowledged {promise}", self.ack)?;
        let admin = self.admin.as_deref().unwrap_or("off");
        let memory = ByteSize::b(self.memory as u64);
        let drain = humantime::format_duration(Duration::from_millis(self.drain_ms));
        writeln!(f, "Memory: at most {memory} in all shards. Admin: {admin}. Drain: at most {drain}")?;
        if let Some(spool) = &self.spool {
            writeln!(f, "{spool}")?;
        }
        match &self.dead_letters {
            DeadLetters::Topic(topic) => writeln!(f, "Dead letters: to the Kafka topic {topic}")?,
            DeadLetters::Spool => writeln!(f, "Dead letters: to the spool, see `fairlead dead-letter`")?,
            DeadLetters::Dropped => {
                writeln!(f, "Dead letters: none are kept; what Kafka refuses is dropped and counted")?
            }
        }
        writeln!(f, "State over a restart: {}", self.state.as_deref().unwrap_or("off"))
    }
}
