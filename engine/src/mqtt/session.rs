//! One MQTT session, sans-IO, for 3.1.1 and 5.0 alike.
//!
//! The driver owns the socket and the clock; the session decides everything:
//!
//! ```text
//!            poll_connect            handle_connected         CONNACK
//!   Offline ────────────▶ Connecting ────────────▶ Handshake ────────▶ Online
//!      ▲                      │ handle_connect_failed   │                │ violation, deadline,
//!      │◀─────────────────────┘                         │                │ DISCONNECT, shutdown
//!      │                                                ▼                ▼
//!      └──────────────────── handle_disconnected ◀─── Closing ◀──────────┘   (wants_close)
//! ```
//!
//! A turn of the driver: read into [`Input::spare`], [`Session::poll_publish`] until it gives nothing more, route
//! what came, hand in receipts ([`Session::handle_receipt`]), [`Session::poll_transmit`] once, write. What leaves a
//! turn leaves in one piece.

mod alias;
mod connector;
mod event;
mod keepalive;
mod qos2;
mod subscriber;

use std::time::{Duration, Instant};

use self::{
    alias::Aliases,
    connector::Connector,
    event::Events,
    keepalive::KeepAlive,
    qos2::{OpenIds, Released},
    subscriber::Subscriber,
};
pub use self::{
    alias::TOPIC_ALIAS_MAXIMUM,
    event::{Cause, EVENTS, Event, Unsupported},
};
use super::{
    codec::{Codec, Limits},
    frame::Protocol,
    input::Input,
    packet::{self, ConnAck, Connect, Packet, Skipped},
    violation::Violation,
    window::{Position, Window},
};
use crate::{
    message::{Publish, Qos, Ticket},
    settings::{Address, SessionPlan, Source, Version},
};

/// How long a CONNACK may take.
pub const CONNACK_DEADLINE: Duration = Duration::from_secs(10);

/// What [`Session::poll_publish`] hands out.
#[derive(Debug)]
pub enum Delivery {
    /// A message to be routed. Its acknowledgement waits for the receipt of its ticket.
    Publish {
        /// Names the message in its receipt.
        ticket: Ticket,
        /// The message.
        publish: Publish,
    },
    /// A message above `max_packet` that was skipped. It needs no receipt; it is to be counted.
    Oversized {
        /// Bytes of its packet.
        wire: u32,
    },
}

/// Counts of what happens too often for an [`Event`]. They only rise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// PUBLISHes with the DUP flag.
    pub dup: u64,
    /// PUBLISHes that came again after a lost connection and were attached to the message handed out before.
    pub attached: u64,
    /// PUBLISHes at QoS 2 whose packet identifier was still open, and which were not handed out again.
    pub repeated: u64,
    /// Receipts for messages that are gone.
    pub stale_receipts: u64,
    /// PUBLISHes that came during a shutdown and were left to the broker.
    pub declined: u64,
    /// Events dropped because [`EVENTS`] waited.
    pub events_dropped: u64,
}

#[derive(Debug)]
enum State {
    /// No connection; the connector knows when.
    Offline,
    /// The driver is opening a connection.
    Connecting,
    /// Connected, CONNECT to be sent or sent.
    Handshake { connect_sent: bool, deadline: Instant },
    /// CONNACK has accepted.
    Online,
    /// To be closed once everything is flushed. `reason` is that of the DISCONNECT still to be sent.
    Closing { reason: Option<u8>, cause: Cause },
}

/// One MQTT session.
pub struct Session {
    source: Source,
    plan: SessionPlan,
    shard: usize,
    slot: usize,
    generation: u16,
    state: State,
    connector: Connector,
    address: Option<Address>,
    codec: Codec,
    window: Window,
    open_ids: OpenIds,
    aliases: Aliases,
    subscriber: Subscriber,
    keep_alive: Option<KeepAlive>,
    /// PUBCOMPs to be sent, and whether the identifier was known. Each was brought by a PUBREL of four bytes, so
    /// between two turns there are at most as many as fit the input.
    completions: Vec<(u16, bool)>,
    /// Bytes that the input has received in all.
    received: u64,
    paused: bool,
    accepted_before: bool,
    shutdown: bool,
    events: Events,
    stats: Stats,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("client_id", &self.plan.client_id)
            .field("state", &self.state)
            .field("in_flight", &self.window.in_flight())
            .finish_non_exhaustive()
    }
}

impl Session {
    /// The session that `plan` describes. `shard` and `slot` name it in tickets; `seed` is for the jitter of
    /// reconnects.
    #[must_use]
    pub fn new(source: &Source, plan: &SessionPlan, shard: usize, slot: usize, seed: u64) -> Session {
        let needs_ids = plan.subscriptions.iter().any(|subscription| subscription.id.is_some());
        Session {
            connector: Connector::new(source, needs_ids, seed),
            codec: codec(source, Protocol::V5),
            window: Window::new(source.receive_maximum),
            subscriber: Subscriber::new(plan.subscriptions.clone(), source.qos),
            source: Source { sessions: Vec::new(), ..source.clone() },
            plan: plan.clone(),
            shard,
            slot,
            generation: 0,
            state: State::Offline,
            address: None,
            open_ids: OpenIds::default(),
            aliases: Aliases::default(),
            keep_alive: None,
            completions: Vec::new(),
            received: 0,
            paused: false,
            accepted_before: false,
            shutdown: false,
            events: Events::default(),
            stats: Stats::default(),
        }
    }

    /// Filters that an earlier process had subscribed and the configuration no longer has: UNSUBSCRIBE once
    /// everything else is granted. [`Event::Subscribed`] says when they are gone.
    pub fn retire(&mut self, filters: Vec<String>) {
        self.subscriber.retire(filters);
    }

    // ---- connection ------------------------------------------------------------------------------------------

    /// The address to which a TCP connection should be opened now. The driver answers with
    /// [`Session::handle_connected`] or [`Session::handle_connect_failed`].
    pub fn poll_connect(&mut self, now: Instant) -> Option<Address> {
        if !matches!(self.state, State::Offline) || self.shutdown {
            return None;
        }
        let (address, protocol) = self.connector.poll(now)?;
        self.codec = codec(&self.source, protocol);
        self.address = Some(address.clone());
        self.state = State::Connecting;
        Some(address)
    }

    /// The TCP connection is open. The driver must start it with an empty [`Input`] ([`Input::clear`]).
    pub fn handle_connected(&mut self, now: Instant) {
        debug_assert!(matches!(self.state, State::Connecting));
        self.aliases.clear();
        self.completions.clear();
        self.keep_alive = None;
        self.state = State::Handshake { connect_sent: false, deadline: now + CONNACK_DEADLINE };
        if self.shutdown {
            self.close(None, Cause::Shutdown);
        }
    }

    /// The TCP connection could not be opened; `text` says why.
    pub fn handle_connect_failed(&mut self, now: Instant, text: &str) {
        self.lost(now, Cause::Connect(text.to_owned()));
    }

    /// The TCP connection is closed, whoever closed it. If the session wanted it, its own reason counts and not
    /// `cause`.
    pub fn handle_disconnected(&mut self, now: Instant, cause: Cause) {
        match std::mem::replace(&mut self.state, State::Offline) {
            State::Offline => {}
            State::Closing { cause, .. } => self.lost(now, cause),
            State::Connecting | State::Handshake { .. } | State::Online => self.lost(now, cause),
        }
    }

    fn lost(&mut self, now: Instant, cause: Cause) {
        self.state = State::Offline;
        self.keep_alive = None;
        self.window.detach();
        let loss = self.connector.lost(now, &cause);
        if let (Some(times), false) = (loss.alarm, self.shutdown) {
            self.events.push(Event::Alarm { cause: cause.clone(), times });
        }
        let retry_in = (!self.shutdown).then_some(loss.pause);
        self.events.push(Event::Disconnected { cause, retry_in });
    }

    /// Whether the driver should close the connection once it has written what [`Session::poll_transmit`] gave.
    #[must_use]
    pub fn wants_close(&self) -> bool {
        matches!(self.state, State::Closing { .. })
    }

    fn close(&mut self, reason: Option<u8>, cause: Cause) {
        if matches!(self.state, State::Handshake { .. } | State::Online) {
            self.state = State::Closing { reason, cause };
        }
    }

    // ---- time ------------------------------------------------------------------------------------------------

    /// When to call [`Session::handle_timeout`], and after it [`Session::poll_connect`] and
    /// [`Session::poll_transmit`], at the latest. `None` is never; a time in the past is now.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Offline if self.shutdown => None,
            State::Offline => self.connector.retry_at(),
            State::Connecting | State::Closing { .. } => None,
            State::Handshake { deadline, .. } => Some(*deadline),
            State::Online => {
                let reply_by = self.subscriber.reply_by().filter(|_| !self.is_held());
                let ping = self.keep_alive.as_ref().and_then(KeepAlive::timeout);
                ping.into_iter().chain(reply_by).chain(self.subscriber.retry_at()).min()
            }
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        match &self.state {
            State::Handshake { deadline, .. } if now >= *deadline => self.close(None, Cause::ConnAckTimeout),
            State::Online => {
                if self.keep_alive.as_ref().is_some_and(|keep_alive| keep_alive.is_dead(now)) {
                    self.close(None, Cause::KeepAlive);
                } else if !self.is_held() && self.subscriber.reply_by().is_some_and(|at| now >= at) {
                    self.close(Some(0x83), Cause::SubAckTimeout);
                }
            }
            _ => {}
        }
    }

    /// The driver stops or resumes reading the socket, because memory is short. Meanwhile no message is handed out,
    /// PINGREQs go on, and no deadline for the broker runs.
    pub fn set_paused(&mut self, now: Instant, paused: bool) {
        self.paused = paused;
        self.rest(now);
    }

    /// Whether nothing more may be handed out for now: paused, or the window is full. On 3.1.1, where the broker
    /// does not know of the receive maximum, that is how it is kept.
    fn is_held(&self) -> bool {
        self.paused
            || self.window.is_full()
            || self.codec.protocol() == Protocol::V311
                && self.window.in_flight() >= usize::from(self.source.receive_maximum)
    }

    fn rest(&mut self, now: Instant) {
        let held = self.is_held();
        if let Some(keep_alive) = &mut self.keep_alive
            && keep_alive.rest(now, held)
        {
            self.subscriber.extend(now);
        }
    }

    // ---- receiving -------------------------------------------------------------------------------------------

    /// Takes packets off `input` until a message is to be routed. `None`: more bytes are needed, or nothing may be
    /// handed out for now; so call it again after bytes, after receipts and after the end of a pause.
    ///
    /// # Errors
    /// The broker broke the protocol. The session then wants to close, hands out nothing more of this connection
    /// and connects again later; the driver only has to count.
    pub fn poll_publish(&mut self, now: Instant, input: &mut Input) -> Result<Option<Delivery>, Violation> {
        self.received = input.received();
        if let Some(keep_alive) = &mut self.keep_alive {
            keep_alive.heard(now, self.received);
        }
        while matches!(self.state, State::Online | State::Handshake { connect_sent: true, .. }) {
            if self.is_held() && self.codec.publish_is_next(input) {
                self.rest(now);
                return Ok(None);
            }
            if self.keep_alive.as_ref().is_some_and(KeepAlive::is_resting) {
                self.rest(now);
            }
            // A message is moved as seldom as can be: each move of it costs as much as the checks around it.
            match self.codec.decode(input) {
                Ok(Some(Packet::Publish { mut publish, alias })) if self.is_online() => {
                    match self.handle_publish(&mut publish, alias) {
                        Ok(Some(ticket)) => return Ok(Some(Delivery::Publish { ticket, publish })),
                        Ok(None) => {}
                        Err(violation) => return Err(self.violated(violation)),
                    }
                }
                Ok(Some(other)) => match self.handle_control(now, other) {
                    Ok(Some(wire)) => return Ok(Some(Delivery::Oversized { wire })),
                    Ok(None) => {}
                    Err(violation) => return Err(self.violated(violation)),
                },
                Ok(None) => return Ok(None),
                Err(violation) => return Err(self.violated(violation)),
            }
        }
        Ok(None)
    }

    #[cold]
    fn violated(&mut self, violation: Violation) -> Violation {
        self.close(Some(violation.reason_code()), Cause::Violation(violation));
        violation
    }

    /// The ticket of a message that is to be handed out; `None` if it is not.
    #[inline(always)]
    fn handle_publish(&mut self, publish: &mut Publish, alias: u16) -> Result<Option<Ticket>, Violation> {
        if alias != 0 {
            self.aliases.resolve(alias, &mut publish.topic)?;
        }
        let position = self.admit(publish.qos, publish.dup, publish.packet_id, publish.wire)?;
        Ok(position.map(|position| self.ticket(position)))
    }

    /// The bytes of a skipped message that is to be reported; `None` if it is not.
    fn handle_skipped(&mut self, mut skipped: Skipped) -> Result<Option<u32>, Violation> {
        if skipped.alias != 0 {
            self.aliases.resolve(skipped.alias, &mut skipped.topic)?;
        }
        let position = self.admit(skipped.qos, skipped.dup, skipped.packet_id, skipped.wire)?;
        Ok(position.map(|position| {
            self.window.resolve(position as u32);
            skipped.wire
        }))
    }

    /// Gives a PUBLISH its place in the window; `None` if it is not to be handed out: it was before, or the session
    /// is shutting down and leaves it to the broker.
    #[inline]
    fn admit(&mut self, qos: Qos, dup: bool, packet_id: u16, wire: u32) -> Result<Option<Position>, Violation> {
        if self.shutdown {
            self.stats.declined += 1;
            return Ok(None);
        }
        self.stats.dup += u64::from(dup);
        if qos == Qos::AtMostOnce {
            return Ok(Some(self.window.push(0, qos, wire)));
        }
        let limit = self.source.receive_maximum;
        if self.codec.protocol() == Protocol::V5
            && self.window.in_flight() + self.open_ids.unreleased() >= usize::from(limit)
        {
            return Err(Violation::ReceiveMaximum { limit });
        }
        if qos == Qos::AtLeastOnce {
            if self.window.reattach(packet_id, dup, wire) {
                self.stats.attached += 1;
                return Ok(None);
            }
            return Ok(Some(self.window.push(packet_id, qos, wire)));
        }
        if let Some(position) = self.open_ids.get(packet_id) {
            self.stats.repeated += 1;
            self.window.owe(packet_id, qos, position, wire);
            return Ok(None);
        }
        let position = self.window.push(packet_id, qos, wire);
        self.open_ids.open(packet_id, position);
        Ok(Some(position))
    }

    fn ticket(&self, position: Position) -> Ticket {
        Ticket::new(self.shard, self.slot, self.generation, position as u32)
    }

    /// Handles everything but a PUBLISH. Returns the bytes of a skipped one that is to be reported.
    #[cold]
    fn handle_control(&mut self, now: Instant, packet: Packet) -> Result<Option<u32>, Violation> {
        let online = self.is_online();
        match packet {
            Packet::Skipped(skipped) if online => return self.handle_skipped(skipped),
            Packet::ConnAck(ack) if !online => self.handle_connack(now, *ack)?,
            Packet::PubRel { packet_id } if online => match self.open_ids.release(packet_id) {
                Released::Early => return Err(Violation::EarlyRelease),
                released => self.completions.push((packet_id, released == Released::Known)),
            },
            Packet::SubAck { packet_id, codes } if online => {
                self.subscriber.handle_suback(now, packet_id, &codes, &mut self.events)?;
            }
            Packet::UnsubAck { packet_id } if online => self.subscriber.handle_unsuback(now, packet_id)?,
            Packet::PingResp if online => {
                if let Some(keep_alive) = &mut self.keep_alive {
                    keep_alive.answered(now);
                }
            }
            Packet::Disconnect { reason: 0x8e, .. } if online => self.close(None, Cause::TakenOver),
            Packet::Disconnect { reason, text, server } if online => {
                let (text, server) = (text.map(|text| text.to_string()), server.map(|server| server.to_string()));
                self.close(None, Cause::Disconnect { reason, text, server });
            }
            other => return Err(Violation::Unexpected { packet_type: other.packet_type() }),
        }
        Ok(None)
    }

    fn handle_connack(&mut self, now: Instant, ack: ConnAck) -> Result<(), Violation> {
        if ack.session_present && (ack.reason != 0 || self.is_clean()) {
            return Err(Violation::SessionPresent);
        }
        if let Some(cause) = self.objection(&ack) {
            self.close(Some(0).filter(|_| ack.reason == 0), cause);
            return Ok(());
        }
        if ack.session_present {
            if !self.accepted_before && self.source.qos == Qos::ExactlyOnce {
                self.events.push(Event::PacketIdsUnknown);
            }
        } else {
            self.forget();
        }
        self.open_ids.start_connection();
        self.subscriber.start_connection(ack.session_present, ack.max_packet);
        let seconds = ack.keep_alive.unwrap_or(self.source.keep_alive);
        self.keep_alive = Some(KeepAlive::new(now, seconds, self.received));
        self.connector.accepted(now);
        self.accepted_before = true;
        self.state = State::Online;
        if let Some(address) = self.address.clone() {
            self.events.push(Event::Connected {
                address,
                protocol: self.codec.protocol(),
                session_present: ack.session_present,
                receive_maximum: self.source.receive_maximum,
            });
        }
        self.rest(now);
        Ok(())
    }

    /// Why the connection is of no use although, or because, CONNACK came.
    fn objection(&self, ack: &ConnAck) -> Option<Cause> {
        let needs_ids = self.plan.subscriptions.iter().any(|subscription| subscription.id.is_some());
        match ack.reason {
            0 if needs_ids && !ack.subscription_ids => Some(Cause::Unsupported(Unsupported::SubscriptionIds)),
            0 if self.source.share.is_some() && !ack.shared => Some(Cause::Unsupported(Unsupported::Shared)),
            0 => None,
            0x84 if needs_ids && self.source.version == Version::Auto => {
                Some(Cause::Unsupported(Unsupported::Version5))
            }
            reason => {
                let (text, server) = (ack.text.as_ref(), ack.server.as_ref());
                let (text, server) = (text.map(|text| text.to_string()), server.map(|server| server.to_string()));
                Some(Cause::Refused { reason, text, server })
            }
        }
    }

    /// The broker has no session: what it held is gone, and what is known here of it means nothing any more
    /// (MQTT 5.0 §3.2.2.1.1). Receipts of messages that were handed out will find another generation.
    fn forget(&mut self) {
        let unacknowledged = self.window.unacknowledged();
        if !self.window.is_empty() {
            self.generation = self.generation.wrapping_add(1);
        }
        self.window.clear();
        self.open_ids.clear();
        if self.accepted_before {
            self.events.push(Event::SessionLost { unacknowledged });
        }
    }

    /// Clean Start is for the first connection of the process alone.
    fn is_clean(&self) -> bool {
        self.source.clean_start && !self.accepted_before
    }

    // ---- receipts --------------------------------------------------------------------------------------------

    /// The message of `ticket` is safe. False if the session no longer knows it.
    #[inline]
    pub fn handle_receipt(&mut self, ticket: Ticket) -> bool {
        debug_assert!(ticket.shard() == self.shard && ticket.slot() == self.slot);
        let known = ticket.generation() == self.ticket(0).generation() && self.window.resolve(ticket.position());
        self.stats.stale_receipts += u64::from(!known);
        known
    }

    // ---- sending ---------------------------------------------------------------------------------------------

    /// Appends everything that can be sent now. What is appended counts as sent.
    pub fn poll_transmit(&mut self, now: Instant, out: &mut Vec<u8>) {
        let before = out.len();
        match &mut self.state {
            State::Handshake { connect_sent, .. } if !*connect_sent => {
                *connect_sent = true;
                self.put_connect(out);
            }
            State::Online => self.put_online(now, out),
            State::Closing { reason, .. } => {
                let reason = reason.take();
                if self.keep_alive.is_some() {
                    self.put_acknowledgements(out);
                }
                if let Some(reason) = reason {
                    packet::put_disconnect(out, reason, self.codec.protocol());
                }
            }
            _ => return,
        }
        if out.len() > before
            && let Some(keep_alive) = &mut self.keep_alive
        {
            keep_alive.sent(now);
        }
    }

    fn put_connect(&self, out: &mut Vec<u8>) {
        let source = &self.source;
        self.codec.put_connect(
            &Connect {
                client_id: &self.plan.client_id,
                clean: self.is_clean(),
                keep_alive: source.keep_alive,
                session_expiry: source.session_expiry,
                receive_maximum: source.receive_maximum,
                max_packet: source.announce_max_packet.then_some(source.max_packet),
                topic_alias_maximum: TOPIC_ALIAS_MAXIMUM,
                username: source.username.as_deref(),
                password: source.password.as_ref(),
            },
            out,
        );
    }

    fn put_online(&mut self, now: Instant, out: &mut Vec<u8>) {
        self.put_acknowledgements(out);
        if !self.subscriber.is_settled() && !self.shutdown {
            self.subscriber.poll(now, &self.codec, &mut self.events, out);
        }
        if self.shutdown && self.is_idle() {
            packet::put_disconnect(out, 0, self.codec.protocol());
            self.close(None, Cause::Shutdown);
        } else if let Some(keep_alive) = &mut self.keep_alive
            && keep_alive.poll_ping(now)
        {
            packet::put_pingreq(out);
        }
    }

    #[inline]
    fn put_acknowledgements(&mut self, out: &mut Vec<u8>) {
        let open_ids = &mut self.open_ids;
        self.window.release(|packet_id, qos| {
            if qos == Qos::ExactlyOnce {
                packet::put_pubrec(out, packet_id);
                open_ids.received(packet_id);
            } else {
                packet::put_puback(out, packet_id);
            }
        });
        for (packet_id, known) in self.completions.drain(..) {
            packet::put_pubcomp(out, packet_id, known, self.codec.protocol());
        }
    }

    // ---- shutdown --------------------------------------------------------------------------------------------

    /// Hands out nothing more; disconnects once everything in flight is acknowledged.
    pub fn handle_shutdown(&mut self) {
        self.shutdown = true;
        if !self.is_online() {
            self.close(None, Cause::Shutdown);
        }
    }

    /// The time for the shutdown is over: disconnects, whatever is in flight.
    pub fn handle_shutdown_deadline(&mut self) {
        self.shutdown = true;
        self.close(Some(0), Cause::Shutdown);
    }

    /// Whether a shutdown is complete: no connection, and none to come.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shutdown && matches!(self.state, State::Offline)
    }

    // ---- what it looks like from outside ---------------------------------------------------------------------

    /// The next event, oldest first.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop()
    }

    /// Counts since the session was made.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats { events_dropped: self.events.dropped(), ..self.stats }
    }

    /// Whether a connection is accepted and lasts.
    #[must_use]
    pub fn is_online(&self) -> bool {
        matches!(self.state, State::Online)
    }

    /// Whether the session is online and every filter is granted.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.is_online() && self.subscriber.is_granted()
    }

    /// Client identifier.
    #[must_use]
    pub fn client_id(&self) -> &str {
        &self.plan.client_id
    }

    /// Whether the broker will send nothing more before it gets an acknowledgement, as far as can be told: a batch
    /// that waits for more would wait in vain. [`Session::handle_stalled`] teaches it.
    #[must_use]
    pub fn saturated(&self) -> bool {
        self.window.saturated()
    }

    /// A whole linger of the lane has passed without anything new from this session.
    pub fn handle_stalled(&mut self) {
        self.window.stalled();
    }

    /// Messages at QoS 1 and 2 of this connection whose acknowledgement has not been sent.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.window.in_flight()
    }

    /// Bytes received since the oldest message that is not safe, it included: what the session may pin.
    #[must_use]
    pub fn unacknowledged_bytes(&self) -> u64 {
        self.window.bytes()
    }

    /// Whether nothing is in flight: every message handed out is safe, every acknowledgement given, and no packet
    /// identifier open at QoS 2.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.window.is_empty() && self.open_ids.is_empty() && self.completions.is_empty()
    }
}

#[cfg(test)]
mod tests;

fn codec(source: &Source, protocol: Protocol) -> Codec {
    let Source { max_packet, skip_oversized, .. } = *source;
    Codec::new(protocol, Limits { max_packet, skip_oversized, topic_alias_maximum: TOPIC_ALIAS_MAXIMUM })
}
