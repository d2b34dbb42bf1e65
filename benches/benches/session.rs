//! The whole left end without the socket: bytes to message, receipt, PUBACK. 100 bytes of payload, QoS 1, a chunk a
//! turn, receipts in the same turn.

use std::time::Instant;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fairlead::{
    message::Ticket,
    mqtt::{Delivery, Input, Session},
    settings::Version,
};

/// Messages of one turn.
const MESSAGES: usize = 1_500;

fn turn(
    session: &mut Session,
    now: Instant,
    input: &mut Input,
    stream: &[u8],
    tickets: &mut Vec<Ticket>,
    out: &mut Vec<u8>,
) {
    fairlead_benches::feed(input, stream);
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
        let mut session = fairlead_benches::online(version, now, &mut input, 0);
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
