//! A TCP proxy that does to a connection what networks do. One that stands before an MQTT broker notes the packets that
//! pass, or holds the acknowledgements of stamped messages in a [`Tap`].

use std::{
    collections::VecDeque,
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use rustix::net::sockopt::set_socket_linger;

use crate::{
    notes::{Notes, Packet},
    pump::{LOOK, Pump},
    tap::{Tap, Tapped},
    wait::{pause, wait_for},
};

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the server to the client (the broker to the bridge).
    ToClient,
    /// From the client to the server (the bridge to the broker).
    ToServer,
}

/// What the proxy does to bytes of one direction.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fault {
    /// Hold everything back: nothing is read, nothing is closed.
    pub(crate) hole: bool,
    /// Write single bytes.
    pub(crate) slice: bool,
    /// Hand everything on so much later.
    pub(crate) delay: Duration,
    /// Most bytes a second; 0 is no limit.
    pub(crate) bandwidth: usize,
}

/// A proxy on 127.0.0.1. Dropping it closes every connection.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

/// What the threads of a proxy have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    target: SocketAddr,
    stop: AtomicBool,
    connections: AtomicUsize,
    /// By [`Direction`].
    faults: [Mutex<Fault>; 2],
    /// Bytes after which each of the next connections is cut, by [`Direction`].
    cuts: [Mutex<VecDeque<usize>>; 2],
    open: Mutex<Vec<Arc<Link>>>,
    pub(crate) notes: Notes,
}

/// Both sockets of one connection.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) client: TcpStream,
    pub(crate) server: TcpStream,
    /// The pumps are to let go of it, so that the kernel sends RST.
    resetting: AtomicBool,
    /// Directions that have ended.
    ended: AtomicUsize,
}

impl Proxy {
    /// A proxy before the MQTT broker at a port of 127.0.0.1, which notes packets.
    ///
    /// # Panics
    ///
    /// When no port is free.
    #[must_use]
    pub fn start(target: u16) -> Proxy {
        Proxy::with(target, Notes::packets())
    }

    /// A proxy that looks at nothing, for any protocol.
    ///
    /// # Panics
    ///
    /// When no port is free.
    #[must_use]
    pub fn plain(target: u16) -> Proxy {
        Proxy::with(target, Notes::Nothing)
    }

    /// A proxy between an MQTT broker and a bridge, which knows what the bridge has acknowledged of a run of the load
    /// generator.
    ///
    /// # Panics
    ///
    /// When no port is free.
    #[must_use]
    pub fn tapped(target: u16, run_id: u32) -> Proxy {
        Proxy::with(target, Notes::Tap(Mutex::new(Box::new(Tap::new(run_id)))))
    }

    fn with(target: u16, notes: Notes) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        listener.set_nonblocking(true).expect("a socket option");
        let shared = Arc::new(Shared {
            target: SocketAddr::from(([127, 0, 0, 1], target)),
            stop: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
            faults: Default::default(),
            cuts: Default::default(),
            open: Mutex::default(),
            notes,
        });
        let acceptor = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || shared.accept(&listener)
        });
        Proxy { port, shared, acceptor: Some(acceptor) }
    }

    /// Its address as Fairlead's configuration wants it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Connections so far.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// Cuts the next connection after so many bytes of one direction; called again, the one after it, and so on.
    pub fn cut_next(&self, direction: Direction, bytes: usize) {
        self.shared.cuts[direction as usize].lock().expect("unpoisoned").push_back(bytes);
    }

    /// Cuts still to come.
    #[must_use]
    pub fn cuts_left(&self) -> usize {
        self.shared.cuts.iter().map(|cuts| cuts.lock().expect("unpoisoned").len()).sum()
    }

    /// Hands over single bytes instead of what comes.
    pub fn slice(&self, direction: Direction, on: bool) {
        self.shared.change(direction, |fault| fault.slice = on);
    }

    /// Holds one direction back: connections stay open and nothing passes.
    pub fn black_hole(&self, direction: Direction, on: bool) {
        self.shared.change(direction, |fault| fault.hole = on);
    }

    /// Hands everything on so much later.
    pub fn delay(&self, direction: Direction, delay: Duration) {
        self.shared.change(direction, |fault| fault.delay = delay);
    }

    /// Lets at most so many bytes a second pass; 0 is no limit.
    pub fn bandwidth(&self, direction: Direction, bytes: usize) {
        self.shared.change(direction, |fault| fault.bandwidth = bytes);
    }

    /// Sends FIN to the receivers of one direction on every open connection; the other direction stays open.
    pub fn half_close(&self, direction: Direction) {
        for link in self.shared.open.lock().expect("unpoisoned").iter() {
            let _ = match direction {
                Direction::ToClient => link.client.shutdown(Shutdown::Write),
                Direction::ToServer => link.server.shutdown(Shutdown::Write),
            };
        }
    }

    /// Closes every open connection (FIN).
    pub fn cut_all(&self) {
        for link in self.shared.open.lock().expect("unpoisoned").drain(..) {
            link.close();
        }
    }

    /// Resets every open connection (RST), for which what is still on its way in it is lost.
    pub fn reset_all(&self) {
        for link in self.shared.open.lock().expect("unpoisoned").drain(..) {
            link.reset();
        }
    }

    /// The packets that passed a proxy of [`Proxy::start`], in order for each connection and direction.
    ///
    /// # Panics
    ///
    /// When the proxy is of another kind.
    #[must_use]
    pub fn packets(&self) -> Vec<Packet> {
        self.shared.notes.seen_packets(<[Packet]>::to_vec)
    }

    /// Waits until `count` packets of `kind` have passed.
    ///
    /// # Panics
    ///
    /// When fewer have after `limit`.
    #[track_caller]
    pub fn wait_for_packets(&self, kind: u8, count: usize, limit: Duration) {
        let passed = |packets: &[Packet]| packets.iter().filter(|p| p.kind == kind).count();
        wait_for(limit, "packets at the proxy", || (self.shared.notes.seen_packets(passed) >= count).then_some(()));
    }

    /// What the tap of [`Proxy::tapped`] knows now.
    ///
    /// # Panics
    ///
    /// When the proxy is of another kind.
    #[must_use]
    pub fn tap(&self) -> Tapped {
        self.shared.notes.tapped()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.cut_all();
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

impl Link {
    /// Ends both sides (FIN).
    pub(crate) fn close(&self) {
        let _ = self.client.shutdown(Shutdown::Both);
        let _ = self.server.shutdown(Shutdown::Both);
    }

    fn reset(&self) {
        for stream in [&self.client, &self.server] {
            let _ = set_socket_linger(stream, Some(Duration::ZERO));
        }
        self.resetting.store(true, Ordering::Relaxed);
    }

    /// One direction has ended; whether it was the last.
    pub(crate) fn end_one(&self) -> bool {
        self.ended.fetch_add(1, Ordering::Relaxed) == 1
    }

    pub(crate) fn is_resetting(&self) -> bool {
        self.resetting.load(Ordering::Relaxed)
    }
}

impl Shared {
    pub(crate) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn change(&self, direction: Direction, change: impl FnOnce(&mut Fault)) {
        change(&mut self.faults[direction as usize].lock().expect("unpoisoned"));
    }

    pub(crate) fn fault(&self, direction: Direction) -> Fault {
        *self.faults[direction as usize].lock().expect("unpoisoned")
    }

    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        while !self.stopped() {
            match listener.accept() {
                Ok((client, _)) => self.connect(client),
                Err(_) => pause(LOOK),
            }
        }
    }

    fn connect(self: &Arc<Self>, client: TcpStream) {
        let number = self.connections.fetch_add(1, Ordering::Relaxed);
        // Where the server is down the client sees its connection closed, as without a proxy.
        let Ok(server) = TcpStream::connect(self.target) else {
            return;
        };
        for stream in [&client, &server] {
            stream.set_nonblocking(false).expect("a socket option");
            stream.set_nodelay(true).expect("a socket option");
        }
        let link = Arc::new(Link { client, server, resetting: AtomicBool::new(false), ended: AtomicUsize::new(0) });
        {
            let mut open = self.open.lock().expect("unpoisoned");
            // Those whose pumps have ended are open no more.
            open.retain(|link| Arc::strong_count(link) > 1);
            open.push(Arc::clone(&link));
        }
        for direction in [Direction::ToClient, Direction::ToServer] {
            let cut = self.cuts[direction as usize].lock().expect("unpoisoned").pop_front();
            let pump = Pump::new(Arc::clone(self), Arc::clone(&link), number, direction, cut);
            std::thread::spawn(move || pump.run());
        }
    }
}
