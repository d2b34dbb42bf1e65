//! The MQTT side, sans-IO: codec, session, window, violations.
//!
//! ```text
//! Input ─▶ frame::scan ─▶ Codec ─▶ Session ─▶ Delivery
//!                                   │   ▲
//!                        Window ────┘   └─── receipts
//! ```

mod codec;
mod frame;
mod input;
mod packet;
mod properties;
mod session;
mod violation;
mod window;
#[cfg(test)]
pub(crate) mod wire;

pub use codec::{Codec, Limits, Payload, Text};
pub use frame::Protocol;
pub use input::{CHUNK, Input};
pub use packet::{ConnAck, Packet, Skipped, reason_text};
pub use properties::MAX_REPEATED;
pub use session::{
    CONNACK_DEADLINE, Cause, Content, Delivery, EVENTS, Event, Former, IdRecord, SILENT, Session, Stats,
    TOPIC_ALIAS_MAXIMUM, Unsupported,
};
pub use violation::Violation;
pub use window::QOS_0_PLACES;
