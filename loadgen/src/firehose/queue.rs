//! The messages that one subscription queue still has to deliver, as arithmetic instead of memory.

use crate::clock::SECOND;

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
    /// Nanoseconds between two messages; 0 is as fast as possible.
    interval_ns: f64,
    started_ns: i64,
}

impl Queue {
    /// A queue that delivers its topics' share of `messages`, which are dealt to `all_topics` topics in turn, at its
    /// share of `rate` messages a second.
    #[expect(clippy::cast_precision_loss, reason = "topics are below 2^32; a pace need not be exact to the last bit")]
    pub(crate) fn new(topics: Vec<u32>, all_topics: u32, messages: u64, rate: Option<f64>, now: i64) -> Self {
        let each = messages / u64::from(all_topics);
        let one_more = messages % u64::from(all_topics);
        let extra = topics.iter().filter(|&&topic| u64::from(topic) < one_more).count();
        let total = each.saturating_mul(topics.len() as u64).saturating_add(extra as u64);
        let share = topics.len() as f64 / f64::from(all_topics);
        Self {
            topics,
            next_topic: 0,
            round: 0,
            issued: 0,
            total,
            interval_ns: rate.map_or(0.0, |rate| SECOND as f64 / (rate * share)),
            started_ns: now,
        }
    }

    /// How many messages may be sent at `now`.
    pub(crate) fn due(&self, now: i64) -> u64 {
        let left = self.total - self.issued;
        if self.interval_ns == 0.0 || left == 0 {
            return left;
        }
        if now < self.intended_ns(now) {
            return 0;
        }
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the quotient is a positive count far below 2^53"
        )]
        let by_now = ((now - self.started_ns) as f64 / self.interval_ns) as u64 + 1;
        by_now.saturating_sub(self.issued).min(left)
    }

    /// When the next message is meant to be sent; as fast as possible: now.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "nanoseconds of a run fit an f64 to the microsecond"
    )]
    pub(crate) fn intended_ns(&self, now: i64) -> i64 {
        if self.interval_ns == 0.0 {
            return now;
        }
        self.started_ns + (self.issued as f64 * self.interval_ns) as i64
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
        let mut queue = Queue::new(vec![0, 2], 3, 8, None, 0);
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
        let mut queue = Queue::new(vec![0], 2, u64::MAX, Some(1000.0), 0);
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
