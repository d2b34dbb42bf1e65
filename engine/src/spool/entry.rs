//! A record as the spool keeps it, and back.
//!
//! What the spool's own fields do not hold is the entry's metadata:
//!
//! ```text
//! flags u8 · length of the Kafka topic u8 · fingerprint of the route u32 · Kafka topic
//! [length u16 · MQTT topic]                            unless it is the key
//! [count u16 · (length u16 · name · length u32 · value)*]   headers, where there are any; the last are those of a dead letter
//! ```
//!
//! Numbers are little-endian. Kafka topics are named and routes fingerprinted, because their indices are those of one
//! process. The partition is not kept: it follows from key and partition count when the record is replayed.

use fairlead_spool::{Entry, Kind, Stored};

use crate::{
    dead_letter::Marks,
    message::{DropReason, Headers, Record},
    mqtt::{Payload, Text},
    settings::{Route, Settings},
};

/// The MQTT topic is the key.
const KEY_IS_TOPIC: u8 = 1;
/// Headers follow.
const HEADERS: u8 = 2;
/// It is a dead letter, and its last headers say why.
const DEAD: u8 = 4;

/// The fingerprint of a route: of what it takes from which source. It outlives a reordering of the configuration.
fn fingerprint(route: &str) -> u32 {
    crc32fast::hash(route.as_bytes())
}

/// The fingerprints of all routes.
pub(crate) fn fingerprints(settings: &Settings) -> Vec<u32> {
    let label = |route: &Route| {
        let source = route.source.map_or("", |source| settings.sources[source].name.as_str());
        fingerprint(&format!("{source} {}", route.from.as_mqtt()))
    };
    settings.routes.iter().map(label).collect()
}

/// Writes the metadata of a record into `meta`.
pub(super) fn encode(record: &Record, kafka_topic: &str, route: u32, meta: &mut Vec<u8>) {
    let headers = record.headers();
    let flag = |flag, is| if is { flag } else { 0 };
    let flags = flag(KEY_IS_TOPIC, record.mqtt_topic.is_none())
        | flag(HEADERS, !headers.is_empty())
        | flag(DEAD, record.dead().is_some());
    meta.clear();
    meta.push(flags);
    // A Kafka topic has at most 249 characters.
    meta.push(kafka_topic.len() as u8);
    meta.extend_from_slice(&route.to_le_bytes());
    meta.extend_from_slice(kafka_topic.as_bytes());
    if let Some(topic) = &record.mqtt_topic {
        put(meta, topic.as_slice());
    }
    if !headers.is_empty() {
        meta.extend_from_slice(&(headers.len() as u16).to_le_bytes());
        for (name, value) in headers {
            put(meta, name.as_slice());
            meta.extend_from_slice(&(value.len() as u32).to_le_bytes());
            meta.extend_from_slice(value);
        }
    }
}

/// A text of MQTT: at most 65,535 bytes.
fn put(meta: &mut Vec<u8>, text: &[u8]) {
    meta.extend_from_slice(&(text.len() as u16).to_le_bytes());
    meta.extend_from_slice(text);
}

/// The entry of a record.
pub(super) fn entry<'a>(record: &'a Record, meta: &'a [u8], time: u64) -> Entry<'a> {
    Entry {
        kind: Kind::Data,
        session: 0,
        packet_id: 0,
        // A record that was in a spool before keeps its time.
        time: record.extra.as_ref().and_then(|extra| extra.time).unwrap_or(time),
        meta,
        key: record.key.as_deref(),
        payload: record.value.as_deref(),
    }
}

/// A record as it was in the spool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// The fingerprint of its route.
    pub route: u32,
    /// The Kafka topic.
    pub kafka_topic: String,
    /// The MQTT topic; `None` where it is the key.
    pub mqtt_topic: Option<Text>,
    /// The key.
    pub key: Option<Payload>,
    /// The value.
    pub value: Option<Payload>,
    /// The headers.
    pub headers: Headers,
    /// Why it is a dead letter, if it is one.
    pub dead: Option<DropReason>,
}

impl Decoded {
    /// The MQTT topic that the message was published to.
    #[must_use]
    pub fn mqtt_topic(&self) -> &[u8] {
        self.mqtt_topic.as_ref().map(Text::as_slice).or(self.key.as_deref()).unwrap_or_default()
    }
}

/// Reads a record back; what it holds shares `buffer`. `None` if the metadata is of no format that is known.
pub(super) fn decode(buffer: &Payload, stored: &Stored) -> Option<Decoded> {
    let mut meta = Cursor(buffer.slice(stored.meta.clone()));
    let flags = meta.byte()?;
    let length = usize::from(meta.byte()?);
    let route = u32::from_le_bytes(meta.take(4)?.as_ref().try_into().ok()?);
    let kafka_topic = String::from_utf8(meta.take(length)?.to_vec()).ok()?;
    let mqtt_topic = if flags & KEY_IS_TOPIC == 0 { Some(meta.text()?) } else { None };
    let mut headers = Headers::new();
    if flags & HEADERS != 0 {
        for _ in 0..meta.length16()? {
            let name = meta.text()?;
            let length = u32::from_le_bytes(meta.take(4)?.as_ref().try_into().ok()?);
            headers.push((name, meta.take(length as usize)?));
        }
    }
    let dead = match flags & DEAD {
        0 => None,
        _ => Some(Marks::split(&headers)?.1.reason()?),
    };
    let part = |range: &Option<std::ops::Range<usize>>| range.clone().map(|range| buffer.slice(range));
    let (key, value) = (part(&stored.key), part(&stored.payload));
    (flags & !(KEY_IS_TOPIC | HEADERS | DEAD) == 0 && meta.0.is_empty()).then_some(Decoded {
        route,
        kafka_topic,
        mqtt_topic,
        key,
        value,
        headers,
        dead,
    })
}

/// Takes bytes from the front.
struct Cursor(Payload);

impl Cursor {
    fn take(&mut self, count: usize) -> Option<Payload> {
        (count <= self.0.len()).then(|| self.0.split_to(count))
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|byte| byte[0])
    }

    fn length16(&mut self) -> Option<usize> {
        let bytes = self.take(2)?;
        Some(usize::from(u16::from_le_bytes([bytes[0], bytes[1]])))
    }

    fn text(&mut self) -> Option<Text> {
        let length = self.length16()?;
        Text::try_from(self.take(length)?).ok()
    }
}
