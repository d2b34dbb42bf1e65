//! The network between publishers, mosquitto and Fairlead, and mosquitto itself.

use std::{io::Write, net::TcpStream, time::Duration};

use fairlead_tests::{Direction, Proxy, metric, pause, wait_until, wire};

use crate::{
    dice::Dice,
    flap::Flap,
    fleet::{CLIENT, Fleet, Plan},
    flood::{self, Flood},
    outcome::Outcome,
    scenario::Scenario,
    stage::{LIMIT, Stage},
};

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario { name: "cut-anywhere", rows: "A1", long: false, run: cut_anywhere },
    Scenario { name: "cut-at-each-byte", rows: "A1", long: false, run: cut_at_each_byte },
    Scenario { name: "half-open", rows: "A2", long: false, run: half_open },
    Scenario { name: "half-close", rows: "A3", long: false, run: half_close },
    Scenario { name: "slicer", rows: "A4", long: false, run: slicer },
    Scenario { name: "reset", rows: "A1", long: false, run: reset },
    Scenario { name: "broker-killed", rows: "A5", long: false, run: broker_killed },
    Scenario { name: "broker-restarted", rows: "A5", long: false, run: broker_restarted },
    Scenario { name: "broker-forgets", rows: "A6", long: false, run: broker_forgets },
    Scenario { name: "bridge-forgets", rows: "A7", long: false, run: bridge_forgets },
    Scenario { name: "bridge-killed", rows: "A8 A10 C1", long: false, run: bridge_killed },
    Scenario { name: "bridge-frozen", rows: "D3", long: false, run: bridge_frozen },
    Scenario { name: "held-back", rows: "A13 B3", long: false, run: held_back },
    Scenario { name: "identifiers-reused", rows: "A11 A8 A9", long: true, run: identifiers_reused },
    Scenario { name: "retained", rows: "A18", long: false, run: retained },
    Scenario { name: "taken-over", rows: "A21", long: false, run: taken_over },
    Scenario { name: "many-topics", rows: "A24", long: false, run: many_topics },
    Scenario { name: "publishers-cut", rows: "A1 A8", long: false, run: publishers_cut },
    Scenario { name: "storm", rows: "A1 A2 A3 A4", long: false, run: storm },
];

/// Keep-alive of the scenarios in which a silent connection is to be found out.
const SHORT_KEEP_ALIVE: &str = "keep_alive = \"2s\"";

fn flowing(stage: &Stage, plan: Plan) -> Fleet {
    let fleet = Fleet::start(stage, plan);
    fleet.full_flow();
    fleet
}

fn finish(mut fleet: Fleet, stage: &Stage) -> Outcome {
    fleet.live(stage);
    fleet.finish(stage)
}

/// Waits until the bridge has opened another connection than those before.
fn reconnects(fleet: &Fleet, before: usize) {
    wait_until(LIMIT, "the bridge connects again", || fleet.p2.connections() > before);
}

fn cut_anywhere(stage: &mut Stage, dice: &mut Dice) -> Outcome {
    let fleet = flowing(stage, Plan::thrown(dice));
    // Few, since the pause before the next attempt doubles each time.
    for _ in 0..dice.number(1..4) {
        let (direction, bytes) = match dice.number(0..2) {
            0 => (Direction::ToClient, dice.number(1..60_000)),
            _ => (Direction::ToServer, dice.number(1..2000)),
        };
        // One direction each, so that a cut is not overtaken by the other's.
        fleet.p2.cut_next(direction, bytes as usize);
        let before = fleet.p2.connections();
        fleet.p2.cut_all();
        reconnects(&fleet, before);
        wait_until(LIMIT, "the connection is cut", || fleet.p2.connections() > before + 1);
    }
    finish(fleet, stage)
}

fn cut_at_each_byte(stage: &mut Stage, dice: &mut Dice) -> Outcome {
    let fleet = flowing(stage, Plan::thrown(dice));
    let first = dice.number(1..600) as usize;
    let before = fleet.p2.connections();
    for bytes in first..first + 5 {
        fleet.p2.cut_next(Direction::ToClient, bytes);
    }
    fleet.p2.cut_all();
    wait_until(LIMIT, "five connections are cut", || fleet.p2.connections() > before + 5);
    finish(fleet, stage)
}

fn hole(proxy: &Proxy, on: bool) {
    for direction in [Direction::ToClient, Direction::ToServer] {
        proxy.black_hole(direction, on);
    }
}

fn half_open(stage: &mut Stage, dice: &mut Dice) -> Outcome {
    let fleet = flowing(stage, Plan { source: SHORT_KEEP_ALIVE, ..Plan::thrown(dice) });
    let before = fleet.p2.connections();
    let start = fairlead_tests::now();
    hole(&fleet.p2, true);
    reconnects(&fleet, before);
    let found = fairlead_tests::now() - start;
    hole(&fleet.p2, false);
    let mut outcome = finish(fleet, stage);
    // One and a half times the keep-alive, and some for the machine and for the pause before the next attempt; without it
    // the kernel would find out after a minute.
    outcome.demand(found < Duration::from_secs(10), || format!("a dead connection was found after {found:.1?}"));
    outcome
}

fn half_close(stage: &mut Stage, dice: &mut Dice) -> Outcome {
    let fleet = flowing(stage, Plan::thrown(dice));
    for _ in 0..dice.number(1..4) {
        let before = fleet.p2.connections();
        fleet.p2.half_close(Direction::ToClient);
        reconnects(&fleet, before);
        pause(dice.span(1..500));
    }
    finish(fleet, stage)
}

fn slicer(stage: &mut Stage, dice: &mut Dice) -> Outcome {
    let fleet = flowing(stage, Plan { rate: 500, ..Plan::thrown(dice) });
    let direction = dice.pick(&[Direction::ToClient, Direction::ToServer]);
    fleet.p2.slice(direction, true);
    pause(dice.span(1000..4000));
    fleet.p2.slice(direction, false);
    let mut outcome = finish(fleet, stage);
    let (duplicates, lost) = (outcome.counts.duplicates, outcome.counts.connections_lost);
    outcome.none("duplicates on one connection", duplicates);
    outcome.none("lost connections", lost);
    outcome
}

fn reset(stage: &mut Stage, dice: &mut Dice) -> Outcome {
    let fleet = flowing(stage, Plan::thrown(dice));
    for _ in 0..dice.number(1..5) {
        let before = fleet.p2.connections();
        fleet.p2.reset_all();
        reconnects(&fleet, before);
        pause(dice.span(1..500));
    }
    finish(fleet, stage)
}

/// What mosquitto had not saved (at most a second's worth) it sends again under packet identifiers that may be in use by
/// now. At QoS 2 no receiver can tell that from a redelivery, so this is for QoS 1.
fn broker_killed(stage: &mut Stage, dice: &mut Dice) -> Outcome {
    let mut fleet = flowing(stage, Plan::thrown(dice).qos(1));
    pause(dice.span(1..2500));
    fleet.mosquitto.kill();
    pause(dice.span(1..2000));
    fleet.mosquitto.restart();
    fleet.broker_lost = true;
    fleet.bridge.wait_ready(LIMIT);
    finish(fleet, stage)
}

fn broker_restarted(stage: &mut Stage, dice: &mut Dice) -> Outcome {
    let mut fleet = flowing(stage, Plan::thrown(dice));
    fleet.mosquitto.stop();
    pause(dice.span(1..2000));
    fleet.mosquitto.restart();
    fleet.bridge.wait_ready(LIMIT);
    finish(fleet, stage)
}

fn broker_forgets(stage: &mut Stage, dice: &mut Dice) -> Outcome {
    let mut fleet = flowing(stage, Plan::thrown(dice));
    if dice.one_in(2) {
        fleet.mosquitto.stop();
    } else {
        fleet.mosquitto.kill();
    }
    fleet.mosquitto.forget();
    fleet.mosquitto.restart();
    fleet.broker_lost = true;
    fleet.bridge.wait_ready(LIMIT);
    let told = fleet.bridge.metric(metric::SESSION_LOST, &[]);
    let mut outcome = finish(fleet, stage);
    outcome.demand(told >= 1.0, || "the lost session is not counted".to_owned());
    outcome
}

fn bridge_forgets(stage: &mut Stage, dice: &mut Dice) -> Outcome {
    let mut fleet = flowing(stage, Plan::thrown(dice).qos(1));
    pause(dice.span(1..500));
    fleet.bridge.process().kill();
    std::fs::remove_dir_all(fleet.bridge.folder().join("fairlead")).expect("the bridge's memory is wiped");
    fleet.restart();
    finish(fleet, stage)
}

fn bridge_killed(stage: &mut Stage, dice: &mut Dice) -> Outcome {
    let mut fleet = flowing(stage, Plan::thrown(dice));
    for _ in 0..dice.number(1..4) {
        pause(dice.span(5..800));
        fleet.crash();
        fleet.bridge.wait_ready(LIMIT);
    }
    finish(fleet, stage)
}

fn bridge_frozen(stage: &mut Stage, dice: &mut Dice) -> Outcome {
    let mut fleet = flowing(stage, Plan { source: SHORT_KEEP_ALIVE, ..Plan::thrown(dice) });
    fleet.bridge.process().freeze();
    pause(dice.span(500..6000));
    fleet.bridge.process().thaw();
    fleet.bridge.wait_ready(LIMIT);
    finish(fleet, stage)
}

/// Acknowledgements are held while Kafka stands still; the session must live on.
fn held_back(stage: &mut Stage, dice: &mut Dice) -> Outcome {
    let fleet = flowing(stage, Plan { source: SHORT_KEEP_ALIVE, ..Plan::thrown(dice) });
    Flap::Freeze(dice.span(3500..7000)).whole(stage);
    let mut outcome = finish(fleet, stage);
    let lost = outcome.counts.connections_lost;
    outcome.none("lost connections", lost);
    outcome
}

/// Connections are lost with full windows, and then every packet identifier comes round again.
fn identifiers_reused(stage: &mut Stage, dice: &mut Dice) -> Outcome {
    const IDENTIFIERS: u64 = 65_535;
    let plan = Plan { rate: 15_000, version: "5", ..Plan::thrown(dice) };
    let fleet = flowing(stage, plan);
    for _ in 0..dice.number(1..4) {
        stage.kafka.freeze();
        pause(dice.span(300..1500));
        let before = fleet.p2.connections();
        fleet.p2.reset_all();
        reconnects(&fleet, before);
        stage.kafka.thaw();
        pause(dice.span(1..500));
    }
    let rounds = 2 * IDENTIFIERS;
    wait_until(LIMIT, "every identifier comes round", || fleet.p2.tap().delivered > rounds);
    finish(fleet, stage)
}

fn retained(stage: &mut Stage, dice: &mut Dice) -> Outcome {
    let plan = Plan { version: "5", retained: 300, ..Plan::thrown(dice) };
    let mut fleet = flowing(stage, plan);
    for _ in 0..dice.number(1..4) {
        let before = fleet.p2.connections();
        fleet.p2.cut_all();
        reconnects(&fleet, before);
        pause(dice.span(1..300));
    }
    // And once with a new process on the same session.
    assert_eq!(fleet.bridge.stop(LIMIT), 0, "the bridge ends in good order");
    fleet.restart();
    finish(fleet, stage)
}

/// Another client with the bridge's identifier takes the session, holds it for a while and goes.
fn taken_over(stage: &mut Stage, dice: &mut Dice) -> Outcome {
    let fleet = flowing(stage, Plan::thrown(dice));
    for _ in 0..dice.number(1..3) {
        let mut intruder = TcpStream::connect(("127.0.0.1", fleet.mosquitto.port())).expect("mosquitto listens");
        intruder.set_read_timeout(Some(LIMIT)).expect("a socket option");
        intruder.write_all(&wire::resume(CLIENT)).expect("mosquitto reads");
        let answer = wire::read_frame(&mut intruder, &mut Vec::new()).expect("a CONNACK");
        assert_eq!((answer.kind(), answer.body[1]), (wire::CONNACK, 0), "mosquitto's answer to the intruder");
        pause(dice.span(10..1500));
    }
    finish(fleet, stage)
}

/// A new topic with nearly every message, from the firehose, since mosquitto would have to keep them all. The bound on
/// memory is that of every run.
fn many_topics(stage: &mut Stage, dice: &mut Dice) -> Outcome {
    let topics = dice.number(100_000..300_000) as u32;
    let plan = flood::Plan { rate: 60_000.0, window: 8192, topics, source: "", engine: "", spool: None };
    let mut flood = Flood::start(stage, plan);
    flood.full_flow();
    pause(dice.span(2000..6000));
    flood.live(stage);
    flood.finish(stage)
}

fn publishers_cut(stage: &mut Stage, dice: &mut Dice) -> Outcome {
    let fleet = flowing(stage, Plan::thrown(dice));
    for _ in 0..dice.number(2..6) {
        match dice.number(0..3) {
            0 => fleet.p1.cut_all(),
            1 => fleet.p1.reset_all(),
            _ => fleet.p1.half_close(Direction::ToServer),
        }
        pause(dice.span(10..1000));
    }
    finish(fleet, stage)
}

fn storm(stage: &mut Stage, dice: &mut Dice) -> Outcome {
    let fleet = flowing(stage, Plan { source: SHORT_KEEP_ALIVE, ..Plan::thrown(dice) });
    for _ in 0..dice.number(3..6) {
        match dice.number(0..6) {
            0 => fleet.p2.cut_all(),
            1 => fleet.p2.reset_all(),
            2 => fleet.p2.half_close(dice.pick(&[Direction::ToClient, Direction::ToServer])),
            3 => {
                hole(&fleet.p2, true);
                pause(dice.span(10..3000));
                hole(&fleet.p2, false);
            }
            4 => {
                fleet.p2.delay(Direction::ToClient, dice.span(1..500));
                pause(dice.span(10..1000));
                fleet.p2.delay(Direction::ToClient, Duration::ZERO);
            }
            _ => Flap::thrown(dice).whole(stage),
        }
        pause(dice.span(1..800));
    }
    finish(fleet, stage)
}
