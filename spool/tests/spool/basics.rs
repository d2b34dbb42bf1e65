//! Append, commit, read, release, reopen.

use fairlead_spool::disk::Memory;

use crate::rig::{append_up_to, expected, memory};

#[test]
fn what_is_synced_is_read_back_in_order_also_after_reopening() {
    let disk = Memory::new();
    let mut rig = memory(&disk);
    append_up_to(&mut rig, 2000);
    rig.settle();
    let all: Vec<_> = (1..=2000).map(expected).collect();
    assert_eq!(rig.read_all(), (all.clone(), vec![]));
    drop(rig);
    let mut rig = memory(&disk);
    assert_eq!((rig.recovery.synced, rig.recovery.torn, rig.recovery.degraded), (2000, false, false));
    assert_eq!(rig.read_all(), (all, vec![]));
    append_up_to(&mut rig, 2100);
    rig.settle();
    rig.log.release(1990);
    rig.upkeep();
    let rest: Vec<_> = (1991..=2100).map(expected).collect();
    assert_eq!(rig.read_all(), (rest.clone(), vec![]));
    drop(rig);
    let rig = memory(&disk);
    assert_eq!(rig.recovery.backlog, 110);
    assert_eq!(rig.read_all(), (rest, vec![]));
}

/// Several threads look at so many.
#[test]
fn a_backlog_of_many_segments_is_found_in_order() {
    let disk = Memory::new();
    let mut rig = memory(&disk);
    let mut last = 0;
    while rig.log.usage().segments < 35 {
        last += 100;
        append_up_to(&mut rig, last);
        rig.settle();
    }
    drop(rig);
    let rig = memory(&disk);
    assert_eq!((rig.recovery.backlog, rig.recovery.torn, rig.recovery.degraded), (last, false, false));
    assert_eq!(rig.read_all(), ((1..=last).map(expected).collect(), vec![]));
}
