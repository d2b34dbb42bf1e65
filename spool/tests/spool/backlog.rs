//! A large backlog on a real disk: how long it takes to open it and to verify it, with nothing of it in memory.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use fairlead_spool::{
    AppendError, Name, Options, Spool,
    disk::Real,
    inspect::{Class, verify},
};
use rustix::fs::{Advice, fadvise};

use crate::{
    campaign::from_environment,
    rig::{Rig, clock, data},
};

const OPTIONS: Options =
    Options { max: 1 << 40, min_free: 0, segment: 64 << 20, group: 1 << 20, record: 1 << 20, shards: 1 };

fn fill(path: &Path, bytes: u64) -> u64 {
    let mut rig = Rig::open(Real, path, OPTIONS).expect("an empty folder");
    while rig.log.usage().bytes < bytes {
        match rig.append(&data(&[b't'; 20], &[b'p'; 100])) {
            Ok(_) | Err(AppendError::Busy) => {}
            Err(refused) => panic!("{refused}"),
        }
    }
    rig.settle();
    rig.log.synced()
}

fn files(path: &Path) -> Vec<PathBuf> {
    fs::read_dir(path.join("shard-00")).expect("the log's folder").map(|file| file.expect("a file").path()).collect()
}

/// Nothing of the spool stays in memory.
fn forget(path: &Path) {
    for file in files(path) {
        let file = File::open(file).expect("just listed");
        file.sync_all().expect("a disk that works");
        fadvise(file, 0, None, Advice::DontNeed).expect("a file");
    }
}

/// What this thread has had of a processor.
fn processor() -> Duration {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").expect("procfs");
    let spent = stat.split_whitespace().next().expect("a field");
    Duration::from_nanos(spent.parse().expect("nanoseconds"))
}

#[expect(clippy::print_stdout, reason = "the figures are for reading")]
fn timed<T>(what: &str, bytes: u64, run: impl FnOnce() -> T) -> (T, Duration) {
    let (begun, before) = (clock(), processor());
    let done = run();
    let (took, spent) = (begun.elapsed(), processor() - before);
    let speed = |time: Duration| bytes as f64 / 1e9 / time.as_secs_f64();
    println!("{what}: {took:.1?}, {:.2} GB/s; processor {spent:.1?}, {:.2} GB/s", speed(took), speed(spent));
    (done, took)
}

/// `FAIRLEAD_BACKLOG` says how many MiB, such as 10240; the figures that it prints are for reading.
#[test]
fn backlog_is_opened_read_and_verified() {
    let bytes = from_environment("FAIRLEAD_BACKLOG", 96) << 20;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("spool");
    let (last, _) = timed("fill", bytes, || fill(&path, bytes));
    let open = || {
        let (spool, _) = Spool::open(Real, &path, OPTIONS).expect("nobody has it");
        spool.log(Name::Shard(0)).expect("a sound log").1
    };
    for state in ["nothing in memory", "what is needed in memory"] {
        if state == "nothing in memory" {
            forget(&path);
        }
        let (recovery, _) = timed(&format!("open, {state}"), bytes, open);
        assert_eq!((recovery.backlog, recovery.degraded, recovery.torn), (last, false, false));
    }
    forget(&path);
    timed("read alone", bytes, || {
        for file in files(&path) {
            io::copy(&mut File::open(file).expect("just listed"), &mut io::sink()).expect("a disk that works");
        }
    });
    for state in ["nothing in memory", "what fits in memory"] {
        if state == "nothing in memory" {
            forget(&path);
        }
        let (report, _) = timed(&format!("verify, {state}"), bytes, || verify(&Real, &path, true).expect("readable"));
        assert_eq!((report.class, report.logs[0].backlog), (Class::Clean, last));
    }
}
