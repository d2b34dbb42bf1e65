//! The publisher's sockets: one thread, epoll, and a heap of wake-ups, so that idle clients cost nothing.

use super::client::Client;
use super::link::{BACKOFF_NS, Link, open_socket};
use super::{Config, PublishError, run::Run};
use crate::clock::{Clock, MILLISECOND, SECOND, nanoseconds};
use crate::cpu::{Meter, ProcessUsage};
use crate::mqtt::lost::Lost;
use crate::net::{Poll, Ready, feed, read_once};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// At a given rate the sender wakes at most this often; what became due meanwhile leaves together.
const PACE_NS: i64 = 200 * 1_000;

/// How often a closed gate is looked at.
const GATE_NS: i64 = MILLISECOND;

/// Housekeeping: keep-alive, progress, deadlines.
const TICK_NS: i64 = 100 * MILLISECOND;

/// How long the first connection is tried for, at most.
const FIRST_PATIENCE: Duration = Duration::from_secs(10);

/// How long the broker may take to accept a connection.
const HANDSHAKE_NS: i64 = 10 * SECOND;

/// How long acknowledgements are waited for after a stop.
const STOP_PATIENCE_NS: i64 = 5 * SECOND;

const READ_BUFFER: usize = 64 << 10;

/// What the driver counts beside the clients.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    pub(crate) connections_lost: u64,
    /// CPU seconds of the generator, and what the sampled processes used.
    pub(crate) used: (f64, Vec<ProcessUsage>),
    pub(crate) each_second: Vec<u64>,
}

pub(crate) struct Driver {
    config: Config,
    clock: Clock,
    poll: Poll,
    addresses: Vec<SocketAddr>,
    run: Run,
    links: Vec<Link>,
    wakes: BinaryHeap<Reverse<(i64, usize)>>,
    buffer: Vec<u8>,
    totals: Totals,
    meter: Option<Meter>,
    started_ns: i64,
    was_connected: bool,
    next_tick_ns: i64,
    next_storm_ns: Option<i64>,
}

impl Driver {
    pub(crate) fn new(config: Config, clock: Clock, run: Run, clients: Vec<Client>) -> Result<Self, PublishError> {
        let now = clock.now();
        let addresses = config.url.addresses()?;
        let next_storm_ns = config.storm.map(|storm| now + nanoseconds(storm));
        let mut driver = Self {
            next_storm_ns,
            poll: Poll::new()?,
            config,
            clock,
            addresses,
            run,
            links: clients.into_iter().map(|client| Link::new(client, now)).collect(),
            wakes: BinaryHeap::new(),
            buffer: vec![0; READ_BUFFER],
            totals: Totals::default(),
            meter: None,
            started_ns: now,
            was_connected: false,
            next_tick_ns: now,
        };
        for number in 0..driver.links.len() {
            driver.wake_at(number, now);
        }
        Ok(driver)
    }

    pub(crate) fn run(&mut self, stop: &AtomicBool) -> Result<(), PublishError> {
        let mut ready = Vec::new();
        let mut stopped_ns = None;
        self.meter = Some(Meter::start(&self.config.load.processes, self.started_ns));
        loop {
            let timeout = self.timeout();
            ready.clear();
            self.poll.wait(timeout, &mut ready)?;
            let now = self.clock.now();
            for event in &ready {
                self.handle_ready(*event, now)?;
            }
            if stop.load(Ordering::Relaxed) && stopped_ns.is_none() {
                stopped_ns = Some(now);
                self.run.is_stopping = true;
            }
            self.handle_wakes(now)?;
            if now >= self.next_tick_ns {
                self.next_tick_ns = now + TICK_NS;
                self.tick(now)?;
                let is_settled = self.links.iter().all(|link| link.client.is_settled() && link.out.is_empty());
                if stopped_ns.is_some_and(|since| is_settled || now - since > STOP_PATIENCE_NS) {
                    break;
                }
            }
            if self.is_complete() {
                break;
            }
        }
        self.goodbye();
        self.note_progress();
        self.totals.used = self.meter.take().map(Meter::finish).unwrap_or_default();
        Ok(())
    }

    /// Whether everything was sent and acknowledged.
    pub(crate) fn is_complete(&self) -> bool {
        // The first client is not done as long as the run goes on, but for its very end: a cheap test.
        self.links.iter().all(|link| link.client.is_done() && link.out.is_empty())
    }

    pub(crate) fn into_parts(self) -> (Run, Totals) {
        (self.run, self.totals)
    }

    pub(crate) fn save_ack_log(&self) -> Result<(), PublishError> {
        if let Some(path) = &self.config.load.ack_log {
            self.run.ack_log.save(path)?;
        }
        Ok(())
    }

    fn timeout(&self) -> i64 {
        let now = self.clock.now();
        let until_tick = self.next_tick_ns - now;
        let Some(Reverse((wake, _))) = self.wakes.peek() else {
            return until_tick;
        };
        let until_wake = wake - now;
        let is_paced = self.run.pace.is_open_loop();
        until_tick.min(if is_paced { until_wake.max(PACE_NS) } else { until_wake })
    }

    fn wake_at(&mut self, number: usize, at: i64) {
        let link = &mut self.links[number];
        if link.wake_ns.is_none_or(|planned| planned > at) {
            link.wake_ns = Some(at);
            self.wakes.push(Reverse((at, number)));
        }
    }

    fn handle_wakes(&mut self, now: i64) -> Result<(), PublishError> {
        // Those that are woken again for now have their turn after the sockets.
        let mut due = Vec::new();
        while let Some(&Reverse((at, number))) = self.wakes.peek() {
            if at > now {
                break;
            }
            self.wakes.pop();
            // An earlier wake-up has replaced this one.
            if self.links[number].wake_ns == Some(at) {
                self.links[number].wake_ns = None;
                due.push(number);
            }
        }
        for number in due {
            if self.links[number].socket.is_none() {
                self.connect(number, now)?;
            } else {
                self.pump(number, now)?;
            }
        }
        Ok(())
    }

    fn connect(&mut self, number: usize, now: i64) -> Result<(), PublishError> {
        let attempt = usize::try_from(self.totals.connections_lost).unwrap_or(0);
        let address = self.addresses[(number + attempt) % self.addresses.len()];
        let opened = open_socket(address).and_then(|socket| {
            self.poll.add(&socket, number as u64, true)?;
            Ok(socket)
        });
        match opened {
            Ok(socket) => {
                let link = &mut self.links[number];
                link.socket = Some(socket);
                link.is_connecting = true;
                link.opened_ns = now;
                link.is_watched = true;
                Ok(())
            }
            Err(error) => self.lose(number, Lost::Socket(error.to_string()), now),
        }
    }

    fn handle_ready(&mut self, event: Ready, now: i64) -> Result<(), PublishError> {
        let number = usize::try_from(event.token).expect("tokens are indices");
        let link = &mut self.links[number];
        let Some(socket) = &link.socket else {
            return Ok(());
        };
        if link.is_connecting {
            if let Err(error) = socket.take_error().and_then(|error| error.map_or(Ok(()), Err)) {
                return self.lose(number, Lost::Socket(error.to_string()), now);
            }
            link.is_connecting = false;
            link.client.handle_open(link.out.buffer(), now);
            return self.pump(number, now);
        }
        if event.writable {
            link.is_blocked = false;
        }
        if event.readable {
            self.read(number, now)?;
        }
        self.pump(number, now)
    }

    fn read(&mut self, number: usize, now: i64) -> Result<(), PublishError> {
        let link = &mut self.links[number];
        let Some(socket) = &link.socket else {
            return Ok(());
        };
        let count = match read_once(socket, &mut self.buffer) {
            Ok(None) => return Ok(()),
            Ok(Some(0)) => return self.lose(number, Lost::Closed, now),
            Ok(Some(count)) => count,
            Err(error) => return self.lose(number, Lost::Socket(error.to_string()), now),
        };
        let (client, out, run) = (&mut link.client, link.out.buffer(), &mut self.run);
        let handled = feed(&mut link.kept, &self.buffer[..count], |input| client.handle(input, out, run, now));
        match handled {
            Ok(()) => {
                if link.client.is_up() && link.down_since_ns.take().is_some() {
                    link.backoff_ns = BACKOFF_NS.0;
                    self.was_connected = true;
                }
                Ok(())
            }
            Err(lost) => self.lose(number, lost, now),
        }
    }

    /// Sends what may be sent, and plans when to look again.
    fn pump(&mut self, number: usize, now: i64) -> Result<(), PublishError> {
        let link = &mut self.links[number];
        let Some(socket) = link.socket.as_ref().filter(|_| !link.is_connecting) else {
            return Ok(());
        };
        let mut flushed = Ok(true);
        if !link.is_blocked {
            if link.out.is_empty() {
                link.client.poll_send(link.out.buffer(), &mut self.run, now);
            }
            flushed = link.out.flush(socket);
        }
        let outcome = flushed.and_then(|is_out| {
            link.is_blocked |= !is_out;
            if link.is_blocked != link.is_watched {
                link.is_watched = link.is_blocked;
                self.poll.modify(socket, number as u64, link.is_watched)?;
            }
            Ok(())
        });
        if let Err(error) = outcome {
            return self.lose(number, Lost::Socket(error.to_string()), now);
        }
        self.plan_wake(number, now);
        Ok(())
    }

    /// A client that waits for the broker is woken by its socket; one that waits for the time or the gate, by the heap.
    fn plan_wake(&mut self, number: usize, now: i64) {
        let link = &self.links[number];
        if link.is_blocked || !link.client.has_room(&self.run) {
            return;
        }
        if let Some(due) = link.client.next_due_ns(&self.run, now) {
            let gate = if self.run.is_gate_open() { now } else { now + GATE_NS };
            self.wake_at(number, due.max(gate));
        }
    }

    /// The connection has ended; it is tried again, unless that cannot help or the patience is at its end.
    fn lose(&mut self, number: usize, lost: Lost, now: i64) -> Result<(), PublishError> {
        let link = &mut self.links[number];
        if link.socket.take().is_some() {
            link.client.handle_closed();
            link.kept.clear();
            link.out.clear();
            (link.is_blocked, link.is_watched, link.is_connecting) = (false, false, false);
        }
        if link.down_since_ns.is_none() {
            self.totals.connections_lost += 1;
        }
        let since = *link.down_since_ns.get_or_insert(now);
        let patience = if self.was_connected { self.config.patience } else { self.config.patience.min(FIRST_PATIENCE) };
        let is_over = now - since > nanoseconds(patience);
        if lost.is_final() || is_over {
            return Err(lost.of(&self.config.url).into());
        }
        let wait = link.backoff_ns;
        link.backoff_ns = (wait * 2).min(BACKOFF_NS.1);
        // A wake-up that was planned for sending must not cut the wait short.
        link.wake_ns = None;
        self.wake_at(number, now + wait);
        Ok(())
    }

    /// Cuts all connections, where that is wanted now; they are opened again at once.
    fn storm(&mut self, now: i64) -> Result<(), PublishError> {
        let (Some(at), Some(storm)) = (self.next_storm_ns, self.config.storm) else { return Ok(()) };
        if now < at {
            return Ok(());
        }
        self.next_storm_ns = Some(now + nanoseconds(storm));
        for number in 0..self.links.len() {
            if self.links[number].client.is_up() {
                self.lose(number, Lost::Socket("cut by --storm".to_owned()), now)?;
            }
        }
        Ok(())
    }

    fn tick(&mut self, now: i64) -> Result<(), PublishError> {
        self.storm(now)?;
        for number in 0..self.links.len() {
            let link = &mut self.links[number];
            if link.socket.is_none() {
                continue;
            }
            if !link.client.is_up() && now - link.opened_ns > HANDSHAKE_NS {
                self.lose(number, Lost::Silent, now)?;
                continue;
            }
            match link.client.poll_keep_alive(link.out.buffer(), now) {
                Ok(()) => self.pump(number, now)?,
                Err(lost) => self.lose(number, lost, now)?,
            }
        }
        self.note_progress();
        if let Some(meter) = &mut self.meter {
            meter.tick(now);
        }
        let second = usize::try_from((now - self.started_ns) / SECOND).unwrap_or(usize::MAX);
        if self.totals.each_second.len() < second {
            let before: u64 = self.totals.each_second.iter().sum();
            self.totals.each_second.push(self.run.counts.acknowledged - before);
            self.save_ack_log()?;
        }
        Ok(())
    }

    fn note_progress(&self) {
        let acknowledged = self.run.counts.acknowledged;
        self.run.progress.note_acknowledged(acknowledged, self.run.latency.percentiles());
    }

    fn goodbye(&mut self) {
        for link in &mut self.links {
            link.client.put_goodbye(link.out.buffer());
            if let Some(socket) = &link.socket {
                // The run is over; a broker that is gone by now misses nothing but the courtesy.
                let _ = link.out.flush(socket);
            }
        }
    }
}
