use super::*;
use crate::{
    message::{Properties, RouteId, TopicId},
    route::{Filter, Template},
    settings::Owner,
};

fn ticket() -> Ticket {
    Ticket::new(1, 2, 3, 4)
}

fn route(empty: Empty, headers: HeaderSet) -> Route {
    let from = Filter::parse("#").unwrap();
    let template = |text| Template::parse(text, &from).unwrap();
    Route {
        source: None,
        topic: template("t"),
        key: template("{topic}"),
        owner: Owner::Partition,
        empty,
        headers,
        from,
    }
}

fn publish(topic: &str, payload: &[u8]) -> Publish {
    Publish {
        topic: Text::from(topic),
        payload: Payload::copy_from_slice(payload),
        packet_id: 7,
        qos: Qos::AtLeastOnce,
        retain: false,
        dup: true,
        wire: 0,
        properties: None,
    }
}

fn entry(key: Key<'_>) -> Entry<'_> {
    Entry { route: RouteId(5), topic: TopicId(6), partition: 8, key }
}

fn headers(record: &Record) -> Vec<(&str, &[u8])> {
    record.headers().iter().map(|(name, value)| (name.as_str(), &value[..])).collect()
}

#[test]
fn topic_and_payload_are_moved() {
    // Long enough not to be stored inline.
    let publish = publish(&"t".repeat(100), &[1; 100]);
    let (topic, payload) = (publish.topic.as_ptr(), publish.payload.as_ptr());
    let record = record(ticket(), publish, &entry(Key::Topic), &route(Empty::Value, HeaderSet::User)).unwrap();
    assert_eq!(record.key.as_ref().unwrap().as_ptr(), topic);
    assert_eq!(record.value.as_ref().unwrap().as_ptr(), payload);
    assert!(record.extra.is_none());
    assert_eq!((record.ticket, record.route, record.topic, record.partition), (ticket(), RouteId(5), TopicId(6), 8));
}

#[test]
fn keys_are_what_the_entry_says() {
    let key = |key| {
        let publish = publish("ais/211/position", b"x");
        record(ticket(), publish, &entry(key), &route(Empty::Value, HeaderSet::User)).unwrap().key
    };
    assert_eq!(key(Key::None), None);
    assert_eq!(key(Key::Topic).unwrap(), &b"ais/211/position"[..]);
    assert_eq!(key(Key::Part(4..7)).unwrap(), &b"211"[..]);
    assert_eq!(key(Key::Rendered(&Payload::from_static(b"k"))).unwrap(), &b"k"[..]);
}

#[test]
fn an_empty_payload_becomes_what_the_route_says() {
    let value = |empty, payload: &[u8]| {
        let publish = publish("a", payload);
        record(ticket(), publish, &entry(Key::Topic), &route(empty, HeaderSet::User)).map(|record| record.value)
    };
    assert_eq!(value(Empty::Value, b""), Ok(Some(Payload::new())));
    assert_eq!(value(Empty::Null, b""), Ok(None));
    assert_eq!(value(Empty::Skip, b""), Err(DropReason::Empty));
    for empty in [Empty::Value, Empty::Null, Empty::Skip] {
        assert_eq!(value(empty, b"x"), Ok(Some(Payload::from_static(b"x"))));
    }
}

#[test]
fn properties_become_headers_in_order() {
    let mut publish = publish("a/b", b"x");
    let user = [("b", "1"), ("a", "2"), ("b", ""), ("mqtt.topic", "forged")];
    publish.properties = Some(Box::new(Properties {
        user: user.map(|(name, value)| (Text::from(name), Text::from(value))).to_vec(),
        content_type: Some(Text::from("text/plain")),
        response_topic: Some(Text::from("r")),
        correlation_data: Some(Payload::from_static(&[0, 255])),
        subscription_ids: vec![1],
    }));
    let by_user: [(&str, &[u8]); 7] = [
        ("b", b"1"),
        ("a", b"2"),
        ("b", b""),
        ("mqtt.topic", b"forged"),
        ("mqtt.content_type", b"text/plain"),
        ("mqtt.response_topic", b"r"),
        ("mqtt.correlation_data", &[0, 255]),
    ];
    let record =
        |headers| record(ticket(), publish.clone(), &entry(Key::Topic), &route(Empty::Value, headers)).unwrap();
    assert_eq!(headers(&record(HeaderSet::User)), by_user);
    let with_mqtt = record(HeaderSet::Mqtt);
    let by_mqtt: [(&str, &[u8]); 4] =
        [("mqtt.topic", b"a/b"), ("mqtt.qos", b"1"), ("mqtt.retain", b"false"), ("mqtt.dup", b"true")];
    assert_eq!(headers(&with_mqtt), [&by_user[..], &by_mqtt[..]].concat());
}

#[test]
fn no_header_is_no_headers() {
    let mut publish = publish("a", b"x");
    publish.properties = Some(Box::new(Properties { subscription_ids: vec![1], ..Properties::default() }));
    let record = record(ticket(), publish, &entry(Key::Topic), &route(Empty::Value, HeaderSet::User)).unwrap();
    assert!(record.extra.is_none());
}

#[test]
fn mqtt_headers_need_no_properties() {
    let mut publish = publish("a", b"x");
    (publish.qos, publish.retain, publish.dup) = (Qos::ExactlyOnce, true, false);
    let record = record(ticket(), publish, &entry(Key::None), &route(Empty::Value, HeaderSet::Mqtt)).unwrap();
    let expected: [(&str, &[u8]); 4] =
        [("mqtt.topic", b"a"), ("mqtt.qos", b"2"), ("mqtt.retain", b"true"), ("mqtt.dup", b"false")];
    assert_eq!(headers(&record), expected);
}
