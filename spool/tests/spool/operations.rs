//! Operation sequences against the model, made and made smaller by proptest.

use proptest::{collection::vec, prelude::*};
use rand::{SeedableRng, rngs::StdRng};

use crate::campaign::{Life, Step};
use fairlead_spool::disk::Memory;

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..12u8).prop_map(Step::Append),
        5 => Just(Step::Commit),
        1 => Just(Step::FailedCommit),
        4 => Just(Step::Upkeep),
        1 => any::<u8>().prop_map(Step::FailedUpkeep),
        2 => (0..=100u8).prop_map(Step::Release),
        2 => any::<u8>().prop_map(Step::Pass),
        1 => Just(Step::Read),
        1 => Just(Step::Kill),
        1 => (0..24u8).prop_map(Step::Crash),
        1 => (0..24u8, 0..12u8).prop_map(|(after, again)| Step::CrashTwice(after, again)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_operations_keep_the_promise(steps in vec(step(), 1..60), seed in any::<u64>()) {
        let mut life = Life::new(Memory::new(), StdRng::seed_from_u64(seed));
        for step in steps {
            let done = life.step(step);
            prop_assert!(done.is_ok(), "{step:?}: {}", done.unwrap_err());
        }
    }
}

/// Counterexamples, by what they found.
#[test]
fn a_failed_sync_and_the_end_of_the_process_leave_records_in_the_kernel_only() {
    use Step::{Append, Commit, Crash, FailedCommit, Kill, Pass, Read, Upkeep};
    for seed in 0..50 {
        let mut life = Life::new(Memory::new(), StdRng::seed_from_u64(seed));
        for step in [Upkeep, Append(9), Commit, Append(9), FailedCommit, Kill, Upkeep, Pass(200), Crash(40), Read] {
            assert_eq!(life.step(step), Ok(()), "{step:?} with seed {seed}");
        }
    }
}

/// The group behind a mark that was never synced is durable all the same.
#[test]
fn a_mark_that_an_earlier_process_could_not_sync_leaves_a_hole() {
    use Step::{Crash, CrashTwice, FailedCommit, Kill, Pass};
    for seed in 0..200 {
        let mut life = Life::new(Memory::new(), StdRng::seed_from_u64(seed));
        for step in [Crash(40), Pass(10), FailedCommit, Kill, CrashTwice(1, 0), Pass(10), FailedCommit, Kill, Crash(1)]
        {
            assert_eq!(life.step(step), Ok(()), "{step:?} with seed {seed}");
        }
    }
}
