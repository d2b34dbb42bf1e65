//! Everything random of a run, from the campaign's seed and the run's number alone.

use std::{ops::Range, time::Duration};

use rand::{Rng, SeedableRng, rngs::SmallRng};

/// The dice of one run.
#[derive(Debug)]
pub(crate) struct Dice {
    random: SmallRng,
    /// Longest span that is thrown.
    longest: Duration,
}

impl Dice {
    /// `longest` cuts every span, for campaigns that have little time.
    pub(crate) fn new(seed: u64, run: u64, longest: Duration) -> Dice {
        // Neighbouring runs get seeds that are far apart (the multiplier is that of SplitMix64).
        let seed = seed.wrapping_add((run + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        Dice { random: SmallRng::seed_from_u64(seed), longest }
    }

    pub(crate) fn number(&mut self, range: Range<u64>) -> u64 {
        self.random.random_range(range)
    }

    /// A span of milliseconds.
    pub(crate) fn span(&mut self, milliseconds: Range<u64>) -> Duration {
        Duration::from_millis(self.number(milliseconds)).min(self.longest)
    }

    /// A span of milliseconds of which short ones are as likely as ten times longer ones.
    pub(crate) fn uneven_span(&mut self, milliseconds: Range<u64>) -> Duration {
        let (low, high) = ((milliseconds.start as f64).ln(), (milliseconds.end as f64).ln());
        let power: f64 = self.random.random_range(low..high);
        Duration::from_secs_f64(power.exp() / 1000.0).min(self.longest)
    }

    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.number(0..n) == 0
    }

    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.number(0..of.len() as u64) as usize]
    }
}
