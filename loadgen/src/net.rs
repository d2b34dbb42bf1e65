//! Non-blocking sockets and epoll: one thread serves thousands of connections.

use crate::clock::{MILLISECOND, SECOND};
use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use rustix::fd::{AsFd, OwnedFd};
use std::io::{self, Read, Write};
use std::net::TcpStream;

/// Events fetched by one call; more wait for the next.
const EVENTS_AT_ONCE: usize = 256;

/// epoll rounds its timeout up to milliseconds; a shorter wait than this goes through ppoll, which does not.
const FINE_NS: i64 = 5 * MILLISECOND;

/// A ready socket.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ready {
    /// The number under which the socket was added.
    pub(crate) token: u64,
    /// There is something to read, be it the end or an error.
    pub(crate) readable: bool,
    pub(crate) writable: bool,
}

/// Level-triggered epoll.
pub(crate) struct Poll {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
}

fn interest(write: bool) -> epoll::EventFlags {
    if write { epoll::EventFlags::IN | epoll::EventFlags::OUT } else { epoll::EventFlags::IN }
}

impl Poll {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?, events: Vec::with_capacity(EVENTS_AT_ONCE) })
    }

    /// Watches a socket for reading, and for writing where `write` says so; closing the socket ends it.
    pub(crate) fn add(&self, socket: impl AsFd, token: u64, write: bool) -> io::Result<()> {
        let token = epoll::EventData::new_u64(token);
        Ok(epoll::add(&self.epoll, socket, token, interest(write))?)
    }

    pub(crate) fn modify(&self, socket: impl AsFd, token: u64, write: bool) -> io::Result<()> {
        let token = epoll::EventData::new_u64(token);
        Ok(epoll::modify(&self.epoll, socket, token, interest(write))?)
    }

    /// Waits at most `timeout_ns` and appends what is ready to `ready`. A signal ends the wait early.
    pub(crate) fn wait(&mut self, timeout_ns: i64, ready: &mut Vec<Ready>) -> io::Result<()> {
        let timeout_ns = timeout_ns.max(0);
        let mut timeout = Timespec { tv_sec: timeout_ns / SECOND, tv_nsec: timeout_ns % SECOND };
        if timeout_ns > 0 && timeout_ns < FINE_NS {
            match poll(&mut [PollFd::new(&self.epoll, PollFlags::IN)], Some(&timeout)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            timeout = Timespec::default();
        }
        self.events.clear();
        let events = rustix::buffer::spare_capacity(&mut self.events);
        match epoll::wait(&self.epoll, events, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ended = epoll::EventFlags::HUP | epoll::EventFlags::ERR;
        ready.extend(self.events.iter().map(|event| {
            let (flags, data) = (event.flags, event.data);
            Ready {
                token: data.u64(),
                readable: flags.intersects(epoll::EventFlags::IN | ended),
                writable: flags.contains(epoll::EventFlags::OUT),
            }
        }));
        Ok(())
    }
}

/// Bytes on their way out: filled at the end, written from the front.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    bytes: Vec<u8>,
    written: usize,
}

impl Outbox {
    /// The place to append to.
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.written = 0;
    }

    /// Writes as much as the socket takes; true when all is out.
    pub(crate) fn flush(&mut self, mut socket: &TcpStream) -> io::Result<bool> {
        while self.written < self.bytes.len() {
            match socket.write(&self.bytes[self.written..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.clear();
        Ok(true)
    }
}

/// Reads once into `buffer`: `Ok(None)` where nothing is there yet, `Ok(Some(0))` at the end.
pub(crate) fn read_once(mut socket: &TcpStream, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    loop {
        match socket.read(buffer) {
            Ok(count) => return Ok(Some(count)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Feeds `fresh` after what was left of the last read to `consume`, which says how much it took; keeps the rest.
pub(crate) fn feed<E>(
    kept: &mut Vec<u8>,
    fresh: &[u8],
    mut consume: impl FnMut(&[u8]) -> Result<usize, E>,
) -> Result<(), E> {
    if kept.is_empty() {
        let taken = consume(fresh)?;
        kept.extend(&fresh[taken..]);
    } else {
        kept.extend(fresh);
        let taken = consume(kept)?;
        kept.drain(..taken);
    }
    Ok(())
}
