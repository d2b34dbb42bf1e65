//! Just enough MQTT to script a broker and a client, with nothing of the engine in it: what it sends is what the
//! standard says, or on purpose what it forbids.

use std::io::{self, Read};

/// CONNECT (MQTT 5.0 §3.1).
pub const CONNECT: u8 = 1;
/// CONNACK (§3.2).
pub const CONNACK: u8 = 2;
/// PUBLISH (§3.3).
pub const PUBLISH: u8 = 3;
/// PUBACK (§3.4).
pub const PUBACK: u8 = 4;
/// PUBREC (§3.5).
pub const PUBREC: u8 = 5;
/// PUBREL (§3.6).
pub const PUBREL: u8 = 6;
/// PUBCOMP (§3.7).
pub const PUBCOMP: u8 = 7;
/// SUBSCRIBE (§3.8).
pub const SUBSCRIBE: u8 = 8;
/// SUBACK (§3.9).
pub const SUBACK: u8 = 9;
/// UNSUBSCRIBE (§3.10).
pub const UNSUBSCRIBE: u8 = 10;
/// UNSUBACK (§3.11).
pub const UNSUBACK: u8 = 11;
/// PINGREQ (§3.12).
pub const PINGREQ: u8 = 12;
/// PINGRESP (§3.13).
pub const PINGRESP: u8 = 13;
/// DISCONNECT (§3.14).
pub const DISCONNECT: u8 = 14;

/// Protocol level of MQTT 3.1.1.
pub const V311: u8 = 4;
/// Protocol level of MQTT 5.0.
pub const V5: u8 = 5;

/// A control packet as it came: first byte and body, owned or borrowed from the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame<B = Vec<u8>> {
    /// Packet type and flags.
    pub first: u8,
    /// What the remaining length counts.
    pub body: B,
}

impl<B: AsRef<[u8]>> Frame<B> {
    /// The packet type.
    #[must_use]
    pub fn kind(&self) -> u8 {
        self.first >> 4
    }

    /// The QoS of a PUBLISH.
    #[must_use]
    pub fn qos(&self) -> u8 {
        self.first >> 1 & 3
    }

    /// The packet identifier, of the packets that have one; 0 where it is missing.
    #[must_use]
    pub fn packet_id(&self) -> u16 {
        let at = match self.kind() {
            PUBLISH if self.qos() == 0 => return 0,
            PUBLISH => 2 + usize::from(self.word(0)),
            CONNECT | CONNACK | PINGREQ | PINGRESP | DISCONNECT => return 0,
            _ => 0,
        };
        self.word(at)
    }

    /// The reason code of a DISCONNECT or of an acknowledgement; 0 where it is left out.
    #[must_use]
    pub fn reason(&self) -> u8 {
        let at = if self.kind() == DISCONNECT { 0 } else { 2 };
        self.body.as_ref().get(at).copied().unwrap_or(0)
    }

    /// The protocol level of a CONNECT.
    ///
    /// # Panics
    ///
    /// When the packet is too short for one.
    #[must_use]
    pub fn level(&self) -> u8 {
        self.body.as_ref()[6]
    }

    /// The client identifier of a CONNECT.
    ///
    /// # Panics
    ///
    /// When the packet is cut short.
    #[must_use]
    pub fn client_id(&self) -> String {
        let body = self.body.as_ref();
        let mut at = 10;
        if self.level() == V5 {
            at += 1 + usize::from(body[at]);
        }
        let length = usize::from(self.word(at));
        String::from_utf8_lossy(&body[at + 2..at + 2 + length]).into_owned()
    }

    /// The payload of a PUBLISH; `None` where the packet is cut short.
    #[must_use]
    pub fn payload(&self, level: u8) -> Option<&[u8]> {
        let body = self.body.as_ref();
        let mut at = 2 + usize::from(self.word(0)) + if self.qos() == 0 { 0 } else { 2 };
        if level == V5 {
            let (length, bytes) = variable(body.get(at..)?)?;
            at += bytes + length;
        }
        body.get(at..)
    }

    /// The whole packet.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        packet(self.first, self.body.as_ref())
    }

    fn word(&self, at: usize) -> u16 {
        match self.body.as_ref().get(at..at + 2) {
            Some(bytes) => u16::from_be_bytes([bytes[0], bytes[1]]),
            None => 0,
        }
    }
}

/// The first whole packet of `bytes`, if there is one, and how many bytes it takes.
#[must_use]
pub fn frame(bytes: &[u8]) -> Option<(Frame<&[u8]>, usize)> {
    let (&first, rest) = bytes.split_first()?;
    let (length, header) = variable(rest)?;
    let body = rest.get(header..header + length)?;
    Some((Frame { first, body }, 1 + header + length))
}

/// Takes the first whole packet off `bytes`, if there is one.
pub fn take_frame(bytes: &mut Vec<u8>) -> Option<Frame> {
    let (found, length) = frame(bytes)?;
    let owned = Frame { first: found.first, body: found.body.to_vec() };
    bytes.drain(..length);
    Some(owned)
}

/// A variable byte integer (§1.5.5) at the start of `bytes`, and how many bytes it takes.
fn variable(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0usize;
    for (i, &byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Some((value, i + 1));
        }
    }
    None
}

/// Reads from `stream` until `pending` holds a whole packet, and takes it.
///
/// # Errors
///
/// What the stream says; `UnexpectedEof` at its end.
pub fn read_frame(stream: &mut impl Read, pending: &mut Vec<u8>) -> io::Result<Frame> {
    let mut chunk = [0; 4096];
    loop {
        if let Some(frame) = take_frame(pending) {
            return Ok(frame);
        }
        match stream.read(&mut chunk)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => pending.extend_from_slice(&chunk[..n]),
        }
    }
}

/// Any packet.
#[must_use]
pub fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut rest = body.len();
    loop {
        let more = u8::from(rest > 0x7f) << 7;
        bytes.push((rest & 0x7f) as u8 | more);
        rest >>= 7;
        if rest == 0 {
            break;
        }
    }
    bytes.extend_from_slice(body);
    bytes
}

/// A length-prefixed string or binary (§1.5.4, §1.5.6).
///
/// # Panics
///
/// When it is longer than 65,535 bytes.
#[must_use]
pub fn field(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("a field of at most 65,535 bytes");
    [&length.to_be_bytes(), bytes].concat()
}

/// CONNECT with Clean Start and no keep-alive.
#[must_use]
pub fn connect(level: u8, client_id: &str, login: Option<(&str, &str)>) -> Vec<u8> {
    connect_with(level, client_id, true, no_properties(level), login)
}

/// CONNECT of version 5 that goes on with a session and leaves it to the broker for an hour afterwards.
#[must_use]
pub fn resume(client_id: &str) -> Vec<u8> {
    const SESSION_EXPIRY: u8 = 0x11;
    connect_with(V5, client_id, false, &[5, SESSION_EXPIRY, 0, 0, 0x0e, 0x10], None)
}

fn connect_with(level: u8, client_id: &str, clean: bool, properties: &[u8], login: Option<(&str, &str)>) -> Vec<u8> {
    let flags = u8::from(clean) << 1 | if login.is_some() { 0xc0 } else { 0 };
    let mut body = field(b"MQTT");
    body.extend([level, flags, 0, 0]);
    body.extend(properties);
    body.extend(field(client_id.as_bytes()));
    if let Some((user, password)) = login {
        body.extend(field(user.as_bytes()));
        body.extend(field(password.as_bytes()));
    }
    packet(CONNECT << 4, &body)
}

/// CONNACK with a reason code (3.1.1: return code).
#[must_use]
pub fn connack(level: u8, session_present: bool, reason: u8) -> Vec<u8> {
    connack_with(level, session_present, reason, &[])
}

/// CONNACK with properties, which only version 5 has.
#[must_use]
pub fn connack_with(level: u8, session_present: bool, reason: u8, properties: &[u8]) -> Vec<u8> {
    let mut body = vec![u8::from(session_present), reason];
    if level == V5 {
        body.push(u8::try_from(properties.len()).expect("few properties"));
        body.extend(properties);
    }
    packet(CONNACK << 4, &body)
}

/// PUBLISH without properties. `packet_id` is left out at QoS 0.
#[must_use]
pub fn publish(level: u8, topic: &str, qos: u8, packet_id: u16, payload: &[u8]) -> Vec<u8> {
    publish_with(level, topic.as_bytes(), qos << 1, packet_id, &[], payload)
}

/// The DUP flag of a PUBLISH.
pub const DUP: u8 = 0x08;

/// PUBLISH with any flags (DUP 8, QoS 2 and 4, RETAIN 1), any bytes for a topic, and properties (version 5).
#[must_use]
pub fn publish_with(level: u8, topic: &[u8], flags: u8, packet_id: u16, properties: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut body = field(topic);
    if flags & 6 != 0 {
        body.extend(packet_id.to_be_bytes());
    }
    if level == V5 {
        body.push(u8::try_from(properties.len()).expect("few properties"));
        body.extend(properties);
    }
    body.extend(payload);
    packet(PUBLISH << 4 | flags, &body)
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP with the reason "success".
#[must_use]
pub fn acknowledge(kind: u8, packet_id: u16) -> Vec<u8> {
    let flags = if kind == PUBREL { 2 } else { 0 };
    packet(kind << 4 | flags, &packet_id.to_be_bytes())
}

/// SUBSCRIBE to one filter.
#[must_use]
pub fn subscribe(level: u8, packet_id: u16, filter: &str, qos: u8) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    body.extend(no_properties(level));
    body.extend(field(filter.as_bytes()));
    body.push(qos);
    packet(SUBSCRIBE << 4 | 2, &body)
}

/// SUBACK or UNSUBACK with a reason code for each filter.
#[must_use]
pub fn suback(level: u8, kind: u8, packet_id: u16, reasons: &[u8]) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    body.extend(no_properties(level));
    body.extend(reasons);
    packet(kind << 4, &body)
}

/// PINGRESP.
#[must_use]
pub fn pingresp() -> Vec<u8> {
    packet(PINGRESP << 4, &[])
}

/// DISCONNECT, which a server may send in version 5 only.
#[must_use]
pub fn disconnect(level: u8, reason: u8) -> Vec<u8> {
    if level == V5 { packet(DISCONNECT << 4, &[reason]) } else { packet(DISCONNECT << 4, &[]) }
}

/// The filters of a SUBSCRIBE, with the options byte of each.
///
/// # Panics
///
/// When the packet is cut short.
#[must_use]
pub fn filters(level: u8, subscribe: &Frame) -> Vec<(String, u8)> {
    let body = &subscribe.body;
    let mut at = 2;
    if level == V5 {
        at += 1 + usize::from(body[at]);
    }
    let mut filters = Vec::new();
    while at < body.len() {
        let length = usize::from(u16::from_be_bytes([body[at], body[at + 1]]));
        let text = String::from_utf8_lossy(&body[at + 2..at + 2 + length]).into_owned();
        filters.push((text, body[at + 2 + length]));
        at += 3 + length;
    }
    filters
}

/// The empty property list, where the version has one.
fn no_properties(level: u8) -> &'static [u8] {
    if level == V5 { &[0] } else { &[] }
}
