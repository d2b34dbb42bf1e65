//! The HTTP server: one request a connection, everything bounded, so that nobody who reaches the port can take memory
//! or the control thread.

use std::{
    future::Future,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tracing::warn;

use super::{pages, state::State};

/// How often the heartbeats and the ledger are looked at.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);
/// Pause after a failed `accept`: it is out of descriptors, and trying at once would be a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The endpoint's limits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Most connections at a time. Further ones wait in the listener's backlog, which costs nothing.
    pub(super) connections: usize,
    /// Longest request head, bytes; 8,192 is also the least that hyper takes. A longer one is answered with 431.
    pub(super) head_bytes: usize,
    /// Longest time until the head is there.
    pub(super) read_within: Duration,
    /// Longest life of a connection, the time the peer takes to read included.
    pub(super) done_within: Duration,
}

/// The limits of the product.
pub(super) const LIMITS: Limits = Limits {
    connections: 64,
    head_bytes: 8192,
    read_within: Duration::from_secs(5),
    done_within: Duration::from_secs(10),
};

/// Serves until `shutdown`; what is open then is cut.
pub(super) async fn run(listener: TcpListener, state: Arc<State>, limits: Limits, shutdown: impl Future<Output = ()>) {
    let router = pages::router(Arc::clone(&state));
    let mut connections = JoinSet::new();
    let mut samples = interval(SAMPLE_EVERY);
    samples.set_missed_tick_behavior(MissedTickBehavior::Delay);
    state.connections.limit.store(limits.connections as u64, Ordering::Relaxed);
    tokio::pin!(shutdown);
    let count = |open: usize| state.connections.open.store(open as u64, Ordering::Relaxed);
    loop {
        tokio::select! {
            () = &mut shutdown => return,
            _ = samples.tick() => state.sample(),
            Some(_) = connections.join_next() => count(connections.len()),
            accepted = listener.accept(), if connections.len() < limits.connections => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, router.clone(), limits));
                    count(connections.len());
                    if connections.len() == limits.connections {
                        // After the count, so that whoever sees this sees the places taken.
                        state.connections.full.fetch_add(1, Ordering::Release);
                    }
                }
                Err(error) => {
                    warn!(%error, "the admin endpoint cannot accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
}

/// One connection, one request. What goes wrong on it is the peer's affair.
async fn connection(stream: TcpStream, router: Router, limits: Limits) {
    let served = http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(limits.head_bytes)
        .header_read_timeout(limits.read_within)
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let _ = timeout(limits.done_within, served).await;
}
