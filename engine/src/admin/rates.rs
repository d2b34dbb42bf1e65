//! Messages a second over the last seconds, from samples of the ledger.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use serde::Serialize;

use crate::metrics::Account;

/// How far back the rates look.
const WINDOW: Duration = Duration::from_secs(5);
/// Most samples kept; they come once a second, so the window is what bounds them.
const MAX_SAMPLES: usize = 16;

/// Rates over the last seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct PerSecond {
    /// Messages read from brokers.
    pub(super) received_per_second: f64,
    /// Messages confirmed by Kafka.
    pub(super) delivered_per_second: f64,
    /// Records that ended in Kafka after the spool had answered for them.
    pub(super) drained_per_second: f64,
    /// The time that the rates are taken over, seconds; 0 before there are two samples.
    pub(super) over_seconds: f64,
}

/// A sample: when, received, delivered, drained.
type Sample = (Instant, u64, u64, u64);

/// Samples of the last seconds.
#[derive(Debug, Default)]
pub(super) struct Rates(VecDeque<Sample>);

impl Rates {
    /// Takes a sample at `now`.
    pub(super) fn handle_sample(&mut self, total: &Account, drained: u64, now: Instant) {
        self.0.push_back((now, total.received, total.delivered, drained));
        // The oldest of those kept is the youngest that is as old as the window.
        while self.0.len() > MAX_SAMPLES
            || self.0.get(1).is_some_and(|(at, ..)| now.saturating_duration_since(*at) >= WINDOW)
        {
            self.0.pop_front();
        }
    }

    /// The rates between the oldest and the newest sample.
    pub(super) fn per_second(&self) -> PerSecond {
        let (Some(first), Some(last)) = (self.0.front(), self.0.back()) else { return PerSecond::default() };
        let over_seconds = last.0.saturating_duration_since(first.0).as_secs_f64();
        if over_seconds == 0.0 {
            return PerSecond::default();
        }
        let rate = |first: u64, last: u64| tenths(last.saturating_sub(first) as f64 / over_seconds);
        PerSecond {
            received_per_second: rate(first.1, last.1),
            delivered_per_second: rate(first.2, last.2),
            drained_per_second: rate(first.3, last.3),
            over_seconds: tenths(over_seconds),
        }
    }
}

/// To one decimal place, for the eye.
fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(received: u64, delivered: u64) -> Account {
        Account { received, delivered, ..Account::default() }
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a point to count from")]
    fn rates_look_five_seconds_back() {
        let (start, mut rates) = (Instant::now(), Rates::default());
        assert_eq!(rates.per_second(), PerSecond::default());
        rates.handle_sample(&account(1_000, 0), 0, start);
        assert_eq!(rates.per_second(), PerSecond::default());
        for second in 1..=20 {
            let faster = if second > 10 { 100 } else { 10 };
            rates.handle_sample(
                &account(1_000 + second * faster, second),
                2 * second,
                start + Duration::from_secs(second),
            );
            assert!(rates.0.len() <= 6);
        }
        assert_eq!(
            rates.per_second(),
            PerSecond {
                received_per_second: 100.0,
                delivered_per_second: 1.0,
                drained_per_second: 2.0,
                over_seconds: 5.0
            }
        );
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a point to count from")]
    fn samples_are_bounded_however_often_they_come() {
        let (start, mut rates) = (Instant::now(), Rates::default());
        for millis in 0..1_000 {
            rates.handle_sample(&account(millis, millis), 0, start + Duration::from_millis(millis));
        }
        assert_eq!(rates.0.len(), MAX_SAMPLES);
        assert!((rates.per_second().received_per_second - 1_000.0).abs() < 1e-6);
    }
}
