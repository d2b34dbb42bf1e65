//! The MQTT side, sans-IO: codec, session, window, violations.

/// A payload that shares its read buffer.
pub type Payload = ntex_bytes::Bytes;
/// UTF-8 text that shares its read buffer.
pub type Text = ntex_bytes::ByteString;
