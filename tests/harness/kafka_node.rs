//! One process of a real Apache Kafka in KRaft mode, started from the jars that `tests/run` fetches, and its data.

use std::{path::PathBuf, time::Duration};

use crate::{process::Process, scratch::Scratch};

/// Longest start, restart or stop.
pub(crate) const START: Duration = Duration::from_secs(120);

/// A process with its data. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct KafkaNode {
    // Dropped before the folder, because it shows its log where a test has failed.
    process: Option<Process>,
    heap: &'static str,
    folder: Scratch,
}

impl KafkaNode {
    /// A node that is configured but not started. `FOLDER` in `properties` is its folder; of a property that is there twice
    /// the later one counts.
    ///
    /// # Panics
    ///
    /// When the storage cannot be formatted.
    pub(crate) fn formatted(heap: &'static str, properties: &str) -> KafkaNode {
        let node = KafkaNode { folder: Scratch::new("kafka"), heap, process: None };
        let folder = node.folder.path().display().to_string();
        // One machine, many brokers: what every one of them has.
        let common = format!(
            "log.dirs={folder}/data\n\
             log.segment.delete.delay.ms=1000\n\
             auto.create.topics.enable=false\n\
             offsets.topic.replication.factor=1\n\
             transaction.state.log.replication.factor=1\n\
             transaction.state.log.min.isr=1\n\
             num.io.threads=2\n\
             num.network.threads=2\n\
             log.cleaner.enable=false\n\
             broker.heartbeat.interval.ms=500\n\
             broker.session.timeout.ms=3000\n"
        );
        let properties =
            node.folder.write("server.properties", &format!("{common}{}", properties.replace("FOLDER", &folder)));
        let mut format = java("128m", "kafka.tools.StorageTool");
        format.args(["format", "-t", "fairleadTestsCluster00", "-c"]).arg(properties);
        let mut format = Process::spawn("StorageTool", format, &node.log());
        assert_eq!(format.wait(START), 0, "Kafka's storage is formatted");
        node
    }

    /// Starts it, or starts it again on the same ports and data. It does not answer yet.
    ///
    /// # Panics
    ///
    /// When it runs already.
    pub(crate) fn start(&mut self) {
        assert!(self.process.is_none(), "Kafka runs already");
        let mut server = java(self.heap, "kafka.Kafka");
        server.arg(self.folder.path().join("server.properties"));
        self.process = Some(Process::spawn("Kafka", server, &self.log()));
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.process.as_mut().is_none_or(|process| process.ended().is_some())
    }

    /// Takes leave of a process that has ended, or is to.
    ///
    /// # Panics
    ///
    /// When it does not run.
    pub(crate) fn take(&mut self) -> Process {
        self.process.take().expect("Kafka runs")
    }

    /// The process.
    ///
    /// # Panics
    ///
    /// When it does not run.
    pub(crate) fn process(&self) -> &Process {
        self.process.as_ref().expect("Kafka runs")
    }

    /// Ends it in good order (SIGTERM).
    ///
    /// # Panics
    ///
    /// When it does not run or does not end.
    pub(crate) fn stop(&mut self) {
        let mut process = self.take();
        process.terminate();
        process.wait(START);
    }

    /// Its folder.
    pub(crate) fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("kafka.log")
    }
}

/// A Java program on Kafka's class path, with at most `heap` of memory.
fn java(heap: &str, class: &str) -> std::process::Command {
    let servers = concat!(env!("CARGO_MANIFEST_DIR"), "/.servers/kafka");
    assert!(PathBuf::from(servers).is_dir(), "Kafka's jars are not in {servers}: run tests/run, which fetches them");
    let mut command = Process::command("java");
    command.arg(format!("-Xmx{heap}"));
    command.arg(concat!("-Dlog4j.configuration=file:", env!("CARGO_MANIFEST_DIR"), "/servers/log4j.properties"));
    command.args(["-cp", &format!("{servers}/*"), class]);
    command
}
