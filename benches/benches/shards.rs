//! Whole shards without sockets, between a broker that has everything ready and a Kafka that confirms at once: what a
//! second core brings where neither of the two needs one. From the bytes of a PUBLISH over session, route, ring and
//! lane to the bytes of its PUBACK. A thread is a shard; each has a session of its own.

use std::{
    sync::{
        Barrier,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fairlead::{
    lane::{Lane, Settlement, Spooling},
    message::{Record, Ticket, TopicId},
    mqtt::{Delivery, Input, Session},
    ring::{Mesh, Port},
    route::{Decision, Table, TopicDirectory, partition, record},
    settings::{Owner, Route, Version},
};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Messages of a session in one turn.
const MESSAGES: u16 = 1_500;
const PARTITIONS: u32 = 9;

/// One Kafka topic.
struct Directory;

impl TopicDirectory for Directory {
    fn find(&mut self, _: &str) -> Option<(TopicId, u32)> {
        Some((TopicId(0), PARTITIONS))
    }
}

struct Shard {
    now: Instant,
    session: Session,
    input: Input,
    stream: Vec<u8>,
    route: Route,
    table: Table,
    port: Port,
    lane: Lane,
    /// Inside the Kafka that confirms at once.
    inside: Vec<Record>,
    receipts: Vec<Ticket>,
    out: Vec<u8>,
    /// Published by the session and without a PUBACK.
    open: usize,
}

impl Shard {
    fn new(port: Port, owner: Owner) -> Shard {
        let (now, mut input) = (fairlead_benches::start(), Input::default());
        let route = Route { owner, ..fairlead_benches::route("ais/{vessel...}", "ais", "{topic}") };
        Shard {
            now,
            session: fairlead_benches::online(Version::V5, now, &mut input, port.shard()),
            input,
            stream: (1..=MESSAGES).flat_map(|id| fairlead_benches::publish(true, id)).collect(),
            table: Table::new(0, std::slice::from_ref(&route)),
            route,
            port,
            lane: Lane::new(Duration::from_millis(1), Spooling::Never, 64 << 20),
            inside: Vec::new(),
            receipts: Vec::new(),
            out: Vec::new(),
            open: 0,
        }
    }

    /// One turn's messages of the session, as far as their lanes.
    fn receive(&mut self) {
        fairlead_benches::feed(&mut self.input, &self.stream);
        let shards = self.port.shards();
        while let Some(delivery) = self.session.poll_publish(self.now, &mut self.input).expect("valid") {
            let Delivery::Publish { ticket, publish } = delivery else { continue };
            let Decision::Route(entry) = self.table.lookup(&publish.topic, &mut Directory) else { continue };
            let to = match self.route.owner {
                Owner::Partition => partition::owner(entry.partition, PARTITIONS, shards),
                Owner::Session => self.port.shard(),
            };
            let record = record(ticket, publish, &entry, &self.route).expect("nothing to drop");
            self.open += 1;
            if to == self.port.shard() {
                self.lane.handle_record(self.now, record);
            } else {
                self.port.send(to, record).expect("a turn fits the ring");
            }
        }
    }

    /// What comes from the other shard and from Kafka; the PUBACKs.
    fn settle(&mut self) {
        let Shard { now, lane, port, inside, receipts, .. } = self;
        port.take_records(usize::MAX, |record| lane.handle_record(*now, record));
        fairlead_benches::confirm(lane, *now, inside, |settlement| {
            let Some(Settlement::Receipt(receipt)) = settlement else { return };
            if receipt.ticket.shard() == port.shard() {
                receipts.push(receipt.ticket);
            } else {
                port.send_receipt(receipt);
            }
        });
        port.ring();
        port.take_receipts(|receipt| receipts.push(receipt.ticket));
        self.open -= receipts.len();
        for ticket in receipts.drain(..) {
            assert!(self.session.handle_receipt(ticket), "a ticket of this connection");
        }
        self.out.clear();
        self.session.poll_transmit(self.now, &mut self.out);
    }
}

/// Runs the shards, each on a core of its own, for so many turns of each; the time of the slowest.
fn run(shards: usize, owner: Owner, turns: u64) -> Duration {
    let cores = sched_getaffinity(None).expect("this thread");
    let mut cores = (0..CpuSet::MAX_CPU).filter(move |core| cores.is_set(*core)).cycle();
    let (start, done) = (Barrier::new(shards), AtomicUsize::new(0));
    thread::scope(|scope| {
        let threads: Vec<_> = Mesh::new(shards)
            .into_ports()
            .into_iter()
            .map(|port| {
                let (mut core, start, done) = (CpuSet::new(), &start, &done);
                core.set(cores.next().expect("a core"));
                scope.spawn(move || {
                    sched_setaffinity(None, &core).expect("a core of this process");
                    let mut shard = Shard::new(port, owner);
                    start.wait();
                    let begin = fairlead_benches::start();
                    for _ in 0..turns {
                        shard.receive();
                        while shard.open > 0 {
                            shard.settle();
                        }
                    }
                    let took = begin.elapsed();
                    // The other one's records may lie here yet.
                    done.fetch_add(1, Ordering::AcqRel);
                    while done.load(Ordering::Acquire) < shards {
                        shard.settle();
                    }
                    took
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).max().expect("a shard")
    })
}

fn shards(c: &mut Criterion) {
    let mut group = c.benchmark_group("shards");
    let rows = [
        ("one", 1, Owner::Session),
        ("two, each its own partitions", 2, Owner::Session),
        ("two, half through the rings", 2, Owner::Partition),
    ];
    for (name, count, owner) in rows {
        group.throughput(Throughput::Elements(count as u64 * u64::from(MESSAGES)));
        group.bench_function(name, |b| b.iter_custom(|turns| run(count, owner, turns)));
    }
    group.finish();
}

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

criterion_group!(benches, shards);
criterion_main!(benches);
