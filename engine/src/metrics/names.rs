//! The closed enums: what is counted, gauged and timed, with its name and help text.
//!
//! Names are in Prometheus style: the exporter puts `fairlead_` in front and `_total` behind a counter; units are
//! base units. Labels come from this file or from the configuration, never from a message.

use crate::message::DropReason;

/// Name, help and (for a member of a family) the `reason` label of one metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Described {
    /// The name without prefix and suffix.
    pub name: &'static str,
    /// The help text; the members of a family share that of the first.
    pub help: &'static str,
    /// The value of the label `reason`.
    pub reason: Option<&'static str>,
}

/// An enum whose variants index an array, each with name and help; the help is the variant's documentation.
macro_rules! closed {
    ($(#[$meta:meta])* $enum:ident { $($variant:ident = $name:literal $([$reason:literal])? : $help:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $enum { $(#[doc = $help] $variant,)+ }

        impl $enum {
            /// Every variant, in the order of the export; a family's members stand together.
            pub const ALL: &'static [$enum] = &[$($enum::$variant,)+];

            /// Name, help and label.
            #[must_use]
            pub fn describe(self) -> Described {
                match self {
                    $($enum::$variant => Described {
                        name: $name,
                        help: $help,
                        reason: closed!(@reason $($reason)?),
                    },)+
                }
            }
        }
    };
    (@reason) => { None };
    (@reason $reason:literal) => { Some($reason) };
}

closed! {
    /// What a shard counts.
    Counter {
        Turns = "turns": "Turns of the shard's executor.",
        MqttConnects = "mqtt_connects": "Connections that the broker accepted.",
        MqttReconnects = "mqtt_reconnects": "Connections opened again after one was lost or refused.",
        MqttConnackRefused = "mqtt_refusals" ["connack"]: "CONNECT or SUBSCRIBE refused by the broker.",
        MqttSubackRefused = "mqtt_refusals" ["suback"]: "SUBSCRIBE refused, or granted a lower QoS than asked.",
        MqttMalformed = "mqtt_violations" ["malformed"]: "Violations by the broker; each closes the connection.",
        MqttProtocolError = "mqtt_violations" ["protocol_error"]: "Packets that the protocol forbids at that point.",
        MqttTopicInvalid = "mqtt_violations" ["topic_invalid"]: "Topic names that the standard forbids.",
        MqttReceiveMaximum = "mqtt_violations" ["receive_maximum"]: "More unacknowledged PUBLISHes than allowed.",
        MqttTopicAlias = "mqtt_violations" ["topic_alias"]: "Topic aliases that are 0, too high or unknown.",
        MqttPacketTooLarge = "mqtt_violations" ["packet_too_large"]: "Packets larger than max_packet.",
        MqttKeepAliveTimeouts = "mqtt_keep_alive_timeouts": "Connections closed because no PINGRESP came in time.",
        MqttSessionLost = "mqtt_session_lost": "Reconnects at which the broker had lost the session.",
        MqttTakenOver = "mqtt_taken_over": "Connections lost to another client with the same client id.",
        MqttPings = "mqtt_pings": "PINGREQs written.",
        MqttReadBytes = "mqtt_read_bytes": "Bytes read from brokers.",
        MqttWrittenBytes = "mqtt_written_bytes": "Bytes written to brokers.",
        MqttPublishesQos0 = "mqtt_publishes_qos0": "PUBLISHes received at QoS 0.",
        MqttPublishesQos1 = "mqtt_publishes_qos1": "PUBLISHes received at QoS 1.",
        MqttPublishesQos2 = "mqtt_publishes_qos2": "PUBLISHes received at QoS 2.",
        MqttRetained = "mqtt_retained": "PUBLISHes received with the RETAIN flag.",
        MqttDupReceived = "mqtt_dup_received": "PUBLISHes received with the DUP flag.",
        MqttRedeliveredAttached = "mqtt_redelivered_attached":
            "Redelivered PUBLISHes attached to the message that was handed out before.",
        MqttPubacks = "mqtt_pubacks": "PUBACKs written.",
        MqttPubrecs = "mqtt_pubrecs": "PUBRECs written.",
        MqttPubcomps = "mqtt_pubcomps": "PUBCOMPs written.",
        MqttWindowFull = "mqtt_window_full": "Turns that filled a session's window.",
        MqttOutputFull = "mqtt_output_full": "Times a broker did not take what was written and reading stopped.",
        MqttReadPauses = "mqtt_read_pauses": "Times reading from a session was paused.",
        ReceiptsGone = "receipts_gone": "Receipts for a session generation that is gone.",
        RouteCacheMisses = "route_cache_misses": "Messages whose topic was looked up and not in the route cache.",
        RouteCacheFull = "route_cache_full": "Topics that displaced another from the full route cache.",
        MemoryFull = "memory_full": "Times a session's share of the memory budget was used up and reading stopped.",
        RingRecords = "ring_records": "Records sent to another shard.",
        RingReceipts = "ring_receipts": "Receipts sent to another shard.",
        RingFull = "ring_full": "Times a ring to another shard took no record.",
        LaneBatches = "lane_batches": "Batches handed to librdkafka.",
        LaneRecords = "lane_records": "Records handed to librdkafka.",
        LaneFull = "lane_full": "Times the lane took no record because its limit was reached.",
        SpoolSpills = "spool_spills": "Times the lane left the straight line for the spool.",
        SpoolAppended = "spool_appended_records": "Records synced in the spool.",
        SpoolGroups = "spool_groups": "Groups of records synced in the spool, one fdatasync each.",
        SpoolFailedSyncs = "spool_failed_syncs": "Groups that could not be synced and were written again elsewhere.",
        SpoolTornTails = "spool_torn_tails": "Ends of the spool that a crash had torn and that were cut at start.",
        SpoolCorrupt = "spool_corrupt_records": "Records of the spool that were durable and are damaged or gone.",
        SpoolQuarantined = "spool_quarantined_segments":
            "Damaged segments of the spool that were set aside since the start.",
        SpoolDrained = "spool_drained_records": "Records for which the spool answered and that have ended in Kafka.",
        SpoolFull = "spool_full": "Times the spool took no record because it or its disk was full.",
        KafkaErrors = "kafka_errors": "Delivery reports and client events with an error.",
        KafkaRetries = "kafka_retries": "Records handed to librdkafka again after an error that is not final.",
        KafkaProducerRecreated = "kafka_producer_recreated": "Producers replaced after a fatal error.",
        KafkaHolds = "kafka_holds": "Times a Kafka topic was put on hold.",
    }
}

closed! {
    /// What a shard shows as it stands.
    Gauge {
        MqttPausedSessions = "mqtt_paused_sessions": "Sessions that are not being read.",
        MqttWindow = "mqtt_window_messages": "PUBLISHes that are not acknowledged, all sessions of the shard.",
        MqttWindowLimit = "mqtt_window_limit_messages": "Sum of the sessions' receive maxima.",
        MqttOutput = "mqtt_output_bytes": "Bytes that are ready for brokers and that they have not taken.",
        MqttOutputLimit = "mqtt_output_limit_bytes": "Bytes not taken by brokers above which nothing more is read.",
        UnacknowledgedBytes = "unacknowledged_bytes": "Bytes of PUBLISHes that are not acknowledged.",
        Memory = "memory_used_bytes": "What unacknowledged PUBLISHes take, with the room to keep track of them.",
        MemoryLimit = "memory_limit_bytes": "The memory budget, shared out evenly to the sessions.",
        RouteCache = "route_cache_topics": "MQTT topics in the route cache.",
        RouteCacheLimit = "route_cache_limit_topics": "Most MQTT topics in the route cache.",
        Ring = "ring_outstanding_records": "Records sent to other shards whose receipt has not come.",
        RingLimit = "ring_outstanding_limit_records": "Most records sent to other shards without a receipt.",
        Lane = "lane_in_flight_records": "Records that the lane holds or librdkafka has not confirmed.",
        LaneLimit = "lane_in_flight_limit_records": "Most records in flight in the lane.",
        SpoolRecords = "spool_records": "Records in the spool that Kafka has not confirmed.",
        SpoolBytes = "spool_bytes": "Bytes of the segments that hold records.",
        SpoolLimit = "spool_limit_bytes": "Most bytes of the whole spool, all shards together.",
        SpoolSegments = "spool_segments": "Segments that hold records.",
        ParkedPartitions = "parked_partitions": "Partitions that take nothing while others do; their messages are parked in the spool.",
        ParkedRecords = "parked_records": "Records parked for such partitions that Kafka has not confirmed.",
        SpoolOldest = "spool_oldest_seconds": "Age of the oldest segment that holds a record Kafka has not confirmed; 0 without any.",
        SpoolState = "spool_state": "0 below 80 % of the limit, 1 above, 2 full, 3 nothing is taken any more.",
        DeadLetterRecords = "dead_letter_records": "Records in the spool's dead-letter log.",
        LaneMode = "lane_mode": "0 straight to Kafka, 1 to the spool, 2 to the spool while it drains.",
        Unconfirmed = "kafka_unconfirmed_seconds": "Age of the oldest batch that Kafka has not confirmed.",
        HeldTopics = "kafka_held_topics": "Kafka topics on hold.",
    }
}

/// A bounded place: what it holds, what it may hold, and how often it was full.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    /// The name in `/status`.
    pub name: &'static str,
    /// What it holds.
    pub used: Gauge,
    /// What it may hold.
    pub limit: Gauge,
    /// How often it was full.
    pub full: Counter,
}

/// Every bounded place of a shard.
pub const BOUNDS: &[Bound] = &[
    Bound {
        name: "mqtt_window",
        used: Gauge::MqttWindow,
        limit: Gauge::MqttWindowLimit,
        full: Counter::MqttWindowFull,
    },
    Bound {
        name: "mqtt_output",
        used: Gauge::MqttOutput,
        limit: Gauge::MqttOutputLimit,
        full: Counter::MqttOutputFull,
    },
    Bound { name: "memory", used: Gauge::Memory, limit: Gauge::MemoryLimit, full: Counter::MemoryFull },
    Bound {
        name: "route_cache",
        used: Gauge::RouteCache,
        limit: Gauge::RouteCacheLimit,
        full: Counter::RouteCacheFull,
    },
    Bound { name: "ring", used: Gauge::Ring, limit: Gauge::RingLimit, full: Counter::RingFull },
    Bound { name: "lane", used: Gauge::Lane, limit: Gauge::LaneLimit, full: Counter::LaneFull },
    Bound { name: "spool", used: Gauge::SpoolBytes, limit: Gauge::SpoolLimit, full: Counter::SpoolFull },
];

closed! {
    /// A stretch of the line that is timed.
    Stage {
        Decode = "decode_duration_seconds": "From the socket's read to the decoded PUBLISH.",
        Produce = "produce_duration_seconds": "From the decoded PUBLISH to the hand-over to librdkafka.",
        Confirm = "confirm_duration_seconds": "From the hand-over to librdkafka to Kafka's confirmation.",
        Acknowledge = "acknowledge_duration_seconds": "From Kafka's confirmation to the PUBACK on the socket.",
        SpoolSync = "spool_sync_duration_seconds": "Store and fdatasync of a group of records in the spool.",
    }
}

closed! {
    /// Something whose size is measured.
    Size {
        SpoolGroup = "spool_group_bytes": "Groups of records synced in the spool.",
    }
}

impl Stage {
    /// The name in `/status`.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Stage::Decode => "decode",
            Stage::Produce => "produce",
            Stage::Confirm => "confirm",
            Stage::Acknowledge => "acknowledge",
            Stage::SpoolSync => "spool_sync",
        }
    }
}

/// An entry of the ledger. `received + recovered` is what came in; the others are how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Entry {
    /// Read from a broker.
    Received,
    /// Found in the spool at start.
    Recovered,
    /// Confirmed by Kafka.
    Delivered,
    /// Written to the dead letters.
    DeadLettered,
    /// A second copy of a message, for another subscription: acknowledged and not produced.
    Suppressed,
    /// A spool answers for a message of this shard's sessions: an end only for this shard.
    Handed,
    /// This shard's spool answers for a message: an income only of this shard.
    Taken,
    /// Given up, with the reason.
    Dropped(DropReason),
}

impl Entry {
    /// Number of cells of one route: these entries and `pending`.
    pub(super) const CELLS: usize = 8 + DropReason::ALL.len();

    /// The cell of `pending`, which is set and not counted.
    pub(super) const PENDING: usize = Entry::CELLS - 1;

    /// The cell of this entry in its route's row.
    pub(super) fn cell(self) -> usize {
        match self {
            Entry::Received => 0,
            Entry::Recovered => 1,
            Entry::Delivered => 2,
            Entry::DeadLettered => 3,
            Entry::Suppressed => 4,
            Entry::Handed => 5,
            Entry::Taken => 6,
            Entry::Dropped(reason) => 7 + reason as usize,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, fs, path::Path};

    use super::*;

    fn described() -> Vec<Described> {
        let counters = Counter::ALL.iter().map(|counter| counter.describe());
        let gauges = Gauge::ALL.iter().map(|gauge| gauge.describe());
        counters
            .chain(gauges)
            .chain(Stage::ALL.iter().map(|stage| stage.describe()))
            .chain(Size::ALL.iter().map(|size| size.describe()))
            .collect()
    }

    #[test]
    fn names_are_in_prometheus_style_and_unique() {
        let mut seen = HashSet::new();
        for described in described() {
            let name = described.name;
            assert!(
                name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'),
                "{name}"
            );
            assert!(!name.starts_with("fairlead") && !name.ends_with("_total"), "{name}");
            assert!(!name.contains("_ms") && !name.contains("_kib"), "{name}: base units only");
            assert!(described.help.ends_with('.') && !described.help.contains('\n'), "{name}");
            assert!(seen.insert((name, described.reason)), "{name} twice");
        }
    }

    #[test]
    fn members_of_a_family_stand_together() {
        let names: Vec<&str> = described().iter().map(|described| described.name).collect();
        let mut blocks = names.clone();
        blocks.dedup();
        let families: HashSet<&str> = names.into_iter().collect();
        assert_eq!(blocks.len(), families.len());
    }

    #[test]
    fn every_limit_belongs_to_a_bound_and_every_bound_is_counted_when_full() {
        for gauge in Gauge::ALL.iter().filter(|gauge| gauge.describe().name.contains("_limit_")) {
            assert!(BOUNDS.iter().any(|bound| bound.limit == *gauge), "{gauge:?} without a bound");
        }
        for bound in BOUNDS {
            assert!(bound.full.describe().name.ends_with("_full"), "{}", bound.name);
            assert!(bound.used.describe().name.starts_with(bound.name), "{}", bound.name);
            assert!(bound.limit.describe().name.starts_with(bound.name), "{}", bound.name);
        }
    }

    /// The text of the modules that run the line, tests aside: what is measured is written there.
    fn writers() -> String {
        let mut folders: Vec<_> = ["shard", "lane", "ring"].map(|name| source().join(name)).into();
        let mut text = String::new();
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if !path.ends_with("tests.rs") {
                    let file = fs::read_to_string(&path).unwrap();
                    text += file.split("#[cfg(test)]").next().unwrap();
                }
            }
        }
        text
    }

    fn source() -> &'static Path {
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))
    }

    /// Whether `name` stands in `text` as a whole.
    fn names(text: &str, name: &str) -> bool {
        text.split(name).skip(1).any(|rest| !rest.starts_with(|next: char| next.is_alphanumeric() || next == '_'))
    }

    /// A number that is always 0 says that all is well, and knows nothing.
    #[test]
    fn whatever_is_declared_is_written() {
        let text = writers();
        let counters = Counter::ALL.iter().map(|counter| format!("Counter::{counter:?}"));
        let gauges = Gauge::ALL.iter().map(|gauge| format!("Gauge::{gauge:?}"));
        let stages = Stage::ALL.iter().map(|stage| format!("Stage::{stage:?}"));
        let sizes = Size::ALL.iter().map(|size| format!("Size::{size:?}"));
        // Turns are counted by the heartbeat.
        let unwritten: Vec<String> = counters
            .chain(gauges)
            .chain(stages)
            .chain(sizes)
            .filter(|name| name != "Counter::Turns" && !names(&text, name))
            .collect();
        assert_eq!(unwritten, Vec::<String>::new());
        assert!(text.contains(".heartbeat()"));
        assert!(names("a(Counter::Mq)", "Counter::Mq") && !names("a(Counter::MqX)", "Counter::Mq"));
    }

    #[test]
    fn entries_have_cells_of_their_own() {
        let plain = [
            Entry::Received,
            Entry::Recovered,
            Entry::Delivered,
            Entry::DeadLettered,
            Entry::Suppressed,
            Entry::Handed,
            Entry::Taken,
        ];
        let entries = plain.into_iter().chain(DropReason::ALL.map(Entry::Dropped));
        let cells: HashSet<usize> = entries.map(Entry::cell).chain([Entry::PENDING]).collect();
        assert_eq!(cells, (0..Entry::CELLS).collect());
    }
}
