//! When to connect next, where to, and with which version of MQTT.

use std::time::{Duration, Instant};

use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};

use super::event::Cause;
use crate::{
    mqtt::frame::Protocol,
    settings::{Address, Source, Version},
};

/// First pause between attempts. It doubles with each failure up to [`LONGEST_PAUSE`]; of each, half is random, so
/// that sessions that lost one broker together do not come back together.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause between attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A connection that lived this long was a good one: the next failure is the first again.
const HEALTHY: Duration = Duration::from_secs(60);
/// Pause after the session was taken over. Two clients with one identifier would otherwise throw each other out for
/// ever, as fast as they can.
const TAKEN_OVER_PAUSE: Duration = Duration::from_secs(30);
/// After as many equal failures in a row there is an alarm, and again after as many more.
pub(super) const ALARM_AFTER: u32 = 5;

/// What a loss comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Loss {
    /// Pause before the next attempt.
    pub(super) pause: Duration,
    /// How many times in a row this happened, where it is time for an alarm.
    pub(super) alarm: Option<u32>,
}

/// Chooses address, version and time of the next attempt.
///
/// The addresses are tried in order, without a pause between them; after the last there is a pause. After a
/// connection that had been accepted the first address is tried again.
#[derive(Debug)]
pub(super) struct Connector {
    addresses: Vec<Address>,
    next: usize,
    version: Version,
    protocol: Protocol,
    /// The broker closed a 5.0 connection without a word, and 3.1.1 is a guess.
    guessed: bool,
    accepted_v5: bool,
    needs_v5: bool,
    accepted_at: Option<Instant>,
    failures: u32,
    retry_at: Option<Instant>,
    last: Option<&'static str>,
    repeated: u32,
    random: SmallRng,
}

impl Connector {
    /// `needs_v5` keeps a source of [`Version::Auto`] from falling back to 3.1.1.
    pub(super) fn new(source: &Source, needs_v5: bool, seed: u64) -> Connector {
        Connector {
            addresses: source.urls.clone(),
            next: 0,
            version: source.version,
            protocol: if source.version == Version::V311 { Protocol::V311 } else { Protocol::V5 },
            guessed: false,
            accepted_v5: false,
            needs_v5,
            accepted_at: None,
            failures: 0,
            retry_at: None,
            last: None,
            repeated: 0,
            random: SmallRng::seed_from_u64(seed),
        }
    }

    /// Where to connect to, if it is time.
    pub(super) fn poll(&self, now: Instant) -> Option<(Address, Protocol)> {
        if self.retry_at.is_some_and(|at| now < at) {
            return None;
        }
        self.addresses.get(self.next).map(|address| (address.clone(), self.protocol))
    }

    /// When [`Connector::poll`] will have something; `None` is now.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// The broker accepted the connection.
    pub(super) fn accepted(&mut self, now: Instant) {
        self.accepted_at = Some(now);
        self.accepted_v5 |= self.protocol == Protocol::V5;
    }

    /// The connection ended or did not come about.
    pub(super) fn lost(&mut self, now: Instant, cause: &Cause) -> Loss {
        let accepted_at = self.accepted_at.take();
        if accepted_at.is_some_and(|at| now.saturating_duration_since(at) >= HEALTHY) {
            self.failures = 0;
            self.last = None;
        }
        let other_version = self.choose_version(accepted_at.is_some(), cause);
        let mut pause = Duration::ZERO;
        if accepted_at.is_some() {
            self.next = 0;
            pause = self.pause();
        } else if !other_version {
            self.next += 1;
            if self.next >= self.addresses.len() {
                self.next = 0;
                pause = self.pause();
            }
        }
        if *cause == Cause::TakenOver {
            pause = TAKEN_OVER_PAUSE + pause.min(FIRST_PAUSE);
        }
        self.retry_at = Some(now + pause);
        Loss { pause, alarm: self.count(cause) }
    }

    fn pause(&mut self) -> Duration {
        let whole = FIRST_PAUSE.saturating_mul(1 << self.failures.min(16)).min(LONGEST_PAUSE);
        self.failures += 1;
        whole.mul_f64(self.random.random_range(0.5..1.0))
    }

    fn count(&mut self, cause: &Cause) -> Option<u32> {
        let label = cause.label();
        self.repeated = if self.last == Some(label) { self.repeated + 1 } else { 1 };
        self.last = Some(label);
        self.repeated.is_multiple_of(ALARM_AFTER).then_some(self.repeated)
    }

    /// Chooses the version of the next attempt; true if it is to be 3.1.1 at once, at the same address.
    ///
    /// A refusal with "unsupported protocol version" is an answer. A broker that closes without a word may be an old
    /// one or just starting: 3.1.1 is tried, and 5.0 again the next time. A broker that has accepted 5.0 is never
    /// suspected.
    fn choose_version(&mut self, accepted: bool, cause: &Cause) -> bool {
        if self.version != Version::Auto || self.needs_v5 {
            return false;
        }
        let refused = matches!(cause, Cause::Refused { reason: 0x84, .. });
        let wordless = !accepted && !self.accepted_v5 && matches!(cause, Cause::Eof | Cause::Io(_));
        match self.protocol {
            Protocol::V5 if refused || wordless => {
                self.guessed = !refused;
                self.protocol = Protocol::V311;
                true
            }
            Protocol::V311 if refused || self.guessed => {
                self.guessed = false;
                self.protocol = Protocol::V5;
                false
            }
            _ => false,
        }
    }
}
