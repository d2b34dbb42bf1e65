//! Whether Kafka answers this shard, as the shard itself can tell: by what is confirmed, and by what waits.

use std::time::Duration;

use crate::kafka;

/// How long a batch may wait for Kafka's confirmation before Kafka counts as away.
const SILENCE: Duration = Duration::from_secs(5);

/// What is known. A shard that has nothing in flight knows nothing; for it the control thread asks Kafka.
#[derive(Debug, Default)]
pub(super) struct Reach {
    /// Kafka was said to be away, and has confirmed nothing since.
    away: bool,
    /// Something was confirmed since the last heartbeat.
    confirmed: bool,
    /// Seconds since librdkafka said that it has no broker left, if nothing was confirmed since.
    lost: Option<u32>,
}

/// What a heartbeat tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// Kafka confirms.
    Confirms,
    /// Nothing is confirmed; `new` is whether that has not been said yet.
    Silence {
        /// Whether Kafka was not away before.
        new: bool,
    },
}

impl Reach {
    /// librdkafka says that no broker can be reached.
    pub(super) fn handle_away(&mut self) {
        *self = Reach { away: true, confirmed: false, lost: self.lost.or(Some(0)) };
    }

    /// Something was confirmed, while the oldest batch in flight is so old. Returns whether Kafka is back with that.
    pub(super) fn handle_confirmed(&mut self, oldest: Duration) -> bool {
        self.confirmed = true;
        self.lost = None;
        oldest < SILENCE && std::mem::take(&mut self.away)
    }

    /// Whether it matters how old the oldest batch is: looking for it takes time.
    pub(super) fn is_away(&self) -> bool {
        self.away
    }

    /// A second has passed, and the oldest batch in flight is so old. A Kafka that hangs keeps its connections and reports
    /// nothing: only that age tells.
    ///
    /// That Kafka confirms is told each time, and not only when it is news here: the control thread tells of shards that
    /// look idle to it, from a number that is a second old and an answer that took seconds, and a shard whose records
    /// flow is asked about no more.
    pub(super) fn handle_heartbeat(&mut self, oldest: Duration) -> Option<Heard> {
        let confirmed = std::mem::take(&mut self.confirmed);
        if oldest >= SILENCE {
            return Some(Heard::Silence { new: !std::mem::replace(&mut self.away, true) });
        }
        (confirmed && !self.away).then_some(Heard::Confirms)
    }

    /// A second has passed. Returns whether librdkafka is to be told again where Kafka is.
    pub(super) fn reminds(&mut self) -> bool {
        self.lost.as_mut().is_some_and(|seconds| {
            *seconds += 1;
            kafka::is_reminder_due(*seconds)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRESH: Duration = Duration::from_millis(20);

    #[test]
    fn silence_is_told_and_ends_with_what_is_confirmed_in_time() {
        let mut reach = Reach::default();
        assert_eq!(reach.handle_heartbeat(Duration::ZERO), None, "nothing in flight says nothing");
        assert_eq!(reach.handle_heartbeat(SILENCE), Some(Heard::Silence { new: true }));
        assert_eq!(reach.handle_heartbeat(SILENCE * 2), Some(Heard::Silence { new: false }));
        assert!(!reach.handle_confirmed(SILENCE), "another partition still waits");
        assert_eq!(reach.handle_heartbeat(SILENCE), Some(Heard::Silence { new: false }));
        assert!(reach.handle_confirmed(FRESH), "Kafka is back");
        assert!(!reach.handle_confirmed(FRESH), "which is said once");
        assert_eq!(reach.handle_heartbeat(FRESH), Some(Heard::Confirms));
    }

    /// The control thread may have called this shard unreachable meanwhile, and it is not asked again.
    #[test]
    fn what_is_confirmed_is_told_although_nothing_was_wrong_here() {
        let mut reach = Reach::default();
        assert!(!reach.handle_confirmed(FRESH));
        assert_eq!(reach.handle_heartbeat(FRESH), Some(Heard::Confirms));
        assert_eq!(reach.handle_heartbeat(FRESH), None, "nothing since");
    }

    #[test]
    fn what_was_confirmed_before_the_last_broker_went_counts_no_more() {
        let mut reach = Reach::default();
        reach.handle_confirmed(FRESH);
        reach.handle_away();
        assert!(reach.is_away());
        assert_eq!(reach.handle_heartbeat(FRESH), None);
        assert!(reach.handle_confirmed(FRESH));
    }

    #[test]
    fn librdkafka_is_reminded_ever_more_rarely_until_something_is_confirmed() {
        let mut reach = Reach::default();
        let reminders = |reach: &mut Reach, seconds: u32| (1..=seconds).filter(|_| reach.reminds()).count();
        assert_eq!(reminders(&mut reach, 100), 0, "Kafka is there");
        reach.handle_away();
        assert_eq!((reminders(&mut reach, 9), reminders(&mut reach, 1)), (0, 1));
        reach.handle_away();
        assert_eq!((reminders(&mut reach, 9), reminders(&mut reach, 1)), (0, 1), "said again changes nothing");
        assert_eq!(reminders(&mut reach, 24 * 3600), 148, "no more than one in ten minutes");
        reach.handle_confirmed(FRESH);
        assert_eq!(reminders(&mut reach, 100), 0);
    }
}
