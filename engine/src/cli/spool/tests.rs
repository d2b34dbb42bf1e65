//! `fairlead spool` on folders that the library made.

use std::{fs, time::Instant};

use clap::Parser as _;
use fairlead_spool::{Entry, Kind, Options, disk::Real};
use tempfile::TempDir;

use super::{records::Ends, *};
use crate::{
    cli::Cli,
    message::{Extra, Record, RouteId, Ticket, TopicId},
    mqtt::{Payload, Text},
    spool::{Filed, Store},
};

pub(in crate::cli) const LIMITS: Options =
    Options { max: 64 << 20, min_free: 0, segment: 1 << 20, group: 64 << 10, record: 128 << 10, shards: 1 };
/// 2026-01-31T12:00:00Z.
pub(in crate::cli) const TIME: u64 = 1_769_860_800_000;

/// What is shown nowhere unless it is asked for.
pub(in crate::cli) const SECRET: &str = "pay\u{1b}load";

#[expect(clippy::disallowed_methods, reason = "a point to count from")]
pub(in crate::cli) fn now() -> Instant {
    Instant::now()
}

pub(in crate::cli) fn record(topic: &str) -> Record {
    let headers = vec![(Text::from("unit"), Payload::from_static(b"knots"))];
    Record {
        ticket: Ticket::new(0, 0, 0, 0),
        topic: TopicId(0),
        route: RouteId(0),
        partition: 0,
        key: Some(Payload::copy_from_slice(topic.as_bytes())),
        value: Some(Payload::from_static(SECRET.as_bytes())),
        mqtt_topic: None,
        extra: Some(Box::new(Extra { headers, ..Extra::default() })),
    }
}

/// Runs everything that is due, inline.
pub(in crate::cli) fn turn(store: &mut Store<Real>, now: Instant) {
    while let Some(upkeep) = store.poll_upkeep(now) {
        store.handle_upkeep(now, upkeep.run()).unwrap();
    }
    while let Some(commit) = store.poll_commit(now) {
        store.handle_committed(now, commit.run()).unwrap();
    }
    while store.poll_receipt().is_some() {}
}

/// A spool with `records` records one second apart, of which the first `delivered` have ended.
fn folder(records: u64, delivered: u64) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let (spool, _) = fairlead_spool::Spool::open(Real, folder.path(), LIMITS).unwrap();
    let (log, recovery) = spool.log(Name::Shard(0)).unwrap();
    let (mut store, mut now) = (Store::new(log, &recovery), now());
    turn(&mut store, now);
    for number in 0..records {
        let topic = format!("ais/{number}\n");
        store.append(&record(&topic), "ais", 7, TIME + number * 1000).unwrap();
        turn(&mut store, now);
    }
    for sequence in 1..=delivered {
        store.handle_ended(sequence, crate::message::Outcome::Delivered);
    }
    // The cursor is written, and a mark behind the last group.
    for _ in 0..3 {
        now += Duration::from_secs(1);
        turn(&mut store, now);
    }
    folder
}

fn segment(folder: &TempDir) -> PathBuf {
    let entries = fs::read_dir(folder.path().join("shard-00")).unwrap().map(|entry| entry.unwrap().path());
    let mut segments: Vec<PathBuf> = entries.filter(|path| path.to_string_lossy().contains("seg-")).collect();
    segments.sort();
    segments.remove(0)
}

/// Changes the bytes of the log's first segment.
fn damage(folder: &TempDir, change: impl FnOnce(&mut Vec<u8>)) {
    let path = segment(folder);
    let mut bytes = fs::read(&path).unwrap();
    change(&mut bytes);
    fs::write(&path, bytes).unwrap();
}

pub(in crate::cli) fn host() -> Host {
    Host { name: "quay".into(), cores: vec![0], parallelism: 1, state: "/nowhere".into() }
}

/// `fairlead spool …` on this folder.
fn run(folder: &Path, arguments: &[&str]) -> Exit {
    let dir = ["--dir", folder.to_str().unwrap()];
    let words = ["fairlead", "spool"].into_iter().chain(arguments.iter().copied()).chain(dir);
    match Cli::try_parse_from(words).unwrap().command {
        crate::cli::Command::Spool(spool) => spool.run(&host()),
        other => panic!("{other:?}"),
    }
}

fn verify(folder: &TempDir) -> u8 {
    run(folder.path(), &["verify"]).code()
}

fn lines(folder: &TempDir, selection: &Selection) -> Vec<serde_json::Value> {
    let out = records::export(folder.path(), selection, Vec::new()).unwrap();
    String::from_utf8(out).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A change that a CRC32C of the format covers.
fn masked(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// Behind the last group something of this life of the file was begun.
fn tear(bytes: &mut [u8]) {
    let tag: [u8; 4] = bytes[4096 + 52..4096 + 56].try_into().unwrap();
    let data = bytes.len() - 4096;
    let free = bytes[..data].rchunks(4096).take_while(|block| block.iter().all(|&byte| byte == 0)).count();
    let at = data - free * 4096;
    bytes[at..at + 8].fill(9);
    bytes[at + 52..at + 56].copy_from_slice(&tag);
}

#[test]
fn verify_has_an_exit_code_for_each_class() {
    assert_eq!(verify(&folder(3, 1)), 0);
    let torn = folder(3, 1);
    damage(&torn, |bytes| tear(bytes));
    assert_eq!(verify(&torn), 1);
    let corrupt = folder(3, 1);
    damage(&corrupt, |bytes| bytes[3 * 4096 + 60] ^= 1);
    assert_eq!(verify(&corrupt), 2);
    let unreadable = folder(3, 1);
    damage(&unreadable, |bytes| bytes[..4096].fill(0));
    assert_eq!(verify(&unreadable), 3);
    assert_eq!(run(Path::new("/nowhere/spool"), &["verify"]).code(), 3);
    let later = folder(3, 1);
    let path = later.path().join("META");
    let mut meta = fs::read(&path).unwrap();
    meta[8] = 2;
    let crc = masked(&meta[..508]);
    meta[508..512].copy_from_slice(&crc.to_le_bytes());
    fs::write(&path, meta).unwrap();
    assert_eq!(verify(&later), 78);
    assert_eq!(run(later.path(), &["repair"]).code(), 78, "a later version is left alone");
}

#[test]
fn commands_that_look_change_nothing() {
    let folder = folder(5, 2);
    damage(&folder, |bytes| tear(bytes));
    let everything = || {
        let files = ["META", "LOCK", "shard-00/cursor"].map(|name| fs::read(folder.path().join(name)).unwrap());
        (files, fs::read(segment(&folder)).unwrap(), fs::read_dir(folder.path().join("shard-00")).unwrap().count())
    };
    let before = everything();
    for command in [&["stat"][..], &["stat", "--json"], &["dump"], &["dump", "--json", "--payload"], &["tail"]] {
        assert_eq!(run(folder.path(), command), Exit::Success, "{command:?}");
    }
    assert_eq!(run(folder.path(), &["verify", "--deep", "--json"]).code(), 1);
    assert_eq!(run(folder.path(), &["repair", "--dry-run"]).code(), 1);
    assert!(before == everything());
    assert_eq!(run(folder.path(), &["repair"]), Exit::Success);
    assert!(before != everything());
    assert_eq!(verify(&folder), 0, "what was torn is cut");
    assert_eq!(inspect::stat(&Real, folder.path()).unwrap().shards, Some(1));
}

#[test]
fn a_spool_in_use_is_looked_at_and_not_repaired() {
    let folder = folder(3, 1);
    let _open = fairlead_spool::Spool::open(Real, folder.path(), LIMITS).unwrap();
    assert_eq!(verify(&folder), 0);
    assert_eq!(run(folder.path(), &["repair"]), Exit::Taken);
}

#[test]
fn stat_says_what_waits() {
    let folder = folder(5, 2);
    let report = inspect::stat(&Real, folder.path()).unwrap();
    let text = state::stat_text(folder.path(), &report);
    let row: Vec<&str> = text.lines().find(|line| line.contains("shard-00")).unwrap().split_whitespace().collect();
    assert_eq!(row[..4], ["shard-00", "3", "2", "5"], "{text}");
    assert!(text.contains("2026-01-31T12:00:00.000Z") && text.ends_with("\nclean\n"), "{text}");
}

#[test]
fn an_export_has_everything_and_a_dump_hides_payloads() {
    let folder = folder(3, 1);
    let all = lines(&folder, &Selection::default());
    assert_eq!(all.len(), 3);
    assert_eq!(
        all[1],
        serde_json::json!({
            "log": "shard-00", "sequence": 2, "time": "2026-01-31T12:00:01.000Z", "kind": "message",
            "delivered": false, "topic": "ais", "mqtt_topic": { "text": "ais/1\n" }, "key": { "text": "ais/1\n" },
            "headers": [["unit", { "text": "knots" }]], "payload_bytes": SECRET.len(), "payload": { "text": SECRET },
        })
    );
    assert_eq!(all[0]["delivered"], true);
    let (mut shown, mut open) = (Vec::new(), Vec::new());
    visit(folder.path(), &Selection::default(), |log, filed| {
        shown.push(row::Row::new(log, filed, false).to_string());
        open.push(row::Row::new(log, filed, true).to_string());
        Ok(true)
    })
    .unwrap();
    let expected = "shard-00 2 2026-01-31T12:00:01.000Z waiting \"ais/1\\n\" -> ais key \"ais/1\\n\" unit 8 bytes";
    assert_eq!(shown[1], expected);
    assert_eq!(
        open[1],
        format!("{}=\"knots\" 8 bytes \"pay\\u{{1b}}load\"", expected.strip_suffix(" 8 bytes").unwrap())
    );
}

#[test]
fn records_are_selected_by_log_time_and_state() {
    let folder = folder(5, 2);
    let at = |seconds: u64| Some(UNIX_EPOCH + Duration::from_millis(TIME + seconds * 1000));
    for (selection, expected) in [
        (Selection::default(), vec![1, 2, 3, 4, 5]),
        (Selection { waiting: true, ..Selection::default() }, vec![3, 4, 5]),
        (Selection { since: at(3), ..Selection::default() }, vec![4, 5]),
        (Selection { log: Some("shard-00".to_owned()), since: at(9), ..Selection::default() }, vec![]),
    ] {
        let numbers: Vec<u64> =
            lines(&folder, &selection).iter().map(|line| line["sequence"].as_u64().unwrap()).collect();
        assert_eq!(numbers, expected, "{selection:?}");
    }
    let unknown = Selection { log: Some("shard-07".to_owned()), ..Selection::default() };
    let failure = records::export(folder.path(), &unknown, Vec::new()).unwrap_err();
    assert_eq!(failure.to_string(), "there is no log shard-07; there is shard-00");
    assert_eq!(run(folder.path(), &["tail", "--log", "shard-07"]), Exit::Usage);
}

#[test]
fn a_time_is_a_date_or_how_long_ago() {
    assert_eq!(since("2026-01-31T12:00:00Z").map(millis), Ok(TIME));
    let then = since("2h").unwrap();
    let ago = clock::wall().duration_since(then).unwrap();
    assert!(ago >= Duration::from_secs(7200) && ago < Duration::from_secs(7260), "{ago:?}");
    assert!(since("yesterday").unwrap_err().contains("2h"));
}

#[test]
fn tail_goes_on_where_it_was() {
    let folder = folder(5, 0);
    let mut ends = Ends::new(2);
    let look = |ends: &mut Ends| {
        let mut seen = Vec::new();
        let note = |_: &LogReport, filed: &Filed| {
            seen.push(filed.sequence);
            Ok(())
        };
        ends.look(folder.path(), &Selection::default(), note).unwrap();
        seen
    };
    assert_eq!(look(&mut ends), [4, 5]);
    assert_eq!(look(&mut ends), [] as [u64; 0]);
    let (spool, _) = fairlead_spool::Spool::open(Real, folder.path(), LIMITS).unwrap();
    let (mut log, _) = spool.log(Name::Shard(0)).unwrap();
    let entry = Entry { kind: Kind::Data, session: 0, packet_id: 0, time: TIME, meta: b"?", key: None, payload: None };
    log.append(&entry).unwrap();
    let commit = log.poll_commit(now()).unwrap();
    log.handle_committed(now(), commit.run()).unwrap();
    assert_eq!(look(&mut ends), [6]);
    let last = lines(&folder, &Selection { waiting: true, ..Selection::default() }).pop().unwrap();
    assert_eq!((&last["sequence"], &last["unknown"]), (&6.into(), &true.into()));
}

#[test]
fn the_place_of_the_spool_must_be_named() {
    let bare = |arguments: &[&str]| {
        let words = ["fairlead", "spool"].into_iter().chain(arguments.iter().copied());
        match Cli::try_parse_from(words).unwrap().command {
            crate::cli::Command::Spool(spool) => spool.run(&host()),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(bare(&["stat"]), Exit::Usage);
    assert_eq!(bare(&["stat", "-c", "/nowhere/fairlead.toml"]), Exit::Config);
    let folder = folder(1, 0);
    assert_eq!(run(folder.path(), &["replay", "--to", "again"]), Exit::Usage, "Kafka is not named");
}
