//! librdkafka's configuration: what Fairlead manages, and the user's properties.

use rdkafka::ClientConfig;

use crate::settings::Settings;

/// A property that librdkafka does not accept.
#[derive(Debug, thiserror::Error)]
#[error("librdkafka refuses `{key}`: {why}")]
pub struct ConfigError {
    /// The property.
    pub key: String,
    /// librdkafka's words.
    pub why: String,
}

/// Bytes of a record batch around its value: key, headers and framing, with room to spare.
const RECORD_MARGIN: usize = 256 << 10;
/// librdkafka's own default, the least we ask for.
const LEAST_MESSAGE_MAX: usize = 1_000_000;

/// Why there is no producer.
#[derive(Debug, thiserror::Error)]
pub enum ProducerError {
    /// librdkafka refuses the configuration.
    #[error("librdkafka refuses its configuration: {0}; check [kafka] properties")]
    Config(String),
    /// librdkafka could not start: usually no memory or no threads left.
    #[error("librdkafka did not start: {0}")]
    Start(String),
}

/// Whether librdkafka knows the property and takes the value.
///
/// # Errors
/// librdkafka's own words.
pub fn check_property(key: &str, value: &str) -> Result<(), ConfigError> {
    let mut config = ClientConfig::new();
    config.set(key, value);
    match config.create_native_config() {
        Ok(_) => Ok(()),
        Err(error) => Err(ConfigError { key: key.to_owned(), why: error.to_string() }),
    }
}

/// What every client of ours has: the brokers and the user's properties.
pub(super) fn client(settings: &Settings) -> ClientConfig {
    let mut config = ClientConfig::new();
    for (key, value) in &settings.kafka.properties {
        config.set(key, value.expose());
    }
    config.set("bootstrap.servers", &settings.kafka.brokers);
    config.set("allow.auto.create.topics", "false");
    config
}

/// `message.max.bytes`: no packet of any source is too large for librdkafka.
pub(super) fn largest_message(settings: &Settings) -> usize {
    let largest = settings.sources.iter().map(|source| source.max_packet as usize).max().unwrap_or(0);
    (largest + RECORD_MARGIN).max(LEAST_MESSAGE_MAX)
}

/// A shard's producer. `limit` is the most records the lane has inside librdkafka.
pub(super) fn producer(settings: &Settings, limit: usize) -> ClientConfig {
    let mut config = client(settings);
    config
        .set("enable.idempotence", "true")
        .set("acks", "all")
        // Never: librdkafka must not drop what we own.
        .set("message.timeout.ms", "0")
        // The lane holds the batch, because librdkafka's linger is fixed at creation.
        .set("queue.buffering.max.ms", "0")
        // Above the lane's own limit, so that the queue is never full and a batch never half taken.
        .set("queue.buffering.max.messages", (limit + 1).to_string())
        .set("queue.buffering.max.kbytes", "2147483647")
        .set("message.max.bytes", largest_message(settings).to_string())
        // Below this a copy into the request is cheaper than a reference.
        .set("message.copy.max.bytes", "1023")
        // So that a topic that comes back is seen soon.
        .set("topic.metadata.refresh.interval.ms", "10000")
        .set("log.queue", "true");
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_property_and_bad_value_are_told() {
        assert!(check_property("compression.type", "lz4").is_ok());
        assert!(check_property("compresion.type", "lz4").unwrap_err().to_string().contains("compresion.type"));
        assert!(check_property("compression.type", "brotli").is_err());
    }
}
