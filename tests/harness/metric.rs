//! Names of the metrics that tests look at.

/// Messages read from brokers, by route.
pub const RECEIVED: &str = "fairlead_received_messages_total";
/// Messages found in the spool at start, by route.
pub const RECOVERED: &str = "fairlead_recovered_messages_total";
/// Messages that Kafka confirmed, by route.
pub const DELIVERED: &str = "fairlead_delivered_messages_total";
/// Messages written to the dead letters, by route.
pub const DEAD_LETTERED: &str = "fairlead_dead_lettered_messages_total";
/// Messages given up, by route and reason.
pub const DROPPED: &str = "fairlead_dropped_messages_total";
/// Second copies of a message, by route.
pub const SUPPRESSED: &str = "fairlead_suppressed_messages_total";
/// Messages on their way, by route.
pub const PENDING: &str = "fairlead_pending_messages";
/// Records in the spool that Kafka has not confirmed, by shard.
pub const SPOOL_RECORDS: &str = "fairlead_spool_records";
/// Records in the parked logs, by shard.
pub const PARKED_RECORDS: &str = "fairlead_parked_records";
/// What a spool's log can do, by shard.
pub const SPOOL_STATE: &str = "fairlead_spool_state";
/// PUBLISHes that are not acknowledged.
pub const WINDOW: &str = "fairlead_mqtt_window_messages";
/// 1 where a scrape of the ledger may be in the middle of a turn.
pub const APPROXIMATE: &str = "fairlead_ledger_approximate";
/// 1 where the ledger balances.
pub const BALANCED: &str = "fairlead_ledger_balanced";
/// Times a broker did not take what was written to it.
pub const OUTPUT_FULL: &str = "fairlead_mqtt_output_full_total";
/// Connections opened again.
pub const RECONNECTS: &str = "fairlead_mqtt_reconnects_total";
/// Reconnects at which the broker had lost the session.
pub const SESSION_LOST: &str = "fairlead_mqtt_session_lost_total";
/// Violations by the broker, by reason.
pub const VIOLATIONS: &str = "fairlead_mqtt_violations_total";
/// 1 for each session that has everything subscribed.
pub const SUBSCRIBED: &str = "fairlead_mqtt_session_subscribed";
/// PUBLISHes received with the DUP flag.
pub const DUP: &str = "fairlead_mqtt_dup_received_total";
/// What the broker of a source says it dropped.
pub const BROKER_DROPPED: &str = "fairlead_mqtt_broker_dropped";
