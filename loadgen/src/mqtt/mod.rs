//! A small MQTT codec for both ends: publisher and subscriber are clients, the firehose is the broker.
//!
//! It is made for speed of the harness: packets are prepared once and patched in place. It accepts what a correct peer
//! sends and calls everything else a violation; it does not try to be a conformance test.

pub(crate) mod broker;
pub(crate) mod client;
pub(crate) mod filter;
pub(crate) mod keep_alive;
pub(crate) mod lost;
mod url;

pub use lost::BrokerError;
pub use url::BrokerUrl;

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Protocol version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Version {
    /// MQTT 3.1.1, protocol level 4.
    #[serde(rename = "3.1.1")]
    V311,
    /// MQTT 5.0, protocol level 5.
    #[serde(rename = "5")]
    V5,
}

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "3.1.1" => Ok(Self::V311),
            "5" | "5.0" => Ok(Self::V5),
            _ => Err(format!("`{text}` is no version: 5 or 3.1.1")),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V311 => "3.1.1",
            Self::V5 => "5",
        })
    }
}

/// Quality of service (MQTT 5.0 §4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "u8")]
#[serde(try_from = "u8")]
pub enum Qos {
    /// At most once: no acknowledgement.
    AtMostOnce = 0,
    /// At least once: PUBACK.
    AtLeastOnce = 1,
    /// Exactly once: PUBREC, PUBREL, PUBCOMP.
    ExactlyOnce = 2,
}

impl From<Qos> for u8 {
    fn from(qos: Qos) -> Self {
        qos as Self
    }
}

impl TryFrom<u8> for Qos {
    type Error = String;

    fn try_from(number: u8) -> Result<Self, Self::Error> {
        match number {
            0 => Ok(Self::AtMostOnce),
            1 => Ok(Self::AtLeastOnce),
            2 => Ok(Self::ExactlyOnce),
            _ => Err(format!("`{number}` is no quality of service: 0, 1 or 2")),
        }
    }
}

impl FromStr for Qos {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = text.parse::<u8>().map_err(|_| format!("`{text}` is no quality of service: 0, 1 or 2"))?;
        number.try_into()
    }
}

/// Control packet types (MQTT 5.0 §2.1.2), as the upper half of the first byte.
pub(crate) mod kind {
    pub(crate) const CONNECT: u8 = 0x10;
    pub(crate) const CONNACK: u8 = 0x20;
    pub(crate) const PUBLISH: u8 = 0x30;
    pub(crate) const PUBACK: u8 = 0x40;
    pub(crate) const PUBREC: u8 = 0x50;
    pub(crate) const PUBREL: u8 = 0x60;
    pub(crate) const PUBCOMP: u8 = 0x70;
    pub(crate) const SUBSCRIBE: u8 = 0x80;
    pub(crate) const SUBACK: u8 = 0x90;
    pub(crate) const UNSUBSCRIBE: u8 = 0xa0;
    pub(crate) const UNSUBACK: u8 = 0xb0;
    pub(crate) const PINGREQ: u8 = 0xc0;
    pub(crate) const PINGRESP: u8 = 0xd0;
    pub(crate) const DISCONNECT: u8 = 0xe0;
}

/// The DUP flag of a PUBLISH.
pub(crate) const DUP: u8 = 0x08;

/// Packet identifiers are 1 to this.
pub(crate) const LAST_PACKET_ID: u16 = 65_535;

/// The packet identifier after `id`; 0 is not one.
pub(crate) fn next_packet_id(id: u16) -> u16 {
    if id == LAST_PACKET_ID { 1 } else { id + 1 }
}

/// A packet larger than this is a violation: nothing that a peer sends to a load generator is.
const MAX_PACKET: usize = 1 << 20;

/// The peer did what the standard forbids, or what this harness cannot answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("MQTT violation by the peer: {0}")]
pub struct Violation(pub(crate) &'static str);

/// One whole control packet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame<'a> {
    pub(crate) header: u8,
    pub(crate) body: &'a [u8],
    /// Bytes of the input that it takes.
    pub(crate) length: usize,
}

impl Frame<'_> {
    pub(crate) fn kind(&self) -> u8 {
        self.header & 0xf0
    }
}

/// The first packet of `input`, if it is there as a whole.
pub(crate) fn frame(input: &[u8]) -> Result<Option<Frame<'_>>, Violation> {
    let (mut remaining, mut at) = (0_usize, 1);
    loop {
        let Some(&byte) = input.get(at) else {
            return Ok(None);
        };
        remaining |= usize::from(byte & 0x7f) << (7 * (at - 1));
        at += 1;
        if byte & 0x80 == 0 {
            break;
        }
        if at > 4 {
            return Err(Violation("remaining length of more than four bytes"));
        }
    }
    if remaining > MAX_PACKET {
        return Err(Violation("packet of more than 1 MiB"));
    }
    Ok(input.get(at..at + remaining).map(|body| Frame { header: input[0], body, length: at + remaining }))
}

/// Reads the fields of a packet.
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], Violation> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Violation("packet ends within a field"))?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Violation> {
        Ok(self.take(1)?[0])
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Violation> {
        Ok(u16::from_be_bytes(self.take(2)?.try_into().expect("two bytes")))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Violation> {
        Ok(u32::from_be_bytes(self.take(4)?.try_into().expect("four bytes")))
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], Violation> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, Violation> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Violation("string that is not UTF-8"))
    }

    pub(crate) fn variable(&mut self) -> Result<usize, Violation> {
        let mut value = 0;
        for place in 0..4 {
            let byte = self.u8()?;
            value |= usize::from(byte & 0x7f) << (7 * place);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Violation("variable byte integer of more than four bytes"))
    }

    /// The number properties of a block (MQTT 5.0 §2.2.2.2), as (identifier, value); others are skipped.
    pub(crate) fn properties(&mut self) -> Result<Vec<(u8, u32)>, Violation> {
        let length = self.variable()?;
        let mut block = Fields(self.take(length)?);
        let mut found = Vec::new();
        while !block.is_empty() {
            let id = block.u8()?;
            match id {
                0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28..=0x2a => {
                    found.push((id, u32::from(block.u8()?)));
                }
                0x13 | 0x21..=0x23 => found.push((id, u32::from(block.u16()?))),
                0x02 | 0x11 | 0x18 | 0x27 => found.push((id, block.u32()?)),
                0x0b => {
                    block.variable()?;
                }
                0x03 | 0x08 | 0x09 | 0x12 | 0x15 | 0x16 | 0x1a | 0x1c | 0x1f => {
                    block.bytes()?;
                }
                0x26 => {
                    block.bytes()?;
                    block.bytes()?;
                }
                _ => return Err(Violation("unknown property")),
            }
        }
        Ok(found)
    }
}

/// Property identifiers that this codec uses (MQTT 5.0 §2.2.2.2).
pub(crate) mod property {
    pub(crate) const SESSION_EXPIRY: u8 = 0x11;
    pub(crate) const SERVER_KEEP_ALIVE: u8 = 0x13;
    pub(crate) const RECEIVE_MAXIMUM: u8 = 0x21;
    pub(crate) const MAXIMUM_QOS: u8 = 0x24;
}

/// The value of a property, if it was there.
pub(crate) fn find_property(properties: &[(u8, u32)], id: u8) -> Option<u32> {
    properties.iter().find(|found| found.0 == id).map(|found| found.1)
}

pub(crate) fn put_u16(out: &mut Vec<u8>, value: usize) {
    let value = u16::try_from(value).expect("callers keep strings below 64 KiB");
    out.extend(value.to_be_bytes());
}

pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_u16(out, text.len());
    out.extend(text.as_bytes());
}

pub(crate) fn put_variable(out: &mut Vec<u8>, mut value: usize) {
    loop {
        let low = u8::try_from(value & 0x7f).expect("seven bits");
        value >>= 7;
        if value == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

/// A packet of fixed header, remaining length and `body`.
pub(crate) fn put_packet(out: &mut Vec<u8>, header: u8, body: &[u8]) {
    out.push(header);
    put_variable(out, body.len());
    out.extend(body);
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP with reason code 0, the same in both versions (MQTT 5.0 §3.4.2.1).
pub(crate) fn put_ack(out: &mut Vec<u8>, header: u8, packet_id: u16) {
    let id = packet_id.to_be_bytes();
    out.extend([header, 2, id[0], id[1]]);
}

/// The packet identifier and reason code of a PUBACK, PUBREC, PUBREL or PUBCOMP.
pub(crate) fn read_ack(body: &[u8]) -> Result<(u16, u8), Violation> {
    let mut fields = Fields(body);
    let packet_id = fields.u16()?;
    let reason = if fields.is_empty() { 0 } else { fields.u8()? };
    Ok((packet_id, reason))
}

/// Where the parts lie that are patched in a prepared PUBLISH, counted from its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PublishLayout {
    /// The packet identifier; absent at QoS 0.
    pub(crate) packet_id: Option<usize>,
    pub(crate) payload: usize,
}

/// Appends a PUBLISH without properties and with packet identifier 0.
pub(crate) fn put_publish(out: &mut Vec<u8>, version: Version, qos: Qos, topic: &str, payload: &[u8]) -> PublishLayout {
    let start = out.len();
    let id_length = if qos == Qos::AtMostOnce { 0 } else { 2 };
    let properties_length = usize::from(version == Version::V5);
    out.push(kind::PUBLISH | (u8::from(qos) << 1));
    put_variable(out, 2 + topic.len() + id_length + properties_length + payload.len());
    put_text(out, topic);
    let packet_id = (id_length > 0).then(|| out.len() - start);
    out.extend(&[0; 3][..id_length + properties_length]);
    let layout = PublishLayout { packet_id, payload: out.len() - start };
    out.extend(payload);
    layout
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_packet_is_found_only_when_it_is_whole() {
        let mut packet = Vec::new();
        let layout = put_publish(&mut packet, Version::V5, Qos::AtLeastOnce, "a/b", &[7; 300]);
        assert_eq!((layout.packet_id, layout.payload), (Some(8), 11));
        for cut in 0..packet.len() {
            assert!(frame(&packet[..cut]).unwrap().is_none(), "cut at {cut}");
        }
        packet.push(0xc0);
        let found = frame(&packet).unwrap().unwrap();
        assert_eq!((found.header, found.length), (0x32, packet.len() - 1));
        assert_eq!(found.body[found.body.len() - 300..], [7; 300]);
    }

    #[test]
    fn a_bad_length_is_a_violation() {
        assert!(frame(&[0x30, 0xff, 0xff, 0xff, 0xff, 0x01]).is_err());
        assert!(frame(&[0x30, 0xff, 0xff, 0xff, 0x7f]).is_err());
    }

    #[test]
    fn properties_of_all_shapes_are_skipped() {
        // Receive Maximum 10, user property a=b, content type "x", subscription identifier 200, Session Expiry 7.
        let block =
            [21, 0x21, 0, 10, 0x26, 0, 1, b'a', 0, 1, b'b', 0x03, 0, 1, b'x', 0x0b, 0xc8, 0x01, 0x11, 0, 0, 0, 7];
        let mut block = block.to_vec();
        block[0] = u8::try_from(block.len() - 1).unwrap();
        let found = Fields(&block).properties().unwrap();
        assert_eq!(find_property(&found, property::RECEIVE_MAXIMUM), Some(10));
        assert_eq!(find_property(&found, property::SESSION_EXPIRY), Some(7));
        assert_eq!(find_property(&found, property::MAXIMUM_QOS), None);
        assert!(Fields(&[1, 0x7f]).properties().is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
            if let Ok(Some(found)) = frame(&bytes) {
                let _ = broker::read(found);
                let _ = client::read(found, Version::V5);
                let _ = client::read(found, Version::V311);
            }
            let _ = Fields(&bytes).properties();
        }
    }
}
