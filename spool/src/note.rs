//! NOTE: what whoever uses the spool writes down beside its logs.

use std::path::PathBuf;

use crate::{
    OpenError, Spool,
    disk::{Disk, File},
    spool::{io_error, replace},
};

pub(crate) const NOTE: &str = "NOTE";
pub(crate) const NOTE_NEW: &str = "NOTE.new";

const MAGIC: &[u8; 8] = b"FLSPNOTE";
const HEADER: usize = 16;

/// The longest note, bytes.
pub const MAX_NOTE: usize = 4 << 20;

impl<D: Disk> Spool<D> {
    /// What was noted last; `None` where nothing was, or where it is damaged.
    ///
    /// # Errors
    /// See [`OpenError::Io`].
    pub fn note(&self) -> Result<Option<Vec<u8>>, OpenError> {
        let path = self.note_path();
        let read = || {
            let file = match self.disk().open_read(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
                file => file?,
            };
            let size = file.status()?.size.min((HEADER + MAX_NOTE) as u64) as usize;
            let mut bytes = vec![0; size];
            let count = file.read_at(&mut bytes, 0)?;
            bytes.truncate(count);
            Ok(bytes)
        };
        let bytes = read().map_err(io_error("read", &path))?;
        Ok(decode(&bytes).map(<[u8]>::to_vec))
    }

    /// Puts `bytes`, at most [`MAX_NOTE`], in the place of what was noted: whole and durable, or not at all.
    ///
    /// # Errors
    /// See [`OpenError::Io`].
    pub fn set_note(&self, bytes: &[u8]) -> Result<(), OpenError> {
        let path = self.note_path();
        replace(self.disk(), &path.with_file_name(NOTE_NEW), &path, &encode(bytes)).map_err(io_error("write", &path))
    }

    fn note_path(&self) -> PathBuf {
        self.root().join(NOTE)
    }
}

fn encode(bytes: &[u8]) -> Vec<u8> {
    let mut file = MAGIC.to_vec();
    file.extend((bytes.len() as u32).to_le_bytes());
    file.extend(crc32c::crc32c(bytes).to_le_bytes());
    file.extend(bytes);
    file
}

fn decode(file: &[u8]) -> Option<&[u8]> {
    let (header, bytes) = file.split_at_checked(HEADER)?;
    (encode(bytes)[..HEADER] == *header).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Options, disk::Memory};

    fn open(disk: &Memory) -> Spool<Memory> {
        let (spool, warnings) = Spool::open(disk.clone(), "/spool", Options::default()).unwrap();
        assert_eq!(warnings, [], "a note is a file of the spool");
        spool
    }

    #[test]
    fn a_note_is_there_whole_or_not_at_all() {
        let disk = Memory::new();
        assert_eq!(open(&disk).note().unwrap(), None);
        open(&disk).set_note(b"9 ais").unwrap();
        open(&disk).set_note(b"").unwrap();
        assert_eq!(open(&disk).note().unwrap(), Some(Vec::new()));
        open(&disk).set_note(b"18 ais").unwrap();
        assert_eq!(open(&disk).note().unwrap(), Some(b"18 ais".to_vec()));
    }

    #[test]
    fn a_damaged_note_is_none() {
        let file = encode(b"9 ais");
        assert_eq!(decode(&file), Some(&b"9 ais"[..]));
        for bit in 0..file.len() * 8 {
            let mut damaged = file.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&damaged), None, "bit {bit}");
        }
        for length in 0..file.len() {
            assert_eq!(decode(&file[..length]), None, "cut at {length}");
        }
    }
}
