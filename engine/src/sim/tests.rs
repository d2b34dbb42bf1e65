//! New seeds, one seed again, and the bugs that must be seen.
//!
//! They run where `FAIRLEAD_SEED` or `FAIRLEAD_SEEDS` asks for them: some seeds still end with a process that spins, and
//! whether that is the product or its model is not known yet.

use std::{
    env,
    fs::File,
    io::Write as _,
    panic::{AssertUnwindSafe, catch_unwind},
    process::Command,
};

use super::{
    checker::Sums,
    plan::{Bug, Plan},
    world::{self, Outcome},
};
use crate::shard::clock;

/// Seeds in which a seeded bug must be seen at the latest.
const ENOUGH: u64 = 3_000;

/// Runs a world; a panic of the product is a failure like any other.
fn run(seed: u64, bug: Option<Bug>, traced: bool) -> Result<Outcome, String> {
    let caught = catch_unwind(AssertUnwindSafe(|| world::run(seed, bug, traced)));
    caught.map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
    })
}

/// What is wrong in the world of a seed, and its sums.
fn verdict(seed: u64, bug: Option<Bug>) -> Result<Sums, String> {
    match run(seed, bug, false) {
        Ok(Outcome { failure: None, sums, .. }) => Ok(sums),
        Ok(Outcome { failure: Some(failure), .. }) => Err(failure),
        Err(panic) => Err(format!("panic: {panic}")),
    }
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

/// Replays a seed and shows what happened.
fn show(seed: u64) {
    let outcome = run(seed, None, true);
    match outcome {
        Ok(Outcome { failure, trace, sums, .. }) => {
            println!("{trace}\n{sums:?}\n{}", failure.as_deref().unwrap_or("nothing is wrong"));
        }
        Err(panic) => println!("panic: {panic}"),
    }
}

#[test]
fn no_seed_breaks_a_promise() {
    if let Some(seed) = number("FAIRLEAD_SEED") {
        show(seed);
        verdict(seed, None).unwrap_or_else(|failure| panic!("FAIRLEAD_SEED={seed}: {failure}"));
        return;
    }
    let Some(count) = number("FAIRLEAD_SEEDS") else { return };
    let first = rand::random::<u64>() >> 16;
    let start = clock::now();
    let mut sums = Sums::default();
    let mut failed = None;
    for seed in (first..).take(usize::try_from(count).unwrap_or(usize::MAX)) {
        match verdict(seed, None) {
            Ok(more) => sums.add(&more),
            Err(failure) => {
                show(seed);
                failed = Some(format!("FAIRLEAD_SEED={seed}: {failure}"));
                break;
            }
        }
    }
    let seconds = (clock::now() - start).as_secs();
    println!("simulation: {} seeds from {first}, {seconds} s: {sums:?}", sums.worlds);
    note(first, &sums, seconds, failed.as_deref());
    assert!(failed.is_none(), "{}", failed.unwrap_or_default());
}

/// Appends a campaign to its journal.
fn note(first: u64, sums: &Sums, seconds: u64, failed: Option<&str>) {
    let tests = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests");
    let commit = Command::new("git").args(["-C", tests, "rev-parse", "--short", "HEAD"]).output();
    let commit = commit.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
    let line = serde_json::json!({
        "commit": commit, "first": first, "seeds": sums.worlds, "failed": failed, "seconds": seconds,
        "messages": sums.messages, "records": sums.records, "duplicates": sums.duplicates, "faults": sums.faults,
        "crashes": sums.crashes, "spills": sums.spills, "recovered": sums.recovered,
    });
    let journal = File::options().create(true).append(true).open(format!("{tests}/simulation.jsonl"));
    writeln!(journal.unwrap(), "{line}").unwrap();
}

#[test]
fn one_seed_gives_one_run() {
    for seed in 0..20 {
        let runs = [run(seed, None, true), run(seed, None, true)].map(Result::unwrap);
        assert_eq!(runs[0].fingerprint, runs[1].fingerprint, "seed {seed}");
        assert_eq!(runs[0].trace, runs[1].trace, "seed {seed}");
    }
}

/// Sees a bug, where seeds are asked for: what is seen begins with `what`.
fn sees(bug: Bug, what: &str) {
    if number("FAIRLEAD_SEEDS").is_some() {
        let (seed, failure) = caught(bug);
        assert!(failure.starts_with(what), "{bug:?}: seed {seed}: {failure}");
    }
}

/// The first seed in which a bug is seen, and as what.
fn caught(bug: Bug) -> (u64, String) {
    let seen = |seed: u64| verdict(seed, Some(bug)).err().map(|failure| (seed, failure));
    let (seed, failure) = (0..ENOUGH).find_map(seen).unwrap_or_else(|| panic!("nothing sees {bug:?}"));
    (seed, failure)
}

#[test]
fn a_receipt_before_the_sync_is_seen() {
    sees(Bug::ReceiptBeforeSync, "lost");
}

#[test]
fn a_cursor_ahead_of_the_reports_is_seen() {
    sees(Bug::CursorAhead, "lost");
}

#[test]
fn a_replay_that_does_not_wait_for_shadows_is_seen() {
    sees(Bug::ReplayOverShadows, "duplicate");
}

#[test]
fn a_shadow_that_is_sent_twice_is_seen() {
    sees(Bug::ShadowTwice, "duplicate");
}

#[test]
fn a_dup_suppressed_after_its_puback_is_seen() {
    sees(Bug::DupSuppressed, "lost");
}

#[test]
fn a_disk_that_lies_is_seen() {
    sees(Bug::LyingDisk, "lost");
}

#[test]
fn a_plan_follows_from_its_seed() {
    assert_eq!(format!("{:?}", Plan::new(7, None)), format!("{:?}", Plan::new(7, None)));
    assert_ne!(format!("{:?}", Plan::new(7, None)), format!("{:?}", Plan::new(8, None)));
}
