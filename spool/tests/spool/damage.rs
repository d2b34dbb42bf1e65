//! Damage of every kind to a spool at rest: nothing changed is ever delivered, and what is missing is said.

use std::path::{Path, PathBuf};

use fairlead_spool::{
    Name, OpenError, Options, Spool,
    disk::{Disk, Memory},
};

use crate::{
    campaign::TINY,
    rig::{Rig, Seen, append_up_to, expected, memory},
};

const LAST: u64 = 90;

fn tiny(disk: &Memory) -> Result<Rig<Memory>, OpenError> {
    Rig::open(disk.clone(), "/spool", TINY)
}

/// A spool of two sealed segments and an active one, everything witnessed twice: by a mark and by the cursor.
fn witnessed() -> Memory {
    let disk = Memory::new();
    let mut rig = tiny(&disk).expect("an empty disk");
    append_up_to(&mut rig, LAST);
    rig.settle();
    rig.log.release(5);
    rig.upkeep();
    assert!((2..=4).contains(&rig.log.usage().segments), "{:?}", rig.log.usage());
    drop(rig);
    for path in disk.paths().iter().filter(|path| path.to_string_lossy().contains("/free-")) {
        disk.remove(path).expect("it is there");
    }
    disk
}

/// The files that hold something, with their bytes.
fn files(disk: &Memory) -> Vec<(PathBuf, Vec<u8>)> {
    let named = |path: &Path| path.file_name().is_some_and(|name| !name.to_string_lossy().starts_with("free"));
    let paths = disk.paths().into_iter().filter(|path| named(path));
    paths.map(|path| (path.clone(), disk.bytes(&path).expect("just listed"))).collect()
}

fn segments(disk: &Memory) -> Vec<(PathBuf, Vec<u8>)> {
    files(disk).into_iter().filter(|(path, _)| path.to_string_lossy().contains("/seg-")).collect()
}

/// Opens what is left and compares: every record up to the last is there, unchanged, or reported missing.
fn check(disk: &Memory, what: &str) -> (Vec<u64>, Rig<Memory>) {
    let mut rig = tiny(disk).unwrap_or_else(|error| panic!("{what}: {error}"));
    if rig.log.synced() < rig.log.appended() {
        rig.upkeep();
        rig.commit();
    }
    let (seen, gaps) = rig.read_from(rig.log.start(), 1 << 20);
    for seen in &seen {
        assert_eq!(*seen, expected(seen.sequence), "{what}: a record was changed");
    }
    assert!(seen.is_sorted_by_key(|seen| seen.sequence), "{what}: order");
    let said =
        |sequence: u64| rig.recovery.gaps.iter().chain(&gaps).any(|gap| (gap.first..=gap.last).contains(&sequence));
    let has = |sequence: u64, seen: &[Seen]| seen.binary_search_by_key(&sequence, |seen| seen.sequence).is_ok();
    let missing: Vec<u64> = (6..=LAST).filter(|&sequence| !has(sequence, &seen)).collect();
    let silent: Vec<u64> = missing.iter().copied().filter(|&sequence| !said(sequence)).collect();
    assert!(silent.is_empty(), "{what}: {silent:?} are missing and nobody says so; {:?}", rig.recovery);
    assert!(missing.is_empty() || rig.log.usage().degraded, "{what}: records are missing and all is said to be well");
    (missing, rig)
}

/// With `FAIRLEAD_DAMAGE=all` every bit is flipped, and every file cut to every length.
fn all_damage() -> bool {
    std::env::var("FAIRLEAD_DAMAGE").is_ok_and(|damage| damage == "all")
}

/// One bit of every byte; every bit takes eight times as long.
#[test]
fn every_bit_flip_is_detected_or_harmless() {
    let disk = witnessed();
    let all = all_damage();
    let mut lost = 0;
    for (path, bytes) in files(&disk) {
        for bit in (0..bytes.len() * 8).filter(|bit| all || bit % 8 == bit / 8 % 8) {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            disk.put(&path, flipped);
            let left = disk.kill();
            let (missing, _) = check(&left, &format!("bit {bit} of {}", path.display()));
            assert!(missing.len() <= 1, "one bit costs one record: {missing:?}");
            lost += missing.len();
        }
        disk.put(&path, bytes);
    }
    assert!(lost > 10_000, "flips in records cost these records");
}

#[test]
fn every_truncation_is_reported() {
    let disk = witnessed();
    let all = all_damage();
    for (path, bytes) in files(&disk) {
        for length in (0..bytes.len()).filter(|length| all || length % 8 == 0 || length % 97 == 1) {
            disk.put(&path, bytes[..length].to_vec());
            check(&disk.kill(), &format!("{} cut to {length}", path.display()));
        }
        disk.put(&path, bytes);
    }
}

/// Without a witness a flipped bit in the last group cannot be told from a torn write: the documented limit.
#[test]
fn damage_in_an_unwitnessed_tail_is_a_torn_tail() {
    let disk = Memory::new();
    let mut rig = tiny(&disk).expect("an empty disk");
    rig.upkeep();
    append_up_to(&mut rig, 5);
    rig.commit().expect("a group").expect("a disk that works");
    drop(rig);
    let (path, bytes) = segments(&disk).swap_remove(0);
    let mut torn = 0;
    for byte in 4096..4096 + 5 * 56 {
        let mut flipped = bytes.clone();
        flipped[byte] ^= 1;
        disk.put(&path, flipped);
        let rig = tiny(&disk.kill()).expect("it opens");
        assert!(!rig.recovery.degraded, "{:?}", rig.recovery);
        assert!(rig.log.appended() < 5);
        torn += u64::from(rig.recovery.torn);
    }
    assert!(torn > 200);
}

#[test]
fn zeroed_and_swapped_sectors_are_detected() {
    let disk = witnessed();
    for (path, bytes) in segments(&disk) {
        let sectors = bytes.len() / 512;
        for sector in 0..sectors {
            let range = sector * 512..(sector + 1) * 512;
            let mut zeroed = bytes.clone();
            zeroed[range.clone()].fill(0);
            disk.put(&path, zeroed);
            check(&disk.kill(), &format!("sector {sector} of {} zeroed", path.display()));
            for other in (sector + 1..sectors).step_by(3) {
                let mut swapped = bytes.clone();
                let (low, high) = swapped.split_at_mut(other * 512);
                low[range.clone()].swap_with_slice(&mut high[..512]);
                disk.put(&path, swapped);
                check(&disk.kill(), &format!("sectors {sector} and {other} of {} swapped", path.display()));
            }
        }
        disk.put(&path, bytes);
    }
}

#[test]
fn a_segment_of_another_place_does_not_pass() {
    let disk = witnessed();
    let all = segments(&disk);
    // One segment's bytes under the name of another.
    disk.put(&all[0].0, all[1].1.clone());
    let (missing, rig) = check(&disk.kill(), "another segment in place");
    assert!(!missing.is_empty() && !rig.recovery.warnings.is_empty());
    disk.put(&all[0].0, all[0].1.clone());
    // Another shard's: same spool, same number.
    let (spool, _) = Spool::open(disk.clone(), "/spool", Options { shards: 2, ..TINY }).expect("it opens");
    let (log, _) = spool.log(Name::Shard(1)).expect("an empty log");
    drop((log, spool));
    let foreign = Memory::new();
    foreign.put(Path::new("/spool/META"), disk.bytes(Path::new("/spool/META")).expect("META"));
    let (spool, _) = Spool::open(foreign.clone(), "/spool", Options { shards: 2, ..TINY }).expect("it opens");
    let (mut log, _) = spool.log(Name::Shard(1)).expect("an empty log");
    let upkeep = log.poll_upkeep(crate::rig::origin()).expect("a segment to prepare");
    log.handle_upkeep(crate::rig::origin(), upkeep.run()).expect("a disk that works");
    drop((log, spool));
    let theirs = foreign.bytes(Path::new("/spool/shard-01/seg-000000000001.log")).expect("prepared");
    disk.put(&all[0].0, theirs);
    let (missing, _) = check(&disk.kill(), "another shard's segment in place");
    assert!(!missing.is_empty());
}

#[test]
fn sectors_of_an_earlier_life_do_not_pass() {
    let disk = Memory::new();
    let mut rig = tiny(&disk).expect("an empty disk");
    append_up_to(&mut rig, 60);
    rig.settle();
    let before = segments(&disk).swap_remove(0).1;
    rig.log.release(60);
    rig.pass(std::time::Duration::from_secs(1));
    rig.upkeep();
    // On until files that lived before are active segments.
    while rig.log.usage().counters.recycled < 3 {
        let next = rig.log.appended() + 20;
        append_up_to(&mut rig, next);
        rig.settle();
        rig.log.release(next - 15);
        rig.pass(std::time::Duration::from_millis(100));
        rig.upkeep();
    }
    let (last, synced) = (rig.log.appended(), rig.log.synced());
    assert_eq!(last, synced);
    drop(rig);
    for (path, bytes) in segments(&disk) {
        for sector in 0..bytes.len() / 512 {
            let range = sector * 512..(sector + 1) * 512;
            let mut stale = bytes.clone();
            stale[range.clone()].copy_from_slice(&before[range]);
            disk.put(&path, stale);
            let mut rig = tiny(&disk.kill()).expect("it opens");
            rig.upkeep();
            rig.commit();
            let (seen, _) = rig.read_all();
            seen.iter().for_each(|seen| assert_eq!(*seen, expected(seen.sequence)));
        }
        disk.put(&path, bytes);
    }
}

/// What a recycled file still holds of its earlier life is neither a torn tail nor a record.
#[test]
fn a_clean_end_in_a_recycled_segment_is_clean() {
    let disk = Memory::new();
    let mut rig = memory(&disk);
    let mut recycled = 0;
    for _ in 0..40 {
        let next = rig.log.appended() + 97;
        append_up_to(&mut rig, next);
        rig.settle();
        rig.log.release(next);
        rig.pass(std::time::Duration::from_millis(200));
        rig.upkeep();
        recycled += rig.log.usage().counters.recycled;
        drop(rig);
        rig = memory(&disk);
        assert!(!rig.recovery.torn && !rig.recovery.degraded, "{recycled} recycled: {:?}", rig.recovery);
        assert_eq!((rig.recovery.synced, rig.recovery.backlog), (next, 0));
    }
    assert!(recycled > 5, "{recycled}");
}

#[test]
fn the_cursor_lost_or_damaged_means_sending_again() {
    let disk = witnessed();
    let path = Path::new("/spool/shard-00/cursor");
    let bytes = disk.bytes(path).expect("a cursor");
    for damaged in [vec![0; bytes.len()], Vec::new(), vec![0xff; 20]] {
        disk.put(path, damaged);
        let (missing, rig) = check(&disk.kill(), "a damaged cursor");
        assert!(missing.is_empty());
        assert_eq!(rig.recovery.backlog, LAST, "everything is sent again");
        assert!(!rig.recovery.degraded && rig.recovery.warnings.len() == 1, "{:?}", rig.recovery);
    }
}

#[test]
fn segments_missing_in_the_chain_are_a_gap() {
    let disk = witnessed();
    let all = segments(&disk);
    let (prepared, used) = all.split_last().expect("segments");
    assert!(prepared.1[4096..].iter().all(|&byte| byte == 0), "the last one is only prepared");
    for (path, _) in used {
        let left = disk.kill();
        left.remove(path).expect("it is there");
        let (missing, _) = check(&left, &format!("{} removed", path.display()));
        assert!(!missing.is_empty());
    }
}

#[test]
fn a_later_version_is_refused_and_left_alone() {
    let disk = witnessed();
    for (path, bytes) in files(&disk).into_iter().filter(|(path, _)| !path.ends_with("cursor")) {
        let mut later = bytes.clone();
        later[8] = 2;
        let crc = crc32c::crc32c(&later[..508]).rotate_right(15).wrapping_add(0xa282_ead8);
        later[508..512].copy_from_slice(&crc.to_le_bytes());
        disk.put(&path, later.clone());
        let left = disk.kill();
        let error = tiny(&left).err().unwrap_or_else(|| panic!("{} of version 2 is opened", path.display()));
        assert!(matches!(error, OpenError::Version { version: 2, .. }), "{error}");
        assert_eq!(left.bytes(&path), Some(later));
        disk.put(&path, bytes);
    }
}

#[test]
fn unknown_files_are_left_alone() {
    let disk = witnessed();
    for name in ["/spool/notes.txt", "/spool/shard-00/seg-1.log", "/spool/shard-00/seg-000000000001.log.bak"] {
        disk.put(Path::new(name), b"mine".to_vec());
    }
    let (missing, rig) = check(&disk, "unknown files");
    assert!(missing.is_empty());
    assert_eq!(rig.recovery.warnings.len(), 2);
    assert_eq!(disk.bytes(Path::new("/spool/notes.txt")), Some(b"mine".to_vec()));
}
