//! When a session hands out nothing more for now, and lets the broker wait.

use std::time::Instant;

use super::{Cause, RELEASE_DEADLINE, Session};
use crate::mqtt::frame::Protocol;

/// The least Receive Maximum whose overrun is borne on 5.0.
const BORNE: u16 = 32;

impl Session {
    /// The driver stops or resumes reading the socket, because memory is short. Meanwhile no message is handed out,
    /// PINGREQs go on, and no deadline for the broker runs.
    pub fn set_paused(&mut self, now: Instant, paused: bool) {
        self.paused = paused;
        self.rest(now);
    }

    /// Whether the receive maximum is kept by not reading on, instead of being a violation: on 3.1.1, where the broker
    /// does not know of it, and on 5.0 where it is large enough for a broker to lose count. mosquitto 2.0 does when its
    /// queue drains after a pause, and a session closed for that comes back only to be overrun again.
    pub(super) fn bears_overrun(&self) -> bool {
        self.codec.protocol() == Protocol::V311 || self.source.receive_maximum >= BORNE
    }

    /// Whether nothing more may be handed out for now: paused, the window is full, or too many records of packet
    /// identifiers wait. On 3.1.1, where the broker does not know of the receive maximum, that is how it is kept.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.paused
            || self.window.is_full()
            || self.open_ids.is_full()
            || self.bears_overrun() && self.window.in_flight() >= usize::from(self.source.receive_maximum)
    }

    /// When the broker must have released a packet identifier if some wait for that; see [`Session::handle_unreleased`].
    pub(super) fn release_by(&self) -> Option<Instant> {
        let open = self.open_ids.unreleased() > 0 || !self.open_ids.is_settled();
        let waits = open && self.window.in_flight() == 0 && !self.is_held();
        self.exchanged.filter(|_| waits).map(|at| at + RELEASE_DEADLINE)
    }

    /// The broker has released none in time. mosquitto 2.0 forgets PUBRELs when a connection is lost with a full window, and
    /// sends nothing more in the end; on a new connection it begins anew.
    pub(super) fn handle_unreleased(&mut self) {
        match self.open_ids.unreleased() {
            0 => self.open_ids.handle_resumed(),
            ids => self.close(Some(0), Cause::ReleaseTimeout { ids }),
        }
    }

    pub(super) fn rest(&mut self, now: Instant) {
        let held = self.is_held();
        if let Some(keep_alive) = &mut self.keep_alive
            && keep_alive.rest(now, held)
        {
            self.subscriber.extend(now);
        }
    }
}
