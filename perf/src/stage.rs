//! Where runs take place: one Kafka for all, a folder, and the programs.

use crate::bridge::Bridge;
use crate::generator::{Generator, PROMPT};
use crate::wait::Stop;
use anyhow::{Context, Result, ensure};
use fairlead_tests::{Kafka, Mosquitto, Scratch};
use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What mosquitto is told beside the harness' own settings. Its limit of 20 messages in flight to a client of MQTT 3.1.1
/// would decide what such a bridge reaches; sessions are not written to the disk while a run lasts.
const MOSQUITTO: &str = "allow_anonymous true\n\
    autosave_interval 1800\n\
    max_inflight_messages 1000\n\
    log_type error\n\
    log_type warning\n\
    log_type notice\n\
    log_type subscribe\n";

/// Messages with which each Kafka topic is begun, so that no run waits for that.
const PRIME: u64 = 1_000;

/// The run id of what is no run.
const NO_RUN: u32 = 1;

/// One Kafka and what every run shares.
pub(crate) struct Stage {
    pub(crate) kafka: Kafka,
    pub(crate) stop: Stop,
    /// The folder of the release binaries.
    pub(crate) bin: PathBuf,
    folder: Scratch,
    runs: u32,
}

impl Stage {
    pub(crate) fn start(stop: Stop) -> Result<Self> {
        let program = env::current_exe().context("where is this program?")?;
        let bin = program.parent().unwrap_or(Path::new(".")).to_path_buf();
        for name in ["fairlead", "fairlead-loadgen"] {
            ensure!(bin.join(name).exists(), "{} does not exist: perf/run builds it", bin.join(name).display());
        }
        let jars = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/.servers/kafka");
        ensure!(Path::new(jars).is_dir(), "Kafka's jars are missing ({jars}): run tests/run once, which fetches them");
        installed("java", "-version", "default-jre-headless")?;
        installed("setpriv", "--version", "util-linux")?;
        let folder = Scratch::new("perf");
        Ok(Self { kafka: Kafka::start(), stop, bin, folder, runs: NO_RUN })
    }

    /// A number that no other run has.
    pub(crate) fn next_run(&mut self) -> u32 {
        self.runs += 1;
        self.runs
    }

    /// The folder of a bridge. Its runs share it, so that what it keeps from run to run is made once.
    pub(crate) fn folder_of(&self, bridge: &str) -> Result<PathBuf> {
        let name: String = bridge.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        let folder = self.folder.path().join(name);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(folder)
    }

    /// Creates a Kafka topic and begins it.
    pub(crate) fn create(&self, topic: &str, partitions: i32) -> Result<()> {
        self.kafka.create_topic(topic, partitions, &[]);
        self.begin(topic)
    }

    /// A few messages to every partition: once they are there, each has a leader that works.
    pub(crate) fn begin(&self, topic: &str) -> Result<()> {
        self.produce(topic, PRIME)
    }

    /// Straight into Kafka, which compiles itself meanwhile.
    pub(crate) fn warm_up(&self, messages: u64) -> Result<()> {
        const TOPIC: &str = "warm-up";
        self.kafka.create_topic(TOPIC, 9, &[]);
        self.produce(TOPIC, messages)?;
        self.kafka.delete_topic(TOPIC);
        Ok(())
    }

    fn produce(&self, topic: &str, messages: u64) -> Result<()> {
        let (run, messages) = (NO_RUN.to_string(), messages.to_string());
        let flags = ["kafka", "--brokers", self.kafka.brokers(), "--topic", topic, "--size", "100"];
        let flags = [&flags[..], &["--messages", &messages, "--run-id", &run]].concat();
        self.generator(&flags, "produce.log").finish(&self.stop, PROMPT, "messages straight into Kafka")
    }

    pub(crate) fn generator<S: AsRef<OsStr>>(&self, flags: &[S], log: &str) -> Generator {
        let log = self.folder.path().join(log);
        // The log of an earlier run would be taken for this one's.
        let _ = fs::remove_file(&log);
        Generator::start(&self.bin.join("fairlead-loadgen"), flags, &log)
    }

    /// A fresh broker, so that no session of another bridge is left in it.
    pub(crate) fn mosquitto() -> Result<Mosquitto> {
        let path = Path::new("/usr/sbin/mosquitto");
        if !path.exists() {
            installed("mosquitto", "-h", "mosquitto")?;
        }
        Ok(Mosquitto::start_with(MOSQUITTO))
    }

    /// Writes a process id where the generator reads it.
    pub(crate) fn note_id(&self, name: &str, id: u32) -> Result<PathBuf> {
        let path = self.folder.path().join(format!("{name}.pid"));
        fs::write(&path, id.to_string()).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// Waits until mosquitto has logged a subscription to everything.
    pub(crate) fn wait_for_subscription(&self, mosquitto: &Mosquitto, bridge: &mut Bridge) -> Result<()> {
        self.stop.wait_for(PROMPT, "the bridge subscribes", || {
            bridge.check()?;
            Ok(mosquitto.log().lines().any(|line| line.ends_with(" #")).then_some(()))
        })
    }
}

/// Fails with what to install where a program cannot be started.
fn installed(program: &str, flag: &str, package: &str) -> Result<()> {
    let started =
        Command::new(program).arg(flag).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    started.with_context(|| format!("{program} is missing: apt-get install {package}"))?;
    Ok(())
}
