//! The disk under the spool: full, slow, read-only, damaged, shared. Kafka is frozen meanwhile, so that the spool is what
//! acknowledges.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    time::Duration,
};

use fairlead_tests::{Fairlead, Image, metric, pause, wait_until};

use crate::{
    dice::Dice,
    flood::{Flood, PACKET, Plan},
    outcome::Outcome,
    scenario::Scenario,
    stage::{LIMIT, Stage},
};

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario { name: "full", rows: "C12 C13 C27", long: false, run: full },
    Scenario { name: "slow", rows: "C19", long: false, run: slow },
    Scenario { name: "read-only", rows: "C15 C21", long: false, run: read_only },
    Scenario { name: "truncated", rows: "C17", long: false, run: truncated },
    Scenario { name: "deleted", rows: "C11 C18", long: false, run: deleted },
    Scenario { name: "flipped", rows: "C7 C9", long: false, run: flipped },
    Scenario { name: "cursor-lost", rows: "C10", long: false, run: cursor_lost },
    Scenario { name: "two-processes", rows: "C23", long: false, run: two_processes },
];

/// Size of the disk.
const MEBIBYTES: u64 = 256;
/// Receive Maximum.
const WINDOW: u64 = 5000;
/// `fairlead_spool_state` of a shard that has no room.
const FULL: f64 = 2.0;
/// Exit code of a process that finds what it needs in use.
const TAKEN: i32 = 75;

/// The spool's folder on the disk.
fn spool(image: &Image) -> PathBuf {
    image.path().join("spool")
}

/// A load of messages a second with the spool on the disk, in full flow.
fn flowing(stage: &Stage, image: &Image, rate: f64) -> Flood {
    let mut flood = Flood::start(stage, plan(image, rate));
    flood.full_flow();
    flood
}

fn plan(image: &Image, rate: f64) -> Plan {
    Plan { rate, window: WINDOW, topics: 1000, source: "", engine: "", spool: Some(spool(image)) }
}

/// Waits until nothing is acknowledged any more: the window is full.
fn held_back(flood: &Flood) {
    flood.bridge.wait_metric(metric::WINDOW, &[], WINDOW as f64, LIMIT);
}

fn full(stage: &mut Stage, dice: &mut Dice) -> Outcome {
    let image = Image::mount(MEBIBYTES);
    let mut flood = flowing(stage, &image, 50_000.0);
    image.fill(dice.number(0..64) << 20);
    stage.kafka.freeze();
    // A shard that is full holds back what was read after its records, too.
    let full = |shard| flood.bridge.metric(metric::SPOOL_STATE, &[("shard", shard)]) == FULL;
    wait_until(LIMIT, "the spool is full", || full("0") || full("1"));
    held_back(&flood);
    // librdkafka's threads spin while a request has no answer and more waits behind it.
    let span = Duration::from_secs(2);
    let before = flood.bridge.process().cpu_without("rdk:");
    pause(span);
    let used = flood.bridge.process().cpu_without("rdk:").saturating_sub(before);
    if dice.one_in(2) {
        image.make_room();
        pause(dice.span(100..2000));
    }
    stage.kafka.thaw();
    flood.live(stage);
    let mut outcome = flood.finish(stage);
    outcome.demand(used < span / 2, || format!("{used:?} of CPU time in {span:?} with a full disk"));
    outcome
}

fn slow(stage: &mut Stage, dice: &mut Dice) -> Outcome {
    let image = Image::mount(MEBIBYTES);
    let mut flood = flowing(stage, &image, 20_000.0);
    stage.kafka.freeze();
    for _ in 0..dice.number(2..6) {
        image.freeze();
        pause(dice.uneven_span(100..5000));
        image.thaw();
        pause(dice.span(50..500));
    }
    stage.kafka.thaw();
    flood.live(stage);
    flood.finish(stage)
}

fn read_only(stage: &mut Stage, dice: &mut Dice) -> Outcome {
    let image = Image::mount(MEBIBYTES);
    let mut flood = flowing(stage, &image, 20_000.0);
    stage.kafka.freeze();
    pause(dice.span(50..1000));
    image.forbid_writes();
    held_back(&flood);
    stage.kafka.thaw();
    flood.live(stage);
    flood.finish(stage)
}

/// Does something to a segment that holds acknowledged messages while Kafka is away; what that takes must be reported.
fn damaged(stage: &mut Stage, dice: &mut Dice, damage: fn(&Path, &mut Dice)) -> Outcome {
    let image = Image::mount(MEBIBYTES);
    let mut flood = flowing(stage, &image, 20_000.0);
    stage.kafka.freeze();
    wait_until(LIMIT, "the spool has several segments", || segments(&spool(&image)).len() >= 3);
    let segments = segments(&spool(&image));
    damage(&segments[dice.number(0..segments.len() as u64) as usize], dice);
    pause(dice.span(500..3000));
    // It may have ended with a message; a supervisor would start it again.
    if flood.bridge.process().ended().is_some() {
        flood.restart();
    } else if dice.one_in(2) {
        flood.crash();
    }
    flood.mixed = true;
    stage.kafka.thaw();
    flood.live(stage);
    flood.damaged = true;
    flood.finish(stage)
}

fn truncated(stage: &mut Stage, dice: &mut Dice) -> Outcome {
    damaged(stage, dice, |segment, dice| {
        let file = File::options().write(true).open(segment).expect("a segment");
        file.set_len(dice.number(0..8 << 20)).expect("the segment is cut");
    })
}

fn deleted(stage: &mut Stage, dice: &mut Dice) -> Outcome {
    damaged(stage, dice, |segment, _| std::fs::remove_file(segment).expect("the segment is deleted"))
}

fn flipped(stage: &mut Stage, dice: &mut Dice) -> Outcome {
    damaged(stage, dice, |segment, dice| {
        let file = File::options().read(true).write(true).open(segment).expect("a segment");
        let at = dice.number(0..file.metadata().expect("its size").len());
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).expect("a byte");
        byte[0] ^= 1 << dice.number(0..8);
        file.write_all_at(&byte, at).expect("a flipped byte");
    })
}

fn cursor_lost(stage: &mut Stage, dice: &mut Dice) -> Outcome {
    let image = Image::mount(MEBIBYTES);
    let mut flood = flowing(stage, &image, 20_000.0);
    stage.kafka.freeze();
    pause(dice.span(500..3000));
    flood.bridge.process().kill();
    for cursor in files(&spool(&image), "cursor") {
        damage_cursor(&cursor, dice);
    }
    flood.restart();
    flood.mixed = true;
    stage.kafka.thaw();
    flood.live(stage);
    flood.finish(stage)
}

/// Gone, cut short, or one byte of it changed.
fn damage_cursor(cursor: &Path, dice: &mut Dice) {
    let mut file = File::options().read(true).write(true).open(cursor).expect("a cursor");
    let length = file.metadata().expect("its size").len();
    match dice.number(0..3) {
        0 => std::fs::remove_file(cursor).expect("the cursor is deleted"),
        1 => file.set_len(dice.number(0..length)).expect("the cursor is cut"),
        _ => {
            let (at, mut byte) = (dice.number(0..length), [0]);
            file.seek(SeekFrom::Start(at)).and_then(|_| file.read_exact(&mut byte)).expect("a byte");
            byte[0] ^= 0x40;
            file.seek(SeekFrom::Start(at)).and_then(|_| file.write_all(&byte)).expect("a changed byte");
        }
    }
}

fn two_processes(stage: &mut Stage, _: &mut Dice) -> Outcome {
    let image = Image::mount(MEBIBYTES);
    let mut flood = flowing(stage, &image, 20_000.0);
    let config = stage.config("mqtt://127.0.0.1:1", &flood.topic, Some(&spool(&image)), "").source(PACKET);
    let mut second = Fairlead::start(&config);
    let code = second.process().wait(LIMIT);
    flood.live(stage);
    let mut outcome = flood.finish(stage);
    outcome.demand(code == TAKEN, || format!("the second process ended with {code}"));
    outcome
}

/// The segments of all shards, oldest first.
fn segments(spool: &Path) -> Vec<PathBuf> {
    files(spool, "seg-")
}

/// The files of the spool's shards whose name starts like this, sorted.
fn files(spool: &Path, start: &str) -> Vec<PathBuf> {
    let entries = |folder: &Path| std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let named = |path: &PathBuf, start: &str| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(start));
    let shards = entries(spool).filter(|path| named(path, "shard-"));
    let mut files: Vec<PathBuf> = shards.flat_map(|s| entries(&s).collect::<Vec<_>>()).collect();
    files.retain(|path| named(path, start));
    files.sort_unstable();
    files
}
