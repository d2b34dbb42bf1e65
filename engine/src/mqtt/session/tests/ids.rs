//! Packet identifiers that are kept over the end of the process.

use super::*;
use crate::mqtt::{Former, IdRecord, session::qos2::content};

/// The topic of every [`Message`].
const TOPIC: &str = "ais/244660000/position";

fn exactly_once(protocol: Protocol) -> Source {
    Source { qos: Qos::ExactlyOnce, ..source(protocol) }
}

fn opened(id: u16, payload: &str) -> IdRecord {
    IdRecord::Open(id, content(TOPIC.as_bytes(), payload.as_bytes()))
}

/// What an earlier process left, under each identifier the same message.
fn former(ids: std::ops::RangeInclusive<u16>) -> Former {
    Former::Open(ids.map(|id| (id, content(TOPIC.as_bytes(), b"sent before"))).collect())
}

/// A session of a process that keeps identifiers.
fn world(protocol: Protocol, former: Former) -> World {
    let mut world = World::new(&exactly_once(protocol), &plan(&["ais/#"]));
    world.session.keep_ids(former);
    world
}

/// The same, online in a session that begins.
fn online(protocol: Protocol) -> World {
    let mut world = world(protocol, Former::Unknown);
    assert!(world.connect(false).is_empty(), "nothing is subscribed before it is durable that nothing is open");
    assert_eq!(world.take(), [IdRecord::Cleared]);
    world.durable(1);
    assert_eq!(world.grant()[0], 0x82);
    assert!(world.session.is_ready());
    world
}

impl World {
    /// Takes what is to be kept.
    fn take(&mut self) -> Vec<IdRecord> {
        let mut taken = Vec::new();
        while let Some(record) = self.session.poll_id() {
            self.session.handle_id_taken();
            taken.push(record);
        }
        taken
    }

    fn durable(&mut self, count: usize) {
        (0..count).for_each(|_| self.session.handle_id_durable());
    }
}

#[test]
fn pubrec_and_pubcomp_wait_for_their_records() {
    for protocol in BOTH {
        let mut world = online(protocol);
        let message = Message::new(protocol, 2, 5, "once");
        let ticket = world.message(&message);
        assert_eq!(world.take(), [], "the message is not safe: an open identifier would lose it");
        world.session.handle_receipt(ticket);
        assert!(world.transmit().is_empty());
        assert_eq!(world.take(), [opened(5, "once")]);
        assert!(world.transmit().is_empty(), "on its way is not durable");
        world.receive(&message.clone().dup().build());
        assert!(world.transmit().is_empty(), "a repetition waits as well");
        world.durable(1);
        assert_eq!(world.transmit(), [pubrec(5), pubrec(5)].concat());
        world.receive(&wire::pubrel(5));
        assert!(world.transmit().is_empty());
        assert_eq!(world.take(), [IdRecord::Closed(5)]);
        world.durable(1);
        assert_eq!(world.transmit(), pubcomp(5));
        assert!(world.session.is_idle());
    }
}

#[test]
fn identifiers_are_opened_in_the_order_of_their_messages() {
    let mut world = online(Protocol::V5);
    let tickets: Vec<Ticket> = (1..=3).map(|id| world.message(&Message::new(Protocol::V5, 2, id, "x"))).collect();
    world.session.handle_receipt(tickets[1]);
    assert_eq!(world.take(), []);
    world.session.handle_receipt(tickets[0]);
    assert_eq!(world.take(), [opened(1, "x"), opened(2, "x")]);
    world.durable(1);
    assert_eq!(world.transmit(), pubrec(1));
    world.session.handle_receipt(tickets[2]);
    assert_eq!(world.take(), [opened(3, "x")]);
    world.durable(2);
    assert_eq!(world.transmit(), [pubrec(2), pubrec(3)].concat());
}

/// A9, A10: after the restart a repetition is one, and PUBREL ends it.
#[test]
fn what_was_open_before_the_restart_is_open_after_it() {
    for protocol in BOTH {
        let mut world = world(protocol, former(1..=3));
        world.connect(true);
        assert!(!world.events().contains(&Event::PacketIdsUnknown));
        assert_eq!(world.take(), []);
        world.receive(&wire::pubrel(1));
        world.receive(&Message::new(protocol, 2, 2, "sent before").dup().build());
        assert_eq!(world.transmit(), pubrec(2));
        assert_eq!(world.session.stats().repeated, 1);
        assert_eq!(world.take(), [IdRecord::Closed(1)]);
        world.durable(1);
        assert_eq!(world.transmit(), pubcomp(1));
        world.receive(&wire::pubrel(2));
        world.take();
        world.durable(1);
        assert_eq!(world.transmit(), pubcomp(2));
        assert!(world.session.is_idle(), "what is kept holds up no shutdown");
    }
}

/// [3.3.1-1]: only a message that is sent again has DUP. The record that closed the identifier was not durable.
#[test]
fn a_new_message_under_an_identifier_of_an_earlier_process_is_not_lost() {
    let mut world = world(Protocol::V5, former(4..=4));
    world.connect(true);
    let ticket = world.message(&Message::new(Protocol::V5, 2, 4, "new"));
    assert_eq!(world.take(), [IdRecord::Closed(4)]);
    world.session.handle_receipt(ticket);
    assert_eq!(world.take(), [opened(4, "new")]);
    world.durable(2);
    assert_eq!(world.transmit(), pubrec(4));
}

/// mosquitto 2.0 forgets PUBRELs: the identifier has a new message, of which the first PUBLISH did not arrive.
#[test]
fn another_message_sent_again_under_an_open_identifier_is_not_lost() {
    for protocol in BOTH {
        let mut world = world(protocol, former(4..=4));
        world.connect(true);
        let ticket = world.message(&Message::new(protocol, 2, 4, "new").dup());
        world.session.handle_receipt(ticket);
        assert_eq!(world.take(), [IdRecord::Closed(4), opened(4, "new")]);
        world.durable(2);
        assert_eq!(world.transmit(), pubrec(4));
        world.receive(&Message::new(protocol, 2, 4, "new").dup().build());
        assert_eq!((world.transmit(), world.session.stats().repeated), (pubrec(4), 1));
    }
}

/// PUBREL again, while the record of the first is on its way: PUBCOMP must not overtake it.
#[test]
fn a_repeated_pubrel_waits_for_the_record_of_the_first() {
    let mut world = world(Protocol::V311, former(4..=4));
    world.connect(true);
    world.receive(&wire::pubrel(4));
    assert_eq!(world.take(), [IdRecord::Closed(4)]);
    world.lose();
    world.connect(true);
    world.receive(&wire::pubrel(4));
    assert!(world.transmit().is_empty());
    world.durable(1);
    assert_eq!(world.transmit(), pubcomp(4));
}

/// A6, [3.2.2-5]: what was open belongs to a session that is gone.
#[test]
fn a_lost_session_closes_what_was_open() {
    for protocol in BOTH {
        let mut world = world(protocol, former(4..=4));
        assert!(world.connect(false).is_empty());
        assert!(world.events().contains(&Event::SessionLost { unacknowledged: 0 }));
        assert_eq!(world.take(), [IdRecord::Cleared]);
        world.durable(1);
        assert_eq!(world.grant()[0], 0x82);
        // Under the same identifier, and sent again: it was in flight when an earlier connection broke.
        let ticket = world.message(&Message::new(protocol, 2, 4, "new").dup());
        world.session.handle_receipt(ticket);
        assert_eq!(world.take(), [opened(4, "new")]);
    }
}

/// What waits for a spool that takes nothing stays bounded, however often the broker loses the session.
#[test]
fn what_was_not_taken_is_not_asked_for_when_the_session_is_lost() {
    let mut world = online(Protocol::V5);
    for _ in 0..3 {
        let ticket = world.message(&Message::new(Protocol::V5, 2, 1, "x"));
        world.session.handle_receipt(ticket);
        assert!(world.session.poll_id().is_some());
        world.lose();
        world.connect(false);
    }
    assert_eq!(world.take(), [IdRecord::Cleared]);
    world.durable(1);
    assert_eq!(world.grant()[0], 0x82);
}

/// A7: the broker has a session whose identifiers were kept, and are gone.
#[test]
fn lost_identifiers_end_the_connection() {
    for protocol in BOTH {
        let mut lost = world(protocol, Former::Lost);
        lost.dial();
        lost.receive(&wire::connack(protocol, true, 0, &[]));
        assert!(lost.session.wants_close() && !lost.session.is_online());
        assert_eq!(lost.transmit()[0], 0xe0, "DISCONNECT");
        lost.lose();
        let cause = lost.last_loss().0;
        assert_eq!(cause, Cause::PacketIdsLost);
        assert!(cause.to_string().contains("ack = \"kafka\""), "{cause}");
        // A session that begins has none to lose.
        lost.dial();
        lost.receive(&wire::connack(protocol, false, 0, &[]));
        assert!(lost.session.is_online());
    }
}

/// As lost as they are, but they were never kept: an upgrade goes on.
#[test]
fn a_session_whose_identifiers_were_never_kept_goes_on() {
    let mut world = world(Protocol::V5, Former::Unknown);
    assert!(world.connect(true).is_empty());
    assert!(world.events().contains(&Event::PacketIdsUnknown));
    assert_eq!(world.take(), [IdRecord::Cleared]);
    world.message(&Message::new(Protocol::V5, 2, 1, "x").dup());
}

#[test]
fn more_pubrels_than_identifiers_are_a_violation_while_their_records_wait() {
    let mut world = world(Protocol::V311, former(1..=u16::MAX));
    world.connect(true);
    (1..=u16::MAX).for_each(|id| world.receive(&wire::pubrel(id)));
    assert!(world.transmit().is_empty());
    assert_eq!(world.violation(&wire::pubrel(1)).0, Violation::Releases);
}

/// One piece of input may bring any number, and nothing is transmitted before its end.
#[test]
fn more_pubrels_than_identifiers_are_answered_where_nothing_is_waited_for() {
    let mut forgetful = World::online_with(&exactly_once(Protocol::V311));
    (0..70_000).for_each(|_| forgetful.receive(&wire::pubrel(1)));
    assert_eq!(forgetful.transmit().len(), 70_000 * pubcomp(1).len());

    let mut kept = world(Protocol::V311, former(1..=1));
    kept.connect(true);
    kept.receive(&wire::pubrel(1));
    kept.take();
    kept.durable(1);
    (1..70_000).for_each(|_| kept.receive(&wire::pubrel(1)));
    assert_eq!(kept.transmit().len(), 70_000 * pubcomp(1).len());
}

/// mosquitto 2.0 forgets PUBRELs. The message under the identifier is not known to be safe before its own receipt.
#[test]
fn a_new_message_under_an_open_identifier_is_opened_by_its_own_receipt() {
    for protocol in BOTH {
        let mut world = online(protocol);
        let first = world.message(&Message::new(protocol, 2, 5, "first"));
        let second = world.message(&Message::new(protocol, 2, 5, "second"));
        assert_eq!(world.take(), [IdRecord::Closed(5)]);
        world.session.handle_receipt(first);
        assert_eq!(world.take(), [], "the second message would be lost with a crash now");
        world.session.handle_receipt(second);
        assert_eq!(world.take(), [opened(5, "second")]);
        world.durable(1);
        assert!(world.transmit().is_empty());
        world.durable(1);
        assert_eq!(world.transmit(), [pubrec(5), pubrec(5)].concat());
        let third = world.message(&Message::new(protocol, 2, 5, "third"));
        world.session.handle_receipt(third);
        assert_eq!(world.take(), [IdRecord::Closed(5), opened(5, "third")]);
    }
}

/// What waits for a spool that takes nothing stays bounded, however often the broker comes with a new message.
#[test]
fn no_message_is_handed_out_while_too_many_records_wait() {
    let mut world = online(Protocol::V311);
    let message = Message::new(Protocol::V311, 2, 1, "x");
    for _ in 0..=u16::MAX {
        let ticket = world.message(&message);
        world.session.handle_receipt(ticket);
        assert!(world.session.poll_id().is_some());
        world.lose();
        world.connect(true);
    }
    world.receive(&message.build());
    assert!(world.session.is_held());
    world.take();
    assert_eq!(world.drain().len(), 1);
}
