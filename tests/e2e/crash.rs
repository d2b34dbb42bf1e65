//! SIGKILL under load: what was acknowledged is in Kafka.

use std::time::Duration;

use fairlead_tests::{Fairlead, Kafka, Loadgen, metric, now, pause, unique};
use rand::{Rng, SeedableRng, rngs::SmallRng};

use crate::{
    load::{config, four_fifths_of_maximum},
    scene::LIMIT,
};

/// How often the bridge is killed.
const KILLS: usize = 20;
/// Time under load before a kill: up to this.
const LIFE: Duration = Duration::from_millis(1500);

#[test]
#[ignore = "real brokers: tests/run"]
fn acknowledged_messages_survive_twenty_kills() {
    let seed = std::env::var("FAIRLEAD_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(rand::random);
    println!("FAIRLEAD_SEED={seed}");
    let mut random = SmallRng::seed_from_u64(seed);
    let kafka = Kafka::start();
    let warm_up = unique("warm-up");
    kafka.create_topic(&warm_up, 9, &[]);
    let rate = four_fifths_of_maximum(&kafka, &warm_up);

    kafka.create_topic("ais", 9, &[]);
    let mut firehose = Loadgen::firehose(&["--seconds", "600", "--rate", &rate]);
    let mut bridge = Fairlead::start(&config(firehose.url(), &kafka, "ais"));
    let start = now();
    for kill in 0..KILLS {
        bridge.wait_metric(metric::DELIVERED, &[], 1.0, LIMIT);
        // A random moment of the life under load: the span is the fault itself, no fact is waited for.
        pause(random.random_range(Duration::ZERO..LIFE));
        bridge.process().kill();
        assert!(firehose.process().ended().is_none(), "the load goes on after kill {kill}");
        bridge.restart();
    }
    bridge.wait_metric(metric::DELIVERED, &[], 1.0, LIMIT);
    println!("{KILLS} kills in {:?}", now() - start);

    let result = firehose.stop(LIMIT);
    assert_eq!(bridge.stop(Duration::from_secs(60)), 0);
    assert_eq!(result["acks_out_of_order"], 0);
    assert_eq!(result["acks_unknown"], 0);
    assert!(result["redelivered"].as_u64() > Some(0), "the kills met messages in flight");
    assert!(result["connections"].as_u64() > Some(KILLS as u64));
    let report = firehose.verify_acknowledged(&kafka, "ais");
    println!("acknowledged {}, duplicates {}", report["acknowledged"], report["duplicates"]);
}
