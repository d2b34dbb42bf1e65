use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn released(window: &mut Window) -> Vec<u16> {
    let mut released = Vec::new();
    window.release(|packet_id, _| {
        released.push(packet_id);
        true
    });
    released
}

fn push(window: &mut Window, packet_id: u16) -> u32 {
    window.push(packet_id, Qos::AtLeastOnce, 100) as u32
}

#[test]
fn a_message_of_qos_0_does_not_hold_back_an_acknowledgement() {
    let mut window = Window::new(10);
    let first = window.push(0, Qos::AtMostOnce, 50) as u32;
    let second = push(&mut window, 1);
    assert!(window.resolve(second));
    assert_eq!(released(&mut window), [1], "only PUBLISHes with an acknowledgement have an order of them");
    assert_eq!(window.bytes(), 150, "but memory is pinned from the oldest on");
    assert!(window.resolve(first));
    assert!(window.is_empty());
    assert_eq!(window.bytes(), 0);
}

#[test]
fn positions_wrap() {
    let mut window = Window::new(10);
    window.base = u64::from(u32::MAX) - 1;
    let positions: Vec<u32> = (1..=4).map(|id| push(&mut window, id)).collect();
    assert_eq!(positions, [u32::MAX - 1, u32::MAX, 0, 1]);
    for position in positions.into_iter().rev() {
        assert!(window.resolve(position));
    }
    assert_eq!(released(&mut window), [1, 2, 3, 4]);
}

#[test]
fn a_redelivery_waits_for_the_first_delivery() {
    let mut window = Window::new(10);
    let first = push(&mut window, 7);
    let second = push(&mut window, 8);
    window.detach();
    assert_eq!(window.in_flight(), 0);
    assert!(window.reattach(7, true, 100));
    assert!(window.reattach(8, true, 100));
    assert!(window.resolve(second));
    assert!(released(&mut window).is_empty());
    assert!(window.resolve(first));
    assert_eq!(released(&mut window), [7, 8]);
    assert!(window.is_empty());
}

#[test]
fn what_became_safe_meanwhile_is_acknowledged_at_once() {
    let mut window = Window::new(10);
    let position = push(&mut window, 7);
    window.detach();
    assert!(window.resolve(position));
    assert!(window.is_empty(), "nothing is held for a redelivery that may never come");
    assert!(window.reattach(7, true, 100));
    assert_eq!(released(&mut window), [7]);
}

#[test]
fn another_message_under_the_same_identifier_is_new() {
    for (dup, wire) in [(false, 100), (true, 101)] {
        let mut window = Window::new(10);
        push(&mut window, 7);
        window.detach();
        assert!(!window.reattach(7, dup, wire));
        assert!(!window.reattach(7, true, 100), "the identifier means the new message from now on");
    }
}

#[test]
fn a_released_acknowledgement_is_forgotten() {
    let mut window = Window::new(10);
    let position = push(&mut window, 7);
    window.resolve(position);
    assert_eq!(released(&mut window), [7]);
    window.detach();
    assert!(!window.reattach(7, true, 100));
}

#[test]
fn nothing_grows_with_each_reconnect() {
    let mut window = Window::new(10);
    let position = push(&mut window, 7);
    for _ in 0..1000 {
        window.detach();
        assert!(window.reattach(7, true, 100));
    }
    assert_eq!((window.places.len(), window.debts.len(), window.detached.len()), (1, 1, 0));
    window.resolve(position);
    assert_eq!(released(&mut window), [7]);
}

#[test]
fn a_lost_session_leaves_nothing() {
    let mut window = Window::new(10);
    let position = push(&mut window, 7);
    push(&mut window, 8);
    window.detach();
    window.clear();
    assert!(!window.resolve(position));
    assert!(!window.reattach(7, true, 100));
    assert!(window.is_empty());
    assert_eq!(push(&mut window, 9), 2, "positions go on");
}

#[test]
fn learns_the_brokers_window() {
    let mut window = Window::new(1000);
    let mut positions: VecDeque<u32> = (0..20).map(|id| push(&mut window, id)).collect();
    assert!(!window.saturated(), "nothing is known yet");
    window.stalled();
    assert!(window.saturated(), "no more than 20 come");
    window.resolve(positions.pop_front().unwrap());
    released(&mut window);
    assert!(!window.saturated(), "one may come");
    positions.push_back(push(&mut window, 21));
    assert!(window.saturated());
    positions.push_back(push(&mut window, 22));
    assert!(window.saturated(), "21 came; so far no more than that");
    assert_eq!(window.saturation.estimate, Some(21));
}

#[test]
fn fewer_than_the_estimate_may_be_all_that_come() {
    let mut window = Window::new(1000);
    let mut positions: VecDeque<u32> = (0..60).map(|id| push(&mut window, id)).collect();
    window.stalled();
    let mut left = |count| {
        positions.drain(..positions.len() - count).for_each(|position| assert!(window.resolve(position)));
        released(&mut window);
        (window.saturated(), window.may_be_saturated())
    };
    assert_eq!(left(20), (false, true), "mosquitto sends no more than 20");
    assert_eq!(left(19), (false, false), "no broker waits for so few");
}

#[test]
fn a_trickle_lowers_the_estimate() {
    let mut window = Window::new(1000);
    let positions: Vec<u32> = (0..20).map(|id| push(&mut window, id)).collect();
    window.stalled();
    positions.into_iter().for_each(|position| assert!(window.resolve(position)));
    released(&mut window);
    for _ in 0..STALLS_TO_LOWER {
        let position = push(&mut window, 1);
        assert!(!window.saturated());
        window.stalled();
        window.resolve(position);
        released(&mut window);
    }
    push(&mut window, 1);
    assert!(window.saturated(), "one at a time is all that comes");
}

#[test]
fn the_receive_maximum_is_always_saturated() {
    let mut window = Window::new(3);
    for id in 1..=3 {
        assert!(!window.saturated());
        push(&mut window, id);
    }
    assert!(window.saturated());
    window.stalled();
    window.detach();
    assert_eq!(window.saturation.estimate, None, "another connection may go to another broker");
}

#[test]
fn qos_0_is_bounded() {
    let mut window = Window::new(5);
    for _ in 0..5 + QOS_0_PLACES {
        assert!(!window.is_full());
        window.push(0, Qos::AtMostOnce, 10);
    }
    assert!(window.is_full());
    window.resolve(0);
    assert!(!window.is_full());
}

#[derive(Clone, Debug)]
enum Step {
    Push { qos: bool },
    Resolve(prop::sample::Index),
    Release,
    Reconnect,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => any::<bool>().prop_map(|qos| Step::Push { qos }),
        4 => any::<prop::sample::Index>().prop_map(Step::Resolve),
        2 => Just(Step::Release),
        1 => Just(Step::Reconnect),
    ]
}

proptest! {
    /// Whatever the order of receipts and however often the connection is lost: acknowledgements leave in the order
    /// of the PUBLISHes, never before the message is safe, and none is missing in the end.
    #[test]
    fn acknowledges_in_order_and_only_what_is_safe(steps in proptest::collection::vec(step(), 1..200)) {
        let mut window = Window::new(1000);
        // Unacknowledged messages of QoS 1, oldest first: identifier and whether safe; and all unsafe positions.
        let mut owed: VecDeque<u16> = VecDeque::new();
        let mut safe: BTreeMap<u16, bool> = BTreeMap::new();
        let mut open: Vec<(u32, u16)> = Vec::new();
        let mut next_id = 1;
        let release = |window: &mut Window, owed: &mut VecDeque<u16>, safe: &BTreeMap<u16, bool>| {
            for id in released(window) {
                prop_assert_eq!(owed.pop_front(), Some(id));
                prop_assert!(safe[&id]);
            }
            prop_assert!(owed.front().is_none_or(|id| !safe[id]));
            Ok(())
        };
        for step in steps {
            match step {
                Step::Push { qos: false } => open.push((window.push(0, Qos::AtMostOnce, 10) as u32, 0)),
                Step::Push { qos: true } => {
                    open.push((window.push(next_id, Qos::AtLeastOnce, 10) as u32, next_id));
                    owed.push_back(next_id);
                    safe.insert(next_id, false);
                    next_id += 1;
                }
                Step::Resolve(index) if !open.is_empty() => {
                    let (position, id) = open.swap_remove(index.index(open.len()));
                    prop_assert!(window.resolve(position));
                    prop_assert!(!window.resolve(position));
                    safe.insert(id, true);
                }
                Step::Resolve(_) => {}
                Step::Release => release(&mut window, &mut owed, &safe)?,
                Step::Reconnect => {
                    window.detach();
                    for &id in &owed {
                        prop_assert!(window.reattach(id, true, 10));
                    }
                }
            }
            prop_assert_eq!(window.in_flight(), owed.len());
        }
        for (position, id) in open {
            prop_assert!(window.resolve(position));
            safe.insert(id, true);
        }
        release(&mut window, &mut owed, &safe)?;
        prop_assert!(owed.is_empty() && window.is_empty());
        prop_assert_eq!(window.bytes(), 0);
    }
}
