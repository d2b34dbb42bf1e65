//! Criterion benches, one file a stage of the line.

use std::time::Instant;

use fairlead::{
    kafka::{Report, Verdict},
    lane::{Lane, Settlement},
    message::{Qos, Record},
    mqtt::{Input, Session},
    route::{Filter, Template},
    settings::{Address, Empty, HeaderSet, Owner, Route, SessionPlan, Source, Subscription, Version},
};

/// The time at which a bench begins. State machines take it as an argument, and no figure depends on it.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one file of this package that reads the clock")]
pub fn start() -> Instant {
    Instant::now()
}

/// A PUBLISH at QoS 1 with 100 bytes of payload, on one of a thousand topics; on 5.0 with an empty property list.
#[must_use]
pub fn publish(v5: bool, id: u16) -> Vec<u8> {
    let topic = format!("ais/{}/position", 244_660_000 + u32::from(id % 1_000));
    let mut body = (topic.len() as u16).to_be_bytes().to_vec();
    body.extend(topic.as_bytes());
    body.extend(id.to_be_bytes());
    if v5 {
        body.push(0);
    }
    body.extend([b'x'; 100]);
    assert!(body.len() < 128, "the remaining length is one byte");
    let mut packet = vec![0x32, body.len() as u8];
    packet.extend(body);
    packet
}

fn source(version: Version) -> Source {
    Source {
        sys: false,
        name: "bench".into(),
        urls: vec![Address { host: "127.0.0.1".into(), port: 1883 }],
        version,
        share: None,
        qos: Qos::AtLeastOnce,
        clean_start: false,
        session_expiry: 3600,
        max_packet: 16 * 1024 * 1024,
        announce_max_packet: false,
        skip_oversized: false,
        keep_alive: 30,
        receive_maximum: 20_000,
        username: None,
        password: None,
        sessions: Vec::new(),
    }
}

/// Puts bytes into the input as a socket would.
pub fn feed(input: &mut Input, bytes: &[u8]) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let spare = input.spare();
        let count = rest.len().min(spare.len());
        spare[..count].copy_from_slice(&rest[..count]);
        input.advance(count);
        rest = &rest[count..];
    }
}

/// A session of this shard that is online, with a window of 20,000.
#[must_use]
pub fn online(version: Version, now: Instant, input: &mut Input, shard: usize) -> Session {
    let subscriptions = vec![Subscription { filter: "ais/#".into(), id: None }];
    let plan = SessionPlan { client_id: "bench".into(), subscriptions, retire: None };
    let mut session = Session::new(&source(version), &plan, shard, 0, 1);
    let mut out = Vec::new();
    session.poll_connect(now).expect("at once");
    session.handle_connected(now);
    session.poll_transmit(now, &mut out);
    let v5 = version == Version::V5;
    feed(input, if v5 { &[0x20, 3, 0, 0, 0] } else { &[0x20, 2, 0, 0] });
    assert!(session.poll_publish(now, input).expect("valid").is_none());
    session.poll_transmit(now, &mut out);
    feed(input, if v5 { &[0x90, 4, 0, 1, 0, 1] } else { &[0x90, 3, 0, 1, 1] });
    assert!(session.poll_publish(now, input).expect("valid").is_none());
    assert!(session.is_ready());
    session
}

/// A route, the parts of which are legal.
#[must_use]
pub fn route(from: &str, topic: &str, key: &str) -> Route {
    let from = Filter::parse(from).expect("a filter");
    Route {
        source: None,
        topic: Template::parse(topic, &from).expect("a template"),
        key: Template::parse(key, &from).expect("a template"),
        owner: Owner::Partition,
        empty: Empty::Value,
        headers: HeaderSet::User,
        from,
    }
}

/// A Kafka that confirms at once all that the lane has ready; `inside` is kept from call to call for its memory.
pub fn confirm(lane: &mut Lane, now: Instant, inside: &mut Vec<Record>, mut each: impl FnMut(Option<Settlement>)) {
    while let Some(ready) = lane.poll_ready(now) {
        let (topic, partition, most) = (ready.topic, ready.partition, ready.most);
        inside.extend(ready.records.drain(..most));
        lane.handle_produced(now, topic, partition, most);
    }
    for record in inside.drain(..) {
        each(lane.handle_report(now, Report { record, order: 0, verdict: Verdict::Delivered }));
    }
}
