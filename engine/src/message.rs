//! What travels along the line: a [`Publish`] on the MQTT side, a [`Record`] on the Kafka side, and the
//! [`Receipt`] that goes back so that the session can acknowledge.

use crate::mqtt::{Payload, Text};

/// Number of bits of a [`Ticket`] that hold the shard.
const SHARD_BITS: u32 = 8;
/// Number of bits of a [`Ticket`] that hold the session's slot in its shard.
const SLOT_BITS: u32 = 12;
/// Number of bits of a [`Ticket`] that hold the session's generation.
const GENERATION_BITS: u32 = 12;
/// Number of bits of a [`Ticket`] that hold the position in the session's window.
const POSITION_BITS: u32 = 32;
const _: () = assert!(SHARD_BITS + SLOT_BITS + GENERATION_BITS + POSITION_BITS == 64);

/// The shard of a ticket that names a record of the spool instead of a session's message.
const SPOOL: usize = (1 << SHARD_BITS) - 1;
/// Most shards of one process: what a [`Ticket`] can name.
pub const MAX_SHARDS: usize = SPOOL;
/// Most sessions of one shard: what a [`Ticket`] can name.
pub const MAX_SLOTS: usize = 1 << SLOT_BITS;

/// Which log of its lane's shard a record lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogName {
    /// The shard's spool.
    Spool,
    /// Its log of parked partitions.
    Parked,
    /// A log of an earlier process that had another number of shards.
    Older,
}

/// Number of bits of a [`Ticket`] that say in which log a record lies.
const LOG_BITS: u32 = 2;
/// Number of bits of a [`Ticket`] that hold the sequence number there.
const SEQUENCE_BITS: u32 = 64 - SHARD_BITS - LOG_BITS;

/// Which PUBLISH a record came from: shard, session slot, session generation and position in the session's
/// window, so that nothing has to be looked up when its receipt comes back. A record that lies in a log carries its
/// sequence number there instead: the receipt for its session leaves when it is synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(u64);

impl Ticket {
    /// A ticket of its four parts. `generation` and `position` wrap within their bits.
    #[must_use]
    pub fn new(shard: usize, slot: usize, generation: u16, position: u32) -> Ticket {
        debug_assert!(shard < MAX_SHARDS && slot < MAX_SLOTS);
        let generation = u64::from(generation) & ((1 << GENERATION_BITS) - 1);
        Ticket(
            (shard as u64) << (64 - SHARD_BITS)
                | (slot as u64) << (GENERATION_BITS + POSITION_BITS)
                | generation << POSITION_BITS
                | u64::from(position),
        )
    }

    /// The shard that owns the session.
    #[must_use]
    pub fn shard(self) -> usize {
        (self.0 >> (64 - SHARD_BITS)) as usize
    }

    /// The session's slot in its shard.
    #[must_use]
    pub fn slot(self) -> usize {
        (self.0 >> (GENERATION_BITS + POSITION_BITS)) as usize & (MAX_SLOTS - 1)
    }

    /// The session's generation, which changes when its window is given up.
    #[must_use]
    pub fn generation(self) -> u16 {
        (self.0 >> POSITION_BITS) as u16 & ((1 << GENERATION_BITS) - 1)
    }

    /// The position in the session's window; it wraps at 2³².
    #[must_use]
    pub fn position(self) -> u32 {
        self.0 as u32
    }

    /// The ticket of a record that lies in a log of its lane's shard.
    #[must_use]
    pub fn stored(log: LogName, sequence: u64) -> Ticket {
        debug_assert!(sequence >> SEQUENCE_BITS == 0);
        Ticket((SPOOL as u64) << (64 - SHARD_BITS) | (log as u64) << SEQUENCE_BITS | sequence)
    }

    /// The sequence number in that log, for a record that lies there.
    #[must_use]
    pub fn sequence(self, log: LogName) -> Option<u64> {
        let tag = (SPOOL as u64) << LOG_BITS | log as u64;
        (self.0 >> SEQUENCE_BITS == tag).then_some(self.0 & ((1 << SEQUENCE_BITS) - 1))
    }

    /// Whether a lane whose log is `log` would read the record again: it lies there, or where only that lane reads.
    #[must_use]
    pub fn is_read_by(self, log: LogName) -> bool {
        self.sequence(log).is_some() || (log == LogName::Spool && self.sequence(LogName::Older).is_some())
    }

    /// Whether the record lies in a log: its session has its receipt, or gets it when the log is synced.
    #[must_use]
    pub fn is_stored(self) -> bool {
        self.shard() == SPOOL
    }
}

/// Quality of service (MQTT 5.0 §4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Qos {
    /// At most once.
    AtMostOnce = 0,
    /// At least once.
    AtLeastOnce = 1,
    /// Exactly once.
    ExactlyOnce = 2,
}

/// An application message as the broker sent it (MQTT 5.0 §3.3), topic alias already resolved.
#[derive(Clone, Debug)]
pub struct Publish {
    /// The MQTT topic.
    pub topic: Text,
    /// The payload; it shares the read buffer.
    pub payload: Payload,
    /// Packet identifier; 0 at QoS 0.
    pub packet_id: u16,
    /// Quality of service of this delivery.
    pub qos: Qos,
    /// The RETAIN flag.
    pub retain: bool,
    /// The DUP flag.
    pub dup: bool,
    /// Bytes of the whole packet on the wire.
    pub wire: u32,
    /// MQTT 5.0 properties; absent on 3.1.1 and where the packet carries none.
    pub properties: Option<Box<Properties>>,
}

/// Properties of a PUBLISH that matter beyond the session (MQTT 5.0 §3.3.2.3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties {
    /// User properties, in order.
    pub user: Vec<(Text, Text)>,
    /// Content type.
    pub content_type: Option<Text>,
    /// Response topic.
    pub response_topic: Option<Text>,
    /// Correlation data.
    pub correlation_data: Option<Payload>,
    /// Identifiers of the subscriptions that this copy was sent for.
    pub subscription_ids: Vec<u32>,
}

/// Index of a Kafka topic in [`crate::kafka::Topics`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicId(pub u16);

impl TopicId {
    /// A record for a Kafka topic of an illegal name. It never gets into a lane.
    pub const NONE: TopicId = TopicId(u16::MAX);
}

/// The partition of a record whose Kafka topic was not found yet, because Kafka is away: it goes to the spool, and gets
/// its partition when it is replayed.
pub const UNPLACED: u32 = u32::MAX;

/// Index of a route in the configuration; the last index, [`RouteId::NONE`], stands for messages of no route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteId(pub u16);

impl RouteId {
    /// A message that no route matches.
    pub const NONE: RouteId = RouteId(u16::MAX);
}

/// Record headers: names and values, in order.
pub type Headers = Vec<(Text, Payload)>;

/// What only some records have; the others cost nothing for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extra {
    /// Headers.
    pub headers: Headers,
    /// When the message was received, in milliseconds since 1970; `None` is now.
    pub time: Option<u64>,
    /// Why it is a dead letter, if it is one: it goes to the dead-letter topic, and its last headers say the rest.
    pub dead: Option<DropReason>,
}

/// A Kafka record on its way to the lane of its partition. Small, because rings move it by value.
#[derive(Clone, Debug)]
pub struct Record {
    /// Where the receipt goes.
    pub ticket: Ticket,
    /// The Kafka topic.
    pub topic: TopicId,
    /// The route, for the ledger.
    pub route: RouteId,
    /// The partition of `topic`, or [`UNPLACED`].
    pub partition: u32,
    /// The key; `None` is no key.
    pub key: Option<Payload>,
    /// The value; `None` is a tombstone.
    pub value: Option<Payload>,
    /// The MQTT topic; `None` where it is the key.
    pub mqtt_topic: Option<Text>,
    /// Headers and time; `None` is no headers, now.
    pub extra: Option<Box<Extra>>,
}

impl Record {
    /// The MQTT topic that the message was published to.
    #[must_use]
    pub fn mqtt_topic(&self) -> &[u8] {
        self.mqtt_topic.as_ref().map(Text::as_slice).or(self.key.as_deref()).unwrap_or_default()
    }

    /// What decides on its partition: the key, or the MQTT topic.
    #[must_use]
    pub fn hashed(&self) -> &[u8] {
        self.key.as_deref().unwrap_or(self.mqtt_topic())
    }

    /// The headers.
    #[must_use]
    pub fn headers(&self) -> &[(Text, Payload)] {
        self.extra.as_ref().map_or(&[], |extra| &extra.headers)
    }

    /// Why it is a dead letter, if it is one.
    #[must_use]
    pub fn dead(&self) -> Option<DropReason> {
        self.extra.as_ref().and_then(|extra| extra.dead)
    }
}

/// Why a record was dropped instead of delivered. Closed: each is a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DropReason {
    /// No route matches the topic.
    NoRoute,
    /// The rendered Kafka topic is not a legal name.
    IllegalTopic,
    /// Kafka takes no record of this size.
    TooLarge,
    /// Kafka says that the record itself is invalid.
    InvalidRecord,
    /// The route says `empty = "skip"` and the payload is empty.
    Empty,
    /// The packet exceeds `max_packet` and `skip_oversized` is set.
    Oversized,
    /// Acknowledged under `ack = "memory"` and still pending at exit.
    Shutdown,
    /// It was synced in the spool and cannot be read any more.
    Corrupt,
    /// Its partition took nothing for longer than `[kafka] hold_for`.
    Held,
    /// At QoS 0, while Kafka was away and `[spool] qos0` says so.
    Qos0,
}

impl DropReason {
    /// Every reason, in the order of the metric.
    pub const ALL: [DropReason; 10] = [
        DropReason::NoRoute,
        DropReason::IllegalTopic,
        DropReason::TooLarge,
        DropReason::InvalidRecord,
        DropReason::Empty,
        DropReason::Oversized,
        DropReason::Shutdown,
        DropReason::Corrupt,
        DropReason::Held,
        DropReason::Qos0,
    ];

    /// The label in metrics and logs.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            DropReason::NoRoute => "no_route",
            DropReason::IllegalTopic => "illegal_topic",
            DropReason::TooLarge => "too_large",
            DropReason::InvalidRecord => "invalid_record",
            DropReason::Empty => "empty",
            DropReason::Oversized => "oversized",
            DropReason::Shutdown => "shutdown",
            DropReason::Held => "held",
            DropReason::Corrupt => "corrupt",
            DropReason::Qos0 => "qos0",
        }
    }

    /// The reason of that label.
    #[must_use]
    pub fn of_label(label: &str) -> Option<DropReason> {
        DropReason::ALL.into_iter().find(|reason| reason.label() == label)
    }

    /// What is wrong with the record, for people.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            DropReason::NoRoute => "no route takes it",
            DropReason::IllegalTopic => "its Kafka topic has an illegal name",
            DropReason::TooLarge => "Kafka takes no record of this size",
            DropReason::InvalidRecord => "Kafka calls the record invalid",
            DropReason::Empty => "the payload is empty",
            DropReason::Oversized => "the packet is larger than max_packet",
            DropReason::Shutdown => "it was pending at the end of the process",
            DropReason::Held => "its partition took nothing for longer than [kafka] hold_for",
            DropReason::Corrupt => "it cannot be read any more",
            DropReason::Qos0 => "Kafka was away, and QoS 0 does not wait",
        }
    }
}

/// How a record ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Kafka confirmed it with acks=all.
    Delivered,
    /// It is synced in the spool, which answers for it from now on.
    Spooled,
    /// It can never be delivered, and is safe in the dead-letter topic, or synced in the dead-letter log.
    DeadLettered(DropReason),
    /// It can never be delivered; counted with the reason, and acknowledged so that the broker forgets it.
    Dropped(DropReason),
}

/// The word that a record is safe (or finally dropped), sent back to the session that read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The ticket of the record.
    pub ticket: Ticket,
    /// The route of the record, for the ledger.
    pub route: RouteId,
    /// How it ended.
    pub outcome: Outcome,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticket_keeps_its_parts() {
        let ticket = Ticket::new(254, 4095, 4095, u32::MAX);
        assert_eq!(
            (ticket.shard(), ticket.slot(), ticket.generation(), ticket.position()),
            (254, 4095, 4095, u32::MAX)
        );
        let ticket = Ticket::new(1, 2, 3, 4);
        assert_eq!((ticket.shard(), ticket.slot(), ticket.generation(), ticket.position()), (1, 2, 3, 4));
        assert!(
            !ticket.is_stored()
                && ticket.sequence(LogName::Spool).is_none()
                && ticket.sequence(LogName::Parked).is_none()
        );
        for (log, other) in [(LogName::Spool, LogName::Parked), (LogName::Parked, LogName::Spool)] {
            let stored = Ticket::stored(log, (1 << 54) - 1);
            assert_eq!((stored.sequence(log), stored.sequence(other)), (Some((1 << 54) - 1), None));
            assert!(stored.is_stored());
        }
    }

    #[test]
    fn receipt_is_two_words() {
        assert!(size_of::<Receipt>() <= 16);
        assert!(size_of::<Record>() <= 96);
    }
}
