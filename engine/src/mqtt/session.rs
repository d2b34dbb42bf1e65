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
//! A turn of the driver: read into [`super::Input::spare`], [`Session::poll_publish`] until it gives nothing more,
//! route what came, hand in receipts ([`Session::handle_receipt`]), [`Session::poll_transmit`] once, write. What
//! leaves a turn leaves in one piece.

mod alias;
mod connector;
mod ending;
mod event;
mod hold;
mod keepalive;
mod qos2;
mod receive;
mod records;
mod saturation;
mod stats;
mod subscriber;
mod transmit;

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use self::{
    alias::Aliases,
    connector::Connector,
    ending::Ending,
    event::Events,
    keepalive::KeepAlive,
    qos2::{Completion, OpenIds},
    records::Number,
    subscriber::Subscriber,
};
pub use self::{
    alias::TOPIC_ALIAS_MAXIMUM,
    event::{Cause, EVENTS, Event, Unsupported},
    qos2::Former,
    records::{Content, IdRecord},
    saturation::SILENT,
    stats::Stats,
};
use super::{
    codec::{Codec, Limits},
    frame::Protocol,
    window::Window,
};
use crate::{
    message::{Publish, Ticket},
    settings::{Address, SessionPlan, Source},
};

/// How long a CONNACK may take.
pub const CONNACK_DEADLINE: Duration = Duration::from_secs(10);

/// How long the broker may take to release a packet identifier of QoS 2 (PUBREL), or to come back to one that an earlier
/// connection left, while nothing else is exchanged.
pub(super) const RELEASE_DEADLINE: Duration = Duration::from_secs(5);

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
    completions: VecDeque<Completion>,
    /// When this connection was accepted, or the last PUBREC left or the last PUBREL came on it.
    exchanged: Option<Instant>,
    /// The session is to be ended at the broker.
    ending: Option<Ending>,
    /// What was known of the packet identifiers at the start.
    former: Former,
    /// Nothing is subscribed in a new session before it is durable that no identifier of the last one is open.
    begun: Number,
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
        let mut subscriber = Subscriber::new(plan.subscriptions.clone(), source.qos);
        if let Some(retire) = &plan.retire {
            subscriber.retire(retire.filters.clone());
        }
        Session {
            connector: Connector::new(source, needs_ids, seed),
            codec: codec(source, Protocol::V5),
            window: Window::new(source.receive_maximum),
            subscriber,
            ending: plan.retire.as_ref().map(|retire| Ending::new(retire.quiet)),
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
            completions: VecDeque::new(),
            exchanged: None,
            former: Former::default(),
            begun: 0,
            received: 0,
            paused: false,
            accepted_before: false,
            shutdown: false,
            events: Events::default(),
            stats: Stats::default(),
        }
    }

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

    /// The TCP connection is open. The driver must start it with an empty input ([`super::Input::clear`]).
    pub fn handle_connected(&mut self, now: Instant) {
        debug_assert!(matches!(self.state, State::Connecting));
        self.aliases.clear();
        self.completions.clear();
        self.exchanged = None;
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

    /// When to call [`Session::handle_timeout`], and after it [`Session::poll_connect`] and
    /// [`Session::poll_transmit`], at the latest. `None` is never; a time in the past is now. A new session has no
    /// timeout: it wants [`Session::poll_connect`] at once.
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
                let ending = self.ending.as_ref().filter(|_| !self.shutdown).and_then(Ending::timeout);
                let waits = [self.subscriber.retry_at(), self.release_by(), reply_by, ending];
                ping.into_iter().chain(waits.into_iter().flatten()).min()
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
                } else if self.release_by().is_some_and(|at| now >= at) {
                    self.handle_unreleased();
                }
            }
            _ => {}
        }
    }

    /// The message of `ticket` is safe. False if the session no longer knows it.
    #[inline]
    pub fn handle_receipt(&mut self, ticket: Ticket) -> bool {
        debug_assert!(ticket.shard() == self.shard && ticket.slot() == self.slot);
        let known = ticket.generation() == self.ticket(0).generation() && self.window.resolve(ticket.position());
        self.stats.stale_receipts += u64::from(!known);
        known
    }

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

    /// Whether the broker refused a filter when it was last asked: what it would have sent for that filter is missing.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.subscriber.is_refused()
    }

    /// Client identifier.
    #[must_use]
    pub fn client_id(&self) -> &str {
        &self.plan.client_id
    }

    /// Messages at QoS 1 and 2 of this connection whose acknowledgement has not been sent.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.window.in_flight()
    }

    /// Messages at any QoS that are not safe.
    #[must_use]
    pub fn unacknowledged(&self) -> usize {
        self.window.unacknowledged()
    }

    /// Bytes received since the oldest message that is not safe, it included: what the session may pin.
    #[must_use]
    pub fn unacknowledged_bytes(&self) -> u64 {
        self.window.bytes()
    }

    /// Whether nothing is in flight: every message handed out is safe, every acknowledgement given, and no packet
    /// identifier open at QoS 2 unless it is kept, or the broker has not come back to it.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.window.is_empty() && self.open_ids.is_settled() && self.completions.is_empty()
    }
}

fn codec(source: &Source, protocol: Protocol) -> Codec {
    let Source { max_packet, skip_oversized, .. } = *source;
    Codec::new(protocol, Limits { max_packet, skip_oversized, topic_alias_maximum: TOPIC_ALIAS_MAXIMUM })
}

#[cfg(test)]
mod tests;
