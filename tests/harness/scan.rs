//! Finds the MQTT packets in a stream of bytes that comes in any pieces.

use crate::wire::{self, Frame};

/// Longest packet that is looked for: what Fairlead accepts by default.
const LONGEST: usize = 16 << 20;

/// One direction of a connection.
#[derive(Debug, Default)]
pub(crate) struct Scanner {
    /// The start of a packet that has not passed in whole.
    rest: Vec<u8>,
}

impl Scanner {
    /// Shows every packet that is whole with these bytes.
    ///
    /// # Panics
    ///
    /// When a packet is longer than [`LONGEST`].
    pub(crate) fn scan(&mut self, bytes: &[u8], show: impl FnMut(&Frame<&[u8]>)) {
        if self.rest.is_empty() {
            let used = each(bytes, show);
            self.rest.extend_from_slice(&bytes[used..]);
        } else {
            self.rest.extend_from_slice(bytes);
            let used = each(&self.rest, show);
            self.rest.drain(..used);
        }
        assert!(self.rest.len() <= LONGEST, "a packet of more than {LONGEST} bytes at the proxy");
    }
}

/// Shows the whole packets of `bytes`; returns how many bytes they take.
fn each(bytes: &[u8], mut show: impl FnMut(&Frame<&[u8]>)) -> usize {
    let mut used = 0;
    while let Some((frame, length)) = wire::frame(&bytes[used..]) {
        show(&frame);
        used += length;
    }
    used
}
