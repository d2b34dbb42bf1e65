//! `fairlead demo`: everything in one process, with a verdict.

use fairlead_tests::fairlead;

#[test]
fn demo_loses_nothing_at_two_seeds() {
    for seed in ["1", "2"] {
        let demo = fairlead(&["demo", "--seconds", "3", "--seed", seed], |_| ());
        assert_eq!(demo.code, 0, "seed {seed}:\n{}", demo.output);
        for word in ["mqtt://127.0.0.1", "sent", "acknowledged", "lost", "duplicate", "out of order", "msg/s", "p99"] {
            assert!(demo.output.contains(word), "{word:?} is missing at seed {seed}:\n{}", demo.output);
        }
    }
}

#[test]
fn demo_ends_after_so_many_messages() {
    let demo = fairlead(&["demo", "--messages", "20000", "--seed", "3"], |_| ());
    assert_eq!(demo.code, 0, "{}", demo.output);
    assert!(demo.output.replace([',', '_', ' ', '\u{202f}'], "").contains("20000"), "{}", demo.output);
}
