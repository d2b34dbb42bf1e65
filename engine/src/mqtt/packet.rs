//! Packets as the session sees them, the same for both versions of MQTT.

use super::{codec::Text, frame::Protocol};
use crate::{
    message::{Publish, Qos},
    settings::Secret,
};

/// Packet types (MQTT 5.0 §2.1.2).
pub(super) mod kind {
    pub(in crate::mqtt) const CONNACK: u8 = 2;
    pub(in crate::mqtt) const PUBLISH: u8 = 3;
    pub(in crate::mqtt) const PUBREL: u8 = 6;
    pub(in crate::mqtt) const SUBACK: u8 = 9;
    pub(in crate::mqtt) const UNSUBACK: u8 = 11;
    pub(in crate::mqtt) const PINGRESP: u8 = 13;
    pub(in crate::mqtt) const DISCONNECT: u8 = 14;
}

/// A packet that a server sends.
#[derive(Clone, Debug)]
pub enum Packet {
    /// CONNACK.
    ConnAck(Box<ConnAck>),
    /// PUBLISH, as it came: the topic may still be empty where `alias` stands for it.
    Publish {
        /// The message.
        publish: Publish,
        /// Topic Alias; 0 is none.
        alias: u16,
    },
    /// A PUBLISH that was skipped because it exceeds a limit; its payload was never held.
    Skipped(Skipped),
    /// PUBREL.
    PubRel {
        /// Packet identifier.
        packet_id: u16,
    },
    /// SUBACK.
    SubAck {
        /// Packet identifier.
        packet_id: u16,
        /// One code for each filter: the QoS granted, or 0x80 and above.
        codes: Vec<u8>,
    },
    /// UNSUBACK.
    UnsubAck {
        /// Packet identifier.
        packet_id: u16,
    },
    /// PINGRESP.
    PingResp,
    /// DISCONNECT, which only a 5.0 server sends.
    Disconnect {
        /// Reason code.
        reason: u8,
        /// Reason String.
        text: Option<Text>,
        /// Server Reference.
        server: Option<Text>,
    },
}

impl Packet {
    /// Packet type, 1 to 15 (MQTT 5.0 §2.1.2).
    #[must_use]
    pub fn packet_type(&self) -> u8 {
        match self {
            Packet::ConnAck(_) => kind::CONNACK,
            Packet::Publish { .. } | Packet::Skipped(_) => kind::PUBLISH,
            Packet::PubRel { .. } => kind::PUBREL,
            Packet::SubAck { .. } => kind::SUBACK,
            Packet::UnsubAck { .. } => kind::UNSUBACK,
            Packet::PingResp => kind::PINGRESP,
            Packet::Disconnect { .. } => kind::DISCONNECT,
        }
    }
}

/// What is known of a PUBLISH that was skipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Quality of service.
    pub qos: Qos,
    /// The DUP flag.
    pub dup: bool,
    /// Packet identifier; 0 at QoS 0.
    pub packet_id: u16,
    /// Bytes of the whole packet.
    pub wire: u32,
    /// Topic Alias; 0 is none.
    pub alias: u16,
    /// The topic, where `alias` defines one; empty otherwise. It owns its bytes.
    pub topic: Text,
}

/// CONNACK, with what MQTT 5.0 §3.2.2.3 lets the server say; on 3.1.1 the defaults of the standard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnAck {
    /// Session Present.
    pub session_present: bool,
    /// Reason code of 5.0; a return code of 3.1.1 is translated. 0 is accepted.
    pub reason: u8,
    /// Reason String.
    pub text: Option<Text>,
    /// Server Reference.
    pub server: Option<Text>,
    /// Server Keep Alive, seconds.
    pub keep_alive: Option<u16>,
    /// Maximum Packet Size of the server, bytes.
    pub max_packet: Option<u32>,
    /// Subscription Identifiers Available.
    pub subscription_ids: bool,
    /// Shared Subscription Available.
    pub shared: bool,
}

/// CONNECT, without what only one version has.
#[derive(Clone, Debug)]
pub(super) struct Connect<'a> {
    /// Client identifier.
    pub(super) client_id: &'a str,
    /// Clean Start, or Clean Session.
    pub(super) clean: bool,
    /// Keep Alive, seconds.
    pub(super) keep_alive: u16,
    /// Session Expiry Interval, seconds (5.0).
    pub(super) session_expiry: u32,
    /// Receive Maximum (5.0).
    pub(super) receive_maximum: u16,
    /// Maximum Packet Size, where it is announced (5.0).
    pub(super) max_packet: Option<u32>,
    /// Topic Alias Maximum (5.0).
    pub(super) topic_alias_maximum: u16,
    /// User name.
    pub(super) username: Option<&'a str>,
    /// Password.
    pub(super) password: Option<&'a Secret>,
}

/// Appends PUBACK with success; both versions let it be these four bytes.
#[inline]
pub(super) fn put_puback(out: &mut Vec<u8>, packet_id: u16) {
    put_ack(out, 0x40, packet_id);
}

/// Appends PUBREC with success.
#[inline]
pub(super) fn put_pubrec(out: &mut Vec<u8>, packet_id: u16) {
    put_ack(out, 0x50, packet_id);
}

/// Appends PUBCOMP; `found` is whether its packet identifier was known (MQTT 5.0 §3.7.2.1).
pub(super) fn put_pubcomp(out: &mut Vec<u8>, packet_id: u16, found: bool, protocol: Protocol) {
    if found || protocol == Protocol::V311 {
        put_ack(out, 0x70, packet_id);
    } else {
        let [high, low] = packet_id.to_be_bytes();
        out.extend_from_slice(&[0x70, 3, high, low, 0x92]);
    }
}

/// Appends PINGREQ.
pub(super) fn put_pingreq(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0xc0, 0]);
}

/// Appends DISCONNECT. 3.1.1 has no reason, and no DISCONNECT but the regular one.
pub(super) fn put_disconnect(out: &mut Vec<u8>, reason: u8, protocol: Protocol) {
    match protocol {
        Protocol::V5 if reason != 0 => out.extend_from_slice(&[0xe0, 1, reason]),
        Protocol::V311 if reason != 0 => {}
        _ => out.extend_from_slice(&[0xe0, 0]),
    }
}

/// Appends the DISCONNECT that ends the session as well: with a Session Expiry Interval of 0 (MQTT 5.0 §3.14.2.2.2). On
/// 3.1.1 there is no such thing.
pub(super) fn put_last_disconnect(out: &mut Vec<u8>, protocol: Protocol) {
    match protocol {
        Protocol::V5 => out.extend_from_slice(&[0xe0, 7, 0, 5, 0x11, 0, 0, 0, 0]),
        Protocol::V311 => put_disconnect(out, 0, protocol),
    }
}

#[inline]
fn put_ack(out: &mut Vec<u8>, first_byte: u8, packet_id: u16) {
    let [high, low] = packet_id.to_be_bytes();
    out.extend_from_slice(&[first_byte, 2, high, low]);
}

/// What a reason code says (MQTT 5.0 §2.4), for logs.
#[must_use]
pub fn reason_text(code: u8) -> &'static str {
    match code {
        0x00 => "normal",
        0x04 => "disconnect with will",
        0x80 => "unspecified error",
        0x81 => "malformed packet",
        0x82 => "protocol error",
        0x83 => "implementation specific error",
        0x84 => "unsupported protocol version",
        0x85 => "client identifier not valid",
        0x86 => "bad user name or password",
        0x87 => "not authorized",
        0x88 => "server unavailable",
        0x89 => "server busy",
        0x8a => "banned",
        0x8b => "server shutting down",
        0x8c => "bad authentication method",
        0x8d => "keep alive timeout",
        0x8e => "session taken over",
        0x8f => "topic filter invalid",
        0x90 => "topic name invalid",
        0x91 => "packet identifier in use",
        0x92 => "packet identifier not found",
        0x93 => "receive maximum exceeded",
        0x94 => "topic alias invalid",
        0x95 => "packet too large",
        0x96 => "message rate too high",
        0x97 => "quota exceeded",
        0x98 => "administrative action",
        0x99 => "payload format invalid",
        0x9a => "retain not supported",
        0x9b => "QoS not supported",
        0x9c => "use another server",
        0x9d => "server moved",
        0x9e => "shared subscriptions not supported",
        0x9f => "connection rate exceeded",
        0xa0 => "maximum connect time",
        0xa1 => "subscription identifiers not supported",
        0xa2 => "wildcard subscriptions not supported",
        _ => "unknown reason",
    }
}
