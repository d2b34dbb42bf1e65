//! Which records of a spool have ended: delivered, or finally dropped. All below the base have; above it, some.

use std::collections::VecDeque;

use fairlead_spool::Sequence;

/// Records above the base whose end is remembered. Replay waits at this distance from the oldest that has not ended.
pub(super) const SPAN: u64 = 64 << 20;

/// The ends of one log's records.
#[derive(Debug)]
pub(super) struct Progress {
    /// The oldest record that has not ended.
    base: Sequence,
    /// A bit for each record from `base` rounded down to 64; at most [`SPAN`] of them.
    words: VecDeque<u64>,
}

impl Progress {
    /// Everything below `base` has ended.
    pub(super) fn new(base: Sequence) -> Progress {
        Progress { base, words: VecDeque::new() }
    }

    /// The oldest record that has not ended.
    pub(super) fn base(&self) -> Sequence {
        self.base
    }

    /// The record has ended. False if that was known.
    pub(super) fn end(&mut self, sequence: Sequence) -> bool {
        if self.has_ended(sequence) {
            return false;
        }
        let (word, bit) = self.place(sequence);
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= bit;
        if sequence == self.base {
            self.advance();
        }
        true
    }

    /// Whether the record has ended.
    pub(super) fn has_ended(&self, sequence: Sequence) -> bool {
        if sequence < self.base {
            return true;
        }
        let (word, bit) = self.place(sequence);
        self.words.get(word).is_some_and(|word| word & bit != 0)
    }

    fn place(&self, sequence: Sequence) -> (usize, u64) {
        ((sequence / 64 - self.base / 64) as usize, 1 << (sequence % 64))
    }

    fn advance(&mut self) {
        while let Some(&word) = self.words.front() {
            let ended = (word >> (self.base % 64)).trailing_ones();
            let left = 64 - (self.base % 64) as u32;
            self.base += u64::from(ended.min(left));
            if ended < left {
                return;
            }
            self.words.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn is_a_set_of_numbers_with_a_base(base in 1_u64..200, ends in prop::collection::vec(0_u64..300, 0..400)) {
            let (mut progress, mut model) = (Progress::new(base), BTreeSet::new());
            for end in ends.into_iter().map(|end| base + end) {
                prop_assert_eq!(progress.end(end), model.insert(end));
                let oldest = (base..).find(|sequence| !model.contains(sequence)).unwrap();
                prop_assert_eq!(progress.base(), oldest);
                prop_assert!((0..base + 400).all(|n| progress.has_ended(n) == (n < base || model.contains(&n))));
            }
        }
    }
}
