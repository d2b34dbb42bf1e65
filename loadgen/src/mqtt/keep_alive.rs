//! Keep-alive of a client (MQTT 5.0 §3.1.2.10): a PINGREQ after half the time of silence, the end after one and a half.

use super::client::put_ping;
use super::lost::Lost;
use crate::clock::SECOND;

/// What clients of this package ask for; the broker may overrule it.
pub(crate) const KEEP_ALIVE_SECONDS: u16 = 30;

/// When something was sent and heard last, in nanoseconds.
#[derive(Debug)]
pub(crate) struct KeepAlive {
    interval_ns: i64,
    sent_ns: i64,
    heard_ns: i64,
}

impl KeepAlive {
    pub(crate) fn new(seconds: u16) -> Self {
        Self { interval_ns: i64::from(seconds) * SECOND, sent_ns: 0, heard_ns: 0 }
    }

    /// The broker's own interval (MQTT 5.0 §3.2.2.3.14).
    pub(crate) fn overrule(&mut self, seconds: Option<u16>) {
        if let Some(seconds) = seconds.filter(|&seconds| seconds > 0) {
            self.interval_ns = i64::from(seconds) * SECOND;
        }
    }

    /// A connection begins.
    pub(crate) fn start(&mut self, now: i64) {
        (self.sent_ns, self.heard_ns) = (now, now);
    }

    pub(crate) fn note_sent(&mut self, now: i64) {
        self.sent_ns = now;
    }

    pub(crate) fn note_heard(&mut self, now: i64) {
        self.heard_ns = now;
    }

    /// Fails where the broker has been silent for too long.
    pub(crate) fn check(&self, now: i64) -> Result<(), Lost> {
        if now - self.heard_ns > self.interval_ns + self.interval_ns / 2 { Err(Lost::Silent) } else { Ok(()) }
    }

    /// The same, and appends a PINGREQ where it is time for one.
    pub(crate) fn poll(&mut self, out: &mut Vec<u8>, now: i64) -> Result<(), Lost> {
        self.check(now)?;
        let (since_sent, since_heard) = (now - self.sent_ns, now - self.heard_ns);
        let is_quiet = since_sent.max(since_heard) > self.interval_ns / 2;
        if is_quiet && since_sent > self.interval_ns / 10 {
            put_ping(out);
            self.sent_ns = now;
        }
        Ok(())
    }
}
