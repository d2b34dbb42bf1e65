//! What happens to a record between its session and Kafka: sans-IO, so that it is tested without Kafka, disk or clock.
//!
//! Records come in by [`Lane::handle_record`] and leave by [`Lane::poll_ready`], in order for each partition. The lane
//! holds the batch: it is due when all that a session may have in flight is here, when it is full or worth its requests, or
//! after `linger`.
//! Delivery reports come in by [`Lane::handle_report`] and leave as receipts. A partition whose record failed for a
//! while is retried by `retry`; nothing overtakes what failed. Beside the straight line there is one side road, the
//! spool: `mode` says when it is taken, `sweep` what goes onto it first, `siding` drives it. What Kafka will never take goes
//! to `dead_letter`.

mod batch;
mod dead_letter;
mod driver;
#[expect(clippy::module_inception, reason = "the state machine gives the folder its name")]
mod lane;
mod mode;
mod pace;
mod parked;
mod partition;
mod passage;
mod retry;
mod set_back;
mod settlement;
mod side;
mod siding;
mod sweep;
#[cfg(test)]
mod tests;

pub use batch::BATCH;
pub use dead_letter::DeadLetters;
pub use driver::{Driver, Turn};
pub use lane::{LIMIT, Lane};
pub use mode::{
    CALM, CLOSE, CLOSING, FIRST, INTAKE, INTAKE_BURST, INTAKE_SLICE, LEAST, Mode, OLDEST, SPILL_AFTER, Spooling,
};
pub use parked::Parked;
pub use partition::{BATCHES, Hold, OVERHEAD, Ready};
pub use settlement::Settlement;
pub use siding::Siding;
pub use sweep::Inside;
#[cfg(test)]
pub(crate) use {side::Side, siding::spooling};
