//! A subscriber without any I/O: bytes and the time in, bytes out.

use super::Counts;
use crate::mqtt::client::{
    Connack, ConnectOptions, FromBroker, Publish, put_connect, put_disconnect, put_subscribe, read,
};
use crate::mqtt::keep_alive::KeepAlive;
use crate::mqtt::lost::Lost;
use crate::mqtt::{Qos, Violation, frame, kind, put_ack};
use std::collections::BTreeSet;

/// The packet identifier of the only SUBSCRIBE.
const SUBSCRIBE_ID: u16 = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Down,
    /// CONNECT sent.
    Greeting,
    /// SUBSCRIBE sent; messages of an earlier connection may come before its SUBACK.
    Subscribing,
    Up,
}

#[derive(Debug)]
pub(crate) struct Client {
    options: ConnectOptions,
    filter: String,
    qos: Qos,
    state: State,
    keep_alive: KeepAlive,
    /// Whether the broker has had a session of this client.
    has_session: bool,
    /// Messages of QoS 2 between PUBREC and PUBREL, by packet identifier.
    open: BTreeSet<u16>,
}

impl Client {
    pub(crate) fn new(options: ConnectOptions, filter: String, qos: Qos) -> Self {
        Self {
            keep_alive: KeepAlive::new(options.keep_alive),
            options,
            filter,
            qos,
            state: State::Down,
            has_session: false,
            open: BTreeSet::new(),
        }
    }

    /// The socket is connected.
    pub(crate) fn handle_open(&mut self, out: &mut Vec<u8>, now: i64) {
        self.state = State::Greeting;
        self.keep_alive.start(now);
        put_connect(out, &self.options);
    }

    pub(crate) fn handle_closed(&mut self) {
        self.state = State::Down;
    }

    /// Handles the whole packets of `input` and returns how many bytes that took.
    pub(crate) fn handle(
        &mut self,
        input: &[u8],
        out: &mut Vec<u8>,
        counts: &mut Counts,
        now: i64,
    ) -> Result<usize, Lost> {
        self.keep_alive.note_heard(now);
        let mut at = 0;
        while let Some(found) = frame(&input[at..])? {
            at += found.length;
            match (read(found, self.options.version)?, self.state) {
                (FromBroker::Publish(publish), State::Subscribing | State::Up) => {
                    self.handle_publish(publish, out, counts, now);
                }
                (FromBroker::Pubrel(id), State::Subscribing | State::Up) => {
                    self.open.remove(&id);
                    put_ack(out, kind::PUBCOMP, id);
                }
                (FromBroker::Connack(connack), State::Greeting) => self.handle_connack(&connack, out, counts)?,
                (FromBroker::Suback(SUBSCRIBE_ID, code), State::Subscribing) => self.handle_suback(code, counts)?,
                (FromBroker::Pong, State::Up) => {}
                (FromBroker::Disconnect(reason), _) => return Err(Lost::Disconnected(reason)),
                (_, State::Greeting | State::Down) => return Err(Violation("packet before CONNACK").into()),
                _ => return Err(Violation("packet that this subscriber has not asked for").into()),
            }
        }
        if !out.is_empty() {
            self.keep_alive.note_sent(now);
        }
        Ok(at)
    }

    fn handle_connack(&mut self, connack: &Connack, out: &mut Vec<u8>, counts: &mut Counts) -> Result<(), Lost> {
        if connack.code != 0 {
            return Err(Lost::Refused(connack.code));
        }
        self.keep_alive.overrule(connack.keep_alive);
        if !connack.session_present {
            counts.sessions_lost += u64::from(self.has_session && !self.options.clean_start);
            self.open.clear();
        }
        self.has_session = true;
        self.state = State::Subscribing;
        put_subscribe(out, self.options.version, SUBSCRIBE_ID, &self.filter, self.qos);
        Ok(())
    }

    fn handle_suback(&mut self, code: u8, counts: &mut Counts) -> Result<(), Lost> {
        match code {
            0x80.. => Err(Lost::Subscription(code)),
            granted if granted < u8::from(self.qos) => Err(Lost::Qos(granted)),
            _ => {
                self.state = State::Up;
                counts.subscriptions += 1;
                Ok(())
            }
        }
    }

    /// Asks the broker for a sign of life where it has been silent.
    pub(crate) fn poll_keep_alive(&mut self, out: &mut Vec<u8>, now: i64) -> Result<(), Lost> {
        match self.state {
            State::Down => Ok(()),
            State::Greeting | State::Subscribing => self.keep_alive.check(now),
            State::Up => self.keep_alive.poll(out, now),
        }
    }

    /// Says goodbye and ends the session, if connected.
    pub(crate) fn put_goodbye(&self, out: &mut Vec<u8>) {
        if matches!(self.state, State::Subscribing | State::Up) {
            put_disconnect(out, self.options.version);
        }
    }

    /// Whether the broker has accepted the subscription.
    pub(crate) fn is_up(&self) -> bool {
        self.state == State::Up
    }

    /// Whether no handshake of QoS 2 is under way.
    pub(crate) fn is_settled(&self) -> bool {
        self.open.is_empty()
    }

    /// Counts a message and acknowledges it at once.
    fn handle_publish(&mut self, publish: Publish, out: &mut Vec<u8>, counts: &mut Counts, now: i64) {
        match publish.qos {
            Qos::AtMostOnce => {}
            Qos::AtLeastOnce => put_ack(out, kind::PUBACK, publish.packet_id),
            Qos::ExactlyOnce => put_ack(out, kind::PUBREC, publish.packet_id),
        }
        // The same message until its PUBREL (MQTT 5.0 §4.3.3).
        if publish.qos == Qos::ExactlyOnce && !self.open.insert(publish.packet_id) {
            return;
        }
        counts.received += 1;
        counts.redelivered += u64::from(publish.is_duplicate);
        counts.payload_bytes += publish.payload_bytes as u64;
        counts.span_ns = Some((counts.span_ns.map_or(now, |(first, _)| first), now));
    }
}
