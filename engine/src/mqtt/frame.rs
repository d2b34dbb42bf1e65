//! The frame scanner: what lies at the front of the received bytes?
//!
//! It stands in front of the codec, which therefore only ever sees one complete packet whose header fits its
//! Remaining Length. It checks what the library does not (or does too late): size limit, reserved flags, the fewest bytes
//! of a length, DUP at QoS 0. Of a PUBLISH it finds all parts, and checks the topic but for its UTF-8.

use std::ops::Range;

use super::{packet::kind, violation::Violation};
use crate::message::Qos;

/// Most bytes of a PUBLISH above the limit that are held to find its packet identifier and topic alias; or else the
/// limit itself. With a longer header it cannot be skipped.
const MAX_SKIPPED_HEADER: usize = 128 * 1024;

/// Which protocol a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// MQTT 3.1.1.
    V311,
    /// MQTT 5.0.
    V5,
}

/// What lies at the front of the received bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scan {
    /// Less than a packet. At least this many bytes are needed from its start.
    Incomplete(usize),
    /// A whole packet within the limit.
    Frame(Frame),
    /// A PUBLISH above the limit, header complete.
    Oversized(Frame),
}

/// Where the parts of a packet are. Packets are shorter than 2²⁸ bytes (MQTT 5.0 §2.1.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// First byte of the fixed header.
    pub(super) first_byte: u8,
    /// A PUBLISH's packet identifier; 0 at QoS 0.
    pub(super) packet_id: u16,
    /// Bytes of the whole packet.
    pub(super) total: u32,
    /// Bytes of the fixed header.
    header: u32,
    /// Bytes of a PUBLISH's topic.
    topic: u32,
    /// Where the properties are, without their length; empty on 3.1.1.
    properties: (u32, u32),
}

impl Frame {
    /// Packet type, 1 to 15.
    #[inline]
    pub(super) fn packet_type(&self) -> u8 {
        self.first_byte >> 4
    }

    /// Whether there are properties.
    #[inline]
    pub(super) fn has_properties(&self) -> bool {
        self.properties.0 < self.properties.1
    }

    /// A PUBLISH's quality of service.
    #[inline]
    pub(super) fn qos(&self) -> Qos {
        match self.first_byte & 0x06 {
            0 => Qos::AtMostOnce,
            2 => Qos::AtLeastOnce,
            _ => Qos::ExactlyOnce,
        }
    }

    /// A PUBLISH's DUP flag.
    #[inline]
    pub(super) fn dup(&self) -> bool {
        self.first_byte & 0x08 != 0
    }

    /// A PUBLISH's RETAIN flag.
    #[inline]
    pub(super) fn retain(&self) -> bool {
        self.first_byte & 0x01 != 0
    }

    /// Where the properties are, from the packet's first byte.
    pub(super) fn properties(&self) -> Range<usize> {
        self.properties.0 as usize..self.properties.1 as usize
    }

    /// Where a PUBLISH's topic is, from the packet's first byte.
    pub(super) fn topic(&self) -> Range<usize> {
        let start = self.header as usize + 2;
        start..start + self.topic as usize
    }
}

/// Scans the front of `bytes`. A PUBLISH above `max_packet` is [`Scan::Oversized`] if `skip_oversized`.
///
/// # Errors
/// [`Violation`] as soon as the bytes at hand prove one; before the packet is complete, where they do.
#[inline]
pub(super) fn scan(bytes: &[u8], protocol: Protocol, max_packet: u32, skip_oversized: bool) -> Result<Scan, Violation> {
    let Some((&first_byte, rest)) = bytes.split_first() else {
        return Ok(Scan::Incomplete(2));
    };
    check_first_byte(first_byte, protocol)?;
    let Some((remaining, width)) = variable_byte_integer(rest, protocol)? else {
        return Ok(Scan::Incomplete(bytes.len() + 1));
    };
    let header = 1 + width;
    let total = header + remaining as usize;
    let packet_type = first_byte >> 4;
    let oversized = total > max_packet as usize;
    if oversized && !(skip_oversized && packet_type == kind::PUBLISH) {
        return Err(Violation::PacketTooLarge { size: total as u32, limit: max_packet });
    }
    if bytes.len() < total && !oversized {
        return Ok(Scan::Incomplete(total));
    }
    let packet = &bytes[..total.min(bytes.len())];
    if packet_type == kind::PUBLISH {
        let frame = match publish(packet, header, total, protocol)? {
            Ok(frame) => frame,
            Err(needed) if needed > MAX_SKIPPED_HEADER.max(max_packet as usize) => {
                return Err(Violation::PacketTooLarge { size: total as u32, limit: max_packet });
            }
            Err(needed) => return Ok(Scan::Incomplete(needed)),
        };
        return Ok(if oversized { Scan::Oversized(frame) } else { Scan::Frame(frame) });
    }
    let properties = control_properties(packet, header, protocol)?;
    let properties = (properties.start as u32, properties.end as u32);
    Ok(Scan::Frame(Frame {
        first_byte,
        packet_id: 0,
        total: total as u32,
        header: header as u32,
        topic: 0,
        properties,
    }))
}

/// Checks packet type and flags: only what a server sends, with the flags of MQTT 5.0 §2.1.3.
#[inline]
fn check_first_byte(first_byte: u8, protocol: Protocol) -> Result<(), Violation> {
    let packet_type = first_byte >> 4;
    let flags = first_byte & 0x0f;
    let expected = match packet_type {
        kind::PUBLISH => {
            if flags & 0x06 == 0x06 {
                return Err(Violation::Qos3);
            }
            if flags & 0x0e == 0x08 {
                return Err(Violation::DupAtMostOnce);
            }
            return Ok(());
        }
        kind::PUBREL => 0x02,
        kind::CONNACK | kind::SUBACK | kind::UNSUBACK | kind::PINGRESP => 0,
        kind::DISCONNECT if protocol == Protocol::V5 => 0,
        _ => return Err(Violation::Unexpected { packet_type }),
    };
    if flags == expected { Ok(()) } else { Err(Violation::Flags { first_byte }) }
}

/// Reads a variable byte integer (MQTT 5.0 §1.5.5) and its width; `None` if `bytes` end before it does.
#[inline]
pub(super) fn variable_byte_integer(bytes: &[u8], protocol: Protocol) -> Result<Option<(u32, usize)>, Violation> {
    let mut value = 0;
    for (index, &byte) in bytes.iter().take(4).enumerate() {
        value |= u32::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            // 3.1.1 does not demand the shortest form.
            let padded = byte == 0 && index > 0;
            return if padded && protocol == Protocol::V5 {
                Err(Violation::VariableByteInteger)
            } else {
                Ok(Some((value, index + 1)))
            };
        }
    }
    if bytes.len() >= 4 { Err(Violation::VariableByteInteger) } else { Ok(None) }
}

/// Finds the parts of a PUBLISH whose fixed header has `header` bytes and which has `total` in all. The inner
/// error is the number of bytes that are needed to go on; it arises only where `packet` is shorter than `total`.
#[inline]
fn publish(packet: &[u8], header: usize, total: usize, protocol: Protocol) -> Result<Result<Frame, usize>, Violation> {
    const LENGTH: Violation = Violation::Length { packet_type: kind::PUBLISH };
    let first_byte = packet[0];
    let mut at = header + 2;
    if at > total {
        return Err(LENGTH);
    }
    let Some(length) = packet.get(header..at) else {
        return Ok(Err(at));
    };
    let topic = u16::from_be_bytes([length[0], length[1]]);
    let topic_start = at;
    at += usize::from(topic);
    let has_id = first_byte & 0x06 != 0;
    let id_end = at + if has_id { 2 } else { 0 };
    if id_end > total {
        return Err(LENGTH);
    }
    if packet.len() < id_end {
        return Ok(Err(id_end));
    }
    check_topic(&packet[topic_start..at])?;
    let mut packet_id = 0;
    if has_id {
        packet_id = u16::from_be_bytes([packet[at], packet[at + 1]]);
        if packet_id == 0 {
            return Err(Violation::PacketId);
        }
        at = id_end;
    }
    let mut properties = at..at;
    if protocol == Protocol::V5 {
        match variable_byte_integer(&packet[at..], protocol)? {
            Some((length, width)) => properties = at + width..at + width + length as usize,
            None if packet.len() < total => return Ok(Err(packet.len() + 1)),
            None => return Err(LENGTH),
        }
        if properties.end > total {
            return Err(LENGTH);
        }
        if packet.len() < properties.end {
            return Ok(Err(properties.end));
        }
    }
    Ok(Ok(Frame {
        first_byte,
        packet_id,
        total: total as u32,
        header: header as u32,
        topic: u32::from(topic),
        properties: (properties.start as u32, properties.end as u32),
    }))
}

/// Checks the topic of a PUBLISH for what no topic has (MQTT 5.0 §3.3.2.1, §4.7).
#[inline]
fn check_topic(topic: &[u8]) -> Result<(), Violation> {
    // One pass without early exit, which the compiler turns into vector code.
    let bad = topic.iter().fold(false, |bad, &byte| bad | (byte == 0) | (byte == b'#') | (byte == b'+'));
    if !bad {
        Ok(())
    } else if topic.contains(&0) {
        Err(Violation::Nul)
    } else {
        Err(Violation::Wildcard)
    }
}

/// Checks the fixed part of a control packet and finds its properties.
fn control_properties(packet: &[u8], header: usize, protocol: Protocol) -> Result<Range<usize>, Violation> {
    let packet_type = packet[0] >> 4;
    let violation = Violation::Length { packet_type };
    let remaining = packet.len() - header;
    let v5 = protocol == Protocol::V5;
    // Bytes before the properties, fewest bytes in all, whether more may follow the fixed part.
    let (fixed, fewest, open) = match packet_type {
        kind::CONNACK => (2, 2, v5),
        kind::PUBREL if v5 => (3, 2, true),
        kind::PUBREL => (2, 2, false),
        kind::SUBACK => (2, if v5 { 4 } else { 3 }, true),
        kind::UNSUBACK if v5 => (2, 4, true),
        kind::UNSUBACK => (2, 2, false),
        kind::DISCONNECT => (1, 0, true),
        _ => (0, 0, false),
    };
    if remaining < fewest || (!open && remaining > fixed) {
        return Err(violation);
    }
    let at = header + fixed;
    if !v5 || packet.len() <= at {
        return Ok(packet.len()..packet.len());
    }
    let (length, width) = variable_byte_integer(&packet[at..], protocol)?.ok_or(violation)?;
    let properties = at + width..at + width + length as usize;
    if properties.end > packet.len() { Err(violation) } else { Ok(properties) }
}
