//! What a dead letter says of itself: its last headers, of which `fairlead.reason` is the first.

use std::{borrow::Cow, time::SystemTime};

use crate::{
    message::{DropReason, Headers},
    mqtt::{Payload, Text},
};

/// The label of the reason, as in metrics.
const REASON: &str = "fairlead.reason";
/// The reason in words.
const ERROR: &str = "fairlead.error";
/// The topic filter of the route.
const ROUTE: &str = "fairlead.route";
/// The name of the source. A record that lay in the spool does not say which of several sources it came from.
const SOURCE: &str = "fairlead.source";
/// The Kafka topic that it was for.
const TOPIC: &str = "fairlead.topic";
/// The MQTT topic.
const MQTT_TOPIC: &str = "fairlead.mqtt.topic";
/// When it became a dead letter: RFC 3339, with milliseconds. The record's own time is that of the message.
const TIME: &str = "fairlead.time";

/// Longest name of a Kafka topic in a header, bytes; a legal one has no more than 249, and an illegal one may be longer
/// than any header should be.
const MAX_TOPIC: usize = 1024;

/// What became of a record, and where it came from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin<'a> {
    pub(crate) reason: DropReason,
    pub(crate) route: Option<&'a str>,
    pub(crate) source: Option<&'a str>,
    pub(crate) topic: &'a str,
    pub(crate) mqtt_topic: &'a [u8],
    pub(crate) time: SystemTime,
}

impl Origin<'_> {
    /// Appends the headers.
    pub(crate) fn write(&self, headers: &mut Headers) {
        let topic = &self.topic[..self.topic.floor_char_boundary(MAX_TOPIC)];
        let time = humantime::format_rfc3339_millis(self.time).to_string();
        let values = [
            (REASON, Some(self.reason.label().as_bytes())),
            (ERROR, Some(self.reason.text().as_bytes())),
            (ROUTE, self.route.map(str::as_bytes)),
            (SOURCE, self.source.map(str::as_bytes)),
            (TOPIC, Some(topic.as_bytes())),
            (MQTT_TOPIC, Some(self.mqtt_topic)),
            (TIME, Some(time.as_bytes())),
        ];
        let values = values.into_iter().filter_map(|(name, value)| Some((name, value?)));
        headers.extend(values.map(|(name, value)| (Text::from_static(name), Payload::copy_from_slice(value))));
    }
}

/// What the headers of a dead letter say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Marks<'a>(&'a [(Text, Payload)]);

impl<'a> Marks<'a> {
    /// Parts the headers of a dead letter into those that the message had and those that were appended.
    pub(crate) fn split(headers: &'a [(Text, Payload)]) -> Option<(&'a [(Text, Payload)], Marks<'a>)> {
        let at = headers.iter().rposition(|(name, _)| **name == *REASON)?;
        let (message, own) = headers.split_at(at);
        Some((message, Marks(own)))
    }

    /// The reason, if this version knows it.
    pub(crate) fn reason(self) -> Option<DropReason> {
        DropReason::of_label(&self.label()?)
    }

    /// The label of the reason.
    pub(crate) fn label(self) -> Option<Cow<'a, str>> {
        self.text(REASON)
    }

    pub(crate) fn error(self) -> Option<Cow<'a, str>> {
        self.text(ERROR)
    }

    pub(crate) fn route(self) -> Option<Cow<'a, str>> {
        self.text(ROUTE)
    }

    pub(crate) fn source(self) -> Option<Cow<'a, str>> {
        self.text(SOURCE)
    }

    pub(crate) fn topic(self) -> Option<Cow<'a, str>> {
        self.text(TOPIC)
    }

    /// As it was written.
    pub(crate) fn time(self) -> Option<Cow<'a, str>> {
        self.text(TIME)
    }

    fn text(self, name: &str) -> Option<Cow<'a, str>> {
        let value = self.0.iter().find(|(header, _)| **header == *name);
        value.map(|(_, value)| String::from_utf8_lossy(value))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn origin(topic: &str) -> Origin<'_> {
        Origin {
            reason: DropReason::TooLarge,
            route: Some("ais/#"),
            source: None,
            topic,
            mqtt_topic: b"ais/1",
            time: UNIX_EPOCH + Duration::from_millis(1_769_860_800_001),
        }
    }

    #[test]
    fn what_is_appended_is_found_behind_what_the_message_had() {
        // A publisher may use our names, and is not believed.
        let forged = (Text::from_static(REASON), Payload::from_static(b"forged"));
        let mut headers: Headers = vec![forged.clone()];
        origin("ais").write(&mut headers);
        let (message, own) = Marks::split(&headers).unwrap();
        assert_eq!(message, [forged]);
        assert_eq!(
            (own.reason(), own.error().as_deref()),
            (Some(DropReason::TooLarge), Some(DropReason::TooLarge.text()))
        );
        assert_eq!((own.route().as_deref(), own.source()), (Some("ais/#"), None));
        assert_eq!((own.topic().as_deref(), own.time().as_deref()), (Some("ais"), Some("2026-01-31T12:00:00.001Z")));
        assert_eq!(own.text(MQTT_TOPIC).as_deref(), Some("ais/1"));
        assert!(Marks::split(&[]).is_none());
    }

    #[test]
    fn a_name_that_never_ends_is_cut() {
        let mut headers = Headers::new();
        origin(&"ä/".repeat(65_535)).write(&mut headers);
        let topic = Marks::split(&headers).unwrap().1.topic().unwrap().into_owned();
        assert!(topic.len() <= MAX_TOPIC && topic.len() > MAX_TOPIC - 4 && topic.starts_with("ä/"));
    }

    #[test]
    fn every_reason_has_a_label_of_its_own() {
        for reason in DropReason::ALL {
            assert_eq!(DropReason::of_label(reason.label()), Some(reason));
        }
    }
}
