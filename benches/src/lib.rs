//! Criterion benches, one file a stage of the line.

use std::time::Instant;

/// The time at which a bench begins. State machines take it as an argument, and no figure depends on it.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one file of this package that reads the clock")]
pub fn start() -> Instant {
    Instant::now()
}
