//! `drain_rate`: how many records a second replay may hand over.

use std::time::{Duration, Instant};

/// Replay goes on so often; what it may hand over in that time goes at once.
const SLICE: Duration = Duration::from_millis(10);

/// Counts what was handed over, and says when to go on.
#[derive(Debug)]
pub(super) struct Pace {
    /// The time of one record.
    each: Duration,
    /// What was handed over is due until then.
    due: Instant,
    rest_until: Option<Instant>,
}

impl Pace {
    /// At most `rate` records a second from now on.
    pub(super) fn new(now: Instant, rate: u64) -> Pace {
        Pace { each: Duration::from_nanos(1_000_000_000 / rate.max(1)), due: now, rest_until: None }
    }

    /// A record was handed over.
    pub(super) fn spend(&mut self, now: Instant) {
        self.due = now.checked_sub(SLICE).map_or(self.due, |least| self.due.max(least)) + self.each;
        if self.due > now {
            self.rest_until = Some(self.due + SLICE);
        }
    }

    /// When to go on, if not now.
    pub(super) fn rest(&self, now: Instant) -> Option<Instant> {
        self.rest_until.filter(|until| now < *until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::clock;

    #[test]
    fn the_rate_is_kept_however_often_it_is_asked() {
        for (rate, step) in [(7, 1), (100, 3), (5_000, 1), (5_000, 40), (1_000_000, 1)] {
            let start = clock::now();
            let mut pace = Pace::new(start, rate);
            let mut handed = 0;
            for now in (0..10_000).step_by(step).map(|millis| start + Duration::from_millis(millis)) {
                while pace.rest(now).is_none() && handed < 20 * rate {
                    pace.spend(now);
                    handed += 1;
                }
            }
            let most = 10 * rate + rate / 50 + 2;
            assert!(handed <= most, "{handed} records in 10 s at a rate of {rate}");
            // Who asks seldom gets less, because nothing is saved up.
            let least = if step > 10 { rate } else { 8 * rate };
            assert!(handed >= least, "{handed} records in 10 s at a rate of {rate}");
        }
    }
}
