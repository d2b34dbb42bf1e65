//! `scenarios/NAME.toml`: what is run.

use crate::files::{read_toml, unknown};
use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use std::path::Path;

/// What is measured, case by case.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    /// One line for people.
    pub(crate) title: String,
    /// How often each bridge runs each case.
    #[serde(default = "default_rounds")]
    pub(crate) rounds: u32,
    /// Partitions of the Kafka topic.
    #[serde(default = "default_partitions")]
    pub(crate) partitions: i32,
    /// Whether messages pass through mosquitto; otherwise the generator is the broker.
    #[serde(default)]
    pub(crate) mosquitto: bool,
    /// The cases, one after the other.
    #[serde(rename = "case")]
    pub(crate) cases: Vec<Case>,
}

/// One setting of the generator.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    /// What it is called in the table.
    pub(crate) name: String,
    /// The command of `fairlead-loadgen` and its flags; addresses, files and processes are added.
    pub(crate) generator: Vec<String>,
    /// The most messages in flight that the bridge shall allow.
    #[serde(default = "default_window")]
    pub(crate) window: u16,
    /// The QoS at which the bridge subscribes.
    #[serde(default = "default_qos")]
    pub(crate) qos: u8,
    /// Open loop at this share of what the same bridge reached in the first case.
    #[serde(default)]
    pub(crate) share: Option<f64>,
    /// What goes wrong meanwhile.
    #[serde(default)]
    pub(crate) fault: Option<Fault>,
}

/// A fault in the middle of a run.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fault {
    /// What goes wrong.
    pub(crate) kind: FaultKind,
    /// Seconds from the bridge's start to the fault.
    pub(crate) after: f64,
    /// Seconds that it lasts.
    pub(crate) lasts: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum FaultKind {
    /// SIGKILL to the bridge, which is then started again.
    KillBridge,
    /// Kafka ends in good order and is then started again.
    StopKafka,
}

fn default_rounds() -> u32 {
    5
}

fn default_partitions() -> i32 {
    9
}

fn default_window() -> u16 {
    20_000
}

fn default_qos() -> u8 {
    1
}

impl Scenario {
    /// Reads `folder/NAME.toml`.
    pub(crate) fn load(folder: &Path, name: &str) -> Result<Self> {
        let path = folder.join(format!("{name}.toml"));
        if !path.exists() {
            return unknown("scenario", name, folder);
        }
        let scenario: Self = read_toml(&path)?;
        scenario.check().with_context(|| format!("{} is not as it should be", path.display()))?;
        Ok(scenario)
    }

    /// With the cases of these names alone; all where none is named.
    pub(crate) fn only(mut self, names: &[String]) -> Result<Self> {
        let cases = || self.cases.iter().map(|case| format!("`{}`", case.name)).collect::<Vec<_>>().join(", ");
        let missing = names.iter().find(|name| self.cases.iter().all(|case| case.name != **name));
        ensure!(missing.is_none(), "there is no case `{}`; there are {}", missing.map_or("", String::as_str), cases());
        let chosen = |case: &Case| names.is_empty() || names.contains(&case.name);
        // Shares are those of what the first case reaches.
        let first = self.cases.iter().any(|case| case.share.is_some() && chosen(case));
        let mut place = 0;
        self.cases.retain(|case| {
            place += 1;
            chosen(case) || (first && place == 1)
        });
        Ok(self)
    }

    fn check(&self) -> Result<()> {
        ensure!(self.rounds > 0, "rounds must be at least 1");
        ensure!(self.partitions > 0, "partitions must be at least 1");
        ensure!(!self.cases.is_empty(), "there must be a [[case]]");
        for (place, case) in self.cases.iter().enumerate() {
            let known: &[&str] = if self.mosquitto { &["publish", "ais"] } else { &["firehose"] };
            let command = case.generator.first().map_or("", String::as_str);
            ensure!(
                known.contains(&command),
                "case {}: generator `{command}`, but {} mosquitto it must be {}",
                case.name,
                if self.mosquitto { "with" } else { "without" },
                known.join(" or ")
            );
            ensure!(case.window > 0, "case {}: the window must be at least 1", case.name);
            ensure!(case.qos <= 2, "case {}: qos must be 0, 1 or 2", case.name);
            if let Some(share) = case.share {
                ensure!(place > 0, "case {}: a share is of the first case, and this is the first", case.name);
                ensure!(share > 0.0 && share.is_finite(), "case {}: the share must be above 0", case.name);
            }
            if let Some(fault) = case.fault {
                let is_time = |time: f64| time >= 0.0 && time.is_finite();
                ensure!(is_time(fault.after) && is_time(fault.lasts), "case {}: a fault needs its times", case.name);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::PathBuf;

    fn error_of(text: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("x.toml"), text).unwrap();
        format!("{:#}", Scenario::load(folder.path(), "x").unwrap_err())
    }

    #[test]
    fn every_scenario_of_the_repository_can_be_read() {
        let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios"));
        let mut names = Vec::new();
        for entry in fs::read_dir(&folder).unwrap() {
            let name = entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned();
            Scenario::load(&folder, &name).unwrap();
            names.push(name);
        }
        names.sort();
        let all = "article canonical connections latency loss outage payload qos shards topics window";
        assert_eq!(names.join(" "), all);
    }

    #[test]
    fn mistakes_are_named() {
        let case = "[[case]]\nname = \"a\"\ngenerator = [\"firehose\"]\n";
        let first_share = format!("title = \"t\"\n{case}share = 0.5\n");
        for (text, part) in [
            ("title = \"t\"\nround = 3\n", "round"),
            ("title = \"t\"\ncase = []\n", "[[case]]"),
            (&format!("title = \"t\"\nrounds = 0\n{case}"), "rounds"),
            (&format!("title = \"t\"\nmosquitto = true\n{case}"), "publish or ais"),
            (&format!("title = \"t\"\n{case}qos = 3\n"), "qos"),
            (&first_share, "first case"),
            (&format!("title = \"t\"\n{case}fault = {{ kind = \"fire\", after = 1, lasts = 1 }}\n"), "kill-bridge"),
        ] {
            let error = error_of(text);
            assert!(error.contains(part) && error.contains("x.toml"), "{part}: {error}");
        }
    }

    #[test]
    fn defaults_are_the_canonical_ones() {
        let text = "title = \"t\"\n[[case]]\nname = \"a\"\ngenerator = [\"firehose\"]\n";
        let scenario: Scenario = toml::from_str(text).unwrap();
        assert_eq!((scenario.rounds, scenario.partitions, scenario.mosquitto), (5, 9, false));
        assert_eq!((scenario.cases[0].window, scenario.cases[0].qos), (20_000, 1));
    }
    #[test]
    fn cases_are_chosen_by_name_and_keep_what_their_shares_are_of() {
        let case = |name: &str, more: &str| format!("[[case]]\nname = \"{name}\"\ngenerator = [\"firehose\"]\n{more}");
        let text = format!("title = \"t\"\n{}{}{}", case("a", ""), case("b", "share = 0.5\n"), case("c", ""));
        let chosen = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let scenario: Scenario = toml::from_str(&text).unwrap();
            Ok::<_, String>(
                scenario
                    .only(&names)
                    .map_err(|e| e.to_string())?
                    .cases
                    .into_iter()
                    .map(|case| case.name)
                    .collect::<String>(),
            )
        };
        assert_eq!(chosen(&[]), Ok("abc".to_owned()));
        assert_eq!(chosen(&["c"]), Ok("c".to_owned()));
        assert_eq!(chosen(&["b"]), Ok("ab".to_owned()));
        assert_eq!(chosen(&["d"]), Err("there is no case `d`; there are `a`, `b`, `c`".to_owned()));
    }
}
