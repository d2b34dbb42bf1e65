//! The one place where the engine reads the clock: drivers read it once a turn and hand it on as `now`.

use std::time::{Instant, SystemTime};

/// The monotonic time, for deadlines and latencies.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn now() -> Instant {
    Instant::now()
}

/// The wall-clock time, for people: status pages and logs.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn wall() -> SystemTime {
    SystemTime::now()
}
