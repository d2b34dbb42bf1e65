//! One log line: its parts, bounded in length, and how they are written as text and as JSON.

use std::{
    borrow::Cow,
    fmt::{self, Write as _},
};

use serde::Serialize;
use serde_json::{Map, Value};
use tracing::{
    Event, Level,
    field::{Field, Visit},
};
use tracing_log::NormalizeEvent as _;

/// Longest message or field of a line, bytes before escaping.
const MAX_VALUE: usize = 1024;
/// Longest sum of message and fields of a line, bytes before escaping; what comes after is left out.
const MAX_LINE: usize = 4096;
/// Most fields of a line.
const MAX_FIELDS: usize = 32;

/// How lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// A line without its time.
#[derive(Clone, Debug)]
pub(super) struct Line {
    level: Level,
    target: String,
    message: String,
    fields: Vec<(&'static str, Value)>,
    /// Bytes that message and fields may still take.
    room: usize,
}

/// The shape of a JSON line; the order is that of reading.
#[derive(Serialize)]
struct Json<'a> {
    timestamp: &'a str,
    level: &'a str,
    target: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Map::is_empty")]
    fields: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    repeats: Option<u64>,
}

impl Line {
    /// A line of Fairlead's own about its logs.
    pub(super) fn new(level: Level, message: String) -> Line {
        Line { level, target: "fairlead::logging".to_owned(), message, fields: Vec::new(), room: 0 }
    }

    /// The line of an event, also of one that came through the `log` crate.
    pub(super) fn of(event: &Event<'_>) -> Line {
        let normalized = event.normalized_metadata();
        let metadata = normalized.as_ref().unwrap_or_else(|| event.metadata());
        let mut line = Line {
            level: *metadata.level(),
            target: cut(MAX_VALUE, metadata.target()),
            message: String::new(),
            fields: Vec::new(),
            room: MAX_LINE,
        };
        event.record(&mut line);
        line
    }

    /// Where it comes from.
    pub(super) fn target(&self) -> &str {
        &self.target
    }

    /// Message and fields on one line, without control characters.
    pub(super) fn body(&self) -> String {
        let mut body = printable(&self.message).into_owned();
        for (name, value) in &self.fields {
            if !body.is_empty() {
                body.push(' ');
            }
            write!(body, "{name}={}", plain(value)).expect("a string takes everything");
        }
        body
    }

    /// The whole line with its end. `repeats` is how often the same was said and not written since the last time.
    pub(super) fn render(&self, format: Format, timestamp: &str, repeats: u64) -> String {
        match format {
            Format::Text => {
                let again = if repeats > 0 { format!(" (said {repeats} more times)") } else { String::new() };
                let (level, target) = (self.level, printable(&self.target));
                format!("{timestamp} {level:>5} {target}: {}{again}\n", self.body())
            }
            Format::Json => {
                let json = Json {
                    timestamp,
                    level: self.level.as_str(),
                    target: &self.target,
                    message: &self.message,
                    fields: self.fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
                    repeats: (repeats > 0).then_some(repeats),
                };
                let mut line = serde_json::to_string(&json).expect("strings and values are always JSON");
                line.push('\n');
                line
            }
        }
    }

    /// Takes a field that is not text.
    fn push(&mut self, field: &Field, value: Value) {
        // The `log` crate's records carry their origin as fields; it is the target already.
        if self.fields.len() < MAX_FIELDS && !field.name().starts_with("log.") {
            self.fields.push((field.name(), value));
        }
    }

    /// Takes the message or a field of text, as much of it as there is room for.
    fn push_text(&mut self, field: &Field, text: impl fmt::Display) {
        let text = cut(self.room.min(MAX_VALUE), text);
        self.room = self.room.saturating_sub(text.len());
        if field.name() == "message" {
            self.message = text;
        } else {
            self.push(field, Value::String(text));
        }
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.push_text(field, format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.push_text(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.push_text(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.push(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.push(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.push(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.push(field, value.into());
    }
}

/// A field's value on a line of text: quoted where it would not stand for itself.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) if text.is_empty() || text.contains([' ', '"', '=']) => {
            printable(&format!("{text:?}")).into_owned()
        }
        Value::String(text) => printable(text).into_owned(),
        other => other.to_string(),
    }
}

/// At most `max` bytes of `value` and an ellipsis; what comes after is not even formatted.
fn cut(max: usize, value: impl fmt::Display) -> String {
    struct Cut(String, usize);
    impl fmt::Write for Cut {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            let room = self.1 - self.0.len();
            self.0.push_str(&text[..text.floor_char_boundary(room)]);
            if text.len() > room { Err(fmt::Error) } else { Ok(()) }
        }
    }
    let mut cut = Cut(String::new(), max);
    if write!(cut, "{value}").is_err() {
        cut.0.push('…');
    }
    cut.0
}

/// `text` with everything escaped that would let it leave its line or steer a terminal: control characters, line
/// separators and the marks that turn the direction of writing.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    let hostile = |c: char| {
        c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(hostile) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if hostile(c) {
            escaped.extend(c.escape_default());
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}
