//! The engine's side of the spool: records in, records out, and what has become of them. The log itself, its format and
//! its promise are those of [`fairlead_spool`].
//!
//! A [`Store`] is sans-IO; the [`Worker`] runs what blocks. Only the lane enters and leaves it.

mod entry;
mod filed;
mod folder;
mod ids;
mod layout;
mod placement;
mod progress;
mod store;
mod worker;

pub use entry::Decoded;
pub use folder::{Contents, Generations, Logs, Older, ShardLogs, open};
pub use ids::Ids;
pub use placement::Placement;
pub use store::{Movement, Replayed, Store};
pub use worker::{Done, Jobs, Synced, Worker};
pub(crate) use {
    entry::fingerprints,
    filed::{Filed, filed},
    folder::{least_segment, least_size, options},
    ids::{SessionKey, session_key},
};
