//! SUBSCRIBE, SUBACK, UNSUBSCRIBE.

use super::*;

fn many(count: usize) -> Vec<String> {
    (0..count).map(|index| format!("filter/{index}")).collect()
}

fn plan_of(filters: &[String]) -> SessionPlan {
    plan(&filters.iter().map(String::as_str).collect::<Vec<_>>())
}

/// All filters that `sent` asks for, with their options.
fn asked(sent: &[u8], protocol: Protocol) -> Vec<(String, u8)> {
    packets(sent).iter().flat_map(|packet| filters(packet, protocol)).collect()
}

/// Connects up to CONNACK. Returns what is sent then.
fn connected(world: &mut World, session_present: bool) -> Vec<u8> {
    world.dial();
    world.receive(&wire::connack(world.protocol, session_present, 0, &[]));
    world.transmit()
}

#[test]
fn asks_for_every_filter_once() {
    for protocol in BOTH {
        let filters = many(300);
        let mut world = World::new(&source(protocol), &plan_of(&filters));
        world.dial();
        world.receive(&wire::connack(protocol, false, 0, &[]));
        let first = world.transmit();
        assert_eq!(packets(&first).len(), 16, "no more without an answer");
        assert!(!world.session.is_ready());
        for id in 1..=16 {
            world.receive(&wire::suback(protocol, id, &[1; 8]));
        }
        let all = [first, world.grant()].concat();
        assert!(world.session.is_ready());
        assert!(world.events().contains(&Event::Subscribed { filters: 300, retired: 0 }));
        let asked = asked(&all, protocol);
        assert_eq!(asked.iter().map(|(filter, _)| filter.clone()).collect::<Vec<_>>(), filters);
        let options = if protocol == Protocol::V5 { 0x11 } else { 0x01 };
        assert!(asked.iter().all(|&(_, asked)| asked == options), "QoS 1, on 5.0 with Retain Handling 1");
    }
}

/// The broker had lost the session and made it anew for a CONNECT whose answer was lost: there is one, without filters.
#[test]
fn after_a_connect_without_an_answer_every_filter_is_asked_for() {
    for protocol in BOTH {
        let mut world = World::online(protocol);
        world.lose();
        world.dial();
        world.lose();
        assert_eq!(asked(&world.connect(true), protocol).len(), 1);
        assert!(world.session.is_ready());
        world.lose();
        world.dial();
        world.receive(&wire::connack(protocol, false, if protocol == Protocol::V5 { 0x88 } else { 3 }, &[]));
        world.lose();
        assert!(world.connect(true).is_empty(), "a connection that was refused makes no session");
    }
}

/// A18: a session that goes on is not subscribed again.
#[test]
fn a_session_that_goes_on_keeps_its_filters() {
    for protocol in BOTH {
        let mut world = World::online(protocol);
        for _ in 0..50 {
            world.lose();
            assert!(world.connect(true).is_empty(), "nothing to ask for");
            assert!(world.session.is_ready());
        }
        world.lose();
        assert_eq!(asked(&world.connect(false), protocol).len(), 1, "the session was lost");
        assert!(world.session.is_ready());
    }
}

#[test]
fn the_first_connection_asks_even_if_the_broker_knows_the_session() {
    for protocol in BOTH {
        let mut world = World::new(&source(protocol), &plan(&["a", "b"]));
        assert_eq!(asked(&world.connect(true), protocol).len(), 2);
    }
}

/// A restarted process subscribes new filters alone, and only where the broker that granted the others still has them.
#[test]
fn what_is_remembered_is_not_asked_for_again() {
    for protocol in BOTH {
        let source = source(protocol);
        let remembering = |granted: &[&str], broker: Address| {
            let mut world = World::new(&source, &plan(&["a", "b", "c"]));
            world.session.remember(broker, &granted.iter().map(|&one| one.to_owned()).collect::<Vec<_>>());
            assert!(!world.session.is_ready(), "not before CONNACK");
            world
        };
        let here = || source.urls[0].clone();

        let mut world = remembering(&["a", "c", "gone"], here());
        let asked_for = asked(&world.connect(true), protocol);
        assert_eq!(asked_for.iter().map(|(filter, _)| filter.as_str()).collect::<Vec<_>>(), ["b"]);
        assert!(world.session.is_ready());
        assert_eq!(world.session.broker(), Some(&here()));
        assert!(world.events().contains(&Event::Subscribed { filters: 1, retired: 0 }));

        let mut world = remembering(&["a", "b", "c"], here());
        world.session.retire(vec!["old".into()]);
        let sent = world.connect(true);
        assert_eq!((packets(&sent).len(), sent[0]), (1, 0xa2), "only UNSUBSCRIBE");
        assert!(world.events().contains(&Event::Subscribed { filters: 0, retired: 1 }));

        let mut world = remembering(&["a", "b", "c"], here());
        assert_eq!(asked(&world.connect(false), protocol).len(), 3, "the session is lost");

        let mut world = remembering(&["a", "b", "c"], Address { port: 1, ..here() });
        assert_eq!(asked(&world.connect(true), protocol).len(), 3, "another broker granted them");
    }
}

/// Each broker of a failover list keeps a session of its own.
#[test]
fn what_one_broker_granted_another_has_not() {
    let urls: Vec<Address> = (1..=2).map(|port| Address { host: "127.0.0.1".into(), port }).collect();
    let mut world = World::new(&Source { urls, ..source(Protocol::V5) }, &plan(&["a"]));
    world.connect(false);
    world.lose();
    assert!(world.connect(true).is_empty(), "the first again");
    world.lose();
    world.now = world.session.poll_timeout().unwrap();
    assert_eq!(world.session.poll_connect(world.now).unwrap().port, 1);
    world.session.handle_connect_failed(world.now, "refused");
    assert_eq!(asked(&world.connect(true), Protocol::V5).len(), 1, "the second");
    assert_eq!(world.session.broker().unwrap().port, 2);
}

#[test]
fn what_was_not_answered_is_asked_again_after_a_reconnect() {
    let mut world = World::new(&source(Protocol::V5), &plan_of(&many(16)));
    connected(&mut world, false);
    world.receive(&wire::suback(Protocol::V5, 1, &[1; 8]));
    world.lose();
    let again = asked(&connected(&mut world, true), Protocol::V5);
    assert_eq!(again.iter().map(|(filter, _)| filter.as_str()).next(), Some("filter/8"));
    assert_eq!(again.len(), 8);
}

/// A20: a refusal is an error that is said, and asked again; the other filters go on.
#[test]
fn a_refused_filter_is_asked_again() {
    for protocol in BOTH {
        let quiet = Source { keep_alive: 0, ..source(protocol) };
        let mut world = World::new(&quiet, &plan(&["good", "bad", "fine"]));
        connected(&mut world, false);
        let refusal = if protocol == Protocol::V5 { 0x87 } else { 0x80 };
        world.receive(&wire::suback(protocol, 1, &[1, refusal, 1]));
        assert!(!world.session.is_ready() && world.session.is_online());
        assert!(world.events().contains(&Event::Refused { filter: "bad".into(), code: refusal }));
        assert!(world.transmit().is_empty());
        world.message(&Message::new(protocol, 1, 1, "from a good one"));
        let mut pauses = Vec::new();
        for id in 2..=9 {
            let refused = world.now;
            world.now = world.session.poll_timeout().unwrap();
            world.session.handle_timeout(world.now);
            assert_eq!(asked(&world.transmit(), protocol)[0].0, "bad", "and nothing else");
            pauses.push((world.now - refused).as_secs());
            world.receive(&wire::suback(protocol, id, &[if id == 9 { 1 } else { refusal }]));
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert!(world.session.is_ready());
    }
}

/// A20: less than was asked for is an error as well, not silence.
#[test]
fn a_lower_qos_is_not_ready() {
    for protocol in BOTH {
        let mut world = World::new(&source(protocol), &plan(&["a"]));
        connected(&mut world, false);
        world.receive(&wire::suback(protocol, 1, &[0]));
        assert!(!world.session.is_ready());
        let expected = Event::GrantedLower { filter: "a".into(), asked: Qos::AtLeastOnce, granted: 0 };
        assert!(world.events().contains(&expected));
        world.pass(Duration::from_secs(1));
        assert_eq!(asked(&world.transmit(), protocol).len(), 1);
    }
}

#[test]
fn a_suback_must_match() {
    for (answer, what) in [
        (wire::suback(Protocol::V5, 7, &[1]), "another identifier"),
        (wire::suback(Protocol::V5, 1, &[1, 1]), "too many codes"),
        (wire::unsuback(Protocol::V5, 1, &[0]), "an UNSUBACK for a SUBSCRIBE"),
    ] {
        let mut world = World::new(&source(Protocol::V5), &plan(&["a"]));
        connected(&mut world, false);
        assert_eq!(world.violation(&answer).0, Violation::Unasked, "{what}");
    }
}

#[test]
fn no_suback_ends_the_connection() {
    for protocol in BOTH {
        let mut world = World::new(&Source { keep_alive: 0, ..source(protocol) }, &plan(&["a"]));
        connected(&mut world, false);
        world.session.set_paused(world.now, true);
        assert_eq!(world.session.poll_timeout(), None, "the answer may be stuck behind messages");
        world.session.set_paused(world.now, false);
        let at = world.session.poll_timeout().unwrap();
        assert_eq!(at - world.now, subscriber::REPLY_DEADLINE);
        world.now = at;
        world.session.handle_timeout(at);
        assert!(world.session.wants_close());
        world.lose();
        assert_eq!(world.last_loss().0, Cause::SubAckTimeout);
    }
}

#[test]
fn retired_filters_go_last() {
    for protocol in BOTH {
        let mut world = World::new(&source(protocol), &plan(&["new/#"]));
        world.session.retire(vec!["old/a".into(), "new/#".into(), "old/b".into()]);
        let sent = connected(&mut world, true);
        assert_eq!(packets(&sent).len(), 1);
        assert_eq!(asked(&sent, protocol)[0].0, "new/#", "first what takes its place");
        world.receive(&wire::suback(protocol, 1, &[1]));
        assert!(world.session.is_ready());
        let sent = world.transmit();
        assert_eq!(sent[0], 0xa2);
        let gone: Vec<String> = asked(&sent, protocol).into_iter().map(|(filter, _)| filter).collect();
        assert_eq!(gone, ["old/a", "old/b"], "what is still wanted stays");
        assert!(!world.events().iter().any(|event| matches!(event, Event::Subscribed { .. })));
        world.receive(&wire::unsuback(protocol, 2, &[0, 0x11]));
        assert!(world.transmit().is_empty());
        assert!(world.events().contains(&Event::Subscribed { filters: 1, retired: 2 }));
        world.lose();
        assert!(world.connect(true).is_empty(), "once is enough");
    }
}

#[test]
fn a_new_session_has_nothing_to_give_up() {
    let mut world = World::new(&source(Protocol::V5), &plan(&["new"]));
    world.session.retire(vec!["old".into()]);
    let sent = world.connect(false);
    assert!(packets(&sent).iter().all(|packet| packet[0] == 0x82));
    assert!(world.session.is_ready());
}

#[test]
fn an_identifier_travels_alone() {
    let mut identified = plan(&["a", "b", "c", "d"]);
    identified.subscriptions[1].id = Some(1);
    identified.subscriptions[2].id = Some(200);
    let mut world = World::new(&source(Protocol::V5), &identified);
    let first = connected(&mut world, false);
    assert_eq!(subscribes(&first), [(vec!["a".into(), "d".into()], None), (vec!["b".into()], Some(1))]);
    world.receive(&wire::suback(Protocol::V5, 1, &[1, 1]));
    assert!(world.transmit().is_empty(), "the answer to the filter in front has not come");
    world.receive(&wire::suback(Protocol::V5, 2, &[1]));
    assert_eq!(subscribes(&world.transmit()), [(vec!["c".into()], Some(200))]);
    world.receive(&wire::suback(Protocol::V5, 3, &[1]));
    assert!(world.session.is_ready());
}

/// An identifier promises that those in front of it are granted. Behind a refused one every message counts.
#[test]
fn behind_a_refused_filter_there_is_no_identifier() {
    let mut identified = plan(&["a", "b", "c"]);
    (1..).zip(&mut identified.subscriptions).for_each(|(id, one)| one.id = Some(id));
    let mut world = World::new(&Source { keep_alive: 0, ..source(Protocol::V5) }, &identified);
    assert_eq!(subscribes(&connected(&mut world, false)), [(vec!["a".into()], Some(1))]);
    world.receive(&wire::suback(Protocol::V5, 1, &[0x87]));
    assert!(world.session.is_refused());
    for (id, filter) in [(2, "b"), (3, "c")] {
        assert_eq!(subscribes(&world.transmit()), [(vec![filter.into()], None)]);
        world.receive(&wire::suback(Protocol::V5, id, &[1]));
    }
    assert!(!world.session.is_ready() && world.transmit().is_empty());
    // Once it is granted, those behind get theirs.
    world.pass(Duration::from_secs(1));
    for (id, filter) in [(4, "a"), (5, "b"), (6, "c")] {
        assert_eq!(subscribes(&world.transmit()), [(vec![filter.into()], Some(id - 3))]);
        assert!(!world.session.is_ready());
        world.receive(&wire::suback(Protocol::V5, id as u16, &[1]));
    }
    assert!(world.session.is_ready() && !world.session.is_refused());
}

/// The filters of each SUBSCRIBE on 5.0, and its Subscription Identifier.
fn subscribes(sent: &[u8]) -> Vec<(Vec<String>, Option<u32>)> {
    let identifier = |packet: &[u8]| match body(packet)[2..] {
        [0, ..] => None,
        [2, 0x0b, id, ..] => Some(u32::from(id)),
        [3, 0x0b, low, high, ..] => Some(u32::from(low & 0x7f) | u32::from(high) << 7),
        ref other => panic!("{other:?}"),
    };
    let names = |packet: &[u8]| filters(packet, Protocol::V5).into_iter().map(|(filter, _)| filter).collect();
    packets(sent).iter().map(|packet| (names(packet), identifier(packet))).collect()
}

#[test]
fn the_servers_packet_size_is_kept() {
    let filters: Vec<String> = (0..8).map(|index| format!("{index}/{}", "x".repeat(40))).collect();
    let mut long = plan_of(&filters);
    long.subscriptions.push(Subscription { filter: "y".repeat(200), id: None });
    let mut world = World::new(&source(Protocol::V5), &long);
    world.dial();
    world.receive(&wire::connack(Protocol::V5, false, 0, &[0x27, 0, 0, 0, 120]));
    let sent = packets(&world.transmit());
    assert!(sent.iter().all(|packet| packet.len() <= 120));
    assert_eq!(sent.len(), 4);
    assert!(world.events().iter().any(|event| matches!(event, Event::Refused { code: 0x95, .. })));
}
