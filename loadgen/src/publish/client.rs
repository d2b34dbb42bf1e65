//! One publishing client without any I/O: bytes and the time in, bytes out.

use super::run::Run;
use crate::mqtt::client::{ConnectOptions, FromBroker, put_connect, put_disconnect, read};
use crate::mqtt::keep_alive::KeepAlive;
use crate::mqtt::lost::Lost;
use crate::mqtt::{DUP, Qos, Violation, frame, kind, next_packet_id, put_ack, put_publish};
use crate::stamp;
use crate::traffic::Feed;
use std::collections::VecDeque;

/// One write carries at most about this many bytes.
const WRITE_TARGET: usize = 64 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Down,
    /// CONNECT sent.
    Greeting,
    Up,
}

/// How far the acknowledgement of a message has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Sent,
    /// PUBREC received, PUBREL sent.
    Received,
    Done,
}

/// A message that is not wholly acknowledged; the packet is kept to send it again.
#[derive(Debug)]
struct Flight {
    packet: Vec<u8>,
    packet_id: u16,
    publisher: u32,
    sequence: u64,
    intended_ns: i64,
    step: Step,
}

#[derive(Debug)]
pub(crate) struct Client {
    options: ConnectOptions,
    feed: Feed,
    state: State,
    /// The most messages that may be unacknowledged: our own limit, and with the broker's on this connection.
    window: usize,
    allowed: usize,
    in_flight: VecDeque<Flight>,
    /// How many of `in_flight`, from the front, were sent on this connection.
    on_wire: usize,
    /// Those before this place are sent again.
    resend_until: usize,
    /// Whether the broker still has the session of what is sent again.
    is_resumed: bool,
    next_id: u16,
    keep_alive: KeepAlive,
}

impl Client {
    pub(crate) fn new(options: ConnectOptions, feed: Feed, window: u16) -> Self {
        Self {
            keep_alive: KeepAlive::new(options.keep_alive),
            options,
            feed,
            state: State::Down,
            window: usize::from(window),
            allowed: 0,
            in_flight: VecDeque::new(),
            on_wire: 0,
            resend_until: 0,
            is_resumed: false,
            next_id: 1,
        }
    }

    /// The socket is connected.
    pub(crate) fn handle_open(&mut self, out: &mut Vec<u8>, now: i64) {
        self.state = State::Greeting;
        self.keep_alive.start(now);
        put_connect(out, &self.options);
    }

    /// The socket is gone; what is unacknowledged waits for the next one.
    pub(crate) fn handle_closed(&mut self) {
        self.state = State::Down;
        self.on_wire = 0;
        self.resend_until = self.in_flight.len();
    }

    /// Handles the whole packets of `input` and returns how many bytes that took.
    pub(crate) fn handle(&mut self, input: &[u8], out: &mut Vec<u8>, run: &mut Run, now: i64) -> Result<usize, Lost> {
        self.keep_alive.note_heard(now);
        let mut at = 0;
        while let Some(found) = frame(&input[at..])? {
            at += found.length;
            match (read(found, self.options.version)?, self.state) {
                (FromBroker::Connack(connack), State::Greeting) => {
                    self.handle_connack(&connack, run)?;
                }
                (FromBroker::Disconnect(reason), _) => return Err(Lost::Disconnected(reason)),
                (_, State::Greeting | State::Down) => return Err(Violation("packet before CONNACK").into()),
                (FromBroker::Connack(_), State::Up) => return Err(Violation("second CONNACK").into()),
                (FromBroker::Pong, State::Up) => {}
                (FromBroker::Puback(id, reason), State::Up) => self.handle_done(id, reason, run, now),
                (FromBroker::Pubcomp(id, _), State::Up) => self.handle_done(id, 0, run, now),
                (FromBroker::Pubrec(id, reason), State::Up) if reason >= 0x80 => self.handle_done(id, reason, run, now),
                (FromBroker::Pubrec(id, _), State::Up) => self.handle_received(id, out, run),
                (FromBroker::Suback(..) | FromBroker::Publish(_) | FromBroker::Pubrel(_), State::Up) => {
                    return Err(Violation("packet that a publisher never receives").into());
                }
            }
        }
        Ok(at)
    }

    fn handle_connack(&mut self, connack: &crate::mqtt::client::Connack, run: &mut Run) -> Result<(), Lost> {
        if connack.code != 0 {
            return Err(Lost::Refused(connack.code));
        }
        if connack.maximum_qos < u8::from(run.qos) {
            return Err(Lost::Qos(connack.maximum_qos));
        }
        self.state = State::Up;
        self.allowed = self.window.min(usize::from(connack.receive_maximum));
        self.keep_alive.overrule(connack.keep_alive);
        self.is_resumed = connack.session_present;
        if !connack.session_present && self.resend_until > 0 {
            run.counts.sessions_lost += u64::from(!self.options.clean_start);
            // The broker knows nothing of what it took with PUBREC: it may never have delivered that.
            for flight in self.in_flight.iter_mut().filter(|flight| flight.step == Step::Received) {
                flight.step = Step::Sent;
            }
        }
        Ok(())
    }

    fn find(&mut self, packet_id: u16) -> Option<&mut Flight> {
        let sent = self.in_flight.iter_mut().take(self.on_wire);
        let mut open = sent.filter(|flight| flight.step != Step::Done);
        open.find(|flight| flight.packet_id == packet_id)
    }

    fn handle_received(&mut self, packet_id: u16, out: &mut Vec<u8>, run: &mut Run) {
        put_ack(out, kind::PUBREL | 0x02, packet_id);
        match self.find(packet_id) {
            Some(flight) => flight.step = Step::Received,
            None => run.counts.acks_unknown += 1,
        }
    }

    fn handle_done(&mut self, packet_id: u16, reason: u8, run: &mut Run, now: i64) {
        let Some(flight) = self.find(packet_id) else {
            run.counts.acks_unknown += 1;
            return;
        };
        flight.step = Step::Done;
        let (publisher, sequence, intended_ns) = (flight.publisher, flight.sequence, flight.intended_ns);
        if reason >= 0x80 {
            run.counts.refused += 1;
        } else {
            run.counts.acknowledged += 1;
            run.ack_log.record(publisher, sequence);
            run.latency.record(now - intended_ns);
            run.note_time(now);
        }
        while self.in_flight.front().is_some_and(|flight| flight.step == Step::Done) {
            if let Some(flight) = self.in_flight.pop_front() {
                run.give_back(flight.packet);
            }
            self.on_wire -= 1;
            self.resend_until = self.resend_until.saturating_sub(1);
        }
    }

    /// Appends what may be sent now, up to [`WRITE_TARGET`].
    pub(crate) fn poll_send(&mut self, out: &mut Vec<u8>, run: &mut Run, now: i64) {
        if self.state != State::Up {
            return;
        }
        let before = out.len();
        self.resend(out, run);
        if self.has_room(run) {
            while out.len() < WRITE_TARGET && self.may_send(run, now) {
                self.send_next(out, run, now);
            }
        }
        if out.len() > before {
            self.keep_alive.note_sent(now);
        }
    }

    fn resend(&mut self, out: &mut Vec<u8>, run: &mut Run) {
        while self.on_wire < self.resend_until && self.on_wire < self.allowed && out.len() < WRITE_TARGET {
            let flight = &mut self.in_flight[self.on_wire];
            match flight.step {
                Step::Sent => {
                    if self.is_resumed {
                        flight.packet[0] |= DUP;
                    } else {
                        flight.packet[0] &= !DUP;
                    }
                    out.extend_from_slice(&flight.packet);
                    run.counts.resent += 1;
                }
                Step::Received => put_ack(out, kind::PUBREL | 0x02, flight.packet_id),
                Step::Done => {}
            }
            self.on_wire += 1;
        }
    }

    /// Whether the window, the pace and the gate let the next message go.
    fn may_send(&self, run: &Run, now: i64) -> bool {
        let has_room = run.qos == Qos::AtMostOnce || self.in_flight.len() < self.allowed;
        has_room && self.next_due_ns(run, now).is_some_and(|due| due <= now) && run.is_gate_open()
    }

    fn send_next(&mut self, out: &mut Vec<u8>, run: &mut Run, now: i64) {
        let place = self.feed.peek().expect("asked by may_send");
        let intended_ns = run.intended_ns(place, now);
        let next = self.feed.take(&mut run.payload);
        stamp::seal(&mut run.payload, next.stamp_at, next.sequence, intended_ns);
        run.sent[next.publisher as usize] += 1;
        run.counts.sent += 1;
        run.progress.note_sent(run.payload.len() as u64);
        let topic = self.feed.topic(next.publisher);
        if run.qos == Qos::AtMostOnce {
            put_publish(out, self.options.version, run.qos, topic, &run.payload);
            run.note_time(now);
            return;
        }
        let packet_id = self.next_id;
        self.next_id = next_packet_id(packet_id);
        let mut packet = run.spare.pop().unwrap_or_default();
        packet.clear();
        let layout = put_publish(&mut packet, self.options.version, run.qos, topic, &run.payload);
        let at = layout.packet_id.expect("QoS 1 and 2 have one");
        packet[at..at + 2].copy_from_slice(&packet_id.to_be_bytes());
        out.extend_from_slice(&packet);
        self.in_flight.push_back(Flight {
            packet,
            packet_id,
            publisher: next.publisher,
            sequence: next.sequence,
            intended_ns,
            step: Step::Sent,
        });
        self.on_wire += 1;
    }

    /// When the next new message is meant to be sent; none at the end.
    pub(crate) fn next_due_ns(&self, run: &Run, now: i64) -> Option<i64> {
        self.feed.peek().map(|place| run.intended_ns(place, now))
    }

    /// Whether a message could be sent but for the pace and the gate. Without a pace the window is filled again once half
    /// of it is acknowledged: then a write carries half a window, and not the few that one read has acknowledged.
    pub(crate) fn has_room(&self, run: &Run) -> bool {
        let is_caught_up = self.on_wire >= self.resend_until;
        let is_low = if run.pace.is_open_loop() {
            self.in_flight.len() < self.allowed
        } else {
            self.in_flight.len() <= self.allowed / 2
        };
        self.state == State::Up && is_caught_up && (run.qos == Qos::AtMostOnce || is_low)
    }

    /// Asks the broker for a sign of life where it has been silent.
    pub(crate) fn poll_keep_alive(&mut self, out: &mut Vec<u8>, now: i64) -> Result<(), Lost> {
        match self.state {
            State::Down => Ok(()),
            State::Greeting => self.keep_alive.check(now),
            State::Up => self.keep_alive.poll(out, now),
        }
    }

    /// Says goodbye and ends the session, if connected.
    pub(crate) fn put_goodbye(&self, out: &mut Vec<u8>) {
        if self.state == State::Up {
            put_disconnect(out, self.options.version);
        }
    }

    /// Whether the broker has accepted the present connection.
    pub(crate) fn is_up(&self) -> bool {
        self.state == State::Up
    }

    /// Whether everything was sent and acknowledged.
    pub(crate) fn is_done(&self) -> bool {
        self.in_flight.is_empty() && self.feed.peek().is_none()
    }

    /// Whether nothing waits for an acknowledgement.
    pub(crate) fn is_settled(&self) -> bool {
        self.in_flight.is_empty()
    }
}
