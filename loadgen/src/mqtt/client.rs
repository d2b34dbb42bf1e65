//! What a client writes to a broker, and reads from it.

use super::{
    DUP, Fields, Frame, Qos, Version, Violation, find_property, kind, property, put_packet, put_text, put_variable,
    read_ack,
};

/// What a CONNECT says (MQTT 5.0 §3.1).
#[derive(Debug, Clone)]
pub(crate) struct ConnectOptions {
    pub(crate) version: Version,
    pub(crate) client_id: String,
    /// Whether the broker shall forget the session, now and (expiry 0) when the connection ends.
    pub(crate) clean_start: bool,
    /// Seconds.
    pub(crate) keep_alive: u16,
    /// The most unacknowledged messages that the broker may send; 3.1.1 cannot say it.
    pub(crate) receive_maximum: Option<u16>,
    pub(crate) login: Option<(String, String)>,
}

/// An hour: longer than any outage that a run survives.
const SESSION_EXPIRY_SECONDS: u32 = 3_600;

pub(crate) fn put_connect(out: &mut Vec<u8>, options: &ConnectOptions) {
    let mut body = Vec::new();
    put_text(&mut body, "MQTT");
    body.push(match options.version {
        Version::V311 => 4,
        Version::V5 => 5,
    });
    let login = if options.login.is_some() { 0xc0 } else { 0 };
    body.push(login | (u8::from(options.clean_start) << 1));
    body.extend(options.keep_alive.to_be_bytes());
    if options.version == Version::V5 {
        let mut properties = Vec::new();
        if !options.clean_start {
            properties.push(property::SESSION_EXPIRY);
            properties.extend(SESSION_EXPIRY_SECONDS.to_be_bytes());
        }
        if let Some(maximum) = options.receive_maximum {
            properties.push(property::RECEIVE_MAXIMUM);
            properties.extend(maximum.to_be_bytes());
        }
        put_variable(&mut body, properties.len());
        body.extend(properties);
    }
    put_text(&mut body, &options.client_id);
    if let Some((user, password)) = &options.login {
        put_text(&mut body, user);
        put_text(&mut body, password);
    }
    put_packet(out, kind::CONNECT, &body);
}

/// SUBSCRIBE with one filter (MQTT 5.0 §3.8).
pub(crate) fn put_subscribe(out: &mut Vec<u8>, version: Version, packet_id: u16, filter: &str, qos: Qos) {
    let mut body = packet_id.to_be_bytes().to_vec();
    if version == Version::V5 {
        body.push(0);
    }
    put_text(&mut body, filter);
    body.push(qos.into());
    put_packet(out, kind::SUBSCRIBE | 0x02, &body);
}

pub(crate) fn put_ping(out: &mut Vec<u8>) {
    out.extend([kind::PINGREQ, 0]);
}

/// Normal disconnection that also ends the session, where the version can say so.
pub(crate) fn put_disconnect(out: &mut Vec<u8>, version: Version) {
    match version {
        Version::V311 => out.extend([kind::DISCONNECT, 0]),
        Version::V5 => out.extend([kind::DISCONNECT, 7, 0, 5, property::SESSION_EXPIRY, 0, 0, 0, 0]),
    }
}

/// A packet from a broker.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum FromBroker {
    Connack(Connack),
    Puback(u16, u8),
    Pubrec(u16, u8),
    Pubcomp(u16, u8),
    Pubrel(u16),
    Publish(Publish),
    /// With the granted QoS, or a reason code of 0x80 or more.
    Suback(u16, u8),
    Pong,
    /// With the reason code.
    Disconnect(u8),
}

/// PUBLISH (MQTT 5.0 §3.3), as far as it matters to who only counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Publish {
    pub(crate) qos: Qos,
    pub(crate) is_duplicate: bool,
    /// 0 at QoS 0.
    pub(crate) packet_id: u16,
    pub(crate) payload_bytes: usize,
}

/// CONNACK (MQTT 5.0 §3.2).
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Connack {
    pub(crate) session_present: bool,
    /// 0 is success.
    pub(crate) code: u8,
    pub(crate) receive_maximum: u16,
    pub(crate) maximum_qos: u8,
    /// Seconds, where the broker overrules the client.
    pub(crate) keep_alive: Option<u16>,
}

/// Reads a packet of a broker.
pub(crate) fn read(frame: Frame<'_>, version: Version) -> Result<FromBroker, Violation> {
    let body = frame.body;
    Ok(match frame.kind() {
        kind::CONNACK => FromBroker::Connack(read_connack(body, version)?),
        kind::PUBACK => read_ack(body).map(|(id, reason)| FromBroker::Puback(id, reason))?,
        kind::PUBREC => read_ack(body).map(|(id, reason)| FromBroker::Pubrec(id, reason))?,
        kind::PUBCOMP => read_ack(body).map(|(id, reason)| FromBroker::Pubcomp(id, reason))?,
        kind::PUBREL => read_ack(body).map(|(id, _)| FromBroker::Pubrel(id))?,
        kind::PUBLISH => FromBroker::Publish(read_publish(frame, version)?),
        kind::SUBACK => read_suback(body, version)?,
        kind::PINGRESP => FromBroker::Pong,
        kind::DISCONNECT => FromBroker::Disconnect(body.first().copied().unwrap_or(0)),
        _ => return Err(Violation("packet that a client never receives")),
    })
}

fn read_publish(frame: Frame<'_>, version: Version) -> Result<Publish, Violation> {
    let qos = Qos::try_from((frame.header >> 1) & 0x03).map_err(|_| Violation("PUBLISH with QoS 3"))?;
    let mut fields = Fields(frame.body);
    fields.bytes()?;
    let packet_id = if qos == Qos::AtMostOnce { 0 } else { fields.u16()? };
    if version == Version::V5 {
        let length = fields.variable()?;
        fields.take(length)?;
    }
    Ok(Publish { qos, is_duplicate: frame.header & DUP != 0, packet_id, payload_bytes: fields.0.len() })
}

fn read_suback(body: &[u8], version: Version) -> Result<FromBroker, Violation> {
    let mut fields = Fields(body);
    let packet_id = fields.u16()?;
    if version == Version::V5 {
        fields.properties()?;
    }
    Ok(FromBroker::Suback(packet_id, fields.u8()?))
}

fn read_connack(body: &[u8], version: Version) -> Result<Connack, Violation> {
    let mut fields = Fields(body);
    let flags = fields.u8()?;
    let code = fields.u8()?;
    let properties = if version == Version::V5 && !fields.is_empty() { fields.properties()? } else { Vec::new() };
    let number = |id| find_property(&properties, id).map(|value| value & 0xffff);
    let number = |id| number(id).map(|value| u16::try_from(value).expect("sixteen bits"));
    Ok(Connack {
        session_present: flags & 1 != 0,
        code,
        receive_maximum: number(property::RECEIVE_MAXIMUM).unwrap_or(65_535),
        maximum_qos: number(property::MAXIMUM_QOS).map_or(2, |qos| u8::from(qos > 0)),
        keep_alive: number(property::SERVER_KEEP_ALIVE),
    })
}

#[cfg(test)]
mod tests {
    use super::super::{broker, frame, put_publish};
    use super::*;

    #[test]
    fn reads_what_the_broker_writes() {
        for version in [Version::V311, Version::V5] {
            let mut packet = Vec::new();
            broker::put_connack(&mut packet, version, true);
            let expected =
                Connack { session_present: true, code: 0, receive_maximum: 65_535, maximum_qos: 2, keep_alive: None };
            let found = read(frame(&packet).unwrap().unwrap(), version);
            assert_eq!(found, Ok(FromBroker::Connack(expected)));
        }
    }

    #[test]
    fn messages_and_subscriptions_are_read_in_both_versions() {
        for version in [Version::V311, Version::V5] {
            for qos in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce] {
                let mut packet = Vec::new();
                put_publish(&mut packet, version, qos, "a/b", &[7; 300]);
                packet[0] |= DUP;
                let expected = Publish { qos, is_duplicate: true, packet_id: 0, payload_bytes: 300 };
                assert_eq!(read(frame(&packet).unwrap().unwrap(), version), Ok(FromBroker::Publish(expected)));
                let mut packet = Vec::new();
                broker::put_suback(&mut packet, version, 9, &[qos.into()]);
                assert_eq!(read(frame(&packet).unwrap().unwrap(), version), Ok(FromBroker::Suback(9, qos.into())));
            }
        }
    }

    #[test]
    fn limits_of_the_broker_are_read() {
        let packet = [0x20, 11, 0, 0, 8, 0x21, 0, 20, 0x24, 1, 0x13, 0, 60];
        let found = read(frame(&packet).unwrap().unwrap(), Version::V5).unwrap();
        assert_eq!(
            found,
            FromBroker::Connack(Connack {
                session_present: false,
                code: 0,
                receive_maximum: 20,
                maximum_qos: 1,
                keep_alive: Some(60),
            })
        );
    }
}
