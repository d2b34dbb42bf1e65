//! What a broker may send and what it must not: acknowledgements, redelivery, packet identifiers, broken packets.

use std::time::Duration;

use fairlead_tests::{metric, wire};

use crate::scene::{LIMIT, Scene};

/// Property identifier of a topic alias.
const ALIAS: u8 = 0x23;

#[test]
fn pubacks_leave_in_the_order_of_the_publishes() {
    for version in ["5", "3.1.1"] {
        let scene = Scene::new(&format!("version = \"{version}\""));
        let mut session = scene.session();
        // Neighbours go to different partitions, and identifiers are in no order.
        let ids: Vec<u16> = (1..=1000).map(|i| i * 7 % 1009).collect();
        for id in &ids {
            session.publish(&format!("ais/{}", id % 50), 1, *id, id.to_string().as_bytes());
        }
        for id in &ids {
            session.expect_id(wire::PUBACK, *id);
        }
        let records = scene.records(1000);
        for vessel in 0..50 {
            let sent: Vec<String> = ids.iter().filter(|id| *id % 50 == vessel).map(u16::to_string).collect();
            let key = format!("ais/{vessel}");
            let got: Vec<String> = records.iter().filter(|r| r.key_text() == key).map(|r| r.text()).collect();
            assert_eq!(got, sent, "order of {key}");
        }
    }
}

#[test]
fn packet_identifiers_are_reused_beyond_their_range() {
    const MESSAGES: u32 = 70_000;
    const WINDOW: u32 = 1000;
    let scene = Scene::new("receive_maximum = 1000");
    let mut session = scene.session();
    let id = |n: u32| (n % 65_535 + 1) as u16;
    for n in 0..MESSAGES {
        session.publish(&format!("ais/{}", n % 9), 1, id(n), n.to_string().as_bytes());
        if n >= WINDOW - 1 {
            session.expect_id(wire::PUBACK, id(n + 1 - WINDOW));
        }
    }
    for n in MESSAGES + 1 - WINDOW..MESSAGES {
        session.expect_id(wire::PUBACK, id(n));
    }
    assert_eq!(scene.bridge.metric(metric::PENDING, &[]), 0.0);
    let mut values: Vec<u32> = scene.values(MESSAGES as usize).iter().map(|v| v.parse().unwrap()).collect();
    values.sort_unstable();
    assert_eq!(values, (0..MESSAGES).collect::<Vec<u32>>());
}

#[test]
fn identifier_after_puback_is_a_new_message_whatever_dup_says() {
    let scene = Scene::new("");
    let mut session = scene.session();
    session.publish("ais/1", 1, 9, b"one");
    session.expect_id(wire::PUBACK, 9);
    session.send(&wire::publish_with(session.level, b"ais/1", 2 | wire::DUP, 9, &[], b"two"));
    session.expect_id(wire::PUBACK, 9);
    assert_eq!(scene.values(2), ["one", "two"]);
}

#[test]
fn redelivery_before_puback_is_the_same_message() {
    let (scene, mut session) = Scene::with_kafka_down(|config| config);
    for id in 1..=5u16 {
        session.publish("ais/1", 1, id, format!("message {id}").as_bytes());
    }
    scene.bridge.wait_metric(metric::RECEIVED, &[], 6.0, LIMIT);
    drop(session);
    let mut session = scene.resumed();
    for id in 1..=5u16 {
        let text = format!("message {id}");
        session.send(&wire::publish_with(session.level, b"ais/1", 2 | wire::DUP, id, &[], text.as_bytes()));
    }
    scene.bridge.wait_metric(metric::DUP, &[], 5.0, LIMIT);
    scene.kafka.come_up();
    for id in 1..=5 {
        session.expect_id(wire::PUBACK, id);
    }
    session.expect_silence(Duration::from_millis(500));
    assert_eq!(scene.values(6), ["first", "message 1", "message 2", "message 3", "message 4", "message 5"]);
}

#[test]
fn qos_2_arrives_exactly_once() {
    for version in ["5", "3.1.1"] {
        let scene = Scene::new(&format!("version = \"{version}\"\nqos = 2"));
        let mut session = scene.session();
        session.publish("ais/1", 2, 7, b"one");
        session.expect_id(wire::PUBREC, 7);
        let again = wire::publish_with(session.level, b"ais/1", 4 | wire::DUP, 7, &[], b"one");
        session.send(&again);
        session.expect_id(wire::PUBREC, 7);
        // Once more over a new connection.
        drop(session);
        let mut session = scene.resumed();
        session.send(&again);
        session.expect_id(wire::PUBREC, 7);
        session.send(&wire::acknowledge(wire::PUBREL, 7));
        session.expect_id(wire::PUBCOMP, 7);
        // A PUBREL whose PUBCOMP was lost is answered again; then the identifier is free.
        session.send(&wire::acknowledge(wire::PUBREL, 7));
        session.expect_id(wire::PUBCOMP, 7);
        assert_eq!(scene.values(1), ["one"]);
        session.publish("ais/1", 2, 7, b"two");
        session.expect_id(wire::PUBREC, 7);
        session.send(&wire::acknowledge(wire::PUBREL, 7));
        session.expect_id(wire::PUBCOMP, 7);
        assert_eq!(scene.values(2), ["one", "two"]);
    }
}

#[test]
fn more_than_the_receive_maximum_is_a_violation() {
    let (scene, mut session) = Scene::with_kafka_down(|config| config.source("version = \"5\"\nreceive_maximum = 10"));
    for id in 1..=11 {
        session.send_fatal(&wire::publish(wire::V5, "ais/1", 1, id, b"held"));
    }
    assert_eq!(session.expect_close(), Some(0x93));
    scene.bridge.wait_metric(metric::VIOLATIONS, &[("reason", "receive_maximum")], 1.0, LIMIT);
    let _session = scene.resumed();
}

#[test]
fn old_version_has_no_receive_maximum_to_violate() {
    let (scene, mut session) =
        Scene::with_kafka_down(|config| config.source("version = \"3.1.1\"\nreceive_maximum = 10"));
    for id in 1..=30 {
        session.publish("ais/1", 1, id, b"held");
    }
    scene.bridge.wait_metric(metric::PENDING, &[], 10.0, LIMIT);
    scene.kafka.come_up();
    for id in 1..=30 {
        session.expect_id(wire::PUBACK, id);
    }
    assert_eq!(scene.bridge.metric(metric::RECONNECTS, &[]), 0.0);
}

#[test]
fn topic_aliases_end_with_their_connection() {
    let scene = Scene::new("version = \"5\"");
    let mut session = scene.session();
    let define = wire::publish_with(wire::V5, b"ais/1", 2, 1, &[ALIAS, 0, 1], b"defined");
    let used = wire::publish_with(wire::V5, b"", 2, 2, &[ALIAS, 0, 1], b"used");
    session.send(&define);
    session.expect_id(wire::PUBACK, 1);
    session.send(&used);
    session.expect_id(wire::PUBACK, 2);
    drop(session);
    let mut session = scene.resumed();
    session.send(&used);
    assert_eq!(session.expect_close(), Some(0x82));
    let records = scene.records(2);
    assert!(records.iter().all(|r| r.key_text() == "ais/1"));
}

#[test]
fn oversized_packet_closes_the_session_and_costs_no_memory() {
    for (level, version, reason) in [(wire::V5, "5", Some(0x95)), (wire::V311, "3.1.1", None)] {
        let mut scene = Scene::new(&format!("version = \"{version}\"\nmax_packet = \"64KiB\""));
        let mut session = scene.session();
        scene.bridge.wait_ready(LIMIT);
        let before = scene.bridge.process().rss_anon();
        // A PUBLISH of QoS 1 that says it has 256 MiB - 1.
        session.send(&[0x32, 0xff, 0xff, 0xff, 0x7f]);
        session.send_fatal(&wire::field(b"ais/1"));
        assert_eq!(session.expect_close(), reason, "level {level}");
        scene.bridge.wait_metric(metric::VIOLATIONS, &[("reason", "packet_too_large")], 1.0, LIMIT);
        let grown = scene.bridge.process().rss_anon().saturating_sub(before);
        assert!(grown < 4 << 20, "{grown} bytes of memory for a packet that was refused");
        let mut session = scene.resumed();
        session.publish("ais/1", 1, 1, b"small");
        session.expect_id(wire::PUBACK, 1);
    }
}

#[test]
fn oversized_packet_may_be_skipped_and_counted() {
    let scene = Scene::new("max_packet = \"64KiB\"\nskip_oversized = true");
    let mut session = scene.session();
    session.publish("ais/1", 1, 1, &[b'x'; 100_000]);
    session.publish("ais/1", 1, 2, b"small");
    session.expect_id(wire::PUBACK, 1);
    session.expect_id(wire::PUBACK, 2);
    assert_eq!(scene.values(1), ["small"]);
    assert_eq!(scene.bridge.metric(metric::DROPPED, &[("reason", "oversized")]), 1.0);
}

/// Packets that no server may send, each with the reason codes that fit.
fn broken_packets() -> Vec<(&'static str, Vec<u8>, &'static [u8])> {
    let publish = |topic: &[u8], flags, id, properties: &[u8]| {
        wire::publish_with(wire::V5, topic, flags, id, properties, b"broken")
    };
    let user = |text: &[u8]| [&[0x26][..], &wire::field(b"name"), &wire::field(text)].concat();
    vec![
        ("topic of length 0 that underflows", vec![0x30, 2, 0, 0, 0], &[0x81, 0x82]),
        ("remaining length 0", vec![0x30, 0], &[0x81]),
        ("remaining length of five bytes", vec![0x30, 0xff, 0xff, 0xff, 0xff, 0x01], &[0x81]),
        ("remaining length not minimal", vec![0xd0, 0x80, 0x00], &[0x81]),
        ("topic longer than the packet", wire::packet(0x30, &[0, 200, b'a']), &[0x81]),
        ("QoS 3", publish(b"ais/1", 6, 1, &[]), &[0x81]),
        ("packet identifier 0", publish(b"ais/1", 2, 0, &[]), &[0x82]),
        ("reserved flags of PUBREL", wire::packet(0x60, &[0, 1]), &[0x81]),
        ("reserved packet type 0", vec![0x00, 0x00], &[0x81, 0x82]),
        ("a client's packet", wire::connect(wire::V5, "x", None), &[0x82]),
        ("wildcard in the topic", publish(b"ais/+", 2, 1, &[]), &[0x90]),
        ("topic that is not UTF-8", publish(b"ais/\xff", 2, 1, &[]), &[0x81]),
        ("surrogate in the topic", publish(b"ais/\xed\xa0\x80", 2, 1, &[]), &[0x81]),
        ("U+0000 in the topic", publish(b"ais/\0", 2, 1, &[]), &[0x81]),
        ("user property that is not UTF-8", publish(b"ais/1", 2, 1, &user(b"\xff")), &[0x81]),
        ("empty topic without alias", publish(b"", 2, 1, &[]), &[0x82]),
        ("alias 0", publish(b"ais/1", 2, 1, &[ALIAS, 0, 0]), &[0x94]),
        ("alias above the maximum", publish(b"ais/1", 2, 1, &[ALIAS, 0xff, 0xff]), &[0x94]),
        ("alias that was not defined", publish(b"", 2, 1, &[ALIAS, 0, 1]), &[0x82]),
        ("property twice", publish(b"ais/1", 2, 1, &[0x01, 1, 0x01, 1]), &[0x82]),
        ("unknown property", publish(b"ais/1", 2, 1, &[0x7e, 1]), &[0x81]),
        ("property of another packet", publish(b"ais/1", 2, 1, &[0x13, 0, 1]), &[0x81, 0x82]),
        ("SUBACK that nobody asked for", wire::suback(wire::V5, wire::SUBACK, 999, &[0]), &[0x82]),
    ]
}

#[test]
fn broken_packets_close_the_session_and_leave_no_record() {
    for (name, packet, reasons) in broken_packets() {
        let scene = Scene::new("version = \"5\"");
        let mut session = scene.session();
        session.send(&packet);
        let reason = session.expect_close().unwrap_or_else(|| panic!("{name}: no DISCONNECT"));
        assert!(reasons.contains(&reason), "{name}: reason {reason:#04x}");
        // The next session works, and what was broken is not in Kafka.
        let mut session = scene.resumed();
        session.publish("ais/1", 1, 1, b"sound");
        session.expect_id(wire::PUBACK, 1);
        assert_eq!(scene.values(1), ["sound"], "{name}");
        assert_eq!(scene.bridge.metric(metric::VIOLATIONS, &[]), 1.0, "{name}");
    }
}

/// Every PUBREL is answered, so a broker that reads none of the answers is not read either.
#[test]
fn answers_that_the_broker_does_not_take_stop_the_reading() {
    const MOST: usize = 64 << 20;
    let mut scene = Scene::new("version = \"5\"");
    let mut session = scene.session();
    scene.bridge.wait_ready(LIMIT);
    let before = scene.bridge.process().rss_anon();
    let flood = session.flood(&wire::acknowledge(wire::PUBREL, 9), Duration::from_secs(5), MOST);
    scene.bridge.wait_metric(metric::OUTPUT_FULL, &[], 1.0, LIMIT);
    let grown = scene.bridge.process().rss_anon().saturating_sub(before);
    assert!(grown < 24 << 20, "{grown} bytes of memory for answers that nobody reads");
    // Whoever reads them gets every one, and the session goes on.
    for _ in 0..flood.packets {
        session.expect_id(wire::PUBCOMP, 9);
    }
    session.send(&flood.rest);
    if !flood.rest.is_empty() {
        session.expect_id(wire::PUBCOMP, 9);
    }
    session.publish("ais/1", 1, 1, b"after the flood");
    session.expect_id(wire::PUBACK, 1);
    assert_eq!(scene.bridge.metric(metric::RECONNECTS, &[]), 0.0);
}
