//! `fairlead dead-letter` on folders that the library made.

use std::{
    fs,
    path::Path,
    time::{Duration, UNIX_EPOCH},
};

use clap::Parser as _;
use fairlead_spool::{Name, disk::Real};
use tempfile::TempDir;

use super::*;
use crate::{
    cli::{
        Cli,
        spool::{
            row::Row,
            tests::{LIMITS, SECRET, TIME, host, now, record, turn},
        },
    },
    dead_letter::Origin,
    message::DropReason,
    spool::Store,
};

/// The same second, given up an hour later.
const GIVEN_UP: u64 = TIME + 3_600_000;

fn at(millis: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(millis)
}

/// A spool with dead letters one second apart, the last for a topic of an illegal name, and one record that is none.
fn folder(dead_letters: u64) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let (spool, _) = fairlead_spool::Spool::open(Real, folder.path(), LIMITS).unwrap();
    let open = |name| {
        let (log, recovery) = spool.log(name).unwrap();
        Store::new(log, &recovery)
    };
    let (mut straight, mut dead, now) = (open(Name::Shard(0)), open(Name::DeadLetter(0)), now());
    turn(&mut straight, now);
    turn(&mut dead, now);
    straight.append(&record("ais/0"), "ais", 7, TIME).unwrap();
    turn(&mut straight, now);
    for number in 0..dead_letters {
        let illegal = number + 1 == dead_letters;
        let mut record = record(&format!("ais/{number}"));
        let extra = record.extra.as_mut().unwrap();
        let origin = Origin {
            reason: if illegal { DropReason::IllegalTopic } else { DropReason::TooLarge },
            route: Some("ais/#"),
            source: Some("harbour"),
            topic: if illegal { "a/b" } else { "ais" },
            mqtt_topic: b"ais/1",
            time: at(GIVEN_UP + number * 1000),
        };
        origin.write(&mut extra.headers);
        extra.dead = Some(origin.reason);
        dead.append(&record, if illegal { "" } else { "ais" }, 7, TIME + number * 1000).unwrap();
        turn(&mut dead, now);
    }
    // A mark behind the last group.
    turn(&mut dead, now + Duration::from_secs(1));
    turn(&mut dead, now + Duration::from_secs(2));
    folder
}

/// `fairlead dead-letter …` on this folder.
fn run(folder: &Path, arguments: &[&str]) -> Exit {
    let dir = ["--dir", folder.to_str().unwrap()];
    let words = ["fairlead", "dead-letter"].into_iter().chain(arguments.iter().copied()).chain(dir);
    match Cli::try_parse_from(words).unwrap().command {
        crate::cli::Command::DeadLetter(command) => command.run(&host()),
        other => panic!("{other:?}"),
    }
}

fn rows(folder: &Path, open: bool) -> Vec<Row> {
    let mut rows = Vec::new();
    let choice = Choice { log: None, since: None };
    visit(folder, &choice.selection(), |log, filed| {
        rows.push(Row::new(log, filed, open));
        Ok(true)
    })
    .unwrap();
    rows
}

#[test]
fn a_list_says_why_and_hides_what_they_carry() {
    let folder = folder(2);
    let lines: Vec<String> = rows(folder.path(), false).iter().map(Row::to_string).collect();
    assert_eq!(
        lines,
        [
            "dead-letter-00 1 2026-01-31T12:00:00.000Z too_large \"ais/0\" -> ais key \"ais/0\" unit 8 bytes",
            "dead-letter-00 2 2026-01-31T12:00:01.000Z illegal_topic \"ais/1\" -> a/b key \"ais/1\" unit 8 bytes",
        ]
    );
    let row = serde_json::to_value(&rows(folder.path(), false)[0]).unwrap();
    assert_eq!(
        row,
        serde_json::json!({
            "log": "dead-letter-00", "sequence": 1, "time": "2026-01-31T12:00:00.000Z", "kind": "message",
            "delivered": false, "topic": "ais", "mqtt_topic": { "text": "ais/0" }, "key": { "text": "ais/0" },
            "headers": [["unit", null]], "payload_bytes": SECRET.len(),
            "dead_letter": {
                "reason": "too_large", "error": DropReason::TooLarge.text(), "route": "ais/#", "source": "harbour",
                "since": "2026-01-31T13:00:00.000Z",
            },
        })
    );
    let open = serde_json::to_value(&rows(folder.path(), true)[0]).unwrap();
    assert_eq!((&open["payload"]["text"], &open["headers"][0][1]["text"]), (&SECRET.into(), &"knots".into()));
}

#[test]
fn one_is_shown_whole() {
    let folder = folder(2);
    let whole = rows(folder.path(), false)[1].whole();
    for line in
        ["dead-letter-00 2", "reason      illegal_topic", "topic       a/b", "payload     8 bytes", "header      unit"]
    {
        assert!(whole.lines().any(|shown| shown.trim() == line), "{line}: {whole}");
    }
    assert!(!whole.contains("knots"));
    assert_eq!(run(folder.path(), &["show", "2"]), Exit::Success);
    assert_eq!(run(folder.path(), &["show", "2", "--json", "--payload"]), Exit::Success);
    assert_eq!(run(folder.path(), &["show", "3"]), Exit::Usage);
    assert_eq!(run(folder.path(), &["list", "--log", "shard-00"]), Exit::Usage, "that log has no dead letters");
}

#[test]
fn commands_of_the_spool_leave_dead_letters_alone_unless_they_are_named() {
    let folder = folder(2);
    let count = |log: Option<&str>| {
        let selection = Selection { log: log.map(str::to_owned), ..Selection::default() };
        let mut count = 0;
        visit(folder.path(), &selection, |_, _| {
            count += 1;
            Ok(true)
        })
        .unwrap();
        count
    };
    assert_eq!((count(None), count(Some("dead-letter-00"))), (1, 2));
}

#[test]
fn a_dry_run_says_what_would_go_where() {
    let folder = folder(3);
    let replayed = |to| {
        let choice = Choice { log: None, since: None };
        let replayed = replay::replay(folder.path(), &choice.selection(), to, None).unwrap();
        serde_json::to_value(replayed).unwrap()
    };
    let report = replayed(None);
    assert_eq!((&report["topics"], &report["illegal"]), (&serde_json::json!({ "ais": 2 }), &1.into()));
    let report = replayed(Some("again"));
    assert_eq!((&report["topics"], &report["illegal"]), (&serde_json::json!({ "again": 3 }), &0.into()));
    assert_eq!(run(folder.path(), &["replay", "--dry-run", "--to", "again"]), Exit::Success);
    assert_eq!(run(folder.path(), &["replay", "--dry-run"]), Exit::Unavailable, "one has no topic to go to");
    assert_eq!(run(folder.path(), &["replay"]), Exit::Usage, "Kafka is not named");
}

#[test]
fn purge_removes_the_oldest_and_needs_the_spool_for_itself() {
    let folder = folder(3);
    let before = at(GIVEN_UP + 2000);
    let purged = |before| purge::purge(folder.path(), None, None, before).unwrap();
    assert_eq!(purged(Some(at(GIVEN_UP))), purge::Purged { removed: 0, left: 3 });
    assert_eq!(purged(Some(before)), purge::Purged { removed: 2, left: 1 });
    let left: Vec<String> = rows(folder.path(), false).iter().map(Row::to_string).collect();
    assert!(left.len() == 1 && left[0].starts_with("dead-letter-00 3 "), "{left:?}");
    {
        let _open = fairlead_spool::Spool::open(Real, folder.path(), LIMITS).unwrap();
        assert_eq!(run(folder.path(), &["purge"]), Exit::Taken);
        assert_eq!(run(folder.path(), &["list"]), Exit::Success);
    }
    let free = fs::read_dir(folder.path().join("dead-letter-00")).unwrap().count();
    assert_eq!(run(folder.path(), &["purge", "--json"]), Exit::Success);
    assert!(rows(folder.path(), false).is_empty());
    let after = fs::read_dir(folder.path().join("dead-letter-00")).unwrap().count();
    assert!(after <= free, "no file is made where some are let go");
    assert_eq!(purged(None), purge::Purged { removed: 0, left: 0 });
    assert_eq!(run(folder.path(), &["purge", "--before", "1h"]), Exit::Success);
}
