//! Bytes to packets and back. The only file that names ntex.
//!
//! Control packets are ntex's business, both ways. A PUBLISH is not: once [`frame::scan`] has found its parts it only
//! remains to split them off, and to have ntex find them a second time took 60 (3.1.1) to 130 ns (5.0) of each
//! message, as much as all the rest of the session. The tests hold the two against each other.

use std::num::{NonZeroU16, NonZeroU32};

use ntex_bytes::{BytePages, ByteString, Bytes, BytesMut};
use ntex_codec::{Decoder as _, Encoder as _};
use ntex_mqtt::{QoS, error::DecodeError, v3::codec as v3, v5::codec as v5};

use super::{
    frame::{self, Frame, Protocol, Scan},
    input::Input,
    packet::{ConnAck, Connect, Packet, Skipped, kind},
    properties::{self, Checked, MAX_REPEATED},
    violation::Violation,
};
use crate::{
    message::{Publish, Qos},
    settings::Subscription,
};

/// A payload that shares its read buffer.
pub type Payload = Bytes;
/// UTF-8 text that shares its read buffer.
pub type Text = ByteString;
/// A chunk of received bytes.
pub(super) type Buffer = BytesMut;

/// What a connection accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest packet, bytes.
    pub max_packet: u32,
    /// Whether a PUBLISH above it is skipped ([`Packet::Skipped`]) rather than a violation.
    pub skip_oversized: bool,
    /// Topic Alias Maximum that was announced.
    pub topic_alias_maximum: u16,
}

/// The codec of one connection.
pub struct Codec {
    protocol: Protocol,
    limits: Limits,
    v3: v3::Codec,
    v5: v5::Codec,
    /// The PUBLISH being skipped, and how much of it is still to come.
    skipping: Option<(Skipped, usize)>,
}

impl std::fmt::Debug for Codec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Codec").field("protocol", &self.protocol).field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Codec {
    /// A codec for a fresh connection.
    #[must_use]
    pub fn new(protocol: Protocol, limits: Limits) -> Codec {
        Codec { protocol, limits, v3: v3::Codec::new(), v5: v5::Codec::new(), skipping: None }
    }

    /// Which protocol it speaks.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Takes the next packet off `input`; `None` if it is not complete yet.
    ///
    /// # Errors
    /// [`Violation`]. The connection is then beyond repair: what follows in `input` has no meaning.
    #[inline]
    pub fn decode(&mut self, input: &mut Input) -> Result<Option<Packet>, Violation> {
        if self.skipping.is_some() {
            return Ok(self.skip(input));
        }
        let Limits { max_packet, skip_oversized, .. } = self.limits;
        match frame::scan(input.unread(), self.protocol, max_packet, skip_oversized)? {
            Scan::Frame(frame) if frame.packet_type() == kind::PUBLISH => self.publish(frame, input),
            Scan::Frame(frame) => self.control(frame, input).map(Some),
            Scan::Incomplete(total) => {
                input.want(total);
                Ok(None)
            }
            Scan::Oversized(frame) => self.start_skipping(frame, input),
        }
    }

    /// Whether the packet at the front of `input` is a PUBLISH that has not been begun.
    #[inline]
    pub(super) fn publish_is_next(&self, input: &Input) -> bool {
        self.skipping.is_none() && input.unread().first().is_some_and(|first_byte| first_byte >> 4 == kind::PUBLISH)
    }

    #[inline]
    fn publish(&mut self, frame: Frame, input: &mut Input) -> Result<Option<Packet>, Violation> {
        let mut alias = 0;
        if frame.has_properties() {
            let checked = self.check_properties(frame, input)?;
            if checked.too_many {
                return if self.limits.skip_oversized {
                    self.start_skipping(frame, input)
                } else {
                    Err(Violation::TooManyProperties { limit: MAX_REPEATED })
                };
            }
            alias = checked.topic_alias;
        }
        let parts = input.take_publish(frame.topic(), frame.properties(), frame.total as usize);
        if parts.topic.is_empty() && alias == 0 {
            return Err(Violation::EmptyTopic);
        }
        let publish = Publish {
            topic: Text::try_from(parts.topic).map_err(|()| Violation::Utf8)?,
            payload: parts.payload,
            packet_id: frame.packet_id,
            qos: frame.qos(),
            retain: frame.retain(),
            dup: frame.dup(),
            wire: frame.total,
            properties: if parts.properties.is_empty() { None } else { properties::decode(parts.properties)? },
        };
        Ok(Some(Packet::Publish { publish, alias }))
    }

    #[cold]
    fn check_properties(&self, frame: Frame, input: &Input) -> Result<Checked, Violation> {
        let block = &input.unread()[frame.properties()];
        properties::check(block, frame.packet_type(), self.limits.topic_alias_maximum)
    }

    #[cold]
    fn control(&mut self, frame: Frame, input: &mut Input) -> Result<Packet, Violation> {
        let packet_type = frame.packet_type();
        let malformed = Violation::Malformed { packet_type };
        if self.check_properties(frame, input)?.too_many {
            return Err(Violation::TooManyProperties { limit: MAX_REPEATED });
        }
        // A server of 3.1.1 answers a CONNECT that it does not understand in its own form.
        let old_refusal = packet_type == kind::CONNACK && input.unread()[1] == 2;
        let total = frame.total as usize;
        if self.protocol == Protocol::V311 || old_refusal {
            let decoded = input.take_frame(total, |bytes| self.v3.decode(bytes)).ok_or(malformed)?;
            match decoded.map_err(|error| violation(&error, packet_type))? {
                Some(v3::Decoded::Packet(packet, _)) => control_v3(packet),
                _ => Err(malformed),
            }
        } else {
            let decoded = input.take_frame(total, |bytes| self.v5.decode(bytes)).ok_or(malformed)?;
            match decoded.map_err(|error| violation(&error, packet_type))? {
                Some(v5::Decoded::Packet(packet, _)) => control_v5(packet),
                _ => Err(malformed),
            }
        }
    }

    /// Begins to skip a PUBLISH whose header is at hand: notes what its acknowledgement needs, and the topic alias
    /// that it may define for those that follow.
    #[cold]
    fn start_skipping(&mut self, frame: Frame, input: &mut Input) -> Result<Option<Packet>, Violation> {
        let alias = self.check_properties(frame, input)?.topic_alias;
        let topic = std::str::from_utf8(&input.unread()[frame.topic()]).map_err(|_| Violation::Utf8)?;
        if topic.is_empty() && alias == 0 {
            return Err(Violation::EmptyTopic);
        }
        let skipped = Skipped {
            qos: frame.qos(),
            dup: frame.dup(),
            packet_id: frame.packet_id,
            wire: frame.total,
            alias,
            topic: if alias == 0 { Text::new() } else { Text::from(topic) },
        };
        self.skipping = Some((skipped, frame.total as usize));
        Ok(self.skip(input))
    }

    /// Drops what has come of the packet being skipped; gives it out once nothing is left of it.
    #[cold]
    fn skip(&mut self, input: &mut Input) -> Option<Packet> {
        let (skipped, left) = self.skipping.take()?;
        let here = left.min(input.unread().len());
        input.consume(here);
        if here == left {
            return Some(Packet::Skipped(skipped));
        }
        self.skipping = Some((skipped, left - here));
        None
    }

    /// Appends a CONNECT.
    pub(super) fn put_connect(&self, connect: &Connect<'_>, out: &mut Vec<u8>) {
        let password = connect.password.map(|secret| Bytes::copy_from_slice(secret.expose().as_bytes()));
        match self.protocol {
            Protocol::V311 => self.put_v3(
                v3::Connect {
                    clean_session: connect.clean,
                    keep_alive: connect.keep_alive,
                    last_will: None,
                    client_id: connect.client_id.into(),
                    username: connect.username.map(Text::from),
                    password,
                }
                .into(),
                out,
            ),
            Protocol::V5 => self.put_v5(
                v5::Connect {
                    clean_start: connect.clean,
                    keep_alive: connect.keep_alive,
                    session_expiry_interval_secs: connect.session_expiry,
                    receive_max: NonZeroU16::new(connect.receive_maximum),
                    topic_alias_max: connect.topic_alias_maximum,
                    max_packet_size: connect.max_packet.and_then(NonZeroU32::new),
                    client_id: connect.client_id.into(),
                    username: connect.username.map(Text::from),
                    password,
                    ..v5::Connect::default()
                }
                .into(),
                out,
            ),
        }
    }

    /// Appends a SUBSCRIBE. On 5.0 all `subscriptions` share the Subscription Identifier of the first; Retain
    /// Handling is 1, so that filters which exist already do not bring their retained messages again.
    pub(super) fn put_subscribe(
        &self,
        packet_id: NonZeroU16,
        subscriptions: &[Subscription],
        asked: Qos,
        out: &mut Vec<u8>,
    ) {
        let filters = subscriptions.iter().map(|subscription| Text::from(subscription.filter.as_str()));
        let qos = match asked {
            Qos::AtMostOnce => QoS::AtMostOnce,
            Qos::AtLeastOnce => QoS::AtLeastOnce,
            Qos::ExactlyOnce => QoS::ExactlyOnce,
        };
        match self.protocol {
            Protocol::V311 => {
                let topic_filters = filters.map(|filter| (filter, qos)).collect();
                self.put_v3(v3::Packet::Subscribe { packet_id, topic_filters }, out);
            }
            Protocol::V5 => {
                let options = v5::SubscriptionOptions {
                    qos,
                    no_local: false,
                    retain_as_published: false,
                    retain_handling: v5::RetainHandling::AtSubscribeNew,
                };
                let subscribe = v5::Subscribe {
                    packet_id,
                    id: subscriptions.first().and_then(|first| first.id).and_then(NonZeroU32::new),
                    user_properties: Vec::new(),
                    topic_filters: filters.map(|filter| (filter, options)).collect(),
                };
                self.put_v5(subscribe.into(), out);
            }
        }
    }

    /// Appends an UNSUBSCRIBE.
    pub(super) fn put_unsubscribe(&self, packet_id: NonZeroU16, filters: &[String], out: &mut Vec<u8>) {
        let topic_filters = filters.iter().map(|filter| Text::from(filter.as_str())).collect();
        match self.protocol {
            Protocol::V311 => self.put_v3(v3::Packet::Unsubscribe { packet_id, topic_filters }, out),
            Protocol::V5 => {
                let unsubscribe = v5::Unsubscribe { packet_id, user_properties: Vec::new(), topic_filters };
                self.put_v5(unsubscribe.into(), out);
            }
        }
    }

    fn put_v3(&self, packet: v3::Packet, out: &mut Vec<u8>) {
        let mut pages = BytePages::default();
        self.v3.encodev(packet.into(), &mut pages).expect("settings bound every field of what is sent");
        out.extend_from_slice(&pages.freeze());
    }

    fn put_v5(&self, packet: v5::Packet, out: &mut Vec<u8>) {
        let mut pages = BytePages::default();
        self.v5.encodev(packet.into(), &mut pages).expect("settings bound every field of what is sent");
        out.extend_from_slice(&pages.freeze());
    }
}

fn control_v5(packet: v5::Packet) -> Result<Packet, Violation> {
    Ok(match packet {
        v5::Packet::ConnectAck(ack) => Packet::ConnAck(Box::new(ConnAck {
            session_present: ack.session_present,
            reason: ack.reason_code.into(),
            text: ack.reason_string,
            server: ack.server_reference,
            keep_alive: ack.server_keepalive_sec,
            max_packet: ack.max_packet_size,
            subscription_ids: ack.subscription_identifiers_available,
            shared: ack.shared_subscription_available,
        })),
        v5::Packet::PublishRelease(ack) => Packet::PubRel { packet_id: ack.packet_id.get() },
        v5::Packet::SubscribeAck(ack) => {
            Packet::SubAck { packet_id: ack.packet_id.get(), codes: ack.status.into_iter().map(u8::from).collect() }
        }
        v5::Packet::UnsubscribeAck(ack) => Packet::UnsubAck { packet_id: ack.packet_id.get() },
        v5::Packet::PingResponse => Packet::PingResp,
        v5::Packet::Disconnect(disconnect) => Packet::Disconnect {
            reason: disconnect.reason_code.into(),
            text: disconnect.reason_string,
            server: disconnect.server_reference,
        },
        other => return Err(Violation::Unexpected { packet_type: other.packet_type() >> 4 }),
    })
}

fn control_v3(packet: v3::Packet) -> Result<Packet, Violation> {
    Ok(match packet {
        v3::Packet::ConnectAck(ack) => Packet::ConnAck(Box::new(ConnAck {
            session_present: ack.session_present,
            reason: reason_of_return_code(ack.return_code.into()),
            text: None,
            server: None,
            keep_alive: None,
            max_packet: None,
            subscription_ids: false,
            shared: true,
        })),
        v3::Packet::PublishRelease { packet_id } => Packet::PubRel { packet_id: packet_id.get() },
        v3::Packet::SubscribeAck { packet_id, status } => Packet::SubAck {
            packet_id: packet_id.get(),
            codes: status
                .into_iter()
                .map(|status| match status {
                    v3::SubscribeReturnCode::Success(granted) => granted.into(),
                    v3::SubscribeReturnCode::Failure => 0x80,
                })
                .collect(),
        },
        v3::Packet::UnsubscribeAck { packet_id } => Packet::UnsubAck { packet_id: packet_id.get() },
        v3::Packet::PingResponse => Packet::PingResp,
        other => return Err(Violation::Unexpected { packet_type: other.packet_type() >> 4 }),
    })
}

/// The reason code of 5.0 for a return code of 3.1.1 (MQTT 3.1.1 §3.2.2.3).
fn reason_of_return_code(code: u8) -> u8 {
    match code {
        0 => 0x00,
        1 => 0x84,
        2 => 0x85,
        3 => 0x88,
        4 => 0x86,
        5 => 0x87,
        _ => 0x80,
    }
}

/// The violation that a codec error stands for.
#[cold]
fn violation(error: &DecodeError, packet_type: u8) -> Violation {
    match error {
        DecodeError::Utf8Error => Violation::Utf8,
        DecodeError::InvalidLength => Violation::Length { packet_type },
        _ => Violation::Malformed { packet_type },
    }
}

/// The library's own reading of a PUBLISH, for the tests to compare with.
#[cfg(test)]
pub(super) fn library_publish(protocol: Protocol, bytes: &[u8]) -> Option<(Publish, u16)> {
    let mut buffer = Buffer::copy_from_slice(bytes);
    let qos = |qos: QoS| [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce][usize::from(u8::from(qos))];
    let wire = bytes.len() as u32;
    match protocol {
        Protocol::V311 => match v3::Codec::new().decode(&mut buffer) {
            Ok(Some(v3::Decoded::Publish(publish, payload, _))) => {
                let v3::Publish { dup, retain, topic, packet_id, .. } = publish;
                let packet_id = packet_id.map_or(0, NonZeroU16::get);
                let qos = qos(publish.qos);
                Some((Publish { topic, payload, packet_id, qos, retain, dup, wire, properties: None }, 0))
            }
            _ => None,
        },
        Protocol::V5 => match v5::Codec::new().decode(&mut buffer) {
            Ok(Some(v5::Decoded::Publish(publish, payload, _))) => {
                let v5::Publish { dup, retain, topic, packet_id, properties: from, .. } = publish;
                let packet_id = packet_id.map_or(0, NonZeroU16::get);
                let qos = qos(publish.qos);
                let alias = from.topic_alias.map_or(0, NonZeroU16::get);
                let properties = crate::message::Properties {
                    user: from.user_properties,
                    content_type: from.content_type,
                    response_topic: from.response_topic,
                    correlation_data: from.correlation_data,
                    subscription_ids: from.subscription_ids.into_iter().map(NonZeroU32::get).collect(),
                };
                let properties = (properties != Default::default()).then(|| Box::new(properties));
                Some((Publish { topic, payload, packet_id, qos, retain, dup, wire, properties }, alias))
            }
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests;
