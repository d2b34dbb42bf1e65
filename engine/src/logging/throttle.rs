//! The same line at most every ten seconds, with the count of those left out.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::line::Line;

/// Shortest time between two equal lines.
pub(super) const INTERVAL: Duration = Duration::from_secs(10);
/// Most lines remembered; a further one displaces that which was said longest ago.
pub(super) const CAPACITY: usize = 512;

/// A line that was said.
struct Said {
    /// Identity: a hash of callsite and rendered message.
    key: u64,
    at: Instant,
    repeats: u64,
    /// Kept from the first repeat on.
    line: Option<Line>,
}

/// What is to be written: a line, and how often it was left out before.
pub(super) type Saying = (Line, u64);

/// Remembers what was said, in the order of saying.
#[derive(Default)]
pub(super) struct Throttle {
    said: VecDeque<Said>,
}

impl Throttle {
    /// A line with identity `key` comes up. Returns what is to be written now: nothing, if the same was said within
    /// [`INTERVAL`]; else the line, and the count of a line that it displaced.
    pub(super) fn handle_line(&mut self, key: u64, line: Line, now: Instant) -> Vec<Saying> {
        let mut sayings = Vec::new();
        let mut repeats = 0;
        if let Some(position) = self.said.iter().position(|said| said.key == key) {
            let said = &mut self.said[position];
            if now.saturating_duration_since(said.at) < INTERVAL {
                said.repeats += 1;
                said.line.get_or_insert(line);
                return sayings;
            }
            repeats = said.repeats;
            self.said.remove(position);
        } else if self.said.len() == CAPACITY {
            sayings.extend(self.said.pop_front().and_then(Said::into_saying));
        }
        self.said.push_back(Said { key, at: now, repeats: 0, line: None });
        sayings.push((line, repeats));
        sayings
    }

    /// Forgets what was said [`INTERVAL`] ago, and returns the counts that are due: a line that was left out and does
    /// not come again must not stay unsaid.
    pub(super) fn handle_tick(&mut self, now: Instant) -> Vec<Saying> {
        let mut sayings = Vec::new();
        while self.said.front().is_some_and(|said| now.saturating_duration_since(said.at) >= INTERVAL) {
            let Some(said) = self.said.pop_front() else { break };
            let key = said.key;
            if let Some(saying) = said.into_saying() {
                sayings.push(saying);
                self.said.push_back(Said { key, at: now, repeats: 0, line: None });
            }
        }
        sayings
    }

    /// Forgets everything and returns all counts, for the end of the process.
    pub(super) fn drain(&mut self) -> Vec<Saying> {
        self.said.drain(..).filter_map(Said::into_saying).collect()
    }
}

impl Said {
    fn into_saying(self) -> Option<Saying> {
        self.line.map(|line| (line, self.repeats))
    }
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    fn line(text: &str) -> Line {
        Line::new(Level::INFO, text.to_owned())
    }

    fn bodies(sayings: Vec<Saying>) -> Vec<(String, u64)> {
        sayings.into_iter().map(|(line, repeats)| (line.body(), repeats)).collect()
    }

    fn at(start: Instant, millis: u64) -> Instant {
        start + Duration::from_millis(millis)
    }

    #[expect(clippy::disallowed_methods, reason = "a point to count from; it never moves")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn the_same_is_said_every_ten_seconds_with_its_count() {
        let (start, mut throttle) = (start(), Throttle::default());
        assert_eq!(bodies(throttle.handle_line(1, line("a"), start)), [("a".to_owned(), 0)]);
        for millis in [1, 5_000, 9_999] {
            assert!(throttle.handle_line(1, line("a"), at(start, millis)).is_empty());
        }
        assert_eq!(bodies(throttle.handle_line(2, line("b"), at(start, 9_999))), [("b".to_owned(), 0)]);
        assert_eq!(bodies(throttle.handle_line(1, line("a"), at(start, 10_000))), [("a".to_owned(), 3)]);
        assert!(throttle.handle_line(1, line("a"), at(start, 19_999)).is_empty());
        assert_eq!(bodies(throttle.handle_line(1, line("a"), at(start, 20_000))), [("a".to_owned(), 1)]);
    }

    #[test]
    fn a_count_is_said_even_if_the_line_does_not_come_again() {
        let (start, mut throttle) = (start(), Throttle::default());
        throttle.handle_line(1, line("a"), start);
        throttle.handle_line(1, line("a"), at(start, 1));
        throttle.handle_line(2, line("b"), at(start, 2));
        assert!(throttle.handle_tick(at(start, 9_999)).is_empty());
        assert_eq!(bodies(throttle.handle_tick(at(start, 10_002))), [("a".to_owned(), 1)]);
        // The count was a line too, so the next comes ten seconds after it.
        assert!(throttle.handle_line(1, line("a"), at(start, 20_001)).is_empty());
        assert_eq!(bodies(throttle.handle_tick(at(start, 20_002))), [("a".to_owned(), 1)]);
        assert!(throttle.handle_tick(at(start, 60_000)).is_empty());
        assert!(throttle.said.is_empty(), "what is old and counted is forgotten");
    }

    #[test]
    fn the_table_is_bounded_and_a_displaced_count_is_not_lost() {
        let (start, mut throttle) = (start(), Throttle::default());
        throttle.handle_line(0, line("first"), start);
        throttle.handle_line(0, line("first"), start);
        for key in 1..CAPACITY as u64 {
            assert_eq!(throttle.handle_line(key, line("other"), start).len(), 1);
        }
        let sayings = bodies(throttle.handle_line(CAPACITY as u64, line("last"), start));
        assert_eq!(sayings, [("first".to_owned(), 1), ("last".to_owned(), 0)]);
        assert_eq!(throttle.said.len(), CAPACITY);
    }

    #[test]
    fn drain_says_every_count() {
        let (start, mut throttle) = (start(), Throttle::default());
        for key in [1, 2, 1, 1] {
            throttle.handle_line(key, line("x"), start);
        }
        assert_eq!(bodies(throttle.drain()), [("x".to_owned(), 2)]);
        assert!(throttle.drain().is_empty());
    }
}
