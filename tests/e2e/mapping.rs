//! From message to record: topic, key, value, headers, and what becomes of messages that map to nothing.

use fairlead_tests::{Record, metric, wire};

use crate::scene::{LIMIT, Scene, TOPIC};

#[test]
fn messages_arrive_as_sent_at_every_qos_and_version() {
    for version in ["5", "3.1.1"] {
        let scene = Scene::new(&format!("version = \"{version}\"\nqos = 2"));
        let mut session = scene.session();
        let payload: Vec<u8> = (0..=255).collect();
        session.publish("ais/0", 0, 0, &payload);
        session.publish("ais/1", 1, 1, &payload);
        session.expect_id(wire::PUBACK, 1);
        session.publish("ais/2", 2, 2, &payload);
        session.expect_id(wire::PUBREC, 2);
        session.send(&wire::acknowledge(wire::PUBREL, 2));
        session.expect_id(wire::PUBCOMP, 2);
        let records = scene.records(3);
        let mut keys: Vec<String> = records.iter().map(Record::key_text).collect();
        keys.sort_unstable();
        assert_eq!(keys, ["ais/0", "ais/1", "ais/2"], "the key is the MQTT topic");
        assert!(records.iter().all(|r| r.value.as_deref() == Some(&payload)));
        assert!(records.iter().all(|r| r.headers.is_empty()));
    }
}

#[test]
fn large_and_small_payloads_arrive_whole() {
    let scene = Scene::new("");
    let mut session = scene.session();
    let sizes = [0, 1, 22, 23, 24, 1023, 1024, 4096, 65_536, 300_000, 900_000];
    for (id, size) in (1..).zip(sizes) {
        session.publish("ais/1", 1, id, &vec![id as u8; size]);
        session.expect_id(wire::PUBACK, id);
    }
    let records = scene.records(sizes.len());
    let got: Vec<usize> = records.iter().map(|r| r.value.as_ref().unwrap().len()).collect();
    assert_eq!(got, sizes);
    for (id, record) in (1u8..).zip(&records) {
        assert!(record.value.as_ref().unwrap().iter().all(|b| *b == id));
    }
}

#[test]
fn topic_and_key_follow_their_templates() {
    let scene = Scene::without_topic(|mut config| {
        config.from = "ais/{mmsi}/{kind...}".to_owned();
        config.topic = "ais-{kind}".to_owned();
        config.route("key = \"{mmsi}\"")
    });
    scene.kafka.create("ais-position", 1);
    let mut session = scene.session();
    assert_eq!(session.filters[0].0, "ais/+/#", "placeholders are wildcards on the wire");
    session.publish("ais/244660920/position", 1, 1, b"here");
    session.expect_id(wire::PUBACK, 1);
    // A slash is not legal in a Kafka topic: a counted drop, acknowledged so that it is not sent again.
    session.publish("ais/244660920/position/raw", 1, 2, b"there");
    session.expect_id(wire::PUBACK, 2);
    let records = scene.kafka.records("ais-position", 1, LIMIT);
    assert_eq!(records.len(), 1);
    assert_eq!((records[0].key_text().as_str(), records[0].text().as_str()), ("244660920", "here"));
    assert_eq!(scene.bridge.metric(metric::DROPPED, &[("reason", "illegal_topic")]), 1.0);
}

#[test]
fn user_properties_become_headers() {
    let scene = Scene::new("version = \"5\"");
    let mut session = scene.session();
    let pair =
        |name: &str, value: &str| [&[0x26][..], &wire::field(name.as_bytes()), &wire::field(value.as_bytes())].concat();
    let properties = [
        pair("port", "Rotterdam"),
        pair("port", "Delft"),
        [&[0x03][..], &wire::field(b"text/nmea")].concat(),
        [&[0x08][..], &wire::field(b"answers/1")].concat(),
        [&[0x09][..], &wire::field(&[0, 255])].concat(),
    ]
    .concat();
    session.send(&wire::publish_with(wire::V5, b"ais/1", 2, 1, &properties, b"headed"));
    session.expect_id(wire::PUBACK, 1);
    let headers = scene.records(1).remove(0).headers;
    let ports: Vec<&[u8]> = headers.iter().filter(|(n, _)| n == "port").map(|(_, v)| v.as_slice()).collect();
    assert_eq!(ports, [b"Rotterdam".as_slice(), b"Delft"]);
    for value in [b"text/nmea".as_slice(), b"answers/1", &[0, 255]] {
        assert!(headers.iter().any(|(_, v)| v == value), "{value:?} among {headers:?}");
    }
    assert_eq!(headers.len(), 5);
}

#[test]
fn mqtt_headers_where_the_route_wants_them() {
    let scene = Scene::with(|config| config.route("headers = \"mqtt\""));
    let mut session = scene.session();
    // RETAIN and DUP.
    session.send(&wire::publish_with(session.level, b"ais/1", 2 | 1 | wire::DUP, 1, &[], b"kept"));
    session.expect_id(wire::PUBACK, 1);
    let headers = scene.records(1).remove(0).headers;
    let mut names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["mqtt.dup", "mqtt.qos", "mqtt.retain", "mqtt.topic"]);
    let value = |name: &str| &headers.iter().find(|(n, _)| n == name).unwrap().1;
    assert_eq!(value("mqtt.topic"), b"ais/1");
}

#[test]
fn empty_payload_is_a_value_a_tombstone_or_nothing() {
    for (empty, expected) in [("value", Some(Some(vec![]))), ("null", Some(None)), ("skip", None)] {
        let scene = Scene::with(|config| config.route(&format!("empty = \"{empty}\"")));
        let mut session = scene.session();
        session.publish("ais/1", 1, 1, b"");
        session.expect_id(wire::PUBACK, 1);
        let records = scene.kafka.consume(TOPIC);
        assert_eq!(records.first().map(|r| r.value.clone()), expected, "empty = {empty}");
        assert_eq!(scene.bridge.metric(metric::DROPPED, &[("reason", "empty")]), f64::from(u8::from(empty == "skip")));
    }
}

#[test]
fn message_without_a_route_is_a_counted_drop() {
    let scene = Scene::new("");
    let mut session = scene.session();
    session.publish("weather/1", 1, 1, b"not asked for");
    session.expect_id(wire::PUBACK, 1);
    assert_eq!(scene.bridge.metric(metric::DROPPED, &[("reason", "no_route")]), 1.0);
    assert!(scene.kafka.consume(TOPIC).is_empty());
}

#[test]
fn odd_topics_stay_apart() {
    let scene = Scene::with(|mut config| {
        config.from = "#".to_owned();
        config
    });
    let mut session = scene.session();
    let mut topics: Vec<String> =
        ["/", "//", "a", "a/", "/a", "a//b", " ", "ÅÄÖ/\u{feff}", "a b c", "{x}", "%s"].map(str::to_owned).to_vec();
    topics.push("long/".repeat(13_000));
    for (id, topic) in (1..).zip(&topics) {
        session.publish(topic, 1, id, topic.as_bytes());
    }
    for id in (1..).take(topics.len()) {
        session.expect_id(wire::PUBACK, id);
    }
    let records = scene.records(topics.len());
    assert!(records.iter().all(|r| r.key == r.value), "each key is its own topic");
    let mut keys: Vec<String> = records.iter().map(Record::key_text).collect();
    keys.sort_unstable();
    topics.sort_unstable();
    assert_eq!(keys, topics);
}
