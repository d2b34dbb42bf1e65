//! A TCP proxy that does to a connection what networks do, and notes the MQTT packets that pass.

use std::{
    collections::VecDeque,
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use crate::{
    wait::{pause, wait_for},
    wire::{self, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL},
};

/// Time after which a blocked read looks whether the proxy has been stopped or its fault has changed.
const LOOK: Duration = Duration::from_millis(20);
/// Time between two bytes of a slicer: without it the receiver reads many at once.
const SLICE: Duration = Duration::from_micros(50);
/// Bytes moved at a time.
const CHUNK: usize = 64 * 1024;
/// Most packets noted: far above what any test sends, and a bound all the same.
const NOTED: usize = 4_000_000;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the server to the client (the broker to the bridge).
    ToClient,
    /// From the client to the server (the bridge to the broker).
    ToServer,
}

/// A PUBLISH of QoS 1 or 2 or an acknowledgement that passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Number of the connection, from 0.
    pub connection: usize,
    /// Which way it went.
    pub direction: Direction,
    /// Packet type, as in [`wire`].
    pub kind: u8,
    /// Whether the DUP flag of a PUBLISH is set.
    pub dup: bool,
    /// Packet identifier.
    pub id: u16,
}

/// What the proxy does to bytes of one direction.
#[derive(Clone, Copy, Debug, Default)]
struct Fault {
    /// Hold everything back: nothing is read, nothing is closed.
    hole: bool,
    /// Write single bytes.
    slice: bool,
    /// Wait before each chunk.
    delay: Duration,
    /// Most bytes a second; 0 is no limit.
    bandwidth: usize,
}

/// A proxy on 127.0.0.1. Dropping it closes every connection.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    target: SocketAddr,
    stop: AtomicBool,
    connections: AtomicUsize,
    /// By [`Direction`].
    faults: [Mutex<Fault>; 2],
    /// Bytes after which each of the next connections is cut, by [`Direction`].
    cuts: [Mutex<VecDeque<usize>>; 2],
    /// The open connections: the sockets of client and server.
    open: Mutex<Vec<(TcpStream, TcpStream)>>,
    packets: Mutex<Vec<Packet>>,
}

impl Proxy {
    /// A proxy before the server at a port of 127.0.0.1.
    ///
    /// # Panics
    ///
    /// When no port is free.
    #[must_use]
    pub fn start(target: u16) -> Proxy {
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
            packets: Mutex::default(),
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

    /// Waits before each chunk.
    pub fn delay(&self, direction: Direction, delay: Duration) {
        self.shared.change(direction, |fault| fault.delay = delay);
    }

    /// Lets at most so many bytes a second pass; 0 is no limit.
    pub fn bandwidth(&self, direction: Direction, bytes: usize) {
        self.shared.change(direction, |fault| fault.bandwidth = bytes);
    }

    /// Sends FIN to the receivers of one direction on every open connection; the other direction stays open.
    pub fn half_close(&self, direction: Direction) {
        for (client, server) in self.shared.open.lock().expect("unpoisoned").iter() {
            let _ = match direction {
                Direction::ToClient => client.shutdown(Shutdown::Write),
                Direction::ToServer => server.shutdown(Shutdown::Write),
            };
        }
    }

    /// Closes every open connection.
    pub fn cut_all(&self) {
        for (client, server) in self.shared.open.lock().expect("unpoisoned").drain(..) {
            close(&client, &server);
        }
    }

    /// The packets that passed, in order for each connection and direction.
    #[must_use]
    pub fn packets(&self) -> Vec<Packet> {
        self.shared.packets.lock().expect("unpoisoned").clone()
    }

    /// Waits until `count` packets of `kind` have passed.
    ///
    /// # Panics
    ///
    /// When fewer have after `limit`.
    #[track_caller]
    pub fn wait_for_packets(&self, kind: u8, count: usize, limit: Duration) {
        wait_for(limit, "packets at the proxy", || {
            let packets = self.shared.packets.lock().expect("unpoisoned");
            (packets.iter().filter(|p| p.kind == kind).count() >= count).then_some(())
        });
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

impl Shared {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn change(&self, direction: Direction, change: impl FnOnce(&mut Fault)) {
        change(&mut self.faults[direction as usize].lock().expect("unpoisoned"));
    }

    fn fault(&self, direction: Direction) -> Fault {
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
            stream.set_read_timeout(Some(LOOK)).expect("a socket option");
        }
        let twice = |stream: &TcpStream| stream.try_clone().expect("a socket twice");
        self.open.lock().expect("unpoisoned").push((twice(&client), twice(&server)));
        for (direction, from, to) in
            [(Direction::ToClient, twice(&server), twice(&client)), (Direction::ToServer, client, server)]
        {
            let cut = self.cuts[direction as usize].lock().expect("unpoisoned").pop_front();
            let shared = Arc::clone(self);
            let pump = Pump { shared, number, direction, from, to, left: cut, seen: Vec::new() };
            std::thread::spawn(move || pump.run());
        }
    }

    fn note(&self, packet: Packet) {
        let mut packets = self.packets.lock().expect("unpoisoned");
        assert!(packets.len() < NOTED, "more packets at the proxy than it notes");
        packets.push(packet);
    }
}

/// One direction of one connection.
struct Pump {
    shared: Arc<Shared>,
    number: usize,
    direction: Direction,
    from: TcpStream,
    to: TcpStream,
    /// Bytes until the connection is cut.
    left: Option<usize>,
    /// The start of a packet that has not passed in whole.
    seen: Vec<u8>,
}

impl Pump {
    fn run(mut self) {
        let mut chunk = vec![0; CHUNK];
        while !self.shared.stopped() {
            match self.from.read(&mut chunk) {
                // FIN is handed on; the other direction ends when its own sender ends.
                Ok(0) => {
                    let _ = self.to.shutdown(Shutdown::Write);
                    return;
                }
                Ok(n) if self.pass(&chunk[..n]) => {}
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Ok(_) | Err(_) => break,
            }
        }
        close(&self.from, &self.to);
    }

    /// Hands bytes on; false when the connection is to be closed.
    fn pass(&mut self, bytes: &[u8]) -> bool {
        let mut fault = self.shared.fault(self.direction);
        while fault.hole && !self.shared.stopped() {
            pause(LOOK);
            fault = self.shared.fault(self.direction);
        }
        let bytes = match self.left {
            Some(left) if bytes.len() >= left => &bytes[..left],
            _ => bytes,
        };
        self.left = self.left.map(|left| left - bytes.len());
        pause(fault.delay);
        if let Some(nanos) = (bytes.len() as u64 * 1_000_000_000).checked_div(fault.bandwidth as u64) {
            pause(Duration::from_nanos(nanos));
        }
        self.note(bytes);
        let written = if fault.slice {
            bytes.iter().try_for_each(|byte| {
                pause(SLICE);
                self.to.write_all(&[*byte])
            })
        } else {
            self.to.write_all(bytes)
        };
        written.is_ok() && self.left != Some(0)
    }

    fn note(&mut self, bytes: &[u8]) {
        self.seen.extend_from_slice(bytes);
        while let Some(frame) = wire::take_frame(&mut self.seen) {
            let kind = frame.kind();
            let counts = kind == PUBLISH && frame.qos() > 0;
            if counts || [PUBACK, PUBREC, PUBREL, PUBCOMP].contains(&kind) {
                let dup = kind == PUBLISH && frame.first & wire::DUP != 0;
                let (connection, direction, id) = (self.number, self.direction, frame.packet_id());
                self.shared.note(Packet { connection, direction, kind, dup, id });
            }
        }
    }
}

fn close(one: &TcpStream, other: &TcpStream) {
    let _ = one.shutdown(Shutdown::Both);
    let _ = other.shutdown(Shutdown::Both);
}
