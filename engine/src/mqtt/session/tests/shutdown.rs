//! Shutdown: acknowledge what is in flight, then DISCONNECT.

use super::*;

#[test]
fn disconnects_once_everything_is_acknowledged() {
    for protocol in BOTH {
        let mut world = World::online_with(&Source { qos: Qos::ExactlyOnce, ..source(protocol) });
        let first = world.message(&Message::new(protocol, 1, 1, "x"));
        let second = world.message(&Message::new(protocol, 2, 2, "y"));
        world.session.handle_shutdown();
        world.receive(&Message::new(protocol, 1, 3, "too late").build());
        assert_eq!(world.session.stats().declined, 1);
        world.session.handle_receipt(first);
        assert_eq!(world.transmit(), puback(1));
        world.session.handle_receipt(second);
        assert_eq!(world.transmit(), pubrec(2));
        assert!(!world.session.wants_close(), "PUBREL is still to come");
        world.receive(&wire::pubrel(2));
        assert_eq!(world.transmit(), [pubcomp(2), vec![0xe0, 0]].concat());
        assert!(world.session.wants_close() && !world.session.is_closed());
        world.lose();
        assert!(world.session.is_closed());
        assert_eq!(world.session.poll_connect(world.now + Duration::from_secs(60)), None);
        assert_eq!(world.session.poll_timeout(), None);
        let last = world.events().pop();
        assert_eq!(last, Some(Event::Disconnected { cause: Cause::Shutdown, retry_in: None }));
    }
}

#[test]
fn the_deadline_ends_it_at_once() {
    for protocol in BOTH {
        let mut world = World::online(protocol);
        let first = world.message(&Message::new(protocol, 1, 1, "x"));
        world.message(&Message::new(protocol, 1, 2, "never safe"));
        world.session.handle_shutdown();
        world.session.handle_receipt(first);
        world.session.handle_shutdown_deadline();
        assert_eq!(world.transmit(), [puback(1), vec![0xe0, 0]].concat(), "what is safe is still acknowledged");
        assert!(world.session.wants_close());
        world.lose();
        assert!(world.session.is_closed());
    }
}

#[test]
fn nothing_is_connected_after_a_shutdown() {
    let mut world = World::new(&source(Protocol::V5), &plan(&["a"]));
    world.session.handle_shutdown();
    assert!(world.session.is_closed());
    assert_eq!(world.session.poll_connect(world.now), None);

    let mut world = World::new(&source(Protocol::V5), &plan(&["a"]));
    world.session.poll_connect(world.now).unwrap();
    world.session.handle_shutdown();
    assert!(!world.session.is_closed());
    world.session.handle_connected(world.now);
    assert!(world.session.wants_close());
    assert!(world.transmit().is_empty());
    world.lose();
    assert!(world.session.is_closed());

    let mut world = World::new(&source(Protocol::V5), &plan(&["a"]));
    world.dial();
    world.session.handle_shutdown();
    assert!(world.session.wants_close());
    world.lose();
    assert!(world.session.is_closed());
}
