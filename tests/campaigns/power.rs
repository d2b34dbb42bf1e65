//! Power cuts. SIGKILL leaves the page cache alone, so the disk itself is cut off: everything that was not synced is gone.

use fairlead_tests::{Image, Shutdown, pause};

use crate::{
    dice::Dice,
    flood::{Flood, Plan},
    outcome::Outcome,
    scenario::Scenario,
    stage::Stage,
};

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario { name: "kafka-away", rows: "C3", long: false, run: kafka_away },
    Scenario { name: "kafka-there", rows: "C3", long: false, run: kafka_there },
    Scenario { name: "while-draining", rows: "C3 C5", long: false, run: while_draining },
];

/// Size of the disk.
const MEBIBYTES: u64 = 1024;

fn flowing(stage: &Stage, image: &Image) -> Flood {
    let spool = Some(image.path().join("spool"));
    let mut flood =
        Flood::start(stage, Plan { rate: 50_000.0, window: 5000, topics: 1000, source: "", engine: "", spool });
    flood.full_flow();
    flood
}

/// The disk ends at once; the machine, which is the process, a moment later. Then both come back.
fn cut(image: &mut Image, flood: &mut Flood, dice: &mut Dice) {
    image.shut_down(dice.pick(&[Shutdown::LogFlush, Shutdown::NoLogFlush]));
    flood.bridge.process().kill();
    image.remount();
    flood.restart();
    flood.mixed = true;
}

fn kafka_away(stage: &mut Stage, dice: &mut Dice) -> Outcome {
    let mut image = Image::mount(MEBIBYTES);
    let mut flood = flowing(stage, &image);
    stage.kafka.freeze();
    pause(dice.span(5..800));
    cut(&mut image, &mut flood, dice);
    if dice.one_in(2) {
        pause(dice.span(5..800));
        cut(&mut image, &mut flood, dice);
    }
    stage.kafka.thaw();
    flood.live(stage);
    flood.finish(stage)
}

fn kafka_there(stage: &mut Stage, dice: &mut Dice) -> Outcome {
    let mut image = Image::mount(MEBIBYTES);
    let mut flood = flowing(stage, &image);
    pause(dice.span(5..800));
    cut(&mut image, &mut flood, dice);
    flood.live(stage);
    flood.finish(stage)
}

fn while_draining(stage: &mut Stage, dice: &mut Dice) -> Outcome {
    let mut image = Image::mount(MEBIBYTES);
    let mut flood = flowing(stage, &image);
    stage.kafka.freeze();
    pause(dice.span(500..3000));
    stage.kafka.thaw();
    pause(dice.span(5..300));
    cut(&mut image, &mut flood, dice);
    // And once more while the restarted process recovers.
    pause(dice.span(1..200));
    cut(&mut image, &mut flood, dice);
    flood.live(stage);
    flood.finish(stage)
}
