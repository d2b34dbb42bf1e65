//! From an MQTT topic to a Kafka topic, partition and key: pure functions.

mod cache;
pub mod cover;
mod filter;
pub mod partition;
mod record;
mod table;
mod template;

pub use cache::CacheCounts;
pub use filter::{Filter, FilterError};
pub use record::record;
pub use table::{Decision, Entry, Key, Table, TopicDirectory};
pub use template::{Template, TemplateError, legal_topic};
