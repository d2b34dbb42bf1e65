//! How a record leaves the lane.

use crate::message::{DropReason, Outcome, Receipt, Record};

/// How a record left the lane.
#[derive(Debug)]
pub enum Settlement {
    /// It is safe. The receipt goes to its session, or to the log where the record lies.
    Receipt(Receipt),
    /// Kafka will never take it.
    Refused(Box<(Record, DropReason)>),
}

impl Settlement {
    /// The record is in Kafka, and ends here. Whether it has an extra is asked by its end in any case.
    pub(super) fn delivered(record: Record) -> Settlement {
        let Record { ticket, route, extra, .. } = record;
        let outcome = match extra {
            None => Outcome::Delivered,
            Some(extra) => extra.dead.map_or(Outcome::Delivered, Outcome::DeadLettered),
        };
        Settlement::Receipt(Receipt { ticket, route, outcome })
    }
}
