//! Format version 1, byte for byte: files that an earlier build wrote must stay readable, and what is written today must
//! be what was written then. `FAIRLEAD_GOLDEN=write` makes them again, after a change of the version.

use std::{collections::BTreeMap, fs, path::PathBuf};

use fairlead_spool::{
    Options,
    disk::Memory,
    inspect::{Class, verify},
};

use crate::rig::{Rig, append_up_to, expected};

const OPTIONS: Options =
    Options { max: 12 * (24 << 10), min_free: 0, segment: 24 << 10, group: 2 << 10, record: 2 << 10, shards: 1 };

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1")
}

/// Sealed, active and prepared segments, a mark, a cursor.
fn written_today() -> BTreeMap<String, Vec<u8>> {
    let disk = Memory::new();
    let mut rig = Rig::open(disk.clone(), "/spool", OPTIONS).expect("an empty disk");
    append_up_to(&mut rig, 60);
    rig.settle();
    rig.log.release(7);
    rig.upkeep();
    drop(rig);
    let named = |path: &PathBuf| path.strip_prefix("/spool").expect("in the spool").to_string_lossy().into_owned();
    disk.paths().iter().map(|path| (named(path), disk.bytes(path).expect("just listed"))).collect()
}

#[test]
fn the_format_is_that_of_version_1() {
    let files = written_today();
    let folder = folder();
    if std::env::var("FAIRLEAD_GOLDEN").is_ok_and(|what| what == "write") {
        for (name, bytes) in &files {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().expect("in a folder")).expect("a new folder");
            fs::write(path, bytes).expect("a new file");
        }
    }
    for (name, bytes) in &files {
        let golden = fs::read(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let first = golden.iter().zip(bytes).position(|(golden, today)| golden != today);
        assert_eq!((first, golden.len()), (None, bytes.len()), "{name} differs from there on: that is another version");
    }
}

#[test]
fn files_of_version_1_are_read() {
    let disk = Memory::new();
    fairlead_spool::disk::Disk::create_folder(&disk, "/spool/shard-00".as_ref()).expect("a new folder");
    for name in written_today().keys() {
        disk.put(&PathBuf::from("/spool").join(name), fs::read(folder().join(name)).expect("a golden file"));
    }
    assert_eq!(verify(&disk, "/spool".as_ref(), true).expect("readable").class, Class::Clean);
    let rig = Rig::open(disk, "/spool", OPTIONS).expect("readable");
    assert_eq!((rig.recovery.synced, rig.recovery.backlog, rig.recovery.degraded), (60, 53, false));
    assert_eq!(rig.read_all(), ((8..=60).map(expected).collect(), vec![]));
}
