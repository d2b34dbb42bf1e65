//! A set of sequence numbers that were mostly seen in rising order: millions of them in a few bytes.

use serde::{Deserialize, Serialize};

/// A set of `u64`: all numbers below a bound, and ranges beyond it.
///
/// Memory is one range for each hole, so a stream without losses costs nothing but the bound.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u64, Vec<(u64, u64)>)", into = "(u64, Vec<(u64, u64)>)")]
pub struct Sequences {
    /// Every number below this one is in the set.
    contiguous: u64,
    /// Half-open ranges, sorted, not touching each other nor `contiguous`.
    beyond: Vec<(u64, u64)>,
}

impl Sequences {
    /// All numbers below `end`.
    pub fn below(end: u64) -> Self {
        Self { contiguous: end, beyond: Vec::new() }
    }

    /// Adds `number`; false if it was there already.
    #[inline]
    pub fn insert(&mut self, number: u64) -> bool {
        if number == self.contiguous && self.beyond.is_empty() {
            self.contiguous += 1;
            return true;
        }
        self.insert_apart(number)
    }

    fn insert_apart(&mut self, number: u64) -> bool {
        if number < self.contiguous {
            return false;
        }
        if number == self.contiguous {
            self.contiguous += 1;
            if self.beyond.first().is_some_and(|next| next.0 == self.contiguous) {
                self.contiguous = self.beyond.remove(0).1;
            }
            return true;
        }
        let place = self.beyond.partition_point(|range| range.1 < number);
        match self.beyond.get(place) {
            Some(&(start, end)) if start <= number && number < end => false,
            Some(&(_, end)) if number == end => {
                self.beyond[place].1 += 1;
                let joined = self.beyond[place].1;
                if self.beyond.get(place + 1).is_some_and(|next| next.0 == joined) {
                    self.beyond[place].1 = self.beyond.remove(place + 1).1;
                }
                true
            }
            Some(&(start, _)) if number + 1 == start => {
                self.beyond[place].0 = number;
                true
            }
            _ => {
                self.beyond.insert(place, (number, number + 1));
                true
            }
        }
    }

    /// The ranges of the set, half-open and rising.
    pub fn ranges(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let first = (self.contiguous > 0).then_some((0, self.contiguous));
        first.into_iter().chain(self.beyond.iter().copied())
    }

    /// How many numbers are in the set.
    pub fn len(&self) -> u64 {
        self.ranges().map(|(start, end)| end - start).sum()
    }

    /// Whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.contiguous == 0 && self.beyond.is_empty()
    }

    /// One more than the greatest number in the set; 0 if it is empty.
    pub fn end(&self) -> u64 {
        self.beyond.last().map_or(self.contiguous, |range| range.1)
    }

    /// The numbers of this set that are not in `other`, as half-open ranges.
    pub fn missing_in(&self, other: &Self) -> Vec<(u64, u64)> {
        let mut missing = Vec::new();
        let mut present = other.ranges().peekable();
        for (mut start, end) in self.ranges() {
            while start < end {
                while present.peek().is_some_and(|range| range.1 <= start) {
                    present.next();
                }
                match present.peek() {
                    Some(&(from, to)) if from <= start => start = to.min(end),
                    Some(&(from, _)) => {
                        missing.push((start, from.min(end)));
                        start = from.min(end);
                    }
                    None => {
                        missing.push((start, end));
                        start = end;
                    }
                }
            }
        }
        missing
    }
}

impl From<(u64, Vec<(u64, u64)>)> for Sequences {
    fn from((contiguous, beyond): (u64, Vec<(u64, u64)>)) -> Self {
        Self { contiguous, beyond }
    }
}

impl From<Sequences> for (u64, Vec<(u64, u64)>) {
    fn from(set: Sequences) -> Self {
        (set.contiguous, set.beyond)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn set_of(numbers: &[u64]) -> (Sequences, BTreeSet<u64>) {
        let (mut set, mut model) = (Sequences::default(), BTreeSet::new());
        for &number in numbers {
            assert_eq!(set.insert(number), model.insert(number), "{number} into {set:?}");
        }
        (set, model)
    }

    fn numbers(ranges: impl IntoIterator<Item = (u64, u64)>) -> Vec<u64> {
        ranges.into_iter().flat_map(|(start, end)| start..end).collect()
    }

    proptest! {
        #[test]
        fn behaves_like_a_plain_set(
            a in prop::collection::vec(0_u64..40, 0..80),
            b in prop::collection::vec(0_u64..40, 0..80),
        ) {
            let (set, model) = set_of(&a);
            prop_assert_eq!(numbers(set.ranges()), model.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(set.len(), model.len() as u64);
            prop_assert_eq!(set.is_empty(), model.is_empty());
            prop_assert_eq!(set.end(), model.last().map_or(0, |last| last + 1));
            for pair in set.ranges().collect::<Vec<_>>().windows(2) {
                prop_assert!(pair[0].1 < pair[1].0, "ranges touch: {:?}", set);
            }
            let (other, other_model) = set_of(&b);
            let expected: Vec<_> = model.difference(&other_model).copied().collect();
            prop_assert_eq!(numbers(set.missing_in(&other)), expected);
        }
    }

    #[test]
    fn a_stream_without_holes_is_one_number() {
        let mut set = Sequences::default();
        for number in 0..100_000 {
            assert!(set.insert(number));
        }
        assert_eq!(set, Sequences::below(100_000));
        assert_eq!(serde_json::to_string(&set).unwrap(), "[100000,[]]");
    }
}
