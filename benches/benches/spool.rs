//! The spool on a real disk: appending to a group, making a group durable, reading back, opening with a backlog. The
//! folder lies under `TMPDIR`; on a file system in memory the figures mean nothing.

use std::{hint::black_box, path::Path, time::Duration};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fairlead_benches::start as now;
use fairlead_spool::{AppendError, Entry, Kind, Log, Name, Options, Recovery, Spool, disk::Real};

const OPTIONS: Options =
    Options { max: 2 << 30, min_free: 0, segment: 64 << 20, group: 1 << 20, record: 1 << 20, shards: 1 };
const BACKLOG: u64 = 256 << 20;

fn entry() -> Entry<'static> {
    const META: &[u8] = &[b't'; 24];
    const PAYLOAD: &[u8] = &[b'p'; 100];
    Entry { kind: Kind::Data, session: 1, packet_id: 2, time: 3, meta: META, key: None, payload: Some(PAYLOAD) }
}

fn open(path: &Path) -> (Log<Real>, Recovery) {
    let (spool, _) = Spool::open(Real, path, OPTIONS).expect("a disk that works");
    let (mut log, recovery) = spool.log(Name::Shard(0)).expect("a disk that works");
    upkeep(&mut log);
    commit(&mut log);
    (log, recovery)
}

fn upkeep(log: &mut Log<Real>) {
    while let Some(upkeep) = log.poll_upkeep(now()) {
        log.handle_upkeep(now(), upkeep.run()).expect("a disk that works");
    }
}

fn commit(log: &mut Log<Real>) {
    if let Some(commit) = log.poll_commit(now()) {
        log.handle_committed(now(), commit.run()).expect("a disk that works");
    }
}

/// Appends `records`, without making them durable.
fn fill(log: &mut Log<Real>, records: u64) {
    for _ in 0..records {
        while let Err(refused) = log.append(&entry()) {
            assert_eq!(refused, AppendError::Busy);
            log.release(log.synced());
            upkeep(log);
            commit(log);
        }
    }
}

fn append(c: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut group = c.benchmark_group("spool/append");
    group.throughput(Throughput::Elements(1000));
    let (mut log, _) = open(&folder.path().join("spool"));
    group.bench_function("1000 records of 100 bytes", |b| {
        b.iter_custom(|times| {
            let mut spent = Duration::ZERO;
            for _ in 0..times {
                let begun = now();
                for _ in 0..1000 {
                    black_box(log.append(&entry())).expect("a thousand records are less than a group");
                }
                spent += begun.elapsed();
                // What makes room for the next thousand is not measured.
                commit(&mut log);
                log.release(log.synced());
                upkeep(&mut log);
            }
            spent
        });
    });
    group.finish();
}

fn group_commit(c: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut group = c.benchmark_group("spool/commit");
    for records in [1, 300, 5000] {
        group.throughput(Throughput::Elements(records));
        let (mut log, _) = open(&folder.path().join(records.to_string()));
        group.bench_function(format!("{records} records"), |b| {
            b.iter(|| {
                fill(&mut log, records);
                commit(&mut log);
                log.release(log.synced());
                upkeep(&mut log);
            });
        });
    }
    group.finish();
}

fn backlog(c: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("spool");
    let (mut log, _) = open(&path);
    let mut records = 0;
    while log.usage().bytes < BACKLOG {
        while log.append(&entry()).is_ok() {
            records += 1;
        }
        commit(&mut log);
        upkeep(&mut log);
    }
    let mut group = c.benchmark_group("spool/backlog of 256 MiB");
    group.sample_size(10);
    group.throughput(Throughput::Elements(records));
    group.bench_function("read", |b| {
        b.iter(|| {
            let (mut next, mut seen) = (log.start(), 0);
            while let Some(read) = log.read(next, 1 << 20) {
                let batch = read.run().expect("a disk that works");
                seen += batch.records.len();
                next = batch.next;
            }
            assert!(seen > 0);
        });
    });
    drop(log);
    group.bench_function("open", |b| b.iter(|| black_box(open(&path).1)));
    group.finish();
}

criterion_group!(benches, append, group_commit, backlog);
criterion_main!(benches);
