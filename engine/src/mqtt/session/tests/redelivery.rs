//! Lost connections and lost sessions.

use super::*;

fn exactly_once(protocol: Protocol) -> Source {
    Source { qos: Qos::ExactlyOnce, ..source(protocol) }
}

/// A1: half a packet goes with its connection.
#[test]
fn a_cut_packet_is_dropped_with_its_connection() {
    for protocol in BOTH {
        let message = Message::new(protocol, 1, 1, "a message that is cut");
        let bytes = message.build();
        for cut in 0..bytes.len() {
            let mut world = World::online(protocol);
            assert!(world.messages(&bytes[..cut]).is_empty());
            world.lose();
            assert_eq!(world.last_loss().0, Cause::Eof);
            world.connect(true);
            let messages = world.messages(&message.clone().dup().build());
            assert_eq!(messages.len(), 1);
            world.session.handle_receipt(messages[0].0);
            assert_eq!(world.transmit(), puback(1));
        }
    }
}

#[test]
fn a_redelivery_is_attached_to_the_message_handed_out() {
    for protocol in BOTH {
        let mut world = World::online(protocol);
        let messages: Vec<Message> = (1..=3).map(|id| Message::new(protocol, 1, id, [id as u8])).collect();
        let tickets: Vec<Ticket> = messages.iter().map(|message| world.message(message)).collect();
        world.session.handle_receipt(tickets[1]);
        world.lose();
        world.session.handle_receipt(tickets[2]);
        world.connect(true);
        for message in &messages {
            world.receive(&message.clone().dup().build());
        }
        assert_eq!(world.session.stats().attached, 3);
        assert!(world.transmit().is_empty());
        let fresh = world.message(&Message::new(protocol, 1, 4, "new"));
        world.session.handle_receipt(fresh);
        assert!(world.session.handle_receipt(tickets[0]), "the window lives on");
        assert_eq!(world.transmit(), [puback(1), puback(2), puback(3), puback(4)].concat());
        assert!(world.session.is_idle());
    }
}

#[test]
fn a_message_that_does_not_come_again_holds_nothing_back() {
    let mut world = World::online(Protocol::V5);
    let old = world.message(&Message::new(Protocol::V5, 1, 1, "old"));
    world.lose();
    world.connect(true);
    let new = world.message(&Message::new(Protocol::V5, 1, 2, "new"));
    world.session.handle_receipt(new);
    assert_eq!(world.transmit(), puback(2));
    assert!(!world.session.is_idle());
    assert!(world.session.handle_receipt(old));
    assert!(world.transmit().is_empty(), "the broker did not ask again");
    assert!(world.session.is_idle());
}

/// A8: what was acknowledged is over; the identifier then means a new message, whatever DUP says.
#[test]
fn after_puback_an_identifier_means_a_new_message() {
    for protocol in BOTH {
        for dup in [false, true] {
            let mut world = World::online(protocol);
            let mut message = Message::new(protocol, 1, 1, "x");
            let ticket = world.message(&message);
            world.session.handle_receipt(ticket);
            assert_eq!(world.transmit(), puback(1));
            message.dup = dup;
            let second = world.message(&message);
            assert_ne!(second, ticket, "on the same connection");
            world.session.handle_receipt(second);
            world.transmit();
            world.lose();
            world.connect(true);
            world.message(&message);
            assert_eq!(world.session.stats().attached, 0, "on the next connection");
        }
    }
}

/// A8: before PUBACK, on the same connection, a message at QoS 1 may come twice; better that than lost.
#[test]
fn a_repeated_message_at_qos_1_is_handed_out_again() {
    for protocol in BOTH {
        let mut world = World::online(protocol);
        let message = Message::new(protocol, 1, 1, "x");
        let tickets = [world.message(&message), world.message(&message.clone().dup())];
        tickets.into_iter().for_each(|ticket| assert!(world.session.handle_receipt(ticket)));
        assert_eq!(world.transmit(), [puback(1), puback(1)].concat());
    }
}

#[test]
fn without_dup_an_identifier_means_a_new_message_after_a_reconnect() {
    for protocol in BOTH {
        let mut world = World::online(protocol);
        let old = world.message(&Message::new(protocol, 1, 1, "old"));
        world.lose();
        world.connect(true);
        let new = world.message(&Message::new(protocol, 1, 1, "new"));
        assert_ne!(old, new);
        world.session.handle_receipt(old);
        assert!(world.transmit().is_empty());
        world.session.handle_receipt(new);
        assert_eq!(world.transmit(), puback(1));
    }
}

#[test]
fn a_connection_lost_again_and_again_hands_out_nothing_twice() {
    for protocol in BOTH {
        let mut world = World::online_with(&exactly_once(protocol));
        let messages = [Message::new(protocol, 1, 1, "x"), Message::new(protocol, 2, 2, "y")];
        let tickets: Vec<Ticket> = messages.iter().map(|message| world.message(message)).collect();
        for _ in 0..20 {
            world.lose();
            world.connect(true);
            for message in &messages {
                world.receive(&message.clone().dup().build());
            }
        }
        tickets.iter().rev().for_each(|&ticket| assert!(world.session.handle_receipt(ticket)));
        assert_eq!(world.transmit(), [puback(1), pubrec(2)].concat());
        world.receive(&wire::pubrel(2));
        assert_eq!(world.transmit(), pubcomp(2));
        assert!(world.session.is_idle());
    }
}

/// A9: at QoS 2 an open identifier is the same message, safe or not.
#[test]
fn a_duplicate_at_qos_2_is_received_and_not_handed_out() {
    for protocol in BOTH {
        let mut world = World::online_with(&exactly_once(protocol));
        let message = Message::new(protocol, 2, 5, "once");
        let ticket = world.message(&message);
        world.receive(&message.clone().dup().build());
        assert!(world.transmit().is_empty(), "not safe yet");
        world.session.handle_receipt(ticket);
        assert_eq!(world.transmit(), [pubrec(5), pubrec(5)].concat());
        world.receive(&message.clone().dup().build());
        assert_eq!(world.transmit(), pubrec(5));
        assert_eq!(world.session.stats().repeated, 2);
        let second = world.message(&message);
        assert_ne!(second, ticket, "without DUP it is a new message, whatever became of the PUBREL");
        world.session.handle_receipt(second);
        assert_eq!(world.transmit(), pubrec(5));
        world.receive(&wire::pubrel(5));
        assert_eq!(world.transmit(), pubcomp(5));
        assert!(world.session.is_idle());
        assert_ne!(world.message(&message), ticket, "now it is a new one");
    }
}

/// A9 over a reconnect, before and after PUBREC.
#[test]
fn open_identifiers_survive_the_connection() {
    for protocol in BOTH {
        let mut world = World::online_with(&exactly_once(protocol));
        let messages: Vec<Message> = (1..=2).map(|id| Message::new(protocol, 2, id, [id as u8])).collect();
        let tickets: Vec<Ticket> = messages.iter().map(|message| world.message(message)).collect();
        world.session.handle_receipt(tickets[0]);
        assert_eq!(world.transmit(), pubrec(1));
        world.lose();
        world.connect(true);
        world.receive(&messages[0].clone().dup().build());
        world.receive(&messages[1].clone().dup().build());
        assert_eq!(world.transmit(), pubrec(1));
        world.session.handle_receipt(tickets[1]);
        assert_eq!(world.transmit(), pubrec(2));
        world.lose();
        world.connect(true);
        world.receive(&[wire::pubrel(1), wire::pubrel(2)].concat());
        assert_eq!(world.transmit(), [pubcomp(1), pubcomp(2)].concat());
        assert!(world.session.is_idle());
    }
}

#[test]
fn an_unknown_pubrel_is_completed() {
    for protocol in BOTH {
        let mut world = World::online_with(&exactly_once(protocol));
        world.receive(&wire::pubrel(9));
        let found = if protocol == Protocol::V5 { vec![0x70, 3, 0, 9, 0x92] } else { pubcomp(9) };
        assert_eq!(world.transmit(), found);
    }
}

#[test]
fn a_pubrel_before_pubrec_is_a_violation() {
    let mut world = World::online_with(&exactly_once(Protocol::V5));
    world.message(&Message::new(Protocol::V5, 2, 1, "x"));
    assert_eq!(world.violation(&wire::pubrel(1)).0, Violation::EarlyRelease);
}

/// A6: the broker has lost the session. What was known of it is forgotten; late receipts find nothing.
#[test]
fn a_lost_session_is_given_up() {
    for protocol in BOTH {
        let mut world = World::online_with(&exactly_once(protocol));
        let at_qos_1 = world.message(&Message::new(protocol, 1, 1, "x"));
        let at_qos_2 = world.message(&Message::new(protocol, 2, 2, "y"));
        world.lose();
        world.events();
        let sent = world.connect(false);
        assert_eq!(sent[0], 0x82, "it subscribes again");
        let events = world.events();
        assert!(events.contains(&Event::SessionLost { unacknowledged: 2 }), "{events:?}");
        assert!(!world.session.handle_receipt(at_qos_1) && !world.session.handle_receipt(at_qos_2));
        assert_eq!(world.session.stats().stale_receipts, 2);
        assert!(world.session.is_idle());
        let again = world.message(&Message::new(protocol, 2, 2, "another"));
        assert_ne!(again.generation(), at_qos_2.generation());
        assert!(world.session.handle_receipt(again));
        assert_eq!(world.transmit(), pubrec(2));
    }
}

/// A7: the broker has a session that this process knows nothing of. At QoS 2 that is said; the session goes on.
#[test]
fn an_unknown_session_is_taken_up() {
    for (qos, said) in [(Qos::AtLeastOnce, false), (Qos::ExactlyOnce, true)] {
        let mut world = World::new(&Source { qos, ..source(Protocol::V5) }, &plan(&["ais/#"]));
        world.connect(true);
        assert!(world.session.is_ready());
        assert_eq!(world.events().contains(&Event::PacketIdsUnknown), said);
        let ticket = world.message(&Message::new(Protocol::V5, 1, 1, "x").dup());
        world.session.handle_receipt(ticket);
        assert_eq!(world.transmit(), puback(1));
        world.lose();
        world.connect(true);
        assert!(!world.events().contains(&Event::PacketIdsUnknown), "only once");
    }
}

/// The receive maximum counts anew on each connection (MQTT 5.0 §4.9).
#[test]
fn the_receive_maximum_starts_anew() {
    let mut world = World::online_with(&Source { receive_maximum: 2, ..exactly_once(Protocol::V5) });
    for id in 1..=2 {
        let ticket = world.message(&Message::new(Protocol::V5, 2, id, "x"));
        world.session.handle_receipt(ticket);
    }
    world.transmit();
    world.lose();
    world.connect(true);
    for id in 3..=4 {
        world.message(&Message::new(Protocol::V5, 2, id, "x"));
    }
    world.receive(&wire::pubrel(1));
    assert_eq!(world.violation(&Message::new(Protocol::V5, 2, 5, "x").build()).0.reason_code(), 0x93);
}

/// What was released but never written is written on no later connection.
#[test]
fn acknowledgements_do_not_cross_connections() {
    let mut world = World::online(Protocol::V5);
    let ticket = world.message(&Message::new(Protocol::V5, 1, 1, "x"));
    world.session.handle_receipt(ticket);
    world.lose();
    assert!(world.connect(true).is_empty());
    assert!(world.transmit().is_empty());
    world.receive(&Message::new(Protocol::V5, 1, 1, "x").dup().build());
    assert_eq!(world.transmit(), puback(1));
}

/// mosquitto 2.0 forgets PUBRELs when a connection is lost with a full window.
#[test]
fn a_broker_that_releases_nothing_is_met_anew() {
    for protocol in BOTH {
        let mut world = World::online_with(&exactly_once(protocol));
        let tickets: Vec<Ticket> = (1..=3).map(|id| world.message(&Message::new(protocol, 2, id, "m"))).collect();
        tickets.into_iter().for_each(|ticket| assert!(world.session.handle_receipt(ticket)));
        assert_eq!(world.transmit(), [pubrec(1), pubrec(2), pubrec(3)].concat());
        world.pass(RELEASE_DEADLINE - Duration::from_millis(1));
        world.receive(&wire::pubrel(1));
        world.transmit();
        assert_eq!(world.session.poll_timeout(), Some(world.now + RELEASE_DEADLINE));
        world.pass(RELEASE_DEADLINE);
        assert!(world.session.wants_close());
        world.lose();
        assert_eq!(world.last_loss().0, Cause::ReleaseTimeout { ids: 2 });
        world.connect(true);
        world.pass(RELEASE_DEADLINE);
        assert!(!world.session.wants_close(), "what the broker does not come back to does not count");
        world.receive(&Message::new(protocol, 2, 2, "m").dup().build());
        assert_eq!(world.transmit(), pubrec(2));
        world.receive(&wire::pubrel(2));
        assert_eq!(world.session.poll_timeout().filter(|at| *at <= world.now + RELEASE_DEADLINE), None);
    }
}

/// A broker that has lost its session, and then the connection on which it said so, has a session again that knows of no
/// identifier.
#[test]
fn what_the_broker_never_names_again_holds_up_no_shutdown() {
    for protocol in BOTH {
        let mut world = World::online_with(&exactly_once(protocol));
        let ticket = world.message(&Message::new(protocol, 2, 1, "m"));
        world.session.handle_receipt(ticket);
        assert_eq!(world.transmit(), pubrec(1));
        world.lose();
        world.connect(true);
        world.session.handle_shutdown();
        world.pass(RELEASE_DEADLINE - Duration::from_millis(1));
        world.transmit();
        assert!(!world.session.wants_close(), "it may still release the identifier");
        assert_eq!(world.session.poll_timeout(), Some(world.now + Duration::from_millis(1)));
        world.pass(Duration::from_millis(1));
        assert!(world.session.is_idle());
        assert_eq!(world.transmit(), [0xe0, 0]);
        assert!(world.session.wants_close());
    }
}

/// It was handed out: declined, it would be delivered a second time after the restart.
#[test]
fn a_repetition_is_answered_in_a_shutdown_too() {
    for protocol in BOTH {
        let mut world = World::online_with(&exactly_once(protocol));
        let message = Message::new(protocol, 2, 1, "m");
        let ticket = world.message(&message);
        world.session.handle_receipt(ticket);
        assert_eq!(world.transmit(), pubrec(1));
        world.lose();
        world.connect(true);
        world.session.handle_shutdown();
        world.receive(&message.dup().build());
        assert_eq!(world.transmit(), pubrec(1));
        world.receive(&Message::new(protocol, 2, 2, "new").build());
        assert_eq!(world.session.stats().declined, 1);
        world.receive(&wire::pubrel(1));
        assert_eq!(world.transmit(), [pubcomp(1), vec![0xe0, 0]].concat());
    }
}
