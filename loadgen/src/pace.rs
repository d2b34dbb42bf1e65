//! When message `n` of a run is meant to be sent.

use crate::clock::SECOND;
use std::time::Duration;

/// How fast messages are sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rate {
    /// As fast as the receiver takes them (closed loop).
    Max,
    /// So many a second in all (open loop): latency counts from the time at which a message was meant to be sent.
    PerSecond(f64),
    /// As the vessels of a fleet report.
    Real,
}

/// How a rate is spread over the time.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum Shape {
    /// Evenly.
    #[default]
    Steady,
    /// It rises from nothing to the rate over this time.
    Ramp(Duration),
    /// So many messages at once, and then a pause.
    Burst(u64),
    /// The rate for the first time, nothing for the second, and again.
    OnOff(Duration, Duration),
}

/// What is wrong with a rate or its shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PaceError {
    /// The rate is 0, negative or no number.
    #[error("the rate must be above 0; leave it out for as fast as possible")]
    Rate,
    /// A shape without a rate.
    #[error("a shape needs a rate in messages a second: --rate N")]
    NoRate,
    /// A part of the shape is empty.
    #[error("a ramp needs a time, a burst messages, and on-off a time to be on")]
    Empty,
    /// The messages have no times of their own.
    #[error("the real rate is that of a fleet: --fleet VESSELS")]
    Real,
}

/// A rate and its shape as arithmetic.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Pace {
    rate: Rate,
    /// Between two messages at the full rate.
    interval_ns: f64,
    shape: Shape,
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts and nanoseconds of a run are positive and fit an f64 to the microsecond"
)]
impl Pace {
    /// `share` of the rate: above 0, at most 1.
    pub(crate) fn new(rate: Rate, shape: Shape, share: f64) -> Self {
        let interval_ns = match rate {
            Rate::PerSecond(rate) => SECOND as f64 / (rate * share),
            Rate::Max | Rate::Real => 0.0,
        };
        Self { rate, interval_ns, shape }
    }

    /// Whether there is a time for a message at all.
    pub(crate) fn is_open_loop(&self) -> bool {
        self.rate != Rate::Max
    }

    /// When message `number` is meant to be sent, in nanoseconds from the start; none: as soon as it can be. `real_ns` is when its
    /// vessel reports.
    pub(crate) fn offset_ns(&self, number: u64, real_ns: i64) -> Option<i64> {
        match self.rate {
            Rate::Max => return None,
            Rate::Real => return Some(real_ns),
            Rate::PerSecond(_) => {}
        }
        let steady = number as f64 * self.interval_ns;
        let offset = match self.shape {
            Shape::Steady => steady,
            Shape::Ramp(over) => {
                let over = over.as_nanos() as f64;
                // Half of what the full rate would have sent meanwhile.
                if steady < over / 2.0 { (2.0 * over * steady).sqrt() } else { steady + over / 2.0 }
            }
            Shape::Burst(messages) => (number - number % messages) as f64 * self.interval_ns,
            Shape::OnOff(on, off) => steady + (steady / on.as_nanos() as f64).floor() * off.as_nanos() as f64,
        };
        Some(offset as i64)
    }

    /// How many messages are due at this time from the start, by [`Pace::offset_ns`] of a rate in messages a second.
    pub(crate) fn due(&self, elapsed_ns: i64) -> u64 {
        if self.interval_ns == 0.0 {
            return u64::MAX;
        }
        if elapsed_ns < 0 {
            return 0;
        }
        let elapsed = elapsed_ns as f64;
        let (active, group) = match self.shape {
            Shape::Steady => (elapsed, 1),
            Shape::Ramp(over) => {
                let over = over.as_nanos() as f64;
                (if elapsed < over { elapsed * elapsed / (2.0 * over) } else { elapsed - over / 2.0 }, 1)
            }
            Shape::Burst(messages) => (elapsed, messages),
            Shape::OnOff(on, off) => {
                let (on, cycle) = (on.as_nanos() as f64, (on + off).as_nanos() as f64);
                let cycles = (elapsed / cycle).floor();
                let active = cycles * on + (elapsed - cycles * cycle).min(on);
                // A message at the very end of an on-time belongs to the next one.
                (active - f64::from(elapsed - cycles * cycle >= on) * 1e-3, 1)
            }
        };
        let count = (active / self.interval_ns) as u64;
        count - count % group + group
    }
}

impl Rate {
    /// Whether the rate, and its shape, can be kept.
    ///
    /// # Errors
    /// [`PaceError`].
    pub fn check(self, shape: Shape, is_fleet: bool) -> Result<(), PaceError> {
        match self {
            Self::PerSecond(rate) if !rate.is_finite() || rate <= 0.0 => return Err(PaceError::Rate),
            Self::Real if !is_fleet => return Err(PaceError::Real),
            Self::Max | Self::Real if shape != Shape::Steady => return Err(PaceError::NoRate),
            _ => {}
        }
        match shape {
            Shape::Ramp(time) | Shape::OnOff(time, _) if time.is_zero() => Err(PaceError::Empty),
            Shape::Burst(0) => Err(PaceError::Empty),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn offsets(shape: Shape, count: u64) -> Vec<i64> {
        let pace = Pace::new(Rate::PerSecond(1_000.0), shape, 1.0);
        (0..count).map(|number| pace.offset_ns(number, 0).expect("a rate") / 1_000).collect()
    }

    #[test]
    fn shapes_are_what_their_names_say() {
        assert_eq!(offsets(Shape::Steady, 4), [0, 1_000, 2_000, 3_000]);
        assert_eq!(offsets(Shape::Burst(3), 7), [0, 0, 0, 3_000, 3_000, 3_000, 6_000]);
        assert_eq!(offsets(Shape::OnOff(MS(2), MS(10)), 5), [0, 1_000, 12_000, 13_000, 24_000]);
        // A second of ramp has half of the messages of a second.
        let ramp = offsets(Shape::Ramp(MS(1_000)), 700);
        assert_eq!(ramp[500] / 1_000, 1_000);
        assert_eq!(ramp[600] - ramp[599], 1_000);
        assert!(ramp[2] - ramp[1] > 10 * (ramp[400] - ramp[399]));
    }

    #[test]
    fn a_share_of_the_rate_is_a_share_of_the_messages() {
        let pace = Pace::new(Rate::PerSecond(1_000.0), Shape::Steady, 0.5);
        assert_eq!(pace.offset_ns(5, 0), Some(10_000_000));
        assert_eq!(pace.due(9_000_000), 5);
    }

    #[test]
    fn without_a_rate_there_is_no_time_and_a_fleet_has_its_own() {
        let pace = Pace::new(Rate::Max, Shape::Steady, 1.0);
        assert_eq!((pace.offset_ns(9, 7), pace.is_open_loop(), pace.due(0)), (None, false, u64::MAX));
        let pace = Pace::new(Rate::Real, Shape::Steady, 1.0);
        assert_eq!((pace.offset_ns(9, 7), pace.is_open_loop()), (Some(7), true));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (rate, shape, is_fleet, error) in [
            (Rate::PerSecond(0.0), Shape::Steady, true, PaceError::Rate),
            (Rate::PerSecond(f64::NAN), Shape::Steady, true, PaceError::Rate),
            (Rate::Max, Shape::Burst(2), true, PaceError::NoRate),
            (Rate::Real, Shape::Steady, false, PaceError::Real),
            (Rate::PerSecond(1.0), Shape::Burst(0), true, PaceError::Empty),
            (Rate::PerSecond(1.0), Shape::Ramp(MS(0)), true, PaceError::Empty),
            (Rate::PerSecond(1.0), Shape::OnOff(MS(0), MS(1)), true, PaceError::Empty),
        ] {
            assert_eq!(rate.check(shape, is_fleet), Err(error));
        }
        assert_eq!(Rate::PerSecond(1.0).check(Shape::OnOff(MS(1), MS(0)), false), Ok(()));
    }

    fn shape() -> impl Strategy<Value = Shape> {
        prop_oneof![
            Just(Shape::Steady),
            (1..5_000_u64).prop_map(|ms| Shape::Ramp(MS(ms))),
            (1..100_u64).prop_map(Shape::Burst),
            (1..500_u64, 0..500_u64).prop_map(|(on, off)| Shape::OnOff(MS(on), MS(off))),
        ]
    }

    proptest! {
        #[test]
        fn what_is_due_is_what_was_meant_to_be_sent(rate in 1.0..1e6_f64, shape in shape(), number in 0..100_000_u64) {
            let pace = Pace::new(Rate::PerSecond(rate), shape, 1.0);
            let offset = pace.offset_ns(number, 0).unwrap();
            prop_assert!(offset <= pace.offset_ns(number + 1, 0).unwrap());
            // A microsecond for what f64 rounds.
            prop_assert!(pace.due(offset + 1_000) > number, "{} at {offset}", pace.due(offset + 1_000));
            prop_assert!(pace.due(offset - 1_000) <= number + 1);
        }
    }
}
