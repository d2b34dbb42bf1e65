//! The clocks of this package, and the one place where tests wait.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::event::{Timespec, poll};

/// Time between two looks at a fact. Facts of other processes (a port, a metric, a record in Kafka) ring no bell that
/// could be waited on, so they are looked at again and again; no test waits for time to pass in the hope of a fact.
const INTERVAL: Duration = Duration::from_millis(20);

/// The monotonic clock.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one read of this clock")]
pub fn now() -> Instant {
    Instant::now()
}

/// The wall clock: milliseconds since 1970, as records carry it.
///
/// # Panics
///
/// When that is out of range.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one read of this clock")]
pub fn wall() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970");
    i64::try_from(since.as_millis()).expect("a time of this age")
}

/// Blocks the thread for a span. For faults that are a span of time (a proxy's delay, a frozen server), never for
/// waiting until something has probably happened.
pub fn pause(span: Duration) {
    let end = now() + span;
    while let Some(left) = end.checked_duration_since(now()).filter(|left| !left.is_zero()) {
        let timeout = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
        // An interrupted poll goes round again.
        let _ = poll(&mut [], Some(&timeout));
    }
}

/// Looks at `fact` until it is `Some`, and returns it.
///
/// # Panics
///
/// When `limit` has passed: "`what` has not happened within …".
#[track_caller]
pub fn wait_for<T>(limit: Duration, what: &str, mut fact: impl FnMut() -> Option<T>) -> T {
    let end = now() + limit;
    loop {
        if let Some(found) = fact() {
            return found;
        }
        assert!(now() < end, "{what}: not within {limit:?}");
        pause(INTERVAL);
    }
}

/// [`wait_for`] a condition.
///
/// # Panics
///
/// When `limit` has passed.
#[track_caller]
pub fn wait_until(limit: Duration, what: &str, mut fact: impl FnMut() -> bool) {
    wait_for(limit, what, || fact().then_some(()));
}

/// Calls `check` again and again for `span`: for what must hold throughout. `check` panics where it does not.
pub fn during(span: Duration, mut check: impl FnMut()) {
    let end = now() + span;
    while now() < end {
        check();
        pause(INTERVAL);
    }
}
