//! Filters that overlap only partly: of the copies of one message one counts, and none is lost when the filters change.

use std::collections::BTreeMap;

use fairlead_tests::{
    Client, Config, Connection, EvilBroker, Fairlead, Kafka, MockKafka, Mosquitto, Record, metric, unique,
    wire::{self, Frame},
};

use crate::scene::{LIMIT, TOPIC};

/// Property identifier of a Subscription Identifier.
const IDENTIFIER: u8 = 0x0b;

/// Two filters that overlap in `ais/1/c`.
const BEFORE: [&str; 2] = ["ais/1/+", "ais/+/c"];
/// And one in front that overlaps the first of them in `ais/1/b`.
const AFTER: [&str; 3] = ["+/1/b", "ais/1/+", "ais/+/c"];

/// A route from each filter.
fn config(url: &str, brokers: &str, topic: &str, filters: &[&str]) -> Config {
    let route = |from: &&str| format!("[[route]]\nfrom = \"{from}\"\ntopic = \"{topic}\"\n");
    let more: String = filters[1..].iter().map(route).collect();
    Config { from: filters[0].to_owned(), ..Config::new(url, brokers, topic) }.route(&more)
}

/// Subscription Identifier as a property.
fn property(mut id: u32) -> Vec<u8> {
    let mut bytes = vec![IDENTIFIER];
    while id >= 0x80 {
        bytes.push((id & 0x7f) as u8 | 0x80);
        id >>= 7;
    }
    bytes.push(id as u8);
    bytes
}

/// The next packet, which asks for this filter alone. Returns its identifier and the packet.
#[track_caller]
fn asked(session: &mut Connection, filter: &str) -> (u32, Frame) {
    let subscribe = session.expect(wire::SUBSCRIBE);
    let filters = wire::filters(session.level, &subscribe);
    assert_eq!(filters.iter().map(|(filter, _)| filter.as_str()).collect::<Vec<_>>(), [filter]);
    let properties = &subscribe.body[3..3 + usize::from(subscribe.body[2])];
    assert_eq!(properties[0], IDENTIFIER);
    let id = properties[1..].iter().rev().fold(0, |id, byte| id << 7 | u32::from(byte & 0x7f));
    (id, subscribe)
}

/// A copy of a message, sent for the subscription with this identifier, and its PUBACK.
#[track_caller]
fn copy(session: &mut Connection, topic: &str, subscription: u32, packet_id: u16, text: &str) {
    let properties = property(subscription);
    let publish = wire::publish_with(session.level, topic.as_bytes(), 2, packet_id, &properties, text.as_bytes());
    session.send(&publish);
    session.expect_id(wire::PUBACK, packet_id);
}

#[test]
fn what_was_queued_before_a_filter_came_in_front_is_not_suppressed() {
    let (broker, kafka) = (EvilBroker::start(), MockKafka::start(1));
    kafka.create(TOPIC, 3);
    let config = |filters: &[&str]| config(&broker.url(), kafka.brokers(), TOPIC, filters);
    let mut bridge = Fairlead::start(&config(&BEFORE));
    let mut session = broker.accept(LIMIT);
    session.send(&wire::connack(session.level, false, 0));
    let mut ids = Vec::new();
    for filter in BEFORE {
        let (id, subscribe) = asked(&mut session, filter);
        session.grant(&subscribe);
        ids.push(id);
    }
    copy(&mut session, "ais/1/c", ids[0], 1, "counts");
    copy(&mut session, "ais/1/c", ids[1], 2, "counts");
    bridge.wait_ready(LIMIT);
    assert_eq!(bridge.stop(LIMIT), 0);
    drop(session);

    bridge.restart_with(&config(&AFTER));
    let mut session = broker.accept(LIMIT);
    session.send(&wire::connack(session.level, true, 0));
    let (front, subscribe) = asked(&mut session, AFTER[0]);
    // The broker had this before it knew of the filter in front: there is no other copy.
    copy(&mut session, "ais/1/b", ids[0], 1, "queued before SUBSCRIBE");
    session.grant(&subscribe);
    let (behind, subscribe) = asked(&mut session, AFTER[1]);
    assert_ne!(behind, ids[0], "another identifier, because there is another one in front");
    copy(&mut session, "ais/1/b", ids[0], 2, "queued before the second SUBSCRIBE");
    session.grant(&subscribe);
    // The third has nothing new in front of it and is not asked for again.
    bridge.wait_ready(LIMIT);
    copy(&mut session, "ais/1/b", behind, 3, "twice");
    copy(&mut session, "ais/1/b", front, 4, "twice");
    copy(&mut session, "ais/1/c", ids[1], 5, "also for the one in front of it");
    copy(&mut session, "ais/1/c", behind, 6, "also for the one in front of it");
    assert_eq!(bridge.stop(LIMIT), 0);
    let mut values: Vec<String> = kafka.records(TOPIC, 5, LIMIT).iter().map(Record::text).collect();
    values.sort_unstable();
    let expected = [
        "also for the one in front of it",
        "counts",
        "queued before SUBSCRIBE",
        "queued before the second SUBSCRIBE",
        "twice",
    ];
    assert_eq!(values, expected);
}

#[test]
#[ignore = "real brokers: tests/run"]
fn overlapping_filters_of_mosquitto_double_and_lose_nothing() {
    let kafka = Kafka::shared();
    let topic = unique("overlaps");
    kafka.create_topic(&topic, 3, &[]);
    let mosquitto = Mosquitto::start();
    let config = |filters: &[&str]| config(&mosquitto.url(), kafka.brokers(), &topic, filters);
    let mut client = Client::connect(mosquitto.port(), "vessel");
    let mut publish = |part: &str| {
        for n in 0..50 {
            client.publish("ais/1/b", 1, format!("{part} b {n}").as_bytes());
            client.publish("ais/1/c", 1, format!("{part} c {n}").as_bytes());
        }
    };
    let mut bridge = Fairlead::ready(&config(&BEFORE));
    publish("before");
    bridge.wait_metric(metric::DELIVERED, &[], 100.0, LIMIT);
    assert_eq!(bridge.stop(LIMIT), 0);
    publish("queued");
    bridge.restart_with(&config(&AFTER));
    bridge.wait_ready(LIMIT);
    bridge.wait_metric(metric::DELIVERED, &[], 100.0, LIMIT);
    publish("after");
    bridge.wait_metric(metric::DELIVERED, &[], 200.0, LIMIT);
    assert_eq!(bridge.stop(LIMIT), 0);
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for record in kafka.records(&topic, kafka.count(&topic), LIMIT) {
        *times.entry(record.text()).or_default() += 1;
    }
    assert_eq!(times.len(), 300, "every message is there");
    let doubled: Vec<_> = times.iter().filter(|(_, times)| **times > 1).collect();
    assert!(doubled.is_empty(), "{doubled:?}");
}
