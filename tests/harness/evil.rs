//! A scripted MQTT broker: the test itself plays it, packet by packet, so that it can do what real brokers do rarely
//! or are forbidden to do.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    time::{Duration, Instant},
};

use crate::{
    wait::{now, wait_for},
    wire::{self, Frame},
};

/// Longest wait for the next packet of the bridge.
const PACKET: Duration = Duration::from_secs(30);

/// Packets of a flood that are written at once.
const FLOOD_BLOCK: usize = 4096;

/// What the bridge took of [`Connection::flood`].
#[derive(Debug)]
pub struct Flood {
    /// Whole packets.
    pub packets: usize,
    /// What is missing of the last one.
    pub rest: Vec<u8>,
}

/// A listening socket of 127.0.0.1.
#[derive(Debug)]
pub struct EvilBroker {
    listener: TcpListener,
}

/// A connection of the bridge, whose CONNECT has been read.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    pending: Vec<u8>,
    /// The CONNECT packet.
    pub connect: Frame,
    /// The protocol level that the bridge asks for: [`wire::V311`] or [`wire::V5`].
    pub level: u8,
    /// The filters of the SUBSCRIBE packets so far, with the options byte of each.
    pub filters: Vec<(String, u8)>,
    /// PINGREQs so far.
    pub pings: usize,
    /// Whether SUBSCRIBE and UNSUBSCRIBE are answered without the test's doing.
    granting: bool,
}

impl EvilBroker {
    /// Listens on a free port.
    ///
    /// # Panics
    ///
    /// When there is none.
    #[must_use]
    pub fn start() -> EvilBroker {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a socket option");
        EvilBroker { listener }
    }

    /// Its port.
    ///
    /// # Panics
    ///
    /// When the socket has no address.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.listener.local_addr().expect("an address").port()
    }

    /// Its address as Fairlead's configuration wants it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port())
    }

    /// The next connection, with its CONNECT.
    ///
    /// # Panics
    ///
    /// When none comes within `limit`, or something else than CONNECT.
    #[track_caller]
    #[must_use]
    pub fn accept(&self, limit: Duration) -> Connection {
        let mut stream = wait_for(limit, "the bridge connects", || self.try_accept());
        let mut pending = Vec::new();
        let connect = wire::read_frame(&mut stream, &mut pending).expect("a CONNECT");
        assert_eq!(connect.kind(), wire::CONNECT, "the first packet");
        let level = connect.level();
        Connection { stream, pending, connect, level, filters: Vec::new(), pings: 0, granting: false }
    }

    /// The next connection, with its session up: CONNACK sent, and the first SUBSCRIBE granted unless the session is
    /// resumed (`session_present`). Whatever is subscribed later is granted as well.
    ///
    /// # Panics
    ///
    /// When none comes within `limit`.
    #[track_caller]
    #[must_use]
    pub fn accept_session(&self, session_present: bool, limit: Duration) -> Connection {
        let mut connection = self.accept(limit);
        connection.send(&wire::connack(connection.level, session_present, 0));
        if !session_present {
            let subscribe = connection.expect(wire::SUBSCRIBE);
            connection.grant(&subscribe);
        }
        connection.granting = true;
        connection
    }

    /// A connection that waits already, if there is one.
    #[must_use]
    pub fn try_accept(&self) -> Option<TcpStream> {
        let (stream, _) = self.listener.accept().ok()?;
        stream.set_nonblocking(false).expect("a socket option");
        stream.set_nodelay(true).expect("a socket option");
        stream.set_read_timeout(Some(PACKET)).expect("a socket option");
        Some(stream)
    }
}

impl Connection {
    /// Sends bytes as they are.
    ///
    /// # Panics
    ///
    /// When the bridge has closed the connection.
    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the bridge reads");
    }

    /// Sends bytes that may make the bridge close the connection before the last of them is out.
    pub fn send_fatal(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Sends a packet again and again and reads nothing, until the bridge takes no more for `span`.
    ///
    /// # Panics
    ///
    /// When it takes more than `most` bytes, or closes.
    #[track_caller]
    pub fn flood(&mut self, packet: &[u8], span: Duration, most: usize) -> Flood {
        let block = packet.repeat(FLOOD_BLOCK);
        self.stream.set_write_timeout(Some(span)).expect("a socket option");
        let mut sent = 0;
        loop {
            match self.stream.write(&block[sent % packet.len()..]) {
                Ok(count) => sent += count,
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
                Err(e) => panic!("the bridge closes: {e}"),
            }
            assert!(sent < most, "the bridge reads on and on, and is not read");
        }
        self.stream.set_write_timeout(None).expect("a socket option");
        let part = sent % packet.len();
        Flood { packets: sent / packet.len(), rest: if part == 0 { Vec::new() } else { packet[part..].to_vec() } }
    }

    /// Sends a PUBLISH without properties.
    pub fn publish(&mut self, topic: &str, qos: u8, packet_id: u16, payload: &[u8]) {
        self.send(&wire::publish(self.level, topic, qos, packet_id, payload));
    }

    /// The next packet. PINGREQ is answered and not shown; nor, once the session is up, SUBSCRIBE and UNSUBSCRIBE.
    ///
    /// # Errors
    ///
    /// `UnexpectedEof` or `ConnectionReset` when the bridge has closed; `TimedOut` or `WouldBlock` after ten seconds.
    pub fn packet(&mut self) -> io::Result<Frame> {
        self.packet_before(now() + PACKET)
    }

    fn packet_before(&mut self, end: Instant) -> io::Result<Frame> {
        loop {
            let frame = self.read_before(end)?;
            match frame.kind() {
                wire::PINGREQ => {
                    self.pings += 1;
                    self.send_fatal(&wire::pingresp());
                }
                wire::SUBSCRIBE if self.granting => self.grant(&frame),
                wire::UNSUBSCRIBE if self.granting => self.give_up(&frame),
                _ => return Ok(frame),
            }
        }
    }

    fn read_before(&mut self, end: Instant) -> io::Result<Frame> {
        let mut chunk = [0; 4096];
        loop {
            if let Some(frame) = wire::take_frame(&mut self.pending) {
                return Ok(frame);
            }
            let left = end.saturating_duration_since(now());
            if left.is_zero() {
                return Err(ErrorKind::TimedOut.into());
            }
            self.stream.set_read_timeout(Some(left))?;
            match self.stream.read(&mut chunk)? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                n => self.pending.extend_from_slice(&chunk[..n]),
            }
        }
    }

    /// The next packet, which must be of `kind`.
    ///
    /// # Panics
    ///
    /// When it is another, or none comes.
    #[track_caller]
    pub fn expect(&mut self, kind: u8) -> Frame {
        let frame = self.packet().unwrap_or_else(|e| panic!("packet type {kind} from the bridge: {e}"));
        assert_eq!(frame.kind(), kind, "packet type from the bridge: {frame:?}");
        frame
    }

    /// The next packet, which must be of `kind` and carry `packet_id`.
    ///
    /// # Panics
    ///
    /// When it is another, or none comes.
    #[track_caller]
    pub fn expect_id(&mut self, kind: u8, packet_id: u16) {
        assert_eq!(self.expect(kind).packet_id(), packet_id, "packet id from the bridge");
    }

    /// Asserts that nothing but what [`Connection::packet`] answers comes for `span`.
    ///
    /// # Panics
    ///
    /// When one comes, or the connection ends.
    #[track_caller]
    pub fn expect_silence(&mut self, span: Duration) {
        match self.packet_before(now() + span) {
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            other => panic!("silence from the bridge, but: {other:?}"),
        }
    }

    /// Reads until the bridge closes the connection, and returns the reason of its DISCONNECT if it sent one.
    ///
    /// # Panics
    ///
    /// When the bridge does not close.
    #[track_caller]
    pub fn expect_close(&mut self) -> Option<u8> {
        let mut reason = None;
        loop {
            match self.packet() {
                Ok(frame) if frame.kind() == wire::DISCONNECT => reason = Some(frame.reason()),
                Ok(_) => {}
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    panic!("the bridge leaves the connection open")
                }
                Err(_) => return reason,
            }
        }
    }

    /// Answers a SUBSCRIBE with what it asks for.
    ///
    /// # Panics
    ///
    /// When the packet is cut short.
    pub fn grant(&mut self, subscribe: &Frame) {
        let filters = wire::filters(self.level, subscribe);
        let granted: Vec<u8> = filters.iter().map(|(_, options)| options & 3).collect();
        self.filters.extend(filters);
        self.send_fatal(&wire::suback(self.level, wire::SUBACK, subscribe.packet_id(), &granted));
    }

    /// Answers an UNSUBSCRIBE of one filter with success; 3.1.1 has no code for that.
    pub fn give_up(&mut self, unsubscribe: &Frame) {
        let codes: &[u8] = if self.level == wire::V5 { &[0] } else { &[] };
        self.send_fatal(&wire::suback(self.level, wire::UNSUBACK, unsubscribe.packet_id(), codes));
    }

    /// Answers a SUBSCRIBE with a reason code for each filter.
    ///
    /// # Panics
    ///
    /// When the bridge has closed the connection.
    pub fn answer(&mut self, subscribe: &Frame, reasons: &[u8]) {
        self.send(&wire::suback(self.level, wire::SUBACK, subscribe.packet_id(), reasons));
        self.granting = true;
    }

    /// Sends FIN and goes on reading: a half-closed connection.
    ///
    /// # Panics
    ///
    /// When the connection is closed already.
    pub fn half_close(&self) {
        self.stream.shutdown(Shutdown::Write).expect("an open connection");
    }
}
