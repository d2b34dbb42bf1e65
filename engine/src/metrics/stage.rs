//! The histograms: HDR inside, a fixed set of buckets outside.

use hdrhistogram::Histogram;
use serde::Serialize;

/// Significant digits; two keep a histogram at 20 KiB and a quantile within 1 %.
const DIGITS: u8 = 2;

/// What a histogram tells apart.
#[derive(Debug, PartialEq, Eq)]
struct Scale {
    /// The least and the largest value.
    range: (u64, u64),
    /// Upper bounds of the exported buckets; one more for everything above follows.
    bounds: &'static [u64],
}

/// Times, microseconds.
static TIMES: Scale = Scale {
    range: (1, 60_000_000),
    bounds: &[
        10, 25, 50, 100, 250, 500, 1_000, 2_000, 5_000, 10_000, 50_000, 100_000, 1_000_000, 5_000_000, 30_000_000,
    ],
};

/// Sizes, bytes.
static SIZES: Scale =
    Scale { range: (1, 1 << 30), bounds: &[1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 16 << 20] };

/// The times of one stage, or sizes of one kind, in one shard.
#[derive(Debug)]
pub(super) struct StageHistogram {
    scale: &'static Scale,
    histogram: Histogram<u64>,
    /// Exact sum.
    sum: u64,
}

/// What the exporter needs of a histogram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Buckets {
    /// Upper bound of each bucket but the last, which is above all bounds.
    pub(super) bounds: &'static [u64],
    /// How many are in each bucket (not cumulative).
    pub(super) counts: Vec<u64>,
    /// How many in all.
    pub(super) count: u64,
    /// Their sum.
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
    /// A histogram of times.
    pub(super) fn times() -> StageHistogram {
        StageHistogram::new(&TIMES)
    }

    /// A histogram of sizes.
    pub(super) fn sizes() -> StageHistogram {
        StageHistogram::new(&SIZES)
    }

    fn new(scale: &'static Scale) -> StageHistogram {
        let histogram = Histogram::new_with_bounds(scale.range.0, scale.range.1, DIGITS)
            .expect("the bounds and the digits are constants that HDR takes");
        StageHistogram { scale, histogram, sum: 0 }
    }

    pub(super) fn record(&mut self, value: u64, n: u64) {
        let value = value.clamp(self.scale.range.0, self.scale.range.1);
        self.histogram.saturating_record_n(value, n);
        self.sum = self.sum.saturating_add(value.saturating_mul(n));
    }

    pub(super) fn merge_into(&self, other: &mut StageHistogram) {
        other.histogram.add(&self.histogram).expect("both have the same bounds");
        other.sum = other.sum.saturating_add(self.sum);
    }

    pub(super) fn buckets(&self) -> Buckets {
        let bounds = self.scale.bounds;
        let mut counts = vec![0; bounds.len() + 1];
        for recorded in self.histogram.iter_recorded() {
            // The lowest of the values that HDR does not tell apart: a value that equals a bound stays below it.
            let value = self.histogram.lowest_equivalent(recorded.value_iterated_to());
            counts[bounds.partition_point(|bound| *bound < value)] += recorded.count_at_value();
        }
        Buckets { bounds, counts, count: self.histogram.len(), sum: self.sum }
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
    fn a_value_falls_into_its_bucket_and_a_bound_belongs_to_the_bucket_it_closes() {
        for scale in [&TIMES, &SIZES] {
            let mut histogram = StageHistogram::new(scale);
            for bound in scale.bounds {
                histogram.record(*bound, 2);
            }
            let buckets = histogram.buckets();
            let (last, others) = buckets.counts.split_last().unwrap();
            assert_eq!((others, *last), (&vec![2; scale.bounds.len()][..], 0));
            assert_eq!(buckets.count, 2 * scale.bounds.len() as u64);
            assert_eq!(buckets.sum, 2 * scale.bounds.iter().sum::<u64>());
        }
    }

    #[test]
    fn times_out_of_range_count_as_the_bound() {
        let mut histogram = StageHistogram::times();
        histogram.record(0, 3);
        histogram.record(u64::MAX, 1);
        let buckets = histogram.buckets();
        assert_eq!((buckets.counts[0], *buckets.counts.last().unwrap(), buckets.count), (3, 1, 4));
        assert_eq!(buckets.sum, 3 + 60_000_000);
    }

    #[test]
    fn quantiles_are_within_one_percent_and_merge() {
        let (mut one, mut all) = (StageHistogram::times(), StageHistogram::times());
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
        assert_eq!(StageHistogram::times().quantiles(), Quantiles::default());
    }
}
