//! CONNECT and CONNACK, failover, versions, backoff.

use super::*;
use crate::settings::Secret;

fn addresses(count: u16) -> Vec<Address> {
    (0..count).map(|index| Address { host: format!("broker-{index}"), port: 1883 + index }).collect()
}

/// The next attempt, whenever it is due: its address and the pause before it.
fn next_attempt(world: &mut World) -> (String, Duration) {
    let before = world.now;
    if let Some(at) = world.session.poll_timeout() {
        if at > world.now {
            assert_eq!(world.session.poll_connect(at - Duration::from_nanos(1)), None, "not too early");
        }
        world.now = world.now.max(at);
    }
    (world.session.poll_connect(world.now).expect("it is time").host, world.now - before)
}

#[test]
fn connects_as_configured() {
    let full = Source {
        username: Some(Secret::new("harbour".into())),
        password: Some(Secret::new("secret".into())),
        announce_max_packet: true,
        session_expiry: 258,
        clean_start: true,
        ..source(Protocol::V5)
    };
    let mut world = World::new(&full, &plan(&["a"]));
    let connect = world.dial();
    let mut expected = wire::text("MQTT");
    expected.extend([5, 0xc2, 0, 30]);
    let mut properties = vec![0x11, 0, 0, 1, 2, 0x21, 0, 100, 0x27, 0, 0x10, 0, 0, 0x22, 0, 64];
    expected.push(properties.len() as u8);
    expected.append(&mut properties);
    expected.extend([wire::text("fairlead-harbour-0"), wire::text("harbour"), wire::text("secret")].concat());
    assert_eq!(connect, wire::packet(0x10, &expected));

    let mut world = World::new(&source(Protocol::V311), &plan(&["a"]));
    let expected = [wire::text("MQTT"), vec![4, 0, 0, 30], wire::text("fairlead-harbour-0")].concat();
    assert_eq!(world.dial(), wire::packet(0x10, &expected));
}

#[test]
fn clean_start_is_for_the_first_connection_alone() {
    for protocol in BOTH {
        let clean = |connect: &[u8]| body(connect)[7] & 2 != 0;
        let mut world = World::new(&Source { clean_start: true, ..source(protocol) }, &plan(&["a"]));
        assert!(clean(&world.dial()));
        world.lose();
        assert!(clean(&world.dial()), "nothing was accepted yet");
        world.receive(&wire::connack(protocol, false, 0, &[]));
        world.grant();
        world.lose();
        assert!(!clean(&world.dial()), "Fairlead never gives up a session on its own account");
    }
}

#[test]
fn a_session_after_a_clean_start_is_a_violation() {
    let mut world = World::new(&Source { clean_start: true, ..source(Protocol::V5) }, &plan(&["a"]));
    world.dial();
    assert_eq!(world.violation(&wire::connack(Protocol::V5, true, 0, &[])).0, Violation::SessionPresent);
}

#[test]
fn says_when_it_is_connected() {
    let mut world = World::online(Protocol::V5);
    let address = world.session.address.clone().unwrap();
    let connected = Event::Connected { address, protocol: Protocol::V5, session_present: false, receive_maximum: 100 };
    assert_eq!(world.events(), [connected, Event::Subscribed { filters: 1, retired: 0 }]);
}

#[test]
fn addresses_are_tried_in_order_then_there_is_a_pause() {
    let mut world = World::new(&Source { urls: addresses(3), ..source(Protocol::V5) }, &plan(&["a"]));
    for round in 0..3 {
        for index in 0..3 {
            let (host, pause) = next_attempt(&mut world);
            assert_eq!(host, format!("broker-{index}"));
            assert_eq!(pause.is_zero(), round == 0 || index > 0, "round {round}, address {index}: {pause:?}");
            world.session.handle_connect_failed(world.now, "connection refused");
        }
    }
}

#[test]
fn an_accepted_connection_that_is_lost_starts_with_the_first_address() {
    let mut world = World::new(&Source { urls: addresses(2), ..source(Protocol::V5) }, &plan(&["a"]));
    next_attempt(&mut world);
    world.session.handle_connect_failed(world.now, "connection refused");
    world.connect(false);
    assert_eq!(world.session.address.as_ref().unwrap().host, "broker-1");
    world.lose();
    assert_eq!(next_attempt(&mut world).0, "broker-0");
}

#[test]
fn pauses_grow_with_jitter_and_end_at_30_s() {
    let mut world = World::new(&source(Protocol::V5), &plan(&["a"]));
    assert!(next_attempt(&mut world).1.is_zero());
    for failure in 0..15 {
        world.session.handle_connect_failed(world.now, "connection refused");
        let (_, pause) = next_attempt(&mut world);
        let whole = Duration::from_millis(100 * (1 << failure)).min(Duration::from_secs(30));
        assert!((whole / 2..=whole).contains(&pause), "failure {failure}: {pause:?}");
    }
    let pauses: Vec<Duration> = (0..2)
        .map(|seed| {
            let mut session = Session::new(&source(Protocol::V5), &plan(&["a"]), 0, 0, seed);
            session.poll_connect(world.now).unwrap();
            session.handle_connect_failed(world.now, "x");
            session.poll_timeout().unwrap() - world.now
        })
        .collect();
    assert_ne!(pauses[0], pauses[1], "sessions do not come back together");
}

#[test]
fn a_healthy_minute_makes_the_next_failure_the_first() {
    for (seconds, longest) in [(59, Duration::from_millis(3200)), (60, Duration::from_millis(100))] {
        let mut world = World::new(&Source { keep_alive: 0, ..source(Protocol::V5) }, &plan(&["a"]));
        for _ in 0..5 {
            next_attempt(&mut world);
            world.session.handle_connect_failed(world.now, "connection refused");
        }
        world.connect(false);
        world.pass(Duration::from_secs(seconds));
        world.lose();
        let (_, pause) = world.last_loss();
        assert!((longest / 2..=longest).contains(&pause), "{seconds} s: {pause:?}");
    }
}

/// A15: a poison message that ends every connection is not asked for in a tight loop, and there is an alarm.
#[test]
fn the_same_failure_again_and_again_is_an_alarm() {
    let mut world = World::new(&Source { max_packet: 100, ..source(Protocol::V5) }, &plan(&["a"]));
    let poison = Message::new(Protocol::V5, 1, 1, [0; 200]).build();
    let mut alarms = Vec::new();
    let mut last = Duration::ZERO;
    for round in 1..=10 {
        world.connect(round > 1);
        let (violation, _) = world.violation(&poison);
        world.lose();
        for event in world.events() {
            match event {
                Event::Alarm { cause, times } => {
                    assert_eq!(cause, Cause::Violation(violation));
                    alarms.push((round, times));
                }
                Event::Disconnected { retry_in: Some(pause), .. } => last = pause,
                _ => {}
            }
        }
    }
    assert_eq!(alarms, [(5, 5), (10, 10)]);
    assert!(last >= Duration::from_secs(15), "{last:?}");
}

/// A20: a refusal is reported with its reason and tried again with growing pauses.
#[test]
fn a_refusal_is_reported_and_tried_again() {
    for (protocol, code, reason) in
        [(Protocol::V5, 0x87, 0x87), (Protocol::V311, 5, 0x87), (Protocol::V311, 4, 0x86), (Protocol::V311, 3, 0x88)]
    {
        let mut world = World::new(&source(protocol), &plan(&["a"]));
        world.dial();
        world.receive(&wire::connack(protocol, false, code, &[]));
        assert!(world.session.wants_close() && !world.session.is_ready());
        assert!(world.transmit().is_empty(), "nothing is sent after a refusal");
        world.lose();
        assert_eq!(world.last_loss().0, Cause::Refused { reason, text: None, server: None });
        world.connect(false);
        assert!(world.session.is_ready());
    }
}

/// A20: slow, garbage, AUTH.
#[test]
fn a_bad_handshake_ends_the_connection() {
    for protocol in BOTH {
        let mut world = World::new(&source(protocol), &plan(&["a"]));
        world.dial();
        assert_eq!(world.session.poll_timeout(), Some(world.now + CONNACK_DEADLINE));
        world.pass(CONNACK_DEADLINE);
        assert!(world.session.wants_close());
        world.lose();
        assert_eq!(world.last_loss().0, Cause::ConnAckTimeout);
    }
    let publish = Message::new(Protocol::V5, 0, 0, "early").build();
    let auth = wire::packet(0xf0, &[0x18, 0]);
    let present_and_refused = wire::connack(Protocol::V5, true, 0x87, &[]);
    let http = b"HTTP/1.1 400 Bad Request\r\n".to_vec();
    for bytes in [publish, auth, present_and_refused, http, wire::PINGRESP.to_vec(), wire::disconnect(0x8b)] {
        let mut world = World::new(&source(Protocol::V5), &plan(&["a"]));
        world.dial();
        world.violation(&bytes);
        world.lose();
        assert!(matches!(world.last_loss().0, Cause::Violation(_)));
        world.connect(false);
        assert!(world.session.is_ready());
    }
}

/// A21: two clients with one identifier do not throw each other out in a tight loop.
#[test]
fn a_session_taken_over_waits() {
    let mut world = World::online(Protocol::V5);
    for _ in 0..5 {
        world.receive(&wire::disconnect(0x8e));
        assert!(world.session.wants_close());
        assert!(world.transmit().is_empty());
        world.lose();
        let (cause, pause) = world.last_loss();
        assert_eq!(cause, Cause::TakenOver);
        assert!(pause >= Duration::from_secs(30));
        world.connect(true);
    }
}

/// A22: every reason is reported, with what the server says to it.
#[test]
fn a_disconnect_is_reported() {
    for reason in [0x00, 0x04, 0x80, 0x87, 0x89, 0x8b, 0x8d, 0x97, 0x98, 0x9c, 0x9d, 0x9f, 0xa0] {
        let mut world = World::online(Protocol::V5);
        let properties = [&[0x1f][..], &wire::text("maintenance\n"), &[0x1c], &wire::text("other:1883")].concat();
        let packet = wire::packet(0xe0, &[&[reason][..], &wire::block(Protocol::V5, &properties)].concat());
        world.receive(&packet);
        assert!(world.session.wants_close());
        world.lose();
        let (cause, _) = world.last_loss();
        let text = cause.to_string();
        assert!(matches!(cause, Cause::Disconnect { reason: given, .. } if given == reason));
        assert!(text.contains("maintenance\\n") && text.contains("other:1883"), "{text}");
        world.connect(true);
        assert!(world.session.is_ready());
    }
}

fn automatic() -> Source {
    Source { version: Version::Auto, ..source(Protocol::V5) }
}

fn version_of(connect: &[u8]) -> u8 {
    body(connect)[6]
}

#[test]
fn falls_back_to_3_where_the_broker_refuses_5() {
    for refusal in [vec![0x20, 2, 0, 1], wire::connack(Protocol::V5, false, 0x84, &[])] {
        let mut world = World::new(&automatic(), &plan(&["a"]));
        assert_eq!(version_of(&world.dial()), 5);
        world.receive(&refusal);
        world.lose();
        assert_eq!(world.last_loss().1, Duration::ZERO, "at once");
        world.protocol = Protocol::V311;
        world.connect(false);
        assert!(world.session.is_ready());
        world.lose();
        assert_eq!(version_of(&world.dial()), 4, "the broker has said so");
    }
}

#[test]
fn falls_back_to_3_where_the_broker_just_closes() {
    let mut world = World::new(&automatic(), &plan(&["a"]));
    assert_eq!(version_of(&world.dial()), 5);
    world.lose();
    assert_eq!(version_of(&world.dial()), 4);
    world.lose();
    assert_eq!(version_of(&world.dial()), 5, "it was a guess, and did not help");
    world.receive(&wire::connack(Protocol::V5, false, 0, &[]));
    world.grant();
    for _ in 0..3 {
        world.lose();
        assert_eq!(version_of(&world.dial()), 5, "a broker that has accepted 5.0 is not suspected");
    }
}

#[test]
fn a_fixed_version_stays() {
    for (version, byte) in [(Version::V5, 5), (Version::V311, 4)] {
        let mut world = World::new(&Source { version, ..automatic() }, &plan(&["a"]));
        for _ in 0..3 {
            assert_eq!(version_of(&world.dial()), byte);
            world.lose();
        }
    }
}

#[test]
fn subscription_identifiers_need_5() {
    let mut identified = plan(&["a"]);
    identified.subscriptions[0].id = Some(1);
    let mut world = World::new(&automatic(), &identified);
    for _ in 0..3 {
        assert_eq!(version_of(&world.dial()), 5);
        world.receive(&[0x20, 2, 0, 1]);
        world.lose();
        assert_eq!(world.last_loss().0, Cause::Unsupported(Unsupported::Version5));
    }
    world.dial();
    world.receive(&wire::connack(Protocol::V5, false, 0, &[0x29, 0]));
    assert_eq!(world.transmit(), [0xe0, 0]);
    world.lose();
    assert_eq!(world.last_loss().0, Cause::Unsupported(Unsupported::SubscriptionIds));
}

#[test]
fn shared_subscriptions_must_be_available() {
    let shared = Source { share: Some("fairlead".into()), ..source(Protocol::V5) };
    let mut world = World::new(&shared, &plan(&["$share/fairlead/a"]));
    world.dial();
    world.receive(&wire::connack(Protocol::V5, false, 0, &[0x2a, 0]));
    world.lose();
    assert_eq!(world.last_loss().0, Cause::Unsupported(Unsupported::Shared));
}

#[test]
fn events_are_bounded() {
    let mut world = World::new(&source(Protocol::V5), &plan(&["a"]));
    for _ in 0..EVENTS + 10 {
        next_attempt(&mut world);
        world.session.handle_connect_failed(world.now, "connection refused");
    }
    assert!(world.session.stats().events_dropped > 0);
    assert_eq!(world.events().len(), EVENTS);
}

#[test]
fn every_label_is_in_its_set() {
    let causes = [
        Cause::Connect(String::new()),
        Cause::Eof,
        Cause::Io(String::new()),
        Cause::ConnAckTimeout,
        Cause::Refused { reason: 0x87, text: None, server: None },
        Cause::Unsupported(Unsupported::Shared),
        Cause::Violation(Violation::Qos3),
        Cause::KeepAlive,
        Cause::SubAckTimeout,
        Cause::ReleaseTimeout { ids: 1 },
        Cause::TakenOver,
        Cause::Disconnect { reason: 0, text: None, server: None },
        Cause::PacketIdsLost,
        Cause::Shutdown,
    ];
    assert_eq!(causes.map(|cause| cause.label()), Cause::LABELS);
}
