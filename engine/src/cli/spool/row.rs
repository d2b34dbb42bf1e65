//! A record of a spool as a line: for people, or as JSON.

use std::{borrow::Cow, fmt};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use fairlead_spool::{Kind, inspect::LogReport};
use serde::Serialize;

use super::{escaped, shown};
use crate::{
    dead_letter::Marks,
    spool::{Decoded, Filed},
};

/// A record. A dead letter says why it is one. Payload and the values of headers are there only where they were asked for.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct Row {
    log: String,
    sequence: u64,
    /// When the message was received, or for what had no time, when it came here.
    time: String,
    kind: &'static str,
    /// Kafka has confirmed it, as the cursor says.
    delivered: bool,
    #[serde(flatten)]
    content: Content,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Content {
    Message(Box<Message>),
    PacketId {
        session: u64,
        packet_id: u16,
    },
    /// Of a format that this version does not know.
    Unknown {
        unknown: bool,
    },
}

#[derive(Debug, Serialize)]
struct Message {
    topic: String,
    mqtt_topic: Bytes,
    key: Option<Bytes>,
    headers: Vec<(String, Option<Bytes>)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dead_letter: Option<Dead>,
    /// `None` is a tombstone.
    payload_bytes: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Bytes>,
}

/// Why a message is a dead letter. The Kafka topic that it was for is that of the message.
#[derive(Debug, Serialize)]
struct Dead {
    reason: String,
    error: Option<String>,
    route: Option<String>,
    source: Option<String>,
    since: Option<String>,
}

impl Dead {
    fn of(marks: Marks<'_>) -> Dead {
        let owned = |text: Option<Cow<'_, str>>| text.map(Cow::into_owned);
        Dead {
            reason: owned(marks.label()).unwrap_or_default(),
            error: owned(marks.error()),
            route: owned(marks.route()),
            source: owned(marks.source()),
            since: owned(marks.time()),
        }
    }
}

/// Bytes of a message, without loss.
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Bytes {
    /// They are text.
    Text(String),
    /// They are not.
    Base64(String),
}

impl Bytes {
    fn of(bytes: &[u8]) -> Bytes {
        match std::str::from_utf8(bytes) {
            Ok(text) => Bytes::Text(text.to_owned()),
            Err(_) => Bytes::Base64(STANDARD.encode(bytes)),
        }
    }
}

impl Row {
    /// The row of a record; `open` shows what it carries.
    pub(in crate::cli) fn new(log: &LogReport, filed: &Filed, open: bool) -> Row {
        let content = match (&filed.record, filed.kind) {
            (Some(record), _) => Content::Message(Box::new(Message::of(record, open))),
            (None, Kind::Data) => Content::Unknown { unknown: true },
            (None, Kind::Open | Kind::Closed) => {
                Content::PacketId { session: filed.session, packet_id: filed.packet_id }
            }
        };
        Row {
            log: log.name.to_string(),
            sequence: filed.sequence,
            time: shown(filed.time),
            kind: match filed.kind {
                Kind::Data => "message",
                Kind::Open => "packet id opens",
                Kind::Closed => "packet id closed",
            },
            delivered: log.delivered.is_some_and(|delivered| filed.sequence <= delivered),
            content,
        }
    }
}

impl Row {
    /// A line for each part.
    pub(in crate::cli) fn whole(&self) -> String {
        let mut lines = vec![format!("{} {}", self.log, self.sequence)];
        match &self.content {
            Content::Message(message) => message.lines(&self.time, &mut lines),
            _ => lines.push(self.to_string()),
        }
        lines.join("\n  ") + "\n"
    }
}

impl Message {
    fn lines(&self, time: &str, lines: &mut Vec<String>) {
        let mut line = |name: &str, value: &str| lines.push(format!("{name:<12}{value}"));
        if let Some(dead) = &self.dead_letter {
            line("reason", &dead.reason);
            let parts =
                [("error", &dead.error), ("since", &dead.since), ("source", &dead.source), ("route", &dead.route)];
            for (name, value) in parts.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?))) {
                line(name, &escaped(value.as_bytes()));
            }
        }
        line("topic", &escaped(self.topic.as_bytes()));
        line("MQTT topic", &self.mqtt_topic.to_string());
        line("time", time);
        line("key", &self.key.as_ref().map_or_else(|| "none".to_owned(), Bytes::to_string));
        for (name, value) in &self.headers {
            let value = value.as_ref().map_or_else(String::new, |value| format!("={value}"));
            line("header", &format!("{}{value}", escaped(name.as_bytes())));
        }
        match (self.payload_bytes, &self.payload) {
            (None, _) => line("payload", "null"),
            (Some(bytes), None) => line("payload", &format!("{bytes} bytes")),
            (Some(bytes), Some(payload)) => line("payload", &format!("{bytes} bytes {payload}")),
        }
    }

    fn of(record: &Decoded, open: bool) -> Message {
        let marked = record.dead.and_then(|_| Marks::split(&record.headers));
        let headers = marked.map_or(&record.headers[..], |(headers, _)| headers).iter();
        let topic = marked.and_then(|(_, marks)| marks.topic()).map(Cow::into_owned);
        Message {
            topic: topic.unwrap_or_else(|| record.kafka_topic.clone()),
            dead_letter: marked.map(|(_, marks)| Dead::of(marks)),
            mqtt_topic: Bytes::of(record.mqtt_topic()),
            key: record.key.as_deref().map(Bytes::of),
            headers: headers.map(|(name, value)| (String::from(&**name), open.then(|| Bytes::of(value)))).collect(),
            payload_bytes: record.value.as_ref().map(|value| value.len()),
            payload: record.value.as_deref().filter(|_| open).map(Bytes::of),
        }
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bytes::Text(text) => write!(f, "\"{}\"", escaped(text.as_bytes())),
            Bytes::Base64(text) => write!(f, "base64:{text}"),
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dead = match &self.content {
            Content::Message(message) => message.dead_letter.as_ref(),
            Content::PacketId { .. } | Content::Unknown { .. } => None,
        };
        let state = if self.delivered { "delivered" } else { "waiting" };
        let state = dead.map_or(state, |dead| &dead.reason);
        write!(f, "{} {} {} {state} ", self.log, self.sequence, self.time)?;
        match &self.content {
            Content::Message(message) => message.fmt(f),
            Content::PacketId { session, packet_id } => write!(f, "{} {session:016x}/{packet_id}", self.kind),
            Content::Unknown { .. } => f.write_str("of a format that this version does not know"),
        }
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}", self.mqtt_topic, escaped(self.topic.as_bytes()))?;
        match &self.key {
            Some(key) => write!(f, " key {key}")?,
            None => f.write_str(" no key")?,
        }
        for (name, value) in &self.headers {
            write!(f, " {}", escaped(name.as_bytes()))?;
            if let Some(value) = value {
                write!(f, "={value}")?;
            }
        }
        match (self.payload_bytes, &self.payload) {
            (None, _) => f.write_str(" null"),
            (Some(bytes), None) => write!(f, " {bytes} bytes"),
            (Some(bytes), Some(payload)) => write!(f, " {bytes} bytes {payload}"),
        }
    }
}
