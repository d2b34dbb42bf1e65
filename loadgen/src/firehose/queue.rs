//! The messages that one subscription queue still has to deliver, as arithmetic instead of memory.

use crate::pace::{Pace, Rate, Shape};

/// Round robin over some topics: the n-th message of the queue is for topic `n mod topics`, with a sequence that
/// rises by one each round. Nothing is stored but the position.
#[derive(Debug)]
pub(crate) struct Queue {
    /// Rising publisher numbers.
    topics: Vec<u32>,
    next_topic: usize,
    round: u64,
    issued: u64,
    total: u64,
    pace: Pace,
    started_ns: i64,
}

impl Queue {
    /// A queue that delivers its topics' share of `messages`, which are dealt to `all_topics` topics in turn, at its
    /// share of the rate.
    #[expect(clippy::cast_precision_loss, reason = "topics are below 2^32")]
    pub(crate) fn new(
        topics: Vec<u32>,
        all_topics: u32,
        messages: u64,
        (rate, shape): (Rate, Shape),
        now: i64,
    ) -> Self {
        let each = messages / u64::from(all_topics);
        let one_more = messages % u64::from(all_topics);
        let extra = topics.iter().filter(|&&topic| u64::from(topic) < one_more).count();
        let total = each.saturating_mul(topics.len() as u64).saturating_add(extra as u64);
        let share = topics.len() as f64 / f64::from(all_topics);
        let pace = Pace::new(rate, shape, share);
        Self { topics, next_topic: 0, round: 0, issued: 0, total, pace, started_ns: now }
    }

    /// How many messages may be sent at `now`.
    pub(crate) fn due(&self, now: i64) -> u64 {
        let left = self.total - self.issued;
        if left == 0 || now < self.intended_ns(now) {
            return 0;
        }
        // At least the one whose time it is, whatever a float rounds.
        self.pace.due(now - self.started_ns).saturating_sub(self.issued).clamp(1, left)
    }

    /// When the next message is meant to be sent; as fast as possible: now.
    pub(crate) fn intended_ns(&self, now: i64) -> i64 {
        self.pace.offset_ns(self.issued, 0).map_or(now, |offset| self.started_ns + offset)
    }

    /// Takes the next message: its publisher and sequence. The caller has asked [`Queue::due`].
    #[inline]
    pub(crate) fn take(&mut self) -> (u32, u64) {
        let message = (self.topics[self.next_topic], self.round);
        self.issued += 1;
        self.next_topic += 1;
        if self.next_topic == self.topics.len() {
            self.next_topic = 0;
            self.round += 1;
        }
        message
    }

    /// Issues nothing more.
    pub(crate) fn stop(&mut self) {
        self.total = self.issued;
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.issued == self.total
    }

    /// The publishers of this queue, each with the number of messages it was given so far.
    pub(crate) fn sent(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        let place = |index| self.round + u64::from(index < self.next_topic);
        self.topics.iter().enumerate().map(move |(index, &topic)| (topic, place(index)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deals_messages_in_turn_and_shares_the_remainder() {
        let mut queue = Queue::new(vec![0, 2], 3, 8, (Rate::Max, Shape::Steady), 0);
        // 8 messages on 3 topics: 3, 3 and 2 of them.
        let mut taken = Vec::new();
        while queue.due(0) > 0 {
            taken.push(queue.take());
        }
        assert_eq!(taken, [(0, 0), (2, 0), (0, 1), (2, 1), (0, 2)]);
        assert!(queue.is_finished());
        assert_eq!(queue.sent().collect::<Vec<_>>(), [(0, 3), (2, 2)]);
    }

    #[test]
    fn keeps_its_share_of_the_rate() {
        let mut queue = Queue::new(vec![0], 2, u64::MAX, (Rate::PerSecond(1000.0), Shape::Steady), 0);
        // Half the topics, so one message every 2 ms, the first at once.
        assert_eq!(queue.due(0), 1);
        assert_eq!(queue.due(9_000_000), 5);
        for expected in 0..5 {
            assert_eq!(queue.intended_ns(77), expected * 2_000_000);
            assert_eq!(queue.take().1, u64::try_from(expected).unwrap());
        }
        assert_eq!(queue.due(9_000_000), 0);
        queue.stop();
        assert!(queue.is_finished());
    }
}
