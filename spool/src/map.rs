//! The memory map of an active segment, and the only unsafe code of this package.

#![allow(unsafe_code, reason = "mapping a file and storing into the map cannot be expressed safely")]

use std::{fs::File, io};

use memmap2::{MmapOptions, MmapRaw};

/// The writable map of one whole file. It has one owner, which alone stores into it; reading goes through the file.
#[derive(Debug)]
pub struct FileMap {
    map: MmapRaw,
}

impl FileMap {
    /// Maps the first `size` bytes of `file`, which must be allocated and written, and brings the pages in.
    pub(crate) fn new(file: &File, size: u64) -> io::Result<Self> {
        let length = usize::try_from(size).map_err(io::Error::other)?;
        Ok(Self { map: MmapOptions::new().len(length).populate().map_raw(file)? })
    }

    /// Stores `bytes` at `offset`.
    pub(crate) fn store(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset.checked_add(bytes.len()).expect("an offset inside a segment");
        assert!(end <= self.map.len(), "a store outside of the segment: {end} of {}", self.map.len());
        // SAFETY: the range lies inside the map (asserted above) and `bytes` is not part of it, because no reference
        // into the map is ever made. `&mut self` makes this the only store of this process; other processes are kept
        // out by the folder's lock, and whoever reads the file at the same time does so with `pread`.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.map.as_mut_ptr().add(offset), bytes.len()) }
    }
}
