//! One connection of the publisher.

use super::client::Client;
use crate::clock::{MILLISECOND, SECOND};
use crate::net::Outbox;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpStream};

/// Between two attempts to connect: doubles from the first to the second.
pub(super) const BACKOFF_NS: (i64, i64) = (100 * MILLISECOND, 2 * SECOND);

/// A client and its socket.
pub(super) struct Link {
    pub(super) client: Client,
    pub(super) socket: Option<TcpStream>,
    pub(super) is_connecting: bool,
    /// When the present socket was opened.
    pub(super) opened_ns: i64,
    pub(super) is_blocked: bool,
    pub(super) is_watched: bool,
    pub(super) kept: Vec<u8>,
    pub(super) out: Outbox,
    pub(super) backoff_ns: i64,
    /// Since when there is no session with the broker.
    pub(super) down_since_ns: Option<i64>,
    /// The wake-up that is in the heap.
    pub(super) wake_ns: Option<i64>,
}

impl Link {
    /// A client that is to be connected.
    pub(super) fn new(client: Client, now: i64) -> Self {
        Self {
            client,
            socket: None,
            is_connecting: false,
            opened_ns: now,
            is_blocked: false,
            is_watched: false,
            kept: Vec::new(),
            out: Outbox::default(),
            backoff_ns: BACKOFF_NS.0,
            down_since_ns: Some(now),
            wake_ns: None,
        }
    }
}

/// Begins to connect.
pub(super) fn open_socket(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    match socket.connect(&address.into()) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {}
        Err(error) => return Err(error),
    }
    Ok(socket.into())
}
