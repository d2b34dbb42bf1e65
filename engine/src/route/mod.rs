//! From an MQTT topic to a Kafka topic, partition and key: pure functions.

mod filter;
mod template;

pub use filter::{Filter, FilterError};
pub use template::{Template, TemplateError};
