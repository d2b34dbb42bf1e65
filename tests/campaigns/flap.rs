//! Kafka away for a moment.

use std::time::Duration;

use fairlead_tests::{Direction, pause};

use crate::{dice::Dice, stage::Stage};

/// What happens to Kafka.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flap {
    /// Nothing.
    Calm,
    /// SIGSTOP for a while.
    Freeze(Duration),
    /// Every connection is closed.
    Cut,
    /// Every connection is reset after a while in which requests pass and answers do not.
    AnswersLost(Duration),
    /// SIGKILL, and a restart after a while.
    Restart(Duration),
}

impl Flap {
    /// Mostly short; a restart, which takes seconds, now and then.
    pub(crate) fn thrown(dice: &mut Dice) -> Flap {
        match dice.number(0..20) {
            0..=2 => Flap::Calm,
            3..=10 => Flap::Freeze(dice.span(50..1500)),
            11..=14 => Flap::Cut,
            15..=18 => Flap::AnswersLost(dice.span(20..500)),
            _ => Flap::Restart(dice.span(10..1000)),
        }
    }

    /// The fault comes.
    pub(crate) fn begin(self, stage: &mut Stage) {
        match self {
            Flap::Calm => {}
            Flap::Freeze(_) => stage.kafka.freeze(),
            Flap::Cut => stage.kafka.proxy().cut_all(),
            Flap::AnswersLost(_) => stage.kafka.proxy().black_hole(Direction::ToClient, true),
            Flap::Restart(_) => stage.kafka.kill(),
        }
    }

    /// The fault lasts, and goes.
    pub(crate) fn end(self, stage: &mut Stage) {
        match self {
            Flap::Calm | Flap::Cut => {}
            Flap::Freeze(span) => {
                pause(span);
                stage.kafka.thaw();
            }
            Flap::AnswersLost(span) => {
                pause(span);
                stage.kafka.proxy().reset_all();
                stage.kafka.proxy().black_hole(Direction::ToClient, false);
            }
            Flap::Restart(span) => {
                pause(span);
                stage.kafka.restart();
            }
        }
    }

    pub(crate) fn whole(self, stage: &mut Stage) {
        self.begin(stage);
        self.end(stage);
    }
}
