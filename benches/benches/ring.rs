//! The ring between two shards: crossbeam's `ArrayQueue` against rtrb's single-producer ring, one record at a time on
//! one core and in a stream over two.

use std::{hint::black_box, sync::Arc, thread};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use crossbeam::queue::ArrayQueue;
use fairlead::{
    message::{Record, RouteId, Ticket, TopicId},
    ring::ring,
};

const CHUNK: u32 = 256;
const STREAM: u32 = 1 << 20;
const SLOTS: usize = 4096;

fn record(position: u32) -> Record {
    let ticket = Ticket::new(0, 0, 0, position);
    Record {
        ticket,
        topic: TopicId(0),
        route: RouteId(0),
        partition: 0,
        key: None,
        value: None,
        mqtt_topic: None,
        extra: None,
    }
}

fn one_core(c: &mut Criterion) {
    let mut group = c.benchmark_group("ring/one core");
    group.throughput(Throughput::Elements(u64::from(CHUNK)));
    group.bench_function("array queue", |b| {
        let queue = ArrayQueue::new(SLOTS);
        b.iter(|| {
            (0..CHUNK).for_each(|position| assert!(queue.push(record(position)).is_ok()));
            while let Some(record) = queue.pop() {
                black_box(record);
            }
        });
    });
    group.bench_function("spsc in chunks", |b| {
        let (mut writer, mut reader) = ring(SLOTS);
        b.iter(|| {
            (0..CHUNK).for_each(|position| assert!(writer.push(record(position)).is_ok()));
            reader.take(SLOTS, |record| {
                black_box(record);
            });
        });
    });
    group.finish();
}

fn two_cores(c: &mut Criterion) {
    let mut group = c.benchmark_group("ring/two cores");
    group.sample_size(10).throughput(Throughput::Elements(u64::from(STREAM)));
    group.bench_function("array queue", |b| {
        b.iter(|| {
            let queue = Arc::new(ArrayQueue::new(SLOTS));
            let reader = queue.clone();
            let thread = thread::spawn(move || {
                let mut taken = 0;
                while taken < STREAM {
                    match reader.pop() {
                        Some(record) => {
                            black_box(record);
                            taken += 1;
                        }
                        None => thread::yield_now(),
                    }
                }
            });
            for position in 0..STREAM {
                while queue.push(record(position)).is_err() {
                    thread::yield_now();
                }
            }
            assert!(thread.join().is_ok());
        });
    });
    group.bench_function("spsc in chunks", |b| {
        b.iter(|| {
            let (mut writer, mut reader) = ring(SLOTS);
            let thread = thread::spawn(move || {
                let mut taken = 0;
                while taken < STREAM as usize {
                    match reader.take(SLOTS, |record| {
                        black_box(record);
                    }) {
                        0 => thread::yield_now(),
                        count => taken += count,
                    }
                }
            });
            for position in 0..STREAM {
                while writer.push(record(position)).is_err() {
                    thread::yield_now();
                }
            }
            assert!(thread.join().is_ok());
        });
    });
    group.finish();
}

criterion_group!(benches, one_core, two_cores);
criterion_main!(benches);
