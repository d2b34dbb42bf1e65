use proptest::prelude::*;

use super::*;
use crate::mqtt::wire::{self, Message};

const LIMITS: Limits = Limits { max_packet: 1024 * 1024, skip_oversized: false, topic_alias_maximum: 64 };
const BOTH: [Protocol; 2] = [Protocol::V311, Protocol::V5];

/// Feeds `stream` in pieces of `piece` bytes and returns what comes of it.
fn decode_with(codec: &mut Codec, input: &mut Input, stream: &[u8], piece: usize) -> Result<Vec<String>, Violation> {
    let mut packets = Vec::new();
    for bytes in stream.chunks(piece) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let spare = input.spare();
            let count = rest.len().min(spare.len());
            spare[..count].copy_from_slice(&rest[..count]);
            input.advance(count);
            rest = &rest[count..];
            while let Some(packet) = codec.decode(input)? {
                packets.push(format!("{packet:?}"));
            }
        }
    }
    Ok(packets)
}

fn decode(protocol: Protocol, stream: &[u8], piece: usize) -> Result<Vec<String>, Violation> {
    decode_with(&mut Codec::new(protocol, LIMITS), &mut Input::new(16 * 1024), stream, piece)
}

/// One of each packet that a server sends, and a PUBLISH larger than a chunk.
fn stream(protocol: Protocol) -> Vec<u8> {
    let mut stream = wire::connack(protocol, true, 0, &[]);
    for qos in 0..3 {
        stream.extend(Message::new(protocol, qos, 77, format!("payload at {qos}")).build());
        stream.extend(Message::new(protocol, qos, 78, "").topic("a/topic/that/is/too/long/to/be/kept/inline").build());
    }
    if protocol == Protocol::V5 {
        let properties = [&[0x23, 0, 7][..], &[0x26], &wire::text("name"), &wire::text("value")].concat();
        stream.extend(Message::new(protocol, 1, 79, "with properties").properties(&properties).build());
        stream.extend(wire::disconnect(0x8b));
    }
    stream.extend(Message::new(protocol, 1, 80, vec![0x5a; 40_000]).build());
    stream.extend(wire::pubrel(9));
    stream.extend(wire::suback(protocol, 3, &[0, 1, 2, 0x80]));
    stream.extend(wire::unsuback(protocol, 4, &[0]));
    stream.extend(wire::PINGRESP);
    stream
}

#[test]
fn byte_by_byte_is_as_good_as_whole() {
    for protocol in BOTH {
        let stream = stream(protocol);
        let whole = decode(protocol, &stream, stream.len()).unwrap();
        assert_eq!(whole.len(), if protocol == Protocol::V5 { 14 } else { 12 });
        for piece in [1, 2, 3, 7, 1000] {
            assert_eq!(decode(protocol, &stream, piece).unwrap(), whole, "in pieces of {piece}");
        }
    }
}

#[test]
fn a_cut_packet_is_nothing() {
    for protocol in BOTH {
        let bytes = Message::new(protocol, 1, 5, "half of this will come").build();
        for cut in 0..bytes.len() {
            assert!(decode(protocol, &bytes[..cut], 64).unwrap().is_empty());
        }
    }
}

/// The library takes these for a payload of 4 GiB.
#[test]
fn a_header_beyond_its_remaining_length_is_a_violation() {
    for (protocol, bytes) in [
        (Protocol::V311, &[0x30, 0, 0, 0][..]),
        (Protocol::V311, &[0x30, 1, 0, 0]),
        (Protocol::V311, &[0x32, 3, 0, 1, b'a', 0, 1]),
        (Protocol::V5, &[0x30, 2, 0, 0, 0]),
        (Protocol::V5, &[0x30, 4, 0, 1, b'a', 1, 0x01, 0x00]),
    ] {
        let mut stream = bytes.to_vec();
        stream.extend(Message::new(protocol, 0, 0, "must not be swallowed").build());
        assert_eq!(decode(protocol, &stream, 64), Err(Violation::Length { packet_type: 3 }), "{bytes:02x?}");
    }
}

#[test]
fn a_large_packet_is_refused_by_its_header() {
    for protocol in BOTH {
        let limit = 1024 * 1024;
        let whole = Message::new(protocol, 0, 0, vec![1; limit]).build();
        let violation = Violation::PacketTooLarge { size: whole.len() as u32, limit: limit as u32 };
        assert_eq!(decode(protocol, &whole[..5], 1), Err(violation), "before any of its payload has come");
        let overhead = whole.len() - limit;
        let largest = Message::new(protocol, 0, 0, vec![1; limit - overhead]).build();
        assert_eq!(largest.len(), limit);
        assert_eq!(decode(protocol, &largest, 4096).unwrap().len(), 1);
        let declared = [0x30, 0xff, 0xff, 0xff, 0x7f];
        assert!(matches!(decode(protocol, &declared, 5), Err(Violation::PacketTooLarge { .. })));
    }
}

#[test]
fn skips_a_large_packet_without_holding_it() {
    for protocol in BOTH {
        for (qos, id) in [(0, 0), (1, 11), (2, 12)] {
            let limits = Limits { max_packet: 1000, skip_oversized: true, ..LIMITS };
            let mut codec = Codec::new(protocol, limits);
            let mut input = Input::new(16 * 1024);
            let large = Message::new(protocol, qos, id, vec![7; 3_000_000]).topic(vec![b't'; 60_000]).build();
            let mut stream = Message::new(protocol, 0, 0, "before").build();
            stream.extend(&large);
            stream.extend(Message::new(protocol, 0, 0, "after").build());
            let packets = decode_with(&mut codec, &mut input, &stream, 1500).unwrap();
            assert_eq!(packets.len(), 3);
            assert!(packets[1].starts_with("Skipped"), "{}", packets[1]);
            assert!(packets[1].contains(&format!("packet_id: {id}, wire: {}", large.len())), "{}", packets[1]);
            assert!(packets[0].contains("before") && packets[2].contains("after"));
            assert!(input.spare().len() < 128 * 1024, "nothing grew but for the header");
        }
    }
}

#[test]
fn a_skipped_packet_still_defines_its_alias() {
    let limits = Limits { max_packet: 100, skip_oversized: true, ..LIMITS };
    let mut codec = Codec::new(Protocol::V5, limits);
    let large = Message::new(Protocol::V5, 1, 3, vec![7; 300]).topic("the/topic").properties(&[0x23, 0, 9]).build();
    let packets = decode_with(&mut codec, &mut Input::default(), &large, 50).unwrap();
    assert!(packets[0].contains("alias: 9") && packets[0].contains("the/topic"), "{}", packets[0]);
}

#[test]
fn a_header_too_long_to_skip_is_refused() {
    let limits = Limits { max_packet: 1000, skip_oversized: true, ..LIMITS };
    let mut codec = Codec::new(Protocol::V5, limits);
    let mut input = Input::default();
    let property = [&[0x26][..], &wire::text([b'n'; 60_000]), &wire::text([b'v'; 60_000])].concat();
    let large = Message::new(Protocol::V5, 1, 1, "x").properties(&property.repeat(10)).build();
    let refused = Violation::PacketTooLarge { size: large.len() as u32, limit: 1000 };
    assert_eq!(decode_with(&mut codec, &mut input, &large, 1000), Err(refused));
    let large = Message::new(Protocol::V5, 1, 1, vec![0; 1000]).properties(&property).build();
    let packets = decode_with(&mut Codec::new(Protocol::V5, limits), &mut Input::default(), &large, 1000).unwrap();
    assert!(packets[0].starts_with("Skipped"));
}

#[test]
fn only_a_publish_is_skipped() {
    let limits = Limits { max_packet: 100, skip_oversized: true, ..LIMITS };
    for protocol in BOTH {
        let suback = wire::suback(protocol, 1, &[0; 200]);
        let decoded = decode_with(&mut Codec::new(protocol, limits), &mut Input::default(), &suback, 300);
        assert!(matches!(decoded, Err(Violation::PacketTooLarge { .. })));
    }
}

#[test]
fn user_properties_are_bounded() {
    let user = [&[0x26][..], &wire::text("n"), &wire::text("v")].concat();
    let allowed = Message::new(Protocol::V5, 1, 1, "x").properties(&user.repeat(MAX_REPEATED)).build();
    assert_eq!(decode(Protocol::V5, &allowed, 4096).unwrap().len(), 1);
    let many = Message::new(Protocol::V5, 1, 1, "x").properties(&user.repeat(MAX_REPEATED + 1)).build();
    let refused = Err(Violation::TooManyProperties { limit: MAX_REPEATED });
    assert_eq!(decode(Protocol::V5, &many, 4096), refused);
    assert_eq!(decode(Protocol::V5, &wire::connack(Protocol::V5, false, 0, &user.repeat(2000)), 4096), refused);
    let mut codec = Codec::new(Protocol::V5, Limits { skip_oversized: true, ..LIMITS });
    let packets = decode_with(&mut codec, &mut Input::default(), &many, 4096).unwrap();
    assert!(packets[0].starts_with("Skipped"), "where large ones are skipped, these are too");
}

#[test]
fn reads_the_properties_that_matter() {
    let properties = [
        &[0x01, 1][..],
        &[0x02, 0, 0, 0, 0],
        &[0x03],
        &wire::text("application/json"),
        &[0x08],
        &wire::text("reply/to"),
        &[0x09],
        &wire::text([0, 1, 2]),
        &[0x0b, 5, 0x0b, 0x80, 0x01],
        &[0x26],
        &wire::text("name"),
        &wire::text("first"),
        &[0x26],
        &wire::text("name"),
        &wire::text("second"),
    ]
    .concat();
    let bytes = Message::new(Protocol::V5, 1, 1, "x").properties(&properties).build();
    let mut input = Input::default();
    input.spare()[..bytes.len()].copy_from_slice(&bytes);
    input.advance(bytes.len());
    let Ok(Some(Packet::Publish { publish, alias: 0 })) = Codec::new(Protocol::V5, LIMITS).decode(&mut input) else {
        panic!("a PUBLISH");
    };
    let properties = *publish.properties.unwrap();
    let pair = |name: &'static str, value: &'static str| (Text::from_static(name), Text::from_static(value));
    assert_eq!(properties.user, [pair("name", "first"), pair("name", "second")], "in order");
    assert_eq!(properties.content_type.unwrap(), "application/json");
    assert_eq!(properties.response_topic.unwrap(), "reply/to");
    assert_eq!(properties.correlation_data.unwrap(), [0, 1, 2]);
    assert_eq!(properties.subscription_ids, [5, 128]);
    assert_eq!(publish.payload, b"x");
}

#[test]
fn an_old_broker_refuses_in_its_own_form() {
    let packets = decode(Protocol::V5, &[0x20, 2, 0, 1], 4).unwrap();
    assert!(packets[0].contains("reason: 132"), "unsupported protocol version: {}", packets[0]);
}

fn message() -> impl Strategy<Value = Message> {
    let topic = "[a-zA-Zé/]{1,60}";
    let property =
        prop_oneof![Just(vec![0x26, 0, 1, b'n', 0, 2, b'v', b'v']), (1_u8..128).prop_map(|id| vec![0x0b, id]),];
    let properties = proptest::collection::vec(property, 0..4).prop_map(|all| all.concat());
    let once = proptest::sample::subsequence(
        vec![
            vec![0x01, 0],
            vec![0x02, 0, 0, 1, 0],
            vec![0x03, 0, 2, b't', b'x'],
            vec![0x08, 0, 1, b'r'],
            vec![0x09, 0, 1, 0xff],
            vec![0x23, 0, 64],
        ],
        0..=6,
    )
    .prop_map(|all| all.concat());
    let payload = proptest::collection::vec(any::<u8>(), 0..200);
    (any::<bool>(), 0_u8..3, 1_u16.., any::<bool>(), topic, payload, properties, once).prop_map(
        |(v5, qos, id, flag, topic, payload, properties, once)| {
            let protocol = if v5 { Protocol::V5 } else { Protocol::V311 };
            let mut message = Message::new(protocol, qos, id, payload).topic(topic);
            message.retain = flag;
            message.dup = flag && qos > 0;
            message.properties = [once, properties].concat();
            message
        },
    )
}

proptest! {
    #[test]
    fn reads_a_publish_as_the_library_does(message in message()) {
        let bytes = message.build();
        let ours = decode(message.protocol, &bytes, bytes.len()).unwrap();
        let (publish, alias) = library_publish(message.protocol, &bytes).unwrap();
        prop_assert_eq!(&ours[..], &[format!("{:?}", Packet::Publish { publish, alias })][..]);
    }

    #[test]
    fn random_bytes_never_panic(v5: bool, bytes in proptest::collection::vec(any::<u8>(), 0..300), skip: bool) {
        let protocol = if v5 { Protocol::V5 } else { Protocol::V311 };
        let mut codec = Codec::new(protocol, Limits { max_packet: 200, skip_oversized: skip, ..LIMITS });
        let _ = decode_with(&mut codec, &mut Input::default(), &bytes, 64);
    }

    #[test]
    fn a_changed_byte_never_panics(message in message(), at: prop::sample::Index, byte: u8) {
        let mut bytes = message.build();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = decode(message.protocol, &bytes, 64);
    }
}
