//! One run: a fresh Kafka topic, the generator, the bridge, and the verification of every message.

mod producer;

use crate::arrival::Arrival;
use crate::bridge::Bridge;
use crate::fault::{Deed, Timetable};
use crate::generator::{Generator, PROMPT, flags};
use crate::noise::Ticks;
use crate::peer::{Kind, Peer};
use crate::placeholder::Values;
use crate::scenario::{Case, FaultKind, Scenario};
use crate::stage::Stage;
use anyhow::{Context, Result};
use fairlead_loadgen::output::read_json;
use fairlead_loadgen::subscribe;
use fairlead_tests::{Mosquitto, free_port, now};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long Kafka may be silent before what is missing counts as lost, in seconds.
const IDLE: &str = "10";

/// Longest verification.
const VERIFY: Duration = Duration::from_secs(600);

/// What the command line changes about every run.
#[derive(Debug, Clone)]
pub(crate) struct Changes {
    /// Messages of a run.
    pub(crate) messages: Option<u64>,
    /// Longest run.
    pub(crate) limit: Duration,
    /// Words in front of the bridge's command.
    pub(crate) under: Vec<String>,
}

/// What is run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan<'a> {
    pub(crate) scenario: &'a Scenario,
    pub(crate) case: &'a Case,
    pub(crate) peer: &'a Peer,
    /// Messages a second, where the case wants a share of the bridge's own maximum.
    pub(crate) rate: Option<f64>,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The generator's result.
    pub(crate) result: Value,
    pub(crate) arrival: Arrival,
    /// Behind mosquitto: the bridge's CPU seconds until all was in Kafka. The generator's samples end with the broker's
    /// last acknowledgement, when a slow bridge still has most of its work to do. Of half a bridge those of all its run.
    pub(crate) bridge_cpu_seconds: Option<f64>,
    /// The share of the machine that others used.
    pub(crate) foreign: f64,
}

/// What a run has of its own, in the order in which it is given up.
struct Props {
    generator: Option<Generator>,
    bridge: Bridge,
    /// The bridge's CPU time when its generator started, behind mosquitto.
    cpu_before: Option<Duration>,
    _mosquitto: Option<Mosquitto>,
}

impl Plan<'_> {
    pub(crate) fn run(self, stage: &mut Stage, changes: &Changes) -> Result<Outcome> {
        if self.peer.kind == Kind::Producer {
            return self.run_producer(stage, changes);
        }
        let run = stage.next_run();
        let topic = format!("perf-{run}");
        stage.create(&topic, self.scenario.partitions)?;
        let folder = stage.folder_of(&self.peer.name)?;
        let files = Files::in_folder(&folder);
        files.clear();
        let mosquitto = if self.scenario.mosquitto { Some(Stage::mosquitto()?) } else { None };
        let port = mosquitto.as_ref().map_or_else(free_port, Mosquitto::port);
        let mut flags = flags(self.case, changes.messages, self.rate);
        flags.extend(self.common_flags(stage, &files, port, run, mosquitto.as_ref())?);
        let values = self.values(stage, &folder, port, &topic);
        let mut command = changes.under.clone();
        command.extend(self.peer.prepare(&folder, &values)?);

        let mut groups = vec![stage.kafka.id()];
        groups.extend(mosquitto.as_ref().map(Mosquitto::id));
        let before = Ticks::read(&groups)?;
        let mut props = self.raise(stage, mosquitto, command, &folder, &flags)?;
        self.play(stage, &mut props, &topic, changes.limit)?;
        groups.extend([stage.kafka.id(), props.bridge.group()]);
        let foreign = before.foreign_until(Ticks::read(&groups)?);
        let (arrival, cpu) = if self.peer.kind == Kind::Subscriber {
            let received = self.receive(stage, &mut props, &files)?;
            let cpu = received.cost.generator_cpu_seconds;
            (Arrival::Subscriber(received), Some(cpu))
        } else {
            self.verify(stage, &files, &topic)?;
            let cpu = props.cpu_before.and_then(|before| Some(props.bridge.cpu()?.saturating_sub(before)));
            (files.verified()?, cpu.map(|cpu| cpu.as_secs_f64()))
        };
        props.bridge.stop(&stage.stop)?;
        stage.kafka.delete_topic(&topic);
        files.outcome(arrival, cpu, foreign)
    }

    fn values(&self, stage: &Stage, folder: &Path, port: u16, topic: &str) -> Values {
        let value = |name: &str, value: String| (name.to_owned(), value);
        Values::from([
            value("mqtt", format!("mqtt://127.0.0.1:{port}")),
            value("mqtt_host", "127.0.0.1".to_owned()),
            value("mqtt_port", port.to_string()),
            value("kafka", stage.kafka.brokers().to_owned()),
            value("topic", topic.to_owned()),
            value("window", self.case.window.to_string()),
            value("qos", self.case.qos.to_string()),
            value("folder", folder.display().to_string()),
            value("bin", stage.bin.display().to_string()),
        ])
    }

    /// The flags that are the same for every command of the generator.
    fn common_flags(
        &self,
        stage: &Stage,
        files: &Files,
        port: u16,
        run: u32,
        mosquitto: Option<&Mosquitto>,
    ) -> Result<Vec<String>> {
        let mut sampled = Vec::new();
        let address = match mosquitto {
            Some(mosquitto) => {
                sampled.push(format!("mosquitto=@{}", stage.note_id("mosquitto", mosquitto.id())?.display()));
                ["--url".to_owned(), format!("mqtt://127.0.0.1:{port}")]
            }
            None => ["--listen".to_owned(), format!("127.0.0.1:{port}")],
        };
        let mut flags = address.to_vec();
        flags.extend(files.flags(run));
        flags.extend(["--pid".to_owned(), format!("@{}", files.bridge_id.display())]);
        flags.extend(sampled_flags(stage, sampled)?);
        Ok(flags)
    }

    /// Starts what floods and what is flooded: whoever plays the broker comes first.
    fn raise(
        &self,
        stage: &Stage,
        mosquitto: Option<Mosquitto>,
        command: Vec<String>,
        folder: &Path,
        flags: &[String],
    ) -> Result<Props> {
        let start = || stage.generator(flags, "generator.log");
        let Some(mosquitto) = mosquitto else {
            let mut generator = start();
            stage.stop.wait_for(PROMPT, "the firehose listens", || {
                let listens = generator.log().contains("listening");
                Ok((listens || generator.is_over()?).then_some(()))
            })?;
            let bridge = Bridge::start(command, folder)?;
            return Ok(Props { generator: Some(generator), bridge, cpu_before: None, _mosquitto: None });
        };
        let mut bridge = Bridge::start(command, folder)?;
        stage.wait_for_subscription(&mosquitto, &mut bridge)?;
        let cpu_before = bridge.cpu();
        Ok(Props { generator: Some(start()), bridge, cpu_before, _mosquitto: Some(mosquitto) })
    }

    /// Waits for the generator's end, and breaks and mends meanwhile.
    fn play(&self, stage: &mut Stage, props: &mut Props, topic: &str, limit: Duration) -> Result<()> {
        let mut timetable = Timetable::start(self.case.fault, now());
        let mut generator = props.generator.take().context("a generator")?;
        let stop = stage.stop.clone();
        stop.wait_for(limit, "the end of the run", || {
            if generator.is_over()? {
                return Ok(Some(()));
            }
            // A subscriber may end first, where nothing has come for a while: what it missed is counted.
            let is_over = self.peer.kind == Kind::Subscriber && props.bridge.is_over()?;
            if !is_over {
                props.bridge.check()?;
            }
            perform(timetable.poll(now()), stage, &mut props.bridge, topic)?;
            Ok(None)
        })?;
        let missed = || format!("the run of {} was over before its fault: it needs more messages", self.peer.name);
        perform(timetable.finish().with_context(missed)?, stage, &mut props.bridge, topic)
    }

    /// Waits until the subscriber has ended, because nothing comes any more, and reads what it has counted.
    fn receive(&self, stage: &Stage, props: &mut Props, files: &Files) -> Result<subscribe::Report> {
        stage.stop.wait_for(VERIFY, "the end of the subscriber", || Ok(props.bridge.is_over()?.then_some(())))?;
        Ok(read_json(&files.received, "result of fairlead-loadgen subscribe")?)
    }

    fn verify(&self, stage: &Stage, files: &Files, topic: &str) -> Result<()> {
        let path = |path: &PathBuf| path.display().to_string();
        let text = str::to_owned;
        let mut flags = vec![text("verify"), text("--brokers"), stage.kafka.brokers().to_owned(), text("--topic")];
        flags.extend([topic.to_owned(), text("--idle"), text(IDLE), text("--allow-duplicates"), u64::MAX.to_string()]);
        flags.extend([text("--wrap"), self.peer.wrap.clone(), text("--json")]);
        flags.extend([text("--expect"), path(&files.result), text("--result"), path(&files.verification)]);
        if files.acknowledged.exists() {
            flags.extend([text("--ack-log"), path(&files.acknowledged)]);
        }
        stage.generator(&flags, "verify.log").finish(&stage.stop, VERIFY, "the end of the verification")
    }
}

/// Kafka and what else is sampled besides the bridge.
fn sampled_flags(stage: &Stage, mut others: Vec<String>) -> Result<[String; 2]> {
    others.push(format!("kafka=@{}", stage.note_id("kafka", stage.kafka.id())?.display()));
    Ok(["--sample-pids".to_owned(), others.join(",")])
}

fn perform(deed: Deed, stage: &mut Stage, bridge: &mut Bridge, topic: &str) -> Result<()> {
    match deed {
        Deed::Nothing => {}
        Deed::Break(FaultKind::KillBridge) => bridge.kill(),
        Deed::Mend(FaultKind::KillBridge) => bridge.restart()?,
        Deed::Break(FaultKind::StopKafka) => stage.kafka.stop(),
        Deed::Mend(FaultKind::StopKafka) => {
            stage.kafka.restart();
            stage.note_id("kafka", stage.kafka.id())?;
            // It answers before its partitions do, and the verification may be next.
            stage.begin(topic)?;
        }
    }
    Ok(())
}

/// The lists of topics are long, and say nothing once a run is verified.
fn shorten(result: &mut Value) {
    if let Some(fields) = result.as_object_mut() {
        fields.remove("sent_by_topic");
        let topics = fields.get("topics").and_then(Value::as_array).map_or(0, Vec::len);
        fields.insert("topics".to_owned(), topics.into());
    }
}

/// The files of a run, in the bridge's folder.
struct Files {
    result: PathBuf,
    acknowledged: PathBuf,
    verification: PathBuf,
    received: PathBuf,
    bridge_id: PathBuf,
}

impl Files {
    fn in_folder(folder: &Path) -> Self {
        Self {
            result: folder.join("result.json"),
            acknowledged: folder.join("acknowledged.json"),
            verification: folder.join("verification.json"),
            received: folder.join("received.json"),
            bridge_id: folder.join("bridge.pid"),
        }
    }

    /// What the generator is told of them.
    fn flags(&self, run: u32) -> [String; 6] {
        let path = |path: &Path| path.display().to_string();
        let [run_id, result, acknowledged] = ["--run-id", "--result", "--ack-log"].map(str::to_owned);
        [run_id, run.to_string(), result, path(&self.result), acknowledged, path(&self.acknowledged)]
    }

    /// What the verifier says.
    fn verified(&self) -> Result<Arrival> {
        Ok(Arrival::Kafka(read_json(&self.verification, "report of a verification")?))
    }

    /// What they say of a run that is over.
    fn outcome(&self, arrival: Arrival, bridge_cpu_seconds: Option<f64>, foreign: f64) -> Result<Outcome> {
        let mut result: Value = read_json(&self.result, "result of fairlead-loadgen")?;
        shorten(&mut result);
        Ok(Outcome { result, arrival, bridge_cpu_seconds, foreign })
    }

    /// Those of an earlier run would be taken for this one's.
    fn clear(&self) {
        for path in [&self.result, &self.acknowledged, &self.verification, &self.received, &self.bridge_id] {
            let _ = fs::remove_file(path);
        }
    }
}
