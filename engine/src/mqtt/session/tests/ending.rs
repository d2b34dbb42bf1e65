//! The end of a session at the broker.

use super::*;
use crate::settings::Retire;

const QUIET: Duration = Duration::from_secs(5);
const LAST: [u8; 9] = [0xe0, 7, 0, 5, 0x11, 0, 0, 0, 0];

fn world(protocol: Protocol) -> World {
    let retire = Retire { filters: vec!["ais/#".into(), "$share/pier/ais/#".into()], quiet: QUIET };
    let plan = SessionPlan { retire: Some(retire), ..plan(&[]) };
    World::new(&Source { clean_start: true, ..source(protocol) }, &plan)
}

/// Clean Start of a CONNECT.
fn is_clean(connect: &[u8]) -> bool {
    body(connect)[7] & 2 != 0
}

/// Nothing comes for long enough; what is sent then.
fn fall_silent(world: &mut World) -> Vec<u8> {
    assert!(world.transmit().is_empty());
    world.pass(QUIET - Duration::from_millis(1));
    assert!(world.transmit().is_empty());
    world.pass(Duration::from_millis(1));
    assert!(world.session.poll_timeout().is_some_and(|at| at <= world.now));
    world.transmit()
}

#[test]
fn a_session_is_unsubscribed_emptied_and_ended() {
    for protocol in BOTH {
        let mut world = world(protocol);
        let connect = world.dial();
        assert!(!is_clean(&connect), "what the broker holds would be lost");
        world.receive(&wire::connack(protocol, true, 0, &[]));
        let asked: Vec<String> =
            packets(&world.grant()).iter().flat_map(|packet| filters(packet, protocol)).map(|one| one.0).collect();
        assert_eq!(asked, ["ais/#", "$share/pier/ais/#"]);
        world.pass(QUIET / 2);
        let ticket = world.message(&Message::new(protocol, 1, 1, "held"));
        world.pass(QUIET * 3);
        assert!(!world.session.wants_close(), "not before it is in Kafka");
        world.session.handle_receipt(ticket);
        assert_eq!(world.transmit(), puback(1));
        let last = fall_silent(&mut world);
        assert!(world.session.wants_close());
        if protocol == Protocol::V311 {
            assert_eq!(last, [0xe0, 0]);
            world.lose();
            assert!(!world.session.is_closed());
            assert!(is_clean(&world.dial()), "3.1.1 ends a session by a clean one");
            world.receive(&wire::connack(protocol, false, 0, &[]));
            assert_eq!(world.transmit(), [0xe0, 0]);
        } else {
            assert_eq!(last, LAST);
        }
        world.lose();
        assert!(world.session.is_closed());
        assert!(world.events().contains(&Event::Ended { present: true }));
    }
}

#[test]
fn a_session_that_the_broker_does_not_have_ends_at_once() {
    for protocol in BOTH {
        let mut world = world(protocol);
        world.dial();
        world.receive(&wire::connack(protocol, false, 0, &[]));
        assert!([&LAST[..], &[0xe0, 0]].contains(&&world.transmit()[..]));
        world.lose();
        if protocol == Protocol::V311 {
            // The connection to look has made one.
            assert!(is_clean(&world.dial()));
            world.receive(&wire::connack(protocol, false, 0, &[]));
            assert_eq!(world.transmit(), [0xe0, 0]);
            world.lose();
        }
        assert!(world.session.is_closed());
        assert!(world.events().contains(&Event::Ended { present: false }));
    }
}

#[test]
fn a_lost_connection_begins_the_silence_anew() {
    let mut world = world(Protocol::V5);
    world.connect(true);
    world.pass(QUIET - Duration::from_millis(1));
    world.lose();
    let connect = world.dial();
    assert!(!is_clean(&connect));
    world.receive(&wire::connack(Protocol::V5, true, 0, &[]));
    assert_eq!(fall_silent(&mut world), LAST);
}

#[test]
fn a_shutdown_leaves_the_session_to_the_broker() {
    let mut world = world(Protocol::V5);
    world.connect(true);
    world.session.handle_shutdown();
    assert_eq!(world.transmit(), [0xe0, 0]);
    world.lose();
    assert!(world.session.is_closed());
    assert!(!world.events().iter().any(|event| matches!(event, Event::Ended { .. })));
}
