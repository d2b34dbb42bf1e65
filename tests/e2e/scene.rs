//! A bridge between a scripted MQTT broker and an embedded Kafka: the stage of the tests that need no installed server.

use std::time::Duration;

use fairlead_tests::{Config, Connection, EvilBroker, Fairlead, MockKafka, Record, wire};

/// Longest wait for anything that should happen at once; generous, because the machine may be busy.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// The Kafka topic of every scene.
pub(crate) const TOPIC: &str = "ais";

/// The actors. The test plays the broker.
pub(crate) struct Scene {
    pub(crate) bridge: Fairlead,
    pub(crate) broker: EvilBroker,
    pub(crate) kafka: MockKafka,
}

impl Scene {
    /// With further lines of `[[source]]`; the Kafka topic exists.
    pub(crate) fn new(source: &str) -> Scene {
        Scene::with(|config| config.source(source))
    }

    /// With any configuration; the Kafka topic exists.
    pub(crate) fn with(change: impl FnOnce(Config) -> Config) -> Scene {
        let scene = Scene::without_topic(change);
        scene.create_topic();
        scene
    }

    /// With any configuration; the Kafka topic is missing, so every record is held.
    pub(crate) fn without_topic(change: impl FnOnce(Config) -> Config) -> Scene {
        Scene::with_brokers(1, change)
    }

    /// With any configuration, and a program that starts the bridge and becomes it; the Kafka topic exists.
    pub(crate) fn under(wrapper: &[&str], change: impl FnOnce(Config) -> Config) -> Scene {
        let scene = Scene::started(wrapper, 1, change);
        scene.create_topic();
        scene
    }

    /// With any configuration and number of Kafka brokers; the Kafka topic is missing.
    pub(crate) fn with_brokers(brokers: i32, change: impl FnOnce(Config) -> Config) -> Scene {
        Scene::started(&[], brokers, change)
    }

    fn started(wrapper: &[&str], brokers: i32, change: impl FnOnce(Config) -> Config) -> Scene {
        let broker = EvilBroker::start();
        let kafka = MockKafka::start(brokers);
        let mut config = change(Config::new(&broker.url(), kafka.brokers(), TOPIC));
        // Scenes are about the line: what Kafka does shows at the broker.
        if !config.engine.contains("ack = ") {
            config.engine = format!("ack = \"kafka\"\n{}", config.engine);
        }
        Scene { bridge: Fairlead::start_under(wrapper, &config), broker, kafka }
    }

    /// Everything has worked once (one record is in Kafka, packet identifier 1 is free again), and now Kafka is down:
    /// what is published from here on is in flight until [`MockKafka::come_up`].
    #[track_caller]
    pub(crate) fn with_kafka_down(change: impl FnOnce(Config) -> Config) -> (Scene, Connection) {
        let scene = Scene::with(change);
        let session = scene.take_kafka_down();
        (scene, session)
    }

    /// [`Scene::with_kafka_down`] from here on.
    #[track_caller]
    pub(crate) fn take_kafka_down(&self) -> Connection {
        let mut session = self.session();
        session.publish("ais/0", 1, 1, b"first");
        session.expect_id(wire::PUBACK, 1);
        self.records(1);
        self.kafka.go_down();
        session
    }

    pub(crate) fn create_topic(&self) {
        self.kafka.create(TOPIC, 3);
    }

    /// The next connection, with a new session.
    #[track_caller]
    pub(crate) fn session(&self) -> Connection {
        self.broker.accept_session(false, LIMIT)
    }

    /// The next connection, with the session that the broker kept.
    #[track_caller]
    pub(crate) fn resumed(&self) -> Connection {
        self.broker.accept_session(true, LIMIT)
    }

    /// The records of the topic, once there are `count`; there must not be more.
    #[track_caller]
    pub(crate) fn records(&self, count: usize) -> Vec<Record> {
        let records = self.kafka.records(TOPIC, count as u64, LIMIT);
        assert_eq!(records.len(), count, "records in Kafka");
        records
    }

    /// The values of [`Scene::records`] as text, sorted.
    #[track_caller]
    pub(crate) fn values(&self, count: usize) -> Vec<String> {
        let mut values: Vec<String> = self.records(count).iter().map(Record::text).collect();
        values.sort_unstable();
        values
    }
}
