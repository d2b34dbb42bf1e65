//! The admin endpoint on the control thread: `/metrics`, `/livez`, `/readyz`, `/status`.
//!
//! It only reads, and it never touches the line. At most 64 connections, each for one request with a head of at most
//! 8 KiB that has to be there within 5 s, and done within 10 s.

mod pages;
mod rates;
mod report;
mod server;
mod state;
#[cfg(test)]
mod tests;

use std::{
    future::Future,
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
};

pub use state::State;

/// Why the endpoint cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The port belongs to another socket.
    #[error(
        "the admin endpoint cannot listen on {address}: the port is taken; stop what holds it or set another address \
         in `[admin] listen`"
    )]
    Taken {
        /// The address asked for.
        address: SocketAddr,
    },
    /// The address cannot be listened on for another reason.
    #[error("the admin endpoint cannot listen on {address}: {source}; set another address in `[admin] listen`")]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The listener cannot be registered with the runtime.
    #[error("the admin endpoint cannot wait for connections: {0}; raise the limit on open files")]
    Register(#[from] io::Error),
}

/// Listens on `address`; port 0 takes a free one. Before the bridge starts, so that a wrong address is said at once.
///
/// # Errors
/// If the port is taken or the address is not ours.
pub fn bind(address: SocketAddr) -> Result<TcpListener, AdminError> {
    let listener = TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    listener.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => AdminError::Taken { address },
        _ => AdminError::Bind { address, source },
    })
}

/// Serves the pages on a listener of [`bind`] and calls [`State::sample`] every second, until `shutdown`. To be run on
/// a tokio runtime with I/O and time; one thread is enough.
///
/// # Errors
/// If the listener cannot be registered.
pub async fn serve(
    listener: TcpListener,
    state: Arc<State>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), AdminError> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    server::run(listener, state, server::LIMITS, shutdown).await;
    Ok(())
}
