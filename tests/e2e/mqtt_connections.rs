//! Faults of the connection to the MQTT broker and of its handshake.

use std::time::Duration;

use fairlead_tests::{
    Config, Direction, EvilBroker, Fairlead, MockKafka, Proxy, during, metric, now, wait_until, wire,
};

use crate::scene::{LIMIT, Scene, TOPIC};

#[test]
fn cut_at_every_byte_of_a_publish() {
    let packet = wire::publish(wire::V5, "ais/1", 1, 7, b"position");
    let again = wire::publish_with(wire::V5, b"ais/1", 2 | wire::DUP, 7, &[], b"position");
    for cut in 1..packet.len() {
        let scene = Scene::new("version = \"5\"");
        let mut session = scene.session();
        session.send(&packet[..cut]);
        drop(session);
        let mut session = scene.resumed();
        session.send(&again);
        session.expect_id(wire::PUBACK, 7);
        assert_eq!(scene.values(1), ["position"], "cut after {cut} bytes");
        assert_eq!(scene.bridge.metric(metric::RECONNECTS, &[]), 1.0, "cut after {cut} bytes");
    }
}

/// A bridge that reaches the scripted broker through a proxy.
fn proxied(source: &str) -> (Scene, Proxy) {
    let broker = EvilBroker::start();
    let proxy = Proxy::start(broker.port());
    let kafka = MockKafka::start(1);
    kafka.create(TOPIC, 3);
    let bridge = Fairlead::start(&Config::new(&proxy.url(), kafka.brokers(), TOPIC).source(source));
    (Scene { bridge, broker, kafka }, proxy)
}

#[test]
fn single_bytes_are_as_good_as_packets() {
    for version in ["5", "3.1.1"] {
        let (scene, proxy) = proxied(&format!("version = \"{version}\""));
        proxy.slice(Direction::ToClient, true);
        proxy.slice(Direction::ToServer, true);
        let mut session = scene.session();
        let mut expected: Vec<String> = (1..=100u16).map(|id| format!("message {id:03}")).collect();
        for (id, text) in (1u16..).zip(&expected) {
            session.publish(&format!("ais/{}", id % 7), 1, id, text.as_bytes());
        }
        for id in 1..=100 {
            session.expect_id(wire::PUBACK, id);
        }
        expected.sort_unstable();
        assert_eq!(scene.values(100), expected);
    }
}

#[test]
fn half_closed_is_closed_and_costs_nothing() {
    let mut scene = Scene::new("");
    let mut session = scene.session();
    scene.bridge.wait_ready(LIMIT);
    let before = scene.bridge.process().cpu();
    let start = now();
    session.half_close();
    session.expect_close();
    let _session = scene.resumed();
    let used = scene.bridge.process().cpu() - before;
    assert!(used < Duration::from_millis(300) + (now() - start) / 2, "a busy loop: {used:?} of CPU time");
}

#[test]
fn black_hole_is_found_within_one_and_a_half_keep_alives() {
    let (mut scene, proxy) = proxied("keep_alive = \"4s\"");
    let mut session = scene.session();
    scene.bridge.wait_ready(LIMIT);
    session.publish("ais/1", 1, 1, b"before");
    session.expect_id(wire::PUBACK, 1);
    let start = now();
    proxy.black_hole(Direction::ToClient, true);
    wait_until(LIMIT, "the bridge connects again", || proxy.connections() >= 2);
    let found = now() - start;
    assert!(found < Duration::from_secs(9), "found after {found:?}");
    proxy.black_hole(Direction::ToClient, false);
    let mut session = scene.resumed();
    session.publish("ais/1", 1, 2, b"behind");
    session.expect_id(wire::PUBACK, 2);
    assert_eq!(scene.values(2), ["before", "behind"]);
}

#[test]
fn refused_login_is_said_and_tried_again_ever_more_rarely() {
    let mut scene = Scene::new("version = \"5\"");
    let start = now();
    for _ in 0..5 {
        let mut connection = scene.broker.accept(LIMIT);
        connection.send(&wire::connack(wire::V5, false, 0x87));
        connection.expect_close();
    }
    scene.bridge.wait_unready("0x87", LIMIT);
    // Pauses double from 100 ms and are at least half of that: 50 + 100 + 200 + 400.
    assert!(now() - start >= Duration::from_millis(750), "five attempts in {:?}", now() - start);
    let _session = scene.session();
    scene.bridge.wait_ready(LIMIT);
}

#[test]
fn refused_subscription_is_said() {
    for (level, version) in [(wire::V5, "5"), (wire::V311, "3.1.1")] {
        // Refused, and granted at a lower QoS than asked for: an error as well.
        for reason in [if level == wire::V5 { 0x87 } else { 0x80 }, 0] {
            let mut scene = Scene::new(&format!("version = \"{version}\""));
            let mut connection = scene.broker.accept(LIMIT);
            connection.send(&wire::connack(level, false, 0));
            let subscribe = connection.expect(wire::SUBSCRIBE);
            assert_eq!(wire::filters(level, &subscribe)[0].0, "ais/#");
            connection.answer(&subscribe, &[reason]);
            scene.bridge.wait_unready("ais/#", LIMIT);
        }
    }
}

#[test]
fn garbage_for_connack_is_survived() {
    let mut scene = Scene::new("version = \"5\"");
    for garbage in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], &[0x20, 0x00], &[0xff; 64], &[0xf0, 0x00]] {
        let mut connection = scene.broker.accept(LIMIT);
        connection.send_fatal(garbage);
        connection.expect_close();
    }
    let _session = scene.session();
    scene.bridge.wait_ready(LIMIT);
}

#[test]
fn old_brokers_are_spoken_to_in_their_version() {
    // The refusal as MQTT 5.0 and as 3.1.1 words it.
    for refusal in [wire::connack(wire::V5, false, 0x84), wire::connack(wire::V311, false, 1)] {
        let mut scene = Scene::new("version = \"auto\"");
        let mut connection = scene.broker.accept(LIMIT);
        assert_eq!(connection.level, wire::V5);
        connection.send(&refusal);
        connection.expect_close();
        let mut session = scene.session();
        assert_eq!(session.level, wire::V311);
        session.publish("ais/1", 1, 1, b"old");
        session.expect_id(wire::PUBACK, 1);
        scene.bridge.wait_ready(LIMIT);
    }
}

#[test]
fn next_url_is_taken_where_the_first_is_dead() {
    let scene = Scene::with(|mut config| {
        config.urls.insert(0, format!("mqtt://127.0.0.1:{}", fairlead_tests::free_port()));
        config
    });
    let mut session = scene.session();
    session.publish("ais/1", 1, 1, b"second");
    session.expect_id(wire::PUBACK, 1);
    assert_eq!(scene.values(1), ["second"]);
}

#[test]
fn taken_over_session_is_not_fought_for() {
    let mut scene = Scene::new("version = \"5\"");
    let mut session = scene.session();
    scene.bridge.wait_ready(LIMIT);
    session.send(&wire::disconnect(wire::V5, 0x8e));
    session.expect_close();
    scene.bridge.wait_log("took over", LIMIT);
    during(Duration::from_secs(3), || assert!(scene.broker.try_accept().is_none(), "the bridge is back at once"));
}

#[test]
fn server_keep_alive_is_obeyed() {
    let scene = Scene::new("version = \"5\"\nkeep_alive = \"600s\"");
    let mut connection = scene.broker.accept(LIMIT);
    // Server Keep Alive (property 0x13): two seconds.
    connection.send(&wire::connack_with(wire::V5, false, 0, &[0x13, 0, 2]));
    let subscribe = connection.expect(wire::SUBSCRIBE);
    connection.answer(&subscribe, &[1]);
    connection.expect_silence(Duration::from_secs(6));
    assert!(connection.pings >= 2, "{} pings in 6 s", connection.pings);
}

#[test]
fn lost_session_is_subscribed_again_and_counted() {
    let mut scene = Scene::new("");
    drop(scene.session());
    // Session Present 0: `session` insists on a SUBSCRIBE.
    let mut session = scene.session();
    session.publish("ais/1", 1, 1, b"after");
    session.expect_id(wire::PUBACK, 1);
    scene.bridge.wait_metric(metric::SESSION_LOST, &[], 1.0, LIMIT);
    scene.bridge.wait_ready(LIMIT);
}

#[test]
fn kept_session_is_not_subscribed_again() {
    let scene = Scene::new("");
    drop(scene.session());
    let mut session = scene.resumed();
    session.publish("ais/1", 1, 1, b"after");
    session.expect_id(wire::PUBACK, 1);
    assert!(session.filters.is_empty(), "subscribed again: {:?}", session.filters);
    assert_eq!(scene.bridge.metric(metric::SESSION_LOST, &[]), 0.0);
}

#[test]
fn pings_go_on_while_acknowledgements_are_held() {
    let scene = Scene::without_topic(|config| config.source("keep_alive = \"1s\"\nreceive_maximum = 10"));
    let mut session = scene.session();
    for id in 1..=10 {
        session.publish(&format!("ais/{id}"), 1, id, b"held");
    }
    session.expect_silence(Duration::from_secs(5));
    assert!(session.pings >= 3, "{} pings in 5 s", session.pings);
    scene.create_topic();
    for id in 1..=10 {
        session.expect_id(wire::PUBACK, id);
    }
    assert_eq!(scene.records(10).len(), 10);
    assert_eq!(scene.bridge.metric(metric::RECONNECTS, &[]), 0.0);
}
