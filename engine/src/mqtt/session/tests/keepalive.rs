//! Keep-alive in virtual time.

use super::*;

const PINGREQ: [u8; 2] = [0xc0, 0];

/// Lets time pass in steps of the session's own timeouts, up to `time`. Returns when PINGREQs were sent.
fn run(world: &mut World, time: Duration) -> Vec<Duration> {
    let (began, end) = (world.now, world.now + time);
    let mut pings = Vec::new();
    while let Some(at) = world.session.poll_timeout().filter(|at| *at <= end) {
        world.now = world.now.max(at);
        world.session.handle_timeout(world.now);
        let sent = world.transmit();
        if world.session.wants_close() {
            return pings;
        }
        assert_eq!(sent, PINGREQ, "a timeout means that there is something to do");
        pings.push(world.now - began);
    }
    world.now = end;
    pings
}

/// A2: a link that has gone dead is noticed within one and a half intervals.
#[test]
fn a_dead_link_is_given_up_within_one_and_a_half_intervals() {
    for protocol in BOTH {
        let mut world = World::online(protocol);
        let began = world.now;
        let pings = run(&mut world, Duration::from_secs(100));
        assert_eq!(pings, [Duration::from_millis(22_500)]);
        assert!(world.session.wants_close());
        assert_eq!(world.now - began, Duration::from_secs(45));
        world.lose();
        assert_eq!(world.last_loss().0, Cause::KeepAlive);
    }
}

#[test]
fn an_answered_ping_keeps_the_session() {
    let mut world = World::online(Protocol::V5);
    for _ in 0..10 {
        assert_eq!(run(&mut world, Duration::from_secs(23)).len(), 1);
        world.receive(&wire::PINGRESP);
    }
    assert!(world.session.is_ready());
}

#[test]
fn messages_in_one_direction_do_not_replace_a_ping() {
    let mut world = World::online(Protocol::V5);
    let mut pings = 0;
    for _ in 0..30 {
        pings += run(&mut world, Duration::from_secs(3)).len();
        let ticket = world.message(&Message::new(Protocol::V5, 0, 0, "x"));
        world.session.handle_receipt(ticket);
    }
    assert!(world.session.is_ready(), "it is alive: bytes come");
    assert!(pings >= 3, "the broker must hear of us within its one and a half intervals: {pings}");
}

/// While reading is held back PINGREQs go on, and the deadline rests.
#[test]
fn a_pause_rests_the_deadline_and_not_the_pings() {
    for protocol in BOTH {
        let mut world = World::online(protocol);
        world.session.set_paused(world.now, true);
        let pings = run(&mut world, Duration::from_secs(600));
        assert!(world.session.is_online());
        assert_eq!(pings.len(), 26, "every 22.5 s: {pings:?}");
        world.session.set_paused(world.now, false);
        let resumed = world.now;
        run(&mut world, Duration::from_secs(100));
        assert!(world.session.wants_close());
        assert!(world.now - resumed <= Duration::from_secs(45));
    }
}

/// The same while the window of 3.1.1 is full, where PINGRESP may be stuck behind a PUBLISH that is not decoded.
#[test]
fn a_full_window_rests_the_deadline() {
    let mut world = World::online_with(&Source { receive_maximum: 1, ..source(Protocol::V311) });
    let ticket = world.message(&Message::new(Protocol::V311, 1, 1, "x"));
    world.receive(&[&Message::new(Protocol::V311, 1, 2, "y").build()[..], &wire::PINGRESP].concat());
    run(&mut world, Duration::from_secs(300));
    assert!(world.session.is_online());
    world.session.handle_receipt(ticket);
    assert_eq!(world.transmit()[..4], puback(1));
    assert_eq!(world.drain().len(), 1);
    run(&mut world, Duration::from_secs(20));
    assert!(world.session.is_online());
}

/// A22: Server Keep Alive is obeyed.
#[test]
fn the_servers_keep_alive_counts() {
    let mut world = World::new(&source(Protocol::V5), &plan(&["a"]));
    world.dial();
    world.receive(&wire::connack(Protocol::V5, false, 0, &[0x13, 0, 4]));
    world.grant();
    assert_eq!(run(&mut world, Duration::from_secs(5)), [Duration::from_secs(3)]);
    run(&mut world, Duration::from_secs(1));
    assert!(world.session.wants_close());
}

#[test]
fn keep_alive_can_be_off() {
    let mut world = World::online_with(&Source { keep_alive: 0, ..source(Protocol::V311) });
    assert!(run(&mut world, Duration::from_secs(100_000)).is_empty());
    assert!(world.session.is_ready());
}
