//! Latencies as an HDR histogram.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Longer latencies are counted as this one: an hour, in microseconds.
const LONGEST_US: u64 = 3_600_000_000;

/// Latencies in microseconds with three significant digits; 200 KiB at most, whatever is recorded.
#[derive(Debug, Clone)]
pub struct Latency {
    histogram: Histogram<u64>,
}

/// A summary in milliseconds, for people and for JSON.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Percentiles {
    /// How many values were recorded.
    pub count: u64,
    /// Median.
    pub p50_ms: f64,
    /// 90th percentile.
    pub p90_ms: f64,
    /// 99th percentile.
    pub p99_ms: f64,
    /// 99.9th percentile.
    pub p99_9_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

impl Latency {
    /// An empty histogram.
    pub fn new() -> Self {
        Self {
            histogram: Histogram::new_with_bounds(1, LONGEST_US, 3)
                .expect("the bounds are constants that the library accepts"),
        }
    }

    /// Records a span in nanoseconds. Negative spans (two clocks that disagree) count as the shortest.
    #[inline]
    pub fn record(&mut self, span_ns: i64) {
        let us = u64::try_from(span_ns / 1_000).unwrap_or(0);
        self.histogram.saturating_record(us.clamp(1, LONGEST_US));
    }

    /// The summary of what was recorded so far.
    #[expect(clippy::cast_precision_loss, reason = "microseconds of an hour fit an f64 exactly")]
    pub fn percentiles(&self) -> Percentiles {
        let ms = |us: u64| us as f64 / 1_000.0;
        let at = |quantile| ms(self.histogram.value_at_quantile(quantile));
        if self.histogram.is_empty() {
            return Percentiles::default();
        }
        Percentiles {
            count: self.histogram.len(),
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            p99_9_ms: at(0.999),
            max_ms: ms(self.histogram.max()),
        }
    }
}

impl Latency {
    /// The whole distribution: shares of the values, 0 to below 1, and the milliseconds that these do not exceed.
    #[expect(clippy::cast_precision_loss, reason = "microseconds of an hour fit an f64 exactly")]
    pub fn curve(&self) -> Vec<(f64, f64)> {
        /// Steps while the share beyond halves.
        const STEPS: u32 = 4;
        let steps = self.histogram.iter_quantiles(STEPS).filter(|step| step.quantile() < 1.0);
        steps.map(|step| (step.quantile(), step.value_iterated_to() as f64 / 1_000.0)).collect()
    }
}

impl Default for Latency {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_milliseconds() {
        let mut latency = Latency::new();
        for ms in 1..=100 {
            latency.record(ms * 1_000_000);
        }
        let summary = latency.percentiles();
        assert_eq!(summary.count, 100);
        assert!((summary.p50_ms - 50.0).abs() < 0.1, "{summary:?}");
        assert!((summary.p99_ms - 99.0).abs() < 0.1, "{summary:?}");
        assert!((summary.max_ms - 100.0).abs() < 0.1, "{summary:?}");
    }

    #[test]
    fn the_curve_rises_to_the_last_value() {
        let mut latency = Latency::new();
        (1..=10_000).for_each(|us| latency.record(us * 1_000));
        let curve = latency.curve();
        assert!((20..100).contains(&curve.len()), "{}", curve.len());
        assert!(curve.is_sorted_by(|a, b| a.0 <= b.0 && a.1 <= b.1), "{curve:?}");
        let last = curve.last().expect("points");
        assert!(last.0 > 0.999 && last.1 > 9.9, "{last:?}");
        assert_eq!(Latency::new().curve(), []);
    }

    #[test]
    fn odd_spans_are_kept_within_bounds() {
        let mut latency = Latency::new();
        latency.record(-5);
        latency.record(i64::MAX);
        assert_eq!(latency.percentiles().count, 2);
        assert_eq!(Latency::new().percentiles(), Percentiles::default());
    }
}
