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
