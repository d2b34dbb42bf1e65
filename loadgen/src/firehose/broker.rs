//! The broker's side of MQTT without any I/O: bytes in, bytes out, the time as an argument. What it sends is in `flood`.

mod flood;

use super::Config;
use super::packets::{Packets, Shape};
use super::queue::Queue;
use super::session::{Granted, Session};
use crate::clock::SECOND;
use crate::latency::Latency;
use crate::ledger::{AckLog, Expectation};
use crate::mqtt::broker::{Connect, FromClient, RawFilters, put_connack, put_suback, put_unsuback, read};
use crate::mqtt::filter::Subscription;
use crate::mqtt::{Version, Violation, frame, kind};
use std::collections::HashMap;
use std::rc::Rc;

/// Sessions that are kept at most; a further client is refused as a violation.
const MAX_SESSIONS: usize = 4_096;

/// SUBACK: failure (MQTT 3.1.1 §3.9.3), unspecified error (MQTT 5.0 §3.9.3).
const REFUSED: u8 = 0x80;

/// Why a connection has to be closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Close {
    /// The client said so.
    Disconnect,
    Violation(Violation),
}

impl From<Violation> for Close {
    fn from(violation: Violation) -> Self {
        Self::Violation(violation)
    }
}

/// The protocol state of one connection; its socket is elsewhere.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) id: u64,
    session: Option<usize>,
    keep_alive_ns: Option<i64>,
    last_heard_ns: i64,
}

impl Link {
    pub(crate) fn new(id: u64, now: i64) -> Self {
        Self { id, session: None, keep_alive_ns: None, last_heard_ns: now }
    }

    /// Whether nothing came for one and a half times the keep-alive time (MQTT 5.0 §3.1.2.10).
    pub(crate) fn is_silent(&self, now: i64) -> bool {
        self.keep_alive_ns.is_some_and(|limit| now - self.last_heard_ns > limit + limit / 2)
    }
}

/// What is counted during a run.
#[derive(Debug, Default, Clone)]
pub(crate) struct Counts {
    pub(crate) sent: u64,
    pub(crate) acknowledged: u64,
    pub(crate) redelivered: u64,
    pub(crate) refused: u64,
    pub(crate) discarded: u64,
    pub(crate) acks_out_of_order: u64,
    pub(crate) acks_unknown: u64,
    pub(crate) topics_without_subscriber: u64,
}

#[derive(Debug)]
pub(crate) struct Broker {
    config: Config,
    shape: Shape,
    prepared: Vec<Rc<Packets>>,
    sessions: Vec<Session>,
    by_client: HashMap<String, usize>,
    by_group: HashMap<String, usize>,
    queues: Vec<Queue>,
    last_subscribe_ns: i64,
    pub(crate) started_ns: Option<i64>,
    /// The first and the last time of an acknowledgement, or of a write at QoS 0.
    pub(crate) span_ns: Option<(i64, i64)>,
    pub(crate) counts: Counts,
    pub(crate) latency: Latency,
    pub(crate) ack_log: AckLog,
    /// Connections whose session was taken over by a newer one; the driver closes them.
    pub(crate) evicted: Vec<u64>,
}

impl Broker {
    pub(crate) fn new(config: Config) -> Self {
        let shape = Shape { run_id: config.load.run_id, topics: config.plain.names(), size: config.plain.size };
        Self {
            ack_log: AckLog::new(config.load.run_id, shape.topics.len()),
            config,
            shape,
            prepared: Vec::new(),
            sessions: Vec::new(),
            by_client: HashMap::new(),
            by_group: HashMap::new(),
            queues: Vec::new(),
            last_subscribe_ns: 0,
            started_ns: None,
            span_ns: None,
            counts: Counts::default(),
            latency: Latency::new(),
            evicted: Vec::new(),
        }
    }

    /// Handles the whole packets of `input`, appends the answers to `out` and returns how many bytes it took.
    pub(crate) fn handle(
        &mut self,
        link: &mut Link,
        input: &[u8],
        out: &mut Vec<u8>,
        now: i64,
    ) -> Result<usize, Close> {
        link.last_heard_ns = now;
        let mut at = 0;
        loop {
            if let Some(session) = link.session {
                at += self.handle_pubacks(session, &input[at..], now);
            }
            let Some(found) = frame(&input[at..])? else {
                return Ok(at);
            };
            at += found.length;
            let packet = read(found)?;
            self.handle_packet(link, packet, out, now)?;
        }
    }

    /// The hot loop: a run of PUBACKs in their shortest form.
    fn handle_pubacks(&mut self, session: usize, input: &[u8], now: i64) -> usize {
        let mut at = 0;
        while let Some(&[kind::PUBACK, 2, high, low]) = input[at..].first_chunk::<4>() {
            self.handle_ack(session, u16::from_be_bytes([high, low]), now);
            at += 4;
        }
        at
    }

    #[inline]
    fn handle_ack(&mut self, session: usize, packet_id: u16, now: i64) {
        let session = &mut self.sessions[session];
        let is_oldest = session.in_flight.oldest().1 == packet_id;
        let Some(message) = session.handle_finished(packet_id) else {
            self.counts.acks_unknown += 1;
            return;
        };
        self.counts.acks_out_of_order += u64::from(!is_oldest);
        self.note_acknowledged(message.publisher, message.sequence, message.sent_ns, now);
    }

    #[inline]
    fn note_acknowledged(&mut self, publisher: u32, sequence: u64, sent_ns: i64, now: i64) {
        self.ack_log.record(publisher, sequence);
        self.latency.record(now - sent_ns);
        self.counts.acknowledged += 1;
        self.note_time(now);
    }

    fn note_time(&mut self, now: i64) {
        let first = self.span_ns.map_or(now, |span| span.0);
        self.span_ns = Some((first, now));
    }

    fn handle_packet(&mut self, link: &mut Link, packet: FromClient, out: &mut Vec<u8>, now: i64) -> Result<(), Close> {
        if let FromClient::Connect(connect) = packet {
            return Ok(self.handle_connect(link, connect, out)?);
        }
        let session = link.session.ok_or(Violation("packet before CONNECT"))?;
        match packet {
            FromClient::Connect(_) => unreachable!("handled above"),
            FromClient::Subscribe(filters) => self.handle_subscribe(session, &filters, out, now)?,
            FromClient::Unsubscribe(filters) => self.handle_unsubscribe(session, &filters, out)?,
            FromClient::Puback(id, reason) | FromClient::Pubrec(id, reason) if reason >= 0x80 => {
                let known = self.sessions[session].handle_finished(id).is_some();
                self.counts.refused += u64::from(known);
                self.counts.acks_unknown += u64::from(!known);
            }
            FromClient::Puback(id, _) => self.handle_ack(session, id, now),
            FromClient::Pubrec(id, _) => {
                if let Some(message) = self.sessions[session].handle_received(id, out) {
                    self.note_acknowledged(message.publisher, message.sequence, message.sent_ns, now);
                }
            }
            FromClient::Pubcomp(id, _) => {
                let known = self.sessions[session].handle_finished(id).is_some();
                self.counts.acks_unknown += u64::from(!known);
            }
            FromClient::Ping => out.extend([kind::PINGRESP, 0]),
            FromClient::Disconnect(expiry) => {
                if let Some(expiry) = expiry {
                    self.sessions[session].persistent = expiry > 0;
                }
                return Err(Close::Disconnect);
            }
        }
        Ok(())
    }

    fn handle_connect(&mut self, link: &mut Link, connect: Connect, out: &mut Vec<u8>) -> Result<(), Violation> {
        if link.session.is_some() {
            return Err(Violation("second CONNECT on a connection"));
        }
        if connect.client_id.is_empty() {
            return Err(Violation("CONNECT without a client identifier, by which sessions are known here"));
        }
        let window = self.config.window;
        let known = self.by_client.get(&connect.client_id).copied();
        let index = known.unwrap_or(self.sessions.len());
        if known.is_none() {
            if index == MAX_SESSIONS {
                return Err(Violation("more sessions than the firehose keeps"));
            }
            self.sessions.push(Session::new(connect.version, window));
            self.by_client.insert(connect.client_id, index);
        }
        let session = &mut self.sessions[index];
        if let Some(other) = session.connection.replace(link.id) {
            self.evicted.push(other);
        }
        let has_state = session.persistent && known.is_some();
        if !has_state || connect.clean_start {
            self.counts.discarded += session.discard(window) as u64;
        }
        session.handle_connected(connect.version, window.min(connect.receive_maximum), connect.persistent);
        link.session = Some(index);
        link.keep_alive_ns = (connect.keep_alive > 0).then(|| i64::from(connect.keep_alive) * SECOND);
        put_connack(out, connect.version, has_state && !connect.clean_start);
        Ok(())
    }

    fn handle_subscribe(
        &mut self,
        index: usize,
        raw: &RawFilters,
        out: &mut Vec<u8>,
        now: i64,
    ) -> Result<(), Violation> {
        let session = &mut self.sessions[index];
        let (packet_id, filters) = raw.subscribe(session.version)?;
        let mut codes = Vec::with_capacity(filters.len());
        for (filter, qos) in filters {
            if filter.starts_with("$SYS/") {
                // Who watches the broker is no subscriber of the flood, which does not wait for it.
                codes.push(REFUSED);
                continue;
            }
            let subscription = Subscription::parse(&filter)?;
            let qos = qos.min(self.config.qos);
            codes.push(u8::from(qos));
            session.granted.retain(|granted| granted.subscription != subscription);
            // Who joins a group later gets its share of what is left; other newcomers come too late for a fixed plan.
            let group_queue = subscription.group.as_ref().and_then(|group| self.by_group.get(group));
            if let Some(&queue) = group_queue.filter(|queue| !session.queues.contains(queue)) {
                session.queues.push(queue);
            }
            session.granted.push(Granted { subscription, qos });
            self.last_subscribe_ns = now;
        }
        put_suback(out, session.version, packet_id, &codes);
        self.prepare_packets(index);
        Ok(())
    }

    fn handle_unsubscribe(&mut self, index: usize, raw: &RawFilters, out: &mut Vec<u8>) -> Result<(), Violation> {
        let session = &mut self.sessions[index];
        let (packet_id, filters) = raw.unsubscribe(session.version)?;
        for (filter, _) in &filters {
            let subscription = Subscription::parse(filter)?;
            session.granted.retain(|granted| granted.subscription != subscription);
        }
        put_unsuback(out, session.version, packet_id, filters.len());
        Ok(())
    }

    /// The connection is gone; its session stays if it is persistent.
    pub(crate) fn handle_closed(&mut self, link: &Link) {
        let Some(index) = link.session else { return };
        let session = &mut self.sessions[index];
        if session.connection != Some(link.id) {
            return;
        }
        session.connection = None;
        if !session.persistent {
            self.counts.discarded += session.discard(self.config.window) as u64;
        }
    }

    /// What was sent so far. Where two queues hold a topic, the one that is further ahead counts.
    pub(crate) fn expectation(&self) -> Expectation {
        let mut sent = vec![0; self.shape.topics.len()];
        for (topic, count) in self.queues.iter().flat_map(Queue::sent) {
            let place: &mut u64 = &mut sent[topic as usize];
            *place = (*place).max(count);
        }
        Expectation { run_id: self.config.load.run_id, topics: self.shape.topics.clone(), sent }
    }

    /// Says goodbye for the given reason (MQTT 5.0 §3.14); 3.1.1 has no such packet from a server.
    pub(crate) fn put_goodbye(&self, link: &Link, reason: u8, out: &mut Vec<u8>) {
        let version = link.session.map(|index| self.sessions[index].version);
        if version == Some(Version::V5) {
            out.extend([kind::DISCONNECT, 1, reason]);
        }
    }
}
