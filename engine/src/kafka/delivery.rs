//! What librdkafka reports, and what an error of it means for one record.

use rdkafka::types::RDKafkaErrorCode as Code;

use crate::message::{DropReason, Record};

/// A record that comes back: confirmed, or not.
#[derive(Debug)]
pub struct Report {
    /// The record, owned again.
    pub record: Record,
    /// Its place among all records produced to its partition: rises with the order of production.
    pub order: u64,
    /// What happened to it.
    pub verdict: Verdict,
}

/// What librdkafka has to say besides reports.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// An error that librdkafka deals with itself: a broker is down, a request timed out.
    Error(String),
    /// No broker can be reached.
    AllBrokersDown,
    /// The producer is finished: [`Producer::purge`](super::Producer::purge) it, take all reports, make another.
    Fatal(String),
    /// A log line, with its syslog level.
    Log {
        /// Syslog level: 3 error, 4 warning, 6 information, 7 debug.
        level: i32,
        /// The line.
        line: String,
    },
}

/// What a delivery report, or a refusal at produce, says about one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Kafka has confirmed it with acks=all.
    Delivered,
    /// It can never be delivered.
    Final(DropReason),
    /// Kafka refused the batch it was in, and it may be the cause: final if it was sent alone.
    Suspect(DropReason),
    /// It was not delivered, and sending it again may help. Nothing else may overtake it.
    Hold(HoldReason),
}

/// Why a partition is on hold. Closed: each is a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HoldReason {
    /// The topic or partition does not exist (any more).
    UnknownTopic,
    /// The broker does not let us write.
    Unauthorized,
    /// The broker refuses the time of the record.
    Clock,
    /// The producer was purged after a fatal error.
    Purged,
    /// Anything else: no leader, not enough replicas, a storage error, …
    Unavailable,
}

impl HoldReason {
    /// The words for `/readyz` and logs.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            HoldReason::UnknownTopic => "the topic or partition does not exist; create it or set [kafka] create",
            HoldReason::Unauthorized => "the broker refuses the write; check the ACLs of this client",
            HoldReason::Clock => {
                "the broker refuses the records' time; set this machine's clock, or message.timestamp.before.max.ms and after.max.ms of the topic"
            }
            HoldReason::Purged => "the producer is being replaced after a fatal error",
            HoldReason::Unavailable => "the broker cannot take the write now",
        }
    }
}

/// The verdict of a delivery report's error code.
pub(super) fn verdict(code: Code) -> Verdict {
    match code {
        Code::NoError => Verdict::Delivered,
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge => Verdict::Suspect(DropReason::TooLarge),
        Code::InvalidRecord | Code::UnsupportedForMessageFormat => Verdict::Suspect(DropReason::InvalidRecord),
        // Ours, and not the message's: it is a matter of two clocks.
        Code::InvalidTimestamp => Verdict::Hold(HoldReason::Clock),
        Code::InvalidTopic => Verdict::Final(DropReason::IllegalTopic),
        Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition => {
            Verdict::Hold(HoldReason::UnknownTopic)
        }
        Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed => Verdict::Hold(HoldReason::Unauthorized),
        Code::PurgeQueue | Code::PurgeInflight | Code::Fatal => Verdict::Hold(HoldReason::Purged),
        _ => Verdict::Hold(HoldReason::Unavailable),
    }
}

/// The verdict of a refusal at produce, where each record is looked at alone.
pub(super) fn refusal(code: Code) -> Verdict {
    match verdict(code) {
        Verdict::Suspect(reason) => Verdict::Final(reason),
        verdict => verdict,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_never_be_delivered_is_final() {
        assert_eq!(verdict(Code::NoError), Verdict::Delivered);
        assert_eq!(verdict(Code::InvalidTopic), Verdict::Final(DropReason::IllegalTopic));
        assert_eq!(verdict(Code::MessageSizeTooLarge), Verdict::Suspect(DropReason::TooLarge));
        assert_eq!(refusal(Code::MessageSizeTooLarge), Verdict::Final(DropReason::TooLarge));
        for code in [
            Code::NotEnoughReplicas,
            Code::NotEnoughReplicasAfterAppend,
            Code::LeaderNotAvailable,
            Code::MessageTimedOut,
            Code::QueueFull,
            Code::UnknownTopicOrPartition,
            Code::TopicAuthorizationFailed,
            Code::InvalidTimestamp,
            Code::PurgeInflight,
        ] {
            assert!(matches!(verdict(code), Verdict::Hold(_)), "{code:?}");
            assert!(matches!(refusal(code), Verdict::Hold(_)), "{code:?}");
        }
    }
}
