//! A run without MQTT and bridge, as a ceiling: the load generator produces straight into Kafka.

use super::{Changes, Files, Outcome, Plan, sampled_flags};
use crate::noise::Ticks;
use crate::stage::Stage;
use anyhow::Result;
use serde_json::Value;

/// What a case of the firehose says that a producer can be told, too.
const FLAGS: [&str; 5] = ["--size", "--topics", "--seconds", "--messages", "--rate"];

/// The firehose's payload, where the case does not say another.
const SIZE: [&str; 2] = ["--size", "100"];

impl Plan<'_> {
    /// The generator is what is measured here.
    pub(super) fn run_producer(self, stage: &mut Stage, changes: &Changes) -> Result<Outcome> {
        let run = stage.next_run();
        let topic = format!("perf-{run}");
        stage.create(&topic, self.scenario.partitions)?;
        let files = Files::in_folder(&stage.folder_of(&self.peer.name)?);
        files.clear();
        let mut flags: Vec<String> =
            ["kafka", "--brokers", stage.kafka.brokers(), "--topic", &topic].map(str::to_owned).into();
        flags.extend(told(&super::flags(self.case, changes.messages, self.rate)));
        flags.extend(files.flags(run));
        flags.extend(sampled_flags(stage, Vec::new())?);

        let groups = [stage.kafka.id()];
        let before = Ticks::read(&groups)?;
        stage.generator(&flags, "generator.log").finish(&stage.stop, changes.limit, "the end of the run")?;
        let foreign = before.foreign_until(Ticks::read(&groups)?);
        self.verify(stage, &files, &topic)?;
        stage.kafka.delete_topic(&topic);
        let arrival = files.verified()?;
        let mut outcome = files.outcome(arrival, None, foreign)?;
        outcome.bridge_cpu_seconds = outcome.result.get("generator_cpu_seconds").and_then(Value::as_f64);
        // It is measured itself.
        outcome.result["generator_bound"] = false.into();
        Ok(outcome)
    }
}

/// The flags of a case that mean something here.
fn told(flags: &[String]) -> Vec<String> {
    let pairs = flags.windows(2).filter(|pair| FLAGS.contains(&pair[0].as_str()));
    let mut told: Vec<String> = pairs.flatten().cloned().collect();
    if !told.contains(&SIZE[0].to_owned()) {
        told.extend(SIZE.map(str::to_owned));
    }
    told
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_producer_is_told_what_it_understands() {
        let told = |line: &str| {
            let flags: Vec<String> = line.split(' ').map(str::to_owned).collect();
            super::told(&flags).join(" ")
        };
        assert_eq!(told("firehose --seconds 10 --drain 60"), "--seconds 10 --size 100");
        assert_eq!(told("firehose --size 16 --window 5 --topics 7 --rate 9"), "--size 16 --topics 7 --rate 9");
    }
}
