//! Medians, spreads and what a median can be trusted for.

/// How sure an interval of a median shall be.
const CONFIDENCE: f64 = 0.95;

/// The middle of the values and where they lie.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

/// An interval that holds the true median, and how surely.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Interval {
    pub(crate) from: f64,
    pub(crate) to: f64,
    pub(crate) confidence: f64,
}

impl Spread {
    /// None where there are no values.
    pub(crate) fn of(values: &[f64]) -> Option<Self> {
        let sorted = sorted(values);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median =
            if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) };
        Some(Self { median, min, max })
    }
}

impl Interval {
    /// Of sorted values the k-th from either end: whatever the distribution, the median lies outside as often as a
    /// coin shows heads fewer than k times (sign test). The narrowest with 95 %, or the widest there is.
    pub(crate) fn of_median(values: &[f64]) -> Option<Self> {
        let sorted = sorted(values);
        let count = sorted.len();
        if count == 0 {
            return None;
        }
        let mut rank = 1;
        while rank < count.div_ceil(2) && inside(count, rank + 1) >= CONFIDENCE {
            rank += 1;
        }
        Some(Self { from: sorted[rank - 1], to: sorted[count - rank], confidence: inside(count, rank) })
    }
}

/// How probable it is that the median lies between the `rank`-th values from either end.
#[expect(clippy::cast_precision_loss, reason = "few rounds")]
fn inside(count: usize, rank: usize) -> f64 {
    let mut term = 0.5_f64.powi(i32::try_from(count).unwrap_or(i32::MAX));
    let mut outside = 0.0;
    for heads in 0..rank {
        outside += term;
        term *= (count - heads) as f64 / (heads + 1) as f64;
    }
    (1.0 - 2.0 * outside).max(0.0)
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_and_spread() {
        assert_eq!(Spread::of(&[]), None);
        assert_eq!(Spread::of(&[3.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(Spread::of(&[4.0, 1.0]), Some(Spread { median: 2.5, min: 1.0, max: 4.0 }));
    }

    #[test]
    fn five_rounds_give_their_whole_range_and_94_percent() {
        let interval = Interval::of_median(&[5.0, 1.0, 4.0, 2.0, 3.0]).unwrap();
        assert_eq!((interval.from, interval.to), (1.0, 5.0));
        assert!((interval.confidence - 0.9375).abs() < 1e-9, "{interval:?}");
    }

    #[test]
    fn fifteen_rounds_give_the_fourth_from_either_end() {
        let values: Vec<f64> = (1..=15).map(f64::from).collect();
        let interval = Interval::of_median(&values).unwrap();
        assert_eq!((interval.from, interval.to), (4.0, 12.0));
        assert!(interval.confidence >= 0.95 && interval.confidence < 0.97, "{interval:?}");
    }

    #[test]
    fn one_value_says_nothing() {
        let interval = Interval::of_median(&[7.0]).unwrap();
        assert_eq!((interval.from, interval.to, interval.confidence), (7.0, 7.0, 0.0));
    }
}
