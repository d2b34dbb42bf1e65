//! The latency histogram of a stage: HDR inside, a fixed set of buckets outside.

use hdrhistogram::Histogram;
use serde::Serialize;

/// Shortest and longest time that is told apart, microseconds.
const RANGE: (u64, u64) = (1, 60_000_000);
/// Significant digits; two keep a histogram at 20 KiB and a quantile within 1 %.
const DIGITS: u8 = 2;

/// Upper bounds of the exported buckets, microseconds; one more for everything above follows.
pub(super) const BUCKETS: [u64; 20] = [
    10, 25, 50, 100, 250, 500, 1_000, 2_000, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000, 30_000_000,
];

/// The times of one stage in one shard.
#[derive(Debug)]
pub(super) struct StageHistogram {
    histogram: Histogram<u64>,
    /// Exact sum, microseconds.
    sum: u64,
}

/// What the exporter needs of a histogram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Buckets {
    /// Messages of each bucket (not cumulative); the last is above all bounds.
    pub(super) counts: [u64; BUCKETS.len() + 1],
    /// Messages in all.
    pub(super) count: u64,
    /// Sum of their times, microseconds.
    pub(super) sum: u64,
}

/// Quantiles of a stage over all shards, microseconds (within 1 %).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Quantiles {
    /// Messages in all.
    pub count: u64,
    /// Median.
    pub p50_micros: u64,
    /// 99 %.
    pub p99_micros: u64,
    /// 99.9 %.
    pub p999_micros: u64,
    /// The longest.
    pub max_micros: u64,
}

impl StageHistogram {
    pub(super) fn new() -> StageHistogram {
        let histogram = Histogram::new_with_bounds(RANGE.0, RANGE.1, DIGITS)
            .expect("the bounds and the digits are constants that HDR takes");
        StageHistogram { histogram, sum: 0 }
    }

    pub(super) fn record(&mut self, micros: u64, n: u64) {
        let micros = micros.clamp(RANGE.0, RANGE.1);
        self.histogram.saturating_record_n(micros, n);
        self.sum = self.sum.saturating_add(micros.saturating_mul(n));
    }

    pub(super) fn merge_into(&self, other: &mut StageHistogram) {
        other.histogram.add(&self.histogram).expect("both have the same bounds");
        other.sum = other.sum.saturating_add(self.sum);
    }

    pub(super) fn buckets(&self) -> Buckets {
        let mut counts = [0; BUCKETS.len() + 1];
        for recorded in self.histogram.iter_recorded() {
            // The lowest of the values that HDR does not tell apart: a time that equals a bound stays below it.
            let micros = self.histogram.lowest_equivalent(recorded.value_iterated_to());
            counts[BUCKETS.partition_point(|bound| *bound < micros)] += recorded.count_at_value();
        }
        Buckets { counts, count: self.histogram.len(), sum: self.sum }
    }

    pub(super) fn quantiles(&self) -> Quantiles {
        Quantiles {
            count: self.histogram.len(),
            p50_micros: self.histogram.value_at_quantile(0.5),
            p99_micros: self.histogram.value_at_quantile(0.99),
            p999_micros: self.histogram.value_at_quantile(0.999),
            max_micros: self.histogram.max(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_falls_into_its_bucket_and_a_bound_belongs_to_the_bucket_it_closes() {
        let mut histogram = StageHistogram::new();
        for bound in BUCKETS {
            histogram.record(bound, 2);
        }
        let buckets = histogram.buckets();
        assert_eq!(buckets.counts[..BUCKETS.len()], [2; BUCKETS.len()]);
        assert_eq!(buckets.counts[BUCKETS.len()], 0);
        assert_eq!((buckets.count, buckets.sum), (40, 2 * BUCKETS.iter().sum::<u64>()));
    }

    #[test]
    fn times_out_of_range_count_as_the_bound() {
        let mut histogram = StageHistogram::new();
        histogram.record(0, 3);
        histogram.record(u64::MAX, 1);
        let buckets = histogram.buckets();
        assert_eq!((buckets.counts[0], buckets.counts[BUCKETS.len()], buckets.count), (3, 1, 4));
        assert_eq!(buckets.sum, 3 + 60_000_000);
    }

    #[test]
    fn quantiles_are_within_one_percent_and_merge() {
        let (mut one, mut all) = (StageHistogram::new(), StageHistogram::new());
        for micros in 1..=10_000 {
            one.record(micros, 1);
        }
        one.merge_into(&mut all);
        one.merge_into(&mut all);
        let quantiles = all.quantiles();
        assert_eq!(quantiles.count, 20_000);
        for (got, want) in
            [(quantiles.p50_micros, 5_000), (quantiles.p99_micros, 9_900), (quantiles.max_micros, 10_000)]
        {
            assert!(got.abs_diff(want) <= want / 100, "{got} for {want}");
        }
        assert_eq!(StageHistogram::new().quantiles(), Quantiles::default());
    }
}
