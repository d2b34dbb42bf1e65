//! One client's socket.

use crate::clock::Clock;
use crate::firehose::broker::{Broker, Link};
use crate::firehose::session::WRITE_TARGET;
use crate::net::Outbox;
use std::io;
use std::net::TcpStream;

/// Writes to one connection before the others and the acknowledgements have their turn.
const WRITES_PER_TURN: usize = 4;

/// A client's socket, what is read of a packet that is not whole, and what it has not taken yet.
pub(super) struct Connection {
    pub(super) socket: TcpStream,
    pub(super) link: Link,
    pub(super) kept: Vec<u8>,
    pub(super) out: Outbox,
    /// The socket took less than it was given; epoll tells when it takes more.
    pub(super) is_blocked: bool,
    /// Whether epoll was asked to tell.
    pub(super) is_watched: bool,
}

impl Connection {
    pub(super) fn new(socket: TcpStream, link: Link) -> Self {
        Self { socket, link, kept: Vec::new(), out: Outbox::default(), is_blocked: false, is_watched: false }
    }

    /// Fills and flushes one connection; true if it could go on at once. A paced one waits after a write that took all that was
    /// due: going on would send single messages.
    pub(super) fn pump(
        &mut self,
        broker: &mut Broker,
        clock: &Clock,
        may_fill: bool,
        is_paced: bool,
    ) -> io::Result<bool> {
        if self.is_blocked {
            return Ok(false);
        }
        for _ in 0..WRITES_PER_TURN {
            let now = clock.now();
            if self.out.is_empty() {
                if !may_fill || !broker.wants_to_send(&self.link, now) {
                    return Ok(false);
                }
                broker.fill(&self.link, self.out.buffer(), now);
            }
            let is_full = self.out.buffer().len() >= WRITE_TARGET;
            if !self.out.flush(&self.socket)? {
                self.is_blocked = true;
                return Ok(false);
            }
            if is_paced && !is_full {
                return Ok(false);
            }
        }
        Ok(broker.wants_to_send(&self.link, clock.now()))
    }
}
