//! The whole left end without the socket: bytes to message, receipt, PUBACK. 100 bytes of payload, QoS 1, a chunk a
//! turn, receipts in the same turn.

use std::time::Instant;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fairlead::{
    message::{Qos, Ticket},
    mqtt::{Delivery, Input, Session},
    settings::{Address, SessionPlan, Source, Subscription, Version},
};

/// Messages of one turn.
const MESSAGES: usize = 1_500;

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

fn feed(input: &mut Input, bytes: &[u8]) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let spare = input.spare();
        let count = rest.len().min(spare.len());
        spare[..count].copy_from_slice(&rest[..count]);
        input.advance(count);
        rest = &rest[count..];
    }
}

/// A session that is online.
fn online(version: Version, now: Instant, input: &mut Input) -> Session {
    let subscriptions = vec![Subscription { filter: "ais/#".into(), id: None }];
    let plan = SessionPlan { client_id: "bench".into(), subscriptions, retire: None };
    let mut session = Session::new(&source(version), &plan, 0, 0, 1);
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

fn turn(
    session: &mut Session,
    now: Instant,
    input: &mut Input,
    stream: &[u8],
    tickets: &mut Vec<Ticket>,
    out: &mut Vec<u8>,
) {
    feed(input, stream);
    while let Some(delivery) = session.poll_publish(now, input).expect("valid") {
        if let Delivery::Publish { ticket, .. } = delivery {
            tickets.push(ticket);
        }
    }
    for ticket in tickets.drain(..) {
        session.handle_receipt(ticket);
    }
    out.clear();
    session.poll_transmit(now, out);
    assert_eq!(out.len(), 4 * MESSAGES);
}

fn left_end(c: &mut Criterion) {
    let now = fairlead_benches::start();
    let mut group = c.benchmark_group("session");
    group.throughput(Throughput::Elements(MESSAGES as u64));
    for (name, version) in [("3.1.1", Version::V311), ("5.0", Version::V5)] {
        let stream: Vec<u8> =
            (1..=MESSAGES as u16).flat_map(|id| fairlead_benches::publish(version == Version::V5, id)).collect();
        let mut input = Input::default();
        let mut session = online(version, now, &mut input);
        let (mut tickets, mut out) = (Vec::with_capacity(MESSAGES), Vec::with_capacity(8 * MESSAGES));
        group.bench_function(name, |bencher| {
            bencher.iter(|| turn(&mut session, now, &mut input, &stream, &mut tickets, &mut out));
        });
    }
    group.finish();
}

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

criterion_group!(benches, left_end);
criterion_main!(benches);
