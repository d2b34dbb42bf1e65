//! What is inside librdkafka, by the order in which it was handed over.

use std::collections::VecDeque;

use crate::message::Record;

/// Records inside librdkafka for one partition, oldest first; a hole is one whose report overtook another's.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    pub(super) records: VecDeque<Option<Record>>,
    /// The order of the oldest, or of the next one.
    pub(super) first: u64,
}

impl InFlight {
    /// The order of the next record: the opaque value of its delivery report, so that nothing has to be looked up.
    pub(super) fn next_order(&self) -> u64 {
        self.first + self.records.len() as u64
    }

    pub(super) fn place(&self, order: u64) -> Option<usize> {
        usize::try_from(order.checked_sub(self.first)?).ok()
    }

    /// Takes the record of that order; `None` if it was taken before.
    pub(super) fn take(&mut self, order: u64) -> Option<Record> {
        let place = self.place(order)?;
        let record = self.records.get_mut(place)?.take();
        self.trim();
        record
    }

    pub(super) fn trim(&mut self) {
        while let Some(None) = self.records.front() {
            self.records.pop_front();
            self.first += 1;
        }
    }
}
