//! META: which spool this is.

use super::{Fields, SECTOR, VERSION, open_sector, seal_sector};

const MAGIC: &[u8; 8] = b"FLSPMETA";

/// The contents of META.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) spool: [u8; 16],
    pub(crate) shards: u32,
}

/// Why a file of fixed layout cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unusable {
    /// Its checksum or its magic is wrong.
    Damaged,
    /// A format version or an incompatible feature this code does not know.
    Unknown(u16),
}

impl Meta {
    pub(crate) fn encode(&self) -> [u8; SECTOR] {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&self.shards.to_le_bytes());
        bytes.extend_from_slice(&self.spool);
        seal_sector(bytes)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Unusable> {
        let mut fields = open_sector(bytes).ok_or(Unusable::Damaged)?;
        version(&mut fields, MAGIC)?;
        let shards = fields.u32();
        Ok(Self { spool: fields.bytes(), shards })
    }
}

/// Takes magic and version off the fields.
pub(crate) fn version(fields: &mut Fields<'_>, magic: &[u8; 8]) -> Result<(), Unusable> {
    if fields.bytes() != *magic {
        return Err(Unusable::Damaged);
    }
    match fields.u16() {
        VERSION => Ok(()),
        other => Err(Unusable::Unknown(other)),
    }
}
