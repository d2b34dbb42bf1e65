//! Bounds: what happens at each of them, and on a disk that fails.

use std::time::{Duration, Instant};

use fairlead_spool::{
    AppendError, CommitError, Log, Name, OpenError, Options, Spool, State,
    disk::{Disk as _, Memory, Operation},
};

use crate::rig::{Rig, SMALL, append_up_to, data, expected, memory, payload};

/// No spool of these tests has room for as many records.
const MORE_THAN_FITS: u64 = 100_000;

/// Appends until the log refuses; the refusal.
fn fill(rig: &mut Rig<Memory>) -> AppendError {
    for number in rig.log.appended() + 1..MORE_THAN_FITS {
        if let Err(refused) = rig.append(&data(&number.to_le_bytes(), &payload(number))) {
            return refused;
        }
    }
    panic!("a spool without a bound")
}

#[test]
fn a_full_spool_refuses_and_takes_records_again_at_seventy_percent() {
    let disk = Memory::new();
    let mut rig = memory(&disk);
    let mut states = vec![];
    let refused = loop {
        let number = rig.log.appended() + 1;
        assert!(number < MORE_THAN_FITS, "a spool without a bound");
        let taken = rig.append(&data(&number.to_le_bytes(), &payload(number)));
        let usage = rig.log.usage();
        if states.last() != Some(&usage.state) {
            states.push(usage.state);
        }
        if let Err(refused) = taken {
            break refused;
        }
    };
    assert_eq!((refused, states), (AppendError::Full, vec![State::Ok, State::High, State::Full]));
    let (full, last) = (rig.log.usage(), rig.log.appended());
    assert!(full.bytes <= SMALL.max && full.bytes >= SMALL.max * 9 / 10, "{full:?}");
    // A group never half fits: what was taken becomes durable.
    rig.settle();
    assert_eq!(rig.log.synced(), last);
    let mut released = 0;
    while rig.log.append(&data(b"", b"")) == Err(AppendError::Full) {
        assert!(rig.log.usage().bytes > SMALL.max * 7 / 10 - SMALL.segment, "{:?}", rig.log.usage());
        released += 20;
        rig.log.release(released);
        rig.pass(Duration::from_millis(250));
        rig.upkeep();
    }
    assert!(rig.log.usage().bytes <= SMALL.max * 7 / 10, "{:?}", rig.log.usage());
    assert_eq!(rig.log.usage().state, State::Ok);
    let (seen, gaps) = rig.read_all();
    assert_eq!((seen, gaps), ((released + 1..=last).map(expected).collect(), vec![]));
}

/// No space, over quota, file too large, or less than `min_free`: all the same, and over when there is space. So are file
/// descriptors and memory.
#[test]
fn a_disk_without_space_is_a_full_spool_until_there_is_some() {
    for (error, text) in [
        (libc::ENOSPC, "no space"),
        (libc::EDQUOT, "no space"),
        (libc::EFBIG, "no space"),
        (libc::EMFILE, "Too many open files"),
        (libc::ENFILE, "Too many open files"),
        (libc::ENOMEM, "Cannot allocate memory"),
    ] {
        let disk = Memory::new();
        let mut rig = memory(&disk);
        assert!(!rig.log.is_prepared());
        rig.upkeep();
        assert!(rig.log.is_prepared());
        append_up_to(&mut rig, 100);
        disk.fail(Operation::Allocate, 0, u64::MAX, error);
        let (mut refused, mut errors) = (fill(&mut rig), vec![]);
        for _ in 0..3 {
            rig.pass(Duration::from_millis(250));
            errors.extend(rig.upkeep());
            refused = fill(&mut rig);
        }
        assert_eq!(refused, AppendError::Full, "errno {error}");
        assert!(errors.iter().any(|error| error.contains(text)), "{errors:?}");
        assert!(rig.log.is_prepared(), "as far as the disk allows");
        rig.log.release(50);
        rig.pass(Duration::from_millis(250));
        rig.upkeep();
        assert_eq!(rig.log.delivered(), 50, "the cursor needs no space");
        disk.heal();
        rig.pass(Duration::from_millis(250));
        assert_eq!(rig.upkeep(), Vec::<String>::new());
        let last = rig.log.appended();
        append_up_to(&mut rig, last + 100);
        rig.settle();
        assert_eq!(rig.read_all(), ((51..=last + 100).map(expected).collect(), vec![]));
    }
}

#[test]
fn what_must_stay_free_stays_free() {
    let disk = Memory::new();
    disk.limit_space(Some(1 << 20));
    let mut rig = Rig::open(disk.clone(), "/spool", Options { min_free: 512 << 10, ..SMALL }).expect("it opens");
    let mut errors = rig.upkeep();
    while fill(&mut rig) != AppendError::Full {
        rig.pass(Duration::from_millis(250));
        errors.extend(rig.upkeep());
    }
    assert!(errors.is_empty() || errors[0].contains("min_free"), "{errors:?}");
    let used = rig.log.usage().bytes;
    assert!((256 << 10..=512 << 10).contains(&used), "{used}");
}

/// A file that was made is a segment, a spare, or gone: none is forgotten, to lie beside the spool's `max`.
#[test]
fn a_segment_that_cannot_be_prepared_leaves_no_file_behind() {
    let operations = [Operation::Create, Operation::Allocate, Operation::Write, Operation::Sync, Operation::Rename];
    for operation in operations.into_iter().chain([Operation::SyncFolder]) {
        for (after, times) in (0..8).flat_map(|after| [(after, 1), (after, 3)]) {
            let disk = Memory::new();
            let mut rig = memory(&disk);
            disk.fail(operation, after, times, libc::EIO);
            for _ in 0..8 {
                rig.upkeep();
                rig.pass(Duration::from_millis(250));
            }
            disk.heal();
            rig.upkeep();
            let names = disk.paths();
            let files = names.iter().map(|path| path.to_string_lossy());
            let files = files.filter(|path| path.contains("/shard-00/") && !path.contains("cursor"));
            assert_eq!(files.count(), 2, "{operation:?} fails {times} times after {after}: {names:?}");
            append_up_to(&mut rig, 20);
            rig.settle();
        }
    }
}

#[test]
fn three_failed_syncs_in_a_row_fence_the_log() {
    let disk = Memory::new();
    let mut rig = memory(&disk);
    append_up_to(&mut rig, 5);
    rig.settle();
    append_up_to(&mut rig, 9);
    for failure in 1..=3 {
        rig.upkeep();
        disk.fail(Operation::Sync, 0, 1, libc::EIO);
        let error = rig.commit().expect("the group is tried again").expect_err("the sync fails");
        match error {
            CommitError::Sync { failures, .. } => assert_eq!(failures, failure),
            CommitError::Fenced { failures, .. } => assert_eq!((failures, failure), (3, 3)),
        }
        assert_eq!(rig.log.synced(), 5);
    }
    assert_eq!(rig.log.append(&data(b"", b"")), Err(AppendError::Fenced));
    assert!(rig.commit().is_none() && rig.log.usage().fenced);
    assert_eq!(rig.read_all().0, (1..=5).map(expected).collect::<Vec<_>>(), "what is durable can be drained");
}

/// Nothing is written any more, and nothing waits to be: what is refused for want of a segment shows that the disk has
/// failed.
#[test]
fn a_disk_that_makes_no_segment_for_what_comes_fences_the_log() {
    let disk = Memory::new();
    let mut rig = memory(&disk);
    for operation in [Operation::Create, Operation::Write, Operation::Sync] {
        disk.fail(operation, 0, u64::MAX, libc::EROFS);
    }
    for _ in 0..10 {
        rig.upkeep();
        assert!(!rig.log.usage().fenced, "nobody waits for a segment");
        rig.pass(Duration::from_secs(1));
    }
    for failure in 1..=3 {
        assert_eq!(rig.log.append(&data(b"", b"")), Err(AppendError::Busy));
        rig.upkeep();
        assert_eq!(rig.log.usage().fenced, failure == 3);
        rig.pass(Duration::from_secs(1));
    }
    assert_eq!(rig.log.append(&data(b"", b"")), Err(AppendError::Fenced));
}

/// What is in memory and finds no room may go elsewhere: a group is written again, and the disk is full meanwhile.
#[test]
fn what_a_full_log_has_in_memory_can_be_read() {
    let disk = Memory::new();
    let mut rig = memory(&disk);
    disk.limit_space(Some(SMALL.segment * 3 / 2));
    append_up_to(&mut rig, 5);
    rig.settle();
    append_up_to(&mut rig, 9);
    assert!(rig.log.unsynced(6).is_none(), "it is written soon");
    disk.fail(Operation::Sync, 0, 1, libc::EIO);
    assert!(matches!(rig.commit(), Some(Err(CommitError::Sync { failures: 1, .. }))));
    rig.pass(Duration::from_secs(1));
    rig.upkeep();
    let batch = rig.log.unsynced(6).expect("what is not durable");
    assert_eq!(batch.records.iter().map(|record| record.sequence).collect::<Vec<_>>(), [6, 7, 8, 9]);
    disk.limit_space(None);
    rig.pass(Duration::from_secs(1));
    rig.settle();
    assert_eq!(rig.read_all(), ((1..=9).map(expected).collect(), vec![]));
}

#[test]
fn a_group_whose_sync_failed_is_written_again_elsewhere_and_never_synced_twice() {
    let disk = Memory::new();
    let mut rig = memory(&disk);
    append_up_to(&mut rig, 5);
    rig.settle();
    append_up_to(&mut rig, 9);
    disk.fail(Operation::Sync, 0, 1, libc::EIO);
    assert!(matches!(rig.commit(), Some(Err(CommitError::Sync { failures: 1, .. }))));
    rig.upkeep();
    assert!(matches!(rig.commit(), Some(Ok(9))));
    let usage = rig.log.usage();
    assert_eq!((usage.segments, usage.counters.failed_syncs, usage.fenced), (2, 1, false));
    let mut rig = {
        let crashed = disk.crash(&mut rand::rng());
        drop(rig);
        memory(&crashed)
    };
    rig.settle();
    assert_eq!(rig.read_all(), ((1..=9).map(expected).collect(), vec![]));
}

#[test]
fn what_is_too_large_is_refused_and_the_largest_fits() {
    let disk = Memory::new();
    let mut rig = memory(&disk);
    rig.upkeep();
    let largest = vec![7; SMALL.record];
    assert_eq!(rig.log.append(&data(b"", &largest)), Ok(1));
    assert_eq!(rig.log.append(&data(b"", &vec![7; SMALL.record + 1])), Err(AppendError::TooLarge));
    assert_eq!(rig.log.append(&data(b"", b"")), Err(AppendError::Busy), "a group is full at its limit");
    rig.settle();
    assert_eq!(rig.read_all().0[0].payload.as_deref(), Some(&largest[..]));
}

#[test]
fn limits_that_contradict_one_another_are_refused() {
    for options in [
        Options { shards: 0, ..SMALL },
        Options { group: 0, ..SMALL },
        Options { segment: 100_000, ..SMALL },
        Options { record: 40 << 10, ..SMALL },
        Options { max: 5 * SMALL.segment, ..SMALL },
    ] {
        let refused = Spool::open(Memory::new(), "/spool", options).err();
        assert!(matches!(refused, Some(OpenError::Options(_))), "{options:?}");
    }
}

/// Appends to one log of several until it refuses.
fn fill_one(log: &mut Log<Memory>, now: &mut Instant) {
    for _ in 0..MORE_THAN_FITS {
        match log.append(&data(b"", &[1; 1000])) {
            Err(AppendError::Full) => break,
            Err(_) => work(log, now),
            Ok(_) => {}
        }
    }
    assert_eq!(log.append(&data(b"", &[1; 1000])), Err(AppendError::Full));
}

/// A moment passes, and what is due is done.
fn work(log: &mut Log<Memory>, now: &mut Instant) {
    *now += Duration::from_millis(1);
    if let Some(commit) = log.poll_commit(*now) {
        log.handle_committed(*now, commit.run()).expect("a disk that works");
    }
    while let Some(upkeep) = log.poll_upkeep(*now) {
        log.handle_upkeep(*now, upkeep.run()).expect("a disk that works");
    }
}

/// The others may wait for what it takes: the records of a parked partition end in the spool when they are parked.
#[test]
fn a_log_that_has_drained_takes_records_again_however_full_the_others_are() {
    let options = Options { max: 12 * SMALL.segment, shards: 2, ..SMALL };
    let (spool, _) = Spool::open(Memory::new(), "/spool", options).expect("it opens");
    let mut now = crate::rig::origin();
    let [mut shard, mut parked] = [Name::Shard(0), Name::Parked(0)].map(|name| spool.log(name).expect("a new log").0);
    fill_one(&mut shard, &mut now);
    fill_one(&mut parked, &mut now);
    parked.release(parked.synced());
    (0..500).for_each(|_| work(&mut parked, &mut now));
    fill_one(&mut shard, &mut now);
    let before = parked.appended();
    assert_eq!(parked.append(&data(b"", &[1; 1000])), Ok(before + 1));
    fill_one(&mut parked, &mut now);
    assert!(parked.appended() > before + 10, "all of its reserve");
}

#[test]
fn the_budget_is_shared_and_each_log_has_its_reserve() {
    let disk = Memory::new();
    let options = Options { max: 12 * SMALL.segment, shards: 2, ..SMALL };
    let (spool, _) = Spool::open(disk, "/spool", options).expect("it opens");
    let mut now = crate::rig::origin();
    let mut logs: Vec<_> =
        [Name::Shard(0), Name::Shard(1), Name::DeadLetter(0)].map(|name| spool.log(name).expect("a new log").0).into();
    // The first one takes what it can get.
    logs.iter_mut().for_each(|log| fill_one(log, &mut now));
    let segments: Vec<u64> = logs.iter().map(|log| log.usage().segments).collect();
    assert_eq!(segments.iter().sum::<u64>(), 12);
    assert!(segments[1] == 2 && segments[2] == 2, "{segments:?}");
    assert_eq!(spool.usage().segments, 12);
    assert_eq!(spool.usage().state, State::Full);
}

/// At 100 bytes and small groups under load: under 2.5 × (topic + payload + 64).
#[test]
fn a_record_takes_little_more_than_itself() {
    let options = Options { max: 64 << 20, segment: 4 << 20, group: 1 << 20, record: 1 << 20, ..SMALL };
    let (topic, body) = ([b't'; 20], [b'p'; 100]);
    for group in [15, 50, 500] {
        let mut rig = Rig::open(Memory::new(), "/spool", options).expect("it opens");
        while rig.log.usage().segments < 4 {
            rig.upkeep();
            (0..group).for_each(|_| assert!(rig.append(&data(&topic, &body)).is_ok(), "there is room"));
            rig.commit().expect("a group").expect("a disk that works");
        }
        // The last segment has its first group.
        let each = (rig.log.usage().bytes - options.segment) / (rig.log.usage().records - group);
        println!("groups of {group}: {each} bytes a record");
        assert!(each * 10 < 25 * (20 + 100 + 64), "groups of {group}: {each} bytes a record");
    }
}

#[test]
fn a_mark_follows_the_last_group_after_ten_milliseconds() {
    let disk = Memory::new();
    let mut rig = memory(&disk);
    append_up_to(&mut rig, 3);
    rig.upkeep();
    rig.commit().expect("a group").expect("a disk that works");
    let due = rig.log.poll_timeout().expect("a mark is due");
    assert_eq!(due - rig.now, Duration::from_millis(10));
    assert!(rig.log.poll_commit(rig.now).is_none());
    rig.pass(Duration::from_millis(10));
    assert!(matches!(rig.commit(), Some(Ok(3))));
    assert_eq!(rig.log.usage().counters.marks, 1);
    rig.pass(Duration::from_millis(10));
    assert!(rig.commit().is_none(), "one is enough");
}

/// At full speed there is always a segment to make.
#[test]
fn what_is_delivered_is_let_go_also_at_full_speed() {
    let disk = Memory::new();
    let mut rig = memory(&disk);
    let mut most = 0;
    for _ in 0..400 {
        // All that there is room for.
        loop {
            let number = rig.log.appended() + 1;
            if rig.log.append(&data(&number.to_le_bytes(), &payload(number))).is_err() && rig.commit().is_none() {
                break;
            }
        }
        rig.log.release(rig.log.synced());
        rig.pass(Duration::from_millis(100));
        if let Some(upkeep) = rig.log.poll_upkeep(rig.now) {
            rig.log.handle_upkeep(rig.now, upkeep.run()).expect("a disk that works");
        }
        most = most.max(rig.log.usage().segments);
    }
    assert!(rig.log.delivered() > 1000 && most <= 4, "{most} segments, {} records", rig.log.delivered());
}

#[test]
fn the_cursor_is_written_every_hundred_milliseconds_or_when_asked() {
    let disk = Memory::new();
    let mut rig = memory(&disk);
    append_up_to(&mut rig, 50);
    rig.settle();
    rig.log.release(10);
    rig.upkeep();
    assert_eq!(rig.log.delivered(), 10);
    rig.log.release(20);
    rig.upkeep();
    assert_eq!(rig.log.delivered(), 10);
    let due = rig.log.poll_timeout().expect("a cursor is due");
    assert_eq!(due - rig.now, Duration::from_millis(100));
    rig.log.request_cursor();
    rig.upkeep();
    assert_eq!(rig.log.delivered(), 20);
    rig.log.release(30);
    rig.pass(Duration::from_millis(100));
    rig.upkeep();
    assert_eq!(rig.log.delivered(), 30);
    // A cursor that fails is made anew.
    rig.log.release(40);
    rig.pass(Duration::from_millis(100));
    disk.fail(Operation::Sync, 0, 1, libc::EIO);
    assert_eq!(rig.upkeep().len(), 1);
    rig.pass(Duration::from_millis(250));
    assert_eq!(rig.upkeep(), Vec::<String>::new());
    assert_eq!(rig.log.delivered(), 40);
    drop(rig);
    assert_eq!(memory(&disk).recovery.backlog, 10);
}

#[test]
fn the_cursor_is_written_early_where_much_was_delivered() {
    let options = Options { max: 64 << 20, segment: 8 << 20, group: 4 << 20, ..SMALL };
    let mut rig = Rig::open(Memory::new(), "/spool", options).expect("it opens");
    let much = 16 << 10;
    append_up_to(&mut rig, much + 1);
    rig.settle();
    rig.log.release(1);
    rig.upkeep();
    rig.log.release(much);
    rig.upkeep();
    assert_eq!(rig.log.delivered(), 1);
    rig.log.release(much + 1);
    rig.upkeep();
    assert_eq!(rig.log.delivered(), much + 1);
}

/// Otherwise whoever waits for the log polls it without end.
#[test]
fn what_cannot_be_done_yet_asks_for_no_poll() {
    let disk = Memory::new();
    let mut rig = memory(&disk);
    append_up_to(&mut rig, 50);
    rig.settle();
    rig.log.release(10);
    rig.upkeep();
    // A cursor is due and upkeep rests, because the last one failed.
    rig.log.release(20);
    rig.pass(Duration::from_millis(100));
    disk.fail(Operation::Sync, 0, 1, libc::EIO);
    assert_eq!(rig.upkeep().len(), 1);
    assert_eq!(rig.log.poll_timeout(), Some(rig.now + Duration::from_millis(250)));
    // A mark is due and the log is fenced.
    append_up_to(&mut rig, 51);
    rig.pass(Duration::from_secs(1));
    rig.commit().expect("a group").expect("a disk that works");
    for path in disk.paths().iter().filter(|path| path.to_string_lossy().contains("/shard-00/")) {
        disk.remove(path).expect("it is there");
    }
    rig.upkeep();
    assert!(rig.log.usage().fenced);
    rig.pass(Duration::from_millis(10));
    rig.upkeep();
    assert!(rig.commit().is_none());
    assert!(rig.log.poll_timeout().is_some_and(|at| at > rig.now));
}

/// A segment is made for the group before anything else is written.
#[test]
fn a_mark_is_not_waited_for_where_a_group_waits_for_a_segment() {
    let disk = Memory::new();
    let options = Options { max: 40 * (16 << 10), segment: 16 << 10, group: 1 << 10, record: 1500, ..SMALL };
    let mut rig = Rig::open(disk.clone(), "/spool", options).expect("it opens");
    rig.upkeep();
    assert_eq!(rig.log.append(&data(b"", &payload(1))), Ok(1));
    let first = rig.log.poll_commit(rig.now).expect("a group");
    rig.upkeep();
    assert_eq!(rig.log.append(&data(b"", &payload(2))), Ok(2));
    disk.fail(Operation::Sync, 0, 1, libc::EIO);
    assert!(rig.log.handle_committed(rig.now, first.run()).is_err());
    assert!(matches!(rig.commit(), Some(Ok(1))), "into the segment that was ready");
    rig.pass(Duration::from_millis(10));
    assert!(rig.commit().is_none(), "the second group does not fit behind it");
    assert!(rig.log.poll_timeout().is_none_or(|at| at > rig.now));
    rig.upkeep();
    assert!(matches!(rig.commit(), Some(Ok(2))));
}

#[test]
#[should_panic(expected = "delivered before it was durable")]
fn what_is_not_durable_cannot_be_released() {
    let mut rig = memory(&Memory::new());
    rig.upkeep();
    rig.log.append(&data(b"", b"")).expect("there is room");
    rig.log.release(1);
}

#[test]
fn one_owner_at_a_time() {
    let disk = Memory::new();
    let first = memory(&disk);
    assert!(matches!(Spool::open(disk.clone(), "/spool", SMALL), Err(OpenError::Locked(_))));
    drop(first);
    memory(&disk);
}
