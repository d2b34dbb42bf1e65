//! Bytes to packets and back. The only file that names ntex, whose codec does the work behind [`frame::scan`].

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
    message::{Properties, Publish, Qos},
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
        let Limits { max_packet, skip_oversized, topic_alias_maximum } = self.limits;
        let frame = match frame::scan(input.unread(), self.protocol, max_packet, skip_oversized)? {
            Scan::Frame(frame) => frame,
            Scan::Incomplete(total) => {
                input.want(total);
                return Ok(None);
            }
            Scan::Oversized(frame) => return self.start_skipping(frame, input),
        };
        if !frame.properties.is_empty() {
            let block = &mut input.unread_mut()[frame.properties.clone()];
            let checked = properties::check(block, frame.packet_type(), topic_alias_maximum)?;
            if checked.too_many {
                if skip_oversized && frame.packet_type() == kind::PUBLISH {
                    return self.start_skipping(frame, input);
                }
                return Err(Violation::TooManyProperties { limit: MAX_REPEATED });
            }
        }
        match self.protocol {
            Protocol::V5 => self.decode_v5(&frame, input).map(Some),
            Protocol::V311 => self.decode_v3(&frame, input).map(Some),
        }
    }

    /// Whether the packet at the front of `input` is a PUBLISH that has not been begun.
    #[inline]
    pub(super) fn publish_is_next(&self, input: &Input) -> bool {
        self.skipping.is_none() && input.unread().first().is_some_and(|first_byte| first_byte >> 4 == kind::PUBLISH)
    }

    fn decode_v5(&mut self, frame: &Frame, input: &mut Input) -> Result<Packet, Violation> {
        let packet_type = frame.packet_type();
        if packet_type == kind::CONNACK && input.unread()[1] == 2 {
            // A server of 3.1.1 answers a CONNECT that it does not understand in its own form.
            return Codec::decode_v3(&mut Codec::new(Protocol::V311, self.limits), frame, input);
        }
        let malformed = Violation::Malformed { packet_type };
        let decoded = input.take_frame(frame.total, |bytes| self.v5.decode(bytes)).ok_or(malformed)?;
        match decoded.map_err(|error| violation(&error, packet_type))?.ok_or(malformed)? {
            v5::Decoded::Publish(publish, payload, _) => publish_v5(publish, payload, frame),
            v5::Decoded::Packet(packet, _) => control_v5(packet),
            v5::Decoded::PayloadChunk(..) => Err(malformed),
        }
    }

    fn decode_v3(&mut self, frame: &Frame, input: &mut Input) -> Result<Packet, Violation> {
        let packet_type = frame.packet_type();
        let malformed = Violation::Malformed { packet_type };
        let decoded = input.take_frame(frame.total, |bytes| self.v3.decode(bytes)).ok_or(malformed)?;
        match decoded.map_err(|error| violation(&error, packet_type))?.ok_or(malformed)? {
            v3::Decoded::Publish(publish, payload, _) => {
                check_topic(&publish.topic, false)?;
                let publish = Publish {
                    topic: publish.topic,
                    payload,
                    packet_id: frame.packet_id,
                    qos: qos(publish.qos),
                    retain: publish.retain,
                    dup: publish.dup,
                    wire: frame.total as u32,
                    properties: None,
                };
                Ok(Packet::Publish { publish, alias: 0 })
            }
            v3::Decoded::Packet(packet, _) => control_v3(packet),
            v3::Decoded::PayloadChunk(..) => Err(malformed),
        }
    }

    /// Begins to skip a PUBLISH whose header is at hand: notes what its acknowledgement needs, and the topic alias
    /// that it may define for those that follow.
    #[cold]
    fn start_skipping(&mut self, frame: Frame, input: &mut Input) -> Result<Option<Packet>, Violation> {
        let header = input.unread_mut();
        let (kept, block) = header.split_at_mut(frame.properties.start.min(header.len()));
        let block = &mut block[..frame.properties.len()];
        let Checked { topic_alias, .. } = properties::check(block, kind::PUBLISH, self.limits.topic_alias_maximum)?;
        let topic = std::str::from_utf8(&kept[frame.topic.clone()]).map_err(|_| Violation::Utf8)?;
        check_topic(topic, topic_alias != 0)?;
        let skipped = Skipped {
            qos: match frame.first_byte & 0x06 {
                0 => Qos::AtMostOnce,
                2 => Qos::AtLeastOnce,
                _ => Qos::ExactlyOnce,
            },
            dup: frame.first_byte & 0x08 != 0,
            packet_id: frame.packet_id,
            wire: frame.total as u32,
            alias: topic_alias,
            topic: if topic_alias == 0 { Text::new() } else { Text::from(topic) },
        };
        self.skipping = Some((skipped, frame.total));
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

fn publish_v5(publish: v5::Publish, payload: Payload, frame: &Frame) -> Result<Packet, Violation> {
    let alias = publish.properties.topic_alias.map_or(0, NonZeroU16::get);
    check_topic(&publish.topic, alias != 0)?;
    let publish = Publish {
        topic: publish.topic,
        payload,
        packet_id: frame.packet_id,
        qos: qos(publish.qos),
        retain: publish.retain,
        dup: publish.dup,
        wire: frame.total as u32,
        properties: if frame.properties.is_empty() { None } else { properties(publish.properties) },
    };
    Ok(Packet::Publish { publish, alias })
}

/// What matters beyond the session; `None` if nothing does.
fn properties(from: v5::PublishProperties) -> Option<Box<Properties>> {
    let properties = Properties {
        user: from.user_properties,
        content_type: from.content_type,
        response_topic: from.response_topic,
        correlation_data: from.correlation_data,
        subscription_ids: from.subscription_ids.into_iter().map(NonZeroU32::get).collect(),
    };
    (properties != Properties::default()).then(|| Box::new(properties))
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

/// Checks the topic of a PUBLISH (MQTT 5.0 §3.3.2.1, §4.7); its UTF-8 has been checked.
#[inline]
fn check_topic(topic: &str, alias: bool) -> Result<(), Violation> {
    if topic.is_empty() && !alias {
        return Err(Violation::EmptyTopic);
    }
    // One pass without early exit, which the compiler turns into vector code.
    let bad = topic.bytes().fold(false, |bad, byte| bad | (byte == 0) | (byte == b'#') | (byte == b'+'));
    if !bad {
        Ok(())
    } else if topic.contains('\0') {
        Err(Violation::Nul)
    } else {
        Err(Violation::Wildcard)
    }
}

#[inline]
fn qos(qos: QoS) -> Qos {
    match qos {
        QoS::AtMostOnce => Qos::AtMostOnce,
        QoS::AtLeastOnce => Qos::AtLeastOnce,
        QoS::ExactlyOnce => Qos::ExactlyOnce,
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
