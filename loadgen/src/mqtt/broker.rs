//! What a broker reads from a client, and writes to it.

use super::{Fields, Frame, Qos, Version, Violation, find_property, kind, property, put_packet, put_u16, read_ack};

/// A packet from a client.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum FromClient {
    Connect(Connect),
    /// Packet identifier and (filter, requested QoS) pairs; properties and options beside the QoS are not needed here.
    Subscribe(RawFilters),
    Unsubscribe(RawFilters),
    Puback(u16, u8),
    Pubrec(u16, u8),
    Pubcomp(u16, u8),
    Ping,
    /// With a new session expiry interval where the client gave one.
    Disconnect(Option<u32>),
}

/// CONNECT (MQTT 5.0 §3.1), as far as it matters to the firehose.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Connect {
    pub(crate) version: Version,
    pub(crate) client_id: String,
    pub(crate) clean_start: bool,
    /// Seconds; 0 is off.
    pub(crate) keep_alive: u16,
    /// Whether the session outlives the connection.
    pub(crate) persistent: bool,
    pub(crate) receive_maximum: u16,
}

/// A SUBSCRIBE or UNSUBSCRIBE whose layout depends on the version of its connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RawFilters(Vec<u8>);

/// Packet identifier, and the filters with the QoS asked for.
pub(crate) type Filters = (u16, Vec<(String, Qos)>);

impl RawFilters {
    pub(crate) fn subscribe(&self, version: Version) -> Result<Filters, Violation> {
        self.read(version, true)
    }

    pub(crate) fn unsubscribe(&self, version: Version) -> Result<Filters, Violation> {
        self.read(version, false)
    }

    fn read(&self, version: Version, with_options: bool) -> Result<Filters, Violation> {
        let mut fields = Fields(&self.0);
        let packet_id = fields.u16()?;
        if version == Version::V5 {
            fields.properties()?;
        }
        let mut filters = Vec::new();
        while !fields.is_empty() {
            let filter = fields.text()?.to_owned();
            let options = if with_options { fields.u8()? & 0x03 } else { 0 };
            let qos = Qos::try_from(options).map_err(|_| Violation("subscription with QoS 3"))?;
            filters.push((filter, qos));
        }
        if filters.is_empty() {
            return Err(Violation("SUBSCRIBE or UNSUBSCRIBE without a filter"));
        }
        Ok((packet_id, filters))
    }
}

/// Reads a packet of a client.
pub(crate) fn read(frame: Frame<'_>) -> Result<FromClient, Violation> {
    let body = frame.body;
    Ok(match frame.kind() {
        kind::CONNECT => FromClient::Connect(read_connect(body)?),
        kind::SUBSCRIBE => FromClient::Subscribe(RawFilters(body.to_vec())),
        kind::UNSUBSCRIBE => FromClient::Unsubscribe(RawFilters(body.to_vec())),
        kind::PUBACK => read_ack(body).map(|(id, reason)| FromClient::Puback(id, reason))?,
        kind::PUBREC => read_ack(body).map(|(id, reason)| FromClient::Pubrec(id, reason))?,
        kind::PUBCOMP => read_ack(body).map(|(id, reason)| FromClient::Pubcomp(id, reason))?,
        kind::PINGREQ => FromClient::Ping,
        kind::DISCONNECT => FromClient::Disconnect(read_disconnect(body)?),
        kind::PUBLISH => return Err(Violation("PUBLISH to the firehose, which only sends")),
        _ => return Err(Violation("packet that a client never sends")),
    })
}

fn read_connect(body: &[u8]) -> Result<Connect, Violation> {
    let mut fields = Fields(body);
    if fields.text()? != "MQTT" {
        return Err(Violation("CONNECT with another protocol name"));
    }
    let version = match fields.u8()? {
        4 => Version::V311,
        5 => Version::V5,
        _ => return Err(Violation("CONNECT with an unknown protocol level")),
    };
    let flags = fields.u8()?;
    let keep_alive = fields.u16()?;
    let clean_start = flags & 0x02 != 0;
    let properties = match version {
        Version::V5 => fields.properties()?,
        Version::V311 => Vec::new(),
    };
    let receive_maximum = find_property(&properties, property::RECEIVE_MAXIMUM).unwrap_or(65_535);
    let receive_maximum = u16::try_from(receive_maximum).expect("read as two bytes");
    if receive_maximum == 0 {
        return Err(Violation("Receive Maximum of 0"));
    }
    let expiry = find_property(&properties, property::SESSION_EXPIRY).unwrap_or(0);
    Ok(Connect {
        version,
        client_id: fields.text()?.to_owned(),
        clean_start,
        keep_alive,
        persistent: match version {
            Version::V5 => expiry > 0,
            Version::V311 => !clean_start,
        },
        receive_maximum,
    })
}

fn read_disconnect(body: &[u8]) -> Result<Option<u32>, Violation> {
    let mut fields = Fields(body);
    if fields.is_empty() {
        return Ok(None);
    }
    fields.u8()?;
    if fields.is_empty() {
        return Ok(None);
    }
    Ok(find_property(&fields.properties()?, property::SESSION_EXPIRY))
}

/// CONNACK with success.
pub(crate) fn put_connack(out: &mut Vec<u8>, version: Version, session_present: bool) {
    let body = [u8::from(session_present), 0, 0];
    let length = if version == Version::V5 { 3 } else { 2 };
    put_packet(out, kind::CONNACK, &body[..length]);
}

/// SUBACK: one code for each filter, the granted QoS.
pub(crate) fn put_suback(out: &mut Vec<u8>, version: Version, packet_id: u16, codes: &[u8]) {
    put_filters_ack(out, kind::SUBACK, version, packet_id, codes);
}

/// UNSUBACK; 3.1.1 has no codes in it.
pub(crate) fn put_unsuback(out: &mut Vec<u8>, version: Version, packet_id: u16, filters: usize) {
    let codes = match version {
        Version::V5 => vec![0; filters],
        Version::V311 => Vec::new(),
    };
    put_filters_ack(out, kind::UNSUBACK, version, packet_id, &codes);
}

fn put_filters_ack(out: &mut Vec<u8>, header: u8, version: Version, packet_id: u16, codes: &[u8]) {
    let mut body = Vec::with_capacity(3 + codes.len());
    put_u16(&mut body, usize::from(packet_id));
    if version == Version::V5 {
        body.push(0);
    }
    body.extend(codes);
    put_packet(out, header, &body);
}

#[cfg(test)]
mod tests {
    use super::super::client::{ConnectOptions, put_connect, put_disconnect, put_subscribe};
    use super::super::frame;
    use super::*;

    fn round_trip(options: &ConnectOptions) -> Connect {
        let mut packet = Vec::new();
        put_connect(&mut packet, options);
        match read(frame(&packet).unwrap().unwrap()).unwrap() {
            FromClient::Connect(connect) => connect,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn reads_what_the_client_writes() {
        for version in [Version::V311, Version::V5] {
            for clean in [false, true] {
                let receive_maximum = clean.then_some(77);
                let connect = round_trip(&ConnectOptions {
                    version,
                    client_id: "ship".to_owned(),
                    clean_start: clean,
                    keep_alive: 30,
                    receive_maximum,
                    login: Some(("user".to_owned(), "word".to_owned())),
                });
                assert_eq!(connect.client_id, "ship");
                assert_eq!((connect.version, connect.keep_alive), (version, 30));
                assert_eq!((connect.clean_start, connect.persistent), (clean, !clean));
                let is_told = clean && version == Version::V5;
                assert_eq!(connect.receive_maximum, if is_told { 77 } else { 65_535 });
            }
        }
    }

    #[test]
    fn a_disconnect_may_carry_a_new_expiry() {
        for (version, expiry) in [(Version::V311, None), (Version::V5, Some(0))] {
            let mut packet = Vec::new();
            put_disconnect(&mut packet, version);
            let found = read(frame(&packet).unwrap().unwrap());
            assert_eq!(found, Ok(FromClient::Disconnect(expiry)));
        }
    }

    #[test]
    fn subscriptions_are_read_in_both_versions() {
        for version in [Version::V311, Version::V5] {
            let mut packet = Vec::new();
            put_subscribe(&mut packet, version, 9, "a/#", Qos::AtLeastOnce);
            let Ok(FromClient::Subscribe(raw)) = read(frame(&packet).unwrap().unwrap()) else { panic!("{packet:?}") };
            assert_eq!(raw.subscribe(version), Ok((9, vec![("a/#".to_owned(), Qos::AtLeastOnce)])));
        }
        let raw = RawFilters(vec![0, 9, 0, 0, 1, b'#', 2]);
        assert_eq!(raw.subscribe(Version::V5), Ok((9, vec![("#".to_owned(), Qos::ExactlyOnce)])));
        let raw = RawFilters(vec![0, 9, 0, 1, b'#', 1]);
        assert_eq!(raw.subscribe(Version::V311), Ok((9, vec![("#".to_owned(), Qos::AtLeastOnce)])));
        assert!(RawFilters(vec![0, 9]).subscribe(Version::V311).is_err());
        assert!(RawFilters(vec![0, 9, 0, 1, b'#', 3]).subscribe(Version::V311).is_err());
    }
}
