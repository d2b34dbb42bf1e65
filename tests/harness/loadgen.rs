//! The load generator and verifier, as the binary that users run.

use std::{path::PathBuf, time::Duration};

use serde_json::Value;

use crate::{fairlead::binary, kafka_client::KafkaClient, port::free_port, process::Process, scratch::Scratch};

/// Longest verification.
const VERIFY: Duration = Duration::from_secs(120);

/// A run of `fairlead-loadgen`. Dropping it kills it.
#[derive(Debug)]
pub struct Loadgen {
    folder: Scratch,
    process: Process,
    url: String,
}

impl Loadgen {
    /// `firehose`: plays the MQTT broker and floods whoever subscribes to `ais/#`. It keeps a log of what was
    /// acknowledged.
    ///
    /// # Panics
    ///
    /// When there is no binary.
    #[must_use]
    pub fn firehose(args: &[&str]) -> Loadgen {
        let address = format!("127.0.0.1:{}", free_port());
        let folder = Scratch::new("firehose");
        let acks = folder.path().join("acks.json").display().to_string();
        let fixed = ["firehose", "--listen", &address, "--topic-pattern", "ais/{n}", "--ack-log", &acks];
        Loadgen::start(folder, format!("mqtt://{address}"), &[&fixed, args].concat())
    }

    /// `publish`: AIS messages to the MQTT broker at `url`.
    ///
    /// # Panics
    ///
    /// When there is no binary.
    #[must_use]
    pub fn publish(url: &str, args: &[&str]) -> Loadgen {
        let fixed = ["publish", "--url", url];
        Loadgen::start(Scratch::new("publish"), url.to_owned(), &[&fixed, args].concat())
    }

    /// The address that the firehose listens on.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Waits for its end, which must be a success, and returns the result.
    ///
    /// # Panics
    ///
    /// When it fails or does not end within `limit`.
    #[track_caller]
    pub fn succeed(&mut self, limit: Duration) -> Value {
        let code = self.process.wait(limit);
        assert_eq!(code, 0, "fairlead-loadgen:\n{}", self.process.log());
        self.result()
    }

    /// Ends it before it is through (SIGTERM), and returns the result so far.
    ///
    /// # Panics
    ///
    /// When it does not end within `limit`.
    #[track_caller]
    pub fn stop(&mut self, limit: Duration) -> Value {
        self.process.terminate();
        self.process.wait(limit);
        self.result()
    }

    /// `verify`: holds the records of a Kafka topic against what this run sent and, for a firehose, what was
    /// acknowledged. Returns the verdict.
    ///
    /// # Panics
    ///
    /// When the verifier finds a fault, or cannot work.
    #[track_caller]
    pub fn verify(&self, kafka: &KafkaClient, topic: &str) -> Value {
        let acks = self.path("acks.json");
        let (expect, result) = (self.text("result.json"), self.text("verdict.json"));
        let mut args = vec!["verify", "--brokers", kafka.brokers(), "--topics", topic, "--expect", &expect];
        let log = acks.display().to_string();
        if acks.exists() {
            args.extend(["--ack-log", &log]);
        }
        args.extend(["--result", &result]);
        let mut process = spawn(&args, &self.path("verify.log"));
        let code = process.wait(VERIFY);
        assert_eq!(code, 0, "fairlead-loadgen verify:\n{}", process.log());
        read_json(&self.path("verdict.json"))
    }

    fn start(folder: Scratch, url: String, args: &[&str]) -> Loadgen {
        let result = folder.path().join("result.json").display().to_string();
        let process = spawn(&[args, &["--result", &result]].concat(), &folder.path().join("log"));
        Loadgen { folder, process, url }
    }

    #[track_caller]
    fn result(&self) -> Value {
        read_json(&self.path("result.json"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }
}

fn spawn(args: &[&str], log: &std::path::Path) -> Process {
    let mut command = Process::command(binary("FAIRLEAD_LOADGEN_BIN", "fairlead-loadgen"));
    command.args(args).env("NO_COLOR", "1");
    Process::spawn("fairlead-loadgen", command, log)
}

#[track_caller]
fn read_json(path: &std::path::Path) -> Value {
    let text = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_slice(&text).expect("JSON")
}

/// The folder of the recorded AIS sentences beside the workspace; `None` in a plain clone.
#[must_use]
pub fn recorded_ais() -> Option<PathBuf> {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/ais"));
    folder.is_dir().then_some(folder)
}
