//! What a session has to tell: for logs, metrics and readiness.

use std::{collections::VecDeque, time::Duration};

use thiserror::Error;

use crate::{
    message::Qos,
    mqtt::{frame::Protocol, packet::reason_text, violation::Violation},
    settings::Address,
};

/// Events that wait for [`super::Session::poll_event`]. When as many wait, further ones are dropped and counted in
/// [`super::Stats::events_dropped`]; nothing but logs and metrics hangs on them.
pub const EVENTS: usize = 256;

/// Why a connection ended, or did not come about.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Cause {
    /// The TCP connection could not be opened.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// The broker closed the TCP connection.
    #[error("the broker closed the connection")]
    Eof,
    /// Reading or writing failed.
    #[error("the connection broke: {0}")]
    Io(String),
    /// No CONNACK in time.
    #[error("no CONNACK within {} s", super::CONNACK_DEADLINE.as_secs())]
    ConnAckTimeout,
    /// CONNACK with a refusal.
    #[error("the broker refused the connection: {} ({reason:#04x}){}", reason_text(*.reason), detail(.text, .server))]
    Refused {
        /// Reason code (MQTT 5.0 §3.2.2.2); a return code of 3.1.1 is translated.
        reason: u8,
        /// Reason String.
        text: Option<String>,
        /// Server Reference. It is reported, not followed.
        server: Option<String>,
    },
    /// The broker cannot do what the configuration needs.
    #[error("{0}")]
    Unsupported(Unsupported),
    /// The broker broke the protocol.
    #[error("the broker broke the protocol: {0}")]
    Violation(Violation),
    /// No PINGRESP, and nothing else, in time.
    #[error("nothing from the broker for one and a half keep-alive intervals")]
    KeepAlive,
    /// No SUBACK or UNSUBACK in time.
    #[error("no SUBACK within {} s", super::subscriber::REPLY_DEADLINE.as_secs())]
    SubAckTimeout,
    /// No PUBREL in time.
    #[error(
        "the broker has released none of {ids} packet ids for {} s (PUBREL): connecting anew, so that it does",
        super::RELEASE_DEADLINE.as_secs()
    )]
    ReleaseTimeout {
        /// Packet identifiers whose PUBREC was sent.
        ids: usize,
    },
    /// Another client connected with the same client identifier.
    #[error(
        "another client took over the session; give every instance its own client_id ({{host}} tells machines apart)"
    )]
    TakenOver,
    /// DISCONNECT by the broker.
    #[error("the broker disconnected: {} ({reason:#04x}){}", reason_text(*.reason), detail(.text, .server))]
    Disconnect {
        /// Reason code (MQTT 5.0 §3.14.2.1).
        reason: u8,
        /// Reason String.
        text: Option<String>,
        /// Server Reference. It is reported, not followed.
        server: Option<String>,
    },
    /// The broker kept the session, and the packet identifiers that belong to it are gone (MQTT 5.0 §3.2.2.1.1).
    #[error(
        "the broker kept this QoS 2 session, but its packet ids are not in the spool any more: restore the folder of \
         [spool] dir; or, to go on although messages in flight may come twice, run once with ack = \"kafka\""
    )]
    PacketIdsLost,
    /// Fairlead is shutting down.
    #[error("shutdown")]
    Shutdown,
}

impl Cause {
    /// Every label: the metric's closed set.
    pub const LABELS: [&'static str; 14] = [
        "connect",
        "eof",
        "io",
        "connack_timeout",
        "refused",
        "unsupported",
        "violation",
        "keep_alive",
        "suback_timeout",
        "release_timeout",
        "taken_over",
        "disconnect",
        "packet_ids_lost",
        "shutdown",
    ];

    /// The label in metrics and logs; one of [`Cause::LABELS`].
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Cause::Connect(_) => "connect",
            Cause::Eof => "eof",
            Cause::Io(_) => "io",
            Cause::ConnAckTimeout => "connack_timeout",
            Cause::Refused { .. } => "refused",
            Cause::Unsupported(_) => "unsupported",
            Cause::Violation(_) => "violation",
            Cause::KeepAlive => "keep_alive",
            Cause::SubAckTimeout => "suback_timeout",
            Cause::ReleaseTimeout { .. } => "release_timeout",
            Cause::TakenOver => "taken_over",
            Cause::Disconnect { .. } => "disconnect",
            Cause::PacketIdsLost => "packet_ids_lost",
            Cause::Shutdown => "shutdown",
        }
    }
}

fn detail(text: &Option<String>, server: &Option<String>) -> String {
    let mut detail = String::new();
    if let Some(text) = text {
        detail.push_str(": ");
        detail.extend(text.escape_debug());
    }
    if let Some(server) = server {
        detail.push_str("; it refers to ");
        detail.extend(server.escape_debug());
    }
    detail
}

/// What a broker cannot do although the configuration needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Unsupported {
    /// MQTT 5.0, for subscription identifiers.
    #[error(
        "the broker does not speak MQTT 5.0, but routes whose filters overlap partly need its subscription identifiers; \
         give them one covering filter"
    )]
    Version5,
    /// Subscription identifiers.
    #[error(
        "the broker has no subscription identifiers, but routes whose filters overlap partly need them; \
         give them one covering filter"
    )]
    SubscriptionIds,
    /// Shared subscriptions.
    #[error("the broker has no shared subscriptions; remove `share` from the source")]
    Shared,
}

/// Something that happened in a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// CONNACK: the session is online.
    Connected {
        /// The broker.
        address: Address,
        /// The version spoken.
        protocol: Protocol,
        /// Session Present.
        session_present: bool,
        /// The receive maximum in force.
        receive_maximum: u16,
    },
    /// The broker had a session at QoS 2 whose packet identifiers this process does not know (it was restarted):
    /// messages may come twice (MQTT 5.0 §4.3.3).
    PacketIdsUnknown,
    /// The broker has lost the session: what it held for it is gone, and so is what this side knew of it.
    SessionLost {
        /// Messages whose acknowledgement was given up.
        unacknowledged: usize,
    },
    /// All filters are granted and all retired filters are gone.
    Subscribed {
        /// Filters granted on this connection; 0 where the session had them all.
        filters: usize,
        /// Filters given up on this connection.
        retired: usize,
    },
    /// SUBACK refused a filter. It is asked for again later.
    Refused {
        /// The filter.
        filter: String,
        /// Reason code (MQTT 5.0 §3.9.3).
        code: u8,
    },
    /// SUBACK granted less than was asked. It is asked for again later.
    GrantedLower {
        /// The filter.
        filter: String,
        /// The QoS asked for.
        asked: Qos,
        /// The QoS granted.
        granted: u8,
    },
    /// The session is ended at the broker, which holds nothing more for it.
    Ended {
        /// Whether the broker had it.
        present: bool,
    },
    /// The connection ended or did not come about.
    Disconnected {
        /// Why.
        cause: Cause,
        /// The earliest time of the next attempt; `None` after a shutdown.
        retry_in: Option<Duration>,
    },
    /// The same failure again and again.
    Alarm {
        /// Which.
        cause: Cause,
        /// How many times in a row.
        times: u32,
    },
}

/// The bounded queue of events.
#[derive(Debug, Default)]
pub(super) struct Events {
    queue: VecDeque<Event>,
    dropped: u64,
}

impl Events {
    pub(super) fn push(&mut self, event: Event) {
        if self.queue.len() < EVENTS {
            self.queue.push_back(event);
        } else {
            self.dropped += 1;
        }
    }

    pub(super) fn pop(&mut self) -> Option<Event> {
        self.queue.pop_front()
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }
}
