//! The campaigns: each is a list of scenarios that its runs take in turn.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::{dice::Dice, disk, kafka, kill, mqtt, outcome::Outcome, power, stage::Stage};

/// One way in which things go wrong.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// The rows of the failure list that it covers.
    pub(crate) rows: &'static str,
    /// Takes longer than campaigns have that are to be short, whatever its faults last.
    pub(crate) long: bool,
    pub(crate) run: fn(&mut Stage, &mut Dice) -> Outcome,
}

/// The first argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Campaign {
    /// SIGKILL of Fairlead at 80 % of the maximum, with Kafka flapping
    Kill,
    /// Power cuts: needs root and the spool
    Power,
    /// Disk full, slow, read-only, damaged: needs root and the spool
    Disk,
    /// Kafka frozen, killed, slow, without the topic, with too few replicas
    Kafka,
    /// The network before mosquitto, and mosquitto itself
    Mqtt,
}

impl Campaign {
    pub(crate) fn scenarios(self) -> &'static [Scenario] {
        match self {
            Campaign::Kill => kill::SCENARIOS,
            Campaign::Power => power::SCENARIOS,
            Campaign::Disk => disk::SCENARIOS,
            Campaign::Kafka => kafka::SCENARIOS,
            Campaign::Mqtt => mqtt::SCENARIOS,
        }
    }

    /// The scenario of a run: all in turn, and the seed says which comes first.
    pub(crate) fn scenario(self, seed: u64, run: u64, short: bool) -> Scenario {
        let fits = |scenario: &&Scenario| !(short && scenario.long);
        let scenarios: Vec<Scenario> = self.scenarios().iter().filter(fits).copied().collect();
        scenarios[(seed.wrapping_add(run) % scenarios.len() as u64) as usize]
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Campaign::Kill => "kill",
            Campaign::Power => "power",
            Campaign::Disk => "disk",
            Campaign::Kafka => "kafka",
            Campaign::Mqtt => "mqtt",
        }
    }

    /// Whether nothing of it means anything without the spool.
    pub(crate) fn needs_spool(self) -> bool {
        matches!(self, Campaign::Power | Campaign::Disk)
    }
}
