//! PUBLISH packets prepared once for each topic; to send one is to copy it and to overwrite the few bytes that change.

use super::in_flight::Message;
use crate::mqtt::{self, DUP, Qos, Version};
use crate::stamp;
use crate::traffic::FILLER;

/// What the packets of a run have in common.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    pub(crate) run_id: u32,
    pub(crate) topics: Vec<String>,
    /// Bytes of each payload; at least [`stamp::SHORT`].
    pub(crate) size: usize,
}

/// The packets of one version and QoS.
#[derive(Debug)]
pub(crate) struct Packets {
    version: Version,
    qos: Qos,
    bytes: Vec<u8>,
    of: Vec<Template>,
}

#[derive(Debug, Clone, Copy)]
struct Template {
    start: usize,
    end: usize,
    packet_id: Option<usize>,
    payload: usize,
}

impl Packets {
    pub(crate) fn prepare(shape: &Shape, version: Version, qos: Qos) -> Self {
        let mut payload = vec![FILLER; shape.size];
        let (mut bytes, mut of) = (Vec::new(), Vec::with_capacity(shape.topics.len()));
        for (publisher, topic) in (0..).zip(&shape.topics) {
            stamp::prepare(&mut payload, 0, shape.run_id, publisher);
            let start = bytes.len();
            let layout = mqtt::put_publish(&mut bytes, version, qos, topic, &payload);
            of.push(Template { start, end: bytes.len(), packet_id: layout.packet_id, payload: layout.payload });
        }
        Self { version, qos, bytes, of }
    }

    pub(crate) fn fits(&self, version: Version, qos: Qos) -> bool {
        self.version == version && self.qos == qos
    }

    /// Appends the packet of a message; the same message gives the same payload each time.
    #[inline]
    pub(crate) fn put(&self, out: &mut Vec<u8>, message: &Message, packet_id: u16, duplicate: bool) {
        let template = self.of[message.publisher as usize];
        let start = out.len();
        out.extend_from_slice(&self.bytes[template.start..template.end]);
        let packet = &mut out[start..];
        if duplicate {
            packet[0] |= DUP;
        }
        if let Some(at) = template.packet_id {
            packet[at..at + 2].copy_from_slice(&packet_id.to_be_bytes());
        }
        stamp::seal(&mut packet[template.payload..], 0, message.sequence, message.sent_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stamp::Stamp;

    #[test]
    fn a_prepared_packet_carries_a_valid_stamp() {
        let shape = Shape { run_id: 7, topics: vec!["fire/0".to_owned(), "fire/1".to_owned()], size: 100 };
        for (version, qos, header) in [
            (Version::V5, Qos::AtLeastOnce, 1 + 1 + 2 + 6 + 2 + 1),
            (Version::V311, Qos::AtLeastOnce, 1 + 1 + 2 + 6 + 2),
            (Version::V311, Qos::AtMostOnce, 1 + 1 + 2 + 6),
        ] {
            let packets = Packets::prepare(&shape, version, qos);
            let message = Message { sequence: 3, sent_ns: 4, publisher: 1, ..Message::default() };
            let mut out = Vec::new();
            packets.put(&mut out, &message, 0x0506, true);
            let frame = mqtt::frame(&out).unwrap().unwrap();
            assert_eq!((frame.length, frame.header & DUP), (out.len(), DUP));
            let (stamp, _) = Stamp::find(&out[header..], 0).unwrap();
            let expected = Stamp { run: 7, publisher: 1, sequence: 3, sent_ns: 4 };
            assert_eq!(stamp, expected);
            assert_eq!(out.len() - header, 100);
            if qos != Qos::AtMostOnce {
                assert_eq!(out[10..12], [5, 6]);
            }
        }
    }
}
