//! Ends a session at the broker: gives up its filters, takes what the broker still holds for it, and then lets the broker
//! forget it (MQTT 5.0 §3.14.2.2.2; on 3.1.1 by a connection with Clean Session).

use std::time::{Duration, Instant};

use crate::mqtt::frame::Protocol;

/// How far the end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The broker may hold something.
    Emptying,
    /// Nothing is left; on 3.1.1 another connection ends the session.
    Empty,
}

/// The end of a session.
#[derive(Debug)]
pub(super) struct Ending {
    /// Nothing has come for so long: the broker holds nothing more.
    quiet: Duration,
    stage: Stage,
    /// Whether this connection began clean.
    clean: bool,
    /// Messages so far, and since when there were no more, with nothing in flight.
    messages: u64,
    since: Option<Instant>,
    /// Whether the broker had the session; `None` before the first CONNACK.
    present: Option<bool>,
}

impl Ending {
    pub(super) fn new(quiet: Duration) -> Ending {
        Ending { quiet, stage: Stage::Emptying, clean: false, messages: 0, since: None, present: None }
    }

    /// CONNACK came.
    pub(super) fn start_connection(&mut self, session_present: bool) {
        self.present.get_or_insert(session_present);
        self.since = None;
        self.clean = self.is_empty();
        if !session_present {
            self.stage = Stage::Empty;
        }
    }

    /// Whether the broker had the session at first.
    pub(super) fn was_present(&self) -> bool {
        self.present.unwrap_or(false)
    }

    /// Whether this connection is enough to end the session.
    pub(super) fn is_last(&self, protocol: Protocol) -> bool {
        self.clean || protocol == Protocol::V5
    }

    /// Whether the next connection is to be a clean one: the session is empty.
    pub(super) fn is_empty(&self) -> bool {
        self.stage == Stage::Empty
    }

    /// So many messages have come so far, and `busy` is whether anything is in flight. Whether the session is empty.
    pub(super) fn poll(&mut self, now: Instant, messages: u64, busy: bool) -> bool {
        if busy || self.messages != messages {
            self.messages = messages;
            self.since = None;
        }
        if !busy && now >= *self.since.get_or_insert(now) + self.quiet {
            self.stage = Stage::Empty;
        }
        self.is_empty()
    }

    /// When to look again although nothing came.
    pub(super) fn timeout(&self) -> Option<Instant> {
        self.since.map(|since| since + self.quiet)
    }
}
