//! Notices that the wall clock was set back, and what that holds up: librdkafka waits until times of that clock, so that
//! what it was waiting for in that moment comes later by as much. Only a new producer is rid of that.

use std::time::{Duration, Instant, SystemTime};

/// Less is the drift between the clocks, which is made up for slowly.
const LEAST: Duration = Duration::from_secs(2);
/// A batch that has waited for so long since is held up.
const PATIENCE: Duration = Duration::from_secs(2);

/// The wall clock beside the one that never goes back.
#[derive(Debug)]
pub(super) struct SetBack {
    clock: (Instant, SystemTime),
    /// When it was noticed, until something has shown that nothing is held up, or all was begun anew.
    at: Option<Instant>,
}

impl SetBack {
    /// `clock` is this moment by both clocks.
    pub(super) fn new(clock: (Instant, SystemTime)) -> SetBack {
        SetBack { clock, at: None }
    }

    /// Takes this moment by both clocks, when something was confirmed last, and since when the oldest batch waits. Returns
    /// whether that waits for a time of a clock that is gone.
    pub(super) fn handle_clock(
        &mut self,
        now: Instant,
        wall: SystemTime,
        confirmed_at: Option<Instant>,
        oldest: impl FnOnce() -> Option<Instant>,
    ) -> bool {
        let expected = self.clock.1 + now.saturating_duration_since(self.clock.0);
        if expected.duration_since(wall).is_ok_and(|back| back >= LEAST) {
            self.at = Some(now);
        }
        self.clock = (now, wall);
        let Some(at) = self.at else { return false };
        let held_up = oldest().is_some_and(|since| now >= since.max(at) + PATIENCE);
        if held_up || confirmed_at.is_some_and(|confirmed| confirmed > at + PATIENCE) {
            self.at = None;
        }
        held_up
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::clock;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn only_a_batch_that_waits_after_a_jump_back_is_held_up() {
        let (start, wall) = (clock::now(), clock::wall());
        let mut back = SetBack::new((start, wall));
        let hour = 3600 * SECOND;
        let waits = || Some(start);
        assert!(!back.handle_clock(start + 10 * SECOND, wall + 10 * SECOND, None, waits), "Kafka is away");
        assert!(!back.handle_clock(start + 11 * SECOND, wall + 10 * SECOND, None, waits), "a drift");
        assert!(!back.handle_clock(start + 12 * SECOND, wall + hour, None, waits), "set forward");
        assert!(!back.handle_clock(start + 13 * SECOND, wall, None, waits), "it may go on by itself");
        assert!(!back.handle_clock(start + 14 * SECOND, wall + SECOND, None, || None));
        assert!(back.handle_clock(start + 15 * SECOND, wall + 2 * SECOND, None, waits));
        assert!(!back.handle_clock(start + 16 * SECOND, wall + 3 * SECOND, None, waits), "once");
    }

    #[test]
    fn what_is_confirmed_afterwards_shows_that_nothing_is() {
        let (start, wall) = (clock::now(), clock::wall());
        let mut back = SetBack::new((start, wall + 60 * SECOND));
        let at = |seconds: u32| (start + seconds * SECOND, wall + seconds * SECOND);
        assert!(!back.handle_clock(at(1).0, at(1).1, None, || None));
        assert!(!back.handle_clock(at(9).0, at(9).1, Some(at(8).0), || Some(at(8).0)));
        assert!(!back.handle_clock(at(20).0, at(20).1, Some(at(8).0), || Some(at(8).0)), "that is something else");
    }
}
