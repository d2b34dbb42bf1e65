//! Kafka frozen, killed, slow, without the topic, with too few replicas. No MQTT connection may be lost by it, and
//! nothing may be there twice.

use std::time::Duration;

use fairlead_tests::{Client, Direction, metric, pause, wait_until};

use crate::{
    dice::Dice,
    flap::Flap,
    fleet::{self, Fleet},
    flood::{Flood, Plan},
    outcome::Outcome,
    scenario::Scenario,
    stage::{LIMIT, PARTITIONS, Stage},
};

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario { name: "freeze", rows: "B3", long: false, run: freeze },
    Scenario { name: "restart", rows: "B2 B21", long: false, run: restart },
    Scenario { name: "answers-lost", rows: "B16", long: false, run: answers_lost },
    Scenario { name: "too-few-replicas", rows: "B5", long: false, run: too_few_replicas },
    Scenario { name: "flapping", rows: "B3 C25", long: false, run: flapping },
    Scenario { name: "flapping-for-long", rows: "B3 C25", long: true, run: flapping_for_long },
    Scenario { name: "slow", rows: "B17", long: false, run: slow },
    Scenario { name: "far", rows: "B17", long: false, run: far },
    Scenario { name: "queue-full", rows: "B14", long: false, run: queue_full },
    Scenario { name: "more-partitions", rows: "B8", long: false, run: more_partitions },
    Scenario { name: "too-large", rows: "B6", long: false, run: too_large },
    Scenario { name: "down-at-start", rows: "B1", long: false, run: down_at_start },
    Scenario { name: "topic-deleted", rows: "B7 B19", long: false, run: topic_deleted },
    Scenario { name: "storm", rows: "B2 B3 B5 B16", long: false, run: storm },
];

/// A load that leaves the machine room, so that what is seen is the fault and not the load.
fn plan() -> Plan {
    Plan { rate: 20_000.0, window: 5000, topics: 1000, source: "", engine: "", spool: None }
}

fn flowing(stage: &Stage) -> Flood {
    let mut flood = Flood::start(stage, plan());
    flood.full_flow();
    flood
}

/// One fault in full flow.
fn with_flap(stage: &mut Stage, flap: Flap) -> Outcome {
    let mut flood = flowing(stage);
    flap.whole(stage);
    flood.live(stage);
    flood.finish(stage)
}

fn freeze(stage: &mut Stage, dice: &mut Dice) -> Outcome {
    with_flap(stage, Flap::Freeze(dice.uneven_span(1000..45_000)))
}

fn restart(stage: &mut Stage, dice: &mut Dice) -> Outcome {
    with_flap(stage, Flap::Restart(dice.uneven_span(10..20_000)))
}

fn answers_lost(stage: &mut Stage, dice: &mut Dice) -> Outcome {
    let mut flood = flowing(stage);
    for _ in 0..dice.number(3..8) {
        Flap::AnswersLost(dice.span(20..500)).whole(stage);
        pause(dice.span(50..800));
    }
    flood.live(stage);
    flood.finish(stage)
}

fn too_few_replicas(stage: &mut Stage, dice: &mut Dice) -> Outcome {
    let mut flood = flowing(stage);
    starve(stage, &flood.topic, dice);
    flood.live(stage);
    flood.finish(stage)
}

/// The topic has one replica and wants two for a while.
fn starve(stage: &Stage, topic: &str, dice: &mut Dice) {
    stage.kafka.alter_topic(topic, "min.insync.replicas", "2");
    pause(dice.span(1000..8000));
    stage.kafka.alter_topic(topic, "min.insync.replicas", "1");
}

/// Kafka is frozen for this time, and then not.
const BEAT: Duration = Duration::from_millis(200);

fn flapping(stage: &mut Stage, dice: &mut Dice) -> Outcome {
    let mut flood = flowing(stage);
    for _ in 0..dice.number(15..40) {
        Flap::Freeze(BEAT).whole(stage);
        pause(BEAT);
    }
    flood.live(stage);
    flood.finish(stage)
}

/// Until the lanes have changed their state a thousand times: each spill is three changes.
fn flapping_for_long(stage: &mut Stage, _: &mut Dice) -> Outcome {
    const SPILLS: f64 = 334.0;
    let mut flood = flowing(stage);
    wait_until(Duration::from_secs(1800), "the lanes have changed their state a thousand times", || {
        Flap::Freeze(BEAT).whole(stage);
        pause(BEAT);
        flood.bridge.metric("fairlead_spool_spills_total", &[]) >= SPILLS
    });
    flood.live(stage);
    flood.finish(stage)
}

fn slow(stage: &mut Stage, dice: &mut Dice) -> Outcome {
    let mut flood = flowing(stage);
    stage.kafka.proxy().bandwidth(Direction::ToServer, dice.number(100_000..1_000_000) as usize);
    pause(dice.span(3000..12_000));
    stage.kafka.proxy().bandwidth(Direction::ToServer, 0);
    flood.live(stage);
    flood.finish(stage)
}

fn far(stage: &mut Stage, dice: &mut Dice) -> Outcome {
    let mut flood = flowing(stage);
    let way = dice.span(50..1000);
    for direction in [Direction::ToServer, Direction::ToClient] {
        stage.kafka.proxy().delay(direction, way);
    }
    pause(dice.span(3000..10_000));
    for direction in [Direction::ToServer, Direction::ToClient] {
        stage.kafka.proxy().delay(direction, Duration::ZERO);
    }
    flood.live(stage);
    flood.finish(stage)
}

fn queue_full(stage: &mut Stage, dice: &mut Dice) -> Outcome {
    // The queue of librdkafka is bounded by the budget, which is less than a window here.
    let (source, engine) = ("", "memory = \"1MiB\"");
    let mut flood = Flood::start(stage, Plan { source, engine, ..plan() });
    flood.full_flow();
    let span = dice.span(1000..5000);
    let before = flood.bridge.process().cpu();
    Flap::Freeze(span).whole(stage);
    let used = flood.bridge.process().cpu() - before;
    flood.live(stage);
    let mut outcome = flood.finish(stage);
    // With a spool the flow goes on meanwhile.
    outcome.demand(stage.ack.spools() || used < span / 2, || {
        format!("{used:?} of CPU time in {span:?} of waiting for a full queue")
    });
    outcome
}

fn more_partitions(stage: &mut Stage, dice: &mut Dice) -> Outcome {
    let mut flood = flowing(stage);
    stage.kafka.add_partitions(&flood.topic, PARTITIONS as usize + dice.number(1..9) as usize);
    pause(dice.span(500..3000));
    // librdkafka hears of it when its connections are new, at the latest.
    Flap::Cut.whole(stage);
    flood.live(stage);
    flood.finish(stage)
}

fn too_large(stage: &mut Stage, dice: &mut Dice) -> Outcome {
    let properties = &[("max.message.bytes", "2000")];
    let mut fleet = Fleet::start(stage, fleet::Plan { rate: 300, properties, ..fleet::Plan::thrown(dice) });
    fleet.full_flow();
    let mut client = Client::connect(fleet.mosquitto.port(), "poison");
    let count = dice.number(3..20);
    for _ in 0..count {
        client.publish("ais/poison", 1, &[b'x'; 10_000]);
        pause(dice.span(1..300));
    }
    let refused = |fleet: &Fleet| {
        fleet.bridge.metric(metric::DROPPED, &[("reason", "too_large")])
            + fleet.bridge.metric(metric::DEAD_LETTERED, &[])
    };
    wait_until(LIMIT, "what is too large is put aside", || refused(&fleet) >= count as f64);
    let aside = refused(&fleet);
    fleet.live(stage);
    let mut outcome = fleet.finish(stage);
    outcome.demand(aside <= count as f64, || format!("{aside} messages put aside, {count} were too large"));
    outcome
}

fn down_at_start(stage: &mut Stage, dice: &mut Dice) -> Outcome {
    let topic = stage.topic(PARTITIONS, &[]);
    stage.kafka.kill();
    let mut flood = Flood::start_on(stage, plan(), topic);
    pause(dice.span(500..5000));
    stage.kafka.restart();
    flood.full_flow();
    flood.live(stage);
    flood.finish(stage)
}

fn topic_deleted(stage: &mut Stage, dice: &mut Dice) -> Outcome {
    let mut flood = flowing(stage);
    // What Kafka has confirmed goes with the topic, so it is read before, while nothing flows.
    flood.firehose.process().freeze();
    wait_until(LIMIT, "everything is confirmed", || flood.bridge.is_at_rest());
    flood.checker.read(&stage.kafka, &flood.topic);
    stage.kafka.delete_topic(&flood.topic);
    flood.firehose.process().thaw();
    pause(dice.span(100..5000));
    stage.kafka.create_topic(&flood.topic, PARTITIONS, &[]);
    flood.live(stage);
    flood.finish(stage)
}

fn storm(stage: &mut Stage, dice: &mut Dice) -> Outcome {
    let mut flood = flowing(stage);
    for _ in 0..dice.number(3..7) {
        match dice.number(0..4) {
            0 => starve(stage, &flood.topic, dice),
            _ => Flap::thrown(dice).whole(stage),
        }
        pause(dice.span(1..1000));
    }
    flood.live(stage);
    flood.finish(stage)
}
