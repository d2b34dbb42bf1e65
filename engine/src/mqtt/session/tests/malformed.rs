//! What no broker may send: every vector ends its connection with the right reason, nothing of it or after it is
//! handed out, and the session connects again.

use proptest::prelude::*;

use super::*;

/// A packet that is wrong, and the reason code it deserves; `None` where 0x81 and 0x82 are equally right.
struct Vector {
    name: String,
    bytes: Vec<u8>,
    reason: Option<u8>,
}

fn vector(name: impl Into<String>, bytes: Vec<u8>, reason: impl Into<Option<u8>>) -> Vector {
    Vector { name: name.into(), bytes, reason: reason.into() }
}

/// Every first byte that a server never sends.
fn first_bytes(protocol: Protocol, vectors: &mut Vec<Vector>) {
    for first_byte in 0..=u8::MAX {
        let valid = match first_byte {
            0x20 | 0x62 | 0x90 | 0xb0 | 0xd0 => true,
            0xe0 => protocol == Protocol::V5,
            0x30..=0x3f => first_byte & 0x06 != 0x06 && first_byte & 0x0e != 0x08,
            _ => false,
        };
        if !valid {
            let bytes = vec![first_byte, 4, 0, 1, b'a', 0];
            vectors.push(vector(format!("first byte {first_byte:#04x}"), bytes, None));
        }
    }
}

/// Each packet cut at each byte, with a remaining length that says so.
fn truncations(protocol: Protocol, vectors: &mut Vec<Vector>) {
    let property = [&[0x1f][..], &wire::text("reason")].concat();
    let with_property = |first_byte: u8, head: &[u8], tail: &[u8]| {
        (first_byte, [head, &wire::block(protocol, &property), tail].concat())
    };
    let mut publish = Message::new(protocol, 1, 1, "").topic("ab").build();
    if protocol == Protocol::V5 {
        publish = Message::new(protocol, 1, 1, "").topic("ab").properties(&[0x02, 0, 0, 0, 9, 0x23, 0, 1]).build();
    }
    let mut packets = vec![
        (0x32, publish[2..].to_vec()),
        (0x62, vec![0, 1]),
        with_property(0x90, &[0, 1], &[1]),
        with_property(0xb0, &[0, 1], if protocol == Protocol::V5 { &[0] } else { &[] }),
    ];
    if protocol == Protocol::V5 {
        packets.push(with_property(0x62, &[0, 1, 0], &[]));
        packets.push(with_property(0xe0, &[0x8b], &[]));
    }
    for (first_byte, body) in packets {
        for cut in 0..body.len() {
            // Reason code and properties of a 5.0 packet may be left out.
            let whole = protocol == Protocol::V5 && matches!((first_byte, cut), (0x62, 2 | 3) | (0xe0, 0 | 1));
            if !whole {
                let bytes = wire::packet(first_byte, &body[..cut]);
                vectors.push(vector(format!("{first_byte:#04x} cut at {cut}"), bytes, None));
            }
        }
    }
}

fn topics(protocol: Protocol, vectors: &mut Vec<Vector>) {
    let mut topic = |name: &str, topic: &[u8], reason: u8| {
        let bytes = Message::new(protocol, 1, 1, "x").topic(topic).build();
        vectors.push(vector(format!("topic: {name}"), bytes, reason));
    };
    topic("empty", b"", 0x82);
    topic("#", b"a/#", 0x90);
    topic("+", b"+/a", 0x90);
    topic("U+0000", b"a\0b", 0x81);
    topic("a lone continuation byte", b"a\x80", 0x81);
    topic("an overlong slash", b"\xc0\xaf", 0x81);
    topic("an overlong U+0000", b"\xc0\x80", 0x81);
    topic("a surrogate", b"\xed\xa0\x80", 0x81);
    topic("the last surrogate", b"\xed\xbf\xbf", 0x81);
    topic("beyond U+10FFFF", b"\xf4\x90\x80\x80", 0x81);
    topic("five bytes", b"\xf8\x88\x80\x80\x80", 0x81);
    topic("cut short", b"a/\xe2\x82", 0x81);
    topic("0xff", b"\xff", 0x81);
    topic("a long one with a bad end", &[&[b'a'; 300][..], b"\xff"].concat(), 0x81);
}

fn publishes(protocol: Protocol, vectors: &mut Vec<Vector>) {
    for qos in [1, 2] {
        vectors.push(vector("packet identifier 0", Message::new(protocol, qos, 0, "x").build(), 0x82));
    }
    for first_byte in [0x36, 0x37, 0x3e, 0x3f] {
        vectors.push(vector("QoS 3", vec![first_byte, 5, 0, 1, b'a', 0, 1], 0x81));
    }
    for first_byte in [0x38, 0x39] {
        vectors.push(vector("DUP at QoS 0", vec![first_byte, 3, 0, 1, b'a'], 0x82));
    }
    for body in [&[0, 0, 0][..], &[0, 5, b'a'], &[0xff, 0xff, b'a']] {
        vectors.push(vector("topic beyond the packet", wire::packet(0x30, body), None));
    }
}

fn lengths(protocol: Protocol, vectors: &mut Vec<Vector>) {
    for first_byte in [0x30, 0x32, 0x62, 0x90, 0xb0, 0xd0] {
        let bytes = vec![first_byte, 0x80, 0x80, 0x80, 0x80, 0x01];
        vectors.push(vector(format!("{first_byte:#04x} with five bytes of length"), bytes, 0x81));
        let bytes = vec![first_byte, 0xff, 0xff, 0xff, 0xff];
        vectors.push(vector(format!("{first_byte:#04x} with an endless length"), bytes, 0x81));
        if protocol == Protocol::V5 {
            for length in [&[0x85, 0x00][..], &[0x85, 0x80, 0x00], &[0x85, 0x80, 0x80, 0x00]] {
                let bytes = [&[first_byte][..], length, &[0, 1, b'a', 0, 0]].concat();
                vectors.push(vector(format!("{first_byte:#04x} with a padded length"), bytes, 0x81));
            }
        }
    }
    let bytes = vec![0x32, 0xff, 0xff, 0xff, 0x7f];
    vectors.push(vector("256 MiB announced", bytes, 0x95));
}

fn controls(protocol: Protocol, vectors: &mut Vec<Vector>) {
    vectors.push(vector("a second CONNACK", wire::connack(protocol, false, 0, &[]), 0x82));
    vectors.push(vector("PINGRESP with a body", vec![0xd0, 1, 0], 0x81));
    vectors.push(vector("PUBREL of 0", wire::pubrel(0), None));
    vectors.push(vector("SUBACK of 0", wire::suback(protocol, 0, &[1]), None));
    vectors.push(vector("SUBACK to nothing", wire::suback(protocol, 99, &[1]), 0x82));
    vectors.push(vector("UNSUBACK to nothing", wire::unsuback(protocol, 99, &[0]), 0x82));
    for code in [3, 4, 0x7f, 0x81, 0xff] {
        vectors.push(vector("SUBACK with an unknown code", wire::suback(protocol, 1, &[code]), None));
    }
    if protocol == Protocol::V5 {
        vectors.push(vector("PUBREL with an unknown reason", wire::packet(0x62, &[0, 1, 0x55]), 0x81));
        vectors.push(vector("DISCONNECT with an unknown reason", wire::disconnect(0x55), 0x81));
        vectors.push(vector("PUBREL and more", wire::packet(0x62, &[0, 1, 0, 0, 9]), None));
    } else {
        vectors.push(vector("PUBREL and more", wire::packet(0x62, &[0, 1, 0]), 0x81));
        vectors.push(vector("UNSUBACK and more", wire::packet(0xb0, &[0, 1, 0]), 0x81));
    }
}

/// Each property with a value that is right for it.
fn properties() -> Vec<(u8, Vec<u8>)> {
    let text = wire::text("t");
    let four = vec![0, 0, 0, 9];
    let two = vec![0, 9];
    let table = [
        (0x01, vec![1]),
        (0x02, four.clone()),
        (0x03, text.clone()),
        (0x08, text.clone()),
        (0x09, text.clone()),
        (0x0b, vec![5]),
        (0x11, four.clone()),
        (0x12, text.clone()),
        (0x13, two.clone()),
        (0x15, text.clone()),
        (0x16, text.clone()),
        (0x17, vec![1]),
        (0x18, four.clone()),
        (0x19, vec![1]),
        (0x1a, text.clone()),
        (0x1c, text.clone()),
        (0x1f, text.clone()),
        (0x21, two.clone()),
        (0x22, two.clone()),
        (0x23, two),
        (0x24, vec![1]),
        (0x25, vec![1]),
        (0x26, [text.clone(), text].concat()),
        (0x27, four),
        (0x28, vec![1]),
        (0x29, vec![1]),
        (0x2a, vec![1]),
    ];
    table.into_iter().map(|(id, value)| (id, [&[id][..], &value].concat())).collect()
}

const OF_PUBLISH: [u8; 8] = [0x01, 0x02, 0x03, 0x08, 0x09, 0x0b, 0x23, 0x26];
const OF_ACKNOWLEDGEMENTS: [u8; 2] = [0x1f, 0x26];

fn property_vectors(vectors: &mut Vec<Vector>) {
    let publish = |block: &[u8]| Message::new(Protocol::V5, 1, 1, "x").properties(block).build();
    let suback = |block: &[u8]| wire::packet(0x90, &[&[0, 1][..], &wire::block(Protocol::V5, block), &[1]].concat());
    for (id, property) in properties() {
        let twice = property.repeat(2);
        if !OF_PUBLISH.contains(&id) {
            vectors.push(vector(format!("{id:#04x} in PUBLISH"), publish(&property), 0x81));
        } else if id != 0x0b && id != 0x26 {
            vectors.push(vector(format!("{id:#04x} twice in PUBLISH"), publish(&twice), 0x82));
        }
        if !OF_ACKNOWLEDGEMENTS.contains(&id) {
            vectors.push(vector(format!("{id:#04x} in SUBACK"), suback(&property), 0x81));
        } else if id != 0x26 {
            vectors.push(vector(format!("{id:#04x} twice in SUBACK"), suback(&twice), 0x82));
        }
        if OF_PUBLISH.contains(&id) {
            for cut in 1..property.len() {
                let name = format!("{id:#04x} cut at {cut} in PUBLISH");
                vectors.push(vector(name, publish(&property[..cut]), None));
            }
        }
    }
    for id in [0x00, 0x04, 0x0a, 0x10, 0x14, 0x2b, 0x40, 0x7f, 0x80, 0xff] {
        vectors.push(vector(format!("unknown property {id:#04x}"), publish(&[id, 0]), 0x81));
    }
    for (name, block, reason) in [
        ("alias 0", &[0x23, 0, 0][..], 0x94),
        ("alias above the maximum", &[0x23, 0, 65], 0x94),
        ("the largest alias", &[0x23, 0xff, 0xff], 0x94),
        ("subscription identifier 0", &[0x0b, 0], 0x82),
        ("a padded subscription identifier", &[0x0b, 0x81, 0], 0x81),
        ("an endless subscription identifier", &[0x0b, 0x80, 0x80, 0x80, 0x80, 1], 0x81),
        ("payload format 2", &[0x01, 2], 0x82),
        ("U+0000 in the content type", &[0x03, 0, 1, 0], 0x81),
        ("U+0000 in a name", &[0x26, 0, 1, 0, 0, 1, b'v'], 0x81),
        ("U+0000 in a value", &[0x26, 0, 1, b'n', 0, 1, 0], 0x81),
        ("content type not UTF-8", &[0x03, 0, 1, 0xff], 0x81),
        ("name not UTF-8", &[0x26, 0, 1, 0xff, 0, 1, b'v'], 0x81),
        ("value not UTF-8", &[0x26, 0, 1, b'n', 0, 1, 0xff], 0x81),
        ("wildcard in the response topic", &[0x08, 0, 1, b'#'], 0x90),
    ] {
        vectors.push(vector(name, publish(block), reason));
    }
    let unknown = Message::new(Protocol::V5, 1, 1, "x").topic("").properties(&[0x23, 0, 5]).build();
    vectors.push(vector("an alias without its topic", unknown, 0x82));
    let long = [&[0x32, 7, 0, 1, b'a', 0, 1][..], &[0x85, 0x00]].concat();
    vectors.push(vector("a padded property length", long, 0x81));
    let beyond = vec![0x32, 6, 0, 1, b'a', 0, 1, 9];
    vectors.push(vector("properties beyond the packet", beyond, 0x81));
}

fn vectors(protocol: Protocol) -> Vec<Vector> {
    let mut vectors = Vec::new();
    first_bytes(protocol, &mut vectors);
    truncations(protocol, &mut vectors);
    topics(protocol, &mut vectors);
    publishes(protocol, &mut vectors);
    lengths(protocol, &mut vectors);
    controls(protocol, &mut vectors);
    if protocol == Protocol::V5 {
        property_vectors(&mut vectors);
    }
    vectors
}

/// A16 and A17.
#[test]
fn every_malformed_packet_ends_its_connection() {
    for protocol in BOTH {
        let vectors = vectors(protocol);
        assert!(vectors.len() >= 300, "{}", vectors.len());
        for Vector { name, bytes, reason } in vectors {
            let mut world = World::online(protocol);
            let good = Message::new(protocol, 0, 0, "must not be handed out").build();
            world.feed(&bytes);
            world.feed(&good);
            let violation = match world.poll() {
                Err(violation) => violation,
                other => panic!("{name} ({bytes:02x?}) on {protocol:?}: {other:?}"),
            };
            let code = violation.reason_code();
            match reason {
                Some(reason) => assert_eq!(code, reason, "{name} on {protocol:?}: {violation}"),
                None => assert!(code == 0x81 || code == 0x82, "{name} on {protocol:?}: {violation}"),
            }
            assert!(Violation::LABELS.contains(&violation.label()));
            assert!(matches!(world.poll(), Ok(None)), "{name}: nothing comes after a violation");
            assert!(world.session.wants_close());
            let farewell = if protocol == Protocol::V5 { vec![0xe0, 1, code] } else { Vec::new() };
            assert_eq!(world.transmit(), farewell, "{name}");
            assert!(world.transmit().is_empty(), "it is said once");
            world.lose();
            world.connect(true);
            assert!(world.session.is_ready(), "{name}: it goes on");
        }
    }
}

/// A20: what is wrong with a CONNACK.
#[test]
fn every_malformed_connack_ends_its_connection() {
    let connack = |block: &[u8]| wire::connack(Protocol::V5, false, 0, block);
    let mut vectors = vec![
        ("reserved flags", vec![0x20, 3, 0xfe, 0, 0]),
        ("unknown reason", wire::connack(Protocol::V5, false, 0x55, &[])),
        ("nothing", vec![0x20, 0]),
        ("only flags", vec![0x20, 1, 0]),
        ("and more", vec![0x20, 4, 0, 0, 0, 0]),
        ("receive maximum 0", connack(&[0x21, 0, 0])),
        ("maximum packet size 0", connack(&[0x27, 0, 0, 0, 0])),
        ("maximum QoS 2", connack(&[0x24, 2])),
        ("retain available 2", connack(&[0x25, 2])),
        ("padded property length", vec![0x20, 4, 0, 0, 0x80, 0]),
        ("properties beyond the packet", vec![0x20, 3, 0, 0, 5]),
    ];
    for (id, property) in properties() {
        if OF_PUBLISH.contains(&id) && id != 0x26 || matches!(id, 0x17..=0x19) {
            vectors.push(("a foreign property", connack(&property)));
        } else if id != 0x26 {
            vectors.push(("a property twice", connack(&property.repeat(2))));
        }
    }
    for (name, bytes) in vectors {
        let mut world = World::new(&source(Protocol::V5), &plan(&["a"]));
        world.dial();
        world.feed(&bytes);
        assert!(world.poll().is_err(), "{name}: {bytes:02x?}");
        assert!(world.session.wants_close());
    }
    for bytes in [&[0x20, 0][..], &[0x20, 1, 0], &[0x20, 2, 2, 0], &[0x20, 2, 0, 9], &[0x20, 3, 0, 0, 0]] {
        let mut world = World::new(&source(Protocol::V311), &plan(&["a"]));
        world.dial();
        world.feed(bytes);
        assert!(world.poll().is_err(), "{bytes:02x?}");
    }
}

/// A17: odd but valid topics come through as they are, each as itself.
#[test]
fn odd_topics_are_handed_out_as_they_are() {
    let longest = "x".repeat(65_535);
    let topics = [
        "$SYS/broker",
        "/",
        "//",
        "/a",
        "a/",
        "a",
        " ",
        "\u{feff}a",
        "\u{1}",
        "\u{7f}",
        "ä",
        "a\u{308}",
        "🚢",
        &longest,
    ];
    for protocol in BOTH {
        let mut world = World::online(protocol);
        for topic in topics {
            let messages = world.messages(&Message::new(protocol, 0, 0, "x").topic(topic).build());
            assert_eq!(messages[0].1.topic, topic);
        }
    }
}

/// A4: pieces of any size are as good as whole packets.
#[test]
fn pieces_make_no_difference() {
    for protocol in BOTH {
        let stream: Vec<u8> = (1..=50)
            .flat_map(|id| Message::new(protocol, 1, id, vec![id as u8; usize::from(id) * 7]).build())
            .collect();
        for piece in [1, 2, 5, 64, stream.len()] {
            let mut world = World::online(protocol);
            let messages: Vec<(Ticket, Publish)> =
                stream.chunks(piece).flat_map(|bytes| world.messages(bytes)).collect();
            assert_eq!(messages.len(), 50);
            for (index, (ticket, publish)) in messages.iter().enumerate() {
                assert_eq!(publish.payload, vec![index as u8 + 1; (index + 1) * 7]);
                world.session.handle_receipt(*ticket);
            }
            assert_eq!(world.transmit().len(), 200);
        }
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic_and_nothing_follows_a_violation(
        v5: bool,
        online: bool,
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
        piece in 1_usize..100,
    ) {
        let protocol = if v5 { Protocol::V5 } else { Protocol::V311 };
        let mut world = World::new(&source(protocol), &plan(&["a"]));
        if online {
            world.connect(false);
        } else {
            world.dial();
        }
        let mut violated = false;
        for bytes in bytes.chunks(piece) {
            world.feed(bytes);
            loop {
                match world.poll() {
                    Ok(Some(_)) => prop_assert!(!violated && online),
                    Ok(None) => break,
                    Err(_) => {
                        prop_assert!(!violated);
                        violated = true;
                    }
                }
            }
            prop_assert!(!violated || world.session.wants_close());
            world.transmit();
        }
    }

    /// A14: whatever the order of receipts, PUBACKs leave in the order of the PUBLISHes.
    #[test]
    fn pubacks_leave_in_order(v5: bool, order in Just((0..60_usize).collect::<Vec<_>>()).prop_shuffle()) {
        let protocol = if v5 { Protocol::V5 } else { Protocol::V311 };
        let mut world = World::online(protocol);
        let tickets: Vec<Ticket> =
            (1..=60).map(|id| world.message(&Message::new(protocol, 1, id, "x"))).collect();
        let mut sent = Vec::new();
        for index in order {
            world.session.handle_receipt(tickets[index]);
            sent.extend(world.transmit());
        }
        let expected: Vec<u8> = (1..=60).flat_map(puback).collect();
        prop_assert_eq!(sent, expected);
    }
}
