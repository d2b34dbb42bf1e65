//! Records that become durable together.

use crate::{
    Batch, Entry, Sequence,
    format::{BLOCK, Seed, record},
};

/// A group in memory: a block-aligned run of records that ends with a zero length.
#[derive(Debug, Default)]
pub(crate) struct Group {
    bytes: Vec<u8>,
    /// The first record's, 0 when there is none: a mark, or nothing.
    pub(crate) first: Sequence,
    pub(crate) last: Sequence,
    pub(crate) oldest: u64,
}

impl Group {
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn records(&self) -> u64 {
        if self.first == 0 { 0 } else { self.last - self.first + 1 }
    }

    pub(crate) fn push(&mut self, sequence: Sequence, entry: &Entry<'_>) {
        if self.first == 0 {
            self.first = sequence;
            self.oldest = entry.time;
        }
        self.last = sequence;
        record::encode(&mut self.bytes, sequence, entry);
    }

    /// Nothing but how far everything is durable.
    pub(crate) fn mark(mut self, synced: Sequence) -> Self {
        record::encode_mark(&mut self.bytes, synced);
        self
    }

    /// Bytes of `len` bytes of records with the zero length behind them, in whole blocks.
    pub(crate) fn padded(len: usize) -> u64 {
        crate::format::block_up(len as u64 + 8)
    }

    /// Fills in what depends on the place; returns the bytes to store and the new chain.
    pub(crate) fn place(&mut self, seed: Seed, offset: u64, durable: Sequence, chain: u32) -> (&[u8], u32) {
        let records = self.bytes.len();
        let chain = record::place(&mut self.bytes, seed, offset, durable, chain);
        self.bytes.resize(usize::try_from(Self::padded(records)).expect("a group in memory"), 0);
        debug_assert!((self.bytes.len() as u64).is_multiple_of(BLOCK));
        (&self.bytes, chain)
    }

    /// Takes the filling off again, so that the group can be placed elsewhere.
    pub(crate) fn unplace(&mut self, records: usize) {
        self.bytes.truncate(records);
    }

    /// The records from `from` on, as they would be read back.
    pub(crate) fn read(&self, from: Sequence, batch: &mut Batch) {
        let mut at = 0;
        while let Some((record, parts)) = record::peek(&self.bytes, at) {
            at += record.size;
            if record.kind.is_some() && record.sequence >= from {
                batch.push(&record, parts);
            }
        }
    }

    /// The same buffer, empty.
    pub(crate) fn emptied(mut self) -> Self {
        self.bytes.clear();
        Self { bytes: self.bytes, ..Self::default() }
    }
}
