//! The cursor: how far everything has a delivery report, in two slots that are written in turn.

use super::{BLOCK, SECTOR, meta::version, open_sector, seal_sector};

const MAGIC: &[u8; 8] = b"FLSPCURS";

/// Two slots, each with a block of its own.
pub(crate) const SIZE: u64 = 2 * BLOCK;

/// One slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) spool: [u8; 16],
    pub(crate) log: u32,
    /// The higher one of the two slots wins.
    pub(crate) counter: u64,
    /// Everything up to here has a delivery report.
    pub(crate) delivered: u64,
    /// Where the first record after it lies, or one before that.
    pub(crate) segment: u64,
    pub(crate) offset: u64,
    /// Everything up to here is durable: a witness when records are missing.
    pub(crate) synced: u64,
    /// Where the synced records of the last segment end.
    pub(crate) synced_segment: u64,
    pub(crate) synced_end: u64,
}

impl Cursor {
    /// Where this counter's slot lies in the file.
    pub(crate) fn place(&self) -> u64 {
        self.counter % 2 * BLOCK
    }

    pub(crate) fn encode(&self) -> [u8; SECTOR] {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&super::VERSION.to_le_bytes());
        bytes.extend_from_slice(&self.spool);
        bytes.extend_from_slice(&self.log.to_le_bytes());
        for field in
            [self.counter, self.delivered, self.segment, self.offset, self.synced, self.synced_segment, self.synced_end]
        {
            bytes.extend_from_slice(&field.to_le_bytes());
        }
        seal_sector(bytes)
    }

    pub(crate) fn decode(slot: &[u8]) -> Option<Self> {
        let mut fields = open_sector(slot)?;
        version(&mut fields, MAGIC).ok()?;
        Some(Self {
            spool: fields.bytes(),
            log: fields.u32(),
            counter: fields.u64(),
            delivered: fields.u64(),
            segment: fields.u64(),
            offset: fields.u64(),
            synced: fields.u64(),
            synced_segment: fields.u64(),
            synced_end: fields.u64(),
        })
    }
}
