//! Bounded lock-free rings between shards, and the doorbell that wakes their reader. They are the only thing that
//! shards share.
//!
//! For each ordered pair of shards there is one ring for records and one for receipts. No shard ever waits on a ring:
//! a full record ring gives the record back, and a receipts ring has a slot for each record that may be outstanding on
//! its pair, so its push cannot fail.

mod bounded;
mod doorbell;
mod mesh;

pub use bounded::{Reader, Writer, ring};
pub use doorbell::Doorbell;
pub use mesh::{Mesh, Port, Traffic};
