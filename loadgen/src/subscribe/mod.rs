//! The subscriber: acknowledges every message at once and throws it away. Whatever stands in its place does more, so that
//! what passes through a broker to it is that broker's own ceiling.

mod client;

use crate::clock::{Clock, nanoseconds, seconds_between};
use crate::cpu::{Cost, Meter, NamedProcess};
use crate::mqtt::client::ConnectOptions;
use crate::mqtt::keep_alive::KEEP_ALIVE_SECONDS;
use crate::mqtt::lost::Lost;
use crate::mqtt::{BrokerError, BrokerUrl, Qos, Version, filter};
use crate::net::{feed, read_once};
use crate::progress::Progress;
use client::Client;
use serde::{Deserialize, Serialize};
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

const READ_BUFFER: usize = 256 << 10;

/// A read waits no longer, so that a stop is heard.
const TICK: Duration = Duration::from_millis(100);

/// How long the broker may take to accept a connection, the session and the subscription, or to take an acknowledgement;
/// and the longest patience before it has done so once.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Between two attempts to connect.
const BACKOFF: Duration = Duration::from_millis(200);

/// What a subscriber shall do.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the broker is.
    pub url: BrokerUrl,
    /// Protocol version.
    pub version: Version,
    /// What is subscribed to, `$share/GROUP/` included.
    pub filter: String,
    /// The QoS that is asked for; a broker that grants less is an error.
    pub qos: Qos,
    /// The most unacknowledged messages that the broker may send: 1 to 65,535. MQTT 3.1.1 cannot say it.
    pub in_flight: u16,
    /// Whether the broker keeps the session while the connection is down. Only MQTT 5.0 can end it with the run.
    pub persistent: bool,
    /// Ends once so many messages have come, and their handshakes are over; those that came with the last of them count.
    pub messages: Option<u64>,
    /// Ends when nothing has come for so long after the first message.
    pub idle: Option<Duration>,
    /// How long the broker may be away before the run fails; before the first subscription: ten seconds at most.
    pub patience: Duration,
    /// Processes whose CPU and memory are sampled during the run.
    pub processes: Vec<NamedProcess>,
}

/// Why a run of the subscriber failed.
#[derive(Debug, thiserror::Error)]
pub enum SubscribeError {
    /// A setting is out of its range.
    #[error("{0}")]
    Config(String),
    /// The broker is not there, or does not want us.
    #[error(transparent)]
    Broker(#[from] BrokerError),
}

/// What happened, as it is written to the result file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// Whether the messages that were asked for have come; without a number always.
    pub complete: bool,
    /// Messages received, those that came again included.
    pub received: u64,
    /// Those of them that had the DUP flag.
    pub redelivered: u64,
    /// Bytes of all payloads.
    pub payload_bytes: u64,
    /// Connections that ended before their time.
    pub connections_lost: u64,
    /// Persistent sessions that the broker had forgotten.
    pub sessions_lost: u64,
    /// Seconds from the first message to the last.
    pub seconds: f64,
    /// Messages a second over that time.
    pub messages_per_second: f64,
    /// What it cost, from the first message to the end of the run.
    #[serde(flatten)]
    pub cost: Cost,
}

/// What the client counts.
#[derive(Debug, Default)]
struct Counts {
    received: u64,
    redelivered: u64,
    payload_bytes: u64,
    /// How often the broker has accepted the subscription.
    subscriptions: u64,
    sessions_lost: u64,
    /// First and last message.
    span_ns: Option<(i64, i64)>,
}

/// Subscribes and acknowledges on this thread until all has come, `stop` is set or the broker stays away.
///
/// # Errors
/// [`SubscribeError`].
pub fn run(config: &Config, progress: &Progress, stop: &AtomicBool) -> Result<Report, SubscribeError> {
    config.check()?;
    let clock = Clock::start();
    let addresses = config.url.addresses()?;
    let options = ConnectOptions {
        version: config.version,
        // A session of an earlier run must not be taken for this one's.
        client_id: format!("fairlead-loadgen-{:x}-subscriber", clock.now()),
        clean_start: !config.persistent,
        keep_alive: KEEP_ALIVE_SECONDS,
        receive_maximum: Some(config.in_flight),
        login: config.url.login.clone(),
    };
    let mut subscriber = Subscriber {
        client: Client::new(options, config.filter.clone(), config.qos),
        config,
        clock,
        progress,
        stop,
        counts: Counts::default(),
        connections_lost: 0,
        meter: None,
        out: Vec::new(),
        buffer: vec![0; READ_BUFFER],
    };
    subscriber.run(&addresses)?;
    Ok(subscriber.report())
}

/// One socket at a time, on a thread that has nothing else to do: reads that wait are all it needs.
struct Subscriber<'a> {
    config: &'a Config,
    clock: Clock,
    progress: &'a Progress,
    stop: &'a AtomicBool,
    client: Client,
    counts: Counts,
    connections_lost: u64,
    /// From the first message on.
    meter: Option<Meter>,
    out: Vec<u8>,
    buffer: Vec<u8>,
}

impl Subscriber<'_> {
    fn run(&mut self, addresses: &[SocketAddr]) -> Result<(), SubscribeError> {
        let mut down_since = self.clock.now();
        for address in addresses.iter().cycle() {
            let subscriptions = self.counts.subscriptions;
            let Err(lost) = self.serve(*address) else { break };
            self.client.handle_closed();
            let now = self.clock.now();
            if self.counts.subscriptions > subscriptions {
                self.connections_lost += 1;
                down_since = now;
            }
            let longest = if self.counts.subscriptions > 0 { Duration::MAX } else { HANDSHAKE };
            let patience = self.config.patience.min(longest);
            // What this client cannot read would only come again.
            let is_final = lost.is_final() || matches!(lost, Lost::Violation(_));
            if is_final || now - down_since > nanoseconds(patience) {
                return Err(lost.of(&self.config.url).into());
            }
            thread::park_timeout(BACKOFF);
            // A firehose hangs up when it has no more.
            if self.is_stopped() || self.is_idle(self.clock.now()) {
                break;
            }
        }
        Ok(())
    }

    /// One connection, to its end.
    fn serve(&mut self, address: SocketAddr) -> Result<(), Lost> {
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Lost::Silent,
            _ => Lost::Socket(error.to_string()),
        };
        let mut socket = TcpStream::connect_timeout(&address, HANDSHAKE).map_err(failed)?;
        socket.set_nodelay(true).map_err(failed)?;
        socket.set_read_timeout(Some(TICK)).map_err(failed)?;
        socket.set_write_timeout(Some(HANDSHAKE)).map_err(failed)?;
        let opened = self.clock.now();
        let mut kept = Vec::new();
        self.out.clear();
        self.client.handle_open(&mut self.out, opened);
        loop {
            socket.write_all(&self.out).map_err(failed)?;
            self.out.clear();
            let count = match read_once(&socket, &mut self.buffer).map_err(failed)? {
                Some(0) => return Err(Lost::Closed),
                count => count.unwrap_or(0),
            };
            let now = self.clock.now();
            if count > 0 {
                let (client, counts, out) = (&mut self.client, &mut self.counts, &mut self.out);
                feed(&mut kept, &self.buffer[..count], |input| client.handle(input, out, counts, now))?;
            }
            if !self.client.is_up() && now - opened > nanoseconds(HANDSHAKE) {
                return Err(Lost::Silent);
            }
            self.client.poll_keep_alive(&mut self.out, now)?;
            self.note(now);
            let is_idle = count == 0 && self.is_idle(now);
            if is_idle || self.is_stopped() || self.is_enough(now) {
                self.client.put_goodbye(&mut self.out);
                // The run is over; a broker that is gone by now misses nothing but the courtesy.
                let _ = socket.write_all(&self.out);
                return Ok(());
            }
        }
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn has_all(&self) -> bool {
        self.config.messages.is_none_or(|messages| self.counts.received >= messages)
    }

    /// How long nothing has come, once something has.
    fn silence_ns(&self, now: i64) -> Option<i64> {
        self.counts.span_ns.map(|(_, last)| now - last)
    }

    fn is_idle(&self, now: i64) -> bool {
        let silence = self.config.idle.zip(self.silence_ns(now));
        silence.is_some_and(|(idle, silence)| silence > nanoseconds(idle))
    }

    fn is_enough(&self, now: i64) -> bool {
        let is_settled = || self.client.is_settled() || self.silence_ns(now) > Some(nanoseconds(HANDSHAKE));
        self.config.messages.is_some() && self.has_all() && is_settled()
    }

    fn note(&mut self, now: i64) {
        if self.meter.is_none() && self.counts.received > 0 {
            self.meter = Some(Meter::start(&self.config.processes, now));
        }
        if let Some(meter) = &mut self.meter {
            meter.tick(now);
        }
        self.progress.note_all_sent(self.counts.received, self.counts.payload_bytes);
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of messages are far below 2^53")]
    fn report(self) -> Report {
        let complete = self.has_all();
        let counts = self.counts;
        let (first, last) = counts.span_ns.unwrap_or((0, 0));
        let seconds = seconds_between(first, last);
        Report {
            complete,
            received: counts.received,
            redelivered: counts.redelivered,
            payload_bytes: counts.payload_bytes,
            connections_lost: self.connections_lost,
            sessions_lost: counts.sessions_lost,
            seconds,
            messages_per_second: if seconds > 0.0 { counts.received as f64 / seconds } else { 0.0 },
            cost: Cost::new(self.meter.map(Meter::finish).unwrap_or_default(), seconds),
        }
    }
}

impl Config {
    fn check(&self) -> Result<(), SubscribeError> {
        let fail = |text: &str| Err(SubscribeError::Config(text.to_owned()));
        if self.in_flight == 0 {
            return fail("nothing in flight would receive nothing: 1 to 65535");
        }
        if !filter::is_valid(&self.filter) {
            let text =
                format!("`{}` is no topic filter: + and # stand alone in their level, # in the last", self.filter);
            return fail(&text);
        }
        if self.persistent && self.version == Version::V311 {
            return fail("a persistent session of MQTT 3.1.1 would outlive the run, and fill: use version 5");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
