//! The load generator and verifier, as the binary that users run.

use std::{path::PathBuf, time::Duration};

use fairlead_loadgen::{
    ledger::{AckLog, Expectation},
    output::read_json,
};
use serde_json::Value;

use crate::{fairlead::binary, kafka_client::KafkaClient, port::free_port, process::Process, scratch::Scratch};

/// Longest verification.
const VERIFY: Duration = Duration::from_secs(120);

/// A run of `fairlead-loadgen`. Dropping it kills it.
#[derive(Debug)]
pub struct Loadgen {
    // Dropped before the folder, because it shows its log where a test has failed.
    process: Process,
    url: String,
    folder: Scratch,
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
        let fixed = ["firehose", "--listen", &address, "--topic-pattern", "ais/{n}"];
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

    /// Another command that writes a result and a log of acknowledgements.
    ///
    /// # Panics
    ///
    /// When there is no binary.
    #[must_use]
    pub fn run(command: &str, args: &[&str]) -> Loadgen {
        Loadgen::start(Scratch::new(command), String::new(), &[&[command], args].concat())
    }

    /// A command that is told of no files but those in `args`.
    ///
    /// # Panics
    ///
    /// When there is no binary.
    #[must_use]
    pub fn bare(command: &str, args: &[&str]) -> Loadgen {
        let folder = Scratch::new(command);
        let process = spawn(&[&[command], args].concat(), &folder.path().join("log"));
        Loadgen { folder, process, url: String::new() }
    }

    /// What it has written so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
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

    /// What it sent, once it has ended.
    ///
    /// # Panics
    ///
    /// When there is no result.
    #[must_use]
    pub fn sent(&self) -> Expectation {
        read_json(&self.path("result.json"), "result of fairlead-loadgen").expect("a result")
    }

    /// What was acknowledged to it, once it has ended.
    ///
    /// # Panics
    ///
    /// When there is no log of acknowledgements.
    #[must_use]
    pub fn acknowledged(&self) -> AckLog {
        AckLog::load(&self.path("acks.json")).expect("a log of acknowledgements")
    }

    /// `verify`: everything that this run sent is in a Kafka topic as it was sent, keyed by its MQTT topic, in order for
    /// each MQTT topic on first occurrence, and with at most so many duplicates. Returns the report.
    ///
    /// # Panics
    ///
    /// When the verifier finds a fault, or cannot work.
    #[track_caller]
    pub fn verify(&self, kafka: &KafkaClient, topic: &str, duplicates: u64) -> Value {
        let (code, report) = self.judge(kafka, topic, duplicates);
        assert_eq!(code, 0, "the verdict of fairlead-loadgen: {report:#}");
        report
    }

    /// [`Loadgen::verify`] for a run that was stopped before everything was acknowledged: what was sent may be missing,
    /// what was acknowledged may not. Duplicates are not judged.
    ///
    /// # Panics
    ///
    /// When the verifier finds a fault, or cannot work.
    #[track_caller]
    pub fn verify_acknowledged(&self, kafka: &KafkaClient, topic: &str) -> Value {
        const SENT_IS_MISSING: i32 = 4;
        let (code, report) = self.judge(kafka, topic, u64::MAX);
        assert!(code == 0 || code == SENT_IS_MISSING, "the verdict of fairlead-loadgen ({code}): {report:#}");
        assert!(report["acknowledged"].as_u64() > Some(0), "nothing was acknowledged: {report:#}");
        for fault in ["acknowledged_lost", "out_of_order", "corrupt", "phantoms", "bad_keys", "keys_moved"] {
            assert_eq!(report[fault], 0, "{fault}: {report:#}");
        }
        report
    }

    /// Exit code and report of `verify`.
    #[track_caller]
    fn judge(&self, kafka: &KafkaClient, topic: &str, duplicates: u64) -> (i32, Value) {
        let file = |name| self.path(name).display().to_string();
        let (expect, acks, report) = (file("result.json"), file("acks.json"), file("report.json"));
        let duplicates = duplicates.to_string();
        let fixed = ["verify", "--brokers", kafka.brokers(), "--topic", topic, "--key", "topic"];
        let files = ["--expect", &expect, "--ack-log", &acks, "--result", &report];
        let args = [&fixed[..], &files, &["--allow-duplicates", &duplicates]].concat();
        let mut process = spawn(&args, &self.path("verify.log"));
        let code = process.wait(VERIFY);
        assert!(self.path("report.json").exists(), "fairlead-loadgen verify:\n{}", process.log());
        (code, read_json(&self.path("report.json"), "report of a verification").expect("a report"))
    }

    fn start(folder: Scratch, url: String, args: &[&str]) -> Loadgen {
        let file = |name| folder.path().join(name).display().to_string();
        let (result, acks) = (file("result.json"), file("acks.json"));
        let files = ["--result", &result, "--ack-log", &acks];
        let process = spawn(&[args, &files].concat(), &folder.path().join("log"));
        Loadgen { folder, process, url }
    }

    #[track_caller]
    fn result(&self) -> Value {
        read_json(&self.path("result.json"), "result of fairlead-loadgen").expect("a result")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn spawn(args: &[&str], log: &std::path::Path) -> Process {
    let mut command = Process::command(binary("FAIRLEAD_LOADGEN_BIN", "fairlead-loadgen"));
    command.args(args).env("NO_COLOR", "1");
    Process::spawn("fairlead-loadgen", command, log)
}

/// The files of recorded AIS sentences, in `FAIRLEAD_AIS_DIR` or beside the workspace; `None` in a plain clone.
#[must_use]
pub fn recorded_ais() -> Option<Vec<String>> {
    let beside = || concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/ais").into();
    let folder: PathBuf = std::env::var_os("FAIRLEAD_AIS_DIR").map_or_else(beside, PathBuf::from);
    let files = ["stream.nmea", "harbour.nmea"].map(|name| folder.join(name));
    files.iter().all(|file| file.exists()).then(|| files.map(|file| file.display().to_string()).into())
}
