//! When librdkafka is to be told again where Kafka is.

/// Seconds until the first time, and the longest wait for the next.
const PACE: (u32, u32) = (10, 600);

/// Whether a client that has had no answer for so many seconds is to be told the brokers of the configuration once more.
/// librdkafka forgets all brokers when Kafka's metadata names none, as it does while the only broker is fenced, and can
/// miss its own way back (<https://github.com/confluentinc/librdkafka/issues/5301>). It keeps each list that it is given, so
/// the waits double until they are ten minutes.
#[must_use]
pub fn is_reminder_due(seconds: u32) -> bool {
    let (first, longest) = PACE;
    let doubled = seconds.is_multiple_of(first) && (seconds / first).is_power_of_two();
    if seconds < longest { doubled } else { seconds.is_multiple_of(longest) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_waits_double_until_they_are_ten_minutes() {
        let due: Vec<u32> = (0..2000).filter(|seconds| is_reminder_due(*seconds)).collect();
        assert_eq!(due, [10, 20, 40, 80, 160, 320, 600, 1200, 1800]);
    }
}
