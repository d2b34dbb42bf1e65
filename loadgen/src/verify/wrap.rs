//! Where a bridge puts the payload: in the record as it is, or wrapped.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rdkafka::Message;
use rdkafka::message::{BorrowedMessage, Headers};
use serde_json::Value;
use std::borrow::Cow;
use std::str::FromStr;

/// How the payload is found in a record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Wrap {
    /// It is the value.
    #[default]
    None,
    /// The value is the payload in base64.
    Base64,
    /// The value is JSON, and the payload is the string at this pointer (RFC 6901).
    Json(String),
    /// The value is JSON, and the string at this pointer is the payload in base64.
    JsonBase64(String),
    /// It is the header of this name.
    Header(String),
}

impl FromStr for Wrap {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, place) = text.split_once(':').unwrap_or((text, ""));
        // A name alone is a field of the outermost object.
        let pointer = || if place.starts_with('/') { place.to_owned() } else { format!("/{place}") };
        match (kind, place) {
            ("none", "") => Ok(Self::None),
            ("base64", "") => Ok(Self::Base64),
            ("json" | "json-base64" | "header", "") => Err(format!("{kind} needs a name: {kind}:NAME")),
            ("json", _) => Ok(Self::Json(pointer())),
            ("json-base64", _) => Ok(Self::JsonBase64(pointer())),
            ("header", name) => Ok(Self::Header(name.to_owned())),
            _ => {
                Err("none, base64, json:FIELD, json-base64:FIELD or header:NAME; FIELD may be a JSON pointer"
                    .to_owned())
            }
        }
    }
}

impl Wrap {
    /// The payload of a record; none where it is not there.
    pub(super) fn payload<'a>(&self, message: &'a BorrowedMessage<'_>) -> Option<Cow<'a, [u8]>> {
        if let Self::Header(name) = self {
            let header = message.headers()?.iter().find(|header| header.key == name)?;
            return header.value.map(Cow::Borrowed);
        }
        self.unwrap(message.payload()?)
    }

    /// The payload in a value; what is in a header is not.
    fn unwrap<'a>(&self, value: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        let field = |pointer: &str| {
            let value: Value = serde_json::from_slice(value).ok()?;
            value.pointer(pointer)?.as_str().map(str::to_owned)
        };
        match self {
            Self::None => Some(Cow::Borrowed(value)),
            Self::Base64 => STANDARD.decode(value).ok().map(Cow::Owned),
            Self::Json(pointer) => field(pointer).map(|text| Cow::Owned(text.into_bytes())),
            Self::JsonBase64(pointer) => field(pointer).and_then(|text| STANDARD.decode(text).ok()).map(Cow::Owned),
            Self::Header(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unwrap(wrap: &str, value: &str) -> Option<Vec<u8>> {
        let wrap: Wrap = wrap.parse().expect("a known wrap");
        wrap.unwrap(value.as_bytes()).map(Cow::into_owned)
    }

    #[test]
    fn payloads_are_found_where_bridges_put_them() {
        for (wrap, value) in [
            ("none", "hello"),
            ("base64", "aGVsbG8="),
            ("json:payload", r#"{"topic": "a/b", "payload": "hello"}"#),
            ("json:/message/payload", r#"{"message": {"payload": "hello"}}"#),
            ("json-base64:data", r#"{"data": "aGVsbG8="}"#),
        ] {
            assert_eq!(unwrap(wrap, value).as_deref(), Some(b"hello".as_slice()), "{wrap}");
        }
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        for (wrap, value) in [
            ("base64", "h e l l o"),
            ("json:payload", r#"{"payload": 5}"#),
            ("json:payload", r#"{"load": "hello"}"#),
            ("json:payload", "hello"),
            ("json-base64:data", r#"{"data": "?"}"#),
        ] {
            assert_eq!(unwrap(wrap, value), None, "{wrap}");
        }
    }

    #[test]
    fn a_pattern_that_makes_no_sense_is_refused() {
        for wrap in ["xml", "json", "header", "json-base64", "base64:x"] {
            assert!(wrap.parse::<Wrap>().is_err(), "{wrap}");
        }
    }
}
