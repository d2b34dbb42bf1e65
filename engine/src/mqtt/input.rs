//! The receive buffer of one session: the socket is read straight into it and packets are split off its front, so
//! that topics and payloads share it without a copy.

use std::ops::Range;

use super::codec::{Buffer, Payload};

/// Bytes of a fresh chunk. One chunk serves many reads; a record pins the chunk it lies in.
pub const CHUNK: usize = 256 * 1024;

/// Fewest bytes worth a read. With less than this to spare, the unread tail moves to a fresh chunk.
const MIN_SPARE: usize = 8 * 1024;

/// Capacity beyond a chunk's length. The codec reserves up to five bytes after each packet and would otherwise
/// copy the whole chunk to make room for them.
const SLACK: usize = 8;

const _: () = assert!(MIN_SPARE < CHUNK);

/// A receive buffer.
///
/// Its chunk is zeroed once, when taken, so that a socket can be read into it without `unsafe`; `filled` says how
/// much of it has been received and not yet decoded. Unread bytes are bounded by the chunk size, or by the one
/// packet that is larger.
#[derive(Debug)]
pub struct Input {
    chunk: Buffer,
    filled: usize,
    chunk_size: usize,
    wanted: usize,
    received: u64,
}

/// The parts of a PUBLISH; they share the chunk.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) topic: Payload,
    pub(super) properties: Payload,
    pub(super) payload: Payload,
}

impl Default for Input {
    fn default() -> Input {
        Input::new(CHUNK)
    }
}

impl Input {
    /// A buffer with chunks of `chunk_size` bytes, at least 16 KiB. Memory is taken at the first read.
    #[must_use]
    pub fn new(chunk_size: usize) -> Input {
        Input { chunk: Buffer::new(), filled: 0, chunk_size: chunk_size.max(2 * MIN_SPARE), wanted: 0, received: 0 }
    }

    /// Where the next read may put bytes. Empty when the buffer is full: decode first.
    pub fn spare(&mut self) -> &mut [u8] {
        let bound = self.chunk_size.max(self.wanted);
        let missing = self.wanted.saturating_sub(self.filled);
        let spare = self.chunk.len() - self.filled;
        let short = spare < missing.max(MIN_SPARE);
        if spare < missing || (short && bound - self.filled.min(bound) >= MIN_SPARE) {
            let mut chunk = Buffer::with_capacity(bound + SLACK);
            chunk.extend_from_slice(self.unread());
            chunk.resize(bound, 0);
            self.chunk = chunk;
        }
        &mut self.chunk[self.filled..]
    }

    /// Says that `count` bytes have been read into [`Input::spare`].
    ///
    /// # Panics
    /// If `count` exceeds what was spare: the caller has counted wrongly, and nothing in the buffer can be trusted.
    pub fn advance(&mut self, count: usize) {
        assert!(count <= self.chunk.len() - self.filled, "more bytes than were spare");
        self.filled += count;
        self.received = self.received.wrapping_add(count as u64);
    }

    /// Bytes received and not yet decoded.
    #[must_use]
    pub fn unread(&self) -> &[u8] {
        &self.chunk[..self.filled]
    }

    /// Bytes received since the buffer was made; it wraps. A change means that the peer is alive.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Forgets what is unread: it belongs to a connection that is gone.
    pub fn clear(&mut self) {
        self.consume(self.filled);
    }

    /// Says that the packet at the front has `total` bytes, so that the chunk has room for all of it.
    pub(super) fn want(&mut self, total: usize) {
        self.wanted = total;
    }

    /// Drops `count` unread bytes.
    pub(super) fn consume(&mut self, count: usize) {
        debug_assert!(count <= self.filled);
        self.chunk.advance_to(count);
        self.filled -= count;
        self.wanted = 0;
    }

    /// Splits the PUBLISH of `total` bytes at the front into its parts, which lie at `topic` and `properties`.
    #[inline]
    pub(super) fn take_publish(&mut self, topic: Range<usize>, properties: Range<usize>, total: usize) -> Parts {
        debug_assert!(topic.end <= properties.start && properties.end <= total && total <= self.filled);
        let chunk = &mut self.chunk;
        chunk.advance_to(topic.start);
        let name = chunk.split_to(topic.len());
        chunk.advance_to(properties.start - topic.end);
        let block = if properties.is_empty() { Payload::new() } else { chunk.split_to(properties.len()) };
        let payload = chunk.split_to(total - properties.end);
        self.filled -= total;
        self.wanted = 0;
        Parts { topic: name, properties: block, payload }
    }

    /// Lets `decode` take the packet of `total` bytes off the front. `None` if it took another number of bytes.
    pub(super) fn take_frame<T>(&mut self, total: usize, decode: impl FnOnce(&mut Buffer) -> T) -> Option<T> {
        debug_assert!(total <= self.filled);
        let before = self.chunk.len();
        let decoded = decode(&mut self.chunk);
        if before - self.chunk.len() != total {
            self.filled = self.filled.min(self.chunk.len());
            return None;
        }
        self.filled -= total;
        self.wanted = 0;
        Some(decoded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(input: &mut Input, bytes: &[u8]) {
        let spare = input.spare();
        spare[..bytes.len()].copy_from_slice(bytes);
        input.advance(bytes.len());
    }

    #[test]
    fn unread_bytes_survive_a_new_chunk() {
        let mut input = Input::new(16 * 1024);
        let block = [7_u8; 9 * 1024];
        fill(&mut input, &block);
        input.consume(9 * 1024 - 3);
        assert_eq!(input.unread(), &[7, 7, 7]);
        assert!(input.spare().len() >= MIN_SPARE, "the tail moved to a fresh chunk");
        assert_eq!(input.unread(), &[7, 7, 7]);
    }

    #[test]
    fn grows_for_one_packet_only() {
        let mut input = Input::new(16 * 1024);
        fill(&mut input, &[1; 100]);
        input.want(1_000_000);
        assert_eq!(input.spare().len(), 1_000_000 - 100);
        let rest = vec![2; 1_000_000 - 100];
        fill(&mut input, &rest);
        assert!(input.spare().is_empty(), "never more than the packet that is wanted");
        input.consume(1_000_000);
        assert_eq!(input.spare().len(), 16 * 1024, "back to the usual size");
    }

    #[test]
    fn full_gives_no_room() {
        let mut input = Input::new(16 * 1024);
        let block = vec![1; 16 * 1024];
        fill(&mut input, &block);
        assert!(input.spare().is_empty());
        assert_eq!(input.unread().len(), 16 * 1024);
        input.consume(1);
        assert!(input.spare().is_empty(), "a byte of room is not worth moving the rest");
        input.consume(MIN_SPARE);
        assert_eq!(input.spare().len(), MIN_SPARE + 1);
    }

    #[test]
    fn clear_forgets_a_partial_packet() {
        let mut input = Input::default();
        fill(&mut input, &[0x30, 0xff]);
        input.want(300);
        input.clear();
        assert!(input.unread().is_empty());
        fill(&mut input, &[0xd0, 0x00]);
        assert_eq!(input.unread(), &[0xd0, 0x00]);
    }

    #[test]
    #[should_panic(expected = "more bytes than were spare")]
    fn advancing_too_far_is_a_bug() {
        let mut input = Input::default();
        let room = input.spare().len();
        input.advance(room + 1);
    }
}
