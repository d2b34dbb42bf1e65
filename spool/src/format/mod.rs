//! The bytes on disk: see the package's documentation for the layout and why it is so.

pub(crate) mod cursor;
pub(crate) mod meta;
pub(crate) mod record;
pub(crate) mod segment;

use crate::bug::has_bug;

/// The format version that this code writes and reads.
pub const VERSION: u16 = 1;

/// A group starts on a fresh block; headers and footers have a block of their own.
pub(crate) const BLOCK: u64 = 4096;

/// Parts of a block that are written whole or not at all.
pub(crate) const SECTOR: usize = 512;

/// `offset` rounded up to a whole block.
pub(crate) fn block_up(offset: u64) -> u64 {
    offset.next_multiple_of(BLOCK)
}

/// What the checksums of one life of one segment file start from, so that nothing from another spool, log, segment or
/// an earlier life of the same file can pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seed(u32);

impl Seed {
    pub(crate) fn new(spool: &[u8; 16], log: u32, segment: u64, generation: u64) -> Self {
        // A seed that forgets which life of the file it belongs to.
        let (segment, generation) = if has_bug("crc_without_generation") { (0, 0) } else { (segment, generation) };
        let mut crc = crc32c::crc32c(spool);
        crc = crc32c::crc32c_append(crc, &log.to_le_bytes());
        crc = crc32c::crc32c_append(crc, &segment.to_le_bytes());
        Self(crc32c::crc32c_append(crc, &generation.to_le_bytes()))
    }

    /// Stands in clear text in each record, to tell what was never written in this life from what is damaged.
    pub(crate) fn tag(self) -> u32 {
        mask(self.0)
    }

    /// The masked checksum of `bytes` that stand at `offset`.
    pub(crate) fn checksum(self, offset: u64, bytes: &[u8]) -> u32 {
        // The offset is below 4 GiB, so two offsets never start alike.
        let start = self.0 ^ u32::try_from(offset).expect("an offset inside a segment");
        mask(crc32c::crc32c_append(start, bytes))
    }
}

/// A checksum that is stored among the bytes of another checksum must not be a plain CRC.
pub(crate) fn mask(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// Reads little-endian fields one after the other; running out of bytes cannot happen with the fixed sizes used.
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl Fields<'_> {
    pub(crate) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let (field, rest) = self.0.split_first_chunk().expect("fields inside a fixed layout");
        self.0 = rest;
        *field
    }

    pub(crate) fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.bytes())
    }

    pub(crate) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.bytes())
    }

    pub(crate) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.bytes())
    }
}

/// `bytes` filled up to a sector, whose last four bytes are its checksum.
pub(crate) fn seal_sector(mut bytes: Vec<u8>) -> [u8; SECTOR] {
    assert!(bytes.len() <= SECTOR - 4, "a sector's fields fit");
    bytes.resize(SECTOR - 4, 0);
    let crc = mask(crc32c::crc32c(&bytes));
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes.try_into().expect("exactly a sector")
}

/// The fields of a sector made by [`seal_sector`], if its checksum is right.
pub(crate) fn open_sector(sector: &[u8]) -> Option<Fields<'_>> {
    let (fields, crc) = sector.get(..SECTOR)?.split_last_chunk::<4>()?;
    (mask(crc32c::crc32c(fields)) == u32::from_le_bytes(*crc)).then_some(Fields(fields))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Entry, Kind};

    /// The rising sequence and the zeros behind a group find most of it too. They do not where an earlier life left a
    /// record of just the sequence that is expected, and then only the seed stands before a changed payload.
    #[test]
    fn what_another_life_of_the_file_left_is_foreign() {
        let (spool, log, segment, generation) = ([7; 16], 1, 3, 2);
        let ours = Seed::new(&spool, log, segment, generation);
        let others = [
            Seed::new(&[8; 16], log, segment, generation),
            Seed::new(&spool, log + 1, segment, generation),
            Seed::new(&spool, log, segment + 1, generation),
            Seed::new(&spool, log, segment, generation + 1),
        ];
        let entry = Entry {
            kind: Kind::Data,
            session: 1,
            packet_id: 2,
            time: 3,
            meta: b"meta",
            key: None,
            payload: Some(b"old"),
        };
        for other in others {
            let mut bytes = Vec::new();
            record::encode(&mut bytes, 9, &entry);
            record::place(&mut bytes, other, segment::DATA, 8, 0);
            let look = |bytes: &[u8], offset| record::look(bytes, bytes.len() as u64, ours, offset);
            assert_eq!(look(&bytes, segment::DATA), record::Look::Foreign);
            // Not even with the tag of this life: the checksum starts from the seed as well.
            bytes[52..56].copy_from_slice(&ours.tag().to_le_bytes());
            assert_eq!(look(&bytes, segment::DATA), record::Look::Bad);
            record::place(&mut bytes, ours, segment::DATA, 8, 0);
            assert!(matches!(look(&bytes, segment::DATA), record::Look::Record(_)));
            assert_eq!(look(&bytes, segment::DATA + BLOCK), record::Look::Bad, "another place of the same file");
        }
    }
}
