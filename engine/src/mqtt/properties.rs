//! The properties of a packet (MQTT 5.0 §2.2.2): which packet may have them, how often, with which values. They are
//! checked before anything is made of them, because the library refuses most of what is refused here without saying
//! why, and would allocate for each of a million user properties first.

use super::{
    codec::{Payload, Text},
    frame::{self, Protocol},
    packet::kind,
    violation::Violation,
};
use crate::message::Properties;

/// Most user properties and subscription identifiers of one packet, together: what may be repeated. A user property
/// costs 48 bytes once decoded and as few as five on the wire.
pub const MAX_REPEATED: usize = 1024;

const CONTENT_TYPE: u8 = 0x03;
const RESPONSE_TOPIC: u8 = 0x08;
const CORRELATION_DATA: u8 = 0x09;
const SUBSCRIPTION_ID: u8 = 0x0b;
const RECEIVE_MAXIMUM: u8 = 0x21;
const TOPIC_ALIAS: u8 = 0x23;
const MAXIMUM_QOS: u8 = 0x24;
const USER: u8 = 0x26;
const MAXIMUM_PACKET_SIZE: u8 = 0x27;

/// How a property's value is written (MQTT 5.0 §1.5).
#[derive(Clone, Copy)]
enum Value {
    /// A byte that is 0 or 1.
    Flag,
    TwoBytes,
    FourBytes,
    Variable,
    Text,
    Binary,
    Pair,
}

/// The value of property `id` where a packet of this type may have it (MQTT 5.0 §2.2.2.2).
fn value_of(id: u8, packet_type: u8) -> Option<Value> {
    let (value, packets): (Value, &[u8]) = match id {
        0x01 => (Value::Flag, &[kind::PUBLISH]),
        0x02 => (Value::FourBytes, &[kind::PUBLISH]),
        CONTENT_TYPE | RESPONSE_TOPIC => (Value::Text, &[kind::PUBLISH]),
        CORRELATION_DATA => (Value::Binary, &[kind::PUBLISH]),
        SUBSCRIPTION_ID => (Value::Variable, &[kind::PUBLISH]),
        0x11 => (Value::FourBytes, &[kind::CONNACK, kind::DISCONNECT]),
        0x12 | 0x15 | 0x1a => (Value::Text, &[kind::CONNACK]),
        0x13 | RECEIVE_MAXIMUM | 0x22 => (Value::TwoBytes, &[kind::CONNACK]),
        0x16 => (Value::Binary, &[kind::CONNACK]),
        0x1c => (Value::Text, &[kind::CONNACK, kind::DISCONNECT]),
        0x1f => (Value::Text, &[kind::CONNACK, kind::PUBREL, kind::SUBACK, kind::UNSUBACK, kind::DISCONNECT]),
        TOPIC_ALIAS => (Value::TwoBytes, &[kind::PUBLISH]),
        MAXIMUM_QOS | 0x25 | 0x28 | 0x29 | 0x2a => (Value::Flag, &[kind::CONNACK]),
        USER => return Some(Value::Pair),
        MAXIMUM_PACKET_SIZE => (Value::FourBytes, &[kind::CONNACK]),
        _ => return None,
    };
    packets.contains(&packet_type).then_some(value)
}

/// What the check found out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Checked {
    /// Topic alias; 0 is none.
    pub(super) topic_alias: u16,
    /// Whether there are more repeated properties than [`MAX_REPEATED`].
    pub(super) too_many: bool,
}

/// Checks the properties `block` of a packet, all but the UTF-8 of its text.
///
/// # Errors
/// The [`Violation`], with the reason code the standard wants.
pub(super) fn check(block: &[u8], packet_type: u8, alias_maximum: u16) -> Result<Checked, Violation> {
    let mut checked = Checked::default();
    let mut seen = 0_u64;
    let mut repeated = 0;
    let mut at = 0;
    while at < block.len() {
        let id = block[at];
        at += 1;
        let value = value_of(id, packet_type).ok_or(Violation::UnknownProperty { id, packet_type })?;
        if id == USER || id == SUBSCRIPTION_ID {
            repeated += 1;
            checked.too_many = repeated > MAX_REPEATED;
        } else {
            if seen & (1 << id) != 0 {
                return Err(Violation::DuplicateProperty { id });
            }
            seen |= 1 << id;
        }
        let length = length_of(&block[at..], value).ok_or(Violation::Length { packet_type })?;
        let bytes = block.get(at..at + length).ok_or(Violation::Length { packet_type })?;
        check_value(bytes, id, value, alias_maximum)?;
        if id == TOPIC_ALIAS {
            checked.topic_alias = u16::from_be_bytes([bytes[0], bytes[1]]);
        }
        at += length;
    }
    Ok(checked)
}

/// Bytes that a value takes; `None` if they cannot be told from what is there.
fn length_of(bytes: &[u8], value: Value) -> Option<usize> {
    let prefixed = |at: usize| {
        let length = bytes.get(at..at + 2)?;
        Some(at + 2 + usize::from(u16::from_be_bytes([length[0], length[1]])))
    };
    match value {
        Value::Flag => Some(1),
        Value::TwoBytes => Some(2),
        Value::FourBytes => Some(4),
        Value::Variable => {
            bytes.iter().take(4).position(|byte| byte & 0x80 == 0).map_or(Some(4), |last| Some(last + 1))
        }
        Value::Text | Value::Binary => prefixed(0),
        Value::Pair => prefixed(prefixed(0)?),
    }
}

/// Checks one value, of exactly the bytes it takes.
fn check_value(bytes: &[u8], id: u8, value: Value, alias_maximum: u16) -> Result<(), Violation> {
    let invalid = Violation::PropertyValue { id };
    match value {
        Value::Flag if bytes[0] > 1 => Err(invalid),
        Value::TwoBytes => {
            let number = u16::from_be_bytes([bytes[0], bytes[1]]);
            match id {
                TOPIC_ALIAS if number == 0 || number > alias_maximum => {
                    Err(Violation::TopicAlias { alias: number, maximum: alias_maximum })
                }
                RECEIVE_MAXIMUM if number == 0 => Err(invalid),
                _ => Ok(()),
            }
        }
        Value::FourBytes if id == MAXIMUM_PACKET_SIZE && bytes == [0; 4] => Err(invalid),
        Value::Variable => match frame::variable_byte_integer(bytes, Protocol::V5)? {
            Some((0, _)) | None => Err(invalid),
            Some(_) => Ok(()),
        },
        Value::Text | Value::Pair if bytes_of_text(bytes, value).any(|byte| byte == 0) => Err(Violation::Nul),
        Value::Text if id == RESPONSE_TOPIC && bytes[2..].iter().any(|byte| b"+#".contains(byte)) => {
            Err(Violation::Wildcard)
        }
        _ => Ok(()),
    }
}

/// The bytes of a text, or of both texts of a pair, without their lengths.
fn bytes_of_text(bytes: &[u8], value: Value) -> impl Iterator<Item = u8> {
    let first = match value {
        Value::Pair => usize::from(u16::from_be_bytes([bytes[0], bytes[1]])),
        _ => bytes.len() - 2,
    };
    let (name, rest) = bytes[2..].split_at(first);
    name.iter().chain(rest.get(2..).unwrap_or_default()).copied()
}

/// Reads the properties of a PUBLISH that matter beyond the session; `None` if there are none of these. The block
/// has passed [`check`].
///
/// # Errors
/// [`Violation::Utf8`].
pub(super) fn decode(mut block: Payload) -> Result<Option<Box<Properties>>, Violation> {
    const LENGTH: Violation = Violation::Length { packet_type: kind::PUBLISH };
    let mut properties = Properties::default();
    while let Some(&id) = block.first() {
        let length = value_of(id, kind::PUBLISH).and_then(|value| length_of(&block[1..], value)).ok_or(LENGTH)?;
        block.advance_to(1);
        let mut bytes = block.split_to_checked(length).ok_or(LENGTH)?;
        match id {
            USER => properties.user.push((text(take_prefixed(&mut bytes))?, text(take_prefixed(&mut bytes))?)),
            CONTENT_TYPE => properties.content_type = Some(text(take_prefixed(&mut bytes))?),
            RESPONSE_TOPIC => properties.response_topic = Some(text(take_prefixed(&mut bytes))?),
            CORRELATION_DATA => properties.correlation_data = Some(take_prefixed(&mut bytes)),
            SUBSCRIPTION_ID => {
                let (id, _) = frame::variable_byte_integer(&bytes, Protocol::V5)?.ok_or(LENGTH)?;
                properties.subscription_ids.push(id);
            }
            _ => {}
        }
    }
    Ok((properties != Properties::default()).then(|| Box::new(properties)))
}

/// Takes length-prefixed bytes off the front.
fn take_prefixed(bytes: &mut Payload) -> Payload {
    let length = usize::from(u16::from_be_bytes([bytes[0], bytes[1]]));
    bytes.advance_to(2);
    bytes.split_to(length)
}

fn text(bytes: Payload) -> Result<Text, Violation> {
    Text::try_from(bytes).map_err(|()| Violation::Utf8)
}
