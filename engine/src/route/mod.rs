//! From an MQTT topic to a Kafka topic, partition and key: pure functions.

pub mod cover;
mod filter;
pub mod partition;
mod template;

pub use filter::{Filter, FilterError};
pub use template::{Template, TemplateError, legal_topic};
