//! Packets as a server puts them on the wire, byte by byte: what the tests feed, made without the codec under test.

use super::frame::Protocol;

/// A variable byte integer (MQTT 5.0 §1.5.5).
pub(crate) fn variable(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let byte = (value % 128) as u8;
        value /= 128;
        if value == 0 {
            bytes.push(byte);
            return bytes;
        }
        bytes.push(byte | 0x80);
    }
}

/// A packet of `first_byte` with this body.
pub(crate) fn packet(first_byte: u8, body: &[u8]) -> Vec<u8> {
    [&[first_byte], &variable(body.len())[..], body].concat()
}

/// Length-prefixed bytes: text or binary data.
pub(crate) fn text(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

/// A property block with its length, or nothing on 3.1.1.
pub(crate) fn block(protocol: Protocol, properties: &[u8]) -> Vec<u8> {
    match protocol {
        Protocol::V5 => [&variable(properties.len())[..], properties].concat(),
        Protocol::V311 => Vec::new(),
    }
}

/// A PUBLISH to be shaped and built.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) protocol: Protocol,
    pub(crate) qos: u8,
    pub(crate) dup: bool,
    pub(crate) retain: bool,
    pub(crate) id: u16,
    pub(crate) topic: Vec<u8>,
    pub(crate) payload: Vec<u8>,
    pub(crate) properties: Vec<u8>,
}

impl Message {
    pub(crate) fn new(protocol: Protocol, qos: u8, id: u16, payload: impl AsRef<[u8]>) -> Message {
        Message {
            protocol,
            qos,
            dup: false,
            retain: false,
            id,
            topic: b"ais/244660000/position".to_vec(),
            payload: payload.as_ref().to_vec(),
            properties: Vec::new(),
        }
    }

    pub(crate) fn dup(mut self) -> Message {
        self.dup = true;
        self
    }

    pub(crate) fn topic(mut self, topic: impl AsRef<[u8]>) -> Message {
        self.topic = topic.as_ref().to_vec();
        self
    }

    pub(crate) fn properties(mut self, properties: &[u8]) -> Message {
        self.properties = properties.to_vec();
        self
    }

    pub(crate) fn build(&self) -> Vec<u8> {
        let first_byte = 0x30 | u8::from(self.dup) << 3 | self.qos << 1 | u8::from(self.retain);
        let mut body = text(&self.topic);
        if self.qos > 0 {
            body.extend(self.id.to_be_bytes());
        }
        body.extend(block(self.protocol, &self.properties));
        body.extend(&self.payload);
        packet(first_byte, &body)
    }
}

pub(crate) fn connack(protocol: Protocol, session_present: bool, reason: u8, properties: &[u8]) -> Vec<u8> {
    let body = [&[u8::from(session_present), reason][..], &block(protocol, properties)].concat();
    packet(0x20, &body)
}

pub(crate) fn suback(protocol: Protocol, id: u16, codes: &[u8]) -> Vec<u8> {
    packet(0x90, &[&id.to_be_bytes()[..], &block(protocol, &[]), codes].concat())
}

pub(crate) fn unsuback(protocol: Protocol, id: u16, codes: &[u8]) -> Vec<u8> {
    let codes = if protocol == Protocol::V5 { codes } else { &[] };
    packet(0xb0, &[&id.to_be_bytes()[..], &block(protocol, &[]), codes].concat())
}

pub(crate) fn pubrel(id: u16) -> Vec<u8> {
    packet(0x62, &id.to_be_bytes())
}

/// DISCONNECT of 5.0.
pub(crate) fn disconnect(reason: u8) -> Vec<u8> {
    packet(0xe0, &[reason])
}

pub(crate) const PINGRESP: [u8; 2] = [0xd0, 0];
