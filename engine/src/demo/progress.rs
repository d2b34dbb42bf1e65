//! What is shown once a second.

use std::{
    fmt,
    time::{Duration, Instant},
};

use fairlead_loadgen::progress::Snapshot;

use super::SECOND;

/// Makes seconds of snapshots.
pub(super) struct Meter {
    started: Instant,
    shown: Instant,
    before: Snapshot,
}

impl Meter {
    pub(super) fn new(now: Instant) -> Meter {
        Meter { started: now, shown: now, before: Snapshot::default() }
    }

    /// Since the start.
    pub(super) fn elapsed(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.started)
    }

    /// The second that is over, if one is.
    #[expect(clippy::cast_precision_loss, reason = "counts of messages are far below 2^53")]
    pub(super) fn handle_look(&mut self, now: Instant, snapshot: Snapshot) -> Option<Second> {
        let span = now.saturating_duration_since(self.shown);
        if span < SECOND {
            return None;
        }
        let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / span.as_secs_f64();
        let second = Second {
            elapsed: self.elapsed(now),
            rate_in: rate(snapshot.sent, self.before.sent),
            rate_out: rate(snapshot.verified, self.before.verified),
            in_flight: snapshot.in_flight,
            p99_ms: snapshot.end_to_end.p99_ms,
        };
        (self.shown, self.before) = (now, snapshot);
        Some(second)
    }
}

/// One second of the demo.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Second {
    /// Since the start.
    pub(crate) elapsed: Duration,
    /// Messages a second from the fleet.
    pub(crate) rate_in: f64,
    /// Messages a second that the consumer has found in Kafka.
    pub(crate) rate_out: f64,
    /// Sent and not yet found.
    pub(crate) in_flight: u64,
    /// From the fleet to the consumer since the start, milliseconds.
    pub(crate) p99_ms: f64,
}

impl fmt::Display for Second {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>4} s   in {:>9} msg/s   out {:>9} msg/s   in flight {:>7}   p99 {:.1} ms",
            self.elapsed.as_secs(),
            rate(self.rate_in),
            rate(self.rate_out),
            grouped(self.in_flight),
            self.p99_ms,
        )
    }
}

/// Whole messages a second.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate is not negative and below 2^53")]
pub(super) fn rate(rate: f64) -> String {
    grouped(rate.round() as u64)
}

/// A number with commas between the thousands.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
