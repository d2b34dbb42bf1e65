//! Messages and their acknowledgements.

use super::*;

#[test]
fn acknowledges_in_order_of_publish() {
    for protocol in BOTH {
        let mut world = World::online(protocol);
        let tickets: Vec<Ticket> =
            (1..=5).map(|id| world.message(&Message::new(protocol, 1, id, [id as u8]))).collect();
        assert_eq!(world.session.in_flight(), 5);
        for index in [4, 2, 1] {
            assert!(world.session.handle_receipt(tickets[index]));
            assert!(world.transmit().is_empty(), "the first is not safe yet");
        }
        assert!(world.session.handle_receipt(tickets[0]));
        assert_eq!(world.transmit(), [puback(1), puback(2), puback(3)].concat());
        assert!(world.session.handle_receipt(tickets[3]));
        assert_eq!(world.transmit(), [puback(4), puback(5)].concat());
        assert!(world.session.is_idle());
        assert_eq!(world.session.unacknowledged_bytes(), 0);
    }
}

#[test]
fn hands_out_what_was_sent() {
    for protocol in BOTH {
        let mut world = World::online(protocol);
        let mut message = Message::new(protocol, 1, 9, "!AIVDM,1,1,,A,13aEOK?P00PD2wVMdLDRhgvL289?,0*26");
        message.retain = true;
        let bytes = message.build();
        let messages = world.messages(&bytes);
        let (ticket, publish) = &messages[0];
        assert_eq!((ticket.shard(), ticket.slot(), ticket.position()), (1, 2, 0));
        assert_eq!(publish.topic, "ais/244660000/position");
        assert_eq!(publish.payload, message.payload);
        assert_eq!((publish.packet_id, publish.qos), (9, Qos::AtLeastOnce));
        assert!(publish.retain && !publish.dup && publish.properties.is_none());
        assert_eq!(publish.wire as usize, bytes.len());
        assert_eq!(world.session.unacknowledged_bytes(), bytes.len() as u64);
    }
}

#[test]
fn qos_0_is_accounted_and_owes_nothing() {
    for protocol in BOTH {
        let mut world = World::online(protocol);
        let ticket = world.message(&Message::new(protocol, 0, 0, "x"));
        assert_eq!(world.session.in_flight(), 0);
        assert!(world.session.unacknowledged_bytes() > 0);
        assert!(!world.session.is_idle());
        assert!(world.session.handle_receipt(ticket));
        assert!(!world.session.handle_receipt(ticket), "a receipt counts once");
        assert!(world.transmit().is_empty());
        assert!(world.session.is_idle());
    }
}

#[test]
fn counts_what_comes_and_goes() {
    for protocol in BOTH {
        let mut world = World::online_with(&Source { qos: Qos::ExactlyOnce, ..source(protocol) });
        let retained = Message { retain: true, ..Message::new(protocol, 0, 0, "x") };
        for message in [retained, Message::new(protocol, 1, 1, "x"), Message::new(protocol, 2, 2, "x")] {
            let ticket = world.message(&message);
            assert!(world.session.handle_receipt(ticket));
        }
        let waiting = world.session.stats();
        assert_eq!((waiting.publishes, waiting.retained, waiting.pubacks), ([1, 1, 1], 1, 0));
        world.transmit();
        world.receive(&wire::pubrel(2));
        world.transmit();
        world.pass(Duration::from_secs(23));
        assert_eq!(world.transmit(), [0xc0, 0], "PINGREQ");
        let stats = world.session.stats();
        assert_eq!((stats.pubacks, stats.pubrecs, stats.pubcomps, stats.pings), (1, 1, 1, 1));
        let twice = stats.plus(stats);
        assert_eq!((twice.publishes, twice.retained, twice.pings), ([2, 2, 2], 2, 2));
    }
}

/// A11: identifiers wrap at full speed and are reused as soon as they are free.
#[test]
fn packet_identifiers_are_reused_at_full_speed() {
    for protocol in BOTH {
        let window = 64;
        let mut world = World::online_with(&Source { receive_maximum: window, ..source(protocol) });
        let (mut acknowledged, mut id) = (0_u32, 0_u16);
        while acknowledged < 200_000 {
            let ids: Vec<u16> = (0..window)
                .map(|_| {
                    id = id.checked_add(1).unwrap_or(1);
                    id
                })
                .collect();
            let stream: Vec<u8> = ids.iter().flat_map(|&id| Message::new(protocol, 1, id, "p").build()).collect();
            let messages = world.messages(&stream);
            assert_eq!(messages.len(), ids.len());
            messages.iter().rev().for_each(|(ticket, _)| assert!(world.session.handle_receipt(*ticket)));
            let expected: Vec<u8> = ids.iter().flat_map(|&id| puback(id)).collect();
            assert_eq!(world.transmit(), expected);
            acknowledged += u32::from(window);
        }
        assert_eq!((world.session.in_flight(), world.session.unacknowledged_bytes()), (0, 0));
    }
}

/// A11 at QoS 2: 65,535 identifiers open at once, and every one free again.
#[test]
fn every_identifier_can_be_open() {
    let mut world =
        World::online_with(&Source { qos: Qos::ExactlyOnce, receive_maximum: u16::MAX, ..source(Protocol::V5) });
    for round in 0..2 {
        for id in 1..=u16::MAX {
            let ticket = world.message(&Message::new(Protocol::V5, 2, id, [round]));
            assert!(world.session.handle_receipt(ticket));
        }
        assert_eq!(world.transmit().len(), 4 * 65_535);
        assert!(!world.session.is_idle());
        for id in 1..=u16::MAX {
            world.receive(&wire::pubrel(id));
        }
        assert_eq!(world.transmit().len(), 4 * 65_535);
        assert!(world.session.is_idle());
    }
}

/// A12 and A13: on 5.0 a broker that sends more than it may is disconnected with 0x93.
#[test]
fn exceeding_the_receive_maximum_is_a_violation_on_5() {
    for qos in [1, 2] {
        let mut world =
            World::online_with(&Source { qos: Qos::ExactlyOnce, receive_maximum: 3, ..source(Protocol::V5) });
        for id in 1..=3 {
            world.message(&Message::new(Protocol::V5, qos, id, "x"));
        }
        let (violation, sent) = world.violation(&Message::new(Protocol::V5, qos, 4, "x").build());
        assert_eq!(violation, Violation::ReceiveMaximum { limit: 3 });
        assert_eq!(sent, [0xe0, 1, 0x93]);
    }
}

/// mosquitto 2.0 loses count when its queue drains: nothing more is taken until there is room.
#[test]
fn an_overrun_of_a_large_receive_maximum_is_borne_by_not_reading_on() {
    let mut world = World::online_with(&Source { receive_maximum: 32, ..source(Protocol::V5) });
    for id in 1..=32 {
        world.message(&Message::new(Protocol::V5, 1, id, "x"));
    }
    assert!(world.session.is_held());
    let more = Message::new(Protocol::V5, 1, 33, "x").build();
    world.input.spare()[..more.len()].copy_from_slice(&more);
    world.input.advance(more.len());
    assert!(matches!(world.session.poll_publish(world.now, &mut world.input), Ok(None)));
    assert!(!world.session.wants_close());
}

#[test]
fn qos_2_counts_against_the_receive_maximum_until_pubcomp() {
    let mut world = World::online_with(&Source { qos: Qos::ExactlyOnce, receive_maximum: 1, ..source(Protocol::V5) });
    for id in 1..=3 {
        let ticket = world.message(&Message::new(Protocol::V5, 2, id, "x"));
        world.session.handle_receipt(ticket);
        assert_eq!(world.transmit(), pubrec(id));
        world.receive(&wire::pubrel(id));
        assert_eq!(world.transmit(), pubcomp(id));
    }
    let ticket = world.message(&Message::new(Protocol::V5, 2, 4, "x"));
    world.session.handle_receipt(ticket);
    world.transmit();
    assert_eq!(world.violation(&Message::new(Protocol::V5, 2, 5, "x").build()).1, [0xe0, 1, 0x93]);
}

/// On 3.1.1 the broker does not know of the receive maximum: it is kept by not reading on.
#[test]
fn the_receive_maximum_is_back_pressure_on_3() {
    let mut world = World::online_with(&Source { receive_maximum: 2, ..source(Protocol::V311) });
    let stream: Vec<u8> = (1..=5).flat_map(|id| Message::new(Protocol::V311, 1, id, "x").build()).collect();
    let mut stream = stream;
    stream.extend(wire::PINGRESP);
    let mut open = world.messages(&stream);
    assert_eq!(open.len(), 2);
    assert!(world.session.saturated());
    let mut seen = 2;
    while let Some((ticket, _)) = open.pop() {
        world.session.handle_receipt(ticket);
        world.transmit();
        let more = world.drain();
        seen += more.len();
        open.extend(more);
    }
    assert_eq!(seen, 5);
    assert!(world.session.is_idle());
}

/// A13: with a receive maximum of 1 and acknowledgements held back, QoS 2 still completes.
#[test]
fn pubrel_is_read_while_messages_are_held_back() {
    let mut world = World::online_with(&Source { qos: Qos::ExactlyOnce, receive_maximum: 1, ..source(Protocol::V311) });
    let ticket = world.message(&Message::new(Protocol::V311, 2, 1, "x"));
    world.session.handle_receipt(ticket);
    assert_eq!(world.transmit(), pubrec(1));
    world.session.set_paused(world.now, true);
    world.receive(&wire::pubrel(1));
    assert_eq!(world.transmit(), pubcomp(1));
    assert!(world.messages(&Message::new(Protocol::V311, 2, 2, "x").build()).is_empty());
    world.session.set_paused(world.now, false);
    assert_eq!(world.drain().len(), 1);
}

/// A14 at QoS 1 and 2 together, with QoS 0 between.
#[test]
fn pubacks_and_pubrecs_share_one_order() {
    for protocol in BOTH {
        let mut world = World::online_with(&Source { qos: Qos::ExactlyOnce, ..source(protocol) });
        let tickets: Vec<Ticket> = [(1, 1), (2, 2), (0, 0), (1, 3), (2, 4)]
            .into_iter()
            .map(|(qos, id)| world.message(&Message::new(protocol, qos, id, "x")))
            .collect();
        for index in [4, 3, 2, 1] {
            world.session.handle_receipt(tickets[index]);
        }
        assert!(world.transmit().is_empty());
        world.session.handle_receipt(tickets[0]);
        assert_eq!(world.transmit(), [puback(1), pubrec(2), puback(3), pubrec(4)].concat());
    }
}

#[test]
fn oversized_messages_are_acknowledged_in_order_and_reported() {
    for protocol in BOTH {
        let mut world = World::online_with(&Source {
            qos: Qos::ExactlyOnce,
            max_packet: 100,
            skip_oversized: true,
            ..source(protocol)
        });
        let first = world.message(&Message::new(protocol, 1, 1, "fits"));
        for (qos, id) in [(1, 2), (2, 3), (0, 0)] {
            let bytes = Message::new(protocol, qos, id, [0; 200]).build();
            world.feed(&bytes);
            let Ok(Some(Delivery::Oversized { wire })) = world.poll() else { panic!("reported") };
            assert_eq!(wire as usize, bytes.len());
        }
        assert!(world.transmit().is_empty(), "the first is not safe yet");
        world.session.handle_receipt(first);
        assert_eq!(world.transmit(), [puback(1), puback(2), pubrec(3)].concat());
        world.receive(&Message::new(protocol, 2, 3, [0; 200]).dup().build());
        assert_eq!(world.transmit(), pubrec(3), "not reported twice");
        world.receive(&wire::pubrel(3));
        assert_eq!(world.transmit(), pubcomp(3));
        assert!(world.session.is_idle());
    }
}

/// A15: without skip_oversized the connection ends before the payload has come, and memory does not grow.
#[test]
fn an_oversized_message_ends_the_connection() {
    for protocol in BOTH {
        let mut world = World::online_with(&Source { max_packet: 100, ..source(protocol) });
        let (violation, sent) = world.violation(&[0x32, 0xff, 0xff, 0xff, 0x7f]);
        assert_eq!(violation, Violation::PacketTooLarge { size: 268_435_460, limit: 100 });
        assert_eq!(violation.label(), "size");
        assert_eq!(sent, if protocol == Protocol::V5 { vec![0xe0, 1, 0x95] } else { Vec::new() });
        assert!(world.input.spare().len() <= crate::mqtt::CHUNK);
    }
}

/// A19: an alias belongs to its connection.
#[test]
fn topic_aliases_end_with_the_connection() {
    let mut world = World::online(Protocol::V5);
    let defined = Message::new(Protocol::V5, 1, 1, "x").topic("the/topic").properties(&[0x23, 0, 64]);
    let used = Message::new(Protocol::V5, 1, 2, "y").topic("").properties(&[0x23, 0, 64]);
    let again = Message::new(Protocol::V5, 1, 3, "z").topic("another").properties(&[0x23, 0, 64]);
    let stream = [defined.build(), used.build(), again.build(), used.build()].concat();
    let topics: Vec<String> = world.messages(&stream).iter().map(|(_, publish)| publish.topic.to_string()).collect();
    assert_eq!(topics, ["the/topic", "the/topic", "another", "another"]);
    world.lose();
    world.connect(true);
    let (violation, sent) = world.violation(&used.build());
    assert_eq!(violation, Violation::UnknownAlias { alias: 64 });
    assert_eq!(sent, [0xe0, 1, 0x82]);
}

/// A23: huge user properties are taken as they are, up to max_packet.
#[test]
fn huge_user_properties_are_bounded_by_the_packet() {
    let mut world = World::online_with(&Source { max_packet: 8 * 1024 * 1024, ..source(Protocol::V5) });
    let property = [&[0x26][..], &wire::text("name"), &wire::text([b'v'; 65_000])].concat();
    let bytes = Message::new(Protocol::V5, 1, 1, "x").properties(&property.repeat(100)).build();
    world.feed(&bytes[..100]);
    assert!(matches!(world.poll(), Ok(None)));
    let messages = world.messages(&bytes[100..]);
    assert_eq!(messages[0].1.properties.as_ref().unwrap().user.len(), 100);
    assert_eq!(world.session.unacknowledged_bytes(), bytes.len() as u64);
}

#[test]
fn receipts_of_a_foreign_generation_are_only_counted() {
    let mut world = World::online(Protocol::V5);
    let ticket = world.message(&Message::new(Protocol::V5, 1, 1, "x"));
    let stale = Ticket::new(1, 2, ticket.generation() + 1, ticket.position());
    assert!(!world.session.handle_receipt(stale));
    assert_eq!(world.session.stats().stale_receipts, 1);
    assert!(world.transmit().is_empty());
}
