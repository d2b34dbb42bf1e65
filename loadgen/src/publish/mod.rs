//! The publisher: many MQTT clients on one thread, sending AIS through a real broker.
//!
//! It outlives restarts of the broker: what is unacknowledged is sent again, nothing is skipped. Each MQTT topic has one
//! client, so the order of a topic is the order in which it was sent.

mod client;
mod driver;
mod link;
mod run;

use crate::ais::nmea;
use crate::ais::payload::Format;
use crate::clock::{Clock, seconds_between};
use crate::cpu::Cost;
use crate::latency::Percentiles;
use crate::ledger::{AckLog, Expectation};
use crate::load::Load;
use crate::mqtt::keep_alive::KEEP_ALIVE_SECONDS;
use crate::mqtt::{BrokerError, BrokerUrl, Qos, Version};
use crate::output::OutputError;
use crate::pace::{Pace, PaceError};
use crate::progress::Progress;
use crate::traffic::{Prepared, Traffic, TrafficError};
use client::Client;
use driver::Driver;
use run::Run;
use serde::{Deserialize, Serialize};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// The most clients of a run: each is a connection, and a process may open about a thousand unless its limit is raised.
pub const MAX_CLIENTS: u32 = 50_000;

/// What a publisher shall do.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the broker is.
    pub url: BrokerUrl,
    /// Protocol version.
    pub version: Version,
    /// What is published.
    pub traffic: Traffic,
    /// What the payloads are made of.
    pub format: Format,
    /// QoS of every message.
    pub qos: Qos,
    /// Connections: 1 to [`MAX_CLIENTS`]. The topics are dealt to them.
    pub clients: u32,
    /// The most unacknowledged messages of a client: 1 to 65,535. A smaller Receive Maximum of the broker rules.
    /// Without a rate the client sends again once half of them are acknowledged.
    pub in_flight: u16,
    /// Messages in all; none: until it is stopped.
    pub messages: Option<u64>,
    /// All connections are cut and opened again each time that this has passed.
    pub storm: Option<Duration>,
    /// Closed loop on the receiving end: the most payload bytes that may be sent and not noted as verified in [`Progress`].
    pub ahead: Option<u64>,
    /// Whether the broker keeps the clients' sessions while they are away. QoS 2 needs it.
    pub persistent: bool,
    /// How long the broker may be away before the run fails; before the first connection: ten seconds at most.
    pub patience: Duration,
    /// How the run goes.
    pub load: Load,
}

/// Why a run of the publisher failed.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// A setting is out of its range.
    #[error("{0}")]
    Config(String),
    /// There is nothing to publish.
    #[error(transparent)]
    Traffic(#[from] TrafficError),
    /// The rate or its shape makes no sense.
    #[error(transparent)]
    Pace(#[from] PaceError),
    /// The broker is not there, or does not want us.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The log of acknowledgements could not be written.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// The system refused something else.
    #[error("the publisher cannot go on: {0}")]
    System(#[from] io::Error),
}

/// What happened, as it is written to the result file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// What was sent to each topic.
    #[serde(flatten)]
    pub expected: Expectation,
    /// What was found in the recorded files.
    pub nmea: Option<nmea::Counts>,
    /// Whether all messages were sent and acknowledged.
    pub complete: bool,
    /// Messages sent, each counted once.
    pub sent: u64,
    /// Messages acknowledged (QoS 1: PUBACK, QoS 2: PUBCOMP).
    pub acknowledged: u64,
    /// Messages sent again after a reconnect: as many may arrive twice at QoS 1.
    pub resent: u64,
    /// Messages that the broker refused with a reason code of 0x80 or more.
    pub refused: u64,
    /// Acknowledgements of packet identifiers that were not in use.
    pub acks_unknown: u64,
    /// Connections that ended before their time.
    pub connections_lost: u64,
    /// Persistent sessions that the broker had forgotten.
    pub sessions_lost: u64,
    /// Seconds from the first to the last acknowledgement (QoS 0: write).
    pub seconds: f64,
    /// Messages a second over that time.
    pub messages_per_second: f64,
    /// From sending (open loop: from the intended time) to the acknowledgement.
    pub latency: Percentiles,
    /// The same in full: shares of the messages, and the milliseconds that these did not exceed.
    pub latency_curve: Vec<(f64, f64)>,
    /// What it cost.
    #[serde(flatten)]
    pub cost: Cost,
    /// Messages acknowledged in each second.
    pub acknowledged_each_second: Vec<u64>,
    /// What was acknowledged, message by message.
    #[serde(skip)]
    pub ack_log: AckLog,
}

/// A publisher on its own thread.
#[derive(Debug)]
pub struct Publisher {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Report, PublishError>>,
}

impl Publisher {
    /// Checks the settings, reads the recorded files and starts.
    ///
    /// # Errors
    /// [`PublishError::Config`], [`PublishError::Traffic`] and [`PublishError::System`]; what happens later comes out of
    /// [`Publisher::join`].
    pub fn spawn(config: Config, progress: Arc<Progress>) -> Result<Self, PublishError> {
        let prepared = config.prepare()?;
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("publisher".to_owned())
            .spawn(move || run_prepared(config, prepared, progress, &flag))?;
        Ok(Self { stop, thread })
    }

    /// Sends nothing new; what is in flight is still waited for, for a few seconds.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Whether it has ended, so that [`Publisher::join`] returns at once.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// Why it failed.
    ///
    /// # Panics
    /// If the publisher's thread did.
    pub fn join(self) -> Result<Report, PublishError> {
        match self.thread.join() {
            Ok(outcome) => outcome,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

/// Publishes on this thread until all is acknowledged, `stop` is set or the broker stays away.
///
/// # Errors
/// [`PublishError`]; the log of acknowledgements is written nevertheless, where that is possible.
pub fn run(config: Config, progress: Arc<Progress>, stop: &AtomicBool) -> Result<Report, PublishError> {
    let prepared = config.prepare()?;
    run_prepared(config, prepared, progress, stop)
}

fn run_prepared(
    config: Config,
    prepared: Prepared,
    progress: Arc<Progress>,
    stop: &AtomicBool,
) -> Result<Report, PublishError> {
    let (plan, nmea) = prepared;
    let clock = Clock::start();
    let started_ns = clock.now();
    let pace = (Pace::new(config.load.rate, config.load.shape, 1.0), started_ns);
    let run = Run::new(config.qos, pace, progress, config.ahead, config.load.run_id, plan.topics.len());
    // Sessions of an earlier run must not meet this one's packet identifiers.
    let nonce = started_ns;
    let clients = (0..config.clients).map(|number| {
        let options = crate::mqtt::client::ConnectOptions {
            version: config.version,
            client_id: format!("fairlead-loadgen-{nonce:x}-{number}"),
            clean_start: !config.persistent,
            keep_alive: KEEP_ALIVE_SECONDS,
            receive_maximum: None,
            login: config.url.login.clone(),
        };
        Client::new(options, plan.feed(number, config.clients), config.in_flight)
    });
    let clients = clients.collect();
    let mut driver = Driver::new(config, clock, run, clients)?;
    let outcome = driver.run(stop);
    let saved = driver.save_ack_log();
    outcome?;
    saved?;
    let topics = plan.topics.clone();
    Ok(report(driver, topics, nmea))
}

#[expect(clippy::cast_precision_loss, reason = "counts of messages are far below 2^53")]
fn report(driver: Driver, topics: Vec<String>, nmea: Option<nmea::Counts>) -> Report {
    let complete = driver.is_complete();
    let (run, totals) = driver.into_parts();
    let counts = run.counts;
    let (first, last) = run.span_ns.unwrap_or((0, 0));
    let seconds = seconds_between(first, last);
    let measured = if run.qos == Qos::AtMostOnce { counts.sent } else { counts.acknowledged };
    Report {
        expected: Expectation { run_id: run.ack_log.run_id, topics, sent: run.sent },
        nmea,
        complete: complete && counts.refused == 0,
        sent: counts.sent,
        acknowledged: counts.acknowledged,
        resent: counts.resent,
        refused: counts.refused,
        acks_unknown: counts.acks_unknown,
        connections_lost: totals.connections_lost,
        sessions_lost: counts.sessions_lost,
        seconds,
        messages_per_second: if seconds > 0.0 { measured as f64 / seconds } else { 0.0 },
        latency: run.latency.percentiles(),
        latency_curve: run.latency.curve(),
        cost: Cost::new(totals.used, seconds),
        acknowledged_each_second: totals.each_second,
        ack_log: run.ack_log,
    }
}

impl Config {
    fn prepare(&self) -> Result<Prepared, PublishError> {
        self.check()?;
        Ok(self.traffic.prepare(&self.format, self.messages, self.load.run_id, self.clients)?)
    }

    fn check(&self) -> Result<(), PublishError> {
        let fail = |text: String| Err(PublishError::Config(text));
        if !(1..=MAX_CLIENTS).contains(&self.clients) {
            return fail(format!("{} clients are not possible: 1 to {MAX_CLIENTS}", self.clients));
        }
        if self.in_flight == 0 {
            return fail("nothing in flight would send nothing: 1 to 65535".to_owned());
        }
        self.load.rate.check(self.load.shape, self.traffic.is_fleet())?;
        if self.storm.is_some_and(|storm| storm.is_zero()) {
            return fail("a storm needs a time: connections are cut each time that it has passed".to_owned());
        }
        if self.qos == Qos::ExactlyOnce && !self.persistent {
            return fail("QoS 2 needs persistent sessions: without them a reconnect would double messages".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
