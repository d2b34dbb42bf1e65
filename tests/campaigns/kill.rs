//! SIGKILL of Fairlead at a random moment of full flow, with Kafka flapping around it.

use fairlead_tests::pause;

use crate::{
    dice::Dice,
    flap::Flap,
    fleet::{self, Fleet},
    flood::{Flood, Plan},
    outcome::Outcome,
    scenario::Scenario,
    stage::Stage,
};

const FLOOD: Scenario = Scenario { name: "flood", rows: "C1 B3 B16 C25", long: false, run: flood };
const MOSQUITTO: Scenario = Scenario { name: "mosquitto", rows: "C1 A10", long: false, run: mosquitto };

/// Every tenth run has a real broker.
pub(crate) const SCENARIOS: &[Scenario] = &[FLOOD, FLOOD, FLOOD, FLOOD, FLOOD, FLOOD, FLOOD, FLOOD, FLOOD, MOSQUITTO];

/// Share of the measured maximum.
const LOAD: f64 = 0.8;

fn flood(stage: &mut Stage, dice: &mut Dice) -> Outcome {
    let rate = stage.maximum() * LOAD;
    let mut flood =
        Flood::start(stage, Plan { rate, window: 20_000, topics: 1000, source: "", engine: "", spool: None });
    flood.full_flow();
    let flap = Flap::thrown(dice);
    flood.mixed = flap != Flap::Calm;
    let (kill, fault) = (dice.span(5..800), dice.span(0..1200));
    pause(kill.min(fault));
    if fault < kill {
        flap.begin(stage);
        pause(kill - fault);
        flood.crash();
    } else {
        flood.crash();
        pause(fault - kill);
        flap.begin(stage);
    }
    flap.end(stage);
    flood.live(stage);
    flood.finish(stage)
}

fn mosquitto(stage: &mut Stage, dice: &mut Dice) -> Outcome {
    let plan = fleet::Plan::thrown(dice);
    // What mosquitto can do is a small part of what the bridge can; with its window of 20, and four packets a message at
    // QoS 2, it is what round trips on a busy machine leave.
    let share = if plan.version == "5" { 50.0 } else { 500.0 };
    let rate = (stage.maximum() / share).min(20_000.0) as u64;
    let mut fleet = Fleet::start(stage, fleet::Plan { rate, ..plan });
    fleet.full_flow();
    let flap = Flap::thrown(dice);
    flap.begin(stage);
    pause(dice.span(5..800));
    fleet.crash();
    flap.end(stage);
    fleet.live(stage);
    fleet.finish(stage)
}
