//! From a PUBLISH to a Kafka record: everything is moved, nothing is copied.

use crate::{
    message::{DropReason, Extra, Headers, Publish, Qos, Record, Ticket},
    mqtt::{Payload, Text},
    route::{Entry, Key},
    settings::{Empty, HeaderSet, Route},
};

/// Makes the record of a PUBLISH, where `entry` says that it goes; `route` is the route of the entry.
///
/// The value is the payload; one that is empty becomes what the route says. Headers are the user properties under
/// their own names and in their order, then `mqtt.content_type`, `mqtt.response_topic` and `mqtt.correlation_data`
/// where the PUBLISH has them, then, if the route asks for them, `mqtt.topic`, `mqtt.qos` (`0`, `1` or `2`),
/// `mqtt.retain` and `mqtt.dup` (`true` or `false`). Those of Fairlead come last, because the last header of a name
/// is the one that Kafka's clients look up: no user property can pass for them. Without headers nothing is allocated.
///
/// # Errors
/// [`DropReason::Empty`] where the payload is empty and the route skips such messages.
#[inline(always)]
pub fn record(ticket: Ticket, publish: Publish, entry: &Entry<'_>, route: &Route) -> Result<Record, DropReason> {
    let value = match route.empty {
        Empty::Skip if publish.payload.is_empty() => return Err(DropReason::Empty),
        Empty::Null if publish.payload.is_empty() => None,
        _ => Some(publish.payload),
    };
    let mut headers = Headers::new();
    if let Some(properties) = publish.properties {
        headers = properties.user.into_iter().map(|(name, value)| (name, value.into_bytes())).collect();
        let own = [
            ("mqtt.content_type", properties.content_type.map(Text::into_bytes)),
            ("mqtt.response_topic", properties.response_topic.map(Text::into_bytes)),
            ("mqtt.correlation_data", properties.correlation_data),
        ];
        for (name, value) in own {
            headers.extend(value.map(|value| (Text::from_static(name), value)));
        }
    }
    if route.headers == HeaderSet::Mqtt {
        let own = [
            ("mqtt.topic", publish.topic.as_bytes().clone()),
            ("mqtt.qos", Payload::from_static(qos(publish.qos))),
            ("mqtt.retain", Payload::from_static(flag(publish.retain))),
            ("mqtt.dup", Payload::from_static(flag(publish.dup))),
        ];
        headers.extend(own.map(|(name, value)| (Text::from_static(name), value)));
    }
    let (key, mqtt_topic) = match &entry.key {
        Key::Topic => (Some(publish.topic.into_bytes()), None),
        Key::None => (None, Some(publish.topic)),
        Key::Part(range) => (Some(publish.topic.as_bytes().slice(range.clone())), Some(publish.topic)),
        Key::Rendered(key) => (Some((*key).clone()), Some(publish.topic)),
    };
    Ok(Record {
        ticket,
        topic: entry.topic,
        route: entry.route,
        partition: entry.partition,
        key,
        value,
        mqtt_topic,
        extra: (!headers.is_empty()).then(|| Box::new(Extra { headers, ..Extra::default() })),
    })
}

fn qos(qos: Qos) -> &'static [u8] {
    match qos {
        Qos::AtMostOnce => b"0",
        Qos::AtLeastOnce => b"1",
        Qos::ExactlyOnce => b"2",
    }
}

fn flag(flag: bool) -> &'static [u8] {
    if flag { b"true" } else { b"false" }
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
