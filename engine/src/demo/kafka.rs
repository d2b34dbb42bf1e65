//! The embedded Kafka: librdkafka's mock cluster.
//!
//! It keeps 5 MiB of each partition and forgets what is older without a word; a consumer sees the gap in the offsets.
//! To answer a consumer it walks over every batch that it keeps of the partition, so small batches make it slow: what
//! rumqttd has in flight, 100 messages, over 9 partitions halves the rate within seconds; over 3 it stays.

use rdkafka::{error::KafkaError, mocking::MockCluster, producer::DefaultProducerContext};

/// The Kafka topic.
pub(super) const TOPIC: &str = "ais";
/// Its partitions.
pub(super) const PARTITIONS: i32 = 3;
/// What the cluster keeps of a partition, bytes.
pub(super) const KEPT: u64 = 5 << 20;

/// The running cluster; dropping it ends it.
pub(super) struct Cluster(MockCluster<'static, DefaultProducerContext>);

impl Cluster {
    /// Starts one broker with the topic.
    pub(super) fn start() -> Result<Cluster, KafkaError> {
        let cluster = MockCluster::new(1)?;
        cluster.create_topic(TOPIC, PARTITIONS, 1)?;
        Ok(Cluster(cluster))
    }

    /// `host:port`.
    pub(super) fn brokers(&self) -> String {
        self.0.bootstrap_servers()
    }
}
