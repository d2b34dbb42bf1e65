//! Opening a TCP connection, away from the executor: name resolution and connect may take seconds.

use std::{
    io,
    net::{SocketAddr, ToSocketAddrs},
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use crate::settings::Address;

/// Longest wait for a connection to one IP address.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long sent data may stay without an acknowledgement of TCP, or unsent because the peer takes none: finds a dead peer,
/// and one that never reads, while reading is paused.
const USER_TIMEOUT: Duration = Duration::from_secs(60);
/// Idle time after which TCP probes the peer.
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);
/// Receive buffer asked of the kernel, so that a paused reader does not close the window at once.
const RECEIVE_BUFFER: usize = 1 << 20;

/// Connects to the first IP address that answers; the socket is non-blocking.
///
/// # Errors
/// The last address's error, or that the name has none.
pub(crate) fn dial(address: &Address) -> io::Result<Socket> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name resolves to no address");
    for ip in (address.host.as_str(), address.port).to_socket_addrs()? {
        match connect(ip) {
            Ok(socket) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn connect(ip: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(ip), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    socket.connect_timeout(&ip.into(), CONNECT_TIMEOUT)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(TCP_KEEPALIVE))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}
