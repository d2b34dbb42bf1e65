//! New seeds, one seed again, and the bugs that must be seen.

use std::{
    env,
    fs::File,
    io::Write as _,
    process::Command,
    time::{Duration, Instant},
};

use super::{
    checker::Sums,
    plan::{Bug, Plan},
    world::{self, Outcome},
};
use crate::shard::clock;

/// How long new seeds run where nobody asks for a number of them.
const TIME: Duration = Duration::from_secs(30);
/// Lines of the trace that are shown of a failed seed.
const LINES: usize = 400;
/// Failed seeds that end a campaign.
const FAILURES: usize = 10;

/// What is wrong in the world of a seed, and its sums.
fn verdict(seed: u64, bug: Option<Bug>) -> Result<Sums, String> {
    let Outcome { failure, sums, .. } = world::run(seed, bug, false);
    failure.map_or(Ok(sums), Err)
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

/// Replays a seed and shows what happened, so many lines of it at most.
fn show(seed: u64, lines: usize) -> Option<String> {
    let Outcome { failure, trace, sums, .. } = world::run(seed, None, true);
    trace.iter().skip(trace.len().saturating_sub(lines)).for_each(|line| println!("{line}"));
    println!("{sums:?}\n{}", failure.as_deref().unwrap_or("nothing is wrong"));
    failure
}

#[test]
fn no_seed_breaks_a_promise() {
    if let Some(seed) = number("FAIRLEAD_SEED") {
        assert!(show(seed, usize::MAX).is_none(), "FAIRLEAD_SEED={seed} breaks a promise");
        return;
    }
    let count = number("FAIRLEAD_SEEDS");
    let (first, start) = (rand::random::<u64>() >> 16, clock::now());
    let end = count.is_none().then(|| start + TIME);
    let (sums, failed) = campaign(first, count.unwrap_or(u64::MAX), end);
    let seconds = (clock::now() - start).as_secs();
    println!("simulation: {} seeds from {first}, {seconds} s: {sums:?}", sums.worlds);
    if count.is_some() {
        note(first, &sums, seconds, &failed);
    }
    if let Some((seed, _)) = failed.first() {
        show(*seed, LINES);
        let failed: Vec<String> =
            failed.iter().map(|(seed, failure)| format!("FAIRLEAD_SEED={seed}: {failure}")).collect();
        panic!("{}", failed.join("\n"));
    }
}

/// Runs so many seeds, as far as time and failures allow.
fn campaign(first: u64, count: u64, end: Option<Instant>) -> (Sums, Vec<(u64, String)>) {
    let (mut sums, mut failed) = (Sums::default(), Vec::new());
    for seed in (0..count).map(|number| first + number) {
        match verdict(seed, None) {
            Ok(more) => sums.add(&more),
            Err(failure) => failed.push((seed, failure)),
        }
        if failed.len() >= FAILURES || end.is_some_and(|end| clock::now() >= end) {
            break;
        }
    }
    (sums, failed)
}

/// Appends a campaign to its journal.
fn note(first: u64, sums: &Sums, seconds: u64, failed: &[(u64, String)]) {
    let tests = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests");
    let commit = Command::new("git").args(["-C", tests, "rev-parse", "--short", "HEAD"]).output();
    let commit = commit.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
    let line = serde_json::json!({
        "commit": commit, "first": first, "seeds": sums.worlds, "failed": failed, "seconds": seconds,
        "messages": sums.messages, "records": sums.records, "duplicates": sums.duplicates, "faults": sums.faults,
        "crashes": sums.crashes, "spills": sums.spills, "parkings": sums.parkings, "recovered": sums.recovered,
    });
    let journal = File::options().create(true).append(true).open(format!("{tests}/simulation.jsonl"));
    writeln!(journal.unwrap(), "{line}").unwrap();
}

#[test]
fn one_seed_gives_one_run() {
    for seed in 0..20 {
        let runs = [(); 2].map(|()| world::run(seed, None, true));
        assert_eq!(runs[0].fingerprint, runs[1].fingerprint, "seed {seed}");
        assert_eq!(runs[0].trace, runs[1].trace, "seed {seed}");
    }
}

/// A bug is seen within the first so many seeds, and the checker says what it is.
fn sees(bug: Bug, what: &[&str], enough: u64) {
    let seen = |seed: u64| verdict(seed, Some(bug)).err().map(|failure| (seed, failure));
    let (seed, failure) = (0..enough).find_map(seen).unwrap_or_else(|| panic!("nothing sees {bug:?}"));
    assert!(what.iter().any(|what| failure.starts_with(what)), "{bug:?}: seed {seed}: {failure}");
    println!("{bug:?}: seed {seed}: {failure}");
}

#[test]
fn a_receipt_before_the_sync_is_seen() {
    sees(Bug::ReceiptBeforeSync, &["lost"], 500);
}

#[test]
fn a_cursor_ahead_of_the_reports_is_seen() {
    // Where it is parked afterwards it ends a second time.
    sees(Bug::CursorAhead, &["lost", "panic: only what the spool answers for ends there"], 50);
}

#[test]
fn a_replay_that_does_not_wait_for_shadows_is_seen() {
    sees(Bug::ReplayOverShadows, &["duplicate"], 50);
}

#[test]
fn a_shadow_that_is_sent_twice_is_seen() {
    sees(Bug::ShadowTwice, &["duplicate"], 50);
}

#[test]
fn a_dup_suppressed_after_its_puback_is_seen() {
    sees(Bug::DupSuppressed, &["lost"], 500);
}

#[test]
fn a_disk_that_lies_is_seen() {
    sees(Bug::LyingDisk, &["lost"], 500);
}

#[test]
fn a_plan_follows_from_its_seed() {
    assert_eq!(format!("{:?}", Plan::new(7, None)), format!("{:?}", Plan::new(7, None)));
    assert_ne!(format!("{:?}", Plan::new(7, None)), format!("{:?}", Plan::new(8, None)));
}
