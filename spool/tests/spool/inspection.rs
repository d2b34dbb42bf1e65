//! Looking at a spool beside its writer, and repairing one.

use std::path::Path;

use fairlead_spool::{
    Name,
    disk::{Disk, Memory},
    inspect::{Class, InspectError, records, repair, stat, verify},
};

use crate::rig::{SMALL, append_up_to, memory, origin};

const PATH: &str = "/spool";
const SHARD: Name = Name::Shard(0);

fn path() -> &'static Path {
    Path::new(PATH)
}

fn filled() -> Memory {
    let disk = Memory::new();
    let mut rig = memory(&disk);
    append_up_to(&mut rig, 1500);
    rig.settle();
    rig.log.release(100);
    rig.upkeep();
    drop(rig);
    disk
}

/// All record numbers from one on.
fn numbers(disk: &Memory, from: u64) -> Result<Vec<u64>, InspectError> {
    let batches: Vec<_> = records(disk, path(), SHARD, from)?.collect::<Result<_, _>>()?;
    let numbers = batches.iter().flat_map(|batch| batch.iter().map(|record| (record.sequence, record.meta.to_vec())));
    Ok(numbers.inspect(|(sequence, meta)| assert_eq!(sequence.to_le_bytes(), meta[..])).map(|(at, _)| at).collect())
}

#[test]
fn a_live_spool_can_be_looked_at() {
    let disk = Memory::new();
    let mut rig = memory(&disk);
    append_up_to(&mut rig, 1500);
    rig.settle();
    rig.log.release(100);
    rig.upkeep();
    let before = disk.operations();
    let report = verify(&disk, path(), true).expect("it can be read");
    assert_eq!((report.class, report.shards, &report.findings), (Class::Clean, Some(1), &vec![]));
    let log = &report.logs[0];
    assert_eq!((log.name, log.delivered, log.backlog, log.durable), (SHARD, Some(100), 1400, 1500));
    assert_eq!(log.segments.len() as u64, rig.log.usage().segments);
    assert!(log.segments.iter().rev().skip(1).all(|segment| segment.sealed));
    assert_eq!(report, stat(&disk, path()).expect("it can be read"));
    assert_eq!(numbers(&disk, 1).expect("readable"), (1..=1500).collect::<Vec<_>>());
    assert_eq!(numbers(&disk, 1234).expect("readable"), (1234..=1500).collect::<Vec<_>>());
    assert_eq!(disk.operations(), before, "looking changes nothing");
}

#[test]
fn each_class_of_damage_is_told_apart() {
    let disk = filled();
    let segments: Vec<_> = disk.paths().into_iter().filter(|path| path.to_string_lossy().contains("/seg-")).collect();
    let class = |disk: &Memory, deep| verify(disk, path(), deep).map(|report| report.class).map_err(|e| e.to_string());
    let damage = |file: &Path, change: &dyn Fn(&mut Vec<u8>)| {
        let disk = disk.kill();
        let mut bytes = disk.bytes(file).expect("a file");
        change(&mut bytes);
        disk.put(file, bytes);
        disk
    };
    let active = &segments[segments.len() - 2];
    // Behind the last mark something was begun.
    let torn = damage(active, &|bytes| {
        let tag: [u8; 4] = bytes[4096 + 52..4096 + 56].try_into().expect("four bytes");
        let free = bytes[..bytes.len() - 4096].rchunks(4096).take_while(|block| block.iter().all(|&byte| byte == 0));
        let at = bytes.len() - 4096 - free.count() * 4096;
        bytes[at..at + 8].fill(9);
        bytes[at + 52..at + 56].copy_from_slice(&tag);
    });
    assert_eq!(class(&torn, false), Ok(Class::TornTail));
    // Record 200, in a sealed segment: only a deep look finds it.
    let flipped = damage(&segments[0], &|bytes| bytes[4096 * 10 + 60] ^= 1);
    assert_eq!((class(&flipped, false), class(&flipped, true)), (Ok(Class::Clean), Ok(Class::Corrupt)));
    let headless = damage(&segments[0], &|bytes| bytes[..4096].fill(0));
    assert_eq!(class(&headless, false), Ok(Class::Unreadable));
    let missing = disk.kill();
    missing.remove(&segments[1]).expect("it is there");
    assert_eq!(class(&missing, false), Ok(Class::Corrupt));
    let lost = damage(Path::new("/spool/META"), &|bytes| bytes[20] ^= 1);
    assert_eq!(class(&lost, false), Ok(Class::Corrupt));
    assert_eq!(numbers(&lost, 1).expect("readable").len(), 1500, "META is not needed to read");
}

#[test]
fn repair_does_what_opening_does_and_nothing_when_dry() {
    let disk = filled();
    let segments: Vec<_> = disk.paths().into_iter().filter(|path| path.to_string_lossy().contains("/seg-")).collect();
    let mut bytes = disk.bytes(&segments[0]).expect("a segment");
    bytes[..4096].fill(0);
    disk.put(&segments[0], bytes);
    disk.put(Path::new("/spool/META"), vec![1, 2, 3]);
    let before: Vec<_> = disk.paths().iter().map(|path| disk.bytes(path)).collect();
    let report = repair(&disk, path(), SMALL, origin(), true).expect("it can be read");
    assert_eq!(report.class, Class::Unreadable);
    assert_eq!(before, disk.paths().iter().map(|path| disk.bytes(path)).collect::<Vec<_>>());
    repair(&disk, path(), SMALL, origin(), false).expect("it can be opened");
    let after = verify(&disk, path(), true).expect("it can be read");
    assert_eq!(after.quarantined.len(), 1);
    assert_eq!(after.class, Class::Corrupt, "what is gone stays reported: {:?}", after.findings);
    assert!(after.findings.iter().all(|finding| finding.contains("are missing")), "{:?}", after.findings);
}
