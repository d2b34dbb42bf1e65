//! A real Apache Kafka: one node in KRaft mode, started from the jars that `tests/run` fetches.

use std::{path::PathBuf, sync::OnceLock, time::Duration};

use futures_lite::future::block_on;
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    admin::{
        AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication,
    },
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
    message::Headers,
};

use crate::{
    port::free_port,
    process::Process,
    scratch::Scratch,
    wait::{now, wait_for, wait_until},
};

/// Longest start, restart or stop of the server.
const START: Duration = Duration::from_secs(60);
/// Longest answer to one request.
const REQUEST: Duration = Duration::from_secs(15);

/// A server and its data.
#[derive(Debug)]
pub struct Kafka {
    folder: Scratch,
    port: u16,
    process: Option<Process>,
}

/// A record as a consumer reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Partition.
    pub partition: i32,
    /// Offset in the partition.
    pub offset: i64,
    /// Key, if any.
    pub key: Option<Vec<u8>>,
    /// Value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Timestamp, milliseconds since 1970.
    pub timestamp: Option<i64>,
    /// Headers, in order.
    pub headers: Vec<(String, Vec<u8>)>,
}

impl Record {
    /// The value as text; empty where there is none.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.value.as_deref().unwrap_or_default()).into_owned()
    }

    /// The key as text; empty where there is none.
    #[must_use]
    pub fn key_text(&self) -> String {
        String::from_utf8_lossy(self.key.as_deref().unwrap_or_default()).into_owned()
    }
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

    /// A server that is configured but not started: its address refuses connections.
    ///
    /// # Panics
    ///
    /// When the storage cannot be formatted.
    #[must_use]
    pub fn prepared() -> Kafka {
        let kafka = Kafka {
            folder: Scratch::new("kafka"),
            port: free_port(),
            process: None,
        };
        let controller = free_port();
        let (port, data) = (kafka.port, kafka.folder.path().join("data"));
        let properties = format!(
            "process.roles=broker,controller\n\
             node.id=1\n\
             controller.quorum.voters=1@127.0.0.1:{controller}\n\
             controller.listener.names=CONTROLLER\n\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
             log.dirs={}\n\
             auto.create.topics.enable=false\n\
             offsets.topic.replication.factor=1\n\
             transaction.state.log.replication.factor=1\n\
             transaction.state.log.min.isr=1\n\
             num.io.threads=2\n\
             num.network.threads=2\n\
             log.cleaner.enable=false\n\
             broker.heartbeat.interval.ms=200\n\
             broker.session.timeout.ms=1000\n",
            data.display()
        );
        let properties = kafka.folder.write("server.properties", &properties);
        let mut format = java("128m", "kafka.tools.StorageTool");
        format
            .args(["format", "-t", "fairleadTestsCluster00", "-c"])
            .arg(properties);
        let mut format = Process::spawn("StorageTool", format, &kafka.log());
        assert_eq!(format.wait(START), 0, "Kafka's storage is formatted");
        kafka
    }

    /// The server that tests share, each with topics of its own. It lives as long as the test process.
    #[must_use]
    pub fn shared() -> &'static Kafka {
        static SHARED: OnceLock<Kafka> = OnceLock::new();
        SHARED.get_or_init(Kafka::start)
    }

    /// `bootstrap.servers`.
    #[must_use]
    pub fn brokers(&self) -> String {
        format!("127.0.0.1:{}", self.port)
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
        let probe = self.consumer();
        wait_until(START, "Kafka answers a metadata request", || {
            assert!(process.ended().is_none(), "Kafka has ended");
            probe
                .fetch_metadata(None, Duration::from_secs(1))
                .is_ok_and(|m| !m.brokers().is_empty())
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

    /// Creates a topic, with topic properties, and waits until every partition has a leader.
    ///
    /// # Panics
    ///
    /// When Kafka refuses.
    pub fn create_topic(&self, name: &str, partitions: i32, properties: &[(&str, &str)]) {
        let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        for (key, value) in properties {
            topic = topic.set(key, value);
        }
        let answer =
            block_on(self.admin().create_topics([&topic], &options())).expect("create a topic");
        assert!(
            answer.iter().all(Result::is_ok),
            "topic {name} is created: {answer:?}"
        );
        let probe = self.consumer();
        wait_until(REQUEST, "the topic has leaders", || {
            self.partitions_with(&probe, name) == Some(partitions)
        });
    }

    /// Changes one property of a topic.
    ///
    /// # Panics
    ///
    /// When Kafka refuses.
    pub fn alter_topic(&self, name: &str, key: &str, value: &str) {
        let change = AlterConfig::new(ResourceSpecifier::Topic(name)).set(key, value);
        let answer =
            block_on(self.admin().alter_configs([&change], &options())).expect("alter a topic");
        assert!(
            answer.iter().all(Result::is_ok),
            "topic {name} is altered: {answer:?}"
        );
    }

    /// Partitions of a topic that have a leader; `None` where there is no such topic.
    #[must_use]
    pub fn partitions(&self, name: &str) -> Option<i32> {
        self.partitions_with(&self.consumer(), name)
    }

    /// Records of a topic by partition: the offsets behind the last.
    ///
    /// # Panics
    ///
    /// When Kafka does not answer or has no such topic.
    #[must_use]
    pub fn end_offsets(&self, topic: &str) -> Vec<i64> {
        let consumer = self.consumer();
        wait_for(REQUEST, &format!("end offsets of {topic}"), || {
            self.try_end_offsets(&consumer, topic)
        })
    }

    /// How many records a topic holds.
    #[must_use]
    pub fn count(&self, topic: &str) -> u64 {
        self.end_offsets(topic).iter().sum::<i64>().cast_unsigned()
    }

    /// Waits until a topic holds at least `count` records, then reads them all.
    ///
    /// # Panics
    ///
    /// When there are fewer after `limit`.
    #[track_caller]
    #[must_use]
    pub fn records(&self, topic: &str, count: u64, limit: Duration) -> Vec<Record> {
        let consumer = self.consumer();
        let mut have = 0;
        let end = now() + limit;
        let ends = wait_for(limit + REQUEST, "records in Kafka", || {
            let ends = self.try_end_offsets(&consumer, topic);
            have = ends.iter().flatten().sum::<i64>().cast_unsigned();
            assert!(
                have >= count || now() < end,
                "{have} of {count} records in {topic} after {limit:?}"
            );
            ends.filter(|_| have >= count)
        });
        read(&consumer, topic, &ends)
    }

    /// Reads every record that a topic holds now, by partition and offset.
    #[must_use]
    pub fn consume(&self, topic: &str) -> Vec<Record> {
        self.records(topic, 0, REQUEST)
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("kafka.log")
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", self.brokers())
            .set("group.id", "fairlead-tests");
        // A restarted server is found again at once; the attempts meanwhile are no news.
        config
            .set("reconnect.backoff.max.ms", "200")
            .set("log_level", "0");
        config
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.client().create().expect("an admin client")
    }

    fn consumer(&self) -> BaseConsumer {
        let mut config = self.client();
        config
            .set("enable.partition.eof", "true")
            .set("enable.auto.commit", "false");
        config.create().expect("a consumer")
    }

    fn partitions_with(&self, consumer: &BaseConsumer, name: &str) -> Option<i32> {
        let metadata = consumer.fetch_metadata(Some(name), REQUEST).ok()?;
        let topic = metadata.topics().first().filter(|t| t.error().is_none())?;
        i32::try_from(
            topic
                .partitions()
                .iter()
                .filter(|p| p.leader() >= 0)
                .count(),
        )
        .ok()
    }

    /// The end offsets; `None` while Kafka cannot say (a partition without a leader, just after a restart).
    fn try_end_offsets(&self, consumer: &BaseConsumer, topic: &str) -> Option<Vec<i64>> {
        let end = |partition| Some(consumer.fetch_watermarks(topic, partition, REQUEST).ok()?.1);
        (0..self.partitions_with(consumer, topic)?)
            .map(end)
            .collect()
    }
}

/// A Java program on Kafka's class path, with at most `heap` of memory.
fn java(heap: &str, class: &str) -> std::process::Command {
    let servers = concat!(env!("CARGO_MANIFEST_DIR"), "/.servers/kafka");
    assert!(
        PathBuf::from(servers).is_dir(),
        "Kafka's jars are not in {servers}: run tests/run, which fetches them"
    );
    let mut command = Process::command("java");
    command.arg(format!("-Xmx{heap}"));
    command.arg(concat!(
        "-Dlog4j.configuration=file:",
        env!("CARGO_MANIFEST_DIR"),
        "/servers/log4j.properties"
    ));
    command.args(["-cp", &format!("{servers}/*"), class]);
    command
}

fn options() -> AdminOptions {
    AdminOptions::new()
        .operation_timeout(Some(REQUEST))
        .request_timeout(Some(REQUEST))
}

/// Reads a topic from the beginning to `ends`.
#[track_caller]
fn read(consumer: &BaseConsumer, topic: &str, ends: &[i64]) -> Vec<Record> {
    let mut assignment = TopicPartitionList::new();
    for partition in (0..).take(ends.len()) {
        assignment
            .add_partition_offset(topic, partition, Offset::Beginning)
            .expect("a partition");
    }
    consumer.assign(&assignment).expect("an assignment");
    let mut open = ends.len();
    let mut records = Vec::new();
    while open > 0 {
        match consumer
            .poll(REQUEST)
            .expect("a record before the end of the partition")
        {
            Ok(message) => records.push(record(&message)),
            Err(KafkaError::PartitionEOF(_)) => open -= 1,
            // The server has just been restarted.
            Err(KafkaError::MessageConsumption(RDKafkaErrorCode::BrokerTransportFailure)) => {}
            Err(e) => panic!("consuming {topic}: {e}"),
        }
    }
    records.sort_by_key(|r| (r.partition, r.offset));
    records.retain(|r| r.offset < ends[r.partition.cast_unsigned() as usize]);
    records
}

fn record(message: &impl Message) -> Record {
    let headers = message.headers().into_iter().flat_map(Headers::iter);
    Record {
        partition: message.partition(),
        offset: message.offset(),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        timestamp: message.timestamp().to_millis(),
        headers: headers
            .map(|h| (h.key.to_owned(), h.value.unwrap_or_default().to_vec()))
            .collect(),
    }
}
