//! A real Apache Kafka: one node in KRaft mode, started from the jars that `tests/run` fetches.

use std::{ops::Deref, path::PathBuf, sync::OnceLock, time::Duration};

use rdkafka::{mocking::MockCluster, producer::DefaultProducerContext};

use crate::{
    kafka_client::KafkaClient, port::free_port, process::Process, proxy::Proxy, scratch::Scratch, wait::wait_until,
};

/// Longest start, restart or stop of the server.
const START: Duration = Duration::from_secs(120);

/// A server and its data.
#[derive(Debug)]
pub struct Kafka {
    // Dropped before the folder, because it shows its log where a test has failed.
    process: Option<Process>,
    client: KafkaClient,
    proxy: Option<Proxy>,
    folder: Scratch,
}

impl Kafka {
    /// A server of one's own, for tests that stop, freeze or reconfigure it.
    ///
    /// # Panics
    ///
    /// When it does not come up.
    #[must_use]
    pub fn start() -> Kafka {
        let mut kafka = Kafka::prepared();
        kafka.restart();
        kafka
    }

    /// A server of one's own with a second listener, whose advertised address is a [`Kafka::proxy`].
    ///
    /// # Panics
    ///
    /// When it does not come up.
    #[must_use]
    pub fn start_behind_proxy() -> Kafka {
        let port = free_port();
        let proxy = Proxy::plain(port);
        let mut kafka = Kafka::formatted(&[("PROXIED", port, proxy.port())]);
        kafka.proxy = Some(proxy);
        kafka.restart();
        kafka
    }

    /// A server that is configured but not started: its address refuses connections.
    ///
    /// # Panics
    ///
    /// When the storage cannot be formatted.
    #[must_use]
    pub fn prepared() -> Kafka {
        Kafka::formatted(&[])
    }

    /// `more`: further listeners by name, with the port that each listens on and the one that it names to clients.
    fn formatted(more: &[(&str, u16, u16)]) -> Kafka {
        let (port, controller) = (free_port(), free_port());
        let client = KafkaClient::new(format!("127.0.0.1:{port}"));
        let kafka = Kafka { folder: Scratch::new("kafka"), client, proxy: None, process: None };
        let listener = |name: &str, port: u16| format!("{name}://127.0.0.1:{port}");
        let (mut listeners, mut map) = (vec![listener("PLAINTEXT", port)], "PLAINTEXT:PLAINTEXT".to_owned());
        let mut advertised = listeners.clone();
        for (name, port, named) in more {
            listeners.push(listener(name, *port));
            advertised.push(listener(name, *named));
            map += &format!(",{name}:PLAINTEXT");
        }
        listeners.push(listener("CONTROLLER", controller));
        let properties = format!(
            "process.roles=broker,controller\n\
             node.id=1\n\
             controller.quorum.voters=1@127.0.0.1:{controller}\n\
             controller.listener.names=CONTROLLER\n\
             listeners={}\n\
             advertised.listeners={}\n\
             listener.security.protocol.map={map},CONTROLLER:PLAINTEXT\n\
             inter.broker.listener.name=PLAINTEXT\n\
             log.dirs={}\n\
             log.segment.delete.delay.ms=1000\n\
             auto.create.topics.enable=false\n\
             offsets.topic.replication.factor=1\n\
             transaction.state.log.replication.factor=1\n\
             transaction.state.log.min.isr=1\n\
             num.io.threads=2\n\
             num.network.threads=2\n\
             log.cleaner.enable=false\n\
             broker.heartbeat.interval.ms=500\n\
             broker.session.timeout.ms=3000\n",
            listeners.join(","),
            advertised.join(","),
            kafka.folder.path().join("data").display()
        );
        let properties = kafka.folder.write("server.properties", &properties);
        let mut format = java("128m", "kafka.tools.StorageTool");
        format.args(["format", "-t", "fairleadTestsCluster00", "-c"]).arg(properties);
        let mut format = Process::spawn("StorageTool", format, &kafka.log());
        assert_eq!(format.wait(START), 0, "Kafka's storage is formatted");
        kafka
    }

    /// The proxy of [`Kafka::start_behind_proxy`]: who bootstraps from it talks to Kafka through it alone.
    ///
    /// # Panics
    ///
    /// When the server was started without one.
    #[must_use]
    pub fn proxy(&self) -> &Proxy {
        self.proxy.as_ref().expect("Kafka was started behind a proxy")
    }

    /// The server that tests share, each with topics of its own. It lives as long as the test process.
    #[must_use]
    pub fn shared() -> &'static Kafka {
        static SHARED: OnceLock<Kafka> = OnceLock::new();
        SHARED.get_or_init(Kafka::start)
    }

    /// Starts it, or starts it again on the same port and data, and waits until it answers.
    ///
    /// # Panics
    ///
    /// When it runs already or does not come up.
    pub fn restart(&mut self) {
        assert!(self.process.is_none(), "Kafka runs already");
        let mut server = java("512m", "kafka.Kafka");
        server.arg(self.folder.path().join("server.properties"));
        let mut process = Process::spawn("Kafka", server, &self.log());
        wait_until(START, "Kafka answers", || {
            assert!(process.ended().is_none(), "Kafka has ended");
            self.client.answers()
        });
        self.process = Some(process);
    }

    /// Ends it in good order (SIGTERM).
    ///
    /// # Panics
    ///
    /// When it does not run or does not end.
    pub fn stop(&mut self) {
        let mut process = self.process.take().expect("Kafka runs");
        process.terminate();
        process.wait(START);
    }

    /// Ends it with SIGKILL.
    ///
    /// # Panics
    ///
    /// When it does not run.
    pub fn kill(&mut self) {
        self.process.take().expect("Kafka runs").kill();
    }

    /// SIGSTOP: connections stay open and nothing is answered.
    ///
    /// # Panics
    ///
    /// When it does not run.
    pub fn freeze(&self) {
        self.process.as_ref().expect("Kafka runs").freeze();
    }

    /// SIGCONT.
    ///
    /// # Panics
    ///
    /// When it does not run.
    pub fn thaw(&self) {
        self.process.as_ref().expect("Kafka runs").thaw();
    }

    /// The server's process identifier.
    ///
    /// # Panics
    ///
    /// When it does not run.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.as_ref().expect("Kafka runs").id()
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

impl Deref for Kafka {
    type Target = KafkaClient;

    fn deref(&self) -> &KafkaClient {
        &self.client
    }
}

/// Kafka's protocol without a server: librdkafka's mock cluster, for tests whose subject is the MQTT side. It keeps at
/// most 5 MB a partition.
pub struct MockKafka {
    cluster: MockCluster<'static, DefaultProducerContext>,
    client: KafkaClient,
}

impl MockKafka {
    /// A cluster without topics.
    ///
    /// # Panics
    ///
    /// When no port is free.
    #[must_use]
    pub fn start(brokers: i32) -> MockKafka {
        let cluster = MockCluster::new(brokers).expect("a mock cluster");
        let client = KafkaClient::new(cluster.bootstrap_servers());
        MockKafka { cluster, client }
    }

    /// Creates a topic.
    ///
    /// # Panics
    ///
    /// When the cluster refuses.
    pub fn create(&self, topic: &str, partitions: i32) {
        self.cluster.create_topic(topic, partitions, 1).expect("a topic of the mock cluster");
    }

    /// Makes a broker the leader of a partition.
    ///
    /// # Panics
    ///
    /// When the cluster refuses.
    pub fn lead(&self, topic: &str, partition: i32, broker: i32) {
        self.cluster.partition_leader(topic, partition, Some(broker)).expect("the mock cluster changes the leader");
    }

    /// One broker closes its connections and takes no new ones, or takes them again.
    ///
    /// # Panics
    ///
    /// When the cluster refuses.
    pub fn set_broker(&self, broker: i32, up: bool) {
        let cluster = &self.cluster;
        let done = if up { cluster.broker_up(broker) } else { cluster.broker_down(broker) };
        done.expect("the mock broker follows");
    }

    /// The first broker goes down.
    ///
    /// # Panics
    ///
    /// When the cluster refuses.
    pub fn go_down(&self) {
        self.set_broker(1, false);
    }

    /// The first broker comes up.
    ///
    /// # Panics
    ///
    /// When the cluster refuses.
    pub fn come_up(&self) {
        self.set_broker(1, true);
    }
}

impl Deref for MockKafka {
    type Target = KafkaClient;

    fn deref(&self) -> &KafkaClient {
        &self.client
    }
}
