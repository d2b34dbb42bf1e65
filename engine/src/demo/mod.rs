//! `fairlead demo`: an MQTT broker, Kafka, a fleet, the bridge and a consumer that checks, all in this process.
//!
//! [`Scene`] is what stands still: the brokers and the bridge, as a user would have configured it. `traffic` moves:
//! the fleet publishes and the consumer reads, in a closed loop. [`Outcome`] is what came of it, and the verdict.

mod broker;
mod kafka;
mod outcome;
mod progress;
mod threads;
mod traffic;

use std::{
    fmt::Write as _,
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use crossbeam::channel::{Receiver, RecvTimeoutError};
use fairlead_loadgen::{BrokerUrl, cpu, publish::PublishError, verify};
use rdkafka::error::KafkaError;

use crate::{
    bridge::{Bridge, Hung, Options, StartError},
    logging::LogStats,
    metrics::Counter,
    settings::{self, Host, Layers, Settings},
    shard::clock,
};

pub(crate) use broker::{Discards, LOG_FILTER};
pub(crate) use outcome::{Outcome, Verdict};
pub(crate) use progress::Second;

/// Longest time until everything is started and subscribed.
const START_WITHIN: Duration = Duration::from_secs(30);
/// How often it is looked whether something has come to pass.
const LOOK: Duration = Duration::from_millis(20);
/// How often progress is shown.
const SECOND: Duration = Duration::from_secs(1);
/// What is read when everything was found, for duplicates that come late.
const LATE: Duration = Duration::from_secs(1);
/// How the configuration is named in messages.
const CONFIGURATION: &str = "the demo's configuration";

/// Why the demo could not be played.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DemoError {
    /// No free port.
    #[error("no free port on 127.0.0.1: {0}")]
    Port(#[source] io::Error),
    /// No further thread.
    #[error("a thread could not be started: {0}; raise the limit on threads (ulimit -u)")]
    Thread(#[source] io::Error),
    /// librdkafka refused.
    #[error("librdkafka's mock cluster could not be started: {0}")]
    Cluster(#[from] KafkaError),
    /// The bridge did not start.
    #[error(transparent)]
    Bridge(#[from] StartError),
    /// The bridge did not end.
    #[error(transparent)]
    Hung(#[from] Hung),
    /// The configuration does not resolve on this host.
    #[error("{0}")]
    Settings(String),
    /// Something is not up.
    #[error("the demo is not ready after half a minute: {0}")]
    NotReady(String),
    /// The fleet could not go on.
    #[error("the fleet: {0}")]
    Fleet(#[from] PublishError),
    /// The consumer could not go on.
    #[error("the consumer: {0}")]
    Consumer(#[from] verify::KafkaError),
}

/// What shall be played.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Messages in all; `None` is no limit.
    pub(crate) messages: Option<u64>,
    /// How long; `None` is no limit.
    pub(crate) time: Option<Duration>,
    /// The same seed gives the same fleet.
    pub(crate) seed: u64,
    /// Vessels of the fleet; at least 1.
    pub(crate) vessels: u32,
}

/// The brokers and the bridge.
pub(crate) struct Scene {
    broker: broker::Broker,
    cluster: kafka::Cluster,
    bridge: Bridge,
    bridge_threads: threads::Threads,
    discards: Discards,
    configuration: String,
    admin: SocketAddr,
}

impl Scene {
    /// Starts everything, and waits until the bridge is subscribed; `None` where `stop` said something before.
    pub(crate) fn start(
        host: &Host,
        logs: Arc<LogStats>,
        discards: Discards,
        stop: &Receiver<()>,
    ) -> Result<Option<Scene>, DemoError> {
        let broker = broker::Broker::start().map_err(DemoError::Port)?;
        let cluster = kafka::Cluster::start()?;
        let up = wait(stop, || match broker.answers() {
            true => Ok(()),
            false => {
                Err("the embedded MQTT broker does not answer; another process may have taken its port".to_owned())
            }
        })?;
        if !up {
            return Ok(None);
        }
        let admin = broker::free_address().map_err(DemoError::Port)?;
        let configuration = configuration(broker.v311, &cluster.brokers(), admin);
        let settings = resolve(&configuration, host)?;
        let before = threads::Threads::now();
        let bridge = Bridge::start(settings, Options::default(), logs)?;
        let ready = wait(stop, || match bridge.metrics().health(clock::now()) {
            health if health.is_ready() => Ok(()),
            health => Err(health.unready.join("; ")),
        })?;
        let bridge_threads = before.of_bridge_since();
        let scene = Scene { broker, cluster, bridge, bridge_threads, discards, configuration, admin };
        if ready {
            return Ok(Some(scene));
        }
        let _ = scene.bridge.stop();
        Ok(None)
    }

    /// Where everything is, and how the bridge is configured.
    pub(crate) fn introduction(&self) -> String {
        let (v311, v5, brokers, admin) = (self.broker.v311, self.broker.v5, self.cluster.brokers(), self.admin);
        let mut text = format!(
            "Everything runs in this process. Look at it, and publish to ais/# with any client meanwhile:\n\n  \
             MQTT 3.1.1   mqtt://{v311}   rumqttd\n  \
             MQTT 5       mqtt://{v5}   the same broker\n  \
             Kafka        {brokers}   librdkafka's mock cluster; topic {}, {} partitions\n  \
             bridge       http://{admin}/status   also /metrics /readyz /livez\n\n\
             The bridge's configuration:\n\n",
            kafka::TOPIC,
            kafka::PARTITIONS,
        );
        for line in self.configuration.lines() {
            let _ = writeln!(text, "  {line}");
        }
        text.push('\n');
        text
    }

    /// Lets the fleet sail until the plan is fulfilled or `stop` says something, and reads what arrived to its end.
    pub(crate) fn play(
        self,
        plan: &Plan,
        stop: &Receiver<()>,
        mut show: impl FnMut(&Second),
    ) -> Result<Outcome, DemoError> {
        let mqtt = BrokerUrl { host: self.broker.v311.ip().to_string(), port: self.broker.v311.port(), login: None };
        let cpu_before = (cpu::own_seconds(), self.bridge_threads.cpu_seconds());
        let line = traffic::Line::start(plan, mqtt, self.cluster.brokers())?;
        let mut meter = progress::Meter::new(clock::now());
        loop {
            let stopped = !matches!(stop.recv_timeout(LOOK), Err(RecvTimeoutError::Timeout));
            let now = clock::now();
            meter.handle_look(now, line.snapshot()).iter().for_each(&mut show);
            if stopped || line.ended() || plan.time.is_some_and(|time| meter.elapsed(now) >= time) {
                break;
            }
        }
        let tail = line.end_fleet()?;
        let mut complete: Option<Instant> = None;
        // Foreign messages may come for ever: what counts is that ours are found.
        while !tail.ended() && complete.is_none_or(|since| clock::now() - since < LATE) {
            let _ = stop.recv_timeout(LOOK);
            let (now, snapshot) = (clock::now(), tail.snapshot());
            meter.handle_look(now, snapshot).iter().for_each(&mut show);
            complete = complete.or((snapshot.in_flight == 0).then_some(now));
        }
        let (published, found) = tail.end()?;
        let cpu_seconds = cpu::own_seconds() - cpu_before.0;
        let bridge_cpu_seconds = self.bridge_threads.cpu_seconds() - cpu_before.1;
        let metrics = Arc::clone(self.bridge.metrics());
        let bridge = self.bridge.stop()?;
        Ok(Outcome {
            published,
            found,
            bridge,
            reconnects: metrics.total(Counter::MqttReconnects),
            discards: self.discards.count(),
            cpu_seconds,
            bridge_cpu_seconds,
        })
    }
}

/// Waits until `fact` holds; false where `stop` said something before.
fn wait(stop: &Receiver<()>, mut fact: impl FnMut() -> Result<(), String>) -> Result<bool, DemoError> {
    let since = clock::now();
    loop {
        match fact() {
            Ok(()) => return Ok(true),
            Err(why) if clock::now() - since > START_WITHIN => return Err(DemoError::NotReady(why)),
            Err(_) => {}
        }
        if !matches!(stop.recv_timeout(LOOK), Err(RecvTimeoutError::Timeout)) {
            return Ok(false);
        }
    }
}

/// The configuration, as a user would write it.
fn configuration(mqtt: SocketAddr, brokers: &str, admin: SocketAddr) -> String {
    format!(
        r#"[[source]]
name = "demo"
url = "mqtt://{mqtt}"
version = "3.1.1"
sys = false
[kafka]
brokers = "{brokers}"
[[route]]
from = "ais/{{mmsi}}/{{kind...}}"
topic = "{}"
key = "{{mmsi}}"
[engine]
state = "off"
ack = "kafka"
[admin]
listen = "{admin}"
"#,
        kafka::TOPIC,
    )
}

fn resolve(configuration: &str, host: &Host) -> Result<Settings, DemoError> {
    let texts = vec![(CONFIGURATION.to_owned(), configuration.to_owned())];
    let loaded = settings::load(&Layers { texts, ..Layers::default() }, host);
    loaded.settings.ok_or_else(|| {
        let problems: Vec<String> = loaded.problems.iter().map(ToString::to_string).collect();
        DemoError::Settings(problems.join("\n"))
    })
}

#[cfg(test)]
mod tests;
