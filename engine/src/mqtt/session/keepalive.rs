//! Keep-alive, both ways (MQTT 5.0 §3.1.2.10): PINGREQ in time, and a deadline for any sign of life.

use std::time::{Duration, Instant};

/// When to send PINGREQ, and when to give the broker up.
///
/// PINGREQ goes out when for three quarters of the interval nothing was sent, or nothing came. If then nothing at
/// all comes for as long again, the connection is dead: one and a half intervals in all, as the broker counts.
/// While reading is held back the deadline rests, because PINGRESP is stuck behind messages; PINGREQs go on.
#[derive(Debug)]
pub(super) struct KeepAlive {
    /// Three quarters of the interval; `None` is off.
    quarter: Option<Duration>,
    sent: Instant,
    heard: Instant,
    received: u64,
    answer_by: Option<Instant>,
    resting: bool,
}

impl KeepAlive {
    /// Starts with CONNACK. `seconds` of 0 is off.
    pub(super) fn new(now: Instant, seconds: u16, received: u64) -> KeepAlive {
        let quarter = (seconds > 0).then(|| Duration::from_millis(u64::from(seconds) * 750));
        KeepAlive { quarter, sent: now, heard: now, received, answer_by: None, resting: false }
    }

    /// Tells how many bytes have been received in all.
    #[inline]
    pub(super) fn heard(&mut self, now: Instant, received: u64) {
        if self.received != received {
            self.received = received;
            self.heard = now;
            self.extend(now);
        }
    }

    /// Something was sent.
    pub(super) fn sent(&mut self, now: Instant) {
        self.sent = now;
    }

    /// PINGRESP came.
    pub(super) fn answered(&mut self, now: Instant) {
        self.heard = now;
        self.answer_by = None;
    }

    /// Reading is held back, or goes on. True if that is a change.
    pub(super) fn rest(&mut self, now: Instant, resting: bool) -> bool {
        let change = self.resting != resting;
        if change {
            self.resting = resting;
            self.extend(now);
        }
        change
    }

    /// Whether the deadline rests.
    #[inline]
    pub(super) fn is_resting(&self) -> bool {
        self.resting
    }

    fn extend(&mut self, now: Instant) {
        if let (Some(quarter), Some(_)) = (self.quarter, self.answer_by) {
            self.answer_by = Some(now + quarter);
        }
    }

    /// Whether PINGREQ is to be sent now; it then counts as sent.
    pub(super) fn poll_ping(&mut self, now: Instant) -> bool {
        let Some(quarter) = self.quarter else {
            return false;
        };
        if self.next_ping().is_none_or(|at| now < at) {
            return false;
        }
        self.sent = now;
        self.answer_by.get_or_insert(now + quarter);
        true
    }

    fn next_ping(&self) -> Option<Instant> {
        let quiet = if self.answer_by.is_some() { self.sent } else { self.sent.min(self.heard) };
        self.quarter.map(|quarter| quiet + quarter)
    }

    fn deadline(&self) -> Option<Instant> {
        self.answer_by.filter(|_| !self.resting)
    }

    /// Whether the broker is to be given up.
    pub(super) fn is_dead(&self, now: Instant) -> bool {
        self.deadline().is_some_and(|deadline| now >= deadline)
    }

    /// When to look again.
    pub(super) fn timeout(&self) -> Option<Instant> {
        self.next_ping().into_iter().chain(self.deadline()).min()
    }
}
