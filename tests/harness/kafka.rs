//! A real Apache Kafka of one node, and librdkafka's embedded one.

use std::{ops::Deref, path::PathBuf, sync::OnceLock, time::Duration};

use rdkafka::{mocking::MockCluster, producer::DefaultProducerContext};

use crate::{
    kafka_client::KafkaClient,
    kafka_node::{KafkaNode, START},
    port::free_port,
    proxy::Proxy,
    wait::wait_until,
};

/// A server and its data.
#[derive(Debug)]
pub struct Kafka {
    node: KafkaNode,
    client: KafkaClient,
    proxy: Option<Proxy>,
}

impl Kafka {
    /// A server of one's own, for tests that stop, freeze or reconfigure it.
    ///
    /// # Panics
    ///
    /// When it does not come up.
    #[must_use]
    pub fn start() -> Kafka {
        Kafka::start_with("")
    }

    /// A server of one's own with further lines of `server.properties`, which count over the usual ones.
    ///
    /// # Panics
    ///
    /// When it does not come up.
    #[must_use]
    pub fn start_with(lines: &str) -> Kafka {
        let mut kafka = Kafka::formatted(&[], lines);
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
        let mut kafka = Kafka::formatted(&[("PROXIED", port, proxy.port())], "");
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
        Kafka::formatted(&[], "")
    }

    /// `more`: further listeners by name, with the port that each listens on and the one that it names to clients.
    fn formatted(more: &[(&str, u16, u16)], lines: &str) -> Kafka {
        let (port, controller) = (free_port(), free_port());
        let client = KafkaClient::new(format!("127.0.0.1:{port}"));
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
             {lines}",
            listeners.join(","),
            advertised.join(","),
        );
        Kafka { node: KafkaNode::formatted("512m", &properties), client, proxy: None }
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
        self.node.start();
        wait_until(START, "Kafka answers", || {
            assert!(!self.node.has_ended(), "Kafka has ended");
            self.client.answers()
        });
    }

    /// Ends it in good order (SIGTERM).
    ///
    /// # Panics
    ///
    /// When it does not run or does not end.
    pub fn stop(&mut self) {
        self.node.stop();
    }

    /// Ends it with SIGKILL.
    ///
    /// # Panics
    ///
    /// When it does not run.
    pub fn kill(&mut self) {
        self.node.take().kill();
    }

    /// Waits until it has ended by itself; it may be restarted then.
    ///
    /// # Panics
    ///
    /// When it has not within `limit`.
    #[track_caller]
    pub fn wait_ended(&mut self, limit: Duration) {
        wait_until(limit, "Kafka has ended by itself", || self.node.has_ended());
        self.node.take();
    }

    /// SIGSTOP: connections stay open and nothing is answered.
    ///
    /// # Panics
    ///
    /// When it does not run.
    pub fn freeze(&self) {
        self.node.process().freeze();
    }

    /// SIGCONT.
    ///
    /// # Panics
    ///
    /// When it does not run.
    pub fn thaw(&self) {
        self.node.process().thaw();
    }

    /// The server's process identifier.
    ///
    /// # Panics
    ///
    /// When it does not run.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.node.process().id()
    }

    /// Where it keeps its data, unless it was told otherwise.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.node.folder().join("data")
    }
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
