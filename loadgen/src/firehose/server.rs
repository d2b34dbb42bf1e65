//! The firehose's sockets: one thread, epoll, large writes, bulk reads.

mod connection;

use self::connection::Connection;
use super::broker::{Broker, Close, Link};
use super::{Config, FirehoseError, Report};
use crate::clock::{Clock, MILLISECOND, SECOND, nanoseconds, seconds_between};
use crate::cpu::{Cost, Meter};
use crate::mqtt::Qos;
use crate::net::{Poll, Ready, feed, read_once};
use crate::pace::Rate;
use crate::progress::Progress;
use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};

/// Token of the listening socket; connections count from 1.
const LISTENER: u64 = 0;

/// Connections at a time; a further one is closed at once.
const MAX_CONNECTIONS: usize = 1_024;

/// One read takes this much: 64 Ki acknowledgements.
const READ_BUFFER: usize = 256 << 10;

/// At a given rate the sender wakes at most this often; what became due meanwhile leaves in one write. It adds half of this to
/// the median latency; 200 µs would cost 20 % of a core at any rate, on the cores that the bridge may have to share.
const PACE_NS: i64 = 500 * 1_000;

/// Housekeeping: samples of processes, keep-alive, deadlines.
const TICK_NS: i64 = 100 * MILLISECOND;

/// MQTT 5.0 §3.14.2.1: session taken over.
const SESSION_TAKEN_OVER: u8 = 0x8e;

/// MQTT 5.0 §3.14.2.1: protocol error.
const PROTOCOL_ERROR: u8 = 0x82;

/// MQTT 5.0 §3.14.2.1: keep alive timeout.
const KEEP_ALIVE_TIMEOUT: u8 = 0x8d;

/// MQTT 5.0 §3.14.2.1: server shutting down.
const SHUTTING_DOWN: u8 = 0x8b;

/// A firehose that listens.
#[derive(Debug)]
pub struct Firehose {
    config: Config,
    listener: TcpListener,
}

impl Firehose {
    /// Checks the settings and listens.
    ///
    /// # Errors
    /// [`FirehoseError::Config`] and [`FirehoseError::Listen`].
    pub fn bind(config: Config) -> Result<Self, FirehoseError> {
        config.check()?;
        let failed = |cause| FirehoseError::Listen { address: config.listen, cause };
        let listener = TcpListener::bind(config.listen).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        Ok(Self { config, listener })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Waits for the subscribers, floods them and returns when all is acknowledged, the time is over or `stop` is set.
    ///
    /// # Errors
    /// [`FirehoseError`]; the log of acknowledgements is written nevertheless, where that is possible.
    pub fn run(self, progress: &Progress, stop: &AtomicBool) -> Result<Report, FirehoseError> {
        let mut server = Server::new(self.config, self.listener)?;
        let outcome = server.run(progress, stop);
        let saved = server.save_ack_log();
        outcome?;
        saved?;
        Ok(server.report())
    }
}

struct Server {
    config: Config,
    clock: Clock,
    listener: TcpListener,
    poll: Poll,
    broker: Broker,
    connections: BTreeMap<u64, Connection>,
    next_token: u64,
    buffer: Vec<u8>,
    /// From the start of the flood to its end.
    meter: Option<Meter>,
    each_second: Vec<u64>,
    accepted: u64,
    violations: u64,
    keep_alive_timeouts: u64,
    next_tick_ns: i64,
    /// At a given rate: nothing new is sent before this time, so that acknowledgements do not cause small writes.
    next_send_ns: i64,
    next_storm_ns: Option<i64>,
    is_stopping: bool,
}

impl Server {
    fn new(config: Config, listener: TcpListener) -> Result<Self, FirehoseError> {
        let clock = Clock::start();
        let poll = Poll::new()?;
        poll.add(&listener, LISTENER, false)?;
        Ok(Self {
            meter: None,
            broker: Broker::new(config.clone()),
            next_tick_ns: clock.now(),
            next_send_ns: 0,
            next_storm_ns: None,
            config,
            clock,
            listener,
            poll,
            connections: BTreeMap::new(),
            next_token: LISTENER + 1,
            buffer: vec![0; READ_BUFFER],
            each_second: Vec::new(),
            accepted: 0,
            violations: 0,
            keep_alive_timeouts: 0,
            is_stopping: false,
        })
    }

    fn run(&mut self, progress: &Progress, stop: &AtomicBool) -> Result<(), FirehoseError> {
        let mut ready = Vec::new();
        let mut timeout = 0;
        while !stop.load(Ordering::Relaxed) {
            ready.clear();
            self.poll.wait(timeout, &mut ready)?;
            let now = self.clock.now();
            for event in &ready {
                self.handle_ready(*event, now)?;
            }
            self.close_evicted();
            if self.broker.started_ns.is_none() {
                self.broker.poll_start(now)?;
                if self.broker.started_ns.is_some() {
                    self.meter = Some(Meter::start(&self.config.load.processes, now));
                }
            }
            if now >= self.next_tick_ns {
                self.next_tick_ns = now + TICK_NS;
                self.tick(now)?;
                self.note(progress);
            }
            if self.broker.is_done() && self.connections.values().all(|open| open.out.is_empty()) {
                break;
            }
            if self.is_overdue(now) {
                break;
            }
            timeout = if self.pump_all(now) { 0 } else { self.timeout() };
        }
        self.close_all();
        Ok(())
    }

    fn handle_ready(&mut self, event: Ready, now: i64) -> Result<(), FirehoseError> {
        if event.token == LISTENER {
            return self.accept(now);
        }
        let Some(connection) = self.connections.get_mut(&event.token) else {
            return Ok(());
        };
        if event.writable {
            connection.is_blocked = false;
        }
        if event.readable {
            self.read(event.token, now);
        }
        Ok(())
    }

    fn accept(&mut self, now: i64) -> Result<(), FirehoseError> {
        loop {
            let socket = match self.listener.accept() {
                Ok((socket, _)) => socket,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // The peer was gone before it was greeted.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error.into()),
            };
            if self.connections.len() == MAX_CONNECTIONS {
                continue;
            }
            socket.set_nonblocking(true)?;
            socket.set_nodelay(true)?;
            let token = self.next_token;
            self.next_token += 1;
            self.accepted += 1;
            self.poll.add(&socket, token, false)?;
            self.connections.insert(token, Connection::new(socket, Link::new(token, now)));
        }
    }

    fn read(&mut self, token: u64, now: i64) {
        let Some(connection) = self.connections.get_mut(&token) else {
            return;
        };
        let count = match read_once(&connection.socket, &mut self.buffer) {
            Ok(None) => return,
            Ok(Some(count)) if count > 0 => count,
            Ok(Some(_)) | Err(_) => return self.close(token, None),
        };
        let (broker, link, out) = (&mut self.broker, &mut connection.link, connection.out.buffer());
        let handled = feed(&mut connection.kept, &self.buffer[..count], |input| broker.handle(link, input, out, now));
        match handled {
            Ok(()) => {}
            Err(Close::Disconnect) => self.close(token, None),
            Err(Close::Violation(violation)) => {
                self.violations += 1;
                eprintln!("connection closed: {violation}");
                self.close(token, Some(PROTOCOL_ERROR));
            }
        }
    }

    /// Sends what may be sent; true if there is more to do at once.
    fn pump_all(&mut self, now: i64) -> bool {
        let is_paced = self.config.load.rate != Rate::Max;
        let may_fill = !is_paced || now >= self.next_send_ns;
        if is_paced && may_fill {
            self.next_send_ns = now + PACE_NS;
        }
        let mut broken = Vec::new();
        let mut is_busy = false;
        for (&token, connection) in &mut self.connections {
            let pumped = connection.pump(&mut self.broker, &self.clock, may_fill, is_paced).and_then(|more| {
                if connection.is_blocked != connection.is_watched {
                    connection.is_watched = connection.is_blocked;
                    self.poll.modify(&connection.socket, token, connection.is_watched)?;
                }
                Ok(more)
            });
            match pumped {
                Ok(more) => is_busy |= more,
                Err(_) => broken.push(token),
            }
        }
        for token in broken {
            self.close(token, None);
        }
        is_busy
    }

    fn timeout(&self) -> i64 {
        let now = self.clock.now();
        let until_tick = self.next_tick_ns - now;
        if self.config.load.rate == Rate::Max {
            return until_tick;
        }
        let due = self.broker.next_due_ns(now);
        due.map_or(until_tick, |due| until_tick.min(due.max(self.next_send_ns) - now))
    }

    /// `close` with a reason is said to the client where its version knows how.
    fn close(&mut self, token: u64, reason: Option<u8>) {
        let Some(mut connection) = self.connections.remove(&token) else {
            return;
        };
        if let Some(reason) = reason {
            self.broker.put_goodbye(&connection.link, reason, connection.out.buffer());
            // The peer may be gone already; it is being closed either way.
            let _ = connection.out.flush(&connection.socket);
        }
        self.broker.handle_closed(&connection.link);
    }

    fn close_evicted(&mut self) {
        for token in std::mem::take(&mut self.broker.evicted) {
            self.close(token, Some(SESSION_TAKEN_OVER));
        }
    }

    fn close_all(&mut self) {
        let tokens: Vec<_> = self.connections.keys().copied().collect();
        for token in tokens {
            self.close(token, Some(SHUTTING_DOWN));
        }
    }

    fn note(&self, progress: &Progress) {
        let Broker { counts, latency, .. } = &self.broker;
        progress.note_all_sent(counts.sent, counts.sent * self.config.plain.size as u64);
        progress.note_acknowledged(counts.acknowledged, latency.percentiles());
    }

    /// Cuts all connections without a word, where that is wanted now.
    fn storm(&mut self, started: i64, now: i64) {
        let Some(storm) = self.config.storm else { return };
        let pause = nanoseconds(storm);
        let at = *self.next_storm_ns.get_or_insert(started.saturating_add(pause));
        if now >= at {
            self.next_storm_ns = Some(now.saturating_add(pause));
            let tokens: Vec<_> = self.connections.keys().copied().collect();
            tokens.into_iter().for_each(|token| self.close(token, None));
        }
    }

    fn tick(&mut self, now: i64) -> Result<(), FirehoseError> {
        let silent: Vec<_> = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.link.is_silent(now))
            .map(|(&token, _)| token)
            .collect();
        for token in silent {
            self.keep_alive_timeouts += 1;
            self.close(token, Some(KEEP_ALIVE_TIMEOUT));
        }
        let Some(started) = self.broker.started_ns else {
            return Ok(());
        };
        self.storm(started, now);
        if let Some(meter) = &mut self.meter {
            meter.tick(now);
        }
        let second = usize::try_from((now - started) / SECOND).unwrap_or(usize::MAX);
        if self.each_second.len() < second {
            let before: u64 = self.each_second.iter().sum();
            self.each_second.push(self.broker.counts.acknowledged - before);
            self.save_ack_log()?;
        }
        if !self.is_stopping
            && self.config.seconds.is_some_and(|limit| seconds_between(started, now) >= limit.as_secs_f64())
        {
            self.is_stopping = true;
            self.broker.stop_issuing();
        }
        Ok(())
    }

    /// Whether the time for the last acknowledgements is over, too.
    fn is_overdue(&self, now: i64) -> bool {
        let (Some(started), Some(limit)) = (self.broker.started_ns, self.config.seconds) else {
            return false;
        };
        seconds_between(started, now) >= (limit + self.config.drain).as_secs_f64()
    }

    fn save_ack_log(&self) -> Result<(), FirehoseError> {
        if let Some(path) = &self.config.load.ack_log {
            self.broker.ack_log.save(path)?;
        }
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of messages are far below 2^53")]
    fn report(self) -> Report {
        let counts = self.broker.counts.clone();
        let (first, last) = self.broker.span_ns.unwrap_or((0, 0));
        let seconds = seconds_between(first, last);
        let measured = match self.config.qos {
            Qos::AtMostOnce => counts.sent,
            Qos::AtLeastOnce | Qos::ExactlyOnce => counts.acknowledged,
        };
        let per = |count: u64, seconds: f64| {
            if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
        };
        let cost = Cost::new(self.meter.map(Meter::finish).unwrap_or_default(), seconds);
        let is_planned = self.config.messages.is_none() || !self.is_stopping;
        Report {
            expected: self.broker.expectation(),
            complete: self.broker.is_done() && is_planned && counts.discarded + counts.refused == 0,
            sent: counts.sent,
            acknowledged: counts.acknowledged,
            redelivered: counts.redelivered,
            refused: counts.refused,
            discarded: counts.discarded,
            acks_out_of_order: counts.acks_out_of_order,
            acks_unknown: counts.acks_unknown,
            connections: self.accepted,
            violations: self.violations,
            keep_alive_timeouts: self.keep_alive_timeouts,
            topics_without_subscriber: counts.topics_without_subscriber,
            seconds,
            messages_per_second: per(measured, seconds),
            latency: self.broker.latency.percentiles(),
            latency_curve: self.broker.latency.curve(),
            generator_messages_per_cpu_second: per(counts.sent, cost.generator_cpu_seconds),
            cost,
            acknowledged_each_second: self.each_second,
        }
    }
}
