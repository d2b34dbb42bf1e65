//! Partitions of which nothing is confirmed are paused inside librdkafka: its thread spins while messages of a
//! partition wait behind a request that has no answer, at the cost of a core for as long as a broker is frozen.

use std::time::{Duration, Instant};

/// Time between two looks; a partition that confirms nothing from one to the next is paused.
const LOOK: Duration = Duration::from_millis(250);
/// A pause is lifted after this, because a request that librdkafka sends again by itself tells nothing.
const PAUSE: Duration = Duration::from_secs(1);
/// Time that librdkafka has after a lifted pause to send again.
const GLANCE: Duration = Duration::from_millis(20);

/// A partition with records in flight, and the order of the oldest of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) topic: usize,
    pub(super) partition: u32,
    pub(super) oldest: u64,
}

/// What to do with partitions.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing of these is sent until they are resumed.
    Pause(Vec<Mark>),
    /// All that are paused are sent again.
    Resume(Vec<Mark>),
}

/// Which partitions are stalled.
#[derive(Debug)]
pub(super) struct Stalls {
    watched: Vec<Mark>,
    paused: Vec<Mark>,
    look_at: Option<Instant>,
    /// Nothing was confirmed yet, or since a connection failed: without a connection nothing spins, and what waits has to
    /// go at once when there is one.
    disconnected: bool,
}

impl Default for Stalls {
    fn default() -> Stalls {
        Stalls { watched: Vec::new(), paused: Vec::new(), look_at: None, disconnected: true }
    }
}

impl Stalls {
    /// When [`Stalls::poll`] wants to be called.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.look_at
    }

    #[cfg(test)]
    pub(super) fn is_paused(&self) -> bool {
        !self.paused.is_empty()
    }

    /// `failed` tells that librdkafka reported an error since the last call, `in_flight` all partitions with records in
    /// flight, and `oldest` the order of the oldest record that a partition has or will have in flight.
    pub(super) fn poll(
        &mut self,
        now: Instant,
        failed: bool,
        in_flight: impl Fn() -> Vec<Mark>,
        oldest: impl Fn(&Mark) -> u64,
    ) -> Option<Step> {
        let moved = |mark: &Mark| oldest(mark) != mark.oldest;
        let due = self.look_at.is_none_or(|at| now >= at);
        self.disconnected |= failed;
        if !self.paused.is_empty() {
            let resumed = self.paused.iter().any(moved);
            if !failed && !due && !resumed {
                return None;
            }
            self.look_at = Some(now + if due { GLANCE } else { LOOK });
            self.watched.clone_from(&self.paused);
            return Some(Step::Resume(std::mem::take(&mut self.paused)));
        }
        if !due {
            return None;
        }
        let watched = self.watched.len();
        self.watched.retain(|mark| !moved(mark));
        self.disconnected &= self.watched.len() == watched;
        if !self.watched.is_empty() && !self.disconnected {
            self.paused = std::mem::take(&mut self.watched);
            self.look_at = Some(now + PAUSE);
            return Some(Step::Pause(self.paused.clone()));
        }
        self.watched = in_flight();
        self.look_at = (!self.watched.is_empty()).then_some(now + LOOK);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::clock;

    fn mark(partition: u32, oldest: u64) -> Mark {
        Mark { topic: 0, partition, oldest }
    }

    /// What is in flight by partition: the oldest and the number.
    struct World {
        now: Instant,
        stalls: Stalls,
        partitions: Vec<(u64, u64)>,
    }

    impl World {
        fn new(partitions: &[(u64, u64)]) -> World {
            let (now, partitions) = (clock::now(), partitions.to_vec());
            let mut world = World { now, stalls: Stalls::default(), partitions };
            assert_eq!(world.poll(Duration::ZERO, false), None, "the first look only notes");
            world.partitions.iter_mut().for_each(|(oldest, _)| *oldest += 1);
            assert_eq!(world.poll(LOOK, false), None, "the first confirmation");
            world
        }

        fn poll(&mut self, after: Duration, failed: bool) -> Option<Step> {
            self.now += after;
            let partitions = &self.partitions;
            let in_flight = || {
                let marks = (0..).zip(partitions);
                marks.filter(|(_, (_, count))| *count > 0).map(|(place, (first, _))| mark(place, *first)).collect()
            };
            self.stalls.poll(self.now, failed, in_flight, |mark| partitions[mark.partition as usize].0)
        }
    }

    #[test]
    fn a_partition_that_confirms_nothing_is_paused_and_goes_on_with_its_next_confirmation() {
        let mut world = World::new(&[(0, 10), (0, 10), (0, 0)]);
        world.partitions[1].0 = 5;
        assert_eq!(world.poll(LOOK / 2, false), None);
        assert_eq!(world.poll(LOOK / 2, false), Some(Step::Pause(vec![mark(0, 1)])));
        world.partitions[1].0 = 9;
        assert_eq!(world.poll(PAUSE / 2, false), None);
        world.partitions[0].0 = 4;
        assert_eq!(world.poll(Duration::ZERO, false), Some(Step::Resume(vec![mark(0, 1)])));
        assert_eq!(world.poll(LOOK, false), None, "it confirms");
    }

    #[test]
    fn a_pause_ends_for_a_moment_now_and_then() {
        let mut world = World::new(&[(0, 10)]);
        assert_eq!(world.poll(LOOK, false), Some(Step::Pause(vec![mark(0, 1)])));
        for _ in 0..3 {
            assert_eq!(world.stalls.poll_timeout(), Some(world.now + PAUSE));
            assert_eq!(world.poll(PAUSE, false), Some(Step::Resume(vec![mark(0, 1)])));
            assert_eq!(world.stalls.poll_timeout(), Some(world.now + GLANCE));
            assert_eq!(world.poll(GLANCE, false), Some(Step::Pause(vec![mark(0, 1)])));
        }
    }

    #[test]
    fn nothing_is_paused_between_a_failed_connection_and_the_next_confirmation() {
        let mut world = World::new(&[(0, 10)]);
        assert_eq!(world.poll(LOOK, false), Some(Step::Pause(vec![mark(0, 1)])));
        assert_eq!(world.poll(LOOK, true), Some(Step::Resume(vec![mark(0, 1)])));
        for _ in 0..9 {
            assert_eq!(world.poll(LOOK, false), None);
        }
        world.partitions[0].0 = 3;
        assert_eq!(world.poll(LOOK, false), None);
        assert_eq!(world.poll(LOOK, false), Some(Step::Pause(vec![mark(0, 3)])));
    }

    #[test]
    fn nothing_is_paused_before_the_first_confirmation() {
        let mut stalls = Stalls::default();
        let start = clock::now();
        for n in 0..9 {
            assert_eq!(stalls.poll(start + n * LOOK, false, || vec![mark(0, 0)], |_| 0), None);
        }
    }

    #[test]
    fn without_records_in_flight_there_is_nothing_to_look_at() {
        let mut world = World::new(&[(0, 1)]);
        world.partitions[0] = (2, 0);
        assert_eq!(world.poll(LOOK, false), None);
        assert_eq!(world.stalls.poll_timeout(), None);
    }
}
