//! A segment's header, in two sectors, and its footer.

use super::{
    BLOCK, SECTOR, Seed,
    meta::{Unusable, version},
    open_sector, seal_sector,
};

const MAGIC: &[u8; 8] = b"FLSPSEGM";
const FOOTER_MAGIC: &[u8; 8] = b"FLSPFOOT";

/// Where the second copy of the header stands, which is written together with the first group.
pub(crate) const BEGUN: u64 = 2048;

/// Where the first group starts.
pub(crate) const DATA: u64 = BLOCK;

/// Where the groups of a segment must end.
pub(crate) fn data_end(size: u64) -> u64 {
    size - BLOCK
}

/// The header of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) spool: [u8; 16],
    pub(crate) log: u32,
    pub(crate) id: u64,
    pub(crate) generation: u64,
    /// Bytes of the file.
    pub(crate) size: u64,
    /// No group is longer: as far behind a torn record may anything of its group lie.
    pub(crate) reach: u64,
    /// What was written with the first group; `None` in the copy that was written when the file was prepared.
    pub(crate) begun: Option<Begun>,
}

/// How a segment follows the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Begun {
    /// The first sequence; everything before it was durable.
    pub(crate) base: u64,
    /// The segment before, 0 for none, and the checksum over the checksums of its records.
    pub(crate) previous: u64,
    pub(crate) previous_chain: u32,
}

impl Header {
    pub(crate) fn seed(&self) -> Seed {
        Seed::new(&self.spool, self.log, self.id, self.generation)
    }

    pub(crate) fn encode(&self) -> [u8; SECTOR] {
        let begun = self.begun.unwrap_or(Begun { base: 0, previous: 0, previous_chain: 0 });
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&super::VERSION.to_le_bytes());
        // Feature bits: incompatible, compatible for reading, compatible.
        bytes.extend_from_slice(&[0; 12]);
        bytes.extend_from_slice(&self.spool);
        bytes.extend_from_slice(&self.log.to_le_bytes());
        for field in [self.id, self.generation, self.size, self.reach, begun.base, begun.previous] {
            bytes.extend_from_slice(&field.to_le_bytes());
        }
        bytes.extend_from_slice(&begun.previous_chain.to_le_bytes());
        seal_sector(bytes)
    }

    pub(crate) fn decode(sector: &[u8]) -> Result<Self, Unusable> {
        let mut fields = open_sector(sector).ok_or(Unusable::Damaged)?;
        version(&mut fields, MAGIC)?;
        let (incompatible, read_only, _) = (fields.u32(), fields.u32(), fields.u32());
        if incompatible != 0 || read_only != 0 {
            return Err(Unusable::Unknown(super::VERSION));
        }
        let mut header = Self {
            spool: fields.bytes(),
            log: fields.u32(),
            id: fields.u64(),
            generation: fields.u64(),
            size: fields.u64(),
            reach: fields.u64(),
            begun: None,
        };
        let begun = Begun { base: fields.u64(), previous: fields.u64(), previous_chain: fields.u32() };
        header.begun = (begun.base > 0).then_some(begun);
        Ok(header)
    }
}

/// What a sealed segment holds, so that it need not be scanned at start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Footer {
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) records: u64,
    /// Where the last record ends.
    pub(crate) end: u64,
    /// When the first record was received.
    pub(crate) oldest: u64,
    /// Over the checksums of the records.
    pub(crate) chain: u32,
}

impl Footer {
    pub(crate) fn encode(&self, seed: Seed) -> [u8; SECTOR] {
        let mut bytes = FOOTER_MAGIC.to_vec();
        bytes.extend_from_slice(&super::VERSION.to_le_bytes());
        bytes.extend_from_slice(&seed.tag().to_le_bytes());
        for field in [self.first, self.last, self.records, self.end, self.oldest] {
            bytes.extend_from_slice(&field.to_le_bytes());
        }
        bytes.extend_from_slice(&self.chain.to_le_bytes());
        seal_sector(bytes)
    }

    /// The footer, if it is whole and of this life of the file.
    pub(crate) fn decode(sector: &[u8], seed: Seed) -> Option<Self> {
        let mut fields = open_sector(sector)?;
        version(&mut fields, FOOTER_MAGIC).ok()?;
        if fields.u32() != seed.tag() {
            return None;
        }
        Some(Self {
            first: fields.u64(),
            last: fields.u64(),
            records: fields.u64(),
            end: fields.u64(),
            oldest: fields.u64(),
            chain: fields.u32(),
        })
    }
}
