//! What a broker can do wrong, each with the reason code that MQTT 5.0 gives it.

use thiserror::Error;

/// A protocol violation by the broker. It ends that connection and nothing else: on 5.0 with a DISCONNECT that
/// carries [`Violation::reason_code`], on 3.1.1 (which has no such packet for a server's fault) by closing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Violation {
    /// The Remaining Length, a property length or a subscription identifier has a fifth byte or, on 5.0, is not
    /// written in the fewest bytes (MQTT 5.0 §1.5.5).
    #[error("a variable byte integer is longer than four bytes or than it need be")]
    VariableByteInteger,
    /// The fields of a packet do not fit its Remaining Length.
    #[error("the fields of a packet of type {packet_type} do not fit its remaining length")]
    Length {
        /// Packet type, 1 to 15 (MQTT 5.0 §2.1.2).
        packet_type: u8,
    },
    /// The reserved bits of a fixed header are not what the standard says (MQTT 5.0 §2.1.3).
    #[error("the fixed header {first_byte:#04x} has reserved flags set")]
    Flags {
        /// First byte of the packet.
        first_byte: u8,
    },
    /// A PUBLISH with both QoS bits set (MQTT 5.0 §3.3.1.2).
    #[error("a PUBLISH of QoS 3")]
    Qos3,
    /// A PUBLISH of QoS 0 with the DUP flag (MQTT 5.0 §3.3.1.1).
    #[error("a PUBLISH of QoS 0 with the DUP flag")]
    DupAtMostOnce,
    /// A packet identifier of 0 where one is needed (MQTT 5.0 §2.2.1).
    #[error("packet identifier 0")]
    PacketId,
    /// Text that is not UTF-8 (MQTT 5.0 §1.5.4).
    #[error("text that is not UTF-8")]
    Utf8,
    /// U+0000 in text (MQTT 5.0 §1.5.4).
    #[error("text with U+0000 in it")]
    Nul,
    /// `+` or `#` in the topic of a PUBLISH (MQTT 5.0 §3.3.2.1).
    #[error("a wildcard in the topic of a PUBLISH")]
    Wildcard,
    /// An empty topic, and no topic alias that would stand for one.
    #[error("an empty topic without a topic alias")]
    EmptyTopic,
    /// A topic alias of 0 or above the maximum that was announced (MQTT 5.0 §3.3.2.3.4).
    #[error("topic alias {alias}, allowed are 1 to {maximum}")]
    TopicAlias {
        /// The alias.
        alias: u16,
        /// The announced Topic Alias Maximum.
        maximum: u16,
    },
    /// A topic alias that this connection has not defined yet.
    #[error("topic alias {alias}, which this connection has not defined")]
    UnknownAlias {
        /// The alias.
        alias: u16,
    },
    /// A property that may appear once appears twice (MQTT 5.0 §2.2.2.2).
    #[error("property {id:#04x} twice in one packet")]
    DuplicateProperty {
        /// Property identifier.
        id: u8,
    },
    /// A property that this packet type does not have (MQTT 5.0 §2.2.2.2).
    #[error("property {id:#04x} in a packet of type {packet_type}, which has no such property")]
    UnknownProperty {
        /// Property identifier.
        id: u8,
        /// Packet type, 1 to 15.
        packet_type: u8,
    },
    /// A value that its property does not allow.
    #[error("a value that property {id:#04x} does not allow")]
    PropertyValue {
        /// Property identifier.
        id: u8,
    },
    /// More user properties and subscription identifiers in one packet than are taken.
    #[error("more than {limit} user properties in one packet; set skip_oversized = true to drop such messages")]
    TooManyProperties {
        /// The limit.
        limit: usize,
    },
    /// A packet above `max_packet`.
    #[error(
        "a packet of {size} bytes, max_packet is {limit}; raise max_packet, or set skip_oversized = true to drop such messages"
    )]
    PacketTooLarge {
        /// Bytes of the whole packet.
        size: u32,
        /// `max_packet`.
        limit: u32,
    },
    /// A packet that a server never sends, or not at this point.
    #[error("an unexpected packet of type {packet_type}")]
    Unexpected {
        /// Packet type, 0 to 15.
        packet_type: u8,
    },
    /// More unacknowledged PUBLISH packets than the announced Receive Maximum (MQTT 5.0 §3.3.4).
    #[error("more than {limit} unacknowledged messages, which is the receive_maximum announced")]
    ReceiveMaximum {
        /// The announced Receive Maximum.
        limit: u16,
    },
    /// Session Present where there can be no session (MQTT 5.0 §3.2.2.1.1).
    #[error("session present after a clean start or together with a refusal")]
    SessionPresent,
    /// A SUBACK or UNSUBACK that answers nothing, or answers with another number of codes than filters.
    #[error("a SUBACK or UNSUBACK that does not match what was asked")]
    Unasked,
    /// A PUBREL for a message whose PUBREC has not been sent (MQTT 5.0 §4.3.3).
    #[error("a PUBREL before its PUBREC")]
    EarlyRelease,
    /// More PUBRELs than there are packet identifiers, before the first can be answered.
    #[error("more PUBRELs without an answer than there are packet identifiers")]
    Releases,
    /// Anything else that the codec refuses: an unknown reason code, a broken field.
    #[error("a malformed packet of type {packet_type}")]
    Malformed {
        /// Packet type, 1 to 15.
        packet_type: u8,
    },
}

impl Violation {
    /// The reason code of the DISCONNECT (MQTT 5.0 §3.14.2.1).
    #[must_use]
    pub fn reason_code(self) -> u8 {
        match self {
            Violation::VariableByteInteger
            | Violation::Length { .. }
            | Violation::Flags { .. }
            | Violation::Qos3
            | Violation::Utf8
            | Violation::Nul
            | Violation::UnknownProperty { .. }
            | Violation::Malformed { .. } => 0x81,
            Violation::DupAtMostOnce
            | Violation::PacketId
            | Violation::EmptyTopic
            | Violation::UnknownAlias { .. }
            | Violation::DuplicateProperty { .. }
            | Violation::PropertyValue { .. }
            | Violation::Unexpected { .. }
            | Violation::SessionPresent
            | Violation::Unasked
            | Violation::EarlyRelease
            | Violation::Releases => 0x82,
            Violation::Wildcard => 0x90,
            Violation::ReceiveMaximum { .. } => 0x93,
            Violation::TopicAlias { .. } => 0x94,
            Violation::PacketTooLarge { .. } | Violation::TooManyProperties { .. } => 0x95,
        }
    }

    /// Every label, in no particular order: the metric's closed set.
    pub const LABELS: [&'static str; 11] = [
        "length",
        "flags",
        "qos",
        "packet_id",
        "text",
        "topic",
        "alias",
        "property",
        "size",
        "unexpected",
        "receive_maximum",
    ];

    /// The label in metrics and logs; one of [`Violation::LABELS`].
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Violation::VariableByteInteger | Violation::Length { .. } | Violation::Malformed { .. } => "length",
            Violation::Flags { .. } => "flags",
            Violation::Qos3 | Violation::DupAtMostOnce => "qos",
            Violation::PacketId => "packet_id",
            Violation::Utf8 | Violation::Nul => "text",
            Violation::Wildcard | Violation::EmptyTopic => "topic",
            Violation::TopicAlias { .. } | Violation::UnknownAlias { .. } => "alias",
            Violation::DuplicateProperty { .. }
            | Violation::UnknownProperty { .. }
            | Violation::PropertyValue { .. } => "property",
            Violation::PacketTooLarge { .. } | Violation::TooManyProperties { .. } => "size",
            Violation::Unexpected { .. }
            | Violation::SessionPresent
            | Violation::Unasked
            | Violation::EarlyRelease
            | Violation::Releases => "unexpected",
            Violation::ReceiveMaximum { .. } => "receive_maximum",
        }
    }
}
