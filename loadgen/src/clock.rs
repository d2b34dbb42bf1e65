//! The only place where this package reads a clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Nanoseconds in a second, for arithmetic on the times of a [`Clock`].
pub const SECOND: i64 = 1_000_000_000;

/// Nanoseconds in a millisecond.
pub const MILLISECOND: i64 = 1_000_000;

/// Wall clock time that never jumps: the wall clock is read once, then the monotonic clock advances it.
///
/// Times are nanoseconds since the Unix epoch, so that another process (the verifier) can compare them with its own.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    wall_ns: i64,
    started: Instant,
}

impl Clock {
    /// Reads the wall clock and starts counting.
    #[expect(clippy::disallowed_methods, reason = "the clock of this package")]
    pub fn start() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self { wall_ns: nanoseconds(wall), started: Instant::now() }
    }

    /// Nanoseconds since the Unix epoch; never smaller than an earlier reading of the same clock.
    pub fn now(&self) -> i64 {
        let elapsed = nanoseconds(self.started.elapsed());
        self.wall_ns.saturating_add(elapsed)
    }
}

/// A span in nanoseconds; longer ones than 292 years count as these.
pub fn nanoseconds(span: Duration) -> i64 {
    i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)
}

/// Seconds from `from` to `to`, both in nanoseconds; never negative.
#[expect(clippy::cast_precision_loss, reason = "a span of hours is exact to the microsecond in an f64")]
pub fn seconds_between(from: i64, to: i64) -> f64 {
    to.saturating_sub(from).max(0) as f64 / SECOND as f64
}
