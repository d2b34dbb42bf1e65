//! What tests ask of Kafka, real or embedded: topics, end offsets, records.

use std::time::Duration;

use futures_lite::future::block_on;
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
    message::{BorrowedMessage, Headers},
};

use crate::wait::{now, wait_for, wait_until};

/// Longest answer to one request.
const REQUEST: Duration = Duration::from_secs(15);
/// Longest wait of a client that is made anew for the next try: one that was told of no broker may never find one again
/// (<https://github.com/confluentinc/librdkafka/issues/5301>).
const ANSWER: Duration = Duration::from_secs(5);

/// A client of one Kafka.
#[derive(Clone, Debug)]
pub struct KafkaClient {
    brokers: String,
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

impl KafkaClient {
    /// A client of the Kafka at `bootstrap.servers`.
    pub(crate) fn new(brokers: String) -> KafkaClient {
        KafkaClient { brokers }
    }

    /// `bootstrap.servers`.
    #[must_use]
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// Whether a broker answers.
    #[must_use]
    pub fn answers(&self) -> bool {
        self.members() > 0
    }

    /// How many brokers are members of the cluster; 0 where none answers.
    #[must_use]
    pub fn members(&self) -> usize {
        self.consumer().fetch_metadata(None, Duration::from_secs(1)).map_or(0, |metadata| metadata.brokers().len())
    }

    /// Creates a topic, with topic properties, and waits until every partition has a leader.
    ///
    /// # Panics
    ///
    /// When Kafka refuses.
    pub fn create_topic(&self, name: &str, partitions: i32, properties: &[(&str, &str)]) {
        self.create_replicated(name, partitions, 1, properties);
    }

    /// [`KafkaClient::create_topic`] with replicas.
    ///
    /// # Panics
    ///
    /// When Kafka refuses.
    pub fn create_replicated(&self, name: &str, partitions: i32, replicas: i32, properties: &[(&str, &str)]) {
        let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(replicas));
        for (key, value) in properties {
            topic = topic.set(key, value);
        }
        self.create(&topic);
    }

    /// [`KafkaClient::create_topic`] with one replica, on the broker that is given for each partition.
    ///
    /// # Panics
    ///
    /// When Kafka refuses.
    pub fn create_assigned(&self, name: &str, brokers: &[i32]) {
        let replicas: Vec<&[i32]> = brokers.chunks(1).collect();
        self.create(&NewTopic::new(name, brokers.len() as i32, TopicReplication::Variable(&replicas)));
    }

    fn create(&self, topic: &NewTopic<'_>) {
        let (name, partitions) = (topic.name, topic.num_partitions);
        let answer = block_on(self.admin().create_topics([topic], &options())).expect("create a topic");
        assert!(answer.iter().all(Result::is_ok), "topic {name} is created: {answer:?}");
        let probe = self.consumer();
        wait_until(REQUEST, "the topic has leaders", || self.partitions_with(&probe, name) == Some(partitions));
    }

    /// Deletes a topic and waits until it is gone.
    ///
    /// # Panics
    ///
    /// When Kafka refuses.
    pub fn delete_topic(&self, name: &str) {
        let answer = block_on(self.admin().delete_topics(&[name], &options())).expect("delete a topic");
        assert!(answer.iter().all(Result::is_ok), "topic {name} is deleted: {answer:?}");
        let probe = self.consumer();
        wait_until(REQUEST, "the topic is gone", || self.partitions_with(&probe, name).is_none());
    }

    /// Changes one property of a topic.
    ///
    /// # Panics
    ///
    /// When Kafka refuses.
    pub fn alter_topic(&self, name: &str, key: &str, value: &str) {
        let change = AlterConfig::new(ResourceSpecifier::Topic(name)).set(key, value);
        let answer = block_on(self.admin().alter_configs([&change], &options())).expect("alter a topic");
        assert!(answer.iter().all(Result::is_ok), "topic {name} is altered: {answer:?}");
    }

    /// Raises the number of partitions of a topic.
    ///
    /// # Panics
    ///
    /// When Kafka refuses.
    pub fn add_partitions(&self, name: &str, partitions: usize) {
        let change = NewPartitions::new(name, partitions);
        let answer = block_on(self.admin().create_partitions([&change], &options())).expect("add partitions");
        assert!(answer.iter().all(Result::is_ok), "topic {name} has more partitions: {answer:?}");
    }

    /// Partitions of a topic that have a leader; `None` where there is no such topic.
    #[must_use]
    pub fn partitions(&self, name: &str) -> Option<i32> {
        self.partitions_with(&self.consumer(), name)
    }

    /// Deletes the records of each partition in front of these offsets.
    ///
    /// # Panics
    ///
    /// When Kafka refuses.
    pub fn trim(&self, topic: &str, offsets: &[i64]) {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in (0..).zip(offsets) {
            list.add_partition_offset(topic, partition, Offset::Offset(*offset)).expect("a partition");
        }
        let answer = block_on(self.admin().delete_records(&list, &options())).expect("delete records");
        assert!(answer.elements().iter().all(|part| part.error().is_ok()), "records are deleted: {answer:?}");
    }

    /// The broker that leads each partition of a topic, and how many replicas are in sync; `None` while Kafka cannot say.
    #[must_use]
    pub fn leaders(&self, name: &str) -> Option<Vec<(i32, usize)>> {
        let metadata = self.consumer().fetch_metadata(Some(name), ANSWER).ok()?;
        let topic = metadata.topics().first().filter(|topic| topic.error().is_none())?;
        let mut partitions: Vec<_> = topic.partitions().iter().collect();
        partitions.sort_unstable_by_key(|partition| partition.id());
        Some(partitions.iter().map(|partition| (partition.leader(), partition.isr().len())).collect())
    }

    /// Records of a topic by partition: the offsets behind the last.
    ///
    /// # Panics
    ///
    /// When Kafka does not answer or has no such topic.
    #[must_use]
    pub fn end_offsets(&self, topic: &str) -> Vec<i64> {
        let what = format!("end offsets of {topic}");
        wait_for(REQUEST * 4, &what, || self.try_end_offsets(&self.consumer(), topic))
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
        let mut consumer = self.consumer();
        let mut have = 0;
        let end = now() + limit;
        let ends = wait_for(limit + REQUEST, "records in Kafka", || {
            let ends = self.try_end_offsets(&consumer, topic);
            if ends.is_none() {
                consumer = self.consumer();
            }
            have = ends.iter().flatten().sum::<i64>().cast_unsigned();
            assert!(have >= count || now() < end, "{have} of {count} records in {topic} after {limit:?}");
            ends.filter(|_| have >= count)
        });
        read(&consumer, topic, &ends)
    }

    /// Reads every record that a topic holds now, by partition and offset.
    #[must_use]
    pub fn consume(&self, topic: &str) -> Vec<Record> {
        self.records(topic, 0, REQUEST)
    }

    /// Shows every record that a topic holds now, in the order of each partition, without keeping any.
    ///
    /// # Panics
    ///
    /// When Kafka does not answer.
    #[track_caller]
    pub fn visit(&self, topic: &str, show: impl FnMut(&BorrowedMessage<'_>)) {
        let ends = self.end_offsets(topic);
        visit(&self.consumer(), topic, &ends, show);
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers).set("group.id", "fairlead-tests");
        // A restarted server is found again at once; the attempts meanwhile are no news.
        config.set("reconnect.backoff.max.ms", "200").set("log_level", "0");
        config
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.client().create().expect("an admin client")
    }

    fn consumer(&self) -> BaseConsumer {
        let mut config = self.client();
        config.set("enable.partition.eof", "true").set("enable.auto.commit", "false");
        config.create().expect("a consumer")
    }

    fn partitions_with(&self, consumer: &BaseConsumer, name: &str) -> Option<i32> {
        let metadata = consumer.fetch_metadata(Some(name), ANSWER).ok()?;
        let topic = metadata.topics().first().filter(|t| t.error().is_none())?;
        i32::try_from(topic.partitions().iter().filter(|p| p.leader() >= 0).count()).ok()
    }

    /// The end offsets; `None` while Kafka cannot say (a partition without a leader, just after a restart).
    fn try_end_offsets(&self, consumer: &BaseConsumer, topic: &str) -> Option<Vec<i64>> {
        let end = |partition| Some(consumer.fetch_watermarks(topic, partition, ANSWER).ok()?.1);
        (0..self.partitions_with(consumer, topic)?).map(end).collect()
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(REQUEST)).request_timeout(Some(REQUEST))
}

/// Reads a topic from the beginning to `ends`.
#[track_caller]
fn read(consumer: &BaseConsumer, topic: &str, ends: &[i64]) -> Vec<Record> {
    let mut records = Vec::new();
    visit(consumer, topic, ends, |message| records.push(record(message)));
    records.sort_by_key(|r| (r.partition, r.offset));
    records
}

/// Shows a topic from the beginning to `ends`.
#[track_caller]
fn visit(consumer: &BaseConsumer, topic: &str, ends: &[i64], mut show: impl FnMut(&BorrowedMessage<'_>)) {
    let mut assignment = TopicPartitionList::new();
    for partition in (0..).take(ends.len()) {
        assignment.add_partition_offset(topic, partition, Offset::Beginning).expect("a partition");
    }
    consumer.assign(&assignment).expect("an assignment");
    let mut open = ends.len();
    while open > 0 {
        match consumer.poll(REQUEST).expect("a record before the end of the partition") {
            Ok(message) if message.offset() < ends[message.partition().cast_unsigned() as usize] => show(&message),
            Ok(_) => {}
            Err(KafkaError::PartitionEOF(_)) => open -= 1,
            // The server has just been restarted.
            Err(KafkaError::MessageConsumption(RDKafkaErrorCode::BrokerTransportFailure)) => {}
            Err(e) => panic!("consuming {topic}: {e}"),
        }
    }
}

fn record(message: &impl Message) -> Record {
    let headers = message.headers().into_iter().flat_map(Headers::iter);
    Record {
        partition: message.partition(),
        offset: message.offset(),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        timestamp: message.timestamp().to_millis(),
        headers: headers.map(|h| (h.key.to_owned(), h.value.unwrap_or_default().to_vec())).collect(),
    }
}
