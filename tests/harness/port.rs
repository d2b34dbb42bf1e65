//! Free TCP ports of 127.0.0.1.

use std::{
    net::TcpListener,
    sync::atomic::{AtomicU16, Ordering},
};

/// The ports that are given out: below Linux's ephemeral range (32768 to 60999), so that no outgoing connection takes
/// the port of a server while that server restarts.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

/// A TCP port of 127.0.0.1 that nobody listens on and that this process has not given out before.
///
/// # Panics
///
/// When none is free.
#[must_use]
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Processes that run at the same time, and were often started one after the other, start far from each other: a port
    // that one has just given up may still be dialled.
    let start = ((std::process::id().wrapping_mul(0x9E37_79B9) >> 16) % u32::from(COUNT)) as u16;
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + (start + step % COUNT) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port between {FIRST} and {}", FIRST + COUNT);
}
