//! The lane from a record to its receipt, with a producer that confirms at once: what the lane itself costs.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fairlead::{
    lane::{Lane, Spooling},
    message::{Record, RouteId, Ticket, TopicId},
};

const TURN: u32 = 2048;
const PARTITIONS: u32 = 9;

fn turn(lane: &mut Lane, now: Instant, inside: &mut Vec<Record>) {
    for position in 0..TURN {
        let ticket = Ticket::new(0, 0, 0, position);
        let partition = position % PARTITIONS;
        let record = Record {
            ticket,
            topic: TopicId(0),
            route: RouteId(0),
            partition,
            key: None,
            value: None,
            mqtt_topic: None,
            extra: None,
        };
        lane.handle_record(now, record);
    }
    fairlead_benches::confirm(lane, now, inside, |settlement| {
        black_box(settlement);
    });
}

fn lane(c: &mut Criterion) {
    let mut group = c.benchmark_group("lane");
    group.throughput(Throughput::Elements(u64::from(TURN)));
    group.bench_function("record to receipt", |b| {
        let now = fairlead_benches::start();
        let mut lane = Lane::new(Duration::from_millis(1), Spooling::Never, 64 << 20);
        let mut inside = Vec::new();
        b.iter(|| turn(&mut lane, now, &mut inside));
    });
    group.finish();
}

criterion_group!(benches, lane);
criterion_main!(benches);
